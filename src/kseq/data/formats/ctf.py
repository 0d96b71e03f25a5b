r"""CTF, the text format of CNTK: sequences of one-hot vectors, one step per line.

A line is `id|name index:1|name index:1|# comment`, separated by spaces or tabs.
Consecutive lines with the same id are one sequence. Each stream has one symbol per
line; the shorter stream has none in the last lines. The symbols are in a mapping file,
one per line: index 0 is the first line. As in CNTK, a line without an id belongs to the
sequence before it, an id must not come back later, and if the first line has no id,
every line is a sequence.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from kseq.config.checks import check_boolean, check_texts
from kseq.data.corpora.corpus import Corpus, Reading
from kseq.data.corpora.lines import Path, check_files, decode_line, read_lines
from kseq.data.vocabulary import Vocabulary
from kseq.special_tokens import END_TOKEN, SPECIAL_TOKENS, START_TOKEN
from kseq.storage.atomic_files import whole_file

Symbols = Path | Iterable[str]

_SAMPLE = re.compile(r"([0-9]+):([^\s:]+)")
_NAME = re.compile(r"[^\s|#][^\s|]*")


def read_ctf(
    path: Path,
    source_symbols: Symbols,
    target_symbols: Symbols | None = None,
    *,
    source_stream: str = "S0",
    target_stream: str = "S1",
) -> Corpus:
    r"""Reads pairs of sequences from a file in CNTK's text format.

    A text consists of the symbols of one stream, separated by spaces. The symbols come
    from the indexes; comments are ignored. `<s>` and `</s>` are left out, because
    vocabularies add them.

    Args:
        path: str or path of the file, gzipped if its name ends in `.gz`.
        source_symbols: path of the mapping file, with one symbol per line, or list of
            str.
        target_symbols: the same for the targets. Default: None, `source_symbols`.
        source_stream: str, the stream of the sources. Default: `"S0"`.
        target_stream: str, the stream of the targets. Default: `"S1"`.

    Returns:
        A `Corpus`. A pass raises ValueError if the file is not valid; the message names
        the file and the line. Other streams are ignored. All ids of the file are held
        in memory, to detect an id that comes back.

    Raises:
        TypeError: if an argument has the wrong type.
        OSError: if a file does not exist or is a folder.
        ValueError: if a symbol is empty, repeated or contains white space, or if both
            streams are the same.

    Example:
        >>> from pathlib import Path
        >>> from kseq.data import read_ctf
        >>> _ = Path("tiny.ctf").write_text(
        ...     "7 |S0 1:1 |S1 2:1\n7 |S0 0:1 |# a longer source\n"
        ... )
        >>> list(read_ctf("tiny.ctf", ["A", "B", "~B"]))
        [('B A', '~B')]

    Reference:
        [CNTKTextFormatReader](https://learn.microsoft.com/en-us/previous-versions/cognitive-toolkit/brainscript-cntktextformat-reader)
    """
    (file,) = check_files("path", path)
    tables = [_check_symbols("source_symbols", source_symbols)]
    files = [file, *_files(source_symbols)]
    if target_symbols is None:
        tables.append(tables[0])
    else:
        tables.append(_check_symbols("target_symbols", target_symbols))
        files += _files(target_symbols)
    streams = _check_streams(source_stream, target_stream)

    def read(reading: Reading) -> Iterator[tuple[str, str]]:
        sides: tuple[list[str], list[str]] = ([], [])
        names: set[str] = set()
        started = False
        for number, is_new, samples in _lines(reading, file):
            if is_new and started:
                yield " ".join(sides[0]), " ".join(sides[1])
                sides = ([], [])
            started = True
            names.update(samples)
            for side, table, stream in zip(sides, tables, streams, strict=True):
                if stream in samples:
                    symbol = _symbol(file, number, stream, samples[stream], table)
                    if symbol not in (START_TOKEN, END_TOKEN):
                        side.append(symbol)
        if started:
            yield " ".join(sides[0]), " ".join(sides[1])
        for name, stream in zip(("source", "target"), streams, strict=True):
            if started and stream not in names:
                raise ValueError(
                    f"`{name}_stream` must be a stream of {file}. Received: "
                    f"{stream!r}; the file has {', '.join(sorted(names)) or 'none'}."
                )

    return Corpus(read, files)


def ctf_vocabulary(symbols: Symbols) -> Vocabulary:
    """Returns a vocabulary of all symbols of a CTF mapping file.

    The special tokens keep their ids: `<pad>` 0, `<unk>` 1, `<s>` 2 and `</s>` 3, also
    if the mapping file contains them. The other symbols have the ids from 4 on, in the
    order of the file: CNTK's index k becomes k + 4, minus the number of special tokens
    before it.

    Args:
        symbols: path of the mapping file, one symbol per line, or list of str.

    Returns:
        A `Vocabulary` with the `"whitespace"` tokenizer, for the texts of `read_ctf`.

    Raises:
        TypeError: if `symbols` is neither a path nor a list of str.
        OSError: if the file cannot be read.
        ValueError: if a symbol is empty, repeated or contains white space.

    Example:
        >>> from kseq.data import ctf_vocabulary
        >>> vocab = ctf_vocabulary(["'", "</s>", "<s>", "A", "~AA"])
        >>> vocab.tokens
        ('<pad>', '<unk>', '<s>', '</s>', "'", 'A', '~AA')
        >>> vocab.encode(["A ~AA"])
        array([[5, 6, 3]], dtype=int32)
    """
    table = _check_symbols("symbols", symbols)
    return Vocabulary([symbol for symbol in table if symbol not in SPECIAL_TOKENS])


def write_ctf(
    pairs: Corpus | Iterable[tuple[str, str]],
    path: Path,
    source_symbols: Symbols,
    target_symbols: Symbols | None = None,
    *,
    source_stream: str = "S0",
    target_stream: str = "S1",
    boundaries: bool = True,
) -> None:
    r"""Writes pairs of sequences as a file in CNTK's text format.

    Ids count from 0. Each index is followed by its symbol as a comment. The file is
    written completely or not at all.

    Args:
        pairs: `Corpus` or iterable of pairs of str, symbols separated by white space.
        path: str or path, the file to write, gzipped if its name ends in `.gz`. An
            existing file is replaced.
        source_symbols: path of the mapping file, with one symbol per line, or list of
            str.
        target_symbols: the same for the targets. Default: None, `source_symbols`.
        source_stream: str, the stream of the sources. Default: `"S0"`.
        target_stream: str, the stream of the targets. Default: `"S1"`.
        boundaries: bool, whether to write `<s>` and `</s>` around each sequence, as
            CNTK's models expect. Both must be among the symbols. Default: True.

    Raises:
        TypeError: if an argument has the wrong type.
        OSError: if the file cannot be written.
        ValueError: if a pair has an empty side or an unknown symbol.

    Example:
        >>> from pathlib import Path
        >>> from kseq.data import write_ctf
        >>> write_ctf([("B A", "~B")], "tiny.ctf", ["A", "B", "~B"], boundaries=False)
        >>> print(Path("tiny.ctf").read_text().expandtabs(4))
        0   |S0 1:1 |# B    |S1 2:1 |# ~B
        0   |S0 0:1 |# A
    """
    sources = _check_symbols("source_symbols", source_symbols)
    targets = sources
    if target_symbols is not None:
        targets = _check_symbols("target_symbols", target_symbols)
    names = {"source": sources, "target": targets}
    streams = _check_streams(source_stream, target_stream)
    if check_boolean("boundaries", boundaries):
        for name, symbols in names.items():
            if not {START_TOKEN, END_TOKEN} <= set(symbols):
                raise ValueError(
                    f"`{name}_symbols` must contain {START_TOKEN!r} and {END_TOKEN!r} "
                    "if boundaries are written. Received: neither or one; add them, "
                    "or pass boundaries=False."
                )
    indexes = [
        {symbol: index for index, symbol in enumerate(symbols)}
        for symbols in names.values()
    ]
    path = os.fspath(path)
    with whole_file(path) as temporary, _open_new(str(temporary)) as file:
        for number, pair in enumerate(pairs):
            sides = []
            for name, text, table in zip(names, pair, indexes, strict=True):
                symbols = _check_text(name, number, text, table)
                if boundaries:
                    symbols = [START_TOKEN, *symbols, END_TOKEN]
                sides.append([(table[symbol], symbol) for symbol in symbols])
            for step in range(max(map(len, sides))):
                samples = [
                    # In a comment, a hash must follow a pipe, or the comment would end.
                    "|{} {}:1 |# {}".format(stream, index, symbol.replace("|", "|#"))
                    for stream, side in zip(streams, sides, strict=True)
                    for index, symbol in side[step : step + 1]
                ]
                file.write("\t".join([str(number), *samples]).encode() + b"\n")


def _lines(reading: Reading, file: str) -> Iterator[tuple[int, bool, dict[str, str]]]:
    """Reads lines: number, whether a sequence starts, and values by stream."""
    ids: set[int] = set()
    current: int | None = None
    has_ids: bool | None = None
    for number, line in enumerate(reading.lines(file), 1):
        text = decode_line(line, file, number)
        if not text.strip():
            continue
        prefix, *fields = text.split("|")
        prefix = prefix.strip()
        if prefix and not (prefix.isascii() and prefix.isdigit()):
            raise ValueError(
                f"{file}, line {number}: must start with the id of a sequence, an "
                f"integer, or with a pipe. Received: {prefix!r}."
            )
        if has_ids is None:
            has_ids = bool(prefix)
        is_new = not has_ids
        if has_ids and prefix and int(prefix) != current:
            current, is_new = int(prefix), True
            if current in ids:
                raise ValueError(
                    f"{file}, line {number}: the sequence {current} comes back after "
                    "another one; the lines of a sequence must be consecutive."
                )
            ids.add(current)
        yield number, is_new, _samples(file, number, fields)


def _samples(file: str, number: int, fields: list[str]) -> dict[str, str]:
    """Returns the values by stream, from the fields between the pipes."""
    samples: dict[str, str] = {}
    for field in fields:
        if field.startswith("#"):  # a comment, or its rest after a pipe
            continue
        name, _, values = field.replace("\t", " ").partition(" ")
        if not name or name in samples:
            raise ValueError(
                f"{file}, line {number}: each pipe must be followed by the name of a "
                f"stream, once per line. Received: {'|' + field!r}."
            )
        samples[name] = values.strip()
    return samples


def _symbol(file: str, number: int, stream: str, values: str, table: list[str]) -> str:
    """Returns the symbol of a one-hot sample."""
    match = _SAMPLE.fullmatch(values)
    if not match or not _is_one(match[2]):
        raise ValueError(
            f"{file}, line {number}: the stream {stream} must be one-hot, such as "
            f"'12:1'. Received: {values!r}."
        )
    index = int(match[1])
    if index >= len(table):
        raise ValueError(
            f"{file}, line {number}: the stream {stream} must have indexes in "
            f"0..{len(table) - 1}, one per symbol. Received: {index}."
        )
    return table[index]


def _is_one(value: str) -> bool:
    try:
        return float(value) == 1
    except ValueError:
        return False


def _check_text(name: str, number: int, text: Any, table: dict[str, int]) -> list[str]:
    """Returns the symbols of a text, or raises an error."""
    if not isinstance(text, str):
        raise TypeError(
            f"`pairs` must consist of two strings each. Received: {name} {number}, "
            f"{text!r} of type {type(text).__name__}."
        )
    symbols = text.split()
    if not symbols:
        raise ValueError(f"`pairs` must not be empty. Received: {name} {number}, ''.")
    for symbol in symbols:
        if symbol in (START_TOKEN, END_TOKEN):
            raise ValueError(
                f"`pairs` must not contain {symbol!r}, a boundary of sequences. "
                f"Received: {name} {number}, {text!r}."
            )
        if symbol not in table:
            raise ValueError(
                f"`pairs` must only contain symbols of `{name}_symbols`. Received: "
                f"{symbol!r} in {name} {number}, {text!r}."
            )
    return symbols


@contextlib.contextmanager
def _open_new(path: str) -> Iterator[BinaryIO]:
    """Opens a file for writing, gzipped if its name ends in `.gz`."""
    with open(path, "wb") as raw:
        if path.endswith(".gz"):
            # Without name and time, so that the same pairs make the same bytes.
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
                yield file  # type: ignore[misc]
        else:
            yield raw


def _files(symbols: Symbols) -> tuple[str, ...]:
    """Returns the path of the mapping file, if there is one."""
    return (os.fspath(symbols),) if isinstance(symbols, str | os.PathLike) else ()


def _check_symbols(name: str, symbols: Symbols) -> list[str]:
    """Returns the symbols in the order of their indexes."""
    where, first = f"`{name}`, index", 0
    if isinstance(symbols, str | os.PathLike):
        (path,) = check_files(name, symbols)
        symbols, where, first = read_lines(path), f"{path}, line", 1
    table = check_texts(name, symbols)
    if not table:
        raise ValueError(f"`{name}` must have at least one symbol. Received: none.")
    seen: set[str] = set()
    for index, symbol in enumerate(table, first):
        if symbol.split() != [symbol]:
            raise ValueError(
                f"{where} {index}: a symbol must not be empty or contain white space. "
                f"Received: {symbol!r}."
            )
        if symbol in seen:
            raise ValueError(f"{where} {index}: the symbol {symbol!r} occurs twice.")
        seen.add(symbol)
    return table


def _check_streams(source: Any, target: Any) -> tuple[str, str]:
    """Returns the names of the two streams."""
    for name, stream in (("source_stream", source), ("target_stream", target)):
        if not isinstance(stream, str) or not _NAME.fullmatch(stream):
            raise ValueError(
                f"`{name}` must be the name of a stream, without white space or pipes. "
                f"Received: {stream!r}."
            )
    if source == target:
        raise ValueError(
            "`source_stream` and `target_stream` must differ. Received: "
            f"{source!r} for both."
        )
    return source, target
