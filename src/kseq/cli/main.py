"""The `kseq` command: calls subcommands and reports their errors."""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

COMMANDS = {
    "data": "write data files: generated, downloaded, or prepared for training",
    "train": "train a model on pairs of texts",
    "translate": "decode texts with a trained model",
    "evaluate": "compute metrics of a model or of given outputs",
    "score": "compute log-probabilities of given outputs",
    "average": "average checkpoints of a training run",
    "export": "export a model as a SavedModel or to ONNX",
    "serve": "serve a model over HTTP, with a web page to try it",
    "sagemaker": "train or serve in an Amazon SageMaker container",
    "tune": "search for the best hyperparameters",
    "vocab": "build a vocabulary from files of texts",
    "inspect": "show the contents of a model folder",
    "plot": "plot learning curves or attention weights",
}
USAGE, FAILURE = 2, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the `kseq` command.

    Args:
        argv: The arguments, without the program's name. Default: the arguments of the
            process, whose standard streams are replaced by UTF-8 ones.

    Returns:
        The exit status: 0 for success, 1 for a failure, 2 for a usage error, 128 + n
        for signal n.
    """
    parsers: list[Any] = []
    debug = False
    try:
        # Inside the block, since a user may interrupt the imports.
        if argv is None:
            from kseq.cli.standard_streams import replace_standard_streams

            replace_standard_streams()
        arguments = list(sys.argv[1:] if argv is None else argv)
        debug = "--debug" in arguments
        try:
            status = _run(arguments, parsers)
        except SystemExit as exit_after_help:
            status = int(exit_after_help.code or 0)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        if argv is None:
            # A second interrupt during Python's clean-up would print a traceback.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _flush_or_discard_output()
        return 128 + signal.SIGPIPE
    except Exception as error:
        _flush_or_discard_output()
        return _report(error, parsers, debug)


def _run(arguments: list[str], parsers: list[Any]) -> int:
    """Runs a subcommand. Adds its parser to `parsers`, for error messages."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else USAGE
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"kseq {version('kseq')}")
        return 0
    from kseq.cli.parsing import Parser
    from kseq.cli.usage_errors import UsageError

    name = arguments[0]
    if name not in COMMANDS:
        from kseq.config.checks import nearest_name

        hint = nearest_name(name, COMMANDS)
        raise UsageError(
            f"unknown command {name!r}.{hint} The commands are {', '.join(COMMANDS)}"
        )
    module = importlib.import_module(f"kseq.cli.{name}")
    parser = Parser(f"kseq {name}", module.__doc__)
    parsers.append(parser)
    module.add_arguments(parser)
    if "--debug" not in arguments:
        # TensorFlow also logs the errors that it raises as exceptions.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return int(module.run(parser, arguments[1:]) or 0)


def _help() -> str:
    from kseq.cli.printing import align

    lines = "\n".join(align(COMMANDS.items()))
    return (
        "usage: kseq [--version] COMMAND [OPTIONS]\n\n"
        "Train, decode and evaluate recurrent sequence-to-sequence models.\n\n"
        f"commands:\n{lines}\n\n"
        "`kseq COMMAND --help` shows the options of a command. With "
        "`kseq COMMAND\n--config FILE` the options come from a YAML file."
    )


def _report(error: Exception, parsers: list[Any], debug: bool) -> int:
    """Prints an error as one line. Returns the exit status."""
    from kseq.cli.printing import say
    from kseq.cli.usage_errors import UsageError

    if debug:
        traceback.print_exc()
    parser = parsers[0].active if parsers else None
    prog = "kseq" if parser is None else parser.prog
    message = " ".join((str(error) or type(error).__name__).split())
    if parser is not None:
        message = parser.replace_by_flags(message)
    number = getattr(error, "signal", None)
    status = FAILURE if number is None else 128 + number
    if isinstance(error, UsageError):
        message, status = f"{message} (see {prog} --help)", USAGE
    say(f"{prog}: error: {message}")
    return status


def _flush_or_discard_output() -> None:
    """Flushes stdout, or discards the rest of the output if that fails."""
    from kseq.cli.standard_streams import discard_output

    try:
        sys.stdout.flush()
    except OSError:
        discard_output()
