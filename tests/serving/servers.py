"""A server in its own process, and a client for tests."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Server:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if match := re.match(r"http://127\.0\.0\.1:(\d+)/", line):
                self.port = int(match[1])
                break
        else:
            raise AssertionError("".join(told))
        deadline = time.monotonic() + 300
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if self.ask("GET", "/ping")[0] == 200:
                    return
            time.sleep(0.1)
        raise AssertionError("it never answered")

    def post(self, content: bytes, kind: str) -> bytes:
        """Sends a request to `/invocations` and returns what comes back."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        with contextlib.closing(connection):
            connection.request("POST", "/invocations", content, {"Content-Type": kind})
            response = connection.getresponse()
            assert (response.status, response.getheader("Content-Type")) == (200, kind)
            return response.read()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json"}
            content = None if body is None else json.dumps(body).encode()
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return response.status, response.read()

    def send(self, content: bytes) -> socket.socket:
        """Sends bytes and leaves the connection open."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=300)
        connection.sendall(content)
        return connection

    def memory(self) -> int:
        """Resident memory, in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])


@contextlib.contextmanager
def started(*command: str, cwd: Path | None = None) -> Iterator[Server]:
    """Runs a command that serves, until the block is left."""
    with subprocess.Popen(
        [sys.executable, *command],
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    ) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


@contextlib.contextmanager
def serving(folder: Path, *flags: str) -> Iterator[Server]:
    command = ["-m", "kseq", "serve", "-m", str(folder), "--port", "0"]
    with started(*command, *flags) as server:
        yield server
