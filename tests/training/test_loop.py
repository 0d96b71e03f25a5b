"""The training loop: intervals, progress lines, signals, a loss that is not finite."""

import re
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from training.short_runs import HELD_OUT, last_state, read_log, train_briefly

from kseq import Translator
from kseq.training import RunDivergedError, RunInterruptedError
from kseq.training.loop import TrainingLoop

# Step by step: a graph of a model this small takes longer to build than to train.
pytestmark = [
    pytest.mark.usefixtures("eagerly"),
    pytest.mark.filterwarnings("ignore:Even though the `tf.config"),
]


# Checkpoints.


@pytest.mark.parametrize(
    ("accumulated", "end", "epochs"), [(1, 5, [2, 4, 5]), (2, 6, [2, 4, 6])]
)
def test_checkpoints_can_be_made_by_epochs(
    tmp_path: Path, figures: Any, accumulated: int, end: int, epochs: list[float]
) -> None:
    figures["perplexity"] = [2.0] * 9
    given = {"checkpoint_updates": None, "checkpoint_epochs": 2, "max_updates": None}
    given["accumulation_steps"] = accumulated
    result = train_briefly(tmp_path / "run", **given, max_epochs=end)
    assert list(result.metrics["epoch"]) == epochs
    result = train_briefly(tmp_path / "run", **given, max_epochs=8, resume=True)
    # After the checkpoint at the end of the run the intervals are whole again.
    assert list(result.metrics["epoch"]) == sorted({*epochs, 6, 8})


def test_the_best_checkpoint_translates_during_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    original = TrainingLoop.on_train_batch_end

    def observed(self: Any, batch: int, logs: Any = None) -> None:
        if self.state.rows:
            answers.append(Translator.load(tmp_path / "run").translate(["1"]))
        original(self, batch, logs)

    monkeypatch.setattr(TrainingLoop, "on_train_batch_end", observed)
    train_briefly(tmp_path / "run")
    assert len(answers) == 1


def test_a_loss_of_nan_ends_a_run_between_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any
) -> None:
    original = TrainingLoop.on_train_batch_end

    def poisoned(self: Any, batch: int, logs: Mapping[str, Any]) -> None:
        original(self, batch, {**logs, "loss": float("nan")})

    monkeypatch.setattr(TrainingLoop, "on_train_batch_end", poisoned)
    with pytest.raises(RunDivergedError, match="The loss is nan after 10 updates"):
        train_briefly(tmp_path / "run", checkpoint_updates=100, max_updates=200)


# The log.


def test_outputs_are_logged_between_and_at_checkpoints(tmp_path: Path) -> None:
    train_briefly(
        tmp_path / "run",
        show=2,
        show_sources=["4 1 4"],
        show_every=1,
        checkpoint_updates=2,
    )
    first, second = HELD_OUT.source_texts()[:2]
    lines = read_log(tmp_path / "run").splitlines()
    shown = [
        re.findall(r"(update \d: |   )(.*)  ->", line) for line in lines if "->" in line
    ]
    # Updates 1 and 2 log `show_sources`, the checkpoint also logs validation pairs.
    assert [pair for (pair,) in shown] == [
        ("update 1: ", "4 1 4"),
        ("update 2: ", "4 1 4"),
        ("   ", first),
        ("   ", second),
        ("   ", "4 1 4"),
    ]


def test_validation_and_logged_outputs_change_no_weights(tmp_path: Path) -> None:
    # Keras draws masks of recurrent dropout also for inference.
    model = {"recurrent_dropout": 0.5}
    train_briefly(tmp_path / "blind", model=model)
    shown = {"show": 2, "show_sources": ["1 2"], "show_every": 1}
    train_briefly(
        tmp_path / "seen", model=model, **shown, metrics=["perplexity", "wer"]
    )
    blind, seen = last_state(tmp_path / "blind"), last_state(tmp_path / "seen")
    for name, array in blind.items():
        assert seen[name].tobytes() == array.tobytes(), name


def test_the_log_has_a_line_every_log_every_updates(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = {"log_every": 2, "checkpoint_updates": 5, "buckets": 2}
    given |= {"show_sources": ["a"], "show_every": 3}
    train_briefly(tmp_path / "run", **given, max_updates=4, verbose=True)
    train_briefly(tmp_path / "run", **given, max_updates=5, resume=True)
    err = capfd.readouterr().err
    text = read_log(tmp_path / "run")
    figure = r"[0-9.,e+-]+"
    for number in (2, 4):
        line = (
            rf"update {number}, epoch \d+\.\d\d: loss {figure}, perplexity {figure}, "
            rf"token accuracy {figure}, {figure} tokens/s, {figure} samples/s\n"
        )
        assert re.search(line, err)
        assert re.search(line, text)
    assert err.count("samples/s") == text.count("samples/s") == 2
    assert "update 3: a  ->  " in err
    assert text.count("buckets, (source, target) tokens") == 1
    assert re.search(rf"in training loss {figure}, perplexity", err)
    assert not re.search(r"[\r\b\x1b]", err)


# Signals.


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_run_after_the_current_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any, name: str
) -> None:
    figures["perplexity"] = [2.0]
    number = getattr(signal, name)
    before = signal.getsignal(number)

    def signalled(self: Any, batch: int, logs: Any = None) -> None:
        if self.state.steps == 1:
            signal.raise_signal(number)

    monkeypatch.setattr(TrainingLoop, "on_train_batch_begin", signalled)
    settings = {"checkpoint_updates": 3, "max_updates": 3}
    with pytest.raises(RunInterruptedError, match=f"stopped by {name}") as caught:
        train_briefly(tmp_path / "run", **settings)
    assert caught.value.signal == number
    assert signal.getsignal(number) == before
    assert f"{name}: ending after this step" in read_log(tmp_path / "run")
    assert "saved after 2 updates" in read_log(tmp_path / "run")
    assert (
        train_briefly(tmp_path / "run", **settings, resume=True).reason == "3 updates"
    )


def test_a_second_signal_ends_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Any
) -> None:
    figures["perplexity"] = [2.0] * 4

    def impatient(self: Any, batch: int, logs: Any = None) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingLoop, "on_train_batch_begin", impatient)
    # Background processes of a shell ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_briefly(tmp_path / "run")
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_trains_in_a_thread(tmp_path: Path, figures: Any) -> None:
    figures["perplexity"] = [2.0] * 4
    results = []
    thread = threading.Thread(
        target=lambda: results.append(train_briefly(tmp_path / "run"))
    )
    thread.start()
    thread.join()
    assert results[0].reason == "2 updates"
