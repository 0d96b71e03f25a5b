"""Export a trained model for programs without kseq: a SavedModel, or ONNX."""

from collections.abc import Sequence
from typing import Literal

from kseq.cli.folders import add_model_arguments, check_model_arguments
from kseq.cli.parsing import Parser, UsageError, usage
from kseq.cli.tensorflow_notices import load_tensorflow

_BEAM = 5


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq export -m FOLDER --format savedmodel|onnx -o NEW_FOLDER"
    add_model_arguments(parser)
    parser.add_argument(
        "--format",
        type=Literal["savedmodel", "onnx"] | None,
        help="savedmodel: TensorFlow graphs of whole searches, which take ids and, "
        "with the tokenizers whitespace and characters, texts. onnx: the encoder and "
        "one step of the decoder",
    )
    parser.add_argument(
        "-o", "--output", type=str, metavar="FOLDER", help="folder to write"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing folder"
    )
    parser.add_argument(
        "--beam-width",
        "--beam",
        type=int | None,
        metavar="N",
        help=f"beam width of a savedmodel. Default: {_BEAM}",
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if not arguments.model:
        raise UsageError("-m FOLDER is required")
    if arguments.format is None:
        raise UsageError("--format is required: savedmodel or onnx")
    if arguments.output is None:
        raise UsageError("-o FOLDER is required")
    if arguments.beam_width is not None and arguments.format == "onnx":
        raise UsageError("--beam-width has no effect with onnx, which has no search")
    check_model_arguments(arguments)
    load_tensorflow()
    from kseq.export import export_onnx, export_saved_model
    from kseq.translator import Translator

    translator = Translator.load(
        arguments.model, arguments.checkpoint, arguments.averaging or "linear"
    )
    folder, overwrite = arguments.output, arguments.overwrite
    if arguments.format == "onnx":
        found = export_onnx(translator, folder, overwrite=overwrite)
    else:
        with usage():
            found = export_saved_model(
                translator,
                folder,
                beam_width=arguments.beam_width or _BEAM,
                overwrite=overwrite,
            )
    print("\n".join(found))
    return 0
