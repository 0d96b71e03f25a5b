"""Write the data of a task or of a public corpus, or prepare a large corpus."""

import argparse
import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from kseq.cli.folders import check_new, data_settings, new_folder
from kseq.cli.parsing import Parser, UsageError, add_settings, say, usage
from kseq.cli.tensorflow_notices import load_tensorflow
from kseq.config.checks import nearest_name
from kseq.config.data import DataSettings
from kseq.storage.atomic_files import whole_file
from kseq.storage.model_folder import ModelFolder

Pairs = Iterable[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class _Made:
    """A task that makes its data: its class, and the flags' defaults."""

    help: str
    kind: str
    options: dict[str, tuple[int, str]]
    sizes: tuple[int, int, int]
    seed: int


def _symbols(symbols: int, min_length: int, max_length: int) -> dict[str, Any]:
    return {
        "symbols": (symbols, "number of different symbols"),
        "min_length": (min_length, "minimum number of symbols in a source"),
        "max_length": (max_length, "maximum number of symbols in a source"),
    }


_MADE = {
    # As Sockeye's tutorial has it.
    "copy": _Made(
        "sequences of symbols to repeat",
        "CopyTask",
        _symbols(11, 10, 30),
        (99_000, 1_000, 0),
        12,
    ),
    # As JoeyNMT's tutorial has it.
    "reverse": _Made(
        "sequences of symbols to reverse",
        "ReverseTask",
        _symbols(50, 1, 25),
        (50_000, 1_000, 1_000),
        42,
    ),
    "sort": _Made(
        "sequences of symbols to sort",
        "SortTask",
        _symbols(50, 1, 25),
        (50_000, 1_000, 1_000),
        42,
    ),
    # As Keras's example has it.
    "addition": _Made(
        "sums, character by character",
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
    "multi30k": "descriptions of pictures, German and English, from Multi30k",
}
_RECORDIO = "the files of Amazon SageMaker's seq2seq, from parallel text"
_PREPARE = "vocabularies and shards of a corpus larger than memory"
_WHAT = {
    **{name: made.help for name, made in _MADE.items()},
    **_PUBLIC,
    "recordio": _RECORDIO,
    "prepare": _PREPARE,
}
# Of `DataSettings`, what says nothing about data to prepare.
_NOT_PREPARED = (
    "validation_source",
    "validation_target",
    "validation_table",
    "validation_ctf",
    "prepared",
)


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq data WHAT -o FOLDER [OPTIONS]"
    width = max(map(len, _WHAT))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = f"{parser.description}\n\nwhat:\n" + "\n".join(
        f"  {name:{width}}  {text}" for name, text in _WHAT.items()
    )
    parser.description += "\n\n`kseq data WHAT --help` shows the options of each."


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    task = argv[0] if argv else ""
    if task not in _WHAT:
        if task.startswith("-"):
            parser.parse_args(argv)
        raise UsageError(
            f"the first argument must be one of {', '.join(_WHAT)}."
            f"{nearest_name(task, _WHAT)} Received: {task!r}."
        )
    own = parser.active = _parser_of(task)
    options = own.parse_args(argv[1:])
    if options.output is None:
        raise UsageError("-o FOLDER is required")
    if task == "prepare":
        found = _prepare(options)
        lines = [f"{name.replace('_', ' ')}: {value}" for name, value in found.items()]
    elif task == "recordio":
        found = _recordio(options)
        lines = [f"{path}: {count:,} {what}" for path, (count, what) in found.items()]
    else:
        found = {"parts": _write(task, options)}
        lines = [
            f"{part}: {each['pairs']:,} pairs in {each['source']}, {each['target']}"
            for part, each in found["parts"].items()
        ]
    print(json.dumps(found) if options.json else "\n".join(lines))
    return 0


def _parser_of(name: str) -> Parser:
    """Returns the parser of what is to be written."""
    text = _WHAT[name]
    own = Parser(f"kseq data {name}", f"Write {text}.")
    own.usage = f"kseq data {name} -o FOLDER [OPTIONS]"
    own.add_argument(
        "-o", "--output", "--out", type=str, metavar="FOLDER", help="folder to write"
    )
    own.add_argument("--overwrite", action="store_true", help="replace existing files")
    own.add_argument("--json", action="store_true", help="print the result as JSON")
    if name in _MADE:
        _add_made(own, name)
    elif name in _PUBLIC:
        _add_public(own, name)
    elif name == "recordio":
        _add_recordio(own)
    else:
        own.usage = "kseq data prepare -s FILE -t FILE -o FOLDER [OPTIONS]"
        text = "number of pairs in a shard, which must fit in memory"
        _add_integer(own, "shard_size", 100_000, text)
        short = {"source": "-s", "target": "-t"}
        add_settings(own, DataSettings, "data", short, skip=_NOT_PREPARED)
    return own


def _add_made(parser: Parser, name: str) -> None:
    made = _MADE[name]
    for option, (default, text) in made.options.items():
        _add_integer(parser, option, default, text)
    if name == "addition":
        parser.add_argument(
            "--fixed-width",
            action="store_true",
            help="pad both sides to a fixed width with spaces: easier to learn",
        )
    for part, size in zip(("train", "dev", "test"), made.sizes, strict=True):
        text = f"number of {part} pairs" + ("; 0 writes no file" * (part == "test"))
        _add_integer(parser, f"{part}_size", size, text)
    _add_integer(parser, "seed", made.seed, "seed of the random pairs")


def _add_public(parser: Parser, name: str) -> None:
    parser.aliases = {"folder": "data"}
    parser.add_argument(
        "--data",
        type=str,
        metavar="FOLDER",
        help="folder with the files of the corpus. Default: they are downloaded",
    )
    if name == "multi30k":
        parser.aliases |= {"source": "source_language", "target": "target_language"}
        for side, language in (("source", "de"), ("target", "en")):
            parser.add_argument(
                f"--{side}-language",
                type=Literal["de", "en"],
                default=language,
                help=f"de or en. Default: {language}",
            )


def _add_recordio(parser: Parser) -> None:
    parser.aliases = {"max_size": "max_vocab_size"}
    parser.usage = (
        "kseq data recordio -s FILE -t FILE -vs FILE -vt FILE -o FOLDER [OPTIONS]"
    )
    for flags, text in (
        (("-s", "--source"), "training sources, one text a line"),
        (("-t", "--target"), "training targets"),
        (("-vs", "--validation-source"), "validation sources"),
        (("-vt", "--validation-target"), "validation targets"),
        (("--source-vocab",), "source vocabulary. Default: built from the sources"),
        (("--target-vocab",), "target vocabulary. Default: built from the targets"),
    ):
        parser.add_argument(*flags, type=str, metavar="FILE", help=text)
    parser.add_argument(
        "--shared-vocab", action="store_true", help="use one vocabulary for both sides"
    )
    _add_integer(
        parser, "max_vocab_size", 50_000, "maximum number of words in a vocabulary"
    )
    _add_integer(parser, "min_frequency", 1, "minimum number of occurrences of a word")


def _add_integer(parser: Parser, name: str, default: int, text: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    text = f"{text}. Default: {default:,}"
    parser.add_argument(flag, type=int, default=default, metavar="N", help=text)


def _write(task: str, options: Any) -> dict[str, dict[str, Any]]:
    """Writes the files of a task or a corpus; returns what is in them."""
    folder = pathlib.Path(options.output)
    names = ["train", "dev", "test"]
    if task in _MADE and not options.test_size:
        names.remove("test")
    check_new(
        [path for name in names for path in _files(folder, name)], options.overwrite
    )
    parts = _made(task, options) if task in _MADE else _public(task, options)
    found: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        # All of them get their names once all are written.
        for name, pairs in parts.items():
            source, target = _files(folder, name)
            count = _write_pairs(
                pairs,
                stack.enter_context(whole_file(source)),
                stack.enter_context(whole_file(target)),
            )
            found[name] = {
                "pairs": count,
                "source": str(source),
                "target": str(target),
            }
            if hasattr(pairs, "report"):
                say(f"{name}: {pairs.report()}")
    return found


def _files(folder: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    return folder / f"{name}.source", folder / f"{name}.target"


def _write_pairs(pairs: Pairs, source: pathlib.Path, target: pathlib.Path) -> int:
    count = 0
    with (
        open(source, "w", encoding="utf-8", newline="\n") as sources,
        open(target, "w", encoding="utf-8", newline="\n") as targets,
    ):
        for left, right in pairs:
            sources.write(f"{left}\n")
            targets.write(f"{right}\n")
            count += 1
    return count


def _made(task: str, options: Any) -> dict[str, Pairs]:
    """Draws the examples of a task."""
    from kseq.data import tasks

    made = _MADE[task]
    fixed = {"fixed_width": options.fixed_width} if task == "addition" else {}
    with usage():
        problem = getattr(tasks, made.kind)(
            **{name: options[name] for name in made.options}, **fixed
        )
        sizes = [options.train_size, options.dev_size]
        test = options.test_size or None
        drawn = problem.split(*sizes, options.seed, test)
    widths = (0, 0)
    if fixed.get("fixed_width"):
        widths = (problem.source_width, problem.target_width)

    def texts(examples: Any) -> Pairs:
        sides = zip(examples.source_texts(), examples.target_texts(), strict=True)
        return [(a.rjust(widths[0]), b.rjust(widths[1])) for a, b in sides]

    return dict(zip(("train", "dev", "test"), map(texts, drawn), strict=False))


def _public(task: str, options: Any) -> dict[str, Pairs]:
    """Opens the splits of a public corpus."""
    from kseq.data import cmudict, multi30k

    if task == "cmudict":
        found = {name: cmudict(name, folder=options.data) for name in ("train", "dev")}
        try:
            found["test"] = cmudict("test", folder=options.data)
        except OSError as error:
            say(f"Without test.source and test.target: {error}")
        return dict(found)
    languages = {
        "source": options.source_language,
        "target": options.target_language,
    }
    splits = {"train": "train", "dev": "val", "test": "test"}
    with usage():
        return {
            name: multi30k(split, **languages, folder=options.data)
            for name, split in splits.items()
        }


def _recordio(options: Any) -> dict[str, tuple[int, str]]:
    """Writes the four files of a training job; returns what is in them."""
    for name in ("source", "target", "validation_source", "validation_target"):
        if options[name] is None:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} FILE is required")
    given = [options.source_vocab, options.target_vocab]
    if options.shared_vocab and any(given):
        raise UsageError("--shared-vocab builds its own, and takes no vocabulary")

    from kseq.data import Vocabulary, read_parallel
    from kseq.sagemaker import write_recordio

    folder = pathlib.Path(options.output)
    records = {
        folder / "train.rec": (options.source, options.target),
        folder / "val.rec": (options.validation_source, options.validation_target),
    }
    files = [folder / "vocab.src.json", folder / "vocab.trg.json"]
    check_new([*records, *files], options.overwrite)
    limits = {
        "min_frequency": options.min_frequency,
        "max_size": options.max_vocab_size,
        "ties": "descending",
    }
    with usage():
        sides = records[folder / "train.rec"]
        if options.shared_vocab:
            vocabs = [Vocabulary.from_files(sides, **limits)] * 2
        else:
            vocabs = [
                Vocabulary.load(file)
                if file
                else Vocabulary.from_files(texts, **limits)
                for file, texts in zip(given, sides, strict=True)
            ]
    found: dict[str, tuple[int, str]] = {}
    with contextlib.ExitStack() as stack:
        for path, texts in records.items():
            corpus = read_parallel(*texts)
            temporary = stack.enter_context(whole_file(path))
            found[str(path)] = write_recordio(corpus, temporary, *vocabs), "pairs"
            say(f"{path.name}: {corpus.report()}")
    for path, vocab in zip(files, vocabs, strict=True):
        vocab.save(path)
        found[str(path)] = len(vocab), "tokens"
    return found


def _prepare(options: Any) -> dict[str, Any]:
    """Writes what `kseq train --prepared` reads; returns what it is."""
    settings = data_settings("kseq data prepare", options)

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
        told = {k: v for k, v in settings.to_dict().items() if k not in _NOT_PREPARED}
        write_model_config(ModelFolder(temporary), *vocabs, data=told)
    return {
        "folder": str(options.output),
        "pairs": len(examples),
        "shards": examples.shards,
        "dropped": examples.counts.dropped,
        "truncated": examples.counts.truncated,
        "source_vocabulary": len(vocabs[0]),
        "target_vocabulary": len(vocabs[1]),
    }
