"""The loss, against plain numpy and against Keras."""

import functools
import subprocess
import sys
import textwrap
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kseq import losses
from kseq.distribution import global_sum
from kseq.losses import MaskedCrossentropy, token_losses, token_weights

VOCAB = 7


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Targets, ragged and perhaps empty, and random logits of them."""
    lengths = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    time = max(*lengths, 1)
    targets = rng.integers(1, VOCAB, (len(lengths), time))
    targets[np.arange(time) >= np.array(lengths)[:, None]] = 0
    logits = rng.normal(0, 3, (*targets.shape, VOCAB)).astype("float32")
    return targets, logits


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype("float64")
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def reference(targets: Any, logits: Any, weights: Any = 1.0) -> float:
    """The mean cross-entropy of the real tokens, token by token."""
    log_probs = log_softmax(np.asarray(logits))
    weights = np.broadcast_to(weights, targets.shape)
    total = count = 0.0
    for place, target in np.ndenumerate(targets):
        if target != 0:
            total -= weights[place] * log_probs[(*place, target)]
            count += weights[place]
    return total / count if count else 0.0


@given(batches())
def test_the_loss_is_the_mean_over_the_real_tokens(
    batch: tuple[np.ndarray, np.ndarray],
) -> None:
    loss = MaskedCrossentropy()(*batch)
    np.testing.assert_allclose(loss, reference(*batch), rtol=1e-5)


@given(batches(), st.integers(1, 3))
def test_more_padding_changes_no_loss(
    batch: tuple[np.ndarray, np.ndarray], more: int
) -> None:
    targets, logits = batch
    wide = np.pad(targets, ((0, 1), (0, more)))
    garbage = np.pad(logits, ((0, 1), (0, more), (0, 0)), constant_values=1e4)
    np.testing.assert_allclose(
        MaskedCrossentropy(0.1)(wide, garbage),
        MaskedCrossentropy(0.1)(targets, logits),
        rtol=1e-5,
    )


@given(batches(), st.data())
def test_a_row_of_weight_n_is_worth_n_rows(
    batch: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    targets, logits = batch
    size = len(targets)
    weights = data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    weighted = MaskedCrossentropy()(targets, logits, np.array(weights))
    repeated = np.repeat(targets, weights, axis=0), np.repeat(logits, weights, axis=0)
    np.testing.assert_allclose(weighted, MaskedCrossentropy()(*repeated), rtol=1e-5)


@given(batches(), st.integers(0, 2**32 - 1))
def test_tokens_may_have_weights_of_their_own(
    batch: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    weights = np.random.default_rng(seed).uniform(0, 2, batch[0].shape)
    loss = MaskedCrossentropy()(*batch, weights)
    np.testing.assert_allclose(loss, reference(*batch, weights), rtol=1e-5)


@given(batches(), st.floats(0, 0.9))
def test_label_smoothing_is_that_of_keras(
    batch: tuple[np.ndarray, np.ndarray], smoothing: float
) -> None:
    targets, logits = batch
    expected = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction="none"
    )(np.eye(VOCAB, dtype="float32")[targets], logits)
    actual = token_losses(targets, logits, smoothing)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 3)])
def test_weights_are_of_rows_or_of_tokens(shape: tuple[int, ...]) -> None:
    weights = np.full(shape, 0.5)
    actual = token_weights(np.array([[5, 3, 0], [3, 0, 0]]), weights)
    assert actual.numpy().tolist() == [[0.5, 0.5, 0], [0.5, 0, 0]]


@pytest.mark.parametrize("shape", [(), (2, 3, 1), (3,), (1, 3), (2, 2)])
def test_weights_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"`sample_weight`.*\(batch, time\).*shape=\("):
        token_weights(np.ones((2, 3)), np.ones(shape))


def test_the_reduction_may_be_a_sum_or_none() -> None:
    targets, logits = np.array([[5, 3, 0]]), np.zeros((1, 3, 8), "float32")
    each = MaskedCrossentropy(reduction="none")(targets, logits)
    np.testing.assert_allclose(each, [[np.log(8), np.log(8), 0]], rtol=1e-6)
    total = MaskedCrossentropy(reduction="sum")(targets, logits)
    np.testing.assert_allclose(total, 2 * np.log(8), rtol=1e-6)


@pytest.mark.parametrize("rows", [0, 2])
def test_a_batch_without_a_token_has_loss_and_gradient_zero(rows: int) -> None:
    logits = tf.ones((rows, 3, VOCAB))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = MaskedCrossentropy(0.1)(np.zeros((rows, 3), int), logits)
    assert float(loss) == 0.0
    assert not np.any(tape.gradient(loss, logits))


def test_padding_has_no_gradient() -> None:
    logits = tf.random.normal((2, 3, VOCAB))
    targets = np.array([[5, 3, 0], [3, 0, 0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = MaskedCrossentropy(0.1)(targets, logits)
    moved = np.any(tape.gradient(loss, logits), axis=-1)
    assert moved.tolist() == (targets != 0).tolist()


def test_half_precision_logits_are_summed_in_full_precision() -> None:
    logits = tf.random.normal((2, 3, VOCAB))
    half = tf.cast(logits, "float16")
    targets = np.array([[5, 3, 0], [3, 0, 0]])
    loss = MaskedCrossentropy()(targets, half)
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, reference(targets, half.numpy()), rtol=1e-5)


@pytest.mark.parametrize("bad", [-1, VOCAB])
def test_a_target_outside_the_vocabulary_is_refused(bad: int) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"0\.\.vocab - 1"):
        MaskedCrossentropy()(np.array([[5, bad]]), np.zeros((1, 2, VOCAB), "float32"))


@pytest.mark.parametrize(
    ("targets", "logits"),
    [((2, 3, VOCAB), (2, 3, VOCAB)), ((2, 3), (2, VOCAB)), ((2, 4), (2, 3, VOCAB))],
    ids=["one-hot targets", "logits of one step", "another time"],
)
def test_targets_and_logits_that_do_not_agree_are_refused(
    targets: tuple[int, ...], logits: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"Targets must be ids.*\(batch, time\)"):
        token_losses(np.ones(targets, int), np.ones(logits, "float32"))


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_label_smoothing_is_a_share(value: float) -> None:
    with pytest.raises(ValueError, match=rf"`label_smoothing` .*\[0, 1\).*{value}"):
        MaskedCrossentropy(label_smoothing=value)


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`reduction` .*'sum'.*'mean'"):
        MaskedCrossentropy(reduction="mean")


def test_the_loss_survives_its_config() -> None:
    loss = MaskedCrossentropy(label_smoothing=0.25, reduction="sum", name="mine")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss)
    )
    assert (again.label_smoothing, again.reduction, again.name) == (0.25, "sum", "mine")


def test_on_one_device_a_global_sum_is_the_value() -> None:
    value = tf.constant([1.0, 2.0])
    assert global_sum(value) is value


def test_the_losses_of_replicas_add_up_to_that_of_one_device() -> None:
    script = """
        import numpy as np
        import tensorflow as tf

        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, devices)
        from kseq.losses import MaskedCrossentropy

        # Three tokens on one replica, one on the other.
        targets = np.array([[5, 6, 3], [3, 0, 0]])
        logits = np.random.default_rng(0).normal(size=(2, 3, 7)).astype("float32")
        loss = MaskedCrossentropy()
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        rows = strategy.experimental_distribute_values_from_function(
            lambda context: context.replica_id_in_sync_group
        )

        @tf.function
        def step(row):
            row = tf.reshape(row, [1])
            return loss(tf.gather(targets, row), tf.gather(logits, row))

        total = strategy.reduce("SUM", strategy.run(step, (rows,)), axis=None)
        np.testing.assert_allclose(total, loss(targets, logits), rtol=1e-6)
        print("equal")
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == "equal\n", found.stderr


def test_nan_at_padding_does_not_reach_the_loss() -> None:
    targets = np.array([[4, 3, 0]])
    logits = np.zeros((1, 3, 8), "float32")
    expected = float(MaskedCrossentropy()(targets, logits))
    logits[0, 2] = np.nan
    assert float(MaskedCrossentropy()(targets, logits)) == expected


KERAS = keras.losses


@pytest.mark.parametrize(
    "identifier",
    [
        None,
        "masked_crossentropy",
        "categorical_crossentropy",
        "SparseCategoricalCrossentropy",
        "ce",
        KERAS.sparse_categorical_crossentropy,
        functools.partial(KERAS.categorical_crossentropy, from_logits=True),
        KERAS.SparseCategoricalCrossentropy(from_logits=True),
        KERAS.serialize(KERAS.SparseCategoricalCrossentropy(from_logits=True)),
        ["categorical_crossentropy"],
        {"decoder_output": "crossentropy"},
        MaskedCrossentropy,
    ],
)
def test_a_crossentropy_of_keras_reads_logits_and_leaves_padding_out(
    identifier: Any,
) -> None:
    targets = np.array([[5, 3, 0], [3, 0, 0]])
    logits = np.random.default_rng(0).normal(size=(2, 3, VOCAB)).astype("float32")
    found = losses.get(identifier)(targets, logits)
    np.testing.assert_allclose(found, MaskedCrossentropy()(targets, logits))


def test_the_settings_of_a_crossentropy_of_keras_are_kept() -> None:
    found = losses.get(
        KERAS.CategoricalCrossentropy(
            from_logits=True, label_smoothing=0.1, reduction="sum"
        )
    )
    assert (found.label_smoothing, found.reduction) == (0.1, "sum")


@pytest.mark.parametrize(
    "identifier",
    [
        KERAS.SparseCategoricalCrossentropy(),
        KERAS.CategoricalCrossentropy,
        functools.partial(KERAS.sparse_categorical_crossentropy),
    ],
)
def test_a_loss_of_probabilities_is_refused(identifier: Any) -> None:
    with pytest.raises(ValueError, match=r"must read logits.*MaskedCrossentropy"):
        losses.get(identifier)


@pytest.mark.parametrize(
    "identifier",
    [
        "mse",
        "no_such_loss",
        KERAS.MeanSquaredError(),
        functools.partial(KERAS.mean_squared_error),
        ["ce", "ce"],
    ],
)
def test_a_loss_that_is_not_of_ids_and_logits_is_refused(identifier: Any) -> None:
    with pytest.raises(ValueError, match=r"`loss` must be kseq.losses.Masked.*Rec"):
        losses.get(identifier)
