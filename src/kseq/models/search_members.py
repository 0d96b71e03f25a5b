"""Models in the form that a search runs: one alone, or several as an ensemble."""

from typing import Any, Protocol

import keras
import tensorflow as tf

from kseq.decoding import Step
from kseq.decoding.step_function import as_step
from kseq.models.decoder import Decoder
from kseq.models.precomputed_step import PrecomputedStep


class Member(Protocol):
    """A model in the form that a search runs.

    Attributes:
        source: `tf.TensorSpec` of the sources.
        vocab_size: Size of the target vocabulary.
        has_attention: Whether its steps return attention weights.
    """

    source: tf.TensorSpec
    vocab_size: int
    has_attention: bool

    def table_signature(self) -> list[tf.TensorSpec]:
        """Returns the specs of `tables`."""

    def tables(self) -> list[Any]:
        """Computes lookup tables with a row for each token; an empty list for none."""

    def start(self, source: Any, tables: list[Any]) -> tuple[Step, Any, Any, Any]:
        """Encodes sources.

        Args:
            source: Tensor of sources, (batch, source_length, ...).
            tables: The tables, or an empty list to decode without them.

        Returns:
            A tuple of the `Step`, its initial states, the constants of the sources, and
            the mask of the sources.
        """


class PrecomputedMember:
    """A model whose step reads products that were computed before the search.

    Args:
        encoder: Encoder of the inference models.
        decoder: The model's `Decoder`.
    """

    def __init__(self, encoder: keras.Model, decoder: Decoder) -> None:
        self._encoder = encoder
        outputs = encoder.output
        self.source = tensor_spec(encoder.input)
        keys = outputs.get("attention_keys")
        self._decoder = PrecomputedStep(
            decoder,
            outputs["memory"].shape[-1],
            None if keys is None else keys.shape[-1],
        )
        self.vocab_size = self._decoder.vocab_size
        self.has_attention = decoder.core.attention is not None

    def table_signature(self) -> list[tf.TensorSpec]:
        """See `Member`."""
        return self._decoder.table_signature() if self._decoder.uses_tables else []

    def tables(self) -> list[Any]:
        """See `Member`."""
        return self._decoder.tables() if self._decoder.uses_tables else []

    def start(self, source: Any, tables: list[Any]) -> tuple[Step, Any, Any, Any]:
        """See `Member`."""
        encoded = self._encoder(source, training=False)
        step, sources = self._decoder.step(encoded, tables or None)
        return step, encoded["states"], sources, encoded["memory_mask"]


class InferenceMember:
    """A model whose step is the model `decoder_step` of the inference models.

    Args:
        encoder: Encoder of the inference models.
        decoder_step: One-step decoder of the inference models.
    """

    def __init__(self, encoder: keras.Model, decoder_step: keras.Model) -> None:
        self._encoder = encoder
        self._decoder_step = decoder_step
        self.source = tensor_spec(encoder.input)
        outputs = decoder_step.output
        self.vocab_size = outputs["logits"].shape[-1]
        self.has_attention = "attention" in outputs

    def table_signature(self) -> list[tf.TensorSpec]:
        """See `Member`."""
        return []

    def tables(self) -> list[Any]:
        """See `Member`."""
        return []

    def start(self, source: Any, tables: list[Any]) -> tuple[Step, Any, Any, Any]:
        """See `Member`."""
        encoded = dict(self._encoder(source, training=False))
        states = encoded.pop("states")

        def step(token: Any, states: Any, sources: Any) -> tuple[Any, ...]:
            outputs = self._decoder_step(
                {**sources, "token": token, "states": states}, training=False
            )
            attention = [outputs["attention"]] if self.has_attention else []
            return (outputs["logits"], outputs["states"], *attention)

        return as_step(step, True), states, encoded, encoded.get("memory_mask")


def tensor_spec(tensor: Any) -> tf.TensorSpec:
    """Returns shape and dtype of a Keras tensor."""
    return tf.TensorSpec(tensor.shape, tensor.dtype)
