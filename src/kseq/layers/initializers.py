"""Initializers that Keras lacks."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kseq")
class ForgetBias(keras.initializers.Initializer):
    """Bias of an LSTM: a value for the forget gate, zeros for the other gates.

    `unit_forget_bias` of Keras has only the value 1.

    Args:
        value: Float, initial bias of the forget gate. Default 1.0.

    Example:
        >>> import keras
        >>> from kseq.layers import ForgetBias
        >>> layer = keras.layers.LSTM(
        ...     1, bias_initializer=ForgetBias(2.0), unit_forget_bias=False
        ... )
        >>> layer.build((None, None, 3))
        >>> keras.ops.convert_to_numpy(layer.cell.bias).tolist()
        [0.0, 2.0, 0.0, 0.0]

    Reference:
        Jozefowicz et al., 2015, "An Empirical Exploration of Recurrent Network
        Architectures".
    """

    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        if len(shape) != 1 or shape[0] % 4:
            raise ValueError(
                "ForgetBias makes the bias of an LSTM, a vector of 4 * units. "
                f"Received: shape={shape}."
            )
        units = shape[0] // 4  # Keras orders the gates: input, forget, cell, output
        zeros = ops.zeros((units,), dtype=dtype)
        forget = ops.full((units,), self.value, dtype=dtype)
        return ops.concatenate([zeros, forget, zeros, zeros])

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}
