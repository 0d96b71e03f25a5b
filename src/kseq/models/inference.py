"""Inference models for step-wise decoding, and the compiled search over them."""

import dataclasses
import functools
from typing import Any

import keras

from kseq.config.architecture import Seq2SeqConfig
from kseq.decoding import Hypotheses
from kseq.models.compiled_functions import Derived
from kseq.models.decoder import Decoder
from kseq.models.generator import Generator, PlainMember, check_source


@dataclasses.dataclass(frozen=True)
class Graph:
    """The places in a model's graph that inference starts from."""

    encoder_inputs: Any
    memory: Any
    memory_mask: Any
    initial_states: list[Any]
    attention_keys: Any
    decoder: Decoder


@dataclasses.dataclass(frozen=True)
class InferenceModels:
    """The two models of step-wise decoding; both share the trained model's weights.

    Attributes:
        encoder: A `keras.Model` from `encoder_inputs`, ids (batch, source_length), to
            a dict: `memory` (batch, source_length, encoder_units), `memory_mask`
            (batch, source_length) and `states`, the decoder's initial states, a list
            of floats (batch, width); for some kinds of attention also
            `attention_keys`, the memory as the attention needs it at every step.
        decoder_step: A `keras.Model` from a dict of `token`, int32 ids (batch,), and
            all that the encoder gives, to a dict of `logits`, floats (batch, vocab),
            and the `states` after the token; where there is attention also
            `attention`, its weights (batch, source_length). Keras refuses tensors and
            numpy arrays in one call: give it all tensors.
        config: The `Seq2SeqConfig` of the model.
    """

    encoder: keras.Model
    decoder_step: keras.Model
    config: Seq2SeqConfig

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled and copied by its models: what is compiled is compiled anew.
        return type(self), (self.encoder, self.decoder_step, self.config)

    @functools.cached_property
    def _derived(self) -> Derived:
        return Derived(self.encoder, self.decoder_step)

    def _searches(self) -> Generator:
        def make() -> Generator:
            member = PlainMember(self.encoder, self.decoder_step)
            return Generator([member], compile=self._derived.compiled)

        return self._derived.get("searches", make)

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
        """Decodes sources by these two models as they stand.

        What comes out is what `Seq2Seq.generate` gives, whose arguments these are; that
        is faster, by a folded form of the step. This is for a step that was changed.

        Example:
            >>> from kseq import build_inference_models, build_seq2seq
            >>> model = build_seq2seq(
            ...     source_vocab_size=11, target_vocab_size=11, units=8
            ... )
            >>> found = build_inference_models(model).generate([[5, 6, 3]], "beam")
            >>> bool(
            ...     abs(found.scores - model.generate([[5, 6, 3]], "beam").scores)
            ...     < 1e-5
            ... )
            True
        """
        source = check_source(source, self.config.encoder)
        return self._searches()(
            source, search, max_length, batch_size, return_attention, prefix
        )


def build_inference_models(
    model: keras.Model | None = None,
    *,
    encoder: keras.Model | None = None,
    decoder: Decoder | None = None,
) -> InferenceModels:
    """Builds the encoder and the one-step decoder of a trained model.

    They are plain Keras models over the very layers of `model`: nothing is copied, and
    what training changes later shows in them.

    Args:
        model: A model of `build_seq2seq`, or one that was saved and loaded.
        encoder: Instead of `model`, the model of `build_encoder` from which the model
            was composed by hand; or one of your own with the same outputs.
        decoder: With `encoder`, the decoder of `build_decoder` that reads it.

    Returns:
        `InferenceModels` with `.encoder` and `.decoder_step`.

    Raises:
        TypeError: If `model` is not a `kseq.Seq2Seq`, `encoder` not an encoder or
            `decoder` not a decoder.
        ValueError: If encoder and decoder do not fit together.

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
            "of one composed by hand. Received: "
            f"{'neither' if model is None else 'both'}."
        )
    graph: Any = getattr(model, "graph", None)
    if model is None:
        graph = _composed(encoder, decoder)
    if not isinstance(graph, Graph):
        raise TypeError(
            "`build_inference_models` needs a kseq.Seq2Seq, as `build_seq2seq` or "
            "`kseq.load_model` return it, or `encoder=` and `decoder=`, to know its "
            f"encoder from its decoder. Received: {type(model).__name__}."
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
        each.jit_compile = False  # or `predict` on a GPU would leave out checks of ids
    return InferenceModels(encoder_model, decoder_step, decoder.config)


def _composed(encoder: Any, decoder: Any) -> Graph:
    """Returns the graph of an encoder and a decoder that were built by themselves."""
    if not isinstance(decoder, Decoder):
        raise TypeError(
            "`decoder` must be a decoder of `build_decoder`. Received: "
            f"{type(decoder).__name__}."
        )
    keys = {"memory", "memory_mask", "states"}
    outputs = getattr(encoder, "output", None)
    if not isinstance(outputs, dict) or set(outputs) != keys:
        raise TypeError(
            "`encoder` must be a model of `build_encoder`, or one with the outputs "
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
            "`encoder` must read the sources that the decoder's configuration has, "
            f"with a size of {expected}. Received: one of {sizes[0]}."
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
