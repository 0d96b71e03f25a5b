"""The `kseq` command: which subcommand is meant, and how errors are told."""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from kseq.checks import nearest_name
from kseq.cli.parsing import Parser, UsageError, say

COMMANDS = {
    "data": "write the data of a task, or prepare a large corpus",
    "train": "train a model from files of texts",
    "translate": "turn texts into texts with a trained model",
    "evaluate": "measure a model on files of texts",
    "score": "tell how probable a model finds given outputs",
    "average": "average checkpoints of a training",
    "export": "export a model for programs without kseq",
    "serve": "serve a model over HTTP, with a page to try it on",
    "sagemaker": "train or serve as Amazon SageMaker asks of a container",
    "tune": "search for good settings",
    "vocab": "build a vocabulary from files of texts",
    "inspect": "show what is in a model's folder",
    "plot": "draw learning curves or attention",
}
USAGE, FAILURE = 2, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the `kseq` command.

    Args:
        argv: The arguments, without the program's name. Default: those of the process.

    Returns:
        The exit status: 0, 1 after a failure, 2 after a mistake in the usage, 128 + n
        after signal n.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    known = arguments and arguments[0] in COMMANDS
    prog = f"kseq {arguments[0]}" if known else "kseq"
    try:
        return _run(arguments)
    except UsageError as error:
        return _failed(prog, f"{error} (see {prog} --help)", USAGE, debug)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        number = getattr(error, "signal", None)
        message = str(error) or type(error).__name__
        status = FAILURE if number is None else 128 + number
        return _failed(prog, message, status, debug)


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else USAGE
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"kseq {version('kseq')}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        hint = nearest_name(name, COMMANDS)
        raise UsageError(
            f"there is no command {name!r}.{hint} The commands are: "
            f"{', '.join(COMMANDS)}"
        )
    module = importlib.import_module(f"kseq.cli.{name}")
    parser = Parser(prog=f"kseq {name}", description=module.__doc__)
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error"
    )
    module.add_arguments(parser)
    if "--debug" not in arguments:
        # What goes wrong in TensorFlow is told by Python's errors.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return int(module.run(parser, arguments[1:]) or 0)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items())
    return (
        "usage: kseq [--version] COMMAND [OPTIONS]\n\n"
        "Recurrent sequence-to-sequence models: train, decode, measure.\n\n"
        f"commands:\n{lines}\n\n"
        "`kseq COMMAND --help` tells the options of a command. Each may also come "
        "from a\nYAML file: `kseq COMMAND --config FILE`."
    )


def _failed(prog: str, message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    say(f"{prog}: error: {' '.join(message.split())}")
    return status
