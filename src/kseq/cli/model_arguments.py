"""The flags of a command that uses a model or an ensemble."""

from collections.abc import Sequence
from typing import Any, Literal

from kseq.cli.parsing import Parser
from kseq.cli.tensorflow_import import load_tensorflow
from kseq.cli.usage_errors import UsageError
from kseq.storage.model_folder import ModelFolder


def add_model_arguments(parser: Parser) -> None:
    """Adds the flags that name a model or an ensemble."""
    parser.add_argument(
        "-m",
        "--model",
        nargs="+",
        type=str,
        default=[],
        metavar="FOLDER",
        help="model folder; several folders are an ensemble",
    )
    parser.add_argument(
        "-c",
        "--checkpoint",
        type=int | None,
        help="number of a checkpoint. Default: the best one",
    )
    parser.add_argument(
        "--averaging",
        type=Literal["linear", "log_linear"] | None,
        help="mean over an ensemble: of probabilities (linear) or of "
        "log-probabilities (log_linear). Default: linear",
    )


def add_device_argument(parser: Parser) -> None:
    """Adds the flag `--device`."""
    parser.add_argument(
        "--device",
        type=Literal["auto", "cpu", "gpu"],
        default="auto",
        help="device to decode on",
    )


def check_model_arguments(arguments: Any) -> None:
    """Raises a `UsageError` if no model is given, or a flag has no effect."""
    if not arguments.model:
        raise UsageError("-m FOLDER is required")
    if arguments.checkpoint is not None and len(arguments.model) > 1:
        raise UsageError(
            "-c needs a single model; an ensemble uses the best checkpoint of each"
        )
    if arguments.averaging is not None and len(arguments.model) == 1:
        raise UsageError("--averaging needs several models")


def check_models(folders: Sequence[str], checkpoint: int | None = None) -> None:
    """Raises an error if a folder is not a model folder, or lacks the checkpoint.

    It imports no TensorFlow, so that the error appears at once.
    """
    for path in folders:
        folder = ModelFolder(path)
        folder.read_config()
        folder.find_checkpoint(checkpoint)


def load_translator(arguments: Any) -> Any:
    """Imports TensorFlow, and loads a `Translator` of the model or ensemble."""
    check_models(arguments.model, arguments.checkpoint)
    load_tensorflow()
    from kseq.distribution import use_device
    from kseq.translator import Translator

    if "device" in arguments:
        use_device(arguments.device)
    return Translator.load(
        arguments.model, arguments.checkpoint, arguments.averaging or "linear"
    )
