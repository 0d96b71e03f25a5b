"""Ranking of epochs and trials, and diverged ones."""

import re
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import pandas as pd
import pytest
from tuning.trials import Epochs

from kseq import Seq2Seq
from kseq.tuning import (
    Seq2SeqHyperModel,
    results,
    search,
)


def test_a_diverged_trial_fails_and_the_sweep_continues(
    data: Any, tmp_path: Path
) -> None:
    sweep = search(
        data,
        {"learning_rate": [1e6, 1e-4]},
        tuner="grid",
        units=4,
        max_epochs=1,
        directory=tmp_path,
        verbose=0,
    )
    table = sweep.results()
    assert table["status"].tolist() == ["COMPLETED", "FAILED"]
    assert table["learning_rate"].tolist() == [1e-4, 1e6]
    assert re.fullmatch(
        r"The training diverged: val_loss is [\d.e+]+; guessing among 16 tokens gives "
        r"2\.773\.",
        table["reason"][1],
    )
    assert sweep.best_hyperparameters["learning_rate"] == 1e-4


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 1e6, 3.5])
def test_a_loss_worse_than_guessing_fails_the_trial(
    data: Any, tmp_path: Path, epochs: Epochs, loss: float
) -> None:
    epochs.update({4: [(0.5, loss)], 8: [(0.0, 2.7)]})
    sweep = search(
        data,
        {"units": [4, 8]},
        tuner="grid",
        directory=tmp_path,
        max_epochs=2,
        verbose=0,
    )
    assert sweep.best_config.units == 8
    reason = sweep.results()["reason"][1]
    assert reason.startswith(f"The training diverged: val_loss is {loss:.4g};")


def test_of_equal_trials_the_one_with_the_lower_loss_is_the_best(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    epochs.update({4: [(0.0, 2.7)], 6: [(0.0, 2.5)], 8: [(0.0, 2.6)]})
    for _ in range(2):  # the second time from the folder
        sweep = search(
            data,
            {"units": [4, 6, 8]},
            tuner="grid",
            directory=tmp_path,
            max_epochs=1,
            verbose=0,
        )
        assert sweep.results()["units"].tolist() == [6, 8, 4]
        assert sweep.best_config.units == 6
        ranked = sweep.tuner.oracle.get_best_trials(3)
        assert [t.hyperparameters.get("units") for t in ranked] == [6, 8, 4]


def test_of_equal_epochs_the_one_with_the_lower_loss_is_the_best(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    diverged, nan = (0.9, 1e6), (0.9, float("nan"))
    epochs[4] = [diverged, (0.1, 2.7), (0.1, 2.5), (0.1, 2.6), diverged]
    epochs[8] = [(0.1, 2.7), nan, (0.2, 1.0)]
    table = search(
        data,
        {"units": [4, 8]},
        tuner="grid",
        directory=tmp_path,
        max_epochs=5,
        verbose=0,
    ).results()
    assert table["units"].tolist() == [4, 8]
    # What comes after nan is not trained any more.
    assert table["best_epoch"].tolist() == [3, 1]
    assert table["score"].tolist() == [0.1, 0.1]


def test_the_checkpoint_is_of_the_best_epoch(
    data: Any, tmp_path: Path, epochs: Epochs, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Seq2Seq, "save_weights", lambda *_: saved.append(seen[-1]))
    monkeypatch.setattr(Seq2Seq, "load_weights", lambda *_: None)
    seen: list[int] = []
    epochs[4] = [(0.9, 1e6), (0.1, 2.7), (0.1, 2.5), (0.1, 2.6), (0.2, 1e6)]
    search(
        data,
        {"units": [4]},
        tuner="grid",
        directory=tmp_path,
        max_epochs=5,
        callbacks=[Note(seen)],
        verbose=0,
    )
    assert saved == [1, 2]


class Note(keras.callbacks.Callback):
    """Records the epochs; the copies for trials share the list."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen

    def __deepcopy__(self, memo: Any) -> "Note":
        return Note(self.seen)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen.append(epoch)


def test_diverged_trials_in_a_row_do_not_end_a_sweep(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    epochs.update({units: [(0.0, 1e6)] for units in (4, 5, 6, 7)})
    epochs[8] = [(0.0, 2.0)]
    sweep = search(
        data,
        {"units": [4, 5, 6, 7, 8]},
        tuner="grid",
        max_consecutive_failed_trials=2,
        directory=tmp_path,
        max_epochs=1,
        verbose=0,
    )
    assert sweep.best_config.units == 8


def test_a_sweep_whose_trials_all_diverge_raises(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    epochs.update({4: [(0.0, 1e6)], 8: [(0.0, 1e7)]})
    with pytest.raises(
        RuntimeError,
        match=r"No trial of the sweep succeeded, and 2 failed; .* Last error: The "
        r"training diverged: val_loss is 1e\+07; guessing",
    ):
        search(
            data,
            {"units": [4, 8]},
            tuner="grid",
            directory=tmp_path,
            max_epochs=1,
            verbose=0,
        )


def test_hyperband_promotes_the_best_where_others_have_failed(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    # Three trials of one epoch, of which one goes on; keras-tuner waits for a third.
    epochs.update({4: [(0.0, 2.6)], 6: [(0.0, 1e6)], 8: [(0.0, 2.5)]})
    table = search(
        data,
        {"units": [4, 6, 8]},
        tuner="hyperband",
        directory=tmp_path,
        max_epochs=3,
        verbose=0,
    ).results()
    promoted = table[table["tuner/round"] == 1]
    assert promoted["units"].tolist() == [8]


def test_a_trial_fails_if_one_of_its_executions_diverges(
    data: Any, tmp_path: Path, epochs: Epochs, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, seen = Seq2Seq.fit, []

    def second_diverges(self: Seq2Seq, *args: Any, **settings: Any) -> Any:
        seen.append(self.config.units)
        epochs[4] = [(0.5, 1e6 if seen.count(4) == 2 else 2.0)]
        return fit(self, *args, **settings)

    monkeypatch.setattr(Seq2Seq, "fit", second_diverges)
    epochs[8] = [(0.1, 2.0)]
    sweep = search(
        data,
        {"units": [4, 8]},
        tuner="grid",
        directory=tmp_path,
        max_epochs=1,
        verbose=0,
        tuner_settings={"executions_per_trial": 2},
    )
    assert sweep.results()["status"].tolist() == ["COMPLETED", "FAILED"]
    assert sweep.best_config.units == 8


def test_an_objective_that_is_nan_fails_the_trial(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    epochs.update({4: [(float("nan"), 2.0)], 8: [(float("nan"), 2.0), (0.1, 2.0)]})
    table = search(
        data,
        {"units": [4, 8]},
        tuner="grid",
        directory=tmp_path,
        max_epochs=2,
        verbose=0,
    ).results()
    assert table["best_epoch"].tolist() == [2, pd.NA]
    assert table["reason"][1] == (
        "`objective` must be finite. Received: val_sequence_accuracy is nan in every "
        "epoch."
    )


def test_a_tuner_of_several_objectives_leaves_diverged_epochs_out(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    epochs.update({4: [(0.9, 1e6), (0.2, 2.0)], 8: [(0.9, 1e6)]})
    hypermodel = Seq2SeqHyperModel(data, {"units": [4, 8]}, max_epochs=2)
    tuner = keras_tuner.GridSearch(
        hypermodel,
        objective=["val_sequence_accuracy", "val_loss"],
        directory=tmp_path,
    )
    tuner.search(verbose=0)
    table = results(tuner)
    assert table["status"].tolist() == ["COMPLETED", "FAILED"]
    assert table["score"][0] == pytest.approx(2.0 - 0.2)
