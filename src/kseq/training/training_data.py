"""The data of a training run: reading, vocabularies, encoding."""

import dataclasses
import logging
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
from kseq.saving import load_vocabularies
from kseq.special_tokens import SPECIAL_TOKENS
from kseq.storage.model_folder import ModelFolder

log = logging.getLogger("kseq")

# Names of the splits of public corpora.
_SPLITS = {
    "cmudict": {"train": "train", "validation": "dev", "test": "test"},
    "multi30k": {"train": "train", "validation": "val", "test": "test"},
}
_TOKENIZERS = {"cmudict": ("characters", "whitespace")}


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """The data of a training run.

    Attributes:
        examples: The training data.
        validation: Source texts and target texts of the validation data.
    """

    examples: Examples | ShardedExamples
    validation: tuple[list[str], list[str]]


def open_corpus(settings: DataSettings, part: str = "train") -> Corpus:
    """Opens the data that settings specify.

    Args:
        settings: `DataSettings`.
        part: `"train"`, `"validation"` or, for a public corpus, `"test"`. Default:
            `"train"`.

    Raises:
        ValueError: If the settings specify no data, or prepared data.
        OSError: If a file is missing.
    """
    prefix = "validation_" if part == "validation" else ""
    kind = settings.validation_kind if prefix else settings.kind

    def setting(name: str) -> Any:
        return getattr(settings, f"{prefix}{name}")

    if kind == "parallel":
        return read_parallel(
            setting("source"), setting("target"), on_invalid=settings.on_invalid
        )
    if kind == "table":
        columns = [settings.source_column, settings.target_column]
        if not settings.table_header:
            columns = [_column(column) for column in columns]
        return read_table(setting("table"), *columns, header=settings.table_header)
    if kind == "ctf":
        return read_ctf(
            setting("ctf"), str(settings.source_symbols), settings.target_symbols
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
    raise ValueError(f"The prepared data in '{settings.prepared}' has no texts.")


def read_data(
    settings: DataSettings, folder: ModelFolder | None = None
) -> TrainingData:
    """Reads and encodes the data of a run, and logs a summary.

    Args:
        settings: `DataSettings`.
        folder: Model folder of a resumed run, with its vocabularies. Default: build the
            vocabularies.

    Raises:
        OSError: If a file is missing.
        ValueError: If the data is invalid.
    """
    validation = open_corpus(settings, "validation")
    texts = validation.lists()
    log.info("validation: %s (%s)", validation.report(), ", ".join(validation.files))
    if not texts[0]:
        raise ValueError("The validation data must hold a pair. Received: none.")
    if settings.kind == "prepared":
        prepared = ModelFolder(str(settings.prepared))
        vocabs = load_vocabularies(prepared)
        examples = ShardedExamples.open(prepared.path / "shards", *vocabs)
        return TrainingData(examples, texts)
    corpus = open_corpus(settings)
    vocabs = (
        build_vocabularies(settings, corpus)
        if folder is None
        else load_vocabularies(folder)
    )
    encoded, counts = encode_pairs(
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
            "longest source %d, longest target %d",
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
    return TrainingData(encoded, texts)


def build_vocabularies(
    settings: DataSettings, corpus: Corpus
) -> tuple[Vocabulary, Vocabulary]:
    """Builds the vocabularies of a corpus, or loads the ones that settings name.

    If all texts of a side are right-justified, its vocabulary gets their width. Texts
    are right-justified if the tokenizer is `"characters"`, all texts have the same
    number of characters, some begin with a space, and none ends with one.

    Args:
        settings: `DataSettings`.
        corpus: The training data. It is read several times, never into memory.

    Returns:
        The source vocabulary and the target vocabulary.
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
                "`shared_vocab` needs the same tokenizer for both sides. Received: "
                f"{names[0]!r} and {names[1]!r}."
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


def _column(column: str | None) -> Any:
    """Returns the index of a column of a table without a header."""
    if column is None:
        return None
    if not column.isdigit():
        raise ValueError(
            "A column of a table without a header must be an index from 0. Received: "
            f"{column!r}."
        )
    return int(column)
