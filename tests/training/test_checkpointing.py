"""Checkpoints: which one is the best, when training stops, and damaged files."""

import errno
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from training.short_runs import (
    STEPS_PER_EPOCH,
    assert_same_result,
    read_log,
    read_metrics,
    train_briefly,
)

from kseq.storage.model_folder import ModelFolder
from kseq.training import RunDivergedError
from kseq.training.loop import TrainingLoop

# Step by step: a graph of a model this small takes longer to build than to train.
pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]


# The best checkpoint.


def test_the_best_checkpoint_is_the_model(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [5.0, 3.0, 3.0, 4.0]
    result = train_briefly(tmp_path / "run", max_updates=4)
    assert result.best == 2
    files = sorted((result.folder / "checkpoints").iterdir())
    assert [file.name[4] for file in files] == ["1", "2", "3", "4"]
    assert (result.folder / "model.keras").read_bytes() == files[1].read_bytes()


def test_the_optimized_metric_decides(tmp_path: Path, figures: Any) -> None:
    figures |= {"perplexity": [5.0, 3.0, 4.0], "bleu": [0.1, 0.2, 0.7]}
    for name, best in (("perplexity", 2), ("bleu", 3)):
        result = train_briefly(
            tmp_path / name,
            metrics=["perplexity", "bleu"],
            optimized_metric=name,
            max_updates=3,
        )
        assert result.best == best


@pytest.mark.parametrize(("keep", "kept"), [(0, [1, 2, 3, 4]), (1, [2, 4])])
def test_old_checkpoints_are_removed_except_the_best(
    tmp_path: Path, figures: Any, keep: int, kept: list[int]
) -> None:
    figures["perplexity"] = [5.0, 1.0, 3.0, 4.0]
    result = train_briefly(tmp_path / "run", keep_checkpoints=keep, max_updates=4)
    assert list(ModelFolder(result.folder).checkpoints()) == kept


def test_plateau_lowers_the_learning_rate(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [5.0, 4.0, 4.0, 4.0, 3.0, 3.0]
    result = train_briefly(
        tmp_path / "run",
        learning_rate=0.5,
        plateau_factor=0.1,
        plateau_patience=1,
        max_updates=6,
    )
    # The learning rate before each checkpoint.
    assert list(result.metrics["learning_rate"].round(6)) == [
        *(0.5, 0.5, 0.5, 0.05, 0.005, 0.005)
    ]


# The end of a run.


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("bleu", [0.1, 0.3, 0.3, 0.2, 0.9]),
        ("exact_match", [0.0, 0.5, 0.1, 0.5, 0.9]),
        ("wer", [0.9, 0.4, 0.5, 0.4, 0.1]),
        ("perplexity", [9.0, 4.0, 15.0, 4.0, 1.0]),
    ],
)
def test_a_run_ends_without_improvement(
    tmp_path: Path, figures: Any, metric: str, values: list[float]
) -> None:
    figures |= {"perplexity": [2.0] * 5, metric: values}
    settings = {"metrics": [metric], "max_checkpoints_not_improved": 2}
    result = train_briefly(tmp_path / "run", **settings, max_updates=None)
    assert result.reason == f"2 checkpoints without a better {metric}"
    assert (len(result.metrics), result.best) == (4, 2)


@pytest.mark.parametrize(
    ("least", "updates"),
    [({"min_updates": 7, "checkpoint_updates": 2}, 7), ({"min_epochs": 2}, 6)],
)
def test_early_stopping_waits_for_the_minimum_length(
    tmp_path: Path, figures: Any, least: Any, updates: int
) -> None:
    figures["perplexity"] = [1.0, *[2.0] * 5]
    result = train_briefly(
        tmp_path / "run", **least, max_checkpoints_not_improved=2, max_updates=None
    )
    assert result.metrics["updates"].iloc[-1] == updates
    assert "checkpoints without a better perplexity" in result.reason


def test_early_stopping_can_be_disabled(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [1.0] + [2.0] * 19
    result = train_briefly(
        tmp_path / "run", max_checkpoints_not_improved=0, max_updates=20
    )
    assert result.reason == "20 updates"


def test_a_run_ends_after_max_epochs(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0] * 3
    result = train_briefly(
        tmp_path / "run", max_updates=None, max_epochs=2, checkpoint_updates=4
    )
    assert result.reason == "2 epochs"
    # The end of the run makes a checkpoint, within an interval too.
    assert list(result.metrics["updates"]) == [4, 2 * STEPS_PER_EPOCH]


def test_max_seconds_counts_all_resumed_runs(
    tmp_path: Path, figures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures["perplexity"] = [2.0] * 9
    now = [0.0]

    def step(self: Any, batch: int, logs: Any = None) -> None:
        now[0] += 10

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(TrainingLoop, "on_train_batch_begin", step)
    result = train_briefly(tmp_path / "run", max_updates=None, max_seconds=30)
    assert result.reason == "30 seconds"
    now[0] = 10**6
    again = train_briefly(
        tmp_path / "run", max_updates=None, max_seconds=60, resume=True
    )
    assert again.reason == "60 seconds"
    assert list(again.metrics["seconds"]) == [10, 20, 30, 40, 50, 60]


def test_a_run_of_no_seconds_makes_one_checkpoint(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0]
    result = train_briefly(tmp_path / "run", max_seconds=0, max_updates=None)
    assert (result.reason, len(result.metrics)) == ("0 seconds", 1)


# Divergence.


def test_a_run_that_diverges_keeps_its_last_good_checkpoint(
    tmp_path: Path, figures: Any
) -> None:
    for name, bad in (("high", 1000.0), ("nan", float("nan")), ("inf", float("inf"))):
        figures["perplexity"] = [5.0, 4.0, bad]
        with pytest.raises(RunDivergedError) as caught:
            train_briefly(tmp_path / name, max_updates=9)
        message = str(caught.value)
        assert f"The perplexity on the validation data is {bad:.3g}, worse" in message
        assert (
            "after 3 updates, at a learning rate of 0.001. Lower the learning rate"
            in message
        )
        assert "The best checkpoint is 2." in message
        assert message in read_log(tmp_path / name)
        assert len(read_metrics(tmp_path / name)) == 2
        folder = ModelFolder(tmp_path / name)
        assert list(folder.checkpoints()) == [1, 2]
        assert folder.model.read_bytes() == folder.checkpoint(2).read_bytes()


def test_a_diverged_run_diverges_again(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [5.0, 1000.0]
    with pytest.raises(RunDivergedError):
        train_briefly(tmp_path / "run", max_updates=9)
    figures["perplexity"] = [1000.0]
    with pytest.raises(RunDivergedError, match="The best checkpoint is 1"):
        train_briefly(tmp_path / "run", max_updates=9, resume=True)


def test_a_very_high_learning_rate_diverges(tmp_path: Path) -> None:
    with pytest.raises(RunDivergedError, match="There is no checkpoint yet"):
        train_briefly(
            tmp_path / "run",
            optimizer="sgd",
            global_clipnorm=0,
            learning_rate=1e6,
            checkpoint_updates=5,
            max_updates=20,
        )
    # There is no checkpoint yet.
    assert not (tmp_path / "run/model.keras").exists()


# Damaged and missing files.


def test_a_run_resumes_from_the_state_before_a_truncated_one(
    tmp_path: Path, figures: Any
) -> None:
    # The best checkpoint of the state before has been removed.
    figures["perplexity"] = [9.0, 8.0, 7.0, 7.0]
    train_briefly(tmp_path / "whole", max_updates=4, keep_checkpoints=1)
    train_briefly(tmp_path / "cut", max_updates=3, keep_checkpoints=1)
    last = max((tmp_path / "cut/state").iterdir())
    last.write_bytes(last.read_bytes()[:-1000])
    figures["perplexity"] = [7.0, 7.0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_briefly(tmp_path / "cut", max_updates=4, keep_checkpoints=1, resume=True)
    messages = [str(warning.message) for warning in caught]
    assert any("resuming from '0000000002.npz'" in message for message in messages)
    assert any("00002.keras' is missing" in message for message in messages)
    assert_same_result(tmp_path / "cut", tmp_path / "whole")
    folder = ModelFolder(tmp_path / "cut")
    assert folder.model.read_bytes() == folder.checkpoint(3).read_bytes()


def test_a_damaged_checkpoint_does_not_become_the_model(
    tmp_path: Path, figures: Any
) -> None:
    figures["perplexity"] = [2.0, 3.0, 3.0]
    train_briefly(tmp_path / "run")
    model = (tmp_path / "run/model.keras").read_bytes()
    best = tmp_path / "run/checkpoints/00001.keras"
    best.write_bytes(best.read_bytes()[:-1000])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_briefly(tmp_path / "run", max_updates=3, resume=True)
    messages = " ".join(str(warning.message) for warning in caught)
    assert (
        "00001.keras' is missing or damaged; 'model.keras' is not changed" in messages
    )
    assert (tmp_path / "run/model.keras").read_bytes() == model


def test_a_missing_model_is_restored_from_the_best_checkpoint(
    tmp_path: Path, figures: Any
) -> None:
    figures["perplexity"] = [2.0, 3.0]
    train_briefly(tmp_path / "run")
    (tmp_path / "run/model.keras").unlink()
    train_briefly(tmp_path / "run", resume=True)
    best = tmp_path / "run/checkpoints/00001.keras"
    assert (tmp_path / "run/model.keras").read_bytes() == best.read_bytes()


@pytest.mark.parametrize("where", ["state", "checkpoint", "model", "metrics"])
def test_a_run_ended_by_a_full_disk_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any, where: str
) -> None:
    figures["perplexity"] = [3.0, 2.0]
    train_briefly(tmp_path / "whole")
    kinds = {
        "state": ".npz",
        "checkpoint": "[0-9].keras",
        "model": "model.keras",
        "metrics": ".csv",
    }
    real = os.replace
    written = []

    def full(source: Any, target: Any) -> None:
        if re.search(f"{kinds[where]}$", str(target)):
            written.append(target)
            if len(written) == 2:
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(OSError, match="No space left on device"):
            train_briefly(tmp_path / "run")
    hidden = [
        path.name for path in (tmp_path / "run").rglob(".*") if path.name != ".lock"
    ]
    assert hidden == []
    # The first state is written at the beginning.
    figures["perplexity"] = [3.0, 2.0][0 if where == "state" else 1 :]
    train_briefly(tmp_path / "run", resume=True)
    assert_same_result(tmp_path / "run", tmp_path / "whole")
