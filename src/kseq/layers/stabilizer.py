"""A gain that is learned."""

import math
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kseq")
class Stabilizer(keras.layers.Layer):
    """Multiplies with a learned positive number: one for the layer, 1 at the start.

    The number is softplus(steepness * beta) / steepness with a scalar weight beta: it
    acts on the inputs as a learning rate of their own would (CNTK's `Stabilizer`).

    Args:
        steepness: Positive float: the larger, the more the gain is beta itself, cut off
            at 0. Default 4.0.

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

    supports_masking = True  # it needs no mask and passes none on

    def __init__(self, steepness: float = 4.0, **kwargs: Any) -> None:
        if not 0 < steepness < math.inf:
            raise ValueError(f"`steepness` must be above 0. Received: {steepness!r}.")
        super().__init__(**kwargs)
        self.steepness = steepness

    def build(self, input_shape: Any) -> None:
        # Where softplus is `steepness`: log(exp(steepness) - 1), without overflow.
        start = self.steepness + math.log(-math.expm1(-self.steepness))
        self.beta = self.add_weight(
            (),
            initializer=keras.initializers.Constant(start / self.steepness),
            name="beta",
            autocast=False,  # one number for a whole layer deserves its float32
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
