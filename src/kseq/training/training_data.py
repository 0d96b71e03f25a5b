"""From the data that settings tell of to ids: reading, vocabularies, encoding."""

import dataclasses
import logging
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

from kseq.config.data import DataSettings
from kseq.data import (
    Corpus,
    Examples,
    ShardedExamples,
    Vocabulary,
    cmudict,
    ctf_vocabulary,
    encode_pairs,
    multi30k,
    read_ctf,
    read_parallel,
    read_table,
)
from kseq.data.tokenizers import CharacterTokenizer
from kseq.data.tokenizers import train as train_tokenizer
from kseq.data.vocabulary_files import load_vocabulary
from kseq.special_tokens import SPECIAL_TOKENS
from kseq.storage.model_folder import ModelFolder

log = logging.getLogger("kseq")

# What a split of a public corpus is called there.
_SPLITS = {
    "cmudict": {"train": "train", "validation": "dev", "test": "test"},
    "multi30k": {"train": "train", "validation": "val", "test": "test"},
}
_TOKENIZERS = {"cmudict": ("characters", "whitespace")}


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a run trains and validates on.

    Attributes:
        examples: Ids to train on.
        validation: Source texts and target texts to validate on.
    """

    examples: Examples | ShardedExamples
    validation: tuple[list[str], list[str]]


def open_corpus(settings: DataSettings, part: str = "train") -> Corpus:
    """Returns the reader of the data that settings tell of.

    Args:
        settings: `DataSettings`.
        part: `"train"` (default), `"validation"` or, of a public corpus, `"test"`.

    Raises:
        ValueError: If settings do not tell of any.
        OSError: If a file is missing.
    """
    prefix = "validation_" if part == "validation" else ""
    kind = settings.validation_kind if prefix else settings.kind

    def of(name: str) -> Any:
        return getattr(settings, f"{prefix}{name}")

    if kind == "parallel":
        return read_parallel(of("source"), of("target"), on_invalid=settings.on_invalid)
    if kind == "table":
        columns = [settings.source_column, settings.target_column]
        if not settings.table_header:
            columns = [_column(column) for column in columns]
        return read_table(of("table"), *columns, header=settings.table_header)
    if kind == "ctf":
        return read_ctf(
            of("ctf"), str(settings.source_symbols), settings.target_symbols
        )
    if kind == "corpus":
        split = _SPLITS[str(settings.corpus)][part]
        if settings.corpus == "cmudict":
            return cmudict(split, folder=settings.data)
        return multi30k(
            split,
            source=settings.source_language or "de",
            target=settings.target_language or "en",
            folder=settings.data,
        )
    raise ValueError(f"There are no texts in prepared data, '{settings.prepared}'.")


def read_data(settings: DataSettings, place: ModelFolder | None = None) -> TrainingData:
    """Reads what a run trains and validates on, and logs what it has met.

    Args:
        settings: `DataSettings`.
        place: Folder of a run that goes on, whose vocabularies are taken. Default:
            they are built.

    Raises:
        OSError: If a file is missing.
        ValueError: If the data are not what they should be.
    """
    validation = open_corpus(settings, "validation")
    texts = validation.lists()
    log.info("validation: %s (%s)", validation.report(), ", ".join(validation.files))
    if not texts[0]:
        raise ValueError("The validation data must have a pair. Received: none.")
    if settings.kind == "prepared":
        folder = pathlib.Path(str(settings.prepared))
        home = ModelFolder(folder)
        vocabs = _saved(home)
        return TrainingData(ShardedExamples.open(folder / "shards", *vocabs), texts)
    corpus = open_corpus(settings)
    vocabs = build_vocabularies(settings, corpus) if place is None else _saved(place)
    examples, counts = encode_pairs(
        corpus,
        *vocabs,
        max_source_length=settings.max_source_length,
        max_target_length=settings.max_target_length,
        overlong=settings.overlong,
    )
    log.info("training: %s (%s)", corpus.report(), ", ".join(corpus.files))
    if counts.dropped or counts.truncated:
        log.info(
            "too long, over %d source or %d target tokens: %d dropped, %d truncated; "
            "the longest have %d and %d",
            settings.max_source_length,
            settings.max_target_length,
            counts.dropped,
            counts.truncated,
            counts.longest_source,
            counts.longest_target,
        )
    log.info("vocabularies: %d source and %d target tokens", *map(len, vocabs))
    for side, vocab in zip(("sources", "targets"), vocabs, strict=True):
        if vocab.width is not None:
            log.info("%s: right-justified to %d characters", side, vocab.width)
    return TrainingData(examples, texts)


def build_vocabularies(
    settings: DataSettings, corpus: Corpus
) -> tuple[Vocabulary, Vocabulary]:
    """Builds the vocabularies of a corpus, or loads those that settings name.

    If all texts of a side are right-justified, its vocabulary gets their width. This
    needs the tokenizer `"characters"`, texts with the same number of characters, some
    that begin with a space, and none that ends with a space.

    Args:
        settings: `DataSettings`.
        corpus: The training data; it is read several times, never into memory.

    Returns:
        Those of the sources and of the targets.
    """
    if settings.symbols_vocab:
        source = ctf_vocabulary(str(settings.source_symbols))
        if settings.target_symbols is None:
            return source, source
        return source, ctf_vocabulary(settings.target_symbols)
    defaults = _TOKENIZERS.get(str(settings.corpus), ("whitespace", "whitespace"))
    names = [
        getattr(settings, f"{side}_tokenizer") or settings.tokenizer or default
        for side, default in zip(("source", "target"), defaults, strict=True)
    ]
    limits: dict[str, Any] = {
        "min_frequency": settings.min_frequency,
        "max_size": settings.max_vocab_size,
    }

    def side(k: int) -> Iterator[str]:
        return (pair[k] for pair in corpus)

    def both() -> Iterator[str]:
        return (text for pair in corpus for text in pair)

    if settings.shared_vocab:
        if names[0] != names[1]:
            raise ValueError(
                "`shared_vocab` must be False where the sides are cut differently. "
                f"Received: {names[0]!r} and {names[1]!r}."
            )
        tokenizer = train_tokenizer(names[0], both(), settings.lower_case)
        shared = Vocabulary.build(both(), tokenizer, **limits)
        return _justified(shared, side(0)), _justified(shared, side(1))
    vocabs = []
    for k, (name, file) in enumerate(
        zip(names, (settings.source_vocab, settings.target_vocab), strict=True)
    ):
        tokenizer = train_tokenizer(name, side(k), settings.lower_case)
        vocab = (
            Vocabulary.build(side(k), tokenizer, **limits)
            if file is None
            else Vocabulary.load(file, tokenizer)
        )
        vocabs.append(_justified(vocab, side(k)))
    return vocabs[0], vocabs[1]


def _justified(vocab: Vocabulary, texts: Iterable[str]) -> Vocabulary:
    """Returns the vocabulary with a width, if all texts are right-justified to it."""
    if not isinstance(vocab.tokenizer, CharacterTokenizer) or " " not in vocab:
        return vocab
    widths: set[int] = set()
    is_padded = False
    for text in texts:
        widths.add(len(vocab.tokenizer.tokenize(text)))
        if len(widths) > 1 or text.endswith(" "):
            return vocab
        is_padded = is_padded or text.startswith(" ")
    if not is_padded:
        return vocab
    return Vocabulary(
        vocab.tokens[len(SPECIAL_TOKENS) :], vocab.tokenizer, widths.pop()
    )


def _saved(place: ModelFolder) -> tuple[Vocabulary, Vocabulary]:
    config = place.read_config()
    return (
        load_vocabulary(place.path, "source", config["source_vocab"]),
        load_vocabulary(place.path, "target", config["target_vocab"]),
    )


def _column(column: str | None) -> Any:
    """Returns a column of a table without a header: an index."""
    if column is None:
        return None
    if not column.isdigit():
        raise ValueError(
            "A column of a table without a header must be an index from 0. Received: "
            f"{column!r}."
        )
    return int(column)
