"""Plot learning curves of training runs, or attention weights of a model."""

import pathlib
from collections.abc import Sequence
from typing import Any

from kseq.cli.parsing import Parser
from kseq.cli.printing import say
from kseq.cli.tensorflow_import import load_tensorflow
from kseq.cli.training_history import read_history
from kseq.cli.usage_errors import UsageError
from kseq.config.training import METRICS
from kseq.storage.atomic_files import whole_file
from kseq.storage.model_folder import ModelFolder

_FORMATS = (".png", ".svg", ".pdf")


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = (
        "kseq plot FOLDER [FOLDER ...] -o FILE.png [--metrics NAME ...]\n"
        "       kseq plot FOLDER --attention TEXT -o FILE.png [-c N]"
    )
    parser.add_argument(
        "folders",
        nargs="*",
        type=str,
        metavar="FOLDER",
        help="folders of training runs; with --attention, one model folder",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=str,
        metavar="FILE",
        help=f"image file to write ({', '.join(_FORMATS)}); an existing file is "
        "replaced",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        type=str,
        default=[],
        help="metrics to plot. Default: all except the loss",
    )
    parser.add_argument(
        "--attention",
        type=str,
        metavar="TEXT",
        help="plot the attention weights of greedy search for this source text",
    )
    parser.add_argument(
        "-c",
        "--checkpoint",
        type=int | None,
        help="number of a checkpoint, with --attention. Default: the best one",
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    parser.require(arguments, "folders", "output")
    output = pathlib.Path(arguments.output)
    if output.suffix not in _FORMATS:
        raise UsageError(
            f"`output` must end with one of {', '.join(_FORMATS)}. Received: {output}."
        )
    if arguments.attention is None:
        if arguments.checkpoint is not None:
            raise UsageError("-c needs --attention")
        _plot_curves(arguments, output)
    else:
        if arguments.metrics:
            raise UsageError("--metrics has no effect with --attention")
        _plot_attention(arguments, output)
    say(f"The plot is in {output}.")
    return 0


def _plot_curves(arguments: Any, output: pathlib.Path) -> None:
    from kseq.plotting import training_curves

    runs: dict[str, Any] = {}
    best: dict[str, int] = {}
    for folder in arguments.folders:
        history = read_history(ModelFolder(folder))
        if history is None:
            ModelFolder(folder).read_metrics()  # raises an error that names the file
            continue
        runs[folder] = history.frame
        if history.best is not None:
            best[folder] = history.best
    for name in arguments.metrics:
        measured = [
            metric
            for metric in METRICS
            if any(f"valid_{metric}" in frame for frame in runs.values())
        ]
        if name not in measured:
            raise UsageError(
                f"`metrics` must be among {', '.join(measured)}. Received: {name}."
            )
    with whole_file(output) as temporary:
        training_curves(runs, arguments.metrics or None, best, temporary)


def _plot_attention(arguments: Any, output: pathlib.Path) -> None:
    if len(arguments.folders) > 1:
        raise UsageError(
            f"--attention needs one model. Received: {', '.join(arguments.folders)}."
        )
    if not arguments.attention.strip():
        raise UsageError("--attention must not be empty")
    ModelFolder(arguments.folders[0]).find_checkpoint(arguments.checkpoint)

    from kseq.plotting import attention_map

    load_tensorflow()
    from kseq.translator import Translator

    translator = Translator.load(arguments.folders[0], arguments.checkpoint)
    if translator.model.config.attention is None:
        raise ValueError(
            f"The model in '{arguments.folders[0]}' has no attention to plot."
        )
    text = arguments.attention
    decoded = translator.n_best([text], return_attention=True)[0][0]
    vocab = translator.source_vocab
    target = [*decoded.tokens, *([] if decoded.truncated else ["</s>"])]
    with whole_file(output) as temporary:
        attention_map(
            vocab.ids_to_tokens(vocab.encode([text])[0]),
            target,
            decoded.attention,
            path=temporary,
        )
