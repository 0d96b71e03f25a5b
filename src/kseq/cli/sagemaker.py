"""Train or serve in a container, like the seq2seq algorithm of Amazon SageMaker."""

import os
import tempfile
from collections.abc import Sequence

from kseq.cli.parsing import Parser
from kseq.cli.serve import bind, listen
from kseq.cli.tensorflow_import import load_tensorflow
from kseq.cli.usage_errors import UsageError
from kseq.serving import check_installed

_PORT = "SAGEMAKER_BIND_TO_PORT"


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq sagemaker train|serve [--root FOLDER]"
    parser.add_argument(
        "what",
        type=str,
        nargs="?",
        metavar="train|serve",
        help="what to run. train: the training job in the root folder. serve: an "
        "endpoint with the model of a training job",
    )
    parser.add_argument(
        "--root",
        type=str,
        default="/opt/ml",
        metavar="FOLDER",
        help="root folder of the job or endpoint",
    )
    parser.add_argument(
        "--host",
        type=str,
        metavar="ADDRESS",
        help="address to listen on. Default: 0.0.0.0",
    )
    parser.add_argument(
        "--port", type=int | None, help=f"port to listen on. Default: ${_PORT}, or 8080"
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if arguments.what not in ("train", "serve"):
        raise UsageError("the first argument must be train or serve")
    if arguments.what == "train":
        for name in ("host", "port"):
            if arguments[name] is not None:
                raise UsageError(f"--{name} needs serve")
        load_tensorflow()
        from kseq.sagemaker.container import run_training

        run_training(arguments.root)
        return 0
    check_installed()
    port = os.environ.get(_PORT, "8080") if arguments.port is None else arguments.port
    with (
        bind(arguments.host or "0.0.0.0", int(port)) as bound,
        tempfile.TemporaryDirectory() as work,
    ):
        load_tensorflow()
        from kseq.sagemaker.container import find_model
        from kseq.sagemaker.messages import FORMATS
        from kseq.serving.app import build_app
        from kseq.serving.service import Service
        from kseq.serving.settings import ServingSettings
        from kseq.translator import Translator

        folder, beam_width = find_model(arguments.root, work)
        service = Service(
            Translator.load(folder), ServingSettings(beam_width=beam_width)
        )
        return listen(build_app(service, FORMATS), bound)
