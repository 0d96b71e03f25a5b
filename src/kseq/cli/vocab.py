"""Build a vocabulary from files of texts, for `kseq train --source-vocab`."""

import json
import pathlib
from collections.abc import Sequence

from kseq.cli.folders import check_new
from kseq.cli.parsing import Parser, UsageError, say, usage
from kseq.progress import progress


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.aliases = {"paths": "input"}
    parser.usage = "kseq vocab -i FILE ... -o FILE [OPTIONS]"
    parser.add_argument(
        "-i",
        "--input",
        nargs="+",
        type=str,
        default=[],
        metavar="FILE",
        help="files of texts, one text a line, also .gz",
    )
    parser.add_argument(
        "-o", "--output", type=str, metavar="FILE", help="JSON file to write"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing file"
    )
    parser.add_argument(
        "--tokenizer",
        type=str,
        default="whitespace",
        help="whitespace (default), characters, spacy:LANGUAGE or moses:LANGUAGE",
    )
    parser.add_argument(
        "--lower-case", action="store_true", help="convert texts to lower case"
    )
    parser.add_argument(
        "--min-frequency",
        type=int,
        default=1,
        metavar="N",
        help="minimum number of occurrences of a token. Default: 1",
    )
    parser.add_argument(
        "--max-size",
        type=int | None,
        metavar="N",
        help="maximum number of tokens, without the four special ones. Default: no "
        "limit",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if not arguments.input:
        raise UsageError("-i FILE is required")
    if arguments.output is None:
        raise UsageError("-o FILE is required")
    output = pathlib.Path(arguments.output)
    check_new([output], arguments.overwrite)

    from kseq.data import Vocabulary, read_lines
    from kseq.data.tokenizers import UntrainedTokenizer, resolve

    with usage():
        tokenizer = resolve(arguments.tokenizer, lower_case=arguments.lower_case)
        if isinstance(tokenizer, UntrainedTokenizer):
            raise ValueError(
                "`tokenizer` must be one that is not trained, since the file of a "
                "vocabulary has no room for a tokenizer's model. Received: "
                f"{arguments.tokenizer!r}; pass it to kseq train or kseq data prepare, "
                "which keep both."
            )
    vocab = Vocabulary.from_files(
        arguments.input,
        tokenizer,
        min_frequency=arguments.min_frequency,
        max_size=arguments.max_size,
    )
    counts: dict[bool, int] = {True: 0, False: 0}
    distinct = set()
    lines = (line for path in arguments.input for line in read_lines(path))
    for line in progress(lines, "measuring", unit="lines"):
        for token in tokenizer.tokenize(line):
            counts[token in vocab] += 1
            distinct.add(token)
    vocab.save(output)
    tokens = sum(counts.values())
    share = counts[True] / tokens if tokens else 1.0
    if arguments.json:
        found = {
            "file": str(output),
            "size": len(vocab),
            "tokens": tokens,
            "distinct": len(distinct),
            "covered": share,
        }
        print(json.dumps(found))
    else:
        print(f"{output}: {len(vocab):,} tokens, the four special ones included")
        print(
            f"{share:.2%} of the {tokens:,} tokens of the texts are known; they have "
            f"{len(distinct):,} different ones"
        )
    flags = f"--source-vocab {output} --source-tokenizer {arguments.tokenizer}"
    lower = " --lower-case" if arguments.lower_case else ""
    say(f"For kseq train: {flags}{lower} (or the same of the target)")
    return 0
