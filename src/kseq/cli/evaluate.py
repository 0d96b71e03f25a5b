"""Compute metrics of a model, or of given outputs, on pairs of texts."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

from kseq.cli.data_arguments import SHORT_FLAGS, read_data_settings
from kseq.cli.model_arguments import (
    add_model_arguments,
    check_model_arguments,
    check_models,
    load_translator,
)
from kseq.cli.parsing import Parser, add_settings
from kseq.cli.printing import add_json_argument, align, print_json, say
from kseq.cli.standard_streams import standard_input
from kseq.cli.tensorflow_import import load_tensorflow
from kseq.cli.usage_errors import UsageError, check_positive
from kseq.config.data import DataSettings
from kseq.config.training import METRICS, MODEL_METRICS, TEXT_METRICS

# The fields of `DataSettings` that specify pairs.
_PAIR_OPTIONS = (
    *("source", "target", "table", "source_column", "target_column", "table_header"),
    *("ctf", "source_symbols", "target_symbols", "corpus", "data"),
    *("source_language", "target_language", "on_invalid"),
)
_DEFAULT_BATCH_SIZE = 256
_DEFAULT_METRICS = ("exact_match", "bleu", "chrf", "perplexity")
# The metrics of probabilities that an ensemble has too.
_ENSEMBLE_METRICS = ("loss", "perplexity")
# The options that need a model, besides --model.
_MODEL_OPTIONS = (
    *("checkpoint", "averaging", "beam_width", "batch_size", "split", "outputs"),
)


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = (
        "kseq evaluate -m FOLDER -s FILE -t FILE [OPTIONS]\n"
        "       kseq evaluate -m FOLDER --corpus NAME --split dev [OPTIONS]\n"
        "       kseq evaluate --hypotheses FILE -t FILE [-s FILE] [OPTIONS]"
    )
    parser.main_options = (
        *("model", "source", "target", "corpus", "split", "hypotheses", "metrics"),
        *("beam_width", "batch_size", "outputs", "json", "checkpoint", "table"),
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--hypotheses",
        type=str | None,
        metavar="FILE",
        help="file of outputs to evaluate, one for each target; - is standard input",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        type=str,
        default=[],
        help=f"one or more of {', '.join(METRICS)}. Default: "
        f"{', '.join(_DEFAULT_METRICS)}",
    )
    parser.add_argument(
        "--beam-width",
        "--beam",
        type=int | None,
        help="beam width. Default: 1, greedy search",
    )
    parser.add_argument(
        "--batch-size",
        type=int | None,
        help=f"number of texts decoded together. Default: {_DEFAULT_BATCH_SIZE}",
    )
    parser.add_argument(
        "--lower-case",
        action="store_true",
        help="convert outputs and targets to lower case before comparing them",
    )
    parser.add_argument(
        "--tokenize",
        type=str | None,
        help="tokenizer of sacrebleu for BLEU, such as none, char or intl. Default: "
        "13a",
    )
    parser.add_argument(
        "--outputs",
        type=str | None,
        metavar="FILE",
        help="write the outputs to this file, one per line, with line breaks as \\n; "
        "an existing file is replaced",
    )
    add_json_argument(parser)
    parser.add_argument(
        "--split",
        type=Literal["train", "dev", "test"] | None,
        help="part of --corpus. Default: dev",
    )
    fields = [field.name for field in dataclasses.fields(DataSettings)]
    skip = [name for name in fields if name not in _PAIR_OPTIONS]
    add_settings(parser, DataSettings, "data", SHORT_FLAGS, skip)


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    metrics = _choose_metrics(arguments)
    _check_arguments(arguments, metrics)
    if arguments.hypotheses is not None:
        result = _evaluate_hypotheses(arguments, metrics)
    else:
        result = _evaluate_model(arguments, metrics)
    if arguments.json:
        print_json(result)
        return 0
    rows = [(name, f"{result[name]:,}") for name in ("pairs", "sources")]
    for name in metrics:
        signature = result["signatures"].get(name, "")
        rows.append((name, f"{result['metrics'][name]:.4f}  {signature}".rstrip()))
    print("\n".join(align(rows, indent="")))
    return 0


def _choose_metrics(arguments: Any) -> list[str]:
    """Returns the metrics to compute, in the order of the flag."""
    default = [
        name
        for name in _DEFAULT_METRICS
        if arguments.hypotheses is None or name in TEXT_METRICS
    ]
    for name in arguments.metrics:
        if name not in METRICS:
            raise UsageError(
                f"`metrics` must be among {', '.join(METRICS)}. Received: {name}."
            )
    return list(dict.fromkeys(arguments.metrics or default))


def _check_arguments(arguments: Any, metrics: list[str]) -> None:
    """Checks that each option has an effect."""
    text_metrics = [name for name in metrics if name in TEXT_METRICS]
    if arguments.hypotheses is not None:
        model_metrics = [name for name in metrics if name not in TEXT_METRICS]
        if model_metrics:
            raise UsageError(f"the metric {model_metrics[0]} needs -m")
        if arguments.model:
            raise UsageError("use -m or --hypotheses, not both")
        defaults = {f.name: f.default for f in dataclasses.fields(DataSettings)}
        files = ("source", "target")
        for name in (*_MODEL_OPTIONS, *_PAIR_OPTIONS):
            if name not in files and arguments[name] != defaults.get(name):
                raise UsageError(
                    f"`{name}` needs -m; with --hypotheses use the files -t and -s"
                )
        if not arguments.target:
            raise UsageError("-t FILE is required")
    elif not arguments.model:
        raise UsageError("-m FOLDER or --hypotheses FILE is required")
    else:
        check_model_arguments(arguments)
    if len(arguments.model) > 1:
        single = [n for n in metrics if n not in (*TEXT_METRICS, *_ENSEMBLE_METRICS)]
        if single:
            raise UsageError(f"the metric {single[0]} needs a single model")
    if arguments.split is not None and arguments.corpus is None:
        raise UsageError("--split needs --corpus")
    if arguments.beam_width and not text_metrics and arguments.outputs is None:
        raise UsageError("--beam-width needs a metric of outputs or --outputs")
    if arguments.lower_case and not text_metrics:
        raise UsageError("--lower-case needs a metric of outputs")
    if arguments.tokenize is not None and "bleu" not in metrics:
        raise UsageError("--tokenize needs the metric bleu")
    check_positive(arguments, "beam_width", "batch_size")


def _evaluate_hypotheses(arguments: Any, metrics: list[str]) -> dict[str, Any]:
    """Computes metrics of given outputs."""
    from kseq.data import read_lines
    from kseq.data.corpora.lines import as_line

    name = arguments.hypotheses
    stream = standard_input() if name == "-" else name
    outputs = list(read_lines(stream))
    sides = [("target", arguments.target)]
    if arguments.source:
        sides.append(("source", arguments.source))
    texts = {}
    for side, files in sides:
        texts[side] = [line for path in files for line in read_lines(path)]
        if len(texts[side]) != len(outputs):
            raise ValueError(
                f"'{name}' must have {len(texts[side])} lines, one for each {side}. "
                f"Received: {len(outputs)}."
            )
    # A model is not evaluated on pairs with an empty side either.
    rows = list(zip(outputs, *texts.values(), strict=True))
    full = [row for row in rows if all(text.strip() for text in row[1:])]
    if len(full) < len(rows):
        dropped = len(rows) - len(full)
        say(f"dropped {dropped:,} of {len(rows):,} pairs, which have an empty side")
    if not full:
        raise ValueError(f"'{name}' has no output to evaluate.")
    # `kseq translate` escapes line breaks, so the targets are escaped too.
    columns = [list(map(as_line, column)) for column in zip(*full, strict=True)]
    outputs, targets = columns[:2]
    sources = columns[2] if len(columns) == 3 else None
    scores, signatures = _score_texts(arguments, metrics, outputs, targets, sources)
    return {
        "hypotheses": name,
        "pairs": len(full),
        "sources": len(set(sources)) if sources else len(full),
        "metrics": scores,
        "signatures": signatures,
    }


def _evaluate_model(arguments: Any, metrics: list[str]) -> dict[str, Any]:
    """Computes metrics of a model or an ensemble."""
    settings = read_data_settings(arguments)
    check_models(arguments.model, arguments.checkpoint)

    load_tensorflow()
    from kseq.decoding import BeamSearch
    from kseq.training.training_data import open_corpus

    part = "train"
    if settings.corpus is not None:
        parts = {"train": "train", "dev": "validation", "test": "test"}
        part = parts[arguments.split or "dev"]
    corpus = open_corpus(settings, part)
    sources, targets = corpus.lists()
    say(f"{corpus.report()} ({', '.join(corpus.files)})")
    if not sources:
        raise ValueError("The data has no pair to evaluate the model on.")
    translator = load_translator(arguments)
    batch_size = arguments.batch_size or _DEFAULT_BATCH_SIZE
    values = _score_targets(translator, sources, targets, metrics, batch_size)
    signatures: dict[str, str] = {}
    beam_width = arguments.beam_width or 1
    if arguments.outputs is not None or set(metrics) & set(TEXT_METRICS):
        distinct = list(dict.fromkeys(sources))
        decoded = translator.translate(
            distinct,
            "greedy" if beam_width == 1 else BeamSearch(beam_width=beam_width),
            batch_size=batch_size,
        )
        output_of = dict(zip(distinct, decoded, strict=True))
        outputs = [output_of[source] for source in sources]
        if arguments.outputs is not None:
            _write_outputs(arguments.outputs, outputs)
        vocab = translator.target_vocab
        if vocab.tokenizer.lower_case or not vocab.tokenizer.reversible:
            say("the targets are tokenized and joined like the outputs")
        joined = [vocab.normalize_reference(target) for target in targets]
        scores, signatures = _score_texts(arguments, metrics, outputs, joined, sources)
        values |= scores
    return {
        "models": list(arguments.model),
        "checkpoint": arguments.checkpoint,
        "beam_width": beam_width,
        "pairs": len(sources),
        "sources": len(set(sources)),
        "metrics": {name: values[name] for name in metrics},
        "signatures": signatures,
    }


def _score_targets(
    translator: Any,
    sources: list[str],
    targets: list[str],
    metrics: list[str],
    batch_size: int,
) -> dict[str, float]:
    """Computes the metrics of the probabilities of the targets."""
    names = [name for name in metrics if name in MODEL_METRICS]
    free_running = "free_running_perplexity"
    if not names and free_running not in metrics:
        return {}

    from kseq.data import Examples, validation_dataset
    from kseq.losses import MaskedCrossentropy
    from kseq.models import Ensemble, perplexity

    model = translator.model
    examples = Examples(
        translator.source_vocab.encode(sources),
        translator.target_vocab.encode(targets),
        translator.source_vocab,
        translator.target_vocab,
    )
    sides = examples.source, examples.target
    values: dict[str, float] = {}
    if isinstance(model, Ensemble):
        value = perplexity(model, *sides, batch_size=batch_size)
        values |= {"perplexity": value, "loss": math.log(value)}
    elif names:
        compiled = ["perplexity", "token_accuracy", "sequence_accuracy"]
        model.compile(loss=MaskedCrossentropy(), weighted_metrics=compiled)
        logs = model.evaluate(
            validation_dataset(examples, batch_size), verbose=0, return_dict=True
        )
        values |= {name: float(logs[name]) for name in names}
    if free_running in metrics:
        values[free_running] = perplexity(
            model, *sides, free_running=True, batch_size=batch_size
        )
    return values


def _score_texts(
    arguments: Any,
    metrics: list[str],
    outputs: list[str],
    targets: list[str],
    sources: list[str] | None,
) -> tuple[dict[str, float], dict[str, str]]:
    """Computes the metrics of outputs; all targets of a source are its references."""
    names = [name for name in metrics if name in TEXT_METRICS]
    if not names:
        return {}, {}

    from kseq.evaluation import evaluate_texts

    scores = evaluate_texts(
        outputs,
        targets,
        names,
        sources,
        tokenize=arguments.tokenize,
        lower_case=arguments.lower_case,
    )
    return dict(scores), scores.signatures


def _write_outputs(path: str, outputs: list[str]) -> None:
    from kseq.data.corpora.lines import as_line
    from kseq.storage.atomic_files import whole_file

    with whole_file(path) as temporary:
        text = "".join(f"{as_line(output)}\n" for output in outputs)
        temporary.write_text(text, "utf-8", newline="\n")
