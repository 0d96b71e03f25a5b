r"""What a line is: UTF-8, ended by "\n" or "\r\n" and by nothing else.

Python's `str.splitlines` and text files opened with universal newlines also end a line
at "\x0b", "\x0c", "\x85", U+2028, or a lone "\r". Where such a character stands inside
a sentence, all later lines of that side belong to the wrong ones of the other side.
All readers therefore take it for a character of the text. What is written for others
to read has none of these characters (`as_line`): it is one line for any reader.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, cast

Path = str | os.PathLike[str]

_BOM = b"\xef\xbb\xbf"
_MOST_BYTES = 4  # of a character in UTF-8

# Where `str.splitlines` ends a line.
_BREAKS = re.compile("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")

TOO_LONG = b"\n"  # in place of a line that is; no line holds a line end


class NotUTF8Error(ValueError):
    """A line that is not UTF-8."""


def read_lines(source: Path | BinaryIO) -> Iterator[str]:
    r"""Reads texts, one a line, the empty ones too.

    A line ends at `"\n"` or `"\r\n"`, the last one also at the end of the file; a byte
    order mark at the start is dropped. Each text is given as soon as its line has
    arrived: nothing is read ahead of a pipe or a terminal.

    Args:
        source: str or path, a file in UTF-8, gzipped if its name ends in `.gz`; or a
            binary stream, such as `sys.stdin.buffer`, which is left open.

    Returns:
        An iterator of str, without line ends.

    Raises:
        TypeError: if `source` is neither a path nor a binary stream.
        OSError: if the file cannot be read.
        ValueError: if a line is not UTF-8, or the gzip file is damaged; the message
            names the file and the line.

    Example:
        >>> import io
        >>> from kseq.data import read_lines
        >>> list(read_lines(io.BytesIO(b"a b\r\n\nc")))
        ['a b', '', 'c']
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        _check_not_folder("source", path)
        return _texts_of_file(path)
    stream: Any = source
    if isinstance(stream, io.TextIOBase) or not hasattr(stream, "readline"):
        raise TypeError(
            "`source` must be a path or a binary stream. Received: "
            f"{source!r} of type {type(source).__name__}; for standard input pass "
            "sys.stdin.buffer."
        )
    return _texts(stream, str(getattr(stream, "name", "the stream")))


def as_line(text: str) -> str:
    r"""Returns a text as one line, to be written where each line is a text.

    Each character that ends a line for Python's `str.splitlines` becomes its escape:
    a newline becomes a backslash and an n.

    Args:
        text: str.

    Example:
        >>> from kseq.data.corpora.lines import as_line
        >>> print(as_line("1 Main St\nSpringfield"))
        1 Main St\nSpringfield
    """
    return _BREAKS.sub(lambda found: repr(found[0])[1:-1], text)


def json_line(value: Any) -> str:
    r"""Returns a value as one line of JSON in UTF-8, which loses nothing.

    Args:
        value: What JSON can hold.

    Example:
        >>> from kseq.data.corpora.lines import json_line
        >>> print(json_line({"text": "é\u2028"}))
        {"text": "é\u2028"}
    """
    text = json.dumps(value, ensure_ascii=False)
    text = _BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    # What UTF-8 lacks, a lone surrogate.
    return text.encode("utf-8", "backslashreplace").decode()


def binary_lines(
    stream: BinaryIO, name: str, max_length: int | None = None
) -> Iterator[bytes]:
    """Cuts a stream into lines, as they arrive.

    Args:
        stream: a binary stream, decompressed.
        name: str, what errors call it.
        max_length: int or None, the most characters of a line. A line that is longer
            in any case is not held in memory. Defaults to None, no limit.

    Returns:
        An iterator of bytes, lines without their ends; `TOO_LONG` stands for a line
        that is. A line that is given may still be too long once decoded.

    Raises:
        ValueError: if the stream is a damaged gzip file.
    """
    # Room for a byte order mark and a line end beside the longest text.
    size = -1 if max_length is None else _MOST_BYTES * max_length + len(_BOM) + 2
    number = 0
    try:
        for line in iter(functools.partial(stream.readline, size), b""):
            number += 1
            if len(line) == size and not line.endswith(b"\n"):
                _skip_rest(stream)
                yield TOO_LONG
                continue
            if number == 1:
                line = line.removeprefix(_BOM)
            if line.endswith(b"\n"):
                line = line[:-2] if line.endswith(b"\r\n") else line[:-1]
            yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{name} is not a whole gzip file: after line {number}, {error}; get the "
            "file anew."
        ) from error


def decode_line(line: bytes, name: str, number: int) -> str:
    """Returns a line as a text.

    Args:
        line: bytes, in UTF-8.
        name: str, the file, for the message.
        number: int, the line's number from 1, for the message.

    Raises:
        NotUTF8Error: a ValueError, if the line is not UTF-8.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        hint = ""
        if number == 1 and line.startswith(b"\x1f\x8b"):
            hint = " It looks gzipped: its name must end in .gz."
        elif number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            hint = " It looks like UTF-16: convert it to UTF-8."
        raise NotUTF8Error(
            f"{name}, line {number}: not UTF-8, byte {error.start + 1} of the line is "
            f"0x{line[error.start]:02x}.{hint}"
        ) from None


def check_files(name: str, value: Path | Iterable[Path]) -> tuple[str, ...]:
    """Returns paths as strings, or raises unless they are files that can be reread.

    Args:
        name: str, the argument's name in the caller's signature.
        value: a path or a list of paths.

    Raises:
        TypeError: if a path is no path.
        OSError: if there is no such file, or it is a folder.
        ValueError: if the list is empty, or a path is a pipe or a device.
    """
    given: Any = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise TypeError(
            f"`{name}` must be a path or a list of paths. Received: {value!r} of type "
            f"{type(value).__name__}."
        )
    paths = []
    for path in given:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(
                f"`{name}` must be a path or a list of paths. Received: {path!r} of "
                f"type {type(path).__name__} in the list."
            )
        path = os.fspath(path)
        _check_not_folder(name, path)
        if not os.path.isfile(path):
            raise ValueError(
                f"`{name}` must be files that can be read more than once. Received: "
                f"'{path}', a pipe or a device; write it to a file first."
            )
        paths.append(path)
    if not paths:
        raise ValueError(f"`{name}` must name at least one file. Received: none.")
    return tuple(paths)


def _check_not_folder(name: str, path: str) -> None:
    """Raises if nothing is there, or a folder."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"`{name}`: there is no file '{path}'.")
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"`{name}` must be a file. Received: '{path}', a folder; name a file in it."
        )


def open_binary(raw: BinaryIO, path: str) -> BinaryIO:
    """Returns a file as a stream of its content, decompressed where it is `.gz`."""
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if path.endswith(".gz") else raw


def _texts_of_file(path: str) -> Iterator[str]:
    with open(path, "rb") as raw, open_binary(raw, path) as stream:
        yield from _texts(stream, path)


def _texts(stream: BinaryIO, name: str) -> Iterator[str]:
    for number, line in enumerate(binary_lines(stream, name), 1):
        yield decode_line(line, name, number)


def _skip_rest(stream: BinaryIO) -> None:
    """Reads a line to its end, a piece at a time."""
    while (piece := stream.readline(1 << 16)) and not piece.endswith(b"\n"):
        pass
