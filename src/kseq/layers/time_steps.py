"""Time steps of sequences, for loops."""

import tensorflow as tf


def unstack_steps(x: tf.Tensor) -> tf.TensorArray:
    """Splits sequences into steps, for a loop that reads one at a time.

    The gradient of a slice has the size of the whole tensor, at every step; the
    gradient of an array's element has the size of the element.

    Args:
        x: Float (time, batch, dim).

    Returns:
        An array of `time` elements, each (batch, dim).
    """
    steps = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
    array = tf.TensorArray(x.dtype, size=steps, element_shape=x.shape[1:])
    return array.unstack(x)
