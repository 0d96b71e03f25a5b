"""Starts other Python processes, for guarantees that hold across them."""

import json
import os
import socket
import subprocess
import sys
import textwrap


def run_child(code: str, *arguments: object, hash_seed: int | None = None) -> str:
    """Runs code in a new Python process and returns what it prints."""
    environment = dict(os.environ)
    if hash_seed is not None:
        environment["PYTHONHASHSEED"] = str(hash_seed)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def run_workers(code: str, *arguments: object) -> list[tuple[int, str, str]]:
    """Runs code in two processes that are the workers of one cluster, to their end.

    Returns exit code, output and errors of each.
    """
    cluster = {"worker": [f"127.0.0.1:{port}" for port in _free_ports(2)]}
    workers = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": cluster, "task": task})
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
                env={**os.environ, "TF_CONFIG": config},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        return [
            (worker.wait(timeout=300), *worker.communicate(timeout=300))
            for worker in workers
        ]
    finally:
        for worker in workers:
            worker.kill()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
