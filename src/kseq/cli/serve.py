"""Serve a trained model over HTTP, with a web page to try it."""

import signal
import socket
from collections.abc import Sequence
from typing import Any

from kseq.cli.model_arguments import (
    add_device_argument,
    add_model_arguments,
    check_model_arguments,
    load_translator,
)
from kseq.cli.parsing import Parser, add_settings, select_settings
from kseq.cli.printing import say
from kseq.cli.usage_errors import UsageError, as_usage_errors
from kseq.serving import check_installed
from kseq.serving.settings import ServingSettings

# Maximum time in seconds to answer open requests after SIGTERM. SageMaker kills the
# server after 30.
_SHUTDOWN_TIMEOUT = 25
_MIB = 1024 * 1024


def add_arguments(parser: Parser) -> None:
    """Adds the flags of the command."""
    parser.usage = "kseq serve -m FOLDER [OPTIONS]"
    add_model_arguments(parser)
    parser.add_argument(
        "--host",
        type=str,
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on",
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="port to listen on; 0 is any free port"
    )
    add_device_argument(parser)
    skip = ("max_wait", "max_body", "body_timeout")
    short = {"beam_width": "--beam"}
    add_settings(parser, ServingSettings, "service", short, skip)
    parser.add_argument(
        "--max-wait",
        type=float,
        default=1.0,
        metavar="MS",
        help="maximum time in milliseconds that an instance waits for others to join "
        "its batch",
    )
    parser.add_argument(
        "--max-body",
        type=float,
        default=6.0,
        metavar="MIB",
        help="maximum size of a request body in MiB",
    )


def run(parser: Parser, argv: Sequence[str]) -> int:
    """Runs the command."""
    arguments = parser.parse_args(argv)
    check_model_arguments(arguments)
    if not 0 <= arguments.port <= 65_535:
        raise UsageError(f"--port must be in 0..65535. Received: {arguments.port}.")
    with as_usage_errors():
        settings = ServingSettings(
            **{
                **select_settings(ServingSettings, arguments),
                "max_wait": arguments.max_wait / 1000,
                "max_body": int(arguments.max_body * _MIB),
            }
        )
    check_installed()
    # Binding first reports an address in use before a model is loaded. Clients cannot
    # connect until the server listens, when the model is ready.
    with bind(arguments.host, arguments.port) as bound:
        translator = load_translator(arguments)
        from kseq.sagemaker.messages import FORMATS
        from kseq.serving.app import build_app
        from kseq.serving.service import Service

        return listen(build_app(Service(translator, settings), FORMATS), bound)


def bind(host: str, port: int) -> socket.socket:
    """Binds a socket to an address.

    Args:
        host: Host name or IP address.
        port: Port. 0: any free port.

    Returns:
        The socket, which does not listen yet.

    Raises:
        OSError: If the address is not available.
    """
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # asyncio disables Nagle's algorithm only if the protocol is given. Otherwise a
        # response body waits 40 ms for the acknowledgement of its headers.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        # A restarted server can use its port again at once.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise OSError(f"cannot listen on {host}, port {port}: {error}") from error
    return bound


def listen(app: Any, bound: socket.socket) -> int:
    """Serves until SIGINT or SIGTERM, and returns the exit status.

    Args:
        app: The application.
        bound: A socket from `bind`.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT,
    )
    server = uvicorn.Server(config)
    # uvicorn sends the signal that ended it to the process again.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    host, port = bound.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    say(f"http://{host}:{port}/ when the model is ready; press Ctrl+C to stop")
    server.run(sockets=[bound])
    return 0 if server.started else 1
