"""Imports TensorFlow without its log messages on stderr."""

import contextlib
import os
from collections.abc import Iterator


def load_tensorflow() -> None:
    """Imports TensorFlow and lists its devices, without log messages.

    TensorFlow logs instruction sets and missing GPUs before any log level applies.
    Exceptions are raised as usual.
    """
    with _without_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Discards everything that C++ code writes to stderr."""
    original = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
