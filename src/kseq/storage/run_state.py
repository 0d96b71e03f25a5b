"""The state of a training run on disk: what it takes to go on, bit for bit."""

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
# The one before the last stays, in case the last cannot be read.
_KEPT = 2


@dataclasses.dataclass
class RunState:
    """Where a training run stands.

    Attributes:
        steps: Batches trained on.
        seconds: Seconds it has run, in all sittings.
        interval_seconds: Of them, those of training steps since the last checkpoint.
        rows: A dict of figures for each checkpoint.
        fingerprints: A sum of each part of the data, and of each file that the run
            has begun with, by the name of its setting.
        variables: The values of every variable of the training, by name.
    """

    steps: int = 0
    seconds: float = 0.0
    interval_seconds: float = 0.0
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    fingerprints: dict[str, str] = dataclasses.field(default_factory=dict)
    variables: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def save_state(folder: pathlib.Path, state: RunState) -> None:
    """Writes a state, and removes those that are older than the one before it.

    Args:
        folder: Folder of the states of a run.
        state: The state.
    """
    folder.mkdir(exist_ok=True)
    meta = dataclasses.asdict(dataclasses.replace(state, variables={}))
    del meta["variables"]
    with whole_file(folder / f"{state.steps:010d}.npz") as temporary:
        arrays: dict[str, Any] = {_META: np.array(json.dumps(meta))}
        arrays |= {f"variable.{k}": v for k, v in state.variables.items()}
        np.savez(temporary, **arrays)
    for path in _states(folder)[:-_KEPT]:
        path.unlink()


def load_state(folder: pathlib.Path) -> RunState | None:
    """Reads the last state that can be read.

    Args:
        folder: Folder of the states of a run.

    Returns:
        The state, or None where none has been written yet.

    Raises:
        ValueError: If states are there, but none can be read.
    """
    broken = []
    for path in reversed(_states(folder)):
        try:
            state = _read(path)
        except Exception as error:  # a damaged archive may fail anywhere
            broken.append(f"'{path}' ({error})")
            continue
        if broken:
            warnings.warn(
                f"{broken[0]} cannot be read; going on from '{path.name}', the state "
                "before it.",
                stacklevel=2,
            )
        return state
    if broken:
        raise ValueError(
            f"No state of this run can be read: {', '.join(broken)}. Start from one of "
            "its checkpoints, by `parameters`, in another folder."
        )
    return None


def _read(path: pathlib.Path) -> RunState:
    # Reading checks the sum that the archive keeps of each array.
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        meta = json.loads(str(file[_META]))
        variables = {
            name.removeprefix("variable."): file[name]
            for name in file.files
            if name != _META
        }
    return RunState(**meta, variables=variables)


def _states(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files of states, the oldest first."""
    named = re.compile(r"\d{10}\.npz")
    return sorted(path for path in folder.glob("*.npz") if named.fullmatch(path.name))
