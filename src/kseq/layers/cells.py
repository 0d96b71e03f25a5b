"""The equations of recurrent cells: pointwise parts, their gradients, and steps.

Keras orders the gates of an LSTM: input, forget, cell, output; and those of a GRU:
update, reset, candidate.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseq.layers.linear import Block, Linear, LinearWithDropout

# Takes a `Linear`, the inputs and the states to the output and the new states.
Step = Callable[[Linear, Any, list[Any]], tuple[Any, list[Any]]]


def lstm(
    gates: Sequence[Any],
    c: Any,
    sigmoid: Callable[[Any], Any],
    tanh: Callable[[Any], Any],
    normalize: Callable[[Any], Any] | None = None,
) -> tuple[Any, Any, tuple[Any, ...]]:
    """Computes the states of an LSTM from the sums of its gates.

    Args:
        gates: Four floats (rows, units), before the activations.
        c: The cell state before, (rows, units).
        sigmoid: Activation of the input, forget and output gates.
        tanh: Activation of the cell gate and of the new cell state.
        normalize: Applied to the new cell state before its activation. Default: none.

    Returns:
        The new states h and c, and what `lstm_gradient` needs.
    """
    i, f, g, o = gates
    i, f, g, o = sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)
    new_c = f * c + i * g
    shown = tanh(new_c if normalize is None else normalize(new_c))
    return o * shown, new_c, (i, f, g, o, shown)


def lstm_gradient(
    saved: Sequence[Any], c: Any, d_h: Any, d_c: Any
) -> tuple[list[Any], Any]:
    """Computes the gradients of `lstm` with sigmoid and tanh.

    Args:
        saved: What `lstm` returns for it.
        c: The cell state before, (rows, units).
        d_h: Gradient with respect to the new h.
        d_c: Gradient with respect to the new c.

    Returns:
        The gradients with respect to the four gates, and to `c`.
    """
    i, f, g, o, shown = saved
    d_c = d_c + tanh_gradient(shown, d_h * o)
    d_gates = [
        sigmoid_gradient(i, d_c * g),
        sigmoid_gradient(f, d_c * c),
        tanh_gradient(g, d_c * i),
        sigmoid_gradient(o, d_h * shown),
    ]
    return d_gates, d_c * f


def gru(
    z: Any,
    r: Any,
    candidate: Callable[[Any], Any],
    h: Any,
    sigmoid: Callable[[Any], Any],
    tanh: Callable[[Any], Any],
) -> tuple[Any, tuple[Any, ...]]:
    """Computes the state of a GRU from the sums of its gates.

    Args:
        z: The update gate before its activation, (rows, units).
        r: The reset gate before its activation.
        candidate: Function of the reset gate to the candidate before its activation.
        h: The state before, (rows, units).
        sigmoid: Activation of the gates.
        tanh: Activation of the candidate.

    Returns:
        The new state, and what `gru_gradient` needs: z, r and the candidate.
    """
    z, r = sigmoid(z), sigmoid(r)
    g = tanh(candidate(r))
    return g + z * (h - g), (z, r, g)


def gru_gradient(saved: Sequence[Any], h: Any, d_h: Any) -> tuple[Any, Any, Any]:
    """Computes the gradients of `gru` with sigmoid and tanh, but for the reset gate.

    Args:
        saved: What `gru` returns for it.
        h: The state before, (rows, units).
        d_h: Gradient with respect to the new state.

    Returns:
        The gradients with respect to the update gate and the candidate, before their
        activations; and the part of that of `h` that comes through the update gate.
    """
    z, _, g = saved
    d_z = sigmoid_gradient(z, d_h * (h - g))
    through_gate = d_h * z
    return d_z, tanh_gradient(g, d_h - through_gate), through_gate


def sigmoid_gradient(y: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
    """Returns the gradient with respect to x, of y = sigmoid(x) and its gradient."""
    return tf.raw_ops.SigmoidGrad(y=y, dy=d)


def tanh_gradient(y: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
    """Returns the gradient with respect to x, of y = tanh(x) and its gradient."""
    return tf.raw_ops.TanhGrad(y=y, dy=d)


class RecurrentCell(keras.layers.Layer):
    """Base class of cells that declare their products, and so decode fast.

    A subclass defines `state_size`, `build` and `step`, and has the dropout masks of a
    Keras cell if it has `dropout` and `recurrent_dropout` (see `LayerNormLSTMCell`).

    Call arguments:
        inputs: Float vectors (batch, dim).
        states: The state (batch, units), or a list of states.
        training: Boolean, whether dropout acts. Default: False.

    Returns:
        The output (batch, units), and the new states in the form of `states`.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from kseq.layers import RecurrentCell
        >>> class MinimalCell(RecurrentCell):
        ...     state_size = output_size = 4
        ...
        ...     def build(self, input_shape):
        ...         self.kernel = self.add_weight((input_shape[-1], 4))
        ...         self.recurrent_kernel = self.add_weight((4, 4))
        ...
        ...     def step(self, linear, inputs, states):
        ...         (h,) = states
        ...         products = [(inputs, self.kernel), (h, self.recurrent_kernel)]
        ...         h = keras.ops.tanh(linear(products))
        ...         return h, [h]
        >>> keras.layers.RNN(MinimalCell())(np.ones((2, 5, 3))).shape
        TensorShape([2, 4])
    """

    def step(
        self, linear: Linear, inputs: Any, states: list[Any]
    ) -> tuple[Any, list[Any]]:
        """Computes one step from products that `linear` makes.

        Args:
            linear: A `Linear`; its `read` turns a value into a tensor.
            inputs: A value (rows, dim).
            states: Values (rows, units).

        Returns:
            The output (rows, units) and the list of the new states.
        """
        raise NotImplementedError

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        nested = isinstance(states, list | tuple)
        states = list(states) if nested else [states]
        linear = Linear()
        if getattr(self, "dropout", 0) or getattr(self, "recurrent_dropout", 0):
            linear = LinearWithDropout(self, inputs, states[0], training)
        output, after = self.step(linear, inputs, states)
        return output, after if nested else after[0]


def step_of(cell: Any) -> Step | None:
    """Returns the step of a cell, as products and pointwise operations.

    Args:
        cell: A `RecurrentCell`, or one that computes what `LSTMCell`, `GRUCell` or
            `SimpleRNNCell` of Keras do.

    Returns:
        Function of a `Linear`, the inputs and the list of states, to the output and the
        list of new states; None for other cells.
    """
    if isinstance(cell, RecurrentCell):
        return cell.step
    step = _STEPS.get(type(cell).call)
    return None if step is None else functools.partial(step, cell)


def _lstm_step(
    cell: Any, linear: Linear, inputs: Any, states: list[Any]
) -> tuple[Any, list[Any]]:
    h, c = states
    products = [(inputs, cell.kernel), (h, cell.recurrent_kernel)]
    gates = linear(products, cell.bias, splits=4)
    c = linear.read(c)
    h, c, _ = lstm(gates, c, cell.recurrent_activation, cell.activation)
    return h, [h, c]


def _gru_step(
    cell: Any, linear: Linear, inputs: Any, states: list[Any]
) -> tuple[Any, list[Any]]:
    bias, bias_h = gru_biases(cell)
    kernel, split = cell.recurrent_kernel, 2 * cell.units
    x_z, x_r, x_g = linear([(inputs, cell.kernel)], bias, splits=3)
    (h,) = states
    before = linear.read(h)

    def candidate(r: Any) -> Any:
        if cell.reset_after:
            return x_g + r * y_g
        return x_g + linear([(r * before, Block(kernel, np.s_[:, split:]))])

    if cell.reset_after:
        y_z, y_r, y_g = linear([(h, kernel)], bias_h, splits=3)
    else:
        y_z, y_r = linear([(h, Block(kernel, np.s_[:, :split]))], splits=2)
    gates = x_z + y_z, x_r + y_r
    h, _ = gru(*gates, candidate, before, cell.recurrent_activation, cell.activation)
    return h, [h]


def gru_biases(cell: Any) -> tuple[Any, Any]:
    """Returns the biases of a GRU's products with the inputs and with the state.

    Args:
        cell: A cell with `use_bias`, `reset_after` and `bias`.
    """
    if not cell.use_bias:
        return None, None
    if not cell.reset_after:
        return cell.bias, None
    return Block(cell.bias, 0), Block(cell.bias, 1)


def _simple_rnn_step(
    cell: Any, linear: Linear, inputs: Any, states: list[Any]
) -> tuple[Any, list[Any]]:
    products = [(inputs, cell.kernel), (states[0], cell.recurrent_kernel)]
    h = cell.activation(linear(products, cell.bias if cell.use_bias else None))
    return h, [h]


# By what a cell computes: a subclass with a `call` of its own has no entry.
_STEPS: dict[Any, Callable[..., Any]] = {
    keras.layers.LSTMCell.call: _lstm_step,
    keras.layers.GRUCell.call: _gru_step,
    keras.layers.SimpleRNNCell.call: _simple_rnn_step,
}
