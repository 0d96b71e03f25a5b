"""The state of a training run on disk, from which it resumes bit for bit."""

import dataclasses
import json
import pathlib
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from kseq.storage.atomic_files import whole_file

_META = "meta"
# The last but one remains in case the last cannot be read.
_STATES_TO_KEEP = 2


@dataclasses.dataclass
class RunState:
    """The state of a training run.

    Attributes:
        steps: Number of training steps.
        seconds: Total time in seconds, across all resumed runs.
        interval_seconds: Time in the training steps since the last checkpoint.
        rows: A row of `metrics.csv` for each checkpoint.
        fingerprints: A hash of each part of the data and of each file that the run
            began with, by the name of its setting.
        variables: Values of every variable of the training, by name.
    """

    steps: int = 0
    seconds: float = 0.0
    interval_seconds: float = 0.0
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    fingerprints: dict[str, str] = dataclasses.field(default_factory=dict)
    variables: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def save_state(folder: pathlib.Path, state: RunState) -> None:
    """Writes a state; of the older states it keeps only the latest.

    Args:
        folder: Folder of the states of the run.
        state: The state.
    """
    folder.mkdir(exist_ok=True)
    meta = dataclasses.asdict(dataclasses.replace(state, variables={}))
    del meta["variables"]
    with whole_file(folder / f"{state.steps:010d}.npz") as temporary:
        arrays: dict[str, Any] = {_META: np.array(json.dumps(meta))}
        arrays |= {f"variable.{k}": v for k, v in state.variables.items()}
        np.savez(temporary, **arrays)
    for path in _states(folder)[:-_STATES_TO_KEEP]:
        path.unlink()


def load_state(folder: pathlib.Path) -> RunState | None:
    """Reads the latest undamaged state.

    Args:
        folder: Folder of the states of the run.

    Returns:
        The state, or None if none has been saved yet.

    Raises:
        ValueError: If every state is damaged.
    """
    damaged = []
    for path in reversed(_states(folder)):
        try:
            state = _read(path)
        except Exception as error:  # a damaged archive can raise any error
            damaged.append(f"'{path}' ({error})")
            continue
        if damaged:
            warnings.warn(
                f"{damaged[0]} cannot be read; resuming from '{path.name}', the state "
                "before it.",
                stacklevel=2,
            )
        return state
    if damaged:
        raise ValueError(
            f"No state of this run can be read: {', '.join(damaged)}. Start a new run "
            "in another folder from one of its checkpoints, with `parameters`."
        )
    return None


def _read(path: pathlib.Path) -> RunState:
    # Reading verifies the checksum of each array.
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        meta = json.loads(str(file[_META]))
        variables = {
            name.removeprefix("variable."): file[name]
            for name in file.files
            if name != _META
        }
    return RunState(**meta, variables=variables)


def _states(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files of the states, the oldest first."""
    pattern = re.compile(r"\d{10}\.npz")
    return sorted(path for path in folder.glob("*.npz") if pattern.fullmatch(path.name))
