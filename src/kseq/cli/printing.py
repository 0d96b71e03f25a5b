"""Results on stdout, messages on stderr."""

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from kseq.cli.parsing import Parser


def say(message: str) -> None:
    """Prints a message to stderr; stdout is for results."""
    print(message, file=sys.stderr)


def add_json_argument(parser: Parser) -> None:
    """Adds the flag `--json`.

    Args:
        parser: The parser of the command.
    """
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def print_json(value: Any) -> None:
    """Prints a value as one line of JSON.

    Args:
        value: A value that JSON can represent.
    """
    from kseq.data.corpora.lines import json_line

    print(json_line(value))


def align(rows: Iterable[tuple[str, Any]], indent: str = "  ") -> list[str]:
    """Aligns the second column of a table with two columns.

    Args:
        rows: The two cells of each row.
        indent: Text before the first column. Default: two spaces.

    Returns:
        The lines.
    """
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{indent}{name:{width}}  {value}" for name, value in rows]


def frame_to_records(frame: Any) -> list[Mapping[str, Any]]:
    """Converts a pandas DataFrame to a list of dicts for JSON, without rounding.

    `DataFrame.to_json` rounds to 15 digits.

    Args:
        frame: The DataFrame.

    Returns:
        A dict for each row. A missing or infinite value is None.
    """
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [
        {name: _none_if_infinite(value) for name, value in row.items()} for row in rows
    ]


def _none_if_infinite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
