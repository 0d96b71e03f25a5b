"""Serve a trained model over HTTP: SageMaker's two paths, and a page to try it."""

import signal
import socket
from collections.abc import Sequence
from typing import Any, Literal

from kseq.cli.folders import add_model_arguments, check_model_arguments
from kseq.cli.parsing import Parser, UsageError, say, usage
from kseq.cli.tensorflow_notices import load_tensorflow
from kseq.serving import check_installed

# Seconds for what is at work when it is told to stop; SageMaker kills it after 30.
_DRAIN = 25
_MIB = 1024 * 1024


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq serve -m FOLDER [OPTIONS]"
    add_model_arguments(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="Default: 127.0.0.1"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8080,
        metavar="N",
        help="port; 0 takes a free one. Default: 8080",
    )
    parser.add_argument(
        "--beam-width",
        "--beam",
        type=int,
        default=5,
        metavar="N",
        help="beam width of /invocations; 1 is greedy search. Default: 5",
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        default=64,
        metavar="N",
        help="maximum number of instances decoded together. Default: 64",
    )
    parser.add_argument(
        "--max-wait",
        type=float,
        default=1.0,
        metavar="MS",
        help="milliseconds an instance waits for others to join its batch. Default: 1",
    )
    parser.add_argument(
        "--max-queue",
        type=int,
        default=1024,
        metavar="N",
        help="maximum number of waiting instances; more are refused. Default: 1024",
    )
    parser.add_argument(
        "--max-instances",
        type=int,
        default=1024,
        metavar="N",
        help="maximum number of instances in a request. Default: 1024",
    )
    parser.add_argument(
        "--max-source-length",
        type=int,
        default=500,
        metavar="N",
        help="maximum number of source tokens. Default: 500",
    )
    parser.add_argument(
        "--max-body",
        type=float,
        default=6.0,
        metavar="MIB",
        help="maximum size of a request in MiB. Default: 6",
    )
    parser.add_argument(
        "--device",
        type=Literal["auto", "cpu", "gpu"],
        default="auto",
        help="auto (default), cpu or gpu",
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if not arguments.model:
        raise UsageError("-m FOLDER is required")
    check_model_arguments(arguments)
    if not 0 <= arguments.port <= 65_535:
        raise UsageError(f"--port must be in 0..65535. Received: {arguments.port}")
    check_installed()
    # First, so that an address that is taken is told before a model is loaded. Nobody
    # can connect until the server listens, when the model is ready.
    with bind(arguments.host, arguments.port) as bound:
        app = _build(arguments)
        return listen(app, bound)


def _build(arguments: Any) -> Any:
    """Loads what is to be served."""
    load_tensorflow()
    from kseq.distribution import use_device
    from kseq.sagemaker.messages import FORMATS
    from kseq.serving.app import build_app
    from kseq.serving.service import Service, ServingSettings
    from kseq.translator import Translator

    with usage():
        settings = ServingSettings(
            beam_width=arguments.beam_width,
            max_batch=arguments.max_batch,
            max_wait=arguments.max_wait / 1000,
            max_queue=arguments.max_queue,
            max_instances=arguments.max_instances,
            max_source_length=arguments.max_source_length,
            max_body=int(arguments.max_body * _MIB),
        )
    use_device(arguments.device)
    translator = Translator.load(
        arguments.model, arguments.checkpoint, arguments.averaging or "linear"
    )
    return build_app(Service(translator, settings), FORMATS)


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket with an address of its own.

    Args:
        host: Name or number of the address.
        port: Port; 0 for any that is free.

    Raises:
        OSError: If the address cannot be had.
    """
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # asyncio turns Nagle's algorithm off only where the protocol is named; with it
        # a body waits 40 ms for the client to acknowledge the head.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        # One that has just been left can be had at once.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise OSError(f"{host}, port {port} cannot be had: {error}") from error
    return bound


def listen(app: Any, bound: socket.socket) -> int:
    """Serves until SIGINT or SIGTERM, and then what is at work.

    Args:
        app: The application.
        bound: A socket that `bind` has returned.

    Returns:
        The exit status.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN,
    )
    server = uvicorn.Server(config)
    # uvicorn raises the signal that has ended it once more.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    host, port = bound.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    say(f"http://{host}:{port}/ as soon as the model is ready; Ctrl+C ends it")
    server.run(sockets=[bound])
    return 0 if server.started else 1
