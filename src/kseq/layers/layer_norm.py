"""Recurrent layers with layer normalization."""

import inspect
from typing import Any

import keras
import numpy as np
from keras import ops

from kseq.layers.cells import RecurrentCell, gru, gru_biases, lstm
from kseq.layers.linear import Block, Linear

# Keras reads it before it passes a layer's weights to cuDNN, and `Bidirectional` copies
# it from one direction to the other.
_no_cudnn = property(
    lambda self: False, lambda self, value: None, doc="False: cuDNN does not normalize."
)


@keras.saving.register_keras_serializable(package="kseq")
class LayerNormLSTMCell(RecurrentCell, keras.layers.LSTMCell):
    """One step of an LSTM with layer normalization, for `LayerNormLSTM`.

    Args:
        units: Width of both states; 2 or more, since normalizing a single value always
            gives 0.
        epsilon: Positive float, added to the variances. Default 1e-5.
        **kwargs: Keyword arguments of `keras.layers.LSTMCell`.

    Call arguments:
        inputs: Float vectors (batch, dim).
        states: The states h and c, each (batch, units).
        training: Boolean, whether dropout acts. Default: False.

    Returns:
        The output (batch, units) and the list of the new states, each (batch, units).

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import LayerNormLSTMCell
        >>> cell = LayerNormLSTMCell(4)
        >>> output, (h, c) = cell(np.ones((2, 3)), cell.get_initial_state(2))
        >>> output.shape, c.shape
        (TensorShape([2, 4]), TensorShape([2, 4]))

    Reference:
        Ba et al., 2016, "Layer Normalization".
    """

    def __init__(self, units: int, *, epsilon: float = 1e-5, **kwargs: Any) -> None:
        _check_options(epsilon, kwargs)
        super().__init__(units, **kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        _check_units(self.units)
        super().build(input_shape)
        _add_gains(self, 4 * self.units)
        self.cell_gain = _add_weight(self, "cell_gain", self.units, "ones")
        self.cell_offset = None
        if self.use_bias:
            self.cell_offset = _add_weight(self, "cell_offset", self.units, "zeros")

    def step(
        self, linear: Linear, inputs: Any, states: list[Any]
    ) -> tuple[Any, list[Any]]:
        h, c = states
        x = linear([(inputs, self.kernel)])  # (rows, 4 * units)
        y = linear([(h, self.recurrent_kernel)])
        gates = _normalized(self, x, self.kernel_gain)
        gates += _normalized(self, y, self.recurrent_gain, self.bias)

        def normalize(c: Any) -> Any:
            return _normalized(self, c, self.cell_gain, self.cell_offset)

        h, c, _ = lstm(
            ops.split(gates, 4, axis=-1),
            linear.read(c),
            self.recurrent_activation,
            self.activation,
            normalize,
        )
        return h, [h, c]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="kseq")
class LayerNormGRUCell(RecurrentCell, keras.layers.GRUCell):
    """One step of a GRU with layer normalization, for `LayerNormGRU`.

    Args:
        units: Width of the state; 2 or more, since normalizing a single value always
            gives 0.
        epsilon: Positive float, added to the variances. Default 1e-5.
        **kwargs: Keyword arguments of `keras.layers.GRUCell`.

    Call arguments:
        inputs: Float vectors (batch, dim).
        states: The state h (batch, units), or a list of it.
        training: Boolean, whether dropout acts. Default: False.

    Returns:
        The output (batch, units) and the new state (batch, units), in a list if it came
        in one.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import LayerNormGRUCell
        >>> cell = LayerNormGRUCell(4)
        >>> output, (h,) = cell(np.ones((2, 3)), cell.get_initial_state(2))
        >>> output.shape, h.shape
        (TensorShape([2, 4]), TensorShape([2, 4]))

    Reference:
        Ba et al., 2016, "Layer Normalization".
    """

    def __init__(self, units: int, *, epsilon: float = 1e-5, **kwargs: Any) -> None:
        _check_options(epsilon, kwargs)
        super().__init__(units, **kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        _check_units(self.units)
        super().build(input_shape)
        _add_gains(self, 3 * self.units)

    def step(
        self, linear: Linear, inputs: Any, states: list[Any]
    ) -> tuple[Any, list[Any]]:
        bias, bias_h = gru_biases(self)
        kernel, gain, split = self.recurrent_kernel, self.recurrent_gain, 2 * self.units
        x = linear([(inputs, self.kernel)])  # (rows, 3 * units)
        x = _normalized(self, x, self.kernel_gain, bias)
        x_z, x_r, x_g = ops.split(x, 3, axis=-1)  # (rows, units)
        (h,) = states
        before = linear.read(h)

        def candidate(r: Any) -> Any:
            if self.reset_after:
                return x_g + r * y[:, split:]
            y_g = linear([(r * before, Block(kernel, np.s_[:, split:]))])
            return x_g + _normalized(self, y_g, gain[split:])

        if self.reset_after:
            y = _normalized(self, linear([(h, kernel)]), gain, bias_h)
        else:
            y = linear([(h, Block(kernel, np.s_[:, :split]))])
            y = _normalized(self, y, gain[:split])
        gates = x_z + y[:, : self.units], x_r + y[:, self.units : split]
        activations = self.recurrent_activation, self.activation
        h, _ = gru(*gates, candidate, before, *activations)
        return h, [h]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="kseq")
class LayerNormLSTM(keras.layers.LSTM):
    """An LSTM that normalizes its gates and its cell state at every step.

    With LN(a) = (a - mean(a)) / sqrt(var(a) + epsilon), taken over the units of each
    gate separately, a step computes from the vector x and the states h and c::

        i, f, g, o = gain_x * LN(x W) + gain_h * LN(h U) + b
        c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h' = sigmoid(o) * tanh(gain_c * LN(c') + offset_c)

    The gains start at 1, the offset at 0; with `use_bias=False` there is neither b nor
    offset. Means and variances are taken in float32 or wider. cuDNN has no kernel for
    this, so on a GPU it is slower than `keras.layers.LSTM`.

    Args:
        units: Width of the output; 2 or more, since normalizing a single value always
            gives 0.
        epsilon: Positive float, added to the variances. Default 1e-5.
        **kwargs: Keyword arguments of `keras.layers.LSTM` except `use_cudnn`:
            `dropout`, `recurrent_dropout`, `return_sequences`, `return_state`,
            `go_backwards`...

    Call arguments:
        sequences: Float vectors (batch, time, dim).
        initial_state: List of h and c, each (batch, units). Default: zeros.
        mask: Boolean (batch, time), True at the steps to read. Default: all.
        training: Boolean, whether dropout acts. Default: False.

    Returns:
        The last output (batch, units), with `return_sequences` all of them (batch,
        time, units); with `return_state` also h and c, each (batch, units).

    Raises:
        ValueError: If an argument is out of range or unknown.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import LayerNormLSTM
        >>> layer = LayerNormLSTM(4, return_sequences=True)
        >>> layer(np.ones((2, 5, 3))).shape
        TensorShape([2, 5, 4])

    Reference:
        Ba et al., 2016, "Layer Normalization".
    """

    use_cudnn = _no_cudnn

    def __init__(self, units: int, *, epsilon: float = 1e-5, **kwargs: Any) -> None:
        options = _cell_options(keras.layers.LSTMCell, kwargs)
        cell = LayerNormLSTMCell(
            units, epsilon=epsilon, name="layer_norm_lstm_cell", **options
        )
        # Not LSTM's `__init__`, which would create Keras's cell.
        keras.layers.RNN.__init__(self, cell, **kwargs)
        self.input_spec = keras.InputSpec(ndim=3)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.cell.epsilon}


@keras.saving.register_keras_serializable(package="kseq")
class LayerNormGRU(keras.layers.GRU):
    """A GRU that normalizes its gates at every step.

    With LN(a) = (a - mean(a)) / sqrt(var(a) + epsilon), taken over the units of each
    gate separately, a step computes from the vector x and the state h::

        x_z, x_r, x_g = gain_x * LN(x W) + b_x
        y_z, y_r, y_g = gain_h * LN(h U) + b_h
        z = sigmoid(x_z + y_z)
        r = sigmoid(x_r + y_r)
        h' = z * h + (1 - z) * tanh(x_g + r * y_g)

    With `reset_after=False` the reset gate comes before the product: y_g is
    gain_h * LN((r * h) U), the candidate tanh(x_g + y_g), and there is no b_h. The
    gains start at 1; with `use_bias=False` there are no biases. Means and variances
    are taken in float32 or wider. cuDNN has no kernel for this, so on a GPU it is
    slower than `keras.layers.GRU`.

    Args:
        units: Width of the output; 2 or more, since normalizing a single value always
            gives 0.
        epsilon: Positive float, added to the variances. Default 1e-5.
        **kwargs: Keyword arguments of `keras.layers.GRU` except `use_cudnn`: `dropout`,
            `recurrent_dropout`, `return_sequences`, `return_state`, `go_backwards`...

    Call arguments:
        sequences: Float vectors (batch, time, dim).
        initial_state: The state h (batch, units). Default: zeros.
        mask: Boolean (batch, time), True at the steps to read. Default: all.
        training: Boolean, whether dropout acts. Default: False.

    Returns:
        The last output (batch, units), with `return_sequences` all of them (batch,
        time, units); with `return_state` also h (batch, units).

    Raises:
        ValueError: If an argument is out of range or unknown.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import LayerNormGRU
        >>> layer = LayerNormGRU(4, return_sequences=True)
        >>> layer(np.ones((2, 5, 3))).shape
        TensorShape([2, 5, 4])

    Reference:
        Ba et al., 2016, "Layer Normalization".
    """

    use_cudnn = _no_cudnn

    def __init__(self, units: int, *, epsilon: float = 1e-5, **kwargs: Any) -> None:
        options = _cell_options(keras.layers.GRUCell, kwargs)
        cell = LayerNormGRUCell(
            units, epsilon=epsilon, name="layer_norm_gru_cell", **options
        )
        # Not GRU's `__init__`, which would create Keras's cell.
        keras.layers.RNN.__init__(self, cell, **kwargs)
        self.input_spec = keras.InputSpec(ndim=3)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.cell.epsilon}


def _cell_options(cell: type, options: dict[str, Any]) -> dict[str, Any]:
    """Removes the options of a cell from those of its layer, and returns them."""
    names = set(inspect.signature(cell).parameters) - {"kwargs"}
    shared = {name: options[name] for name in ("dtype", "trainable") if name in options}
    return shared | {name: options.pop(name) for name in names & set(options)}


def _check_options(epsilon: float, options: dict[str, Any]) -> None:
    if not 0 < epsilon < float("inf"):
        raise ValueError(f"`epsilon` must be above 0. Received: {epsilon!r}.")
    for name in ("dropout", "recurrent_dropout"):
        # Keras accepts any rate, and ignores 1 or more.
        if not 0 <= options.get(name, 0) < 1:
            raise ValueError(
                f"`{name}` must be at least 0 and below 1. Received: {options[name]!r}."
            )
    if "implementation" in options:  # Keras does not save it in the config
        raise ValueError(
            "`implementation` is not supported: this cell has only one. "
            f"Received: {options['implementation']!r}."
        )


def _check_units(units: int) -> None:
    # In `build`: a pattern for the builders may have any width.
    if units < 2:
        raise ValueError(
            "`units` must be 2 or more: normalizing a single value always gives 0. "
            f"Received: {units}."
        )


def _add_weight(cell: keras.layers.Layer, name: str, size: int, start: str) -> Any:
    # It multiplies float32 values, in half precision too.
    return cell.add_weight((size,), initializer=start, name=name, autocast=False)


def _add_gains(cell: keras.layers.Layer, size: int) -> None:
    cell.kernel_gain = _add_weight(cell, "kernel_gain", size, "ones")
    cell.recurrent_gain = _add_weight(cell, "recurrent_gain", size, "ones")


def _normalized(cell: Any, x: Any, gain: Any, offset: Any = None) -> Any:
    """Normalizes the units of each gate, then applies gain and offset.

    Args:
        cell: The cell, for its `units` and `epsilon`.
        x: Float (batch, gates * units).
        gain: Float (gates * units,).
        offset: Float (gates * units,). Default: none.

    Returns:
        Float (batch, gates * units), of the dtype of `x`.
    """
    wide = keras.backend.result_type(x.dtype, "float32")
    values = ops.reshape(ops.cast(x, wide), (-1, x.shape[-1] // cell.units, cell.units))
    mean, variance = ops.moments(values, axes=-1, keepdims=True)  # (batch, gates, 1)
    values = (values - mean) * ops.rsqrt(variance + cell.epsilon)
    values = ops.reshape(values, (-1, x.shape[-1])) * ops.cast(gain, wide)
    if offset is not None:
        offset = offset.read() if isinstance(offset, Block) else offset
        values += ops.cast(offset, wide)
    return ops.cast(values, x.dtype)
