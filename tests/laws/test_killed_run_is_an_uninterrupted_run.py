"""Guarantee 7: a killed run, resumed, is an uninterrupted run, bit for bit."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from kseq.data import CopyTask, write_shards

CHILD = Path(__file__).with_name("killed_child.py")
CLOCK = ["seconds", "tokens_per_second"]
# Events at which CI kills a run, and their maximum counts.
IN_CI = {
    "step": 9,
    "half-written checkpoint": 2,
    "validation": 2,
    "half-written state": 2,
}


class Trainers:
    """Processes that wait to train; one loads TensorFlow while another trains.

    Each process has another hash seed, so another order of sets.
    """

    def __init__(self) -> None:
        self.count = 0
        self.running = [self.start()]

    def start(self) -> subprocess.Popen[str]:
        self.count += 1
        return subprocess.Popen(
            [sys.executable, CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": str(self.count)},
        )

    def begin(self, **command: Any) -> subprocess.Popen[str]:
        """Sends a command to the waiting process, and starts one if it has ended."""
        process = self.running[-1]
        if process.poll() is not None:
            process = self.renew()
        assert process.stdin
        line = json.dumps({"shards": None, **command})
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        return process

    def renew(self) -> subprocess.Popen[str]:
        self.running.append(self.start())
        return self.running[-1]

    def train(self, **command: Any) -> dict[str, Any] | None:
        """Trains; returns the result, None if the process was killed."""
        process = self.begin(**command)
        if command.get("signal") == "SIGKILL":
            self.renew()  # loads while the other trains
        return finish(process)

    def close(self) -> None:
        for process in self.running:
            process.kill()
            process.communicate()


def finish(process: subprocess.Popen[str]) -> dict[str, Any] | None:
    """Waits for the end of a run, or of its process."""
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        if line.startswith("{"):
            return dict(json.loads(line))
    assert process.wait() == -signal.SIGKILL, process.stderr.read()[-4000:]
    return None


@pytest.fixture(scope="module")
def trainers() -> Iterator[Trainers]:
    trainers = Trainers()
    yield trainers
    trainers.close()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shards"
    task = CopyTask(symbols=7, min_length=1, max_length=4)
    pairs, _ = task.split(60, 12, seed=0)
    texts = zip(pairs.source_texts(), pairs.target_texts(), strict=True)
    write_shards(texts, folder, task.vocab, task.vocab, shard_size=25)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(
    trainers: Trainers, shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An uninterrupted run on shards."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    end = trainers.train(folder=str(folder), shards=str(shards))
    assert end is not None
    # So a resumed run must remember when to stop and to lower the learning rate.
    assert end["reason"] == "3 checkpoints without a better token_accuracy"
    rates = pd.read_csv(folder / "metrics.csv")["learning_rate"]
    assert rates.iloc[-1] < rates.max()
    return folder


def weights(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        content = archive.read("model.weights.h5")
    with h5py.File(io.BytesIO(content), "r") as file:

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = item[()]

        file.visititems(visit)
    return found


def without_clock(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in CLOCK}


def state(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta")))
    del meta["seconds"], meta["interval_seconds"]
    meta["rows"] = [without_clock(row) for row in meta["rows"]]
    return meta, arrays


def assert_same_arrays(
    found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]
) -> None:
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].tobytes() == array.tobytes(), name


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def assert_same_run(found: Path, wanted: Path) -> None:
    assert listing(found) == listing(wanted)
    assert not [name for name in listing(found) if "/." in name]
    for path in sorted(wanted.rglob("*")):
        other = found / path.relative_to(wanted)
        if path.suffix == ".keras":
            assert_same_arrays(weights(other), weights(path))
        elif path.suffix == ".npz":
            (meta, arrays), (other_meta, other_arrays) = state(path), state(other)
            assert other_meta == meta
            assert_same_arrays(other_arrays, arrays)
        elif path.suffix == ".csv":
            assert (
                pd.read_csv(other)
                .drop(columns=CLOCK)
                .equals(pd.read_csv(path).drop(columns=CLOCK))
            )
        elif path.suffix in (".json", ".yaml"):
            assert other.read_bytes() == path.read_bytes()


def kill_and_resume(
    trainers: Trainers,
    kills: Sequence[tuple[str, int]],
    folder: Path,
    reference: Path,
    shards: Path | None = None,
) -> None:
    """Kills a run at each of these events; begins another run after its end."""
    runs = 0
    for kind, count in kills:
        found: dict[str, Any] | None = {}
        while found is not None:
            found = trainers.train(
                folder=str(folder / str(runs)),
                shards=shards and str(shards),
                event=kind,
                count=count,
                signal="SIGKILL",
            )
            if found is not None:
                assert_same_run(folder / str(runs), reference)
                runs, count = runs + 1, 1
    command = {"folder": str(folder / str(runs)), "shards": shards and str(shards)}
    assert trainers.train(**command) is not None
    assert_same_run(folder / str(runs), reference)


def test_a_run_killed_in_every_phase_is_an_uninterrupted_run(
    trainers: Trainers, shards: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    rng = random.Random(0)
    kills = [(kind, rng.randint(1, limit)) for kind, limit in IN_CI.items()]
    kill_and_resume(trainers, kills, tmp_path, uninterrupted, shards)


@pytest.mark.slow
def test_a_run_killed_at_every_event_is_an_uninterrupted_run(
    trainers: Trainers, tmp_path: Path
) -> None:
    reference = tmp_path / "reference"
    end = trainers.train(folder=str(reference))
    assert end is not None
    kinds = list(dict.fromkeys(end["events"]))
    assert len(kinds) >= 20
    # In random order: a run may be killed at late events first.
    rng = random.Random(1)
    rng.shuffle(kinds)
    kills = [(kind, rng.randint(1, 2)) for kind in kinds]
    kill_and_resume(trainers, kills, tmp_path / "killed", reference)


@pytest.mark.slow
def test_a_run_killed_at_random_times_is_an_uninterrupted_run(
    trainers: Trainers, tmp_path: Path
) -> None:
    reference = tmp_path / "reference"
    assert trainers.train(folder=str(reference)) is not None
    rng = random.Random(2)
    runs = killed = 0
    while killed < 24:
        folder = tmp_path / f"run{runs}"
        process = trainers.begin(folder=str(folder), shards=None)
        assert process.stdout
        # Half of the kills come while the model is built and compiled.
        for line in process.stdout if killed % 2 else []:
            if line == "training\n":
                break
        trainers.renew()
        time.sleep(rng.uniform(0, 2 if killed % 2 else 4))
        process.kill()
        found = finish(process)
        killed += found is None
        if found is not None or killed == 24:
            if found is None:
                assert trainers.train(folder=str(folder)) is not None
            assert_same_run(folder, reference)
            runs += 1


def test_a_run_ended_by_a_signal_is_an_uninterrupted_run(
    trainers: Trainers, shards: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "ended"
    command = {"folder": str(folder), "shards": str(shards), "event": "step"}
    for count, name in ((5, "SIGTERM"), (4, "SIGINT")):
        found = trainers.train(**command, count=count, signal=name)
        assert found == {"signal": getattr(signal, name)}
    # No step is repeated: 5 and 4 steps have been saved.
    assert (folder / "state" / "0000000009.npz").is_file()
    assert "saved after 4 updates" in (folder / "log.txt").read_text("utf-8")
    end = trainers.train(**command, count=0)
    assert end is not None
    assert end["events"].count("step") == 48 - 9
    assert_same_run(folder, uninterrupted)
