"""Mistakes in how a command is called."""

import contextlib
from collections.abc import Iterator
from typing import Any


class UsageError(Exception):
    """A mistake in how a command is called."""


@contextlib.contextmanager
def as_usage_errors() -> Iterator[None]:
    """Raises a `UsageError` for each TypeError or ValueError in the block.

    For values that come from flags: the message names the flag.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def check_positive(arguments: Any, *names: str) -> None:
    """Raises a `UsageError` if an argument has a value less than 1."""
    for name in names:
        value = arguments[name]
        if value is not None and value < 1:
            raise UsageError(f"`{name}` must be at least 1. Received: {value}.")
