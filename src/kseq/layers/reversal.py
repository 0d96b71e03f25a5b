"""Reversal of padded sequences."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kseq")
class ReversalMask(keras.layers.Layer):
    """Returns the mask of the tokens to reverse: the real ones without a final `</s>`.

    Args:
        end_id: Id that keeps its position as the last real token. Default 3.

    Call arguments:
        ids: Integer token ids (batch, time).
        mask: Boolean (batch, time), True at the real tokens, which are on the left.

    Returns:
        Boolean (batch, time), the mask without a final `</s>`.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import ReversalMask
        >>> ids = np.array([[7, 8, 3, 0], [7, 8, 9, 0]])
        >>> ReversalMask()(ids, mask=ids != 0).numpy().astype(int).tolist()
        [[1, 1, 0, 0], [1, 1, 1, 0]]
    """

    supports_masking = True  # its mask is an argument

    def __init__(self, end_id: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.end_id = end_id

    def call(self, ids: Any, mask: Any) -> Any:
        lengths = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
        steps = ops.arange(ops.shape(ids)[1], dtype="int32")[None]  # (1, time)
        is_last = ops.equal(steps, lengths - 1)  # (batch, time)
        return mask & ~(is_last & ops.equal(ids, self.end_id))

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_spec(self, ids: Any, mask: Any) -> keras.KerasTensor:
        return keras.KerasTensor(ids.shape, dtype="bool")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "end_id": self.end_id}


@keras.saving.register_keras_serializable(package="kseq")
class ReverseSequence(keras.layers.Layer):
    """Reverses the masked steps at the start of each row; the rest stays in place.

    Call arguments:
        inputs: Ids (batch, time) or vectors (batch, time, dim), any dtype.
        mask: Boolean (batch, time), True at the steps to reverse, on the left.

    Returns:
        A tensor of the shape and dtype of `inputs`. Reversing twice gives `inputs`.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import ReverseSequence
        >>> ids = np.array([[7, 8, 9, 3], [5, 3, 0, 0]])
        >>> ReverseSequence()(ids, mask=ids != 0).numpy().tolist()
        [[3, 9, 8, 7], [3, 5, 0, 0]]

    Reference:
        Sutskever et al., 2014, "Sequence to Sequence Learning with Neural Networks".
    """

    supports_masking = True  # its mask is an argument

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # keeps the dtype of its inputs

    def call(self, inputs: Any, mask: Any) -> Any:
        lengths = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
        steps = ops.arange(ops.shape(mask)[1], dtype="int32")[None]  # (1, time)
        order = ops.where(steps < lengths, lengths - 1 - steps, steps)
        # (batch, time), its own inverse
        if len(inputs.shape) == 3:
            order = order[..., None]
        return ops.take_along_axis(inputs, order, axis=1)

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_spec(self, inputs: Any, mask: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)
