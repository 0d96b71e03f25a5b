"""Export a trained model as a TensorFlow SavedModel or to ONNX."""

from collections.abc import Sequence
from typing import Literal

from kseq.cli.model_arguments import (
    add_model_arguments,
    check_model_arguments,
    load_translator,
)
from kseq.cli.output_files import add_output_arguments
from kseq.cli.parsing import Parser
from kseq.cli.usage_errors import UsageError, as_usage_errors

_DEFAULT_BEAM_WIDTH = 5


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq export -m FOLDER --format savedmodel|onnx -o NEW_FOLDER"
    add_model_arguments(parser)
    parser.add_argument(
        "--format",
        type=Literal["savedmodel", "onnx"] | None,
        help="format of the export. savedmodel: complete searches, from ids to ids "
        "and, with the tokenizers whitespace and characters, from texts to texts. "
        "onnx: the encoder and one step of the decoder",
    )
    add_output_arguments(parser)
    parser.add_argument(
        "--beam-width",
        "--beam",
        type=int | None,
        help=f"beam width of a savedmodel. Default: {_DEFAULT_BEAM_WIDTH}",
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    check_model_arguments(arguments)
    parser.require(arguments, "format", "output")
    if arguments.beam_width is not None and arguments.format == "onnx":
        raise UsageError("--beam-width has no effect with --format onnx")
    translator = load_translator(arguments)

    from kseq.export import export_onnx, export_saved_model

    folder, overwrite = arguments.output, arguments.overwrite
    if arguments.format == "onnx":
        paths = export_onnx(translator, folder, overwrite=overwrite)
    else:
        with as_usage_errors():
            paths = export_saved_model(
                translator,
                folder,
                beam_width=arguments.beam_width or _DEFAULT_BEAM_WIDTH,
                overwrite=overwrite,
            )
    print("\n".join(paths))
    return 0
