"""A training run of seconds, and its results, for the tests of this folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kseq import TrainingSettings
from kseq.data import CopyTask, Examples
from kseq.training import TrainingResult, train

MODEL: dict[str, Any] = {"units": 4, "embedding_dim": 4, "cell": "simple_rnn"}
TASK = CopyTask(symbols=4, min_length=1, max_length=3)
PAIRS, HELD_OUT = TASK.split(24, 6, seed=0)
TEXTS = (HELD_OUT.source_texts(), HELD_OUT.target_texts())
CLOCK = ["seconds", "tokens_per_second"]
STEPS_PER_EPOCH = 3


def train_briefly(
    folder: Path,
    examples: Examples = PAIRS,
    texts: Any = TEXTS,
    model: Any = None,
    **given: Any,
) -> TrainingResult:
    keywords = {
        name: given.pop(name)
        for name in ("resume", "overwrite", "record", "verbose")
        if name in given
    }
    settings = {
        "batch_size": 8,
        "buckets": 0,
        "checkpoint_updates": 1,
        "max_updates": 2,
        "show": 0,
        **given,
    }
    return train(
        folder,
        examples,
        texts,
        {**MODEL, **(model or {})},
        TrainingSettings(**settings),
        **{"verbose": False, **keywords},
    )


def read_metrics(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "metrics.csv").drop(columns=CLOCK)


def last_state(folder: Path) -> dict[str, np.ndarray]:
    with np.load(max((folder / "state").glob("*.npz"))) as file:
        return {name: file[name] for name in file.files if name != "meta"}


def assert_same_result(folder: Path, expected: Path) -> None:
    assert read_metrics(folder).equals(read_metrics(expected))
    arrays, expected_arrays = last_state(folder), last_state(expected)
    assert list(arrays) == list(expected_arrays)
    for name, array in expected_arrays.items():
        assert arrays[name].tobytes() == array.tobytes(), name


def read_log(folder: Path) -> str:
    return (folder / "log.txt").read_text("utf-8")
