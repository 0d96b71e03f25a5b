"""The standard streams of a command: UTF-8 in any locale, with clear errors.

Using stdin or stdout raises an error if the stream is closed or fails. An error of
stderr is ignored: it has messages only, and the command continues without them.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any

_NAMES = {0: "standard input", 1: "standard output"}


def replace_standard_streams() -> None:
    """Replaces the standard streams of the process by UTF-8 ones.

    If neither the locale nor Python uses UTF-8, Python restarts in UTF-8 mode: names of
    files and texts on the command line would be decoded wrongly too.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for descriptor in (0, 1, 2):
        _open_if_closed(descriptor)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(_StandardStream(0, "r")), "utf-8")
    sys.stdout = _open_writer(1)
    sys.stderr = _open_writer(2)


def standard_input() -> io.BufferedReader:
    """Opens stdin as a binary stream with its own lock.

    A thread that waits for input would still hold the lock of `sys.stdin` when Python
    exits.
    """
    return io.BufferedReader(_StandardStream(sys.stdin.fileno(), "r"))


def discard_output() -> None:
    """Redirects stdout to nowhere, so that Python cannot fail to flush it at exit."""
    # In tests stdout may have no file descriptor.
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _open_if_closed(descriptor: int) -> None:
    """Opens a closed descriptor, so that no other file gets its number."""
    try:
        os.fstat(descriptor)
    except OSError:
        # With the wrong mode, so that using it fails as for a closed one.
        modes = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}
        opened = os.open(os.devnull, modes[descriptor])
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _open_writer(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(_StandardStream(descriptor, "w")),
        "utf-8",
        # A name of a file may contain any bytes.
        errors="surrogateescape" if descriptor == 1 else "backslashreplace",
        line_buffering=descriptor == 2 or os.isatty(descriptor),
    )


class _StandardStream(io.FileIO):
    """A standard stream whose errors name the stream."""

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
                raise _name_stream(error, self.descriptor, "written") from error
        return len(data)

    def readinto(self, buffer: Any) -> int | None:
        return self._read(super().readinto, buffer)

    def readall(self) -> bytes:
        return self._read(super().readall)

    def _read(self, read: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return read(*arguments)
        except OSError as error:
            raise _name_stream(error, self.descriptor, "read") from error


def _name_stream(error: OSError, descriptor: int, participle: str) -> OSError:
    name = _NAMES.get(descriptor, "standard input")
    if error.errno == errno.EBADF:
        return OSError(f"{name} is closed")
    return OSError(f"{name} cannot be {participle}: {error.strerror}")
