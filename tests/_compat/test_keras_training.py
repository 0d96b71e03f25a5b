"""Faults of Keras's training loop that `TrainingLoop` corrects.

A test that fails here means that Keras or TensorFlow was fixed, and that a part of
`kseq/_compat/keras_training.py` can be removed.
"""

import gc
import json
import weakref
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from laws.children import run_child

REPLICAS = """
    import json

    import keras
    import numpy as np
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device] * 2)
    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())


    def weight(rows, **optimizer):
        x = np.arange(1.0, rows + 1, dtype="float32")[:, None]
        with strategy.scope():
            inputs = keras.Input((1,))
            outputs = keras.layers.Dense(
                1, use_bias=False, kernel_initializer="zeros")(inputs)
            model = keras.Model(inputs, outputs)
            model.compile(
                optimizer=keras.optimizers.SGD(1.0, **optimizer), loss="mse")
        model.fit(x, x, batch_size=rows, verbose=0)
        return float(model.get_weights()[0][0, 0])


    def outcome(*args, **kwargs):
        try:
            return weight(*args, **kwargs)
        except Exception as error:
            return f"{type(error).__name__}: {error}"


    print(json.dumps([
        outcome(3), outcome(4, clipvalue=1.0), outcome(4, gradient_accumulation_steps=2)
    ]))
"""


@pytest.fixture(scope="module")
def outcomes() -> list[Any]:
    """Weights after one update of plain Keras on two replicas, or error messages."""
    return json.loads(run_child(REPLICAS).splitlines()[-1])


def test_keras_cannot_build_from_an_odd_batch(outcomes: list[Any]) -> None:
    assert isinstance(outcomes[0], str)


def test_keras_clips_before_it_sums(outcomes: list[Any]) -> None:
    assert outcomes[1] == pytest.approx(2.0)  # 1 from each replica


def test_keras_cannot_accumulate_on_replicas(outcomes: list[Any]) -> None:
    assert isinstance(outcomes[2], str)
    assert "merge_call" in outcomes[2]


def test_tensorflow_keeps_the_graph_of_a_sum() -> None:
    def trace() -> weakref.ref[Any]:
        @tf.function
        def function(x: Any) -> Any:
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, x)

        return weakref.ref(function.get_concrete_function(tf.ones(())).graph)

    graph = trace()
    gc.collect()
    assert graph() is not None


class Recorder(keras.Model):
    """A model of plain Keras that records the ranks of the weights in each trace."""

    def __init__(self) -> None:
        inputs = keras.Input((None,))
        super().__init__(inputs, keras.layers.Dense(1)(inputs[..., None])[..., 0])
        self.ranks: list[int | None] = []

    def train_step(self, data: Any) -> Any:
        self.ranks.append(data[2].shape.rank)
        return super().train_step(data)


def test_keras_traces_a_first_step_twice() -> None:
    model = Recorder()
    model.compile("adam", "mse")  # it has variables, which the first call creates
    model.fit(np.ones((2, 3)), np.ones((2, 3)), sample_weight=np.ones(2), verbose=0)
    assert len(model.ranks) == 2


def test_keras_traces_two_ranks_as_an_unknown_one() -> None:
    model = Recorder()
    model.compile("sgd", "mse")
    x = np.ones((2, 3))
    model.train_on_batch(x, x, np.ones(2))
    with pytest.raises(ValueError, match="unknown rank"):
        model.train_on_batch(x, x, np.ones((2, 3)))
    assert model.ranks == [1, None]


def test_keras_averages_the_loss_over_rows() -> None:
    def loss(y_true: Any, y_pred: Any) -> Any:
        return keras.ops.sum(y_true) / keras.ops.sum(
            keras.ops.cast(y_true > 0, "float32")
        )

    model = Recorder()
    model.compile("sgd", loss)
    # A batch of two tokens with a mean of 3, and a batch of one token of 6.
    y = np.array([[2.0, 4.0], [6.0, 0.0]])
    found = model.evaluate(np.ones((2, 2)), y, batch_size=1, verbose=0)
    assert found == pytest.approx(4.5)  # the mean of the three tokens is 4
