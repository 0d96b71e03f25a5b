"""Reports on sweeps."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kseq.tuning import (
    Choice,
    Float,
    results,
    search,
)
from kseq.tuning.reports import last_error_line


def test_results_come_from_the_folder_alone(
    data: Any, tmp_path: Path, quick: Any
) -> None:
    space = {
        "units": [4, 6, 8],
        "learning_rate": Float(1e-3, 1e-1, step=10.0, sampling="log"),
        "layers": 1,
        "cell": ["lstm", "gru"],
        "forget_bias": Choice([2.0], when={"cell": "lstm"}),
    }
    sweep = search(
        data, space, tuner="grid", directory=tmp_path, max_epochs=1, verbose=0
    )
    table = results(str(tmp_path / "sweep"))
    assert list(table.columns) == [
        "trial",
        "status",
        "score",
        "units",
        "learning_rate",
        "cell",
        "forget_bias",
        "seconds",
        "parameters",
        "best_epoch",
        "reason",
    ]
    assert len(table) == 3 * 3 * 2
    assert table["score"].tolist()[:12] == [8.0] * 6 + [4.0] * 6
    assert table["status"].tolist()[12:] == ["FAILED"] * 6
    assert (table["forget_bias"].isna() == (table["cell"] == "gru")).all()
    assert table.attrs["log"] == ["learning_rate"]
    assert table.attrs["objective"] == "val_sequence_accuracy"
    assert table.attrs["direction"] == "max"
    for same in (sweep.results(), results(sweep), results(sweep.tuner)):
        pd.testing.assert_frame_equal(same, table)
    table.to_csv(tmp_path / "results.csv", index=False)
    assert len(pd.read_csv(tmp_path / "results.csv")) == 18


def test_the_lowest_score_comes_first_if_the_objective_is_minimized(
    tmp_path: Path,
) -> None:
    for number, score in enumerate([3.0, 1.0, 2.0]):
        folder = tmp_path / f"trial_{number}"
        folder.mkdir()
        trial = {
            "trial_id": str(number),
            "hyperparameters": {"space": [], "values": {"units": number}},
            "score": score,
            "best_step": 0,
            "status": "COMPLETED",
            "message": None,
        }
        (folder / "trial.json").write_text(json.dumps(trial))
        (folder / "run.json").write_text(
            json.dumps({"objective": "val_loss", "direction": "min"})
        )
    assert results(tmp_path)["trial"].tolist() == ["1", "2", "0"]


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/oracle.json").touch()
    with pytest.raises(FileNotFoundError, match=r"no sweep .*holds the sweeps mine"):
        results(tmp_path)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "Traceback (most recent call last):\n  File\nValueError: no\n",
            "ValueError: no",
        ),
        (
            "Traceback (most recent call last):\n  File\nValueError: a\n\nThe above\n\n"
            "Traceback (most recent call last):\n  File\n"
            "keras_tuner.src.errors.FailedTrialError: b",
            "b",
        ),
        (
            "Traceback (most recent call last):\n  File\n"
            "tensorflow.errors_impl.InvalidArgumentError: Graph execution error:\n\n"
            "Detected at node x defined at (most recent call last):\n"
            "<stack traces unavailable>\nids out of range\n\t [[{{node x}}]]",
            "InvalidArgumentError: Graph execution error: ids out of range",
        ),
        ("Its workers were lost.", "Its workers were lost."),
    ],
)
def test_the_reason_is_the_last_error_of_a_traceback(message: str, reason: str) -> None:
    assert last_error_line(message) == reason
