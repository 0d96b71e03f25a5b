"""Measure a model, or outputs that are there already, on files of texts."""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any, Literal

from kseq.cli.folders import add_model_arguments, check_models, data_settings
from kseq.cli.parsing import Parser, UsageError, add_settings, say
from kseq.cli.standard_streams import standard_input
from kseq.cli.tensorflow_notices import load_tensorflow
from kseq.config.data import DataSettings
from kseq.config.training import METRICS, MODEL_METRICS, TEXT_METRICS

# Of `DataSettings`, what says where pairs are read from.
_READ = (
    "source",
    "target",
    "table",
    "source_column",
    "target_column",
    "table_header",
    "ctf",
    "source_symbols",
    "target_symbols",
    "corpus",
    "data",
    "source_language",
    "target_language",
    "on_invalid",
)
_DEFAULT = ("exact_match", "bleu", "chrf", "perplexity")
# What an ensemble has too: only its probabilities are one model's.
_OF_ENSEMBLES = ("loss", "perplexity")
_OF_MODELS = ("checkpoint", "averaging", "beam_width", "batch_size", "split", "outputs")


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = (
        "kseq evaluate -m FOLDER -s FILE -t FILE [OPTIONS]\n"
        "       kseq evaluate -m FOLDER --corpus NAME --split dev [OPTIONS]\n"
        "       kseq evaluate --hypotheses FILE -t FILE [-s FILE] [OPTIONS]"
    )
    parser.first = (
        *("model", "source", "target", "corpus", "split", "hypotheses", "metrics"),
        *("beam_width", "batch_size", "outputs", "json", "checkpoint", "table"),
    )
    add_model_arguments(parser)
    parser.add_argument(
        "--hypotheses",
        type=str | None,
        metavar="FILE",
        help="measure these outputs, one for each target; - is standard input",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        type=str,
        default=[],
        metavar="METRIC",
        help=f"one or more of {', '.join(METRICS)}. Default: {', '.join(_DEFAULT)}",
    )
    parser.add_argument(
        "--beam-width",
        "--beam",
        type=int | None,
        metavar="N",
        help="beam width. Default: 1, greedy search",
    )
    parser.add_argument(
        "--batch-size",
        type=int | None,
        metavar="N",
        help="number of texts decoded together. Default: 256",
    )
    parser.add_argument(
        "--lower-case",
        action="store_true",
        help="convert outputs and targets to lower case before comparing them",
    )
    parser.add_argument(
        "--tokenize",
        type=str | None,
        metavar="NAME",
        help="tokenizer of BLEU: 13a (default), none, char, intl, ...",
    )
    parser.add_argument(
        "--outputs",
        type=str | None,
        metavar="FILE",
        help="file for the outputs, one a line, a line break in one as \\n; an "
        "existing file is replaced",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--split",
        type=Literal["train", "dev", "test"] | None,
        help="part of --corpus: train, dev (default) or test",
    )
    fields = [field.name for field in dataclasses.fields(DataSettings)]
    skip = [name for name in fields if name not in _READ]
    add_settings(parser, DataSettings, "data", {"source": "-s", "target": "-t"}, skip)


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    metrics = _metrics(arguments)
    _check(arguments, metrics)
    if arguments.hypotheses is not None:
        found = _of_hypotheses(arguments, metrics)
    else:
        found = _of_model(arguments, metrics)
    if arguments.json:
        print(json.dumps(found))
        return 0
    width = max(map(len, ["sources", *metrics]))
    for name in ("pairs", "sources"):
        print(f"{name:{width}}  {found[name]:,}")
    for name in metrics:
        line = f"{name:{width}}  {found['metrics'][name]:.4f}"
        print("  ".join([line, *filter(None, [found["signatures"].get(name)])]))
    return 0


def _metrics(arguments: Any) -> list[str]:
    """Returns the metrics that are wanted, in the order in which they were named."""
    default = [
        name
        for name in _DEFAULT
        if arguments.hypotheses is None or name in TEXT_METRICS
    ]
    for name in arguments.metrics:
        if name not in METRICS:
            raise UsageError(
                f"`metrics` must be of {', '.join(METRICS)}. Received: {name}."
            )
    return list(dict.fromkeys(arguments.metrics or default))


def _check(arguments: Any, metrics: list[str]) -> None:
    """Refuses what would have no effect."""
    text = [name for name in metrics if name in TEXT_METRICS]
    if arguments.hypotheses is not None:
        own = [name for name in metrics if name not in TEXT_METRICS]
        if own:
            raise UsageError(f"{own[0]} needs a model, not --hypotheses")
        if arguments.model:
            raise UsageError("give -m or --hypotheses, not both")
        defaults = {f.name: f.default for f in dataclasses.fields(DataSettings)}
        files = ("source", "target")
        for name in (*_OF_MODELS, *(name for name in _READ if name not in files)):
            if arguments[name] != defaults.get(name):
                raise UsageError(
                    f"--{name.replace('_', '-')} needs -m; with "
                    "--hypotheses give files of texts by -t and -s"
                )
        if not arguments.target:
            raise UsageError("-t FILE is required")
    elif not arguments.model:
        raise UsageError("-m FOLDER or --hypotheses FILE is required")
    if len(arguments.model) > 1:
        if arguments.checkpoint is not None:
            raise UsageError("-c needs one model; an ensemble takes the best of each")
        alone = [n for n in metrics if n not in (*TEXT_METRICS, *_OF_ENSEMBLES)]
        if alone:
            raise UsageError(f"{alone[0]} is for one model alone")
    elif arguments.averaging is not None:
        raise UsageError("--averaging needs several models")
    if arguments.split is not None and arguments.corpus is None:
        raise UsageError("--split needs --corpus")
    if arguments.beam_width is not None and not text and arguments.outputs is None:
        raise UsageError("--beam-width needs a metric of outputs or --outputs")
    if arguments.lower_case and not text:
        raise UsageError("--lower-case needs a metric of outputs")
    if arguments.tokenize is not None and "bleu" not in metrics:
        raise UsageError("--tokenize is for the metric bleu")
    for name in ("beam_width", "batch_size"):
        if arguments[name] is not None and arguments[name] < 1:
            raise UsageError(
                f"`{name}` must be at least 1. Received: {arguments[name]}."
            )


def _of_hypotheses(arguments: Any, metrics: list[str]) -> dict[str, Any]:
    """Measures outputs that are there already."""
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
                f"'{name}' must have a line for each of the {len(texts[side])} "
                f"{side}s. Received: {len(outputs)}."
            )
    # What a model is not measured on either, when it reads the same files.
    rows = list(zip(outputs, *texts.values(), strict=True))
    kept = [row for row in rows if all(text.strip() for text in row[1:])]
    if len(kept) < len(rows):
        say(
            f"{len(rows) - len(kept):,} of {len(rows):,} pairs have an empty side: "
            "they are left out"
        )
    if not kept:
        raise ValueError(f"There is nothing to measure in '{name}'.")
    # `kseq translate` escapes line breaks, so the targets are escaped too.
    columns = [list(map(as_line, column)) for column in zip(*kept, strict=True)]
    outputs, targets = columns[:2]
    sources = columns[2] if len(columns) == 3 else None
    scores, signatures = _of_texts(arguments, metrics, outputs, targets, sources)
    return {
        "hypotheses": name,
        "pairs": len(kept),
        "sources": len(set(sources)) if sources else len(kept),
        "metrics": scores,
        "signatures": signatures,
    }


def _of_model(arguments: Any, metrics: list[str]) -> dict[str, Any]:
    """Measures a model or an ensemble."""
    settings = data_settings("kseq evaluate", arguments)
    check_models(arguments.model, arguments.checkpoint)

    load_tensorflow()
    from kseq.decoding import BeamSearch
    from kseq.training.training_data import open_corpus
    from kseq.translator import Translator

    part = "train"
    if settings.corpus is not None:
        parts = {"train": "train", "dev": "validation", "test": "test"}
        part = parts[arguments.split or "dev"]
    corpus = open_corpus(settings, part)
    sources, targets = corpus.lists()
    say(f"{corpus.report()} ({', '.join(corpus.files)})")
    if not sources:
        raise ValueError("There is no pair to measure a model on.")
    translator = Translator.load(
        arguments.model, arguments.checkpoint, arguments.averaging or "linear"
    )
    batch_size = arguments.batch_size or 256
    found = _of_probabilities(translator, sources, targets, metrics, batch_size)
    signatures: dict[str, str] = {}
    width = arguments.beam_width or 1
    if arguments.outputs is not None or set(metrics) & set(TEXT_METRICS):
        distinct = list(dict.fromkeys(sources))
        decoded = translator.translate(
            distinct,
            "greedy" if width == 1 else BeamSearch(beam_width=width),
            batch_size=batch_size,
        )
        output_of = dict(zip(distinct, decoded, strict=True))
        outputs = [output_of[source] for source in sources]
        if arguments.outputs is not None:
            _write(arguments.outputs, outputs)
        vocab = translator.target_vocab
        if vocab.tokenizer.lower_case or not vocab.tokenizer.reversible:
            say("references are cut and joined, or lower-cased, as outputs are")
        joined = [vocab.normalize_reference(target) for target in targets]
        scores, signatures = _of_texts(arguments, metrics, outputs, joined, sources)
        found |= scores
    return {
        "models": list(arguments.model),
        "checkpoint": arguments.checkpoint,
        "beam_width": width,
        "pairs": len(sources),
        "sources": len(set(sources)),
        "metrics": {name: found[name] for name in metrics},
        "signatures": signatures,
    }


def _of_probabilities(
    translator: Any,
    sources: list[str],
    targets: list[str],
    metrics: list[str],
    batch_size: int,
) -> dict[str, float]:
    """Measures how a model's probabilities fit the targets."""
    wanted = [name for name in metrics if name in MODEL_METRICS]
    free = "free_running_perplexity"
    if not wanted and free not in metrics:
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
    found: dict[str, float] = {}
    if isinstance(model, Ensemble):
        value = perplexity(model, *sides, batch_size=batch_size)
        found |= {"perplexity": value, "loss": math.log(value)}
    elif wanted:
        named = ["perplexity", "token_accuracy", "sequence_accuracy"]
        model.compile(loss=MaskedCrossentropy(), weighted_metrics=named)
        logs = model.evaluate(
            validation_dataset(examples, batch_size), verbose=0, return_dict=True
        )
        found |= {name: float(logs[name]) for name in wanted}
    if free in metrics:
        found[free] = perplexity(
            model, *sides, free_running=True, batch_size=batch_size
        )
    return found


def _of_texts(
    arguments: Any,
    metrics: list[str],
    outputs: list[str],
    targets: list[str],
    sources: list[str] | None,
) -> tuple[dict[str, float], dict[str, str]]:
    """Compares outputs with targets; rows of one source are one."""
    wanted = [name for name in metrics if name in TEXT_METRICS]
    if not wanted:
        return {}, {}

    from kseq.evaluation import evaluate_texts

    found = evaluate_texts(
        outputs,
        targets,
        wanted,
        sources,
        tokenize=arguments.tokenize,
        lower_case=arguments.lower_case,
    )
    return dict(found), found.signatures


def _write(path: str, outputs: list[str]) -> None:
    from kseq.data.corpora.lines import as_line
    from kseq.storage.atomic_files import whole_file

    with whole_file(path) as temporary:
        text = "".join(f"{as_line(output)}\n" for output in outputs)
        temporary.write_text(text, "utf-8", newline="\n")
