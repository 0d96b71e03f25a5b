"""Inference models: an encoder and a one-step decoder."""

import dataclasses
import functools
from typing import Any

import keras

from kseq.config.architecture import Seq2SeqConfig
from kseq.decoding import Hypotheses
from kseq.models.compiled_functions import CompiledCache
from kseq.models.decoder import Decoder
from kseq.models.generator import Generator
from kseq.models.inputs import check_source
from kseq.models.search_members import InferenceMember


@dataclasses.dataclass(frozen=True)
class Graph:
    """Tensors and layers of a model's graph that inference models are built from."""

    encoder_inputs: Any
    memory: Any
    memory_mask: Any
    initial_states: list[Any]
    attention_keys: Any
    decoder: Decoder


@dataclasses.dataclass(frozen=True)
class InferenceModels:
    """The two models of step-by-step decoding. They share the trained model's weights.

    Attributes:
        encoder: A `keras.Model`. Its input is `encoder_inputs`, ids (batch,
            source_length). Its output is a dict of `memory`, float (batch,
            source_length, encoder_units), `memory_mask`, bool (batch, source_length),
            and `states`, the decoder's initial states, a list of floats (batch, width);
            for some kinds of attention also `attention_keys`, the memory after a
            projection.
        decoder_step: A `keras.Model`. Its input is a dict of `token`, int32 ids
            (batch,), and the outputs of the encoder. Its output is a dict of `logits`,
            float (batch, vocab), and the new `states`; with attention also `attention`,
            the weights, float (batch, source_length). Pass tensors only: Keras does
            not accept tensors and numpy arrays in one call.
        config: The `Seq2SeqConfig` of the model.
    """

    encoder: keras.Model
    decoder_step: keras.Model
    config: Seq2SeqConfig

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy compiles its own functions.
        return type(self), (self.encoder, self.decoder_step, self.config)

    @functools.cached_property
    def _compiled_cache(self) -> CompiledCache:
        return CompiledCache(self.encoder, self.decoder_step)

    def _generator(self) -> Generator:
        def make() -> Generator:
            member = InferenceMember(self.encoder, self.decoder_step)
            return Generator([member], compile=self._compiled_cache.compile)

        return self._compiled_cache.get("generator", make)

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
        """Decodes sources with these two models.

        Arguments and results are those of `Seq2Seq.generate`, which is faster, because
        it computes some products before the search. Use this one for a modified step.

        Example:
            >>> from kseq import build_inference_models, build_seq2seq
            >>> model = build_seq2seq(
            ...     source_vocab_size=11, target_vocab_size=11, units=8
            ... )
            >>> hypotheses = build_inference_models(model).generate([[5, 6, 3]], "beam")
            >>> bool(
            ...     abs(hypotheses.scores - model.generate([[5, 6, 3]], "beam").scores)
            ...     < 1e-5
            ... )
            True
        """
        source = check_source(source, self.config.encoder)
        return self._generator()(
            source, search, max_length, batch_size, return_attention, prefix
        )


def build_inference_models(
    model: keras.Model | None = None,
    *,
    encoder: keras.Model | None = None,
    decoder: Decoder | None = None,
) -> InferenceModels:
    """Builds the encoder and the one-step decoder of a trained model.

    They are plain Keras models that use the layers of `model`: nothing is copied, and
    later training of `model` changes them too.

    Args:
        model: A `Seq2Seq`. Default: made from `encoder` and `decoder`.
        encoder: Instead of `model`, for a model composed by hand: the model of
            `build_encoder`, or your own model with the same outputs. Default: none.
        decoder: With `encoder`, the decoder of `build_decoder` that reads it. Default:
            none.

    Returns:
        `InferenceModels` with `.encoder` and `.decoder_step`.

    Raises:
        TypeError: If `model` is not a `kseq.Seq2Seq`, `encoder` is not an encoder or
            `decoder` is not a decoder.
        ValueError: If the encoder does not match the decoder's configuration.

    Example:
        >>> from keras import ops
        >>> from kseq import build_inference_models, build_seq2seq
        >>> model = build_seq2seq(source_vocab_size=11, target_vocab_size=11, units=8)
        >>> inference = build_inference_models(model)
        >>> encoded = inference.encoder(ops.array([[5, 6, 3]]))
        >>> step = inference.decoder_step({**encoded, "token": ops.array([2])})
        >>> step["logits"].shape, len(step["states"])
        (TensorShape([1, 11]), 2)
    """
    if (model is None) == (encoder is None and decoder is None):
        raise TypeError(
            "`build_inference_models` needs a kseq.Seq2Seq, or `encoder` and `decoder` "
            "of a model composed by hand. Received: "
            f"{'neither' if model is None else 'both'}."
        )
    graph: Any = getattr(model, "graph", None)
    if model is None:
        graph = _connect(encoder, decoder)
    if not isinstance(graph, Graph):
        raise TypeError(
            "`model` must be a kseq.Seq2Seq, as `build_seq2seq` or `kseq.load_model` "
            "return it; for another model pass `encoder=` and `decoder=`. Received: "
            f"{type(model).__name__}."
        )
    keys = graph.attention_keys
    encoder_model = keras.Model(
        graph.encoder_inputs,
        {
            "memory": graph.memory,
            "memory_mask": graph.memory_mask,
            "states": graph.initial_states,
            **({} if keys is None else {"attention_keys": keys}),
        },
        name="encoder",
    )
    decoder = graph.decoder
    inputs = {
        "token": keras.Input((), dtype="int32", name="token"),
        "states": [
            keras.Input(state.shape[1:], dtype=state.dtype, name=name)
            for state, name in zip(
                graph.initial_states, decoder.state_names, strict=True
            )
        ],
        "memory": keras.Input(
            graph.memory.shape[1:], dtype=graph.memory.dtype, name="memory"
        ),
        "memory_mask": keras.Input((None,), dtype="bool", name="memory_mask"),
    }
    if keys is not None:
        inputs["attention_keys"] = keras.Input(
            keys.shape[1:], dtype=keys.dtype, name="attention_keys"
        )
    outputs = decoder(
        inputs["token"],
        inputs["states"],
        inputs["memory"],
        inputs["memory_mask"],
        inputs.get("attention_keys"),
    )
    decoder_step = keras.Model(inputs, outputs, name="decoder_step")
    for each in (encoder_model, decoder_step):
        each.jit_compile = False  # XLA on a GPU would remove the checks of ids
    return InferenceModels(encoder_model, decoder_step, decoder.config)


def _connect(encoder: Any, decoder: Any) -> Graph:
    """Returns the graph of an encoder and a decoder that were built separately."""
    if not isinstance(decoder, Decoder):
        raise TypeError(
            "`decoder` must be a model of `build_decoder`. Received: "
            f"{type(decoder).__name__}."
        )
    keys = {"memory", "memory_mask", "states"}
    outputs = getattr(encoder, "output", None)
    if not isinstance(outputs, dict) or set(outputs) != keys:
        raise TypeError(
            "`encoder` must be a model of `build_encoder`, or a model with the outputs "
            f"{sorted(keys)}. Received: {type(encoder).__name__}."
        )
    side = decoder.config.encoder
    sizes = [
        layer.vocab_size for layer in encoder.layers if layer.name == "encoder_ids"
    ]
    if side.representation == "features":
        sizes = [encoder.input.shape[-1]]
    expected = side.vocab_size or side.input_dim
    if sizes and sizes != [expected]:
        raise ValueError(
            "`encoder` must have the source size of the decoder's configuration, "
            f"{expected}. Received: {sizes[0]}."
        )
    memory, mask = outputs["memory"], outputs["memory_mask"]
    return Graph(
        encoder.input,
        memory,
        mask,
        decoder.initial_states(memory, mask, outputs["states"]),
        decoder.attention_keys(memory),
        decoder,
    )
