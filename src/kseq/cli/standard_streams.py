"""Standard streams of a command: UTF-8 in any locale, and safe where they are closed.

stdin and stdout that are closed, or that fail, are an error when they are used. stderr
is for people, and never an error: a command goes on where nobody can be told.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any

_NAMES = {0: "standard input", 1: "standard output"}


def own_streams() -> None:
    """Replaces the standard streams of the process; restarts Python where it must.

    Where neither the locale nor Python has UTF-8, names of files and texts on the
    command line are read wrongly too, which only a restart can change.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for descriptor in (0, 1, 2):
        _occupy(descriptor)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(_Standard(0, "r")), "utf-8")
    sys.stdout = _writer(1)
    sys.stderr = _writer(2)


def standard_input() -> io.BufferedReader:
    """Returns the bytes of stdin, with a lock that nothing else in Python holds.

    A thread that waits for input would keep `sys.stdin` locked when Python ends.
    """
    return io.BufferedReader(_Standard(sys.stdin.fileno(), "r"))


def discard_output() -> None:
    """Drops what stdout still holds, so that Python does not fail on it at its end."""
    # Where stdout is no file, there is nothing to fail.
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _occupy(descriptor: int) -> None:
    """Keeps a closed descriptor from becoming that of the next file that is opened."""
    try:
        os.fstat(descriptor)
    except OSError:
        # Opened the wrong way round: using it fails as using a closed one does.
        modes = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}
        opened = os.open(os.devnull, modes[descriptor])
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _writer(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(_Standard(descriptor, "w")),
        "utf-8",
        # Names of files may be any bytes.
        errors="surrogateescape" if descriptor == 1 else "backslashreplace",
        line_buffering=descriptor == 2 or os.isatty(descriptor),
    )


class _Standard(io.FileIO):
    """A standard stream, whose errors name it."""

    def __init__(self, descriptor: int, mode: str) -> None:
        super().__init__(descriptor, mode, closefd=False)
        self.descriptor = descriptor
        self.name = ("<stdin>", "<stdout>", "<stderr>")[min(descriptor, 2)]

    def write(self, data: Any) -> Any:
        try:
            return super().write(data)
        except BrokenPipeError:
            if self.descriptor == 1:
                raise
        except OSError as error:
            if self.descriptor == 1:
                raise _named(error, self.descriptor, "written") from error
        return len(data)

    def readinto(self, buffer: Any) -> int | None:
        return self._read(super().readinto, buffer)

    def readall(self) -> bytes:
        return self._read(super().readall)

    def _read(self, read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except OSError as error:
            raise _named(error, self.descriptor, "read") from error


def _named(error: OSError, descriptor: int, done: str) -> OSError:
    name = _NAMES.get(descriptor, "standard input")
    if error.errno == errno.EBADF:
        return OSError(f"{name} is closed")
    return OSError(f"{name} cannot be {done}: {error.strerror}")
