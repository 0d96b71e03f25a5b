"""The history of a training run: the metrics of its checkpoints."""

import dataclasses
from typing import Any

from kseq.storage.best_checkpoint import as_costs, find_best
from kseq.storage.model_folder import ModelFolder
from kseq.storage.run_record import read_record


@dataclasses.dataclass(frozen=True)
class History:
    """The metrics of a run's checkpoints.

    Attributes:
        frame: pandas DataFrame with one row per checkpoint.
        metric: The metric that selects the best checkpoint. None: unknown.
        best: Number of the best checkpoint. None: unknown.
    """

    frame: Any
    metric: str | None
    best: int | None


def read_history(folder: ModelFolder) -> History | None:
    """Reads the history of a run, while it trains or later.

    Args:
        folder: Folder of the run.

    Returns:
        `History`. None if the run has no checkpoint.

    Raises:
        ValueError: If `metrics.csv` is not a history of a run.
    """
    try:
        frame = folder.read_metrics()
    except FileNotFoundError:
        return None
    if "checkpoint" not in frame:
        raise ValueError(
            f"'{folder.path / 'metrics.csv'}' is not the history of a training run."
        )
    metric = read_record(folder).get("optimized_metric") if folder.is_run() else None
    if metric is None or f"valid_{metric}" not in frame:
        return History(frame, None, None)
    row = find_best(as_costs(metric, frame[f"valid_{metric}"]))
    return History(frame, metric, int(frame["checkpoint"].iloc[row]))
