"""Reports on sweeps as pandas tables."""

import json
import math
import pathlib
import re
import statistics
from collections.abc import Mapping
from typing import Any

import pandas as pd

from kseq.tuning.objectives import LOSS
from kseq.tuning.sweep_files import LOST, RUN, SWEEP, read_json


def results(sweep: Any) -> pd.DataFrame:
    """Reports on a sweep from its folder, also while it runs.

    Args:
        sweep: The folder `directory/project_name` of a sweep, a tuner, or a `Sweep`.

    Returns:
        A pandas DataFrame with a row for each trial, from the best to the failed ones
        (among equal scores, the lowest validation loss first). Columns: `trial`;
        `status`; `score`; one for each hyperparameter, empty where its `when` is false;
        `seconds`, the training time; `parameters`, the number of weights; `best_epoch`,
        from 1; and `reason`, why the trial failed or was run again. `frame.attrs` has
        `objective`, `direction`, `hyperparameters`, and `log`, the names of
        logarithmically sampled hyperparameters. The status is one of keras-tuner's:
        COMPLETED, FAILED, RUNNING, or INVALID for a trial that will be run again.

    Raises:
        FileNotFoundError: If the folder holds no sweep.

    Example:
        >>> from kseq.data import AdditionTask
        >>> from kseq.tuning import results, search
        >>> data = AdditionTask(digits=1).split(train_size=40, valid_size=10, seed=0)
        >>> sweep = search(data, {"units": [4]}, tuner="grid", max_epochs=1, verbose=0)
        >>> results("sweeps/sweep")[["trial", "status", "units"]]
          trial     status  units
        0  0000  COMPLETED      4
    """
    path = getattr(sweep, "folder", None) or getattr(sweep, "project_dir", sweep)
    folder = pathlib.Path(path)
    paths = sorted(folder.glob("trial_*/trial.json"))
    record = read_json(folder / SWEEP)
    if not paths and not record and not (folder / "oracle.json").exists():
        inside = sorted(path.parent.name for path in folder.glob("*/oracle.json"))
        hint = f" It holds the sweeps {', '.join(inside)}." if inside else ""
        raise FileNotFoundError(f"There is no sweep in '{folder}'.{hint}")
    rows, losses, names, logarithmic = [], [], [], []
    objective, direction = record.get("objective"), record.get("direction", "max")
    for path in paths:
        trial = json.loads(path.read_text())
        run = read_json(path.parent / RUN)
        objective = objective or run.get("objective")
        direction = run.get("direction", direction)
        space = [entry["config"] for entry in trial["hyperparameters"]["space"]]
        for entry in space:
            if entry["name"] not in names:
                names.append(entry["name"])
                if entry.get("sampling") in ("log", "reverse_log"):
                    logarithmic.append(entry["name"])
        values = trial["hyperparameters"]["values"]
        names += [name for name in values if name not in names]
        completed = trial["status"] == "COMPLETED"
        rows.append(
            {
                "trial": trial["trial_id"],
                "status": trial["status"],
                "score": trial["score"] if completed else None,
                **values,
                "seconds": run.get("seconds"),
                "parameters": run.get("parameters"),
                "best_epoch": trial["best_step"] + 1 if completed else None,
                "reason": _reason(trial, run, read_json(path.parent / LOST)),
            }
        )
        losses.append(_best_loss(trial))
    columns = ["trial", "status", "score", *names]
    columns += ["seconds", "parameters", "best_epoch", "reason"]
    frame = pd.DataFrame(rows, columns=columns)
    for name in ("score", "seconds"):
        frame[name] = frame[name].astype("float64")
    for name in ("parameters", "best_epoch"):
        frame[name] = frame[name].astype("Int64")
    sign = -1.0 if direction == "max" else 1.0
    order = frame.assign(
        score=frame["score"] * sign, failed=frame["status"] == "FAILED", loss=losses
    ).sort_values(
        ["failed", "score", "loss", "trial"], na_position="last", kind="stable"
    )
    frame = frame.loc[order.index].reset_index(drop=True)
    frame.attrs.update(
        objective=objective,
        direction=direction,
        hyperparameters=names,
        log=logarithmic,
    )
    return frame


def _best_loss(trial: Mapping[str, Any]) -> float:
    """Returns the validation loss of a trial's best epoch; nan if unknown."""
    metrics = trial.get("metrics", {}).get("metrics", {})
    observations = metrics.get(LOSS, {}).get("observations")
    return statistics.fmean(observations[-1]["value"]) if observations else math.nan


def _reason(
    trial: Mapping[str, Any], run: Mapping[str, Any], lost: Mapping[str, Any]
) -> str | None:
    """Returns in one line why a trial failed or was run again."""
    parts = list(lost.get("losses", []))
    message = trial["message"] or run.get("message")
    if trial["status"] == "FAILED":
        parts.append(
            last_error_line(message) if message else "failed without a message"
        )
    elif parts and trial["status"] == "COMPLETED":
        parts.append("finished later")
    return ", ".join(parts) or None


def last_error_line(message: str) -> str:
    """Returns the last error of a traceback in one line.

    Args:
        message: Traceback, or another text.
    """
    lines = message.strip().splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("Traceback (")]
    if starts:
        lines = lines[starts[-1] + 1 :]
    error = [line for line in lines if line.strip() and not line[0].isspace()]
    if not error:
        return message.strip()
    text = re.sub(r"^(?:\w+\.)*(\w+: )", r"\1", error[0])
    if text.endswith("Graph execution error:"):
        # TensorFlow's description comes after the position in the graph.
        rest = [i for i in error[1:] if not i.startswith(("Detected", "<stack"))]
        text = f"{text} {rest[0]}" if rest else text
    return re.sub(r"^(FailedTrialError|TrialDivergedError): ", "", text)
