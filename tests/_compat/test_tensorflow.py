"""Private and faulty parts of TensorFlow that kseq replaces.

A test that fails here means that TensorFlow was fixed, and that a part of
`kseq/_compat/tensorflow.py` can be removed.
"""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from kseq._compat.tensorflow import custom_gradient


def cube(x: Any) -> Any:
    """x ** 3, with a gradient that is recognized: 4 instead of 3 x ** 2."""
    return (x**3,), lambda d: (4.0 * d,)


def gradient(decorate: Callable[..., Any], x: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        tape.watch(x)
        (y,) = decorate(cube)(x)
    return tape.gradient(y, x)


def graph_of_a_dead_function(decorate: Callable[..., Any]) -> Any:
    # On Python 3.13 AutoGraph logs its failures, and pytest keeps what is logged.
    function = tf.function(lambda x: gradient(decorate, x), autograph=False)
    graph = function.get_concrete_function(tf.constant(2.0)).graph
    return weakref.ref(graph)


def test_a_custom_gradient_of_tensorflow_keeps_its_graph_alive() -> None:
    reference = graph_of_a_dead_function(tf.custom_gradient)
    gc.collect()
    assert reference() is not None


def test_ours_keeps_no_graph_alive() -> None:
    reference = graph_of_a_dead_function(custom_gradient)
    gc.collect()
    assert reference() is None


def test_ours_is_the_gradient_in_functions_and_outside() -> None:
    x = tf.constant([1.0, 2.0])
    for call in (gradient, tf.function(gradient, autograph=False)):
        np.testing.assert_array_equal(call(custom_gradient, x), [4.0, 4.0])
