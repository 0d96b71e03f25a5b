"""What several subcommands do with models, data, files and folders."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from kseq.cli.parsing import Parser, UsageError, settings_of, usage
from kseq.config.data import DataSettings
from kseq.storage.atomic_files import has_content, whole_folder
from kseq.storage.best_checkpoint import as_costs, find_best
from kseq.storage.model_folder import ModelFolder
from kseq.storage.run_record import read_record


@dataclasses.dataclass(frozen=True)
class History:
    """What a training has come to so far.

    Attributes:
        frame: pandas DataFrame, a row for each checkpoint.
        metric: What decides which checkpoint is the best. None: it is not known.
        best: Number of the best checkpoint. None: it is not known.
    """

    frame: Any
    metric: str | None
    best: int | None


def records(frame: Any) -> list[dict[str, Any]]:
    """Returns the rows of a pandas DataFrame for JSON, to the last bit.

    What is missing, or no finite number, is None. (`DataFrame.to_json` rounds to 15
    digits.)
    """
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [
        {
            name: None
            if isinstance(value, float) and not math.isfinite(value)
            else value
            for name, value in row.items()
        }
        for row in rows
    ]


def read_history(place: ModelFolder) -> History | None:
    """Reads the history of a training, while it runs or later.

    Args:
        place: Its folder.

    Returns:
        `History`; None where no checkpoint has been made.

    Raises:
        ValueError: If `metrics.csv` is not that of a training.
    """
    try:
        frame = place.read_metrics()
    except FileNotFoundError:
        return None
    if "checkpoint" not in frame:
        raise ValueError(f"'{place.path}' has a metrics.csv that is not kseq's.")
    metric = read_record(place).get("optimized_metric") if place.is_run() else None
    if metric is None or f"valid_{metric}" not in frame:
        return History(frame, None, None)
    row = find_best(as_costs(metric, frame[f"valid_{metric}"]))
    return History(frame, metric, int(frame["checkpoint"].iloc[row]))


def check_new(paths: Sequence[pathlib.Path], overwrite: bool) -> None:
    """Raises where a file exists that is not to be replaced.

    Args:
        paths: The files.
        overwrite: Whether they may be replaced.

    Raises:
        FileExistsError: If one exists and may not.
    """
    for path in paths:
        if path.is_dir():
            raise FileExistsError(f"'{path}' is a folder. Choose another name.")
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"'{path}' exists already. Pass --overwrite to replace it, or choose "
                "another name."
            )


def add_model_arguments(parser: Parser) -> None:
    """Adds the flags of a command that one model or several will do for.

    Args:
        parser: Its parser.
    """
    parser.add_argument(
        "-m",
        "--model",
        nargs="+",
        type=str,
        default=[],
        metavar="FOLDER",
        help="model folder; several folders decode as an ensemble",
    )
    parser.add_argument(
        "-c",
        "--checkpoint",
        type=int | None,
        metavar="N",
        help="number of a checkpoint. Default: the best",
    )
    parser.add_argument(
        "--averaging",
        type=Literal["linear", "log_linear"] | None,
        help="mean over an ensemble: linear (of probabilities, the default) or "
        "log_linear (of log-probabilities)",
    )


def check_models(folders: Sequence[str], checkpoint: int | None = None) -> None:
    """Raises unless folders hold models, before anything slow is done.

    Args:
        folders: The folders.
        checkpoint: Number of the checkpoint that is needed. Default: the best.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If a folder is of a newer kseq, or something else.
    """
    for folder in folders:
        place = ModelFolder(folder)
        place.read_config()
        place.find_checkpoint(checkpoint)


def data_settings(command: str, arguments: Any) -> DataSettings:
    """Returns where a command is to read its pairs.

    Args:
        command: Its name, for errors.
        arguments: Its arguments.

    Raises:
        UsageError: If they do not tell, or contradict each other.
    """
    names = ("source", "target", "table", "ctf", "corpus")
    if not any(arguments[name] for name in names):
        raise UsageError(
            f"{command}: data are required: -s FILE and -t FILE, or --table, --ctf or "
            "--corpus"
        )
    with usage():
        settings = DataSettings(**settings_of(DataSettings, arguments))
        settings.kind  # noqa: B018 - raises where data are told twice
    return settings


@contextlib.contextmanager
def new_folder(path: str, overwrite: bool) -> Iterator[pathlib.Path]:
    """Gives a folder to write into, which becomes `path` if all went well.

    Args:
        path: Where the folder is to be.
        overwrite: Replace one that kseq has written, unless it is that of a training.

    Yields:
        The folder to write into.

    Raises:
        FileExistsError: If something is there that is not to be replaced.
    """
    place = ModelFolder(path)
    if overwrite:
        if place.is_run():
            raise FileExistsError(
                f"'{path}' holds a training run and is not replaced. Choose another "
                "name."
            )
        place.check_replaceable()
    elif has_content(path):
        raise FileExistsError(
            f"'{path}' exists already. Pass --overwrite to replace it, or choose "
            "another name."
        )
    with whole_folder(path, overwrite) as temporary:
        yield temporary


def check_model_arguments(arguments: Any) -> None:
    """Refuses what would have no effect with so many models.

    Args:
        arguments: What `add_model_arguments` has added, parsed.

    Raises:
        UsageError: If an option does not go with the others.
    """
    if arguments.checkpoint is not None and len(arguments.model) > 1:
        raise UsageError("-c needs one model; an ensemble takes the best of each")
    if arguments.averaging is not None and len(arguments.model) == 1:
        raise UsageError("--averaging needs several models")
