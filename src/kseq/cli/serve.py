"""Serve a trained model over HTTP: SageMaker's two paths, and a page to try it on."""

import signal
import socket
from collections.abc import Sequence
from typing import Any, Literal

from kseq.cli.folders import add_model_arguments, check_model_arguments
from kseq.cli.parsing import Parser, UsageError, say, usage
from kseq.cli.quiet import load_tensorflow
from kseq.serving import check_installed

# Seconds for what is at work when it is told to stop; SageMaker kills it after 30.
_DRAIN = 25
_MIB = 1024 * 1024


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq serve -m FOLDER [OPTIONS]"
    parser.add_argument("--config", action="config", help="YAML file of settings")
    add_model_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address; 127.0.0.1")
    parser.add_argument(
        "--port", type=int, default=8080, help="port, 0 for any free one; 8080"
    )
    parser.add_argument(
        "--beam", type=int, default=5, help="beam width of /invocations; 5. 1: greedy"
    )
    parser.add_argument(
        "--max-batch", type=int, default=64, help="most instances decoded at once; 64"
    )
    parser.add_argument(
        "--max-wait",
        type=float,
        default=1.0,
        help="milliseconds that an instance waits for others; 1",
    )
    parser.add_argument(
        "--max-queue", type=int, default=1024, help="most instances that wait; 1024"
    )
    parser.add_argument(
        "--max-instances", type=int, default=1024, help="most of a request; 1024"
    )
    parser.add_argument(
        "--max-source-length", type=int, default=500, help="most source tokens; 500"
    )
    parser.add_argument(
        "--max-body", type=float, default=6.0, help="most MiB of a request; 6"
    )
    parser.add_argument(
        "--device",
        type=Literal["auto", "cpu", "gpu"],
        default="auto",
        help="auto, cpu or gpu; auto",
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    if not arguments.model:
        raise UsageError("which model? Give -m FOLDER")
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
    from kseq.serving.app import build_app
    from kseq.serving.service import Service, ServingSettings
    from kseq.translator import Translator

    with usage():
        settings = ServingSettings(
            beam=arguments.beam,
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
    return build_app(Service(translator, settings))


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
