"""The `kseq` command: dispatch to subcommands, exit statuses, error messages."""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

COMMANDS = {
    "data": "write the data of a task, or prepare a large corpus",
    "train": "train a model on files of texts",
    "translate": "decode texts with a trained model",
    "evaluate": "measure a model on files of texts",
    "score": "compute log-probabilities of given outputs",
    "average": "average checkpoints of a training run",
    "export": "export a model for programs without kseq",
    "serve": "serve a model over HTTP, with a page to try it",
    "sagemaker": "train or serve in an Amazon SageMaker container",
    "tune": "search for good settings",
    "vocab": "build a vocabulary from files of texts",
    "inspect": "show the contents of a model folder",
    "plot": "draw learning curves or attention",
}
USAGE, FAILURE = 2, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the `kseq` command.

    Args:
        argv: The arguments, without the program's name. Default: those of the process,
            whose standard streams are then made UTF-8.

    Returns:
        The exit status: 0, 1 after a failure, 2 after a mistake in the usage, 128 + n
        after signal n.
    """
    parsers: list[Any] = []
    debug = False
    try:
        # Here, since an interrupt may come while modules are imported.
        if argv is None:
            from kseq.cli.standard_streams import own_streams

            own_streams()
        arguments = list(sys.argv[1:] if argv is None else argv)
        debug = "--debug" in arguments
        try:
            status = _run(arguments, parsers)
        except SystemExit as end:  # after a help text
            status = int(end.code or 0)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        if argv is None:
            # A second one would interrupt Python's own clean-up, with a traceback.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _end_output()
        return 128 + signal.SIGPIPE
    except Exception as error:
        _end_output()
        return _failed(error, parsers, debug)


def _run(arguments: list[str], parsers: list[Any]) -> int:
    """Runs a subcommand, and adds its parser to `parsers` for the error message."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else USAGE
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"kseq {version('kseq')}")
        return 0
    from kseq.cli.parsing import Parser, UsageError

    name = arguments[0]
    if name not in COMMANDS:
        from kseq.config.checks import nearest_name

        hint = nearest_name(name, COMMANDS)
        raise UsageError(
            f"there is no command {name!r}.{hint} The commands are: "
            f"{', '.join(COMMANDS)}"
        )
    module = importlib.import_module(f"kseq.cli.{name}")
    parser = Parser(f"kseq {name}", module.__doc__)
    parsers.append(parser)
    module.add_arguments(parser)
    if "--debug" not in arguments:
        # TensorFlow's log repeats what Python's errors say.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return int(module.run(parser, arguments[1:]) or 0)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items())
    return (
        "usage: kseq [--version] COMMAND [OPTIONS]\n\n"
        "Recurrent sequence-to-sequence models: train, decode, measure.\n\n"
        f"commands:\n{lines}\n\n"
        "`kseq COMMAND --help` shows the options of a command. A YAML file may hold "
        "them:\n`kseq COMMAND --config FILE`."
    )


def _failed(error: Exception, parsers: list[Any], debug: bool) -> int:
    """Prints an error as one line; returns the exit status."""
    from kseq.cli.parsing import UsageError, say

    if debug:
        traceback.print_exc()
    parser = parsers[0].active if parsers else None
    prog = "kseq" if parser is None else parser.prog
    message = " ".join((str(error) or type(error).__name__).split())
    if parser is not None:
        message = parser.with_flags(message)
    number = getattr(error, "signal", None)
    status = FAILURE if number is None else 128 + number
    if isinstance(error, UsageError):
        message, status = f"{message} (see {prog} --help)", USAGE
    say(f"{prog}: error: {message}")
    return status


def _end_output() -> None:
    """Writes what stdout still holds, or drops it where it cannot be written."""
    from kseq.cli.standard_streams import discard_output

    try:
        sys.stdout.flush()
    except OSError:
        discard_output()
