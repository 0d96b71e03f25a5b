"""Build a vocabulary from files of texts, for `kseq train --source-vocab`."""

import json
import pathlib
from collections.abc import Sequence

from kseq.cli.folders import check_new
from kseq.cli.parsing import Parser, UsageError, say, usage


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq vocab -i FILE ... -o FILE [OPTIONS]"
    parser.add_argument("--config", action="config", help="YAML file of settings")
    parser.add_argument(
        "-i",
        "--input",
        nargs="+",
        type=str,
        default=[],
        metavar="FILE",
        help="files of texts, a text a line; .gz too",
    )
    parser.add_argument(
        "-o", "--output", type=str, metavar="FILE", help="the vocabulary, JSON"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the file that is there"
    )
    parser.add_argument(
        "--tokenizer",
        type=str,
        default="whitespace",
        help="how texts are cut: whitespace (default), characters, spacy:LANGUAGE or "
        "moses:LANGUAGE",
    )
    parser.add_argument(
        "--lower-case", action="store_true", help="lower the case of all texts"
    )
    parser.add_argument(
        "--min-frequency",
        type=int,
        default=1,
        help="how often a token must stand in the texts (default 1)",
    )
    parser.add_argument(
        "--max-size",
        type=int,
        help="most tokens, besides the four special ones; default: no limit",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if not arguments.input:
        raise UsageError("of which texts? Give -i FILE")
    if arguments.output is None:
        raise UsageError("where to? Give -o FILE")
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
    from tqdm import tqdm

    lines = (line for path in arguments.input for line in read_lines(path))
    for line in tqdm(lines, desc="measuring", delay=2, leave=False, disable=None):
        for token in tokenizer.cut(line):
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
