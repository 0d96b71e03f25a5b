"""Starts other Python processes, for guarantees that hold across them."""

import os
import subprocess
import sys
import textwrap


def run_child(code: str, *arguments: object, hash_seed: int | None = None) -> str:
    """Runs code in a new Python process and returns what it prints."""
    environment = dict(os.environ)
    if hash_seed is not None:
        environment["PYTHONHASHSEED"] = str(hash_seed)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
