"""Training loops of an LSTM and a GRU, with gradients written by hand.

TensorFlow's gradient of a loop has a product for every weight at every step. Here a
backward loop computes only the gradients of the gates. The gradient of a kernel is then
one product over all steps (Appleyard et al., 2016, "Optimizing Performance of Recurrent
Neural Networks on GPUs").
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from kseq._compat.tensorflow import custom_gradient
from kseq.layers import cells
from kseq.layers.time_steps import unstack_steps

# Function of a step's index and the states to the new states and the values to save.
_Step = Callable[[tf.Tensor, tuple[Any, ...]], tuple[tuple[Any, ...], tuple[Any, ...]]]


def lstm_states(
    projected: tf.Tensor,
    h: tf.Tensor,
    c: tf.Tensor,
    kernel: tf.Tensor,
    mask: tf.Tensor | None,
    dropped: Sequence[tf.Tensor] | None,
    sequences: bool,
) -> tuple[tf.Tensor, ...]:
    """Runs an LSTM with tanh and sigmoid over all steps.

    Args:
        projected: Products of the inputs with their kernel, and bias: float (time,
            batch, 4 * units), the gates in Keras's order, input, forget, cell, output.
        h: First state (batch, units).
        c: First cell state (batch, units).
        kernel: Of the states (units, 4 * units).
        mask: Boolean (time, batch), True at the steps to compute; or None.
        dropped: Masks (batch, units) of h, one for each gate; or None.
        sequences: Return the states h after all steps too.

    Returns:
        The last h, the last c, and with `sequences` all h (time, batch, units).
    """
    units = h.shape[-1]

    @custom_gradient
    def run(projected: Any, h_0: Any, c_0: Any, kernel: Any) -> Any:
        products = _Products(kernel, dropped)

        def forward(t: Any, states: Any) -> Any:
            h, c = states
            gates = projected[t] + products.make(h)  # (batch, 4 * units)
            gates = tf.split(gates, 4, axis=1)  # (batch, units)
            new_h, new_c, kept = cells.lstm(gates, c, tf.sigmoid, tf.tanh)
            new = _select_rows(mask, t, (new_h, new_c), states)
            return new, (new[0], *kept, c)

        (h, c), saved = _loop(forward, (h_0, c_0), projected, 7 * [units])
        all_h = [saved[0].stack()] if sequences else []  # (time, batch, units)

        def gradient(d_h: Any, d_c: Any, *d_all: Any) -> Any:
            arrays = _readable(saved)

            def backward(t: Any, states: Any) -> Any:
                states = (_with_output(states[0], d_all, t), states[1])
                d_h, d_c = _select_rows(mask, t, states)
                *kept, c = (array.read(t) for array in arrays[1:])
                gates, d_c = cells.lstm_gradient(kept, c, d_h, d_c)
                d_gates = tf.concat(gates, 1)  # (batch, 4 * units)
                new = (products.states_gradient(d_gates), d_c)
                return _select_rows(mask, t, new, states), (d_gates,)

            (d_h, d_c), (found,) = _loop(
                backward, (d_h, d_c), projected, [4 * units], backwards=True
            )
            d_gates = found.stack()
            before = _before(h_0, arrays, all_h)
            d_kernel = products.kernel_gradient(before, d_gates)
            return d_gates, d_h, d_c, d_kernel

        return (h, c, *all_h), gradient

    return run(projected, h, c, kernel)


def gru_states(
    projected: tf.Tensor,
    h: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor | None,
    mask: tf.Tensor | None,
    dropped: Sequence[tf.Tensor] | None,
    sequences: bool,
) -> tuple[tf.Tensor, ...]:
    """Runs a GRU with tanh and sigmoid that resets after the product over all steps.

    Args:
        projected: Products of the inputs with their kernel, and bias: float (time,
            batch, 3 * units), the gates in Keras's order, update, reset, candidate.
        h: First state (batch, units).
        kernel: Of the states (units, 3 * units).
        bias: Of the states' products (3 * units), or None.
        mask: Boolean (time, batch), True at the steps to compute; or None.
        dropped: Masks (batch, units) of h, one for each gate; or None.
        sequences: Return the states after all steps too.

    Returns:
        The last h, and with `sequences` all (time, batch, units).
    """
    units = h.shape[-1]

    @custom_gradient
    def run(projected: Any, h_0: Any, kernel: Any, *bias: Any) -> Any:
        products = _Products(kernel, dropped)

        def forward(t: Any, states: Any) -> Any:
            (h,) = states
            y = products.make(h)  # (batch, 3 * units)
            if bias:
                y = tf.nn.bias_add(y, bias[0])
            x_z, x_r, x_g = tf.split(projected[t], 3, axis=1)  # (batch, units)
            y_z, y_r, y_g = tf.split(y, 3, axis=1)

            def candidate(r: Any) -> Any:
                return x_g + r * y_g

            gates = x_z + y_z, x_r + y_r
            new_h, kept = cells.gru(*gates, candidate, h, tf.sigmoid, tf.tanh)
            new = _select_rows(mask, t, (new_h,), states)
            return new, (new[0], *kept, y_g, h)

        (h,), saved = _loop(forward, (h_0,), projected, 6 * [units])
        all_h = [saved[0].stack()] if sequences else []  # (time, batch, units)

        def gradient(d_h: Any, *d_all: Any) -> Any:
            arrays = _readable(saved)

            def backward(t: Any, states: Any) -> Any:
                states = (_with_output(states[0], d_all, t),)
                (d_h,) = _select_rows(mask, t, states)
                *kept, y_g, h = (array.read(t) for array in arrays[1:])
                d_z, d_g, through_gate = cells.gru_gradient(kept, h, d_h)
                r = kept[1]
                d_r = cells.sigmoid_gradient(r, d_g * y_g)
                d_y = tf.concat([d_z, d_r, d_g * r], 1)  # (batch, 3 * units)
                new = (products.states_gradient(d_y) + through_gate,)
                return _select_rows(mask, t, new, states), (d_y, d_g)

            (d_h,), found = _loop(
                backward, (d_h,), projected, [3 * units, units], backwards=True
            )
            d_y, d_g = (array.stack() for array in found)
            before = _before(h_0, arrays, all_h)
            d_kernel = products.kernel_gradient(before, d_y)
            d_bias = [tf.reduce_sum(d_y, [0, 1]) for _ in bias]
            d_x = tf.concat([d_y[..., : 2 * units], d_g], 2)  # (time, batch, 3 * units)
            return d_x, d_h, d_kernel, *d_bias

        return (h, *all_h), gradient

    arguments = [] if bias is None else [bias]
    return run(projected, h, kernel, *arguments)


def gru_states_reset_before(
    projected: tf.Tensor,
    h: tf.Tensor,
    kernel: tf.Tensor,
    mask: tf.Tensor | None,
    dropped: Sequence[tf.Tensor] | None,
    sequences: bool,
) -> tuple[tf.Tensor, ...]:
    """Runs a GRU with tanh and sigmoid that resets before the product over all steps.

    Args:
        projected: As in `gru_states`, like the other arguments.
        h: First state (batch, units).
        kernel: Of the states (units, 3 * units).
        mask: Boolean (time, batch), or None.
        dropped: Masks (batch, units) of h, or None.
        sequences: Return the states after all steps too.

    Returns:
        As `gru_states`.
    """
    units = h.shape[-1]

    @custom_gradient
    def run(projected: Any, h_0: Any, kernel: Any) -> Any:
        of_gates = _Products(kernel[:, : 2 * units], dropped and dropped[:2])
        of_candidate = _Products(kernel[:, 2 * units :], dropped and dropped[2:])

        def forward(t: Any, states: Any) -> Any:
            (h,) = states
            x_z, x_r, x_g = tf.split(projected[t], 3, axis=1)  # (batch, units)
            y_z, y_r = tf.split(of_gates.make(h), 2, axis=1)

            def candidate(r: Any) -> Any:
                return x_g + of_candidate.make(r * h)

            gates = x_z + y_z, x_r + y_r
            new_h, kept = cells.gru(*gates, candidate, h, tf.sigmoid, tf.tanh)
            new = _select_rows(mask, t, (new_h,), states)
            return new, (new[0], *kept, h)

        (h,), saved = _loop(forward, (h_0,), projected, 5 * [units])
        all_h = [saved[0].stack()] if sequences else []  # (time, batch, units)

        def gradient(d_h: Any, *d_all: Any) -> Any:
            arrays = _readable(saved)

            def backward(t: Any, states: Any) -> Any:
                states = (_with_output(states[0], d_all, t),)
                (d_h,) = _select_rows(mask, t, states)
                *kept, h = (array.read(t) for array in arrays[1:])
                d_z, d_g, through_gate = cells.gru_gradient(kept, h, d_h)
                r = kept[1]
                d_reset = of_candidate.states_gradient(d_g)
                d_r = cells.sigmoid_gradient(r, d_reset * h)
                d_zr = tf.concat([d_z, d_r], 1)  # (batch, 2 * units)
                new = (of_gates.states_gradient(d_zr) + through_gate + d_reset * r,)
                return _select_rows(mask, t, new, states), (tf.concat([d_zr, d_g], 1),)

            (d_h,), (found,) = _loop(
                backward, (d_h,), projected, [3 * units], backwards=True
            )
            d_x = found.stack()  # (time, batch, 3 * units)
            n = 2 * units
            before = _before(h_0, arrays, all_h)
            d_kernel = tf.concat(
                [
                    of_gates.kernel_gradient(before, d_x[..., :n]),
                    of_candidate.kernel_gradient(
                        arrays[2].stack() * before, d_x[..., n:]
                    ),
                ],
                1,
            )
            return d_x, d_h, d_kernel

        return (h, *all_h), gradient

    return run(projected, h, kernel)


class _Products:
    """Products of the states with their kernel, and their gradients.

    Args:
        kernel: Float (units, gates * units).
        dropped: Masks (batch, units) of the states, one for each gate; or None.
    """

    def __init__(self, kernel: tf.Tensor, dropped: Sequence[tf.Tensor] | None) -> None:
        self.kernel = kernel
        # Transposed once: a product that transposes takes up to twice the time.
        self.transposed = tf.transpose(kernel)
        self.dropped = dropped
        if dropped:
            self.kernels = tf.split(kernel, len(dropped), axis=1)
            self.each_transposed = tf.split(self.transposed, len(dropped))

    def make(self, h: tf.Tensor) -> tf.Tensor:
        """Returns the products (batch, gates * units) of states (batch, units)."""
        if not self.dropped:
            return tf.matmul(h, self.kernel)
        pairs = zip(self.dropped, self.kernels, strict=True)
        return tf.concat([tf.matmul(h * kept, kernel) for kept, kernel in pairs], 1)

    def states_gradient(self, d: tf.Tensor) -> tf.Tensor:
        """Computes the gradient with respect to the previous state."""
        if not self.dropped:
            return tf.matmul(d, self.transposed)
        gates = tf.split(d, len(self.dropped), axis=1)
        return tf.add_n(
            [
                tf.matmul(gate, transposed) * kept
                for gate, transposed, kept in zip(
                    gates, self.each_transposed, self.dropped, strict=True
                )
            ]
        )

    def kernel_gradient(self, h: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
        """Computes the gradient with respect to the kernel.

        Args:
            h: Float (time, batch, units), the states that each step multiplied.
            d: Float (time, batch, gates * units), the gradients of the products.
        """

        def product(h: tf.Tensor, d: tf.Tensor) -> tf.Tensor:
            rows = (tf.reshape(x, [-1, x.shape[-1]]) for x in (h, d))
            return tf.matmul(*rows, transpose_a=True)

        if not self.dropped:
            return product(h, d)
        gates = tf.split(d, len(self.dropped), axis=2)
        pairs = zip(self.dropped, gates, strict=True)
        return tf.concat([product(h * kept, gate) for kept, gate in pairs], 1)


def _loop(
    step: _Step,
    states: tuple[Any, ...],
    sequence: tf.Tensor,
    widths: Sequence[int],
    backwards: bool = False,
) -> tuple[tuple[Any, ...], tuple[tf.TensorArray, ...]]:
    """Loops over steps, and saves values of each.

    Args:
        step: See `_Step`.
        states: The first states, each (batch, units).
        sequence: Float (time, batch, ...), for its sizes and its dtype.
        widths: Widths of the values to save, each (batch, width).
        backwards: Start with the last step. Default: False.

    Returns:
        The last states, and arrays of `time` elements.
    """
    time, batch, _ = sequence.shape
    steps = tf.shape(sequence)[0] if time is None else time
    arrays = tuple(
        tf.TensorArray(
            sequence.dtype,
            size=steps,
            element_shape=[batch, width],
            clear_after_read=False,
        )
        for width in widths
    )

    def body(k: Any, states: Any, arrays: Any) -> Any:
        t = steps - 1 - k if backwards else k
        states, kept = step(t, states)
        pairs = zip(arrays, kept, strict=True)
        return k + 1, states, tuple(array.write(t, value) for array, value in pairs)

    _, states, arrays = tf.while_loop(
        lambda k, *_: k < steps,
        body,
        (tf.constant(0), states, arrays),
        maximum_iterations=steps,  # XLA needs it
    )
    return states, arrays


def _readable(saved: Sequence[tf.TensorArray]) -> Sequence[tf.TensorArray]:
    """Returns arrays that the graph of a gradient can read.

    The gradient of an eager loop may run in a graph, as in a jacobian. A graph can read
    tensors from outside, but not arrays.
    """
    if tf.executing_eagerly() or tf.is_symbolic_tensor(saved[0].flow):
        return saved
    return [unstack_steps(array.stack()) for array in saved]


def _before(
    first: tf.Tensor, saved: Sequence[tf.TensorArray], stacked: Sequence[tf.Tensor]
) -> tf.Tensor:
    """Returns the states before each step (time, batch, units).

    Args:
        first: The state before the first step.
        saved: Arrays of saved values, of which the first has the states.
        stacked: The states in one tensor, if there is one.
    """
    states = stacked[0] if stacked else saved[0].stack()
    return tf.concat([first[None], states[:-1]], 0)


def _with_output(d_h: tf.Tensor, d_all: Sequence[tf.Tensor], t: tf.Tensor) -> tf.Tensor:
    """Adds the gradient of the output of step t, if there are outputs."""
    return d_h + d_all[0][t] if d_all else d_h


def _select_rows(
    mask: tf.Tensor | None, t: tf.Tensor, new: Any, old: Any = None
) -> tuple[tf.Tensor, ...]:
    """Selects new values in the unmasked rows of step t, else old values or 0."""
    if mask is None:
        return tuple(new)
    if old is None:
        old = [tf.zeros_like(x) for x in new]
    # Twice as fast as tf.where, which broadcasts the mask.
    return tuple(
        tf.raw_ops.Select(condition=mask[t], x=x, y=y)
        for x, y in zip(new, old, strict=True)
    )
