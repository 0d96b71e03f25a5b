"""The data of a training run and their tokenization, as one validated dataclass."""

import dataclasses
import functools
from typing import Any, Literal

from kseq.config.fields import as_plain_dict, check_fields, field

# Files whose content a resumed run compares, not their paths. Each run reads these:
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
# Only a new run reads these:
START_FILES = (
    "source_vocab",
    "target_vocab",
    "parameters",
    "source_embeddings",
    "target_embeddings",
)

_TABLES = ("table", "validation_table")
_CTFS = ("ctf", "validation_ctf")
_MULTI30K = {"corpus": ("multi30k",)}
# Prepared data are tokenized already; the symbols of a CTF file are its tokens.
_token_field = functools.partial(field, without=("prepared", "symbols_vocab"))
_length_field = functools.partial(field, minimum=1, without=("prepared",))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The data of a training run, and their tokenization.

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
        table_header: Whether the first row of a table names the columns. Default: True.
        ctf: File in CNTK's text format.
        validation_ctf: File in CNTK's text format to validate on.
        source_symbols: File with the source symbols of a CTF file, one a line.
        target_symbols: File with the target symbols of a CTF file. Default: the source
            symbols.
        symbols_vocab: Make the vocabularies from `source_symbols` and
            `target_symbols`, with all symbols (see `kseq.data.ctf_vocabulary`).
            Default: False: from the training data.
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
        lower_case: Convert texts to lower case. Default: False.
        source_vocab: File of the source vocabulary, JSON. Default: built from the
            training data.
        target_vocab: File of the target vocabulary, JSON. Default: built from the
            training data.
        shared_vocab: Build one vocabulary for both sides. Default: False.
        min_frequency: Minimum number of occurrences of a token in the training data.
            Default: 1.
        max_vocab_size: Maximum number of tokens in a vocabulary, without the special
            ones. Default: no limit.
        max_source_length: Maximum number of source tokens. Default: 100.
        max_target_length: Maximum number of target tokens. Default: 100.
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
    source_column: str | None = field(None, needs=_TABLES)
    target_column: str | None = field(None, needs=_TABLES)
    table_header: bool = field(True, needs=_TABLES)
    ctf: str | None = None
    validation_ctf: str | None = None
    source_symbols: str | None = field(None, needs=_CTFS, required=True)
    target_symbols: str | None = field(None, needs=_CTFS)
    symbols_vocab: bool = field(False, needs="ctf")
    corpus: Literal["cmudict", "multi30k"] | None = None
    data: str | None = field(None, needs="corpus")
    source_language: str | None = field(None, needs=_MULTI30K)
    target_language: str | None = field(None, needs=_MULTI30K)
    prepared: str | None = None
    tokenizer: str | None = _token_field(None)
    source_tokenizer: str | None = _token_field(None)
    target_tokenizer: str | None = _token_field(None)
    lower_case: bool = _token_field(False)
    source_vocab: str | None = _token_field(None)
    target_vocab: str | None = _token_field(None)
    shared_vocab: bool = _token_field(False)
    min_frequency: int = _token_field(1, minimum=1)
    max_vocab_size: int | None = _token_field(None, minimum=1)
    max_source_length: int = _length_field(100)
    max_target_length: int = _length_field(100)
    overlong: Literal["drop", "truncate"] = field("drop", without=("prepared",))
    on_invalid: Literal["error", "skip"] = field(
        "error", needs=("source", "validation_source")
    )

    def __post_init__(self) -> None:
        check_fields(self)
        for prefix in ("", "validation_"):
            sides = [getattr(self, f"{prefix}{side}") for side in ("source", "target")]
            if bool(sides[0]) != bool(sides[1]):
                raise ValueError(
                    f"`{prefix}source` and `{prefix}target` must be passed together. "
                    "Received: one of them."
                )
        if self.source_vocab and self.target_vocab:
            defaults = {"min_frequency": 1, "max_vocab_size": None}
            for name, default in defaults.items():
                if getattr(self, name) != default:
                    raise ValueError(
                        f"`{name}` must be left out with `source_vocab` and "
                        f"`target_vocab`. Received: {getattr(self, name)}."
                    )
        if self.shared_vocab and (self.source_vocab or self.target_vocab):
            raise ValueError(
                "`shared_vocab` must be False with `source_vocab` or `target_vocab`. "
                "Received: True. To share a vocabulary file, pass it as both."
            )

    @property
    def kind(self) -> str:
        """Kind of the training data: parallel, table, ctf, corpus or prepared."""
        return self._kind("")

    @property
    def validation_kind(self) -> str:
        """Kind of the validation data: parallel, table, ctf or corpus."""
        return self._kind("validation_")

    def _kind(self, prefix: str) -> str:
        values = {
            "parallel": getattr(self, f"{prefix}source")
            or getattr(self, f"{prefix}target"),
            "table": getattr(self, f"{prefix}table"),
            "ctf": getattr(self, f"{prefix}ctf"),
        }
        kinds = [kind for kind, value in values.items() if value]
        if not prefix:
            kinds += [k for k in ("corpus", "prepared") if getattr(self, k)]
        elif not kinds and self.corpus:
            kinds = ["corpus"]
        if len(kinds) != 1:
            valid = [f"`{prefix}source` and `{prefix}target`"]
            valid += [f"`{prefix}table`", f"`{prefix}ctf`", "`corpus`"]
            valid += [] if prefix else ["`prepared`"]
            raise ValueError(
                f"Specify the {'validation' if prefix else 'training'} data with one "
                f"of {', '.join(valid)}. Received: {', '.join(kinds) or 'none'}."
            )
        return kinds[0]

    def to_dict(self) -> dict[str, Any]:
        """Returns every setting as a value that JSON and YAML can hold."""
        return as_plain_dict(self)
