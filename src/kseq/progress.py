"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any

# Seconds until a bar appears.
_DELAY = 2
# Seconds between lines.
_EVERY = 10
_silenced = False


def on_terminal(stream: Any) -> bool:
    """Returns whether a stream is a terminal, which a bar can be drawn on.

    Args:
        stream: A text stream. None, where a process has none, is no terminal.
    """
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


def displayed(verbose: Any) -> Any:
    """Returns Keras's `verbose` with lines for a bar where no bar can be drawn.

    Keras draws its bar into files and pipes too, with control characters.

    Args:
        verbose: `"auto"`, 0, 1 or 2, as for `keras.Model.fit`.
    """
    draws = (
        on_terminal(sys.stdout)
        or "ipykernel" in sys.modules
        or "PYCHARM_HOSTED" in os.environ
    )
    return 2 if verbose in ("auto", 1) and not draws else verbose


@contextlib.contextmanager
def silent(silenced: bool = True) -> Iterator[None]:
    """Shows no progress.

    Args:
        silenced: False changes nothing. Default True.
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
    """Shows on stderr how far long work is: a bar, or a line every ten seconds.

    Args:
        items: What is counted as it is iterated over. Default: `update` counts.
        description: What the work is.
        total: Number of items. Default: the length of `items`, if it has one.
        unit: Name of the items.
        scaled: Shorten large numbers, as in `12M`. Default False.

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
            delay=_DELAY,
            leave=False,
        )
    return _Lines(items, description, total, unit)


@contextlib.contextmanager
def announced(description: str) -> Iterator[None]:
    """Shows on stderr what goes on, for work that cannot be counted.

    Args:
        description: What the work is.
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
    """Prints a line to stderr; does nothing where stderr is closed."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"{line}\n")


class _Lines:
    """Prints how far work is, in lines without control characters."""

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
        self._began = time.monotonic()
        self._next = self._began + _EVERY

    def __iter__(self) -> Iterator[Any]:
        for item in self.items or ():
            yield item
            self.update()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        """Counts items that are done."""
        self.n += count
        now = time.monotonic()
        if now < self._next or _silenced or self.n == self.total:
            return
        self._next = now + _EVERY
        of = f" of {self.total:,}" if self.total else ""
        _print(
            f"{self.description}: {self.n:,}{of} {self.unit}, {now - self._began:.0f} s"
        )

    def close(self) -> None:
        """Ends the work."""
