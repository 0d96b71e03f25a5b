"""Tables with a column for each side: CSV and TSV files, and pandas DataFrames."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kseq.config.checks import check_boolean, check_integer
from kseq.data.corpora.corpus import Corpus, Reading
from kseq.data.corpora.lines import Path, check_files, decode_line

if TYPE_CHECKING:
    import pandas as pd

_HINT = " If quotes are ordinary characters, pass quotes=False."
_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def read_table(
    table: Path | pd.DataFrame,
    source: str | int | None = None,
    target: str | int | None = None,
    *,
    separator: str | None = None,
    header: bool = True,
    quotes: bool | None = None,
) -> Corpus:
    r"""Reads pairs from two columns of a table.

    A file is UTF-8, gzipped if its name ends in `.gz`, and is read row by row. A row
    ends with `"\n"` or `"\r\n"`. All other characters, including a lone `"\r"`, belong
    to fields. A line end within quotes is read as `"\n"`.

    Args:
        table: path of a CSV or TSV file, or pandas DataFrame of strings.
        source: str or int, the column of the sources: its name, or its index from 0 if
            `header` is False. Default: `"source"`, or 0 without a header.
        target: str or int, the column of the targets. Default: `"target"`, or 1 without
            a header.
        separator: str or None, the character between two columns. Default: None, a
            comma for `.csv`, a tab for `.tsv` and `.txt`.
        header: bool, whether the first row has the names of the columns. Default: True.
        quotes: bool or None, whether fields may be in double quotes, with quotes inside
            doubled. Default: None, True unless the separator is a tab.

    Returns:
        A `Corpus`. A pass raises ValueError if the table is not valid; the message
        names the file and the line, or the row and the column. A blank line counts as a
        pair with both sides empty.

    Raises:
        TypeError: if an argument has the wrong type.
        OSError: if the file does not exist or is a folder.
        ValueError: if the separator is unknown, or the DataFrame has no such column.

    Example:
        >>> from pathlib import Path
        >>> from kseq.data import read_table
        >>> _ = Path("verbs.tsv").write_text("go\twent\nsay\tsaid\n")
        >>> list(read_table("verbs.tsv", header=False))
        [('go', 'went'), ('say', 'said')]
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"present": ["go"], "past": ["went"]})
        >>> list(read_table(frame, "present", "past"))
        [('go', 'went')]
    """
    check_boolean("header", header)
    columns = [
        _check_column("source", source, header, "source", 0),
        _check_column("target", target, header, "target", 1),
    ]
    if not isinstance(table, str | os.PathLike):
        return _read_frame(table, columns, separator, header, quotes)
    (path,) = check_files("table", table)
    suffix = os.path.splitext(path.removesuffix(".gz"))[1].lower()
    if separator is None:
        separator = _SEPARATORS.get(suffix)
        if separator is None:
            raise ValueError(
                "`separator` must be given unless the file's name ends in "
                f"{', '.join(_SEPARATORS)} (or one of these and .gz). Received: "
                f"'{path}'."
            )
    elif not isinstance(separator, str) or len(separator) != 1 or separator in '\r\n"':
        raise ValueError(
            "`separator` must be one character, not a quote or a line end. Received: "
            f"{separator!r}."
        )
    if quotes is None:
        quotes = separator != "\t"
    check_boolean("quotes", quotes)

    def read(reading: Reading) -> Iterator[tuple[str, str]]:
        rows = _rows(reading, path, separator, quotes)
        indexes: list[Any] = columns
        width, compared = None, "the first row"
        if header:
            number, names = next(rows, (0, []))
            if not names:
                raise ValueError(f"{path}, line 1: there is no header.")
            indexes = [_find_column(path, names, column) for column in columns]
            width, compared = len(names), "the header"
        for number, row in rows:
            if not row:
                reading.leave_out("empty_both")
                continue
            if width is None:
                width = len(row)
                if max(indexes) >= width:
                    raise ValueError(
                        f"{path}, line {number}: there is no column {max(indexes)} in "
                        f"a row of {width}; columns count from 0."
                    )
            if len(row) != width:
                raise ValueError(
                    f"{path}, line {number}: a row of {len(row)} columns, but "
                    f"{compared} has {width}."
                )
            yield row[indexes[0]], row[indexes[1]]

    return Corpus(read, [path])


def _read_frame(
    frame: Any,
    columns: list[Any],
    separator: str | None,
    header: bool,
    quotes: bool | None,
) -> Corpus:
    """Reads pairs from a DataFrame."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise TypeError(
            "`table` must be a path or a pandas DataFrame. Received: "
            f"{frame!r} of type {type(frame).__name__}."
        )
    if separator is not None or quotes is not None or not header:
        raise ValueError(
            "`separator`, `header` and `quotes` must be left out for a DataFrame. "
            "Received: a DataFrame; name its columns."
        )
    names = list(frame.columns)
    indexes = [_find_column("the DataFrame", names, column) for column in columns]

    def read(reading: Reading) -> Iterator[tuple[str, str]]:
        sides = [frame.iloc[:, index] for index in indexes]
        for row, pair in enumerate(zip(*sides, strict=True)):
            for column, text in zip(columns, pair, strict=True):
                if not isinstance(text, str):
                    raise ValueError(
                        f"row {row} of the DataFrame, column {column!r}: "
                        f"{text!r} of type {type(text).__name__} is not a string; "
                        "drop or fill missing values and convert the others first."
                    )
            # numpy's own string type would leak into vocabularies and JSON.
            yield str(pair[0]), str(pair[1])

    return Corpus(read, ["DataFrame"])


def _rows(
    reading: Reading, path: str, separator: str, quotes: bool
) -> Iterator[tuple[int, list[str]]]:
    """Reads the rows of a file, each with the number of its first line.

    Python's `csv` is not used, because it ends lines at a lone carriage return, and
    limits the length of fields with a global setting.
    """
    first = 0  # first line of the row
    row: list[str] = []
    quoted: list[str] | None = None  # parts of a field whose quote is open
    for number, line in enumerate(reading.lines(path), 1):
        text = decode_line(line, path, number)
        if quoted is None:
            first = number
            if not (quotes and '"' in text):
                yield number, text.split(separator) if text else []
                continue
        position: int | None = 0
        while position is not None:
            if quoted is None and text.startswith('"', position):
                quoted, position = [], position + 1
            if quoted is None:
                end = text.find(separator, position)
                row.append(text[position:] if end < 0 else text[position:end])
                position = None if end < 0 else end + 1
                continue
            end = text.find('"', position)
            if end < 0:  # the field continues in the next line
                quoted.append(f"{text[position:]}\n")
                break
            if text.startswith('"', end + 1):
                quoted.append(text[position : end + 1])
                position = end + 2
                continue
            row.append("".join([*quoted, text[position:end]]))
            quoted = None
            if end + 1 < len(text) and text[end + 1] != separator:
                raise ValueError(
                    f"{path}, line {number}: the closing quote of column {len(row)} "
                    f"must be followed by {separator!r} or the end of the line. "
                    f"Received: {text[end + 1]!r}.{_HINT}"
                )
            position = end + 2 if end + 1 < len(text) else None
        if quoted is None:
            yield first, row
            row = []
    if quoted is not None:
        raise ValueError(
            f"{path}, line {first}: the quote that opens column {len(row) + 1} is "
            f"not closed.{_HINT}"
        )


def _check_column(
    name: str, value: Any, header: bool, column: str, index: int
) -> str | int:
    """Returns a column's name, or its index where there is no header."""
    if header:
        if value is not None and not isinstance(value, str):
            raise TypeError(
                f"`{name}` must be the name of a column if there is a header. "
                f"Received: {value!r}; for a file without one pass header=False."
            )
        return column if value is None else value
    if isinstance(value, str):
        raise TypeError(
            f"`{name}` must be the index of a column, from 0, if header is False. "
            f"Received: {value!r}."
        )
    return index if value is None else check_integer(name, value, 0)


def _find_column(table: str, names: list[Any], column: Any) -> int:
    """Returns the index of a named column."""
    if names.count(column) != 1:
        raise ValueError(
            f"{table} must have one column {column!r}. Received: columns "
            f"{', '.join(map(repr, names))}."
        )
    return names.index(column)
