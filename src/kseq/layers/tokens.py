"""Layers that check token ids and turn them into vectors."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kseq.layers.masking import check_right_padding
from kseq.special_tokens import PAD


def as_int32(ids: Any) -> Any:
    """Converts ids to int32; ids that do not fit become the nearest int32 value.

    A cast would take them modulo 2**32 and give the id of another token.
    """
    ids = tf.convert_to_tensor(ids)
    if ids.dtype in (tf.int64, tf.uint32, tf.uint64):
        return tf.saturate_cast(tf.cast(ids, tf.int64), tf.int32)
    return tf.cast(ids, tf.int32)


@keras.saving.register_keras_serializable(package="kseq")
class TokenIds(keras.layers.Layer):
    """Checks token ids inside the graph and returns them as int32.

    For an id out of range a one-hot layer, and an embedding on a GPU, return zeros, and
    training continues with wrong data. This layer raises
    `tf.errors.InvalidArgumentError`, which names the input and the range. XLA skips
    this check.

    Args:
        vocab_size: Number of ids; they must be in 0..vocab_size - 1.
        input_name: Name of the input, for the error.
        padded_right: Also check that ids (batch, time) have padding (0) on the right
            only. Default False.
        empty_rows: With `padded_right`, allow rows of padding only. Default False.

    Call arguments:
        ids: Integer token ids of any shape.

    Returns:
        The same ids, int32.

    Raises:
        TypeError: If the ids are not integers.
        tf.errors.InvalidArgumentError: If an id is out of range.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import TokenIds
        >>> TokenIds(10, "encoder_inputs")(np.array([[4, 9]])).numpy().tolist()
        [[4, 9]]
    """

    def __init__(
        self,
        vocab_size: int,
        input_name: str = "ids",
        padded_right: bool = False,
        empty_rows: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.input_name = input_name
        self.padded_right = padded_right
        self.empty_rows = empty_rows

    def call(self, ids: Any) -> Any:
        ids = tf.convert_to_tensor(ids)
        if not ids.dtype.is_integer:
            raise TypeError(
                f"`{self.input_name}` must be integers. Received: {ids.dtype.name}."
            )
        ids = as_int32(ids)
        low, high = tf.reduce_min(ids), tf.reduce_max(ids)
        # The extremes of an empty tensor are the extremes of int32, swapped.
        inside = ((low >= 0) & (high < self.vocab_size)) | tf.equal(tf.size(ids), 0)
        checks = [
            tf.debugging.Assert(
                inside,
                [
                    f"`{self.input_name}` must hold token ids in 0.."
                    f"{self.vocab_size - 1}. Received ids from",
                    low,
                    "to",
                    high,
                ],
            )
        ]
        if self.padded_right and ids.shape.rank == 2:
            mask = tf.not_equal(ids, PAD)
            checks += check_right_padding(mask, self.input_name, self.empty_rows)
        with tf.control_dependencies(checks):
            return tf.identity(ids)

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        return keras.KerasTensor(ids.shape, dtype="int32")

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocab_size": self.vocab_size,
            "input_name": self.input_name,
            "padded_right": self.padded_right,
            "empty_rows": self.empty_rows,
        }


@keras.saving.register_keras_serializable(package="kseq")
class OneHot(keras.layers.Layer):
    """Turns token ids into one-hot vectors of the layer's dtype.

    Padding (0) is encoded like any other id.

    Args:
        vocab_size: Width of the vectors.

    Call arguments:
        ids: Integer token ids (batch, time).

    Returns:
        Float one-hot vectors (batch, time, vocab_size).

    Example:
        >>> import numpy as np
        >>> from kseq.layers import OneHot
        >>> OneHot(4)(np.array([[2, 3]])).numpy().tolist()
        [[[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]]
    """

    def __init__(self, vocab_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocab_size = vocab_size

    def call(self, ids: Any) -> Any:
        return ops.one_hot(ids, self.vocab_size, dtype=self.compute_dtype)

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        shape = (*ids.shape, self.vocab_size)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "vocab_size": self.vocab_size}
