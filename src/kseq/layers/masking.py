"""Masks of padded batches."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kseq.special_tokens import PAD


@keras.saving.register_keras_serializable(package="kseq")
class PaddingMask(keras.layers.Layer):
    """Returns the mask of the real tokens of a batch of ids, which are not 0.

    Call arguments:
        ids: Integer token ids (batch, time).

    Returns:
        Boolean mask (batch, time), True at the real tokens.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import PaddingMask
        >>> PaddingMask()(np.array([[5, 3, 0]])).numpy().tolist()
        [[True, True, False]]
    """

    def call(self, ids: Any) -> Any:
        return ops.not_equal(ids, PAD)  # (batch, time)

    def compute_output_spec(self, ids: Any) -> keras.KerasTensor:
        return keras.KerasTensor(ids.shape, dtype="bool")


@keras.saving.register_keras_serializable(package="kseq")
class FeatureMask(keras.layers.Layer):
    """Returns the mask of the real steps of a batch of vectors, which are not all 0.

    Raises `tf.errors.InvalidArgumentError` for a row of padding only, and for padding
    before a real step. XLA skips this check.

    Args:
        input_name: Name of the input, for the error. Default `"encoder_inputs"`.

    Call arguments:
        features: Float vectors (batch, time, dim).

    Returns:
        Boolean mask (batch, time), True at the real steps.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import FeatureMask
        >>> FeatureMask()(np.array([[[0.5, 0.0], [0.0, 0.0]]])).numpy().tolist()
        [[True, False]]
    """

    def __init__(self, input_name: str = "encoder_inputs", **kwargs: Any) -> None:
        # In float16 a small number would become 0, and a real step padding.
        super().__init__(autocast=False, **kwargs)
        self.input_name = input_name

    def call(self, features: Any) -> Any:
        mask = ops.any(ops.not_equal(features, 0), axis=-1)  # (batch, time)
        checks = check_right_padding(mask, self.input_name)
        with tf.control_dependencies(checks):
            return tf.identity(mask)

    def compute_output_spec(self, features: Any) -> keras.KerasTensor:
        return keras.KerasTensor(features.shape[:-1], dtype="bool")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "input_name": self.input_name}


@keras.saving.register_keras_serializable(package="kseq")
class MaskedMean(keras.layers.Layer):
    """Mean of a sequence of vectors over its real steps.

    Call arguments:
        inputs: Float vectors (batch, time, dim).
        mask: Boolean (batch, time), True at the real steps.

    Returns:
        Float (batch, dim); zeros for a row without a real step.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import MaskedMean
        >>> vectors = np.array([[[1.0], [3.0], [9.0]]], dtype="float32")
        >>> MaskedMean()(vectors, mask=np.array([[True, True, False]])).numpy()
        array([[2.]], dtype=float32)
    """

    supports_masking = True  # its mask is an argument

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # keeps the dtype of its inputs

    def call(self, inputs: Any, mask: Any) -> Any:
        weights = ops.cast(mask, inputs.dtype)[..., None]  # (batch, time, 1)
        # `where` rather than a product: padding may hold infinities.
        total = ops.sum(ops.where(weights > 0, inputs, 0), axis=1)  # (batch, dim)
        return total / ops.maximum(ops.sum(weights, axis=1), 1)

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_spec(self, inputs: Any, mask: Any) -> keras.KerasTensor:
        shape = (inputs.shape[0], inputs.shape[-1])
        return keras.KerasTensor(shape, dtype=inputs.dtype)


@keras.saving.register_keras_serializable(package="kseq")
class WithoutMask(keras.layers.Layer):
    """Removes the mask that Keras attached to a tensor.

    kseq passes masks as arguments. An attached mask would also reach layers that must
    not use it.

    Call arguments:
        inputs: A tensor of any shape and dtype.

    Returns:
        The same tensor.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import WithoutMask
        >>> WithoutMask()(np.array([1.0, 2.0])).numpy().tolist()
        [1.0, 2.0]
    """

    supports_masking = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # keeps the dtype of its inputs

    def call(self, inputs: Any) -> Any:
        return tf.identity(inputs)

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)


def check_right_padding(
    mask: Any, input_name: str, empty_rows: bool = False
) -> list[Any]:
    """Asserts in the graph that each row has a real step, and padding only after it.

    Args:
        mask: Boolean tensor (batch, time).
        input_name: Name of the input, for the error.
        empty_rows: Allow rows of padding only. Default False.

    Returns:
        The assertions, for `tf.control_dependencies`.
    """
    some = empty_rows | tf.reduce_all(tf.reduce_any(mask, axis=1))
    ordered = tf.reduce_all(tf.logical_or(mask[:, :-1], ~mask[:, 1:]))
    return [
        tf.debugging.Assert(
            some,
            [
                f"`{input_name}` has a row of padding only: each row needs at least "
                "one real step."
            ],
        ),
        tf.debugging.Assert(
            ordered,
            [
                f"`{input_name}` has padding before a real step: padding (0) must be "
                "on the right. kseq.data.Examples.from_arrays converts ids of which 0 "
                "is a symbol."
            ],
        ),
    ]
