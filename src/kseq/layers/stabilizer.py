"""A learned gain."""

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kseq")
class Stabilizer(keras.layers.Layer):
    """Multiplies its inputs by a learned positive scalar, initially 1.

    The scalar is softplus(steepness * beta) / steepness with a scalar weight beta. It
    works like a separate learning rate for the inputs (CNTK's `Stabilizer`).

    Args:
        steepness: Positive float. For a large one the gain is max(beta, 0). Default:
            4.0.

    Call arguments:
        inputs: Float tensor of any shape.

    Returns:
        A tensor of the shape of `inputs` and the layer's compute dtype.

    Raises:
        ValueError: If `steepness` is not above 0.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import Stabilizer
        >>> Stabilizer()(np.array([0.5, -2.0])).numpy().tolist()
        [0.5, -2.0]

    Reference:
        Ghahremani and Droppo, 2016, "Self-stabilized deep neural network".
    """

    supports_masking = True  # it needs no mask

    def __init__(self, steepness: float = 4.0, **kwargs: Any) -> None:
        if not 0 < steepness < math.inf:
            raise ValueError(f"`steepness` must be above 0. Received: {steepness!r}.")
        super().__init__(**kwargs)
        self.steepness = steepness

    def build(self, input_shape: Any) -> None:
        # Inverse of softplus at `steepness`, without overflow.
        start = self.steepness + math.log(-math.expm1(-self.steepness))
        self.beta = self.add_weight(
            (),
            initializer=keras.initializers.Constant(start / self.steepness),
            name="beta",
            autocast=False,  # float32 in half precision too
        )

    def call(self, inputs: Any) -> Any:
        gain = ops.softplus(self.steepness * self.beta) / self.steepness
        return ops.cast(inputs, self.compute_dtype) * ops.cast(gain, self.compute_dtype)

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "steepness": self.steepness}
