"""Initial states of recurrent layers."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kseq")
class ZeroState(keras.layers.Layer):
    """A state of zeros, with as many rows as another tensor.

    Args:
        units: Width of the state.

    Call arguments:
        reference: A tensor of any dtype whose first dimension is the batch.

    Returns:
        Zeros (batch, units) of the layer's compute dtype.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import ZeroState
        >>> ZeroState(2)(np.array([[5], [6], [7]])).shape
        TensorShape([3, 2])
    """

    supports_masking = True  # it needs no mask

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units

    def call(self, reference: Any) -> Any:
        return ops.zeros((ops.shape(reference)[0], self.units), self.compute_dtype)

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_spec(self, reference: Any) -> keras.KerasTensor:
        return keras.KerasTensor(
            (reference.shape[0], self.units), dtype=self.compute_dtype
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
