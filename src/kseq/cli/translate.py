"""Decode texts with a trained model, line by line."""

import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from kseq.cli.model_arguments import (
    add_device_argument,
    add_model_arguments,
    check_model_arguments,
    load_translator,
)
from kseq.cli.parsing import Parser
from kseq.cli.standard_streams import standard_input
from kseq.cli.usage_errors import UsageError, as_usage_errors, check_positive

# Maximum number of lines decoded together.
CHUNK_SIZE = 2048
# In seconds. Lines that arrive within this time of each other are decoded together.
_MAX_PAUSE = 0.02
_END = object()
_DEFAULT_BEAM_WIDTH = 5
_SAMPLING_OPTIONS = ("temperature", "top_k", "top_p", "seed")
_BEAM_OPTIONS = ("length_penalty_alpha", "length_penalty_beta", "coverage_penalty")


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq translate -m FOLDER [OPTIONS] < FILE"
    parser.main_options = (
        *("model", "input", "output", "beam_width", "nbest", "max_length"),
        *("checkpoint", "sample", "temperature", "seed", "batch_size", "device"),
    )
    parser.aliases = {"n": "nbest", "forbidden": "avoid", "source": "input"}
    add_model_arguments(parser)
    parser.add_argument(
        "-i",
        "--input",
        type=str,
        metavar="FILE",
        help="file of source texts, one per line. Default: standard input",
    )
    parser.add_argument(
        "--output",
        type=Literal["text", "json", "alignments", "scores"],
        default="text",
        help="format of the output lines. text: the output, with line breaks as \\n. "
        "scores: its score, a tab, the output. alignments: the output, a tab, and "
        "TARGET-SOURCE for each target token, the indices of the token and of the "
        "source token with the highest attention weight. json: an object with all "
        "outputs of a source",
    )
    parser.add_argument(
        "--beam-width",
        "--beam",
        type=int | None,
        help=f"beam width; 1 is greedy search. Default: {_DEFAULT_BEAM_WIDTH}, or "
        "--nbest if that is larger",
    )
    parser.add_argument(
        "--nbest",
        type=int,
        default=1,
        help="number of outputs for each source, best first",
    )
    parser.add_argument(
        "--length-penalty-alpha",
        type=float | None,
        metavar="ALPHA",
        help="alpha of the length penalty: scores are divided by ((beta + length) / "
        "(beta + 1)) ** alpha. Default: 1",
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
        help="maximum number of output tokens. Default: from the length ratio of the "
        "training data",
    )
    parser.add_argument(
        "--min-length", type=int, default=0, help="minimum number of output tokens"
    )
    parser.add_argument(
        "--no-repeat-ngram-size",
        type=int,
        default=0,
        help="never output the same N tokens in a row twice; 0 is no limit",
    )
    parser.add_argument(
        "--avoid",
        nargs="+",
        type=str,
        default=[],
        metavar="PHRASE",
        help="phrases to keep out of the outputs. Default: none",
    )
    parser.add_argument(
        "--suppress-unknown", action="store_true", help="never output <unk>"
    )
    parser.add_argument(
        "--sample", action="store_true", help="use sampling instead of beam search"
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
        help="with --sample, use only the K most probable tokens. Default: all",
    )
    parser.add_argument(
        "--top-p",
        type=float | None,
        metavar="P",
        help="with --sample, use only the most probable tokens with a total "
        "probability of P. Default: all",
    )
    parser.add_argument("--seed", type=int | None, help="seed of --sample. Default: 0")
    parser.add_argument(
        "--batch-size", type=int, default=64, help="number of texts decoded together"
    )
    add_device_argument(parser)


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    _check_arguments(arguments)
    # Reads in the background while TensorFlow loads.
    lines = _LineReader(arguments.input)
    translator = load_translator(arguments)
    with as_usage_errors():
        search = _build_search(arguments, translator.target_vocab)
    attends = translator.model.config.attention is not None
    if arguments.output == "alignments" and not attends:
        raise ValueError("The model has no attention, so there are no alignments.")
    for chunk in lines.chunks(CHUNK_SIZE):
        results = translator.n_best(
            chunk,
            search,
            max_length=arguments.max_length,
            batch_size=arguments.batch_size,
            return_attention=attends and arguments.output in ("json", "alignments"),
        )
        for text, outputs in zip(chunk, results, strict=True):
            sys.stdout.write(_format_outputs(text, outputs, arguments, translator))
        sys.stdout.flush()
    return 0


def _check_arguments(arguments: Any) -> None:
    """Checks that each option has an effect."""
    check_model_arguments(arguments)
    for name in _SAMPLING_OPTIONS:
        if arguments[name] is not None and not arguments.sample:
            raise UsageError(f"`{name}` needs --sample")
    for name in ("beam_width", *_BEAM_OPTIONS):
        if arguments[name] is not None and arguments.sample:
            raise UsageError(f"`{name}` has no effect with --sample")
    for name in _BEAM_OPTIONS:
        if arguments[name] is not None and arguments.beam_width == 1:
            raise UsageError(f"`{name}` needs a --beam-width above 1")
    check_positive(arguments, "beam_width", "nbest", "batch_size", "max_length")
    if arguments.beam_width is not None and arguments.beam_width < arguments.nbest:
        raise UsageError(
            f"--nbest must be at most --beam-width, {arguments.beam_width}. "
            f"Received: {arguments.nbest}."
        )


def _build_search(arguments: Any, vocab: Any) -> Any:
    from kseq.decoding import BeamSearch, Greedy, Sampling

    constraints: dict[str, Any] = {
        "min_length": arguments.min_length,
        "no_repeat_ngram_size": arguments.no_repeat_ngram_size,
        "suppress_unknown": arguments.suppress_unknown,
    }
    if arguments.avoid:
        # A phrase with an unknown token cannot be output anyway.
        ids = vocab.encode(arguments.avoid, justify=False)
        constraints["forbidden"] = [
            [int(token) for token in row if token not in (0, 3)]
            for row in ids
            if 1 not in row
        ]
    if arguments.sample:
        options = _select_given(arguments, _SAMPLING_OPTIONS)
        return Sampling(n=arguments.nbest, **options, **constraints)
    if arguments.beam_width == 1:
        return Greedy(**constraints)
    options = _select_given(arguments, _BEAM_OPTIONS)
    return BeamSearch(
        beam_width=arguments.beam_width or max(_DEFAULT_BEAM_WIDTH, arguments.nbest),
        n=arguments.nbest,
        **{"length_penalty_alpha": 1.0, **options},
        **constraints,
    )


def _select_given(arguments: Any, names: Sequence[str]) -> dict[str, Any]:
    """Returns the arguments that have a value."""
    return {name: arguments[name] for name in names if arguments[name] is not None}


def _format_outputs(
    text: str, outputs: list[Any], arguments: Any, translator: Any
) -> str:
    """Returns the lines to print for a source, with their line ends."""
    from kseq.data.corpora.lines import as_line, json_line

    if arguments.output == "json":
        return json_line(_to_json(text, outputs, translator)) + "\n"
    lines = []
    for output in outputs:
        line = as_line(output.text)
        if arguments.output == "scores":
            line = f"{output.score:.6f}\t{line}"
        elif arguments.output == "alignments":
            line = f"{line}\t{_align(output)}"
        lines.append(line)
    # An empty source has no outputs; its lines are empty.
    missing = arguments.nbest - len(lines)
    blank = {"text": "", "scores": "\t", "alignments": "\t"}[arguments.output]
    return "".join(f"{line}\n" for line in [*lines, *[blank] * missing])


def _align(output: Any) -> str:
    # Without </s> on either side.
    weights = output.attention[: len(output.tokens), :-1]
    return " ".join(f"{k}-{int(row.argmax())}" for k, row in enumerate(weights))


def _to_json(text: str, outputs: list[Any], translator: Any) -> dict[str, Any]:
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


class _LineReader:
    """Reads lines in a thread, and returns them in chunks.

    Args:
        path: File to read. None: standard input.
    """

    def __init__(self, path: str | None) -> None:
        from kseq.data import read_lines

        lines = read_lines(standard_input() if path is None else path)
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=2 * CHUNK_SIZE)
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def _read(self, lines: Iterator[str]) -> None:
        try:
            for line in lines:
                self._queue.put(line)
        except Exception as error:  # `chunks` raises it
            self._queue.put(error)
        self._queue.put(_END)

    def chunks(self, size: int) -> Iterator[list[str]]:
        """Yields chunks of lines. A line does not wait for a chunk to be full.

        Args:
            size: Maximum number of lines in a chunk.
        """
        while True:
            item = self._queue.get()
            chunk: list[str] = []
            while isinstance(item, str):
                chunk.append(item)
                if len(chunk) == size:
                    item = None
                    break
                try:
                    item = self._queue.get(timeout=_MAX_PAUSE)
                except queue.Empty:
                    item = None
            if chunk:
                yield chunk
            if isinstance(item, Exception):
                raise item
            if item is _END:
                return
