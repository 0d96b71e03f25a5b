"""Write data files: generated, downloaded, or prepared for training."""

import argparse
import contextlib
import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from kseq.cli.data_arguments import SHORT_FLAGS, read_data_settings
from kseq.cli.output_files import check_new_files, new_folder
from kseq.cli.parsing import Parser, add_settings
from kseq.cli.printing import add_json_argument, align, print_json, say
from kseq.cli.tensorflow_import import load_tensorflow
from kseq.cli.usage_errors import UsageError, as_usage_errors
from kseq.config.checks import nearest_name
from kseq.config.data import DataSettings
from kseq.storage.atomic_files import whole_file
from kseq.storage.model_folder import ModelFolder

Pairs = Iterable[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class _GeneratedTask:
    """A task that generates its data, and the defaults of its flags."""

    help: str
    class_name: str  # in `kseq.data.tasks`
    options: dict[str, tuple[int, str]]  # defaults and help texts
    sizes: tuple[int, int, int]  # of training, development and test data
    seed: int


def _symbols(symbols: int, min_length: int, max_length: int) -> dict[str, Any]:
    return {
        "symbols": (symbols, "number of distinct symbols"),
        "min_length": (min_length, "minimum number of symbols in a source"),
        "max_length": (max_length, "maximum number of symbols in a source"),
    }


_GENERATED = {
    # The defaults of Sockeye's tutorial.
    "copy": _GeneratedTask(
        "sequences of random symbols to copy",
        "CopyTask",
        _symbols(11, 10, 30),
        (99_000, 1_000, 0),
        12,
    ),
    # The defaults of JoeyNMT's tutorial.
    "reverse": _GeneratedTask(
        "sequences of random symbols to reverse",
        "ReverseTask",
        _symbols(50, 1, 25),
        (50_000, 1_000, 1_000),
        42,
    ),
    "sort": _GeneratedTask(
        "sequences of random symbols to sort",
        "SortTask",
        _symbols(50, 1, 25),
        (50_000, 1_000, 1_000),
        42,
    ),
    # The defaults of Keras's example.
    "addition": _GeneratedTask(
        "sums to compute, character by character",
        "AdditionTask",
        {
            "digits": (3, "maximum number of digits of an operand"),
            "terms": (2, "number of operands of a sum"),
        },
        (45_000, 5_000, 0),
        0,
    ),
}
_PUBLIC = {
    "cmudict": "words and their pronunciations, from CMUDict",
    "multi30k": "German and English descriptions of pictures, from Multi30k",
}
_PARTS = ("train", "dev", "test")
_DATA = {
    **{name: task.help for name, task in _GENERATED.items()},
    **_PUBLIC,
    "recordio": "the training files of Amazon SageMaker's seq2seq, from parallel text",
    "prepare": "vocabularies and shards of a corpus that does not fit in memory",
}
# The fields of `DataSettings` that `kseq data prepare` does not use.
_NOT_PREPARED = (
    *("validation_source", "validation_target", "validation_table"),
    *("validation_ctf", "prepared"),
)


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq data DATA -o FOLDER [OPTIONS]"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "\n".join(
        [
            *(str(parser.description), "", "DATA is one of:", *align(_DATA.items())),
            *("", "kseq data DATA --help shows the options."),
        ]
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    name = argv[0] if argv else ""
    if name not in _DATA:
        if name.startswith("-"):
            parser.parse_args(argv)
        raise UsageError(
            f"the first argument must be one of {', '.join(_DATA)}. "
            f"Received: {name!r}.{nearest_name(name, _DATA)}"
        )
    subparser = parser.active = _build_parser(name)
    options = subparser.parse_args(argv[1:])
    subparser.require(options, "output")
    if name == "prepare":
        result = _prepare(options)
        lines = [f"{key.replace('_', ' ')}: {value}" for key, value in result.items()]
    elif name == "recordio":
        result = _write_recordio(subparser, options)
        lines = [f"{path}: {count:,} {unit}" for path, (count, unit) in result.items()]
    else:
        result = {"parts": _write_parts(name, options)}
        lines = [
            f"{part}: {each['pairs']:,} pairs in {each['source']}, {each['target']}"
            for part, each in result["parts"].items()
        ]
    if options.json:
        print_json(result)
    else:
        print("\n".join(lines))
    return 0


def _build_parser(name: str) -> Parser:
    """Builds the parser of a kind of data."""
    parser = Parser(f"kseq data {name}", f"Write {_DATA[name]}.")
    parser.usage = f"kseq data {name} -o FOLDER [OPTIONS]"
    parser.add_argument(
        "-o", "--output", "--out", type=str, metavar="FOLDER", help="folder to write"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace existing files"
    )
    add_json_argument(parser)
    if name in _GENERATED:
        _add_task_arguments(parser, name)
    elif name in _PUBLIC:
        _add_corpus_arguments(parser, name)
    elif name == "recordio":
        _add_recordio_arguments(parser)
    else:
        parser.usage = "kseq data prepare -s FILE -t FILE -o FOLDER [OPTIONS]"
        text = "number of pairs in a shard; one shard must fit in memory"
        _add_integer(parser, "shard_size", 100_000, text)
        add_settings(parser, DataSettings, "data", SHORT_FLAGS, skip=_NOT_PREPARED)
    return parser


def _add_task_arguments(parser: Parser, name: str) -> None:
    task = _GENERATED[name]
    for option, (default, text) in task.options.items():
        _add_integer(parser, option, default, text)
    if name == "addition":
        parser.add_argument(
            "--fixed-width",
            action="store_true",
            help="pad both sides to a fixed width with spaces; easier to learn",
        )
    texts = ("training pairs", "development pairs", "test pairs; 0 writes no file")
    for part, size, text in zip(_PARTS, task.sizes, texts, strict=True):
        _add_integer(parser, f"{part}_size", size, f"number of {text}")
    _add_integer(parser, "seed", task.seed, "seed of the random pairs")


def _add_corpus_arguments(parser: Parser, name: str) -> None:
    parser.aliases = {"folder": "data"}
    parser.add_argument(
        "--data",
        type=str,
        metavar="FOLDER",
        help="folder with the files of the corpus. Default: download them",
    )
    if name == "multi30k":
        parser.aliases |= {"source": "source_language", "target": "target_language"}
        for side, language in (("source", "de"), ("target", "en")):
            parser.add_argument(
                f"--{side}-language",
                type=Literal["de", "en"],
                default=language,
                help=f"language of the {side}s",
            )


def _add_recordio_arguments(parser: Parser) -> None:
    parser.aliases = {"max_size": "max_vocab_size"}
    parser.usage = (
        "kseq data recordio -s FILE -t FILE -vs FILE -vt FILE -o FOLDER [OPTIONS]"
    )
    for flags, text in (
        (("-s", "--source"), "file of training sources, one text per line"),
        (("-t", "--target"), "file of training targets, one for each source"),
        (("-vs", "--validation-source"), "file of validation sources"),
        (("-vt", "--validation-target"), "file of validation targets"),
        (("--source-vocab",), "source vocabulary. Default: built from the sources"),
        (("--target-vocab",), "target vocabulary. Default: built from the targets"),
    ):
        parser.add_argument(*flags, type=str, metavar="FILE", help=text)
    parser.add_argument(
        "--shared-vocab",
        action="store_true",
        help="build one vocabulary for both sides",
    )
    _add_integer(
        parser, "max_vocab_size", 50_000, "maximum number of words in a vocabulary"
    )
    _add_integer(parser, "min_frequency", 1, "minimum number of occurrences of a word")


def _add_integer(parser: Parser, name: str, default: int, text: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    parser.add_argument(flag, type=int, default=default, help=text)


def _write_parts(name: str, options: Any) -> dict[str, dict[str, Any]]:
    """Writes the files of a task or a corpus. Returns the contents of each part."""
    folder = pathlib.Path(options.output)
    is_generated = name in _GENERATED
    parts = _PARTS[:2] if is_generated and not options.test_size else _PARTS
    paths = [path for part in parts for path in _part_files(folder, part)]
    check_new_files(paths, options.overwrite)
    if is_generated:
        corpora = _generate(_GENERATED[name], options)
    else:
        corpora = _open_corpora(name, options)
    result: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        # The files appear when all of them are complete.
        for part, pairs in corpora.items():
            source, target = _part_files(folder, part)
            count = _write_pairs(
                pairs,
                stack.enter_context(whole_file(source)),
                stack.enter_context(whole_file(target)),
            )
            result[part] = {
                "pairs": count,
                "source": str(source),
                "target": str(target),
            }
            if hasattr(pairs, "report"):
                say(f"{part}: {pairs.report()}")
    return result


def _part_files(folder: pathlib.Path, part: str) -> tuple[pathlib.Path, pathlib.Path]:
    return folder / f"{part}.source", folder / f"{part}.target"


def _write_pairs(pairs: Pairs, source: pathlib.Path, target: pathlib.Path) -> int:
    count = 0
    with (
        open(source, "w", encoding="utf-8", newline="\n") as sources,
        open(target, "w", encoding="utf-8", newline="\n") as targets,
    ):
        for source_text, target_text in pairs:
            sources.write(f"{source_text}\n")
            targets.write(f"{target_text}\n")
            count += 1
    return count


def _generate(generated: _GeneratedTask, options: Any) -> dict[str, Pairs]:
    """Generates the pairs of each part."""
    from kseq.data import tasks

    names = list(generated.options)
    names += ["fixed_width"] if "fixed_width" in options else []
    with as_usage_errors():
        task = getattr(tasks, generated.class_name)(
            **{name: options[name] for name in names}
        )
        sizes = [options.train_size, options.dev_size]
        splits = task.split(*sizes, options.seed, options.test_size or None)
    widths = (0, 0)
    if "fixed_width" in options and options.fixed_width:
        widths = (task.source_width, task.target_width)

    def texts(examples: Any) -> Pairs:
        sides = zip(examples.source_texts(), examples.target_texts(), strict=True)
        return [(a.rjust(widths[0]), b.rjust(widths[1])) for a, b in sides]

    return dict(zip(_PARTS, map(texts, splits), strict=False))


def _open_corpora(name: str, options: Any) -> dict[str, Pairs]:
    """Opens the parts of a public corpus."""
    from kseq.data import cmudict, multi30k

    if name == "cmudict":
        parts = {part: cmudict(part, folder=options.data) for part in _PARTS[:2]}
        try:
            parts["test"] = cmudict("test", folder=options.data)
        except OSError as error:
            say(f"test.source and test.target are not written: {error}")
        return dict(parts)
    languages = {"source": options.source_language, "target": options.target_language}
    splits = {"train": "train", "dev": "val", "test": "test"}
    with as_usage_errors():
        return {
            part: multi30k(split, **languages, folder=options.data)
            for part, split in splits.items()
        }


def _write_recordio(parser: Parser, options: Any) -> dict[str, tuple[int, str]]:
    """Writes the four files of a training job. Returns the size of each."""
    parser.require(
        options, "source", "target", "validation_source", "validation_target"
    )
    vocab_files = [options.source_vocab, options.target_vocab]
    if options.shared_vocab and any(vocab_files):
        raise UsageError("use --shared-vocab, or --source-vocab and --target-vocab")

    from kseq.data import Vocabulary, read_parallel
    from kseq.sagemaker import write_recordio

    folder = pathlib.Path(options.output)
    records = {
        folder / "train.rec": (options.source, options.target),
        folder / "val.rec": (options.validation_source, options.validation_target),
    }
    files = [folder / "vocab.src.json", folder / "vocab.trg.json"]
    check_new_files([*records, *files], options.overwrite)
    limits = {
        "min_frequency": options.min_frequency,
        "max_size": options.max_vocab_size,
        "ties": "descending",
    }
    with as_usage_errors():
        sides = records[folder / "train.rec"]
        if options.shared_vocab:
            vocabs = [Vocabulary.from_files(sides, **limits)] * 2
        else:
            vocabs = [
                Vocabulary.load(file)
                if file
                else Vocabulary.from_files(texts, **limits)
                for file, texts in zip(vocab_files, sides, strict=True)
            ]
    sizes: dict[str, tuple[int, str]] = {}
    with contextlib.ExitStack() as stack:
        for path, texts in records.items():
            corpus = read_parallel(*texts)
            temporary = stack.enter_context(whole_file(path))
            sizes[str(path)] = write_recordio(corpus, temporary, *vocabs), "pairs"
            say(f"{path.name}: {corpus.report()}")
    for path, vocab in zip(files, vocabs, strict=True):
        vocab.save(path)
        sizes[str(path)] = len(vocab), "tokens"
    return sizes


def _prepare(options: Any) -> dict[str, Any]:
    """Writes a folder for `kseq train --prepared`. Returns its sizes."""
    settings = read_data_settings(options)

    from kseq.data import write_shards

    load_tensorflow()
    from kseq.saving import write_model_config
    from kseq.training.training_data import build_vocabularies, open_corpus

    with new_folder(options.output, options.overwrite) as temporary:
        corpus = open_corpus(settings)
        vocabs = build_vocabularies(settings, corpus)
        examples = write_shards(
            corpus,
            temporary / "shards",
            *vocabs,
            shard_size=options.shard_size,
            max_source_length=settings.max_source_length,
            max_target_length=settings.max_target_length,
            overlong=settings.overlong,
        )
        say(f"{corpus.report()} ({', '.join(corpus.files)})")
        plain = settings.to_dict()
        data = {name: plain[name] for name in plain if name not in _NOT_PREPARED}
        write_model_config(ModelFolder(temporary), *vocabs, data=data)
    return {
        "folder": str(options.output),
        "pairs": len(examples),
        "shards": examples.shards,
        "dropped": examples.counts.dropped,
        "truncated": examples.counts.truncated,
        "source_vocabulary": len(vocabs[0]),
        "target_vocabulary": len(vocabs[1]),
    }
