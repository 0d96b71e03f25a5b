"""Turn texts into texts with a trained model: a line in, a line out, in order."""

import io
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from kseq.cli.folders import add_model_arguments, check_model_arguments
from kseq.cli.parsing import Parser, UsageError, usage
from kseq.cli.quiet import load_tensorflow

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
    parser.add_argument("--config", action="config", help="YAML file of settings")
    add_model_arguments(parser)
    parser.add_argument("-i", "--input", type=str | None, help="file of texts; stdin")
    parser.add_argument(
        "--output",
        type=Literal["text", "json", "alignments", "scores"],
        default="text",
        help=(
            "text (default): the best output, a line for each text, with --nbest "
            "several lines; a line break in an output is written as \\n. scores: its "
            "log-probability and a tab before it; alignments: after it a tab and, for "
            "each of its tokens, target-source, the source token attended to most; "
            "json: an object for each text"
        ),
    )
    parser.add_argument(
        "--beam", type=int | None, help="beam width; 5, or more for --nbest. 1: greedy"
    )
    parser.add_argument("--nbest", type=int, default=1, help="outputs for a text; 1")
    parser.add_argument(
        "--length-penalty-alpha",
        type=float | None,
        help="power of the length that scores are divided by; 1",
    )
    parser.add_argument(
        "--length-penalty-beta", type=float | None, help="added to lengths; 0"
    )
    parser.add_argument(
        "--coverage-penalty",
        type=float | None,
        help="weight of the penalty for source tokens that are not attended to; 0",
    )
    parser.add_argument("--max-length", type=int | None, help="most output tokens")
    parser.add_argument("--min-length", type=int, default=0, help="fewest; 0")
    parser.add_argument(
        "--no-repeat-ngram-size",
        type=int,
        default=0,
        help="let no n-gram of so many tokens stand twice in an output; 0: any may",
    )
    parser.add_argument(
        "--avoid", nargs="+", type=str, default=[], help="phrases never put out"
    )
    parser.add_argument(
        "--suppress-unknown",
        action="store_true",
        help="never put out <unk>",
    )
    parser.add_argument(
        "--sample", action="store_true", help="draw outputs rather than search"
    )
    parser.add_argument("--temperature", type=float | None, help="of --sample; 1")
    parser.add_argument("--top-k", type=int | None, help="of --sample; no limit")
    parser.add_argument("--top-p", type=float | None, help="of --sample; no limit")
    parser.add_argument("--seed", type=int | None, help="of --sample; 0")
    parser.add_argument("--batch-size", type=int, default=64, help="texts at once; 64")
    parser.add_argument(
        "--device",
        type=Literal["auto", "cpu", "gpu"],
        default="auto",
        help="auto, cpu or gpu; auto",
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if not arguments.model:
        raise UsageError("with which model? Give -m FOLDER")
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
            attention=attends and arguments.output in ("json", "alignments"),
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
    for name in ("beam", *_OF_BEAMS):
        if arguments[name] is not None and arguments.sample:
            raise UsageError(f"--{name.replace('_', '-')} has no effect with --sample")
    for name in _OF_BEAMS:
        if arguments[name] is not None and arguments.beam == 1:
            raise UsageError(f"--{name.replace('_', '-')} needs a --beam above 1")
    check_model_arguments(arguments)
    for name in ("beam", "nbest", "batch_size", "max_length"):
        if arguments[name] is not None and arguments[name] < 1:
            raise UsageError(
                f"--{name.replace('_', '-')} must be at least 1. "
                f"Received: {arguments[name]}"
            )
    if arguments.beam is not None and arguments.beam < arguments.nbest:
        raise UsageError(
            f"--nbest must be at most --beam, {arguments.beam}. "
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
        ids = vocab.encode(arguments.avoid)
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
    if arguments.beam == 1:
        return Greedy(**constraints)
    given = {name: arguments[name] for name in _OF_BEAMS if arguments[name] is not None}
    return BeamSearch(
        width=arguments.beam or max(_BEAM, arguments.nbest),
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
        "source_tokens": translator.source_vocab.names(ids),
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


def _standard_input() -> io.BufferedReader:
    raw = io.FileIO(sys.stdin.fileno(), closefd=False)
    raw.name = "<stdin>"  # what errors call it
    return io.BufferedReader(raw)


class _Lines:
    """Lines that come as they come, in chunks of those that are there."""

    def __init__(self, path: str | None) -> None:
        from kseq.data import read_lines

        # Not sys.stdin, whose lock the waiting thread would hold when Python ends.
        lines = read_lines(_standard_input() if path is None else path)
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
