"""Compute the log-probabilities of given outputs, one per line."""

from collections.abc import Sequence

from kseq.cli.model_arguments import (
    add_model_arguments,
    check_model_arguments,
    check_models,
    load_translator,
)
from kseq.cli.parsing import Parser
from kseq.cli.printing import print_json
from kseq.cli.usage_errors import check_positive


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq score -m FOLDER -s FILE -t FILE [OPTIONS]"
    add_model_arguments(parser)
    parser.add_argument(
        "-s",
        "--source",
        type=str,
        metavar="FILE",
        help="file of source texts, one per line",
    )
    parser.add_argument(
        "-t",
        "--target",
        type=str,
        metavar="FILE",
        help="file of outputs, one for each source",
    )
    parser.add_argument(
        "--normalize",
        action="store_true",
        help="divide by the number of output tokens, including </s>",
    )
    parser.add_argument(
        "--batch-size", type=int, default=256, help="number of outputs scored together"
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object per output, with the log-probability of each token",
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    check_model_arguments(arguments)
    parser.require(arguments, "source", "target")
    check_positive(arguments, "batch_size")
    check_models(arguments.model, arguments.checkpoint)
    sources, targets = read_parallel_lines(arguments.source, arguments.target)
    if not sources:
        return 0

    translator = load_translator(arguments)

    import numpy as np

    from kseq import score

    ids = translator.target_vocab.encode(targets)
    log_probs = score(
        translator.model,
        translator.source_vocab.encode(sources),
        ids,
        arguments.batch_size,
    )
    for row, values in zip(ids, log_probs, strict=True):
        length = int(np.count_nonzero(row))
        total = float(values.sum(dtype=np.float64))
        total = total / length if arguments.normalize else total
        if not arguments.json:
            print(f"{total:.6f}")
            continue
        names = translator.target_vocab.ids_to_tokens(row)
        tokens = [
            {"token": token, "log_prob": float(log_prob)}
            for token, log_prob in zip(names, values[:length], strict=True)
        ]
        print_json({"score": total, "tokens": tokens})
    return 0


def read_parallel_lines(*files: str) -> list[list[str]]:
    """Returns the lines of each file; raises ValueError if their numbers differ."""
    from kseq.data import read_lines

    sides = [list(read_lines(path)) for path in files]
    for path, side in zip(files, sides, strict=True):
        if len(side) != len(sides[0]):
            raise ValueError(
                f"'{path}' must have {len(sides[0])} lines, as many as '{files[0]}'. "
                f"Received: {len(side)}."
            )
    return sides
