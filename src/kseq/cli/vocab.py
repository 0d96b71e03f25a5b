"""Build a vocabulary from files of texts, for `kseq train --source-vocab`."""

import pathlib
from collections.abc import Sequence

from kseq.cli.output_files import add_output_arguments, check_new_files
from kseq.cli.parsing import Parser
from kseq.cli.printing import add_json_argument, print_json, say
from kseq.cli.usage_errors import as_usage_errors
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
        help="files of texts, one text per line; .gz files are decompressed",
    )
    add_output_arguments(parser, "FILE", "JSON file")
    parser.add_argument(
        "--tokenizer",
        type=str,
        default="whitespace",
        help="tokenizer: whitespace, characters, spacy:LANGUAGE or moses:LANGUAGE",
    )
    parser.add_argument(
        "--lower-case", action="store_true", help="convert texts to lower case"
    )
    parser.add_argument(
        "--min-frequency",
        type=int,
        default=1,
        help="minimum number of occurrences of a token",
    )
    parser.add_argument(
        "--max-size",
        type=int | None,
        help="maximum number of tokens, without the four special tokens. Default: no "
        "limit",
    )
    add_json_argument(parser)


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    parser.require(arguments, "input", "output")
    output = pathlib.Path(arguments.output)
    check_new_files([output], arguments.overwrite)

    from kseq.data import Vocabulary, read_lines
    from kseq.data.tokenizers import UntrainedTokenizer, resolve

    with as_usage_errors():
        tokenizer = resolve(arguments.tokenizer, lower_case=arguments.lower_case)
        if isinstance(tokenizer, UntrainedTokenizer):
            raise ValueError(
                "`tokenizer` must be whitespace, characters, spacy:LANGUAGE or "
                f"moses:LANGUAGE. Received: {arguments.tokenizer!r}. Pass a trained "
                "tokenizer to kseq train or kseq data prepare, which save its model."
            )
    vocab = Vocabulary.from_files(
        arguments.input,
        tokenizer,
        min_frequency=arguments.min_frequency,
        max_size=arguments.max_size,
    )
    tokens = known = 0
    distinct = set()
    lines = (line for path in arguments.input for line in read_lines(path))
    for line in progress(lines, "counting tokens", unit="lines"):
        for token in tokenizer.tokenize(line):
            tokens += 1
            known += token in vocab
            distinct.add(token)
    vocab.save(output)
    share = known / tokens if tokens else 1.0
    if arguments.json:
        result = {
            "file": str(output),
            "size": len(vocab),
            "tokens": tokens,
            "distinct": len(distinct),
            "covered": share,
        }
        print_json(result)
    else:
        print(f"{output}: {len(vocab):,} tokens, including the four special tokens")
        print(
            f"The vocabulary covers {share:.2%} of the {tokens:,} tokens in the texts, "
            f"which have {len(distinct):,} distinct tokens."
        )
    flags = f"--source-vocab {output} --source-tokenizer {arguments.tokenizer}"
    lower = " --lower-case" if arguments.lower_case else ""
    say(f"To use it: kseq train {flags}{lower} (for targets: --target-vocab, ...)")
    return 0
