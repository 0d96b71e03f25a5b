"""Gradients as optimizers should get them."""

from typing import Any

import tensorflow as tf


def sum_slices(gradient: Any) -> Any:
    """Makes a gradient of slices a dense one, and leaves others as they are.

    The gradient of an embedding has a slice for each token read, several for a token
    that occurs again. Keras 3.15 squares and clips the slices one by one, which changes
    norms, clipped values and second moments.

    Args:
        gradient: A tensor, `tf.IndexedSlices`, or None.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.math.unsorted_segment_sum(
        gradient.values, gradient.indices, gradient.dense_shape[0]
    )
