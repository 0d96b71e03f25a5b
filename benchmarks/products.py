"""Matrix products alone, to which the benchmarks compare training and decoding."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def product_loop(rows: int, inner: int, columns: int) -> Callable[[int], None]:
    """Returns a function that computes a number of equal matrix products.

    The products of (rows, inner) and (inner, columns) run one after the other, as the
    steps of a sequence do. The function is traced already.
    """
    a, b = tf.random.normal((rows, inner)), tf.random.normal((inner, columns))

    def body(k: Any, product: Any) -> Any:
        with tf.control_dependencies([product]):
            again = tf.identity(a)
        return k + 1, tf.matmul(again, b)

    @tf.function(autograph=False)
    def products(count: Any) -> Any:
        first = tf.zeros((rows, columns))
        return tf.while_loop(lambda k, _: k < count, body, (0, first))

    def run(count: int) -> None:
        products(tf.constant(count))

    run(1)
    return run
