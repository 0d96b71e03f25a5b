"""Decode texts with a trained model: one line in, one line out, in order."""

import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from kseq.cli.folders import add_model_arguments, check_model_arguments
from kseq.cli.parsing import Parser, UsageError, usage
from kseq.cli.standard_streams import standard_input
from kseq.cli.tensorflow_notices import load_tensorflow

# Lines that are decoded together at most; where fewer have come, they need not wait.
CHUNK = 2048
# Seconds in which further lines may come before those that are there are decoded.
_PATIENCE = 0.02
_END = object()
_BEAM = 5
_OF_BEAMS = ("length_penalty_alpha", "length_penalty_beta", "coverage_penalty")


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq translate -m FOLDER [OPTIONS] < FILE"
    parser.first = (
        *(
            "model",
            "input",
            "output",
            "beam_width",
            "nbest",
            "max_length",
            "checkpoint",
        ),
        *("sample", "temperature", "seed", "batch_size", "device"),
    )
    parser.aliases = {
        "width": "beam_width",
        "n": "nbest",
        "forbidden": "avoid",
        "source": "input",
    }
    add_model_arguments(parser)
    parser.add_argument(
        "-i",
        "--input",
        type=str,
        metavar="FILE",
        help="file of texts, one a line. Default: standard input",
    )
    parser.add_argument(
        "--output",
        type=Literal["text", "json", "alignments", "scores"],
        default="text",
        help="what a line holds. text (default): an output, a line break in it as \\n. "
        "scores: its log-probability, a tab, the output. alignments: the output, a "
        "tab, and target-source for each target token, the source token with the most "
        "attention. json: an object with all outputs of a text",
    )
    parser.add_argument(
        "--beam-width",
        "--beam",
        type=int | None,
        metavar="N",
        help="beam width; 1 is greedy search. Default: 5, or --nbest if that is larger",
    )
    parser.add_argument(
        "--nbest",
        type=int,
        default=1,
        metavar="N",
        help="number of outputs for each text, best first. Default: 1",
    )
    parser.add_argument(
        "--length-penalty-alpha",
        type=float | None,
        metavar="ALPHA",
        help="scores are divided by ((beta + length) / (beta + 1)) ** alpha. Default: "
        "1",
    )
    parser.add_argument(
        "--length-penalty-beta",
        type=float | None,
        metavar="BETA",
        help="beta of the length penalty. Default: 0",
    )
    parser.add_argument(
        "--coverage-penalty",
        type=float | None,
        metavar="WEIGHT",
        help="weight of the penalty for source tokens without attention. Default: 0",
    )
    parser.add_argument(
        "--max-length",
        type=int | None,
        metavar="N",
        help="maximum number of output tokens. Default: as in training",
    )
    parser.add_argument(
        "--min-length",
        type=int,
        default=0,
        metavar="N",
        help="minimum number of output tokens. Default: 0",
    )
    parser.add_argument(
        "--no-repeat-ngram-size",
        type=int,
        default=0,
        metavar="N",
        help="no n-gram of N tokens appears twice in an output. Default: 0, no limit",
    )
    parser.add_argument(
        "--avoid",
        nargs="+",
        type=str,
        default=[],
        metavar="PHRASE",
        help="phrases that no output contains. Default: none",
    )
    parser.add_argument(
        "--suppress-unknown",
        action="store_true",
        help="never output <unk>",
    )
    parser.add_argument(
        "--sample", action="store_true", help="sample outputs instead of searching"
    )
    parser.add_argument(
        "--temperature",
        type=float | None,
        metavar="T",
        help="temperature of --sample. Default: 1",
    )
    parser.add_argument(
        "--top-k",
        type=int | None,
        metavar="K",
        help="--sample only the K most probable tokens. Default: all",
    )
    parser.add_argument(
        "--top-p",
        type=float | None,
        metavar="P",
        help="--sample only the most probable tokens with total probability P. "
        "Default: all",
    )
    parser.add_argument(
        "--seed", type=int | None, metavar="N", help="seed of --sample. Default: 0"
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=64,
        metavar="N",
        help="number of texts decoded together. Default: 64",
    )
    parser.add_argument(
        "--device",
        type=Literal["auto", "cpu", "gpu"],
        default="auto",
        help="auto (default), cpu or gpu",
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if not arguments.model:
        raise UsageError("-m FOLDER is required")
    _check(arguments)
    # Read while TensorFlow is loaded; an error in the input is told all the same.
    lines = _Lines(arguments.input)
    load_tensorflow()
    from kseq.distribution import use_device
    from kseq.translator import Translator

    use_device(arguments.device)
    translator = Translator.load(
        arguments.model, arguments.checkpoint, arguments.averaging or "linear"
    )
    with usage():
        search = _search(arguments, translator.target_vocab)
    attends = translator.model.config.attention is not None
    if arguments.output == "alignments" and not attends:
        raise ValueError("The model has no attention, so there are no alignments.")
    for chunk in lines.chunks(CHUNK):
        found = translator.n_best(
            chunk,
            search,
            max_length=arguments.max_length,
            batch_size=arguments.batch_size,
            return_attention=attends and arguments.output in ("json", "alignments"),
        )
        for text, outputs in zip(chunk, found, strict=True):
            sys.stdout.write(_shown(text, outputs, arguments, translator))
        sys.stdout.flush()
    return 0


def _check(arguments: Any) -> None:
    """Refuses what would have no effect."""
    for name in ("temperature", "top_k", "top_p", "seed"):
        if arguments[name] is not None and not arguments.sample:
            raise UsageError(f"--{name.replace('_', '-')} needs --sample")
    for name in ("beam_width", *_OF_BEAMS):
        if arguments[name] is not None and arguments.sample:
            raise UsageError(f"--{name.replace('_', '-')} has no effect with --sample")
    for name in _OF_BEAMS:
        if arguments[name] is not None and arguments.beam_width == 1:
            raise UsageError(f"--{name.replace('_', '-')} needs a --beam-width above 1")
    check_model_arguments(arguments)
    for name in ("beam_width", "nbest", "batch_size", "max_length"):
        if arguments[name] is not None and arguments[name] < 1:
            raise UsageError(
                f"--{name.replace('_', '-')} must be at least 1. "
                f"Received: {arguments[name]}"
            )
    if arguments.beam_width is not None and arguments.beam_width < arguments.nbest:
        raise UsageError(
            f"--nbest must be at most --beam-width, {arguments.beam_width}. "
            f"Received: {arguments.nbest}"
        )


def _search(arguments: Any, vocab: Any) -> Any:
    from kseq.decoding import BeamSearch, Greedy, Sampling

    constraints: dict[str, Any] = {
        "min_length": arguments.min_length,
        "no_repeat_ngram_size": arguments.no_repeat_ngram_size,
        "suppress_unknown": arguments.suppress_unknown,
    }
    if arguments.avoid:
        # A phrase with a token that the model does not know is never put out anyway.
        ids = vocab.encode(arguments.avoid, justify=False)
        constraints["forbidden"] = [
            [int(token) for token in row if token not in (0, 3)]
            for row in ids
            if 1 not in row
        ]
    if arguments.sample:
        given = {
            name: arguments[name]
            for name in ("temperature", "top_k", "top_p", "seed")
            if arguments[name] is not None
        }
        return Sampling(n=arguments.nbest, **given, **constraints)
    if arguments.beam_width == 1:
        return Greedy(**constraints)
    given = {name: arguments[name] for name in _OF_BEAMS if arguments[name] is not None}
    return BeamSearch(
        beam_width=arguments.beam_width or max(_BEAM, arguments.nbest),
        n=arguments.nbest,
        **{"length_penalty_alpha": 1.0, **given},
        **constraints,
    )


def _shown(text: str, outputs: list[Any], arguments: Any, translator: Any) -> str:
    """Returns what is printed for a text, with its line ends."""
    from kseq.data.corpora.lines import as_line, json_line

    if arguments.output == "json":
        return json_line(_as_json(text, outputs, translator)) + "\n"
    lines = []
    for output in outputs:
        line = as_line(output.text)
        if arguments.output == "scores":
            line = f"{output.score:.6f}\t{line}"
        elif arguments.output == "alignments":
            line = f"{line}\t{_alignment(output)}"
        lines.append(line)
    # An empty text has no outputs, but its line.
    missing = arguments.nbest - len(lines)
    blank = {"text": "", "scores": "\t", "alignments": "\t"}[arguments.output]
    return "".join(f"{line}\n" for line in [*lines, *[blank] * missing])


def _alignment(output: Any) -> str:
    # </s> is no token of a text, on either side.
    weights = output.attention[: len(output.tokens), :-1]
    return " ".join(f"{k}-{int(row.argmax())}" for k, row in enumerate(weights))


def _as_json(text: str, outputs: list[Any], translator: Any) -> dict[str, Any]:
    ids = translator.source_vocab.encode([text])[0]
    return {
        "source": text,
        "source_tokens": translator.source_vocab.ids_to_tokens(ids),
        "outputs": [
            {
                "text": output.text,
                "score": output.score,
                "tokens": output.tokens,
                "log_probs": output.log_probs,
                "truncated": output.truncated,
                **(
                    {}
                    if output.attention is None
                    else {"attention": output.attention.round(6).tolist()}
                ),
            }
            for output in outputs
        ],
    }


class _Lines:
    """Lines that come as they come, in chunks of those that are there."""

    def __init__(self, path: str | None) -> None:
        from kseq.data import read_lines

        lines = read_lines(standard_input() if path is None else path)
        self._arrived: queue.Queue[Any] = queue.Queue(maxsize=2 * CHUNK)
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines: Iterator[str]) -> None:
        try:
            for line in lines:
                self._arrived.put(line)
        except Exception as error:  # told where the lines are used
            self._arrived.put(error)
        self._arrived.put(_END)

    def chunks(self, size: int) -> Iterator[list[str]]:
        """Yields what has come, at most so many lines, never keeping any waiting.

        Args:
            size: Most lines of a chunk.
        """
        while True:
            item = self._arrived.get()
            chunk: list[str] = []
            while isinstance(item, str):
                chunk.append(item)
                if len(chunk) == size:
                    item = None
                    break
                try:
                    item = self._arrived.get(timeout=_PATIENCE)
                except queue.Empty:
                    item = None
            if chunk:
                yield chunk
            if isinstance(item, Exception):
                raise item
            if item is _END:
                return
