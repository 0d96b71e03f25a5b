"""The data of a training run, and how they are tokenized."""

import dataclasses
from typing import Any, Literal

from kseq.config.fields import as_plain_dict, check_types

# Of these a resumed run compares the content, not the path. The data, read each time:
DATA_FILES = (
    "source",
    "target",
    "validation_source",
    "validation_target",
    "table",
    "validation_table",
    "ctf",
    "validation_ctf",
    "source_symbols",
    "target_symbols",
    "data",
    "prepared",
)
# And what is read only when a run begins.
START_FILES = (
    "source_vocab",
    "target_vocab",
    "parameters",
    "source_embeddings",
    "target_embeddings",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The data of a training run, and how they are tokenized.

    Specify the training data with one of: parallel text (`source` and `target`),
    `table`, `ctf`, `corpus`, or `prepared`, a folder of `kseq data prepare`. Specify
    the validation data in the same way.

    Args:
        source: Files of source texts, one text a line, also `.gz`.
        target: Files of target texts, one for each source.
        validation_source: Files of source texts to validate on.
        validation_target: Files of target texts to validate on.
        table: File of a CSV or TSV table with sources and targets in columns.
        validation_table: File of a table to validate on.
        source_column: Name of the source column, or its index from 0 in a table without
            a header. Default: `"source"`, or 0.
        target_column: Name or index of the target column. Default: `"target"`, or 1.
        table_header: Whether the first row of a table names the columns. Default True.
        ctf: File in CNTK's text format.
        validation_ctf: File in CNTK's text format to validate on.
        source_symbols: File with the source symbols of a CTF file, one a line.
        target_symbols: File with the target symbols of a CTF file. Default: the source
            symbols.
        symbols_vocab: Make the vocabularies from `source_symbols` and
            `target_symbols`, with all symbols (see `kseq.data.ctf_vocabulary`).
            Default False: from the training data.
        corpus: Public corpus, `"cmudict"` or `"multi30k"`. It is downloaded, or read
            from `data`.
        data: Folder with the files of `corpus`. Default: they are downloaded.
        source_language: Source language of `"multi30k"`, `"de"` (default) or `"en"`.
        target_language: Target language of `"multi30k"`, `"en"` (default) or `"de"`.
        prepared: Folder of `kseq data prepare`, for corpora larger than memory. The
            validation data come from files.
        tokenizer: Tokenizer of both sides: `"whitespace"` (default), `"characters"`,
            `"spacy:LANGUAGE"`, `"moses:LANGUAGE"`, `"sentencepiece:SIZE"` or
            `"bpe:SIZE"`. (The default of `"cmudict"` is characters and whitespace.)
        source_tokenizer: Tokenizer of the sources. Default: `tokenizer`.
        target_tokenizer: Tokenizer of the targets. Default: `tokenizer`.
        lower_case: Convert texts to lower case. Default False.
        source_vocab: File of the source vocabulary, JSON. Default: built from the
            training data.
        target_vocab: File of the target vocabulary, JSON. Default: built from the
            training data.
        shared_vocab: Build one vocabulary for both sides. Default False.
        min_frequency: Minimum number of occurrences of a token in the training data.
            Default 1.
        max_vocab_size: Maximum number of tokens in a vocabulary, without the special
            ones. Default: no limit.
        max_source_length: Maximum number of source tokens. Default 100.
        max_target_length: Maximum number of target tokens. Default 100.
        overlong: Longer training pairs: `"drop"` (default) or `"truncate"`.
        on_invalid: Lines that are not UTF-8: `"error"` (default) or `"skip"`.

    Raises:
        ValueError: If a value is out of range or unknown, or the data are missing,
            or specified twice.
        TypeError: If a value has the wrong type.

    Example:
        >>> from kseq.config.data import DataSettings
        >>> DataSettings(source=["train.de"], target=["train.en"]).kind
        'parallel'
    """

    source: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    validation_source: tuple[str, ...] = ()
    validation_target: tuple[str, ...] = ()
    table: str | None = None
    validation_table: str | None = None
    source_column: str | None = None
    target_column: str | None = None
    table_header: bool = True
    ctf: str | None = None
    validation_ctf: str | None = None
    source_symbols: str | None = None
    target_symbols: str | None = None
    symbols_vocab: bool = False
    corpus: Literal["cmudict", "multi30k"] | None = None
    data: str | None = None
    source_language: str | None = None
    target_language: str | None = None
    prepared: str | None = None
    tokenizer: str | None = None
    source_tokenizer: str | None = None
    target_tokenizer: str | None = None
    lower_case: bool = False
    source_vocab: str | None = None
    target_vocab: str | None = None
    shared_vocab: bool = False
    min_frequency: int = 1
    max_vocab_size: int | None = None
    max_source_length: int = 100
    max_target_length: int = 100
    overlong: Literal["drop", "truncate"] = "drop"
    on_invalid: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        check_types(self)
        for name in (
            "min_frequency",
            "max_vocab_size",
            "max_source_length",
            "max_target_length",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {value}.")
        self._check_pairs()

    @property
    def kind(self) -> str:
        """Which data it is: parallel, table, ctf, corpus or prepared."""
        return self._kind("")

    @property
    def validation_kind(self) -> str:
        """Which data it is validated on: parallel, table, ctf or corpus."""
        return self._kind("validation_")

    def _kind(self, prefix: str) -> str:
        told = {
            "parallel": getattr(self, f"{prefix}source")
            or getattr(self, f"{prefix}target"),
            "table": getattr(self, f"{prefix}table"),
            "ctf": getattr(self, f"{prefix}ctf"),
        }
        kinds = [kind for kind, value in told.items() if value]
        if not prefix:
            kinds += [k for k in ("corpus", "prepared") if getattr(self, k)]
        elif not kinds and self.corpus:
            kinds = ["corpus"]
        if len(kinds) != 1:
            choices = [f"`{prefix}source` and `{prefix}target`"]
            choices += [f"`{prefix}table`", f"`{prefix}ctf`", "`corpus`"]
            choices += [] if prefix else ["`prepared`"]
            raise ValueError(
                f"The {'validation' if prefix else 'training'} data must be given by "
                f"one of {', '.join(choices)}. Received: {', '.join(kinds) or 'none'}."
            )
        return kinds[0]

    def _check_pairs(self) -> None:
        """Refuses what would have no effect, and halves."""
        for prefix in ("", "validation_"):
            sides = [getattr(self, f"{prefix}{side}") for side in ("source", "target")]
            if bool(sides[0]) != bool(sides[1]):
                raise ValueError(
                    f"`{prefix}source` and `{prefix}target` go together. Received one "
                    "of them."
                )
        tables = self.table or self.validation_table
        ctfs = self.ctf or self.validation_ctf
        needs = {
            "source_column": (tables, "`table`"),
            "target_column": (tables, "`table`"),
            "source_symbols": (ctfs, "`ctf`"),
            "target_symbols": (ctfs, "`ctf`"),
            "data": (self.corpus, "`corpus`"),
            "source_language": (self.corpus == "multi30k", "corpus='multi30k'"),
            "target_language": (self.corpus == "multi30k", "corpus='multi30k'"),
        }
        for name, (effective, need) in needs.items():
            if getattr(self, name) is not None and not effective:
                raise ValueError(
                    f"`{name}` needs {need}. Received: {getattr(self, name)!r}."
                )
        if not self.table_header and not tables:
            raise ValueError("`table_header` needs `table`. Received: False.")
        if ctfs and not self.source_symbols:
            raise ValueError("`ctf` needs `source_symbols`, the symbols by index.")
        if self.symbols_vocab and not self.ctf:
            raise ValueError("`symbols_vocab` needs `ctf`. Received: True.")
        self._check_vocabularies()

    def _check_vocabularies(self) -> None:
        """Refuses choices of tokens where these are given already."""
        given = [
            field.name
            for field in dataclasses.fields(self)
            if field.name in _OF_TEXTS and getattr(self, field.name) != field.default
        ]
        if self.prepared and given:
            raise ValueError(
                f"`{given[0]}` must be left out with `prepared`, whose texts are ids "
                f"already. Received: {getattr(self, given[0])!r}."
            )
        for name in _OF_VOCABULARIES:
            if self.symbols_vocab and name in given:
                raise ValueError(
                    f"`{name}` must be left out with `symbols_vocab`, whose symbols "
                    f"are the tokens. Received: {getattr(self, name)!r}."
                )
        for name in ("min_frequency", "max_vocab_size"):
            if self.source_vocab and self.target_vocab and name in given:
                raise ValueError(
                    f"`{name}` must be left out where both vocabularies are given. "
                    f"Received: {getattr(self, name)}."
                )
        if self.on_invalid != "error" and not self.source + self.validation_source:
            raise ValueError(
                "`on_invalid` needs `source` and `target`, lines of text. Received: "
                f"{self.on_invalid!r}."
            )
        if self.shared_vocab and (self.source_vocab or self.target_vocab):
            raise ValueError(
                "`shared_vocab` must be False where a vocabulary is given; to share "
                "it, give it as both `source_vocab` and `target_vocab`."
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns every setting, as JSON and YAML can hold it."""
        return as_plain_dict(self)


# Settings that have no effect with `symbols_vocab`.
_OF_VOCABULARIES = (
    "tokenizer",
    "source_tokenizer",
    "target_tokenizer",
    "lower_case",
    "source_vocab",
    "target_vocab",
    "shared_vocab",
    "min_frequency",
    "max_vocab_size",
)
# Settings that have no effect with `prepared`.
_OF_TEXTS = (
    *_OF_VOCABULARIES,
    "max_source_length",
    "max_target_length",
    "overlong",
)
