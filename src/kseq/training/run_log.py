"""The log and the signals of a training run."""

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
# Marks log records that duplicate a progress bar.
PROGRESS = "is_progress"


def checkpoint_line(
    row: Mapping[str, Any], metrics: Sequence[str], is_best: bool
) -> str:
    """Returns the log line of a checkpoint.

    Args:
        row: Its row of `metrics.csv`.
        metrics: Names of the validation metrics.
        is_best: Whether it is the best checkpoint so far.
    """
    values = ", ".join(f"{name} {row[f'valid_{name}']:.6g}" for name in metrics)
    return (
        f"checkpoint {row['checkpoint']}, {row['updates']} updates, epoch "
        f"{row['epoch']:.2f}, {row['seconds']:.0f} s: {values}; in training "
        f"loss {row['train_loss']:.6g}, perplexity {row['train_perplexity']:.6g}, "
        f"learning rate {row['learning_rate']:.3g}, "
        f"{row['tokens_per_second']:,.0f} tokens/s" + (" (best)" if is_best else "")
    )


@contextlib.contextmanager
def first_signal(handle: Callable[[int], None]) -> Iterator[None]:
    """Handles the first SIGINT or SIGTERM; a second one ends the program.

    Args:
        handle: Called with the number of the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can set handlers
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


class _StderrHandler(logging.Handler):
    """Writes to stderr above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, PROGRESS, False) and on_terminal(sys.stderr):
            return
        # The run continues if stderr is closed.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            tqdm.write(self.format(record), file=sys.stderr)


@contextlib.contextmanager
def logging_to(path: pathlib.Path | None, verbose: bool) -> Iterator[None]:
    """Writes the log to a file and to stderr.

    Args:
        path: The file. None: no file.
        verbose: Write to stderr. If False, no other progress is shown either.
    """
    handlers: list[logging.Handler] = []
    if path is not None:
        file_handler = logging.FileHandler(path, encoding="utf-8")
        file_handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handlers.append(file_handler)
    if verbose:
        handlers.append(_StderrHandler())
    level, propagate = log.level, log.propagate
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
        log.propagate = propagate
