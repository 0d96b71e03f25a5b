"""Keras's LSTM and GRU with a faster loop on a CPU."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kseq.layers.cells import gru, lstm
from kseq.layers.rnn_gradients import gru_states, gru_states_reset_before, lstm_states
from kseq.layers.time_steps import unstack_steps


@keras.saving.register_keras_serializable(package="kseq")
class FusedLSTM(keras.layers.LSTM):
    """An LSTM that is faster on a CPU than `keras.layers.LSTM`, with the same results.

    It has the arguments, the weights and the config of `keras.layers.LSTM`. Only the
    loop over the steps is different.

    - In training, one product multiplies the inputs of all steps with their kernel. The
      gradient is written by hand: a backward loop computes the gradients of the gates,
      and one product over all steps the gradient of each kernel.
    - In inference, a step has one product for each gate, of the input and the state.
      TensorFlow fuses it with the bias and the activation and runs the gates in
      parallel.

    Keras's own loop runs where cuDNN can be used, with `unroll=True`, and in training
    with activations other than tanh and sigmoid.

    Args:
        units: Width of the output.
        **kwargs: Keyword arguments of `keras.layers.LSTM`: `activation`, `use_bias`,
            `dropout`, `return_sequences`, `return_state`, `go_backwards`, `stateful`...

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
        >>> from kseq.layers import FusedLSTM
        >>> layer = FusedLSTM(4, return_sequences=True)
        >>> layer(np.ones((2, 5, 3))).shape
        TensorShape([2, 5, 4])

    Reference:
        Hochreiter & Schmidhuber, 1997, "Long Short-Term Memory"; Appleyard et al.,
        2016, "Optimizing Performance of Recurrent Neural Networks on GPUs".
    """

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> Any:
        if not _is_fusible(self, mask, training):
            return super().inner_loop(sequences, initial_state, mask, training)
        cell = self.cell
        if training:
            inputs = _project(self, sequences)
            mask = _prepare_mask(self, mask)
            h, c = initial_state
            h, c, *all_h = lstm_states(
                inputs,
                h,
                c,
                _weight(cell, "recurrent_kernel"),
                mask,
                _masks_of_states(cell, h),
                self.return_sequences,
            )
            return _results(self, all_h, [h, c], mask)
        kernels = tf.concat(
            [_weight(cell, "kernel"), _weight(cell, "recurrent_kernel")], 0
        )
        weights = tf.split(kernels, 4, axis=1)  # (dim + units, units) for each gate
        biases = _biases(cell, 4)

        def step(x: Any, h: Any, c: Any) -> list[Any]:
            xh = tf.concat([x, h], 1)  # (batch, dim + units)
            gates = [_affine(xh, w, b) for w, b in zip(weights, biases, strict=True)]
            h, c, _ = lstm(gates, c, cell.recurrent_activation, cell.activation)
            return [h, c]

        return _loop(self, step, sequences, initial_state, mask)


@keras.saving.register_keras_serializable(package="kseq")
class FusedGRU(keras.layers.GRU):
    """A GRU that is faster on a CPU than `keras.layers.GRU`, with the same results.

    It has the arguments, the weights and the config of `keras.layers.GRU`. Only the
    loop over the steps is different.

    - In training, one product multiplies the inputs of all steps with their kernel. The
      gradient is written by hand: a backward loop computes the gradients of the gates,
      and one product over all steps the gradient of each kernel.
    - In inference, a step has one product for each gate, of the input and the state.
      TensorFlow fuses it with the bias and the activation and runs the gates in
      parallel.

    Keras's own loop runs where cuDNN can be used, with `unroll=True`, and in training
    with activations other than tanh and sigmoid.

    Args:
        units: Width of the output.
        **kwargs: Keyword arguments of `keras.layers.GRU`: `activation`, `use_bias`,
            `dropout`, `reset_after`, `return_sequences`, `return_state`,
            `go_backwards`, `stateful`...

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
        >>> from kseq.layers import FusedGRU
        >>> layer = FusedGRU(4, return_sequences=True)
        >>> layer(np.ones((2, 5, 3))).shape
        TensorShape([2, 5, 4])

    Reference:
        Cho et al., 2014, "Learning Phrase Representations using RNN Encoder-Decoder for
        Statistical Machine Translation".
    """

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> Any:
        if not _is_fusible(self, mask, training):
            return super().inner_loop(sequences, initial_state, mask, training)
        cell = self.cell
        if training:
            inputs = _project(self, sequences)
            mask = _prepare_mask(self, mask)
            h = initial_state[0]
            others = (mask, _masks_of_states(cell, h), self.return_sequences)
            kernel = _weight(cell, "recurrent_kernel")
            if cell.reset_after:
                bias = _weight(cell, "bias")[1] if cell.use_bias else None
                h, *all_h = gru_states(inputs, h, kernel, bias, *others)
            else:
                h, *all_h = gru_states_reset_before(inputs, h, kernel, *others)
            return _results(self, all_h, [h], mask)
        x_z, x_r, x_g = tf.split(_weight(cell, "kernel"), 3, axis=1)  # (dim, units)
        h_z, h_r, h_g = tf.split(
            _weight(cell, "recurrent_kernel"), 3, axis=1
        )  # (units, units)
        w_z, w_r = tf.concat([x_z, h_z], 0), tf.concat([x_r, h_r], 0)
        b_z, b_r, b_g, *more = _biases(cell, 3)
        if more:  # of `reset_after`: the biases of the state's products
            b_z, b_r, b_h = b_z + more[0], b_r + more[1], more[2]
        else:
            b_h = None
        w_g = None if cell.reset_after else tf.concat([x_g, h_g], 0)

        def step(x: Any, h: Any) -> list[Any]:
            def candidate(r: Any) -> Any:
                if w_g is None:
                    return _affine(x, x_g, b_g) + r * _affine(h, h_g, b_h)
                return _affine(tf.concat([x, r * h], 1), w_g, b_g)

            xh = tf.concat([x, h], 1)  # (batch, dim + units)
            gates = _affine(xh, w_z, b_z), _affine(xh, w_r, b_r)
            activations = cell.recurrent_activation, cell.activation
            h, _ = gru(*gates, candidate, h, *activations)
            return [h]

        return _loop(self, step, sequences, initial_state, mask)


def _is_fusible(layer: Any, mask: Any, training: bool) -> bool:
    """Returns whether the loop here has the result of Keras's loop and is faster."""
    cell = layer.cell
    if layer.unroll:
        return False
    mask = _unnested(mask)
    if mask is not None and len(mask.shape) != 2:
        return False
    if layer.use_cudnn is True:  # an error of Keras where there is no cuDNN
        return False
    usual = cell.activation in (
        keras.activations.tanh,
        keras.ops.tanh,
        tf.tanh,
    ) and cell.recurrent_activation in (
        keras.activations.sigmoid,
        keras.ops.sigmoid,
        tf.sigmoid,
    )
    # As Keras decides whether cuDNN has what the layer computes.
    cudnn = (
        layer.use_cudnn
        and usual
        and cell.use_bias
        and getattr(cell, "reset_after", True)
        and not cell.recurrent_dropout
        and tf.config.list_logical_devices("GPU")
    )
    return not cudnn and (usual or not training)


def _unnested(mask: Any) -> Any:
    return mask[0] if isinstance(mask, list | tuple) else mask


def _weight(cell: Any, name: str) -> tf.Tensor:
    return keras.ops.cast(getattr(cell, name), cell.compute_dtype)


def _biases(cell: Any, gates: int) -> list[Any]:
    """Splits the bias by gates: of the inputs, then of the states if they have any."""
    if not cell.use_bias:
        return [None] * gates
    bias = tf.reshape(_weight(cell, "bias"), [-1])
    return tf.split(bias, bias.shape[0] // cell.units)


def _affine(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
    product = tf.matmul(x, kernel)
    return product if bias is None else tf.nn.bias_add(product, bias)


def _select(mask: tf.Tensor, x: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Selects the rows of `x` where `mask` (batch,) is True, else those of `other`."""
    # Twice as fast as tf.where, which broadcasts the mask.
    return tf.raw_ops.Select(condition=mask, x=x, y=other)


def _loop(
    layer: Any,
    step: Callable[..., list[Any]],
    sequences: Any,
    initial_state: Any,
    mask: Any,
) -> Any:
    """Loops over the steps of a layer, as `inner_loop` of Keras does.

    Args:
        layer: The layer, for its options and its cell.
        step: Function of the inputs (batch, dim) and each state (batch, units) to the
            list of the new states, of which the first is the output.
        sequences: Float (batch, time, dim).
        initial_state: The state (batch, units), or the list of them.
        mask: Boolean (batch, time), or a list of it, or None.

    Returns:
        The last output (batch, units); all outputs (batch, time, units), without
        `return_sequences` the last one (batch, 1, units); the list of the last states.
    """
    cell, dtype = layer.cell, layer.cell.compute_dtype
    inputs = _time_major(sequences, dtype)  # (time, batch, dim)
    time, batch, _ = inputs.shape
    steps = tf.shape(inputs)[0] if time is None else time
    vectors = unstack_steps(inputs)
    mask = _prepare_mask(layer, mask)
    written: tuple[Any, ...] = ()
    if layer.return_sequences:
        shape = [batch, cell.units]
        written = (tf.TensorArray(dtype, size=steps, element_shape=shape),)

    def body(t: Any, states: Any, written: Any) -> Any:
        x = vectors.read(steps - 1 - t if layer.go_backwards else t)
        new = step(x, *states)
        if mask is not None:
            new = [_select(mask[t], *pair) for pair in zip(new, states, strict=True)]
        written = tuple(array.write(t, new[0]) for array in written)
        return t + 1, tuple(new), written

    _, states, written = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (tf.constant(0), tuple(tf.nest.flatten(initial_state)), written),
        maximum_iterations=steps,  # XLA's gradients need it
    )
    return _results(layer, [each.stack() for each in written], list(states), mask)


def _results(
    layer: Any, outputs: list[Any], states: list[Any], mask: tf.Tensor | None
) -> Any:
    """Returns the result of `inner_loop`.

    Args:
        layer: The layer.
        outputs: With `return_sequences` the states h of all steps (time, batch, units).
        states: The last states, each (batch, units), h first.
        mask: Boolean (time, batch), in the order of the steps, or None.
    """
    last = states[0]
    if mask is not None:
        # Keras returns zeros before the first unmasked step, not the initial state.
        seen = tf.cumsum(tf.cast(mask, "int32")) > 0
        shown = mask if layer.zero_output_for_mask else seen  # (time, batch)
        last = _select(shown[-1], last, tf.zeros_like(last))
    if not outputs:
        return last, last[:, None], states
    (rows,) = outputs
    if mask is not None:
        shape = tf.shape(rows)
        rows = tf.reshape(rows, [-1, layer.cell.units])
        rows = _select(tf.reshape(shown, [-1]), rows, tf.zeros_like(rows))
        rows = tf.reshape(rows, shape)
    return last, tf.transpose(rows, [1, 0, 2]), states  # (batch, time, units)


def _project(layer: Any, sequences: Any) -> tf.Tensor:
    """Multiplies the vectors of all steps with their kernel, and adds the bias.

    Args:
        layer: The layer; it trains.
        sequences: Float (batch, time, dim).

    Returns:
        Float (time, batch, gates * units), in the order of the steps.
    """
    cell = layer.cell
    inputs = _time_major(sequences, cell.compute_dtype)
    inputs = tf.reverse(inputs, [0]) if layer.go_backwards else inputs
    kernel = _weight(cell, "kernel")
    time, batch, dim = inputs.shape
    # Not -1, which is undefined for an empty batch.
    sizes = tf.concat([tf.shape(inputs)[:2], [kernel.shape[1]]], 0)

    def product(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.matmul(tf.reshape(x, [-1, dim]), kernel)

    dropped = None
    if 0 < cell.dropout < 1:
        dropped = cell.get_dropout_mask(sequences[:, 0])
    if isinstance(dropped, list):  # for each gate
        kernels = tf.split(kernel, len(dropped), axis=1)
        pairs = zip(dropped, kernels, strict=True)
        made = tf.concat([product(inputs * kept, part) for kept, part in pairs], 1)
    else:
        made = product(inputs if dropped is None else inputs * dropped, kernel)
    if cell.use_bias:
        bias = _weight(cell, "bias")
        made = tf.nn.bias_add(made, bias[0] if len(bias.shape) == 2 else bias)
    made = tf.reshape(made, sizes)
    return tf.ensure_shape(made, [time, batch, kernel.shape[1]])


def _masks_of_states(cell: Any, h: Any) -> Any:
    """Returns the dropout masks of the states for each gate, if there are any."""
    if not 0 < cell.recurrent_dropout < 1:
        return None
    return cell.get_recurrent_dropout_mask(h)


def _time_major(sequences: Any, dtype: str) -> tf.Tensor:
    """Returns the vectors (time, batch, dim)."""
    return tf.transpose(keras.ops.cast(sequences, dtype), [1, 0, 2])


def _prepare_mask(layer: Any, mask: Any) -> tf.Tensor | None:
    """Returns the mask (time, batch), in the order of the steps."""
    mask = _unnested(mask)
    if mask is None:
        return None
    mask = tf.transpose(tf.cast(mask, "bool"))
    return tf.reverse(mask, [0]) if layer.go_backwards else mask
