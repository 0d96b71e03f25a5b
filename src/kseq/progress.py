"""Progress of long work: a bar on a terminal, plain lines in a file or a pipe."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any

_BAR_DELAY = 2  # seconds
_LINE_INTERVAL = 10  # seconds
_silenced = False


def on_terminal(stream: Any) -> bool:
    """Returns whether a stream is a terminal.

    Args:
        stream: A text stream; None if the process has none.
    """
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # no stream, or closed
        return False


def displayed(verbose: Any) -> Any:
    """Returns Keras's `verbose`, with lines instead of a bar outside a terminal.

    Keras draws its bar with control characters, into files and pipes too.

    Args:
        verbose: `"auto"`, 0, 1 or 2, as for `keras.Model.fit`.
    """
    has_bar = (
        on_terminal(sys.stdout)
        or "ipykernel" in sys.modules
        or "PYCHARM_HOSTED" in os.environ
    )
    return 2 if verbose in ("auto", 1) and not has_bar else verbose


@contextlib.contextmanager
def silent(silenced: bool = True) -> Iterator[None]:
    """Disables progress in this context.

    Args:
        silenced: False changes nothing. Default: True.
    """
    global _silenced
    before = _silenced
    _silenced = before or silenced
    try:
        yield
    finally:
        _silenced = before


def progress(
    items: Iterable[Any] | None = None,
    description: str = "",
    total: int | None = None,
    unit: str = "",
    scaled: bool = False,
) -> Any:
    """Shows progress on stderr: a bar, or a line every ten seconds.

    Args:
        items: Iterable whose items are counted. Default: none, call `update` instead.
        description: Description of the work. Default: none.
        total: Number of items. Default: the length of `items`, if it has one.
        unit: Name of the items. Default: none.
        scaled: Shorten large numbers, as in `12M`. Default: False.

    Returns:
        An iterable over `items`, and a context manager with `update(n)` and `close()`.
    """
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    if on_terminal(sys.stderr) and not _silenced:
        from tqdm import tqdm

        return tqdm(
            items,
            desc=description,
            total=total,
            unit=f" {unit}",
            unit_scale=scaled,
            delay=_BAR_DELAY,
            leave=False,
        )
    return _Lines(items, description, total, unit)


@contextlib.contextmanager
def announced(description: str) -> Iterator[None]:
    """Shows a description on stderr during work that cannot be counted.

    Args:
        description: Description of the work.
    """
    if on_terminal(sys.stderr) and not _silenced:
        from tqdm import tqdm

        with tqdm(desc=description, bar_format="{desc}", leave=False):
            yield
        return
    if not _silenced:
        _print(description)
    yield


def _print(line: str) -> None:
    """Prints a line to stderr, unless it is closed."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"{line}\n")


class _Lines:
    """Progress in plain lines, without control characters."""

    def __init__(
        self,
        items: Iterable[Any] | None,
        description: str,
        total: int | None,
        unit: str,
    ) -> None:
        self.items = items
        self.description = description
        self.unit = unit
        self.total = total
        self.n = 0
        self._start_time = time.monotonic()
        self._next = self._start_time + _LINE_INTERVAL

    def __iter__(self) -> Iterator[Any]:
        for item in self.items or ():
            yield item
            self.update()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        """Counts completed items."""
        self.n += count
        now = time.monotonic()
        if now < self._next or _silenced or self.n == self.total:
            return
        self._next = now + _LINE_INTERVAL
        total = f" of {self.total:,}" if self.total else ""
        seconds = now - self._start_time
        _print(f"{self.description}: {self.n:,}{total} {self.unit}, {seconds:.0f} s")

    def close(self) -> None:
        """Ends the work."""
