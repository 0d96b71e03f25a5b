"""Sweeps whose processes are killed."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import pandas as pd
import pytest

from kseq import Translator
from kseq.tuning import (
    fault_tolerance,
    results,
)

SCRIPT = Path(__file__).with_name("sweep_process.py")


class Killed(BaseException):
    """Simulates SIGKILL: no code catches it."""


class Light(keras_tuner.HyperModel):  # type: ignore[misc]
    """A space with a condition and a failure; its models train nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.fitted = 0

    def build(self, hp: Any) -> Any:
        units = hp.Choice("units", [1, 2])
        hp.Boolean("reverse")
        with hp.conditional_scope("reverse", [True]):
            hp.Choice("depth", [1, 2])
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(units)])

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> float:
        self.fitted += 1
        for callback in kwargs["callbacks"]:
            callback.set_model(model)
            callback.on_epoch_end(0, {"score": 1.0})
        if hp.values.get("depth") == 2:
            raise ValueError("too deep")
        return float(hp.values["units"] + hp.values["reverse"])


LIGHT_TUNERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "random": (keras_tuner.RandomSearch, {"max_trials": 3}),
    "grid": (keras_tuner.GridSearch, {}),
    "hyperband": (keras_tuner.Hyperband, {"max_epochs": 2, "factor": 2}),
}


def light_sweep(
    monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str, kill_at: int | None = None
) -> tuple[Any, int, int]:
    """Runs a sweep, and stops it at a write.

    Returns:
        The trials, and the numbers of fits and writes.
    """
    writes = itertools.count()
    written = fault_tolerance.write_json

    def write(path: Path, value: Any) -> None:
        if next(writes) == kill_at:
            raise Killed
        written(path, value)

    hypermodel = Light()
    tuner_class, settings = LIGHT_TUNERS[kind]
    with monkeypatch.context() as patch:
        patch.setattr(fault_tolerance, "write_json", write)
        patch.setattr("gc.collect", lambda *_: 0)
        tuner = fault_tolerance.fault_tolerant(tuner_class)(
            hypermodel,
            objective=keras_tuner.Objective("score", "max"),
            seed=3,
            directory=str(folder),
            project_name="light",
            max_consecutive_failed_trials=99,
            **settings,
        )
        tuner.search(verbose=0)
    trials = {
        name: (trial.status, trial.score, trial.hyperparameters.values)
        for name, trial in tuner.oracle.trials.items()
    }
    return trials, hypermodel.fitted, next(writes)


@pytest.mark.parametrize(
    ("kind", "every"),
    [
        ("grid", 9),
        pytest.param("random", 1, marks=pytest.mark.slow),
        pytest.param("grid", 1, marks=pytest.mark.slow),
        pytest.param("hyperband", 1, marks=pytest.mark.slow),
    ],
)
def test_a_sweep_killed_at_any_write_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, every: int
) -> None:
    whole, fitted, writes = light_sweep(monkeypatch, tmp_path / "whole", kind)
    assert fitted == len(whole)
    for kill_at in range(0, writes, every):
        folder = tmp_path / str(kill_at)
        with pytest.raises(Killed):
            light_sweep(monkeypatch, folder, kind, kill_at)
        kept = [
            json.loads(path.read_text())["status"]
            for path in folder.glob("light/trial_*/trial.json")
        ]
        finished = sum(status in ("COMPLETED", "FAILED") for status in kept)
        trials, fitted, _ = light_sweep(monkeypatch, folder, kind)
        assert trials == whole
        assert fitted == len(whole) - finished


def environment(**variables: object) -> dict[str, str]:
    inherited = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**inherited, **{name: str(value) for name, value in variables.items()}}


def start(folder: Path, **variables: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(SCRIPT), str(folder)],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-4000:]
    return out


def kill_when_held(process: "subprocess.Popen[str]", folder: Path) -> None:
    end = time.monotonic() + 300
    while not (folder / "held").exists():
        assert process.poll() is None, process.communicate()[1][-4000:]
        assert time.monotonic() < end
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_sweep_killed_in_a_trial_is_resumed_by_another_process(
    tmp_path: Path,
) -> None:
    kill_when_held(start(tmp_path, HOLD=2), tmp_path)
    cut = results(tmp_path / "sweep")
    assert cut["status"].tolist() == ["COMPLETED", "RUNNING"]
    out = finish(start(tmp_path))
    assert out.startswith("trained 3\n")
    table = results(tmp_path / "sweep").set_index("trial")
    assert table["status"].tolist() == ["COMPLETED"] * 4
    assert table["score"][cut["trial"][0]] == cut["score"][0]
    assert table["reason"][cut["trial"][1]] == "interrupted, finished later"
    assert table["reason"].notna().sum() == 1


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def team(folder: Path, *workers: dict[str, object]) -> list["subprocess.Popen[str]"]:
    """Starts a chief and workers."""
    address = {
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": free_port(),
    }
    members = [{"KERASTUNER_TUNER_ID": "chief"}] + [
        {"KERASTUNER_TUNER_ID": f"worker{n}", **each} for n, each in enumerate(workers)
    ]
    return [start(folder, **address, **member) for member in members]


def test_a_worker_killed_in_a_trial_leaves_the_sweep_to_the_others(
    tmp_path: Path,
) -> None:
    chief, doomed, other = team(tmp_path, {"HOLD": 1}, {"PAUSE": 1})
    kill_when_held(doomed, tmp_path)
    output = finish(chief)
    assert output.startswith("trained 0\n")
    assert finish(other).startswith("trained 4\n")
    table = results(tmp_path / "sweep")
    assert table["status"].tolist() == ["COMPLETED"] * 4
    assert table["reason"].dropna().tolist() == ["lost with 'worker0', finished later"]
    assert Translator.load(tmp_path / "sweep/best").model.config.units in (4, 6, 8)


@pytest.mark.slow
def test_a_chief_and_two_workers_have_the_results_of_one_process(
    tmp_path: Path,
) -> None:
    processes = team(tmp_path / "team", {"PAUSE": 1}, {"PAUSE": 1})
    printed = [finish(process) for process in processes]
    trained = [int(text.split()[1]) for text in printed]
    assert trained[0] == 0
    assert sorted(trained[1:]) in ([1, 3], [2, 2])
    alone = finish(start(tmp_path / "alone"))
    tables = [results(tmp_path / name / "sweep") for name in ("team", "alone")]
    keys = ["units", "reverse_source", "score", "parameters"]
    actual, expected = (table[keys].sort_values(keys[:2]) for table in tables)
    pd.testing.assert_frame_equal(
        actual.reset_index(drop=True), expected.reset_index(drop=True)
    )
    assert alone.startswith("trained 4\n")
    # A team that starts again has nothing to train.
    again = [finish(process) for process in team(tmp_path / "team", {})]
    assert [text.split()[1] for text in again] == ["0", "0"]


@pytest.mark.slow
def test_a_sweep_begun_alone_is_finished_by_a_team(tmp_path: Path) -> None:
    kill_when_held(start(tmp_path, HOLD=2), tmp_path)
    chief, worker = team(tmp_path, {})
    finish(chief)
    assert finish(worker).startswith("trained 3\n")
    assert results(tmp_path / "sweep")["status"].tolist() == ["COMPLETED"] * 4


@pytest.mark.slow
def test_a_chief_that_is_killed_can_be_started_again(tmp_path: Path) -> None:
    port = free_port()
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    chief = start(tmp_path, KERASTUNER_TUNER_ID="chief", **address)
    worker = start(tmp_path, KERASTUNER_TUNER_ID="worker0", PAUSE=2, **address)
    folder = tmp_path / "sweep"
    end = time.monotonic() + 300
    while not list(folder.glob("trial_*/checkpoint.weights.h5")):
        assert time.monotonic() < end
        time.sleep(0.1)
    chief.kill()
    chief.communicate()
    finish(start(tmp_path, KERASTUNER_TUNER_ID="chief", **address))
    # Not even the trial that was running has to be run again.
    assert finish(worker).startswith("trained 4\n")
    table = results(folder)
    assert table["status"].tolist() == ["COMPLETED"] * 4


def test_a_worker_without_a_chief_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(free_port()))
    with pytest.raises(RuntimeError, match="No chief has answered"):
        fault_tolerance._wait_for_chief(0.2)


def test_a_trial_that_loses_worker_after_worker_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuner = fault_tolerance.fault_tolerant(keras_tuner.GridSearch)(
        Light(),
        objective=keras_tuner.Objective("score", "max"),
        directory=str(tmp_path),
        project_name="light",
    )
    oracle = tuner.oracle
    oracle.verbose = 0
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for attempt in range(3):
        trial = oracle.create_trial(f"worker{attempt}")
        assert trial.trial_id == "0000"
        now[0] += 9
        oracle.get_trial("0000")  # a sign of life
        now[0] += 9
        oracle.end_lost(10)
        assert trial.status == "RUNNING"
        now[0] += 9
        oracle.end_lost(10)
    assert not oracle.ongoing_trials
    assert not oracle.tuner_ids
    table = results(tmp_path / "light")
    assert table["status"].tolist() == ["FAILED"]
    assert table["reason"][0].endswith("Its workers were lost 3 times.")
    # One that was only slow comes too late, and does no harm.
    late = oracle.get_trial("0000")
    oracle.end_trial(late)
    assert oracle.end_order == ["0000"]
    assert oracle.create_trial("worker9").trial_id == "0001"
