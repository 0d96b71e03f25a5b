"""Average checkpoints of a training run into a new model folder."""

import json
import shutil
from collections.abc import Sequence
from typing import Any, Literal

from kseq.cli.folders import new_folder, read_history
from kseq.cli.parsing import Parser, UsageError
from kseq.cli.tensorflow_notices import load_tensorflow
from kseq.config.training import METRICS, higher_is_better
from kseq.storage.model_folder import ModelFolder

_COUNT = 4


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq average -m FOLDER -o NEW_FOLDER [OPTIONS]"
    parser.add_argument(
        "-m", "--model", type=str, metavar="FOLDER", help="folder of the run"
    )
    parser.add_argument(
        "-o", "--output", type=str, metavar="FOLDER", help="folder of the new model"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing model"
    )
    parser.add_argument(
        "-n",
        "--number",
        type=int | None,
        metavar="N",
        help=f"number of checkpoints. Default: {_COUNT}",
    )
    parser.add_argument(
        "--choose",
        type=Literal["best", "last"] | None,
        help="average the best (default) or the last of the kept checkpoints",
    )
    parser.add_argument(
        "--metric",
        type=str,
        help="metric that ranks checkpoints. Default: the optimized metric of the run",
    )
    parser.add_argument(
        "-c",
        "--checkpoints",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="average these checkpoints, given by number",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if arguments.model is None:
        raise UsageError("-m FOLDER is required")
    if arguments.output is None:
        raise UsageError("-o FOLDER is required")
    if arguments.checkpoints:
        for name in ("number", "choose", "metric"):
            if arguments[name] is not None:
                raise UsageError(
                    f"--{name} has no effect where -c names the checkpoints"
                )
    if arguments.metric is not None and arguments.choose == "last":
        raise UsageError("--metric needs --choose best")
    if arguments.number is not None and arguments.number < 1:
        raise UsageError(f"`number` must be at least 1. Received: {arguments.number}.")
    place = ModelFolder(arguments.model)
    config = place.read_config()
    load_tensorflow()
    chosen, metric = _choose(place, arguments)

    from kseq.training.checkpoint_averaging import average_checkpoints

    with new_folder(arguments.output, arguments.overwrite) as temporary:
        new = ModelFolder(temporary)
        average_checkpoints([place.checkpoint(n) for n in chosen], new.model)
        for pattern in ("vocab.*", "tokenizer.*"):
            for path in sorted(place.path.glob(pattern)):
                shutil.copyfile(path, temporary / path.name)
        kept = {k: v for k, v in config.items() if not k.endswith("_version")}
        averaged = {"training": str(arguments.model), "checkpoints": chosen}
        new.write_config({**kept, "averaged": averaged})
    if arguments.json:
        print(json.dumps({"folder": arguments.output, **averaged, "metric": metric}))
    else:
        why = "" if metric is None else f", the best by {metric}"
        numbers = ", ".join(map(str, chosen))
        print(f"{arguments.output}: the mean of checkpoints {numbers}{why}")
    return 0


def _choose(place: ModelFolder, arguments: Any) -> tuple[list[int], str | None]:
    """Returns the numbers of checkpoints, and the metric that they are the best by."""
    if arguments.checkpoints:
        for number in arguments.checkpoints:
            place.find_checkpoint(number)
        return sorted(set(arguments.checkpoints)), None
    there = place.checkpoints()
    if not there:
        raise FileNotFoundError(f"'{place.path}' has no checkpoints to average.")

    from kseq.training.checkpoint_averaging import choose_checkpoints

    scores: list[float] | None = None
    metric: str | None = None
    if arguments.choose != "last":
        history = read_history(place)
        if history is not None:
            metric = arguments.metric or history.metric
        if history is None or metric is None:
            raise ValueError(
                f"'{place.path}' does not tell which checkpoints are the best. Pass "
                "--choose last, or their numbers by -c."
            )
        measured = [name for name in METRICS if f"valid_{name}" in history.frame]
        if metric not in measured:
            raise UsageError(
                f"`metric` must be one that the training has measured, "
                f"{', '.join(measured)}. Received: {metric}."
            )
        values = history.frame.set_index("checkpoint")[f"valid_{metric}"]
        # A checkpoint is written before the table tells of it.
        there = {number: path for number, path in there.items() if number in values}
        scores = [float(values[number]) for number in there]
    paths = choose_checkpoints(
        list(there.values()),
        _COUNT if arguments.number is None else arguments.number,
        scores,
        higher_is_better=metric is not None and higher_is_better(metric),
    )
    return [int(path.stem) for path in paths], metric
