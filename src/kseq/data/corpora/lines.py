r"""Lines of text files: UTF-8, ended by "\n" or "\r\n" only.

Python's `str.splitlines` and text files opened with universal newlines also end a line
at "\x0b", "\x0c", "\x85", U+2028, or a lone "\r". If a sentence contains such a
character, all later lines would be paired with the wrong lines of the other side. All
readers of kseq therefore treat these characters as text. `as_line` escapes them in the
output, so that it is one line for any reader.
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
_MAX_CHARACTER_SIZE = 4  # in bytes of UTF-8

# Characters at which `str.splitlines` ends a line.
_LINE_BREAKS = re.compile("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")

TOO_LONG = b"\n"  # stands for a line that is too long; no line contains "\n"


class NotUTF8Error(ValueError):
    """A line that is not UTF-8."""


def read_lines(source: Path | BinaryIO) -> Iterator[str]:
    r"""Reads texts, one per line, including empty ones.

    A line ends with `"\n"` or `"\r\n"`, or at the end of the file. A byte order mark at
    the start is dropped. Each text is available as soon as its line has arrived, also
    from a pipe or a terminal.

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
        return _read_file(path)
    stream: Any = source
    if isinstance(stream, io.TextIOBase) or not hasattr(stream, "readline"):
        raise TypeError(
            "`source` must be a path or a binary stream. Received: "
            f"{source!r} of type {type(source).__name__}; for standard input pass "
            "sys.stdin.buffer."
        )
    return _decode_lines(stream, str(getattr(stream, "name", "the stream")))


def as_line(text: str) -> str:
    r"""Returns a text as one line, for files with one text per line.

    Each character at which `str.splitlines` ends a line is escaped: a newline becomes a
    backslash and an n.

    Args:
        text: str.

    Example:
        >>> from kseq.data.corpora.lines import as_line
        >>> print(as_line("1 Main St\nSpringfield"))
        1 Main St\nSpringfield
    """
    return _LINE_BREAKS.sub(lambda match: repr(match[0])[1:-1], text)


def json_line(value: Any) -> str:
    r"""Returns a value as one line of JSON, without loss.

    Args:
        value: any value that JSON can represent.

    Example:
        >>> from kseq.data.corpora.lines import json_line
        >>> print(json_line({"text": "é\u2028"}))
        {"text": "é\u2028"}
    """
    text = json.dumps(value, ensure_ascii=False)
    text = _LINE_BREAKS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    # UTF-8 cannot encode a lone surrogate.
    return text.encode("utf-8", "backslashreplace").decode()


def binary_lines(
    stream: BinaryIO, name: str, max_length: int | None = None
) -> Iterator[bytes]:
    """Splits a stream into lines, as they arrive.

    Args:
        stream: a binary stream, decompressed.
        name: str, the name of the stream, for errors.
        max_length: int or None, the maximum number of characters of a line. A line with
            too many bytes for this is not held in memory. Default: None, no limit.

    Returns:
        An iterator of bytes, lines without their ends. `TOO_LONG` stands for a line
        with too many bytes. Other lines may still have too many characters.

    Raises:
        ValueError: if the stream is a damaged gzip file.
    """
    # The longest text, a byte order mark and a line end.
    size = (
        -1 if max_length is None else _MAX_CHARACTER_SIZE * max_length + len(_BOM) + 2
    )
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
            f"{name} is not a complete gzip file: after line {number}, {error}; get "
            "the file again."
        ) from error


def decode_line(line: bytes, name: str, number: int) -> str:
    """Decodes a line.

    Args:
        line: bytes, in UTF-8.
        name: str, the file, for errors.
        number: int, the number of the line from 1, for errors.

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
        TypeError: if a value is not a path.
        OSError: if a file does not exist or is a folder.
        ValueError: if the list is empty, or a path is a pipe or a device.
    """
    values: Any = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(values, Iterable) or isinstance(values, bytes):
        raise TypeError(
            f"`{name}` must be a path or a list of paths. Received: {value!r} of type "
            f"{type(value).__name__}."
        )
    paths = []
    for path in values:
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
    """Raises an error if a path does not exist or is a folder."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"`{name}`: there is no file '{path}'.")
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"`{name}` must be a file. Received: '{path}', a folder; name a file in it."
        )


def open_binary(raw: BinaryIO, path: str) -> BinaryIO:
    """Returns a stream of a file's content, decompressed if its name ends in `.gz`."""
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if path.endswith(".gz") else raw


def _read_file(path: str) -> Iterator[str]:
    with open(path, "rb") as raw, open_binary(raw, path) as stream:
        yield from _decode_lines(stream, path)


def _decode_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    for number, line in enumerate(binary_lines(stream, name), 1):
        yield decode_line(line, name, number)


def _skip_rest(stream: BinaryIO) -> None:
    """Reads to the end of a line, in pieces."""
    while (piece := stream.readline(1 << 16)) and not piece.endswith(b"\n"):
        pass
