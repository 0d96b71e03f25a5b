"""The `kseq` command, one module a subcommand.

Nothing heavy is imported before a subcommand runs: `kseq --help` does not wait for
TensorFlow.
"""

from kseq.cli.main import main

__all__ = ["main"]
