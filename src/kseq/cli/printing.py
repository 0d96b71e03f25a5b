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
    """Adds the flag `--json`."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def print_json(value: Any) -> None:
    """Prints a value as one line of JSON."""
    from kseq.data.corpora.lines import json_line

    print(json_line(value))


def align(rows: Iterable[tuple[str, Any]], indent: str = "  ") -> list[str]:
    """Returns the lines of a table with two columns, indented and aligned."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{indent}{name:{width}}  {value}" for name, value in rows]


def frame_to_records(frame: Any) -> list[Mapping[str, Any]]:
    """Converts a pandas DataFrame to dicts for JSON, with None for missing values.

    `DataFrame.to_json` would round to 15 digits.
    """
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [
        {name: _none_if_infinite(value) for name, value in row.items()} for row in rows
    ]


def _none_if_infinite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
