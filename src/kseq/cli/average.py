"""Average checkpoints of a training run into a new model folder."""

import shutil
from collections.abc import Sequence
from typing import Any, Literal

from kseq.cli.output_files import add_output_arguments, new_folder
from kseq.cli.parsing import Parser
from kseq.cli.printing import add_json_argument, print_json
from kseq.cli.tensorflow_import import load_tensorflow
from kseq.cli.training_history import read_history
from kseq.cli.usage_errors import UsageError, check_positive
from kseq.config.training import METRICS, higher_is_better
from kseq.storage.model_folder import ModelFolder

_DEFAULT_NUMBER = 4


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq average -m FOLDER -o NEW_FOLDER [OPTIONS]"
    parser.add_argument(
        "-m", "--model", type=str, metavar="FOLDER", help="folder of the training run"
    )
    add_output_arguments(parser, what="model folder")
    parser.add_argument(
        "-n",
        "--number",
        type=int | None,
        help=f"number of checkpoints to average. Default: {_DEFAULT_NUMBER}",
    )
    parser.add_argument(
        "--choose",
        type=Literal["best", "last"] | None,
        help="average the best or the last checkpoints in the folder. Default: best",
    )
    parser.add_argument(
        "--metric",
        type=str,
        help="metric that ranks the checkpoints. Default: the optimized metric of the "
        "run",
    )
    parser.add_argument(
        "-c",
        "--checkpoints",
        nargs="+",
        type=int,
        default=[],
        help="numbers of the checkpoints to average. Default: see --choose",
    )
    add_json_argument(parser)


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    parser.require(arguments, "model", "output")
    if arguments.checkpoints:
        for name in ("number", "choose", "metric"):
            if arguments[name] is not None:
                raise UsageError(f"--{name} has no effect with -c")
    if arguments.metric is not None and arguments.choose == "last":
        raise UsageError("--metric needs --choose best")
    check_positive(arguments, "number")
    folder = ModelFolder(arguments.model)
    config = folder.read_config()
    load_tensorflow()
    numbers, metric = _choose_checkpoints(folder, arguments)

    from kseq.training.checkpoint_averaging import average_checkpoints

    with new_folder(arguments.output, arguments.overwrite) as temporary:
        new = ModelFolder(temporary)
        average_checkpoints([folder.checkpoint(n) for n in numbers], new.model)
        for pattern in ("vocab.*", "tokenizer.*"):
            for path in sorted(folder.path.glob(pattern)):
                shutil.copyfile(path, temporary / path.name)
        unversioned = {k: v for k, v in config.items() if not k.endswith("_version")}
        averaged = {"training": str(arguments.model), "checkpoints": numbers}
        new.write_config({**unversioned, "averaged": averaged})
    if arguments.json:
        print_json({"folder": arguments.output, **averaged, "metric": metric})
    else:
        reason = "" if metric is None else f", the best by {metric}"
        listed = ", ".join(map(str, numbers))
        print(f"{arguments.output}: mean of checkpoints {listed}{reason}")
    return 0


def _choose_checkpoints(
    folder: ModelFolder, arguments: Any
) -> tuple[list[int], str | None]:
    """Returns the numbers of the checkpoints, and the metric that ranks them."""
    if arguments.checkpoints:
        for number in arguments.checkpoints:
            folder.find_checkpoint(number)
        return sorted(set(arguments.checkpoints)), None
    paths = folder.checkpoints()
    if not paths:
        raise FileNotFoundError(f"'{folder.path}' has no checkpoints to average.")

    from kseq.training.checkpoint_averaging import choose_checkpoints

    scores: list[float] | None = None
    metric: str | None = None
    if arguments.choose != "last":
        history = read_history(folder)
        if history is not None:
            metric = arguments.metric or history.metric
        if history is None or metric is None:
            raise ValueError(
                f"'{folder.path}' has no metrics to rank the checkpoints. Pass "
                "--choose last, or the numbers of the checkpoints with -c."
            )
        measured = [name for name in METRICS if f"valid_{name}" in history.frame]
        if metric not in measured:
            raise UsageError(
                f"`metric` must be one of {', '.join(measured)}, the metrics of the "
                f"run. Received: {metric}."
            )
        values = history.frame.set_index("checkpoint")[f"valid_{metric}"]
        # A running training writes a checkpoint before its metrics.
        paths = {number: path for number, path in paths.items() if number in values}
        scores = [float(values[number]) for number in paths]
    chosen = choose_checkpoints(
        list(paths.values()),
        _DEFAULT_NUMBER if arguments.number is None else arguments.number,
        scores,
        higher_is_better=metric is not None and higher_is_better(metric),
    )
    return [int(path.stem) for path in chosen], metric
