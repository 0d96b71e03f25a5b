"""The whole model: encoder, decoder, and decoding."""

import os
import pathlib
import warnings
from typing import Any

import keras

from kseq._compat.keras import clone_from_config, without_shared_objects
from kseq.config.architecture import Seq2SeqConfig
from kseq.config.checks import check_boolean
from kseq.decoding import Hypotheses
from kseq.models.compiled_functions import CompiledCache
from kseq.models.decoder import Decoder
from kseq.models.encoder import build_encoder
from kseq.models.generator import Generator
from kseq.models.inference import Graph, InferenceModels, build_inference_models
from kseq.models.inputs import INPUTS, check_source, convert_inputs
from kseq.models.layer_changes import LayerChanges
from kseq.models.quantization import select_layers
from kseq.models.recurrent_stack import as_config
from kseq.models.scheduled_sampling import scheduled_sampling_logits
from kseq.models.search_members import PrecomputedMember
from kseq.models.training_model import TrainingModel
from kseq.storage.atomic_files import whole_file


@clone_from_config
@keras.saving.register_keras_serializable(package="kseq")
class Seq2Seq(TrainingModel):
    """A sequence-to-sequence model: a functional Keras model with its config.

    Build one with `build_seq2seq`.

    Inputs are a dict (or a list) of `encoder_inputs`, int32 ids (batch, source_length)
    or float32 vectors (batch, source_length, dim), and `decoder_inputs`, int32 ids
    (batch, target_length), `<s> y1 .. yn`. The output is float32 logits (batch,
    target_length, vocab); the targets are `y1 .. yn </s>`. Padding is 0, on the right.

    The model also accepts one-hot vectors (batch, time, symbols) instead of ids, as in
    Keras's examples: symbol k is token 4 + k, the first one after the special tokens,
    and a step of zeros is padding. One-hot decoder inputs have no `<s>`: the model
    reads one before them and returns no logits for it.

    Args:
        config: A `Seq2SeqConfig`.
        dtype: Dtype or dtype policy of the layers. Default: Keras's global policy.
        name: Name of the model. Default: `"seq2seq"`.

    Attributes:
        config: The `Seq2SeqConfig` that the model was built from.
        graph: Tensors of the model's graph that inference models start from.
        compiled_cache: Functions compiled from the model. They are compiled again after
            a layer changes.
    """

    def __init__(
        self, config: Seq2SeqConfig, dtype: Any = None, name: str = "seq2seq"
    ) -> None:
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        encoder = build_encoder(config, dtype=policy)
        decoder = Decoder(config, policy, encoder)
        decoder_inputs = keras.Input((None,), dtype="int32", name=INPUTS[1])
        memory, memory_mask = encoder.output["memory"], encoder.output["memory_mask"]
        states = decoder.initial_states(memory, memory_mask, encoder.output["states"])
        keys = decoder.attention_keys(memory)
        outputs = decoder(decoder_inputs, states, memory, memory_mask, keys)
        super().__init__(
            inputs={INPUTS[0]: encoder.input, INPUTS[1]: decoder_inputs},
            outputs=outputs["logits"],
            name=name,
        )
        self.config = config
        self.graph = Graph(encoder.input, memory, memory_mask, states, keys, decoder)
        self.dtype_policy = policy  # `compile` scales the loss of "mixed_float16"
        self._built_dtype = keras.dtype_policies.serialize(policy)
        self.jit_compile = False  # XLA removes the checks of ids
        # Keras uses the name of the attribute as a path in the saved file.
        self._alterations = LayerChanges(self)
        self.compiled_cache = CompiledCache(self)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # Before Keras, which would silently cast float ids to integers.
        feed, added = convert_inputs(inputs, self.config)
        logits = super().__call__(feed, *args, **kwargs)
        return logits[:, added:] if added else logits

    def _scheduled_sampling_logits(
        self, inputs: Any, ratio: Any, coin: str, seed: Any, training: bool
    ) -> Any:
        feed, added = convert_inputs(inputs, self.config)
        logits = scheduled_sampling_logits(
            self._inference_models(),
            self.graph.decoder,
            feed,
            ratio,
            coin,
            seed,
            training,
            given=1 + added,
        )
        return logits[:, added:]

    def _inference_models(self) -> InferenceModels:
        return self.compiled_cache.get(
            "inference", lambda: build_inference_models(self)
        )

    def generate(
        self,
        source: Any,
        search: Any = "greedy",
        *,
        max_length: Any = None,
        batch_size: int = 256,
        return_attention: bool = False,
        prefix: Any = None,
    ) -> Hypotheses:
        """Decodes sources: ids in, ids out.

        The whole search runs in one compiled graph, which is traced at the first call
        and works for every shape. If it takes long, it shows a progress bar on stderr.

        Args:
            source: Integer ids (batch, time), where each row ends with `</s>` (3) and
                is padded with 0 on the right; or one-hot vectors; or float vectors
                (batch, time, dim) for a model with a `"features"` source.
            search: `"greedy"`, `"beam"`, `"sampling"`, a dict, or an object such as
                `kseq.decoding.BeamSearch(beam_width=10, n=3)`; see
                `kseq.decoding.get`. Default: `"greedy"`.
            max_length: Maximum output length in tokens, including `</s>`: an integer,
                or one integer for each row, or a `kseq.decoding.LengthRatio`. Default:
                2 * source length + 10, for each row.
            batch_size: Number of rows decoded at once. Default: 256.
            return_attention: Return the attention weights of each output token too.
                Default: False.
            prefix: Integer ids (batch, prefix_length) of tokens that the outputs start
                with, padded with 0 on the right; or one-hot vectors. Default: none.

        Returns:
            `Hypotheses`, n for each source, where n is that of the search.

        Raises:
            ValueError: If `source` has the wrong dtype, rank, ids or padding; if
                `return_attention` is True and the model has no attention; if the search
                is unknown; or if the model's logits are not finite.

        Example:
            >>> from kseq import build_seq2seq
            >>> model = build_seq2seq(
            ...     source_vocab_size=11, target_vocab_size=11, units=8
            ... )
            >>> model.generate([[5, 6, 3], [7, 3, 0]], max_length=4).tokens.shape[:2]
            (2, 1)
            >>> model.generate([[5, 6, 3]], "beam", max_length=4).scores.shape
            (1, 1)
        """
        source = check_source(source, self.config.encoder)
        return self._generator()(
            source, search, max_length, batch_size, return_attention, prefix
        )

    def _generator(self) -> Generator:
        def make() -> Generator:
            return Generator(
                [self.search_member()], compile=self.compiled_cache.compile
            )

        return self.compiled_cache.get("generator", make)

    def search_member(self) -> PrecomputedMember:
        """Returns the model in the form that a search runs."""
        return PrecomputedMember(self._inference_models().encoder, self.graph.decoder)

    def quantize(
        self,
        mode: str | None = None,
        config: Any = None,
        filters: Any = None,
        **kwargs: Any,
    ) -> None:
        """Quantizes embeddings and dense layers, including those within attention.

        Recurrent layers stay as they are: Keras has no quantized ones.

        Args:
            mode: `"int8"`, `"int4"` or `"float8"` (dense layers outside of attention).
                Default: the mode of `config`.
            config: A `keras.quantizers.QuantizationConfig`. Default: the config of
                `mode`.
            filters: Regular expression for the names of the layers to quantize, a list
                of them, or a function of a layer. Default: all layers.
            **kwargs: Other arguments of `keras.Model.quantize`.

        Raises:
            ValueError: If the mode is for transformers (`"gptq"`, `"awq"`), if
                `filters` match no layer, or if a layer is quantized already.

        Example:
            >>> from kseq import build_seq2seq
            >>> model = build_seq2seq(
            ...     source_vocab_size=11, target_vocab_size=11, units=8
            ... )
            >>> model.quantize("int8")
            >>> model.get_layer("decoder_output").quantization_mode
            'int8'
        """
        mode = config.mode if config is not None else mode
        layers = select_layers(self, mode, filters)
        super().quantize(mode, config, filters=lambda each: each in layers, **kwargs)

    def save(
        self,
        filepath: Any,
        overwrite: bool = True,
        zipped: bool = True,
        **kwargs: Any,
    ) -> None:
        """Saves the model atomically: if saving fails, an existing file is unchanged.

        Args:
            filepath: Path ending in `.keras`.
            overwrite: Replace an existing file. Default: True.
            zipped: Must be True: a model is one file. Default: True.
            **kwargs: Other arguments of `keras.Model.save`.

        Raises:
            ValueError: If `filepath` does not end in `.keras`; if `zipped` is False; or
                if the model was compiled with your own function or class that is not
                registered, so that the file could not be loaded.
            FileExistsError: If the file exists and `overwrite` is False.
        """
        if zipped is not None and not check_boolean("zipped", zipped):
            raise ValueError(
                "`zipped` must be True: a model is saved as one '.keras' file. "
                "Received: False."
            )
        path = pathlib.Path(os.fspath(filepath))
        if path.suffix != ".keras":
            raise ValueError(f"`filepath` must end in '.keras'. Received: '{path}'.")
        if not overwrite and path.exists():
            raise FileExistsError(
                f"'{path}' exists already. Choose another name, or pass overwrite=True."
            )
        self._check_training_options()
        with whole_file(path) as temporary:
            super().save(temporary, overwrite=True, **kwargs)

    def _check_training_options(self) -> None:
        """Checks that the arguments of `compile` can be loaded again."""
        if not self.compiled:
            return
        arguments = {**self._compile_config.config, **self._training_options}
        for name, value in arguments.items():
            try:
                with warnings.catch_warnings():
                    # Keras warns about a lambda; here it is an error.
                    warnings.simplefilter("ignore")
                    config = keras.saving.serialize_keras_object(value)
                keras.saving.deserialize_keras_object(config)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"`{name}` must be registered with "
                    "keras.saving.register_keras_serializable, and have a name or a "
                    "`get_config`, so that the saved model can be loaded. Received: "
                    f"{value!r}."
                ) from error

    def summary(self, *args: Any, expand_nested: bool = True, **kwargs: Any) -> None:
        """Prints the layers, including those within a loop.

        Args:
            *args: As in `keras.Model.summary`.
            expand_nested: Show layers within layers. Default: True.
            **kwargs: As in `keras.Model.summary`.
        """
        super().summary(*args, expand_nested=expand_nested, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "dtype": self._built_dtype,
            "name": self.name,
            "alterations": self._alterations.get_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        with without_shared_objects():
            model = cls(
                Seq2SeqConfig.from_dict(config["config"]),
                dtype=keras.dtype_policies.deserialize(config["dtype"]),
                name=config["name"],
            )
            model._alterations.apply(config["alterations"])
        return model


def build_seq2seq(
    config: Seq2SeqConfig | None = None,
    *,
    dtype: Any = None,
    name: str = "seq2seq",
    **settings: Any,
) -> Seq2Seq:
    """Builds a sequence-to-sequence model.

    Args:
        config: A `Seq2SeqConfig`. Default: made from `settings`.
        dtype: Dtype or dtype policy of the layers, such as `"mixed_float16"`. Default:
            Keras's global policy.
        name: Name of the model. Default: `"seq2seq"`.
        **settings: Fields of `Seq2SeqConfig`: `source_vocab_size`,
            `target_vocab_size`, `units`, ...

    Returns:
        A `Seq2Seq`, a functional `keras.Model` that is not compiled.

    Raises:
        ValueError: If a setting is invalid.
        TypeError: If a setting has the wrong type.

    Example:
        >>> from kseq import build_seq2seq
        >>> model = build_seq2seq(
        ...     source_vocab_size=11,
        ...     target_vocab_size=13,
        ...     units=8,
        ...     source_representation="one_hot",
        ...     reverse_source=True,
        ... )
        >>> model.output_shape
        (None, None, 13)
        >>> [layer.name for layer in model.layers if layer.weights]
        ['encoder_lstm_1', 'decoder_lstm_1', 'decoder_output']

    Reference:
        Sutskever et al., 2014, "Sequence to Sequence Learning with Neural Networks".
    """
    return Seq2Seq(as_config(config, settings), dtype=dtype, name=name)
