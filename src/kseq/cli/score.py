"""Compute log-probabilities of given outputs, one a line."""

from collections.abc import Sequence

from kseq.cli.folders import add_model_arguments, check_models
from kseq.cli.parsing import Parser, UsageError
from kseq.cli.tensorflow_notices import load_tensorflow


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq score -m FOLDER -s FILE -t FILE [OPTIONS]"
    add_model_arguments(parser)
    parser.add_argument(
        "-s", "--source", type=str, metavar="FILE", help="source texts, one a line"
    )
    parser.add_argument(
        "-t", "--target", type=str, metavar="FILE", help="their outputs, one a line"
    )
    parser.add_argument(
        "--normalize",
        action="store_true",
        help="divide by the number of tokens, including </s>",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=256,
        metavar="N",
        help="number of outputs scored together. Default: 256",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object for each output, with the log-probability of each "
        "token",
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if not arguments.model:
        raise UsageError("-m FOLDER is required")
    for side in ("source", "target"):
        if arguments[side] is None:
            raise UsageError(f"-{side[0]} FILE is required")
    if arguments.averaging and len(arguments.model) == 1:
        raise UsageError("--averaging needs several models")
    if arguments.batch_size < 1:
        raise UsageError(
            f"`batch_size` must be at least 1. Received: {arguments.batch_size}."
        )
    if arguments.checkpoint is not None and len(arguments.model) > 1:
        raise UsageError("-c needs one model; an ensemble takes the best of each")
    check_models(arguments.model, arguments.checkpoint)
    sources, targets = read_sides(arguments.source, arguments.target)
    if not sources:
        return 0

    import numpy as np

    load_tensorflow()
    from kseq import Translator, score
    from kseq.data.corpora.lines import json_line

    translator = Translator.load(
        arguments.model, arguments.checkpoint, arguments.averaging or "linear"
    )
    ids = translator.target_vocab.encode(targets)
    log_probs = score(
        translator.model,
        translator.source_vocab.encode(sources),
        ids,
        arguments.batch_size,
    )
    for row, found in zip(ids, log_probs, strict=True):
        length = int(np.count_nonzero(row))
        total = float(found.sum(dtype=np.float64))
        value = total / length if arguments.normalize else total
        if not arguments.json:
            print(f"{value:.6f}")
            continue
        names = translator.target_vocab.ids_to_tokens(row)
        tokens = [
            {"token": token, "log_prob": float(log_prob)}
            for token, log_prob in zip(names, found[:length], strict=True)
        ]
        print(json_line({"score": value, "tokens": tokens}))
    return 0


def read_sides(*files: str) -> list[list[str]]:
    """Reads files that belong together line by line.

    Args:
        *files: The files.

    Returns:
        The texts of each.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If one has more lines than another.
    """
    from kseq.data import read_lines

    sides = [list(read_lines(path)) for path in files]
    for path, side in zip(files, sides, strict=True):
        if len(side) != len(sides[0]):
            raise ValueError(
                f"'{path}' must have as many lines as '{files[0]}', {len(sides[0])}. "
                f"Received: {len(side)}."
            )
    return sides
