"""Optimizers: sums of slices, clipping, accumulation, momentum with unit gain."""

import math
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from laws.children import run_child

import kseq
from kseq.training.learning_rates import Plateau, make_schedule
from kseq.training.optimizers import OPTIMIZERS, make_optimizer

# A table of four rows. Row 1 has two slices, like a token that occurs twice.
VALUES = np.array([[1.0, 2.0], [3.0, -4.0], [5.0, 6.0]], "float32")
ROWS = np.array([1, 3, 1])
DENSE = np.array([[0, 0], [6, 8], [0, 0], [3, -4]], "float32")
BIAS = np.array([1.0, 1.0, 2.0], "float32")
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "global_clipnorm": {"global_clipnorm": 1.0},
    "clipvalue": {"clipvalue": 5.5},
    "accumulation": {"accumulation_steps": 2, "global_clipnorm": 1.0},
}


def gradient(kind: str) -> Any:
    if kind == "dense":
        return tf.constant(DENSE)
    return tf.IndexedSlices(
        tf.constant(VALUES), tf.constant(ROWS), tf.constant([4, 2], tf.int64)
    )


def moved(optimizer: Any, kind: str, updates: int = 4) -> np.ndarray:
    """Returns a table and a bias after updates from zero."""
    table = keras.Variable(np.zeros((4, 2), "float32"), name="table")
    bias = keras.Variable(np.zeros(3, "float32"), name="bias")
    for _ in range(updates):
        optimizer.apply([gradient(kind), tf.constant(BIAS)], [table, bias])
    return np.concatenate([table.numpy().ravel(), bias.numpy()])


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_slices_of_a_row_count_as_their_sum(name: str, way: str) -> None:
    sliced, dense = (
        moved(make_optimizer(name, 0.1, **WAYS[way]), kind)
        for kind in ("slices", "dense")
    )
    np.testing.assert_allclose(sliced, dense, rtol=1e-6)
    assert np.abs(dense).min(where=dense != 0, initial=1) > 1e-5


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_dense_gradients_update_as_in_keras(name: str) -> None:
    ours = make_optimizer(name, 0.1)
    theirs = keras.optimizers.get(
        {"class_name": name, "config": {"learning_rate": 0.1}}
    )
    np.testing.assert_array_equal(moved(ours, "dense"), moved(theirs, "dense"))


def test_the_global_norm_is_clipped() -> None:
    whole = np.concatenate([DENSE.ravel(), BIAS])
    expected = -whole / np.linalg.norm(whole) * 0.5
    found = moved(make_optimizer("sgd", 1.0, global_clipnorm=0.5), "slices", updates=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_short_gradient_is_not_clipped() -> None:
    found = moved(make_optimizer("sgd", 1.0, global_clipnorm=100), "slices", updates=1)
    np.testing.assert_allclose(found, -np.concatenate([DENSE.ravel(), BIAS]))


def test_values_are_clipped_after_slices_are_summed() -> None:
    found = moved(make_optimizer("sgd", 1.0, clipvalue=5.5), "slices", updates=1)
    whole = np.concatenate([DENSE.ravel(), BIAS])
    np.testing.assert_allclose(found, -np.clip(whole, -5.5, 5.5))


def test_the_mean_of_accumulated_gradients_is_clipped_once() -> None:
    optimizer = make_optimizer("sgd", 1.0, accumulation_steps=3, global_clipnorm=0.5)
    weight = keras.Variable(np.zeros(2, "float32"))
    parts = np.array([[3.0, 0.0], [0.0, 6.0], [3.0, 0.0]], "float32")
    for part in parts:
        assert weight.numpy().tolist() == [0, 0]
        optimizer.apply([tf.constant(part)], [weight])
    mean = parts.mean(axis=0)
    np.testing.assert_allclose(
        weight.numpy(), -mean / np.linalg.norm(mean) * 0.5, rtol=1e-6
    )
    assert int(optimizer.iterations) == 1


@pytest.mark.parametrize("compiled", [False, True])
def test_a_schedule_counts_updates_not_accumulated_batches(compiled: bool) -> None:
    schedule = make_schedule("step", 1.0, decay_steps=1, decay_rate=0.5)
    optimizer = make_optimizer("sgd", schedule, accumulation_steps=2)
    weight = keras.Variable(0.0)
    optimizer.build([weight])

    def update() -> None:
        optimizer.apply([tf.constant(1.0)], [weight])

    update = tf.function(update) if compiled else update
    seen = []
    for _ in range(6):
        update()
        seen.append(-float(weight.numpy()))
    assert seen == [0, 1, 1, 1.5, 1.5, 1.75]
    assert float(optimizer.learning_rate) == 0.125


def test_one_accumulation_step_accumulates_nothing() -> None:
    assert make_optimizer("sgd", 0.1, accumulation_steps=1).iterations == 0
    found = moved(make_optimizer("sgd", 0.1, accumulation_steps=1), "dense", updates=1)
    np.testing.assert_allclose(found[:8], -0.1 * DENSE.ravel(), rtol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("unit_gain", [False, True])
def test_momentum_with_unit_gain_is_a_mean_of_gradients(
    unit_gain: bool, nesterov: bool
) -> None:
    # A rate that changes, since it matters whether it enters the mean.
    schedule = make_schedule("step", 0.4, decay_steps=2, decay_rate=0.5)
    optimizer = make_optimizer(
        "sgd", schedule, momentum=0.75, nesterov=nesterov, unit_gain=unit_gain
    )
    weight, expected, velocity = keras.Variable(0.0), 0.0, 0.0
    for step, value in enumerate([1.0, -2.0, 3.0, 0.5]):
        optimizer.apply([tf.constant(value)], [weight])
        rate = 0.4 * 0.5 ** (step // 2)
        # Keras has the rate within the velocity, CNTK before it.
        part = 0.25 * value if unit_gain else rate * value
        velocity = 0.75 * velocity + part
        move = 0.75 * velocity + part if nesterov else velocity
        expected -= rate * move if unit_gain else move
    assert float(weight.numpy()) == pytest.approx(expected, rel=1e-5)


def test_unit_gain_moves_as_far_as_no_momentum() -> None:
    weight = keras.Variable(0.0)
    optimizer = make_optimizer(
        "sgd", 0.1, momentum=math.exp(-72 / 1100), unit_gain=True
    )
    for _ in range(300):
        before = float(weight.numpy())
        optimizer.apply([tf.constant(2.0)], [weight])
    assert before - float(weight.numpy()) == pytest.approx(0.2, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adam", {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-8}),
        ("adamw", {"weight_decay": 0.1}),
        ("nadam", {"beta_1": 0.8}),
        ("sgd", {"momentum": 0.5, "nesterov": True, "unit_gain": True}),
        ("rmsprop", {"rho": 0.8, "momentum": 0.5, "clipvalue": 2}),
        ("adagrad", {"epsilon": 1e-3, "accumulation_steps": 4}),
        ("adadelta", {"rho": 0.9, "global_clipnorm": 2}),
    ],
)
def test_an_optimizer_is_rebuilt_from_its_config(
    name: str, options: dict[str, Any]
) -> None:
    schedule = make_schedule("plateau", 0.1, warmup_steps=2)
    optimizer = make_optimizer(name, schedule, **options)
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(optimizer)
    np.testing.assert_array_equal(moved(again, "slices"), moved(optimizer, "slices"))


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_default_options_are_those_of_keras(name: str) -> None:
    ours = make_optimizer(name, 0.1).get_config()
    keras_class = type(make_optimizer(name, 0.1)).__bases__[1]
    theirs = keras_class(learning_rate=0.1).get_config()
    assert {key: ours[key] for key in theirs if key != "name"} == {
        key: value for key, value in theirs.items() if key != "name"
    }


def test_weight_decay_subtracts_a_part_of_every_weight() -> None:
    weight = keras.Variable(2.0)
    optimizer = make_optimizer("sgd", 0.5, weight_decay=0.1)
    optimizer.apply([tf.constant(0.0)], [weight])
    assert float(weight.numpy()) == pytest.approx(2 * (1 - 0.5 * 0.1))


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("lion", {}, ValueError, "`name` must be one of 'adam', .*'lion'"),
        (
            "adam",
            {"momentum": 0.9},
            ValueError,
            "'adam' has no `momentum`. Its",
        ),
        ("adam", {"nesterov": True}, ValueError, "no `nesterov`.*`beta_1`, `beta_2`"),
        (
            "sgd",
            {"beta_1": 0.9},
            ValueError,
            ": `momentum`, `nesterov`, `unit_gain`",
        ),
        ("adagrad", {"rho": 0.9}, ValueError, "no `rho`. Its options are: `epsilon`"),
        ("rmsprop", {"unit_gain": True}, ValueError, "no `unit_gain`"),
        ("sgd", {"nesterov": True}, ValueError, "`nesterov` needs a `momentum`"),
        (
            "sgd",
            {"unit_gain": True, "momentum": 0.0},
            ValueError,
            "`unit_gain` needs a `momentum`",
        ),
        ("sgd", {"nesterov": 1}, TypeError, "`nesterov` must be True or False"),
        (
            "sgd",
            {"momentum": 1.0},
            ValueError,
            r"`momentum` must be a number in \[0, 1\)",
        ),
        ("adam", {"beta_2": -0.1}, ValueError, "`beta_2` .*-0.1"),
        ("adam", {"epsilon": 0}, ValueError, "`epsilon` .*> 0"),
        ("adam", {"global_clipnorm": 0}, ValueError, "`global_clipnorm` .*> 0"),
        ("adam", {"clipvalue": -1}, ValueError, "`clipvalue` .*-1"),
        (
            "adam",
            {"global_clipnorm": 1, "clipvalue": 2},
            ValueError,
            "only one of .* Received: global_clipnorm=1, clipvalue=2",
        ),
        ("adam", {"weight_decay": -1}, ValueError, "`weight_decay` .*-1"),
        ("adam", {"accumulation_steps": 0}, ValueError, "`accumulation_steps` .*0"),
    ],
)
def test_a_mistake_is_refused(
    name: str, options: dict[str, Any], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        make_optimizer(name, 0.1, **options)


@pytest.mark.parametrize("rate", [0, -1.0, math.inf])
def test_a_learning_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="`learning_rate` must be a finite number > 0"):
        make_optimizer("adam", rate)


def test_a_saved_model_has_its_optimizer_and_plateau_factor(
    tmp_path: pathlib.Path,
) -> None:
    model = kseq.build_seq2seq(
        source_vocab_size=9, target_vocab_size=9, units=4, embedding_dim=4
    )
    plateau = Plateau(0.1)
    model.compile(
        make_optimizer("adam", plateau, global_clipnorm=1.0), run_eagerly=True
    )
    given = {
        "encoder_inputs": np.array([[5, 5, 3]]),
        "decoder_inputs": np.array([[2, 5, 5]]),
    }
    target = np.array([[5, 5, 3]])
    model.fit(given, target, verbose=0)
    plateau.reduce(0.5)
    model.save(tmp_path / "model.keras")
    again = kseq.load_model(tmp_path / "model.keras")
    assert float(again.optimizer.learning_rate) == pytest.approx(0.05)
    for each in (model, again):
        each.fit(given, target, verbose=0)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


REPLICAS = """
    import sys

    import keras
    import numpy as np
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device] * 2)

    from kseq import build_seq2seq
    from kseq.data import CopyTask
    from kseq.distribution import get_strategy
    from kseq.training import find_plateau, make_optimizer, make_schedule

    task = CopyTask(symbols=5, min_length=1, max_length=6)
    train, _ = task.split(24, 10, seed=0)
    for count, kind in ((1, "one_device"), (2, "mirrored")):
        keras.utils.set_random_seed(0)
        with get_strategy(kind).scope():
            model = build_seq2seq(
                source_vocab_size=len(task.vocab), target_vocab_size=len(task.vocab),
                units=4, embedding_dim=4)
            schedule = make_schedule("plateau", 0.5, warmup_steps=3)
            model.compile(make_optimizer(
                "adagrad", schedule, global_clipnorm=0.05, accumulation_steps=2))
        arrays = []
        for epoch in range(2):
            model.fit(train.dataset(4, seed=1), epochs=1, verbose=0)
            arrays += model.get_weights()
            find_plateau(schedule).reduce(0.01)
        np.savez(f"{sys.argv[1]}/{count}.npz", *arrays)
"""


@pytest.mark.slow
def test_updates_on_two_replicas_are_those_on_one_device(
    tmp_path: pathlib.Path,
) -> None:
    run_child(REPLICAS, tmp_path)
    one, two = (list(np.load(tmp_path / f"{n}.npz").values()) for n in (1, 2))
    for ours, theirs in zip(two, one, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)
    # Without the plateau's fall the second epoch would have moved as far as the first.
    moves = [
        np.abs(b - a).max() for a, b in zip(one, one[len(one) // 2 :], strict=False)
    ]
    assert 0 < max(moves) < 0.01
