"""The metrics, against plain numpy, over batches of unequal token counts."""

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kseq import metrics

VOCAB = 7

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Targets, logits that are often right, and whole weights of the tokens."""
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    time = max(*lengths, 1)
    targets = rng.integers(1, VOCAB, (len(lengths), time))
    targets[np.arange(time) >= np.array(lengths)[:, None]] = 0
    logits = rng.normal(0, 1, (*targets.shape, VOCAB))
    logits += 3 * np.eye(VOCAB)[targets]
    return targets, logits.astype("float32"), rng.integers(0, 3, targets.shape)


def tokens(batch: Batch) -> list[tuple[float, float, float]]:
    """Of each real token: its weight, whether it is right, its cross-entropy."""
    targets, logits, weights = batch
    rows = []
    for place, target in np.ndenumerate(targets):
        if target != 0:
            scores = logits[place].astype("float64")
            loss = np.log(np.exp(scores).sum()) - scores[target]
            rows.append((weights[place], float(scores.argmax() == target), loss))
    return rows


def mean(pairs: list[tuple[float, float]]) -> float:
    weight = sum(w for w, _ in pairs)
    return sum(w * value for w, value in pairs) / weight if weight else 0.0


def token_accuracy(epoch: list[Batch]) -> float:
    return mean([(w, right) for b in epoch for w, right, _ in tokens(b)])


def perplexity(epoch: list[Batch]) -> float:
    return float(np.exp(mean([(w, loss) for b in epoch for w, _, loss in tokens(b)])))


def sequence_accuracy(epoch: list[Batch]) -> float:
    rows = []
    for targets, logits, weights in epoch:
        for row in range(len(targets)):
            one = tokens((targets[[row]], logits[[row]], weights[[row]]))
            counted = [(w, right) for w, right, _ in one if w]
            if counted:
                right = float(all(right for _, right in counted))
                rows.append((max(w for w, _ in counted), right))
    return mean(rows)


REFERENCES = {
    "token_accuracy": token_accuracy,
    "perplexity": perplexity,
    "sequence_accuracy": sequence_accuracy,
}

every_metric = pytest.mark.parametrize("name", sorted(REFERENCES))


def measured(name: str, epoch: list[Any]) -> float:
    metric = metrics.get(name)
    for batch in epoch:
        metric.update_state(*batch)
    return float(metric.result())


@every_metric
@settings(max_examples=40)
@given(epoch=st.lists(batches(), min_size=1, max_size=3))
def test_an_epoch_is_measured_token_by_token(name: str, epoch: list[Batch]) -> None:
    expected = REFERENCES[name](epoch)
    np.testing.assert_allclose(measured(name, epoch), expected, rtol=1e-5)


@every_metric
@settings(max_examples=40)
@given(batch=batches())
def test_without_weights_each_counts_once(name: str, batch: Batch) -> None:
    ones = np.ones_like(batch[2])
    expected = REFERENCES[name]([(*batch[:2], ones)])
    np.testing.assert_allclose(measured(name, [batch[:2]]), expected, rtol=1e-5)


@every_metric
@settings(max_examples=40)
@given(batch=batches(), more=st.integers(1, 3))
def test_more_padding_changes_no_metric(name: str, batch: Batch, more: int) -> None:
    padding = ((0, 1), (0, more))
    wide = (
        np.pad(batch[0], padding),
        np.pad(batch[1], (*padding, (0, 0)), constant_values=1e4),
        np.pad(batch[2], padding, constant_values=1),
    )
    np.testing.assert_allclose(
        measured(name, [wide]), measured(name, [batch]), rtol=1e-5
    )


@every_metric
@settings(max_examples=40)
@given(batch=batches(), data=st.data())
def test_a_row_of_weight_n_counts_as_n_rows(
    name: str, batch: Batch, data: st.DataObject
) -> None:
    targets, logits, _ = batch
    size = len(targets)
    weights = data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    repeated = np.repeat(targets, weights, axis=0), np.repeat(logits, weights, axis=0)
    np.testing.assert_allclose(
        measured(name, [(targets, logits, np.array(weights))]),
        measured(name, [repeated]),
        rtol=1e-5,
    )


@every_metric
def test_a_reset_metric_has_seen_nothing(name: str) -> None:
    metric = metrics.get(name)
    metric.update_state([[5, 3]], np.eye(VOCAB, dtype="float32")[[[5, 4]]])
    metric.reset_state()
    metric.update_state([[5, 3]], 50 * np.eye(VOCAB, dtype="float32")[[[5, 3]]])
    assert float(metric.result()) == pytest.approx(1.0)


@every_metric
def test_a_metric_is_named_and_survives_its_config(name: str) -> None:
    metric = type(metrics.get(name))(name="mine")
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )
    assert metrics.get(name).name == name
    assert (type(again), again.name) == (type(metric), "mine")


def test_counts_stay_exact_beyond_what_float32_can_count() -> None:
    metric = metrics.TokenAccuracy()
    metric.weight.assign(2.0**25)
    metric.total.assign(2.0**25)
    for _ in range(3):
        metric.update_state([[5]], np.eye(VOCAB, dtype="float32")[[[4]]])
    assert float(metric.weight.numpy() - metric.total.numpy()) == 3.0


@pytest.mark.parametrize(
    "identifier",
    [
        "accuracy",
        "acc",
        "sparse_categorical_accuracy",
        keras.metrics.SparseCategoricalAccuracy(),
        keras.metrics.CategoricalAccuracy(name="mine"),
        keras.metrics.categorical_accuracy,
    ],
)
def test_an_accuracy_of_keras_is_that_of_the_real_tokens(identifier: Any) -> None:
    name = getattr(identifier, "name", getattr(identifier, "__name__", identifier))
    metric = metrics.get(identifier)
    assert (type(metric), metric.name) == (metrics.TokenAccuracy, name)


@pytest.mark.parametrize(
    "identifier",
    [
        "crossentropy",
        "sparse_categorical_crossentropy",
        keras.metrics.CategoricalCrossentropy(from_logits=True),
        keras.metrics.sparse_categorical_crossentropy,
    ],
)
def test_a_crossentropy_of_keras_is_that_of_the_real_tokens(identifier: Any) -> None:
    metric = metrics.get(identifier)
    metric.update_state([[5, 3, 0]], np.zeros((1, 3, VOCAB)))
    assert float(metric.result()) == pytest.approx(np.log(VOCAB))


@pytest.mark.parametrize(
    "identifier",
    [
        "mse",
        "no_such_metric",
        3,
        keras.metrics.Mean(),
        keras.metrics.mean_squared_error,
        keras.metrics.SparseTopKCategoricalAccuracy(),
        keras.metrics.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    ],
)
def test_other_metrics_of_keras_are_refused(identifier: Any) -> None:
    with pytest.raises(ValueError, match=r"must be one of 'token_accuracy'.*Received"):
        metrics.get(identifier)


def test_a_metric_of_probabilities_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must read logits.*from_logits=False"):
        metrics.get(keras.metrics.SparseCategoricalCrossentropy())


def test_a_metric_of_ones_own_is_taken_as_it_is() -> None:
    def mine(y_true: Any, y_pred: Any) -> Any:
        return y_true

    assert metrics.get(mine) is mine
    assert metrics.get(None) is None
