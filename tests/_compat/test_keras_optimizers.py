"""Each test fails once Keras no longer needs an entry of `_compat/keras_optimizers`."""

import keras
import tensorflow as tf


def test_keras_counts_accumulated_batches_in_a_schedule() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5, staircase=True)
    optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=2)
    weight = keras.Variable(0.0)
    for _ in range(2):
        optimizer.apply([tf.constant(1.0)], [weight])
    assert int(optimizer.iterations) == 1
    assert float(optimizer.learning_rate) == 0.25  # 0.5 after one update


def test_keras_has_no_public_index_of_a_variable() -> None:
    names = dir(keras.optimizers.SGD)
    assert [name for name in names if "index" in name] == ["_get_variable_index"]
