"""TensorFlow without its notices, for commands whose stderr is for people."""

import contextlib
import os
from collections.abc import Iterator


def load_tensorflow() -> None:
    """Imports TensorFlow and looks for its devices, silently.

    It tells of instruction sets and missing GPUs before it heeds any setting. Python's
    errors come through.
    """
    with _without_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Lets nothing be written to the file that C++ takes for stderr."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
