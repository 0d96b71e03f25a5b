"""Gradients of TensorFlow.

The entry was seen in TensorFlow 2.21. The test named here is in
`tests/_compat/test_tensorflow.py`; it fails once the entry can go.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import record


def custom_gradient(run: Callable[..., Any]) -> Callable[..., tuple[tf.Tensor, ...]]:
    """Works like `tf.custom_gradient`, and keeps no graph alive.

    In a graph `tf.custom_gradient` registers a new gradient function for each trace and
    never removes it, so every traced graph stays in memory
    (`test_a_custom_gradient_of_tensorflow_keeps_its_graph_alive`). Here the function is
    an attribute of its operation. TensorFlow has no public function to record one.

    Args:
        run: Function of tensors to a tuple of tensors, and to a function of their
            gradients to the gradients of the arguments.
    """

    def call(*inputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if tf.executing_eagerly():
            return tf.custom_gradient(run)(*inputs)
        outputs, gradient = run(*inputs)
        count, tensors = len(outputs), [*outputs, *inputs]

        def of_all(*d_tensors: Any) -> list[Any]:
            return [None] * count + list(gradient(*d_tensors[:count]))

        graph = tf.compat.v1.get_default_graph()
        with graph.gradient_override_map({"IdentityN": _GRADIENT}):
            same = tf.identity_n(tensors)
        same[0].op._kseq_gradient = of_all  # for `tf.gradients`, and that of a function
        record.record_operation(_GRADIENT, same, tensors, of_all)  # for a tape
        return tuple(same[:count])

    return call


_GRADIENT = "kseq_recurrence"


def _gradient_of_operation(op: tf.Operation, *d_outputs: Any) -> Any:
    gradient = getattr(op, "_kseq_gradient", None)
    if gradient is None:  # a copy of the graph: TensorFlow's gradient of the loop
        return d_outputs
    return gradient(*d_outputs)


# Where a notebook imports this module again, TensorFlow keeps the first function.
with contextlib.suppress(KeyError):
    tf.RegisterGradient(_GRADIENT)(_gradient_of_operation)
