"""The attentional hidden layer, between attention and output."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kseq.layers.attention.base import another, at_least_one
from kseq.layers.linear import Block, Linear


@keras.saving.register_keras_serializable(package="kseq")
class AttentionalHidden(keras.layers.Layer):
    """Combines the decoder's output and the context: tanh(W [h; context] + b).

    Args:
        units: Width of the output.
        gate: Weight the two by a learned gate z: tanh(z * (W h) + (1 - z) * (U context)
            + b), with z = sigmoid(V [h; context] + d). Default False.
        kernel_initializer: Initializer of the kernels. Default `"glorot_uniform"`.

    Call arguments:
        hidden: Float (batch, [time,] dim), the output of the recurrent layers.
        context: Float (batch, [time,] context_dim), from the attention.

    Returns:
        Float (batch, [time,] units).

    Example:
        >>> import numpy as np
        >>> from kseq.layers import AttentionalHidden
        >>> hidden, context = np.ones((2, 4), "float32"), np.ones((2, 3), "float32")
        >>> AttentionalHidden(5, gate=True)(hidden, context).shape
        TensorShape([2, 5])

    Reference:
        Luong et al., 2015, "Effective Approaches to Attention-based Neural Machine
        Translation"; Tu et al., 2017, "Context Gates for Neural Machine Translation".
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        gate: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = at_least_one("units", units)
        self.gate = gate
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, hidden_shape: Any, context_shape: Any) -> None:
        widths = hidden_shape[-1], context_shape[-1]
        self.kernel = self._weight("kernel", (sum(widths), self.units))
        self.bias = self.add_weight(
            shape=(self.units,), initializer="zeros", name="bias"
        )
        if self.gate:
            self.gate_kernel = self._weight("gate_kernel", (sum(widths), self.units))
            self.gate_bias = self.add_weight(
                shape=(self.units,), initializer="zeros", name="gate_bias"
            )
        self.built = True

    def _weight(self, name: str, shape: tuple[int, int]) -> keras.Variable:
        return self.add_weight(
            shape=shape, initializer=another(self.kernel_initializer), name=name
        )

    def call(self, hidden: Any, context: Any) -> Any:
        return self.step(Linear(), hidden, context)

    def step(self, linear: Linear, hidden: Any, context: Any) -> Any:
        """Computes the layer from products that `linear` makes.

        Args:
            linear: A `Linear`.
            hidden: A value (..., dim).
            context: A value (..., context_dim).
        """
        both = [hidden, context]
        if not self.gate:
            return ops.tanh(linear([(both, self.kernel)], self.bias))
        gate = ops.sigmoid(linear([(both, self.gate_kernel)], self.gate_bias))
        width = linear.width(hidden)
        from_hidden = linear([(hidden, Block(self.kernel, np.s_[:width]))])
        from_context = linear([(context, Block(self.kernel, np.s_[width:]))])
        mixed = gate * from_hidden + (1 - gate) * from_context
        return ops.tanh(mixed + linear.weight(self.bias))

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_spec(self, hidden: Any, context: Any) -> keras.KerasTensor:
        return keras.KerasTensor(
            (*hidden.shape[:-1], self.units), dtype=self.compute_dtype
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "gate": self.gate,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
