"""What loops over the steps of sequences share."""

import tensorflow as tf


def unstack_steps(x: tf.Tensor) -> tf.TensorArray:
    """Takes sequences apart, for a loop to read a step at a time.

    The gradient of a slice of a tensor is as large as the tensor, at each step; that of
    an element read is as large as the element.

    Args:
        x: Float (time, batch, dim).

    Returns:
        An array of `time` elements, each (batch, dim).
    """
    steps = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
    array = tf.TensorArray(x.dtype, size=steps, element_shape=x.shape[1:])
    return array.unstack(x)
