"""How a training run shows itself, and what may interrupt it."""

import contextlib
import logging
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from kseq.progress import on_terminal, silent

log = logging.getLogger("kseq")
# What marks the records of the log that a progress bar shows as well.
PROGRESS = "is_progress"


def checkpoint_line(
    row: Mapping[str, Any], measured: Sequence[str], is_best: bool
) -> str:
    """Returns what is logged of a checkpoint.

    Args:
        row: Its figures.
        measured: Names of what was measured on the validation data.
        is_best: Whether it is the best so far.
    """
    figures = ", ".join(f"{name} {row[f'valid_{name}']:.6g}" for name in measured)
    return (
        f"checkpoint {row['checkpoint']}, {row['updates']} updates, epoch "
        f"{row['epoch']:.2f}, {row['seconds']:.0f} s: {figures}; in training "
        f"loss {row['train_loss']:.6g}, perplexity {row['train_perplexity']:.6g}, "
        f"learning rate {row['learning_rate']:.3g}, "
        f"{row['tokens_per_second']:,.0f} tokens/s" + (" (best)" if is_best else "")
    )


@contextlib.contextmanager
def first_signal(handle: Callable[[int], None]) -> Iterator[None]:
    """Calls `handle` at the first SIGINT or SIGTERM; a second one ends the program.

    Args:
        handle: Takes the number of the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread set handlers
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def first(number: int, frame: Any) -> None:
        for each in numbers:
            signal.signal(each, before[each])
        handle(number)

    for number in numbers:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])


class _ThroughBar(logging.Handler):
    """Writes to stderr without tearing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        # A bar shows the same.
        if getattr(record, PROGRESS, False) and on_terminal(sys.stderr):
            return
        # Nobody can be told where stderr fails, and the run goes on.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            tqdm.write(self.format(record), file=sys.stderr)


@contextlib.contextmanager
def logging_to(path: pathlib.Path | None, verbose: bool) -> Iterator[None]:
    """Sends the log to a file and, where wanted, to stderr.

    Args:
        path: The file; None for none.
        verbose: Whether to stderr too. If not, no other progress is shown either.
    """
    handlers: list[logging.Handler] = []
    if path is not None:
        to_file = logging.FileHandler(path, encoding="utf-8")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handlers.append(to_file)
    if verbose:
        handlers.append(_ThroughBar())
    level, passes_on = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    for handler in handlers:
        log.addHandler(handler)
    try:
        with silent(not verbose):
            yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
        log.setLevel(level)
        log.propagate = passes_on
