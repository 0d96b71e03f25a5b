"""The `kseq` command, with one module for each subcommand.

TensorFlow is imported only when a subcommand needs it, so that `kseq --help` is quick.
"""

from kseq.cli.main import main

__all__ = ["main"]
