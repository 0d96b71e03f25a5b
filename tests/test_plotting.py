"""Pictures of training."""

import sys
from pathlib import Path

import keras
import pytest

from kseq.plotting import learning_curve

HISTORY = {
    "loss": [3.0, 2.0, 1.0, 0.5],
    "token_accuracy": [0.1, 0.2, 0.3, 0.4],
    "learning_rate": [0.1] * 4,
    "val_loss": [3.5, 2.5, 1.5, 1.0],
    "val_token_accuracy": [0.1, 0.15, 0.2, 0.25],
}

pytest.importorskip("matplotlib")


def test_metrics_are_drawn_with_their_validation() -> None:
    ax = learning_curve(HISTORY)
    training, validation = ax.lines
    assert (training.get_label(), training.get_linestyle()) == ("token_accuracy", "--")
    assert (validation.get_label(), validation.get_linestyle()) == (
        "val_token_accuracy",
        "-",
    )
    assert list(training.get_ydata()) == HISTORY["token_accuracy"]
    assert list(validation.get_ydata()) == HISTORY["val_token_accuracy"]
    assert list(training.get_xdata()) == list(validation.get_xdata()) == [1, 2, 3, 4]
    assert training.get_color() == validation.get_color()
    assert ax.get_xlabel() == "epoch"


def test_the_loss_is_drawn_on_request_or_where_there_is_nothing_else() -> None:
    for ax in (
        learning_curve(HISTORY, metrics=["loss"]),
        learning_curve({key: HISTORY[key] for key in ("loss", "val_loss")}),
    ):
        assert [line.get_label() for line in ax.lines] == ["loss", "val_loss"]


def test_a_keras_history_is_taken_as_it_is() -> None:
    history = keras.callbacks.History()
    history.history = {"loss": [2.0, 1.0]}
    assert len(learning_curve(history).lines) == 1


@pytest.mark.parametrize(("epochs", "every"), [(4, 2), (5, 2), (6, 3), (3, 1)])
def test_validation_every_few_epochs_stands_at_its_epochs(
    epochs: int, every: int
) -> None:
    validated = range(every, epochs + 1, every)
    history = {"loss": [1.0] * epochs, "val_loss": [1.0] * len(validated)}
    ax = learning_curve(history)
    assert list(ax.lines[1].get_xdata()) == list(validated)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`metrics` .*'token_accuracy'.*'bleu'"):
        learning_curve(HISTORY, metrics=["bleu"])


def test_a_picture_can_be_saved_into_axes_of_ones_own(tmp_path: Path) -> None:
    ax = learning_curve(HISTORY)
    assert learning_curve(HISTORY, metrics=["loss"], ax=ax) is ax
    assert len(ax.lines) == 4
    ax.figure.savefig(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'kseq\[plot\]'"):
        learning_curve(HISTORY)
