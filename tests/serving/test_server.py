"""`kseq serve` in its own process: signals, ports and faulty clients."""

import concurrent.futures
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving.servers import Server, serving, started

from kseq import Translator
from kseq.cli.serve import bind
from kseq.decoding import BeamSearch


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder, "--max-body", "0.01") as server:
        yield server


def body(*texts: str) -> dict[str, Any]:
    return {"instances": [{"data": text} for text in texts]}


def test_concurrent_clients_get_the_outputs_of_the_translator(
    server: Server, translator: Translator
) -> None:
    texts = ["".join("abcdefg"[(k * j) % 7] for j in range(k % 6)) for k in range(60)]
    expected = translator.translate(texts, BeamSearch(beam_width=5))

    def ask(text: str) -> str:
        status, answer = server.ask("POST", "/invocations", body(text))
        assert status == 200
        return str(json.loads(answer)["predictions"][0]["target"])

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, texts)) == expected


HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        (b"nonsense\r\n\r\n", (400,)),
        (b"GET " + b"/" * 200_000 + b" HTTP/1.1\r\n\r\n", (400, 414, 431)),
        (HEAD + b"Content-Length: -1\r\n\r\n", (400,)),
        (HEAD + b"Content-Length: many\r\n\r\n", (400,)),
        (HEAD + b"Content-Length: 99999999999999\r\n\r\n", (413,)),
        (HEAD + b"Content-Length: 20000\r\n\r\n" + b"x" * 20_000, (413,)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", (400,)),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n4000\r\n" + b"y" * 16384, (413,)),
        (HEAD + b"Content-Length: 2\r\n\r\n{}", (400,)),
        (HEAD + b"Content-Length: 4\r\n\r\n\x00\xff\xfe\x80", (400,)),
        (b"TRACE /invocations HTTP/1.1\r\nHost: x\r\n\r\n", (405,)),
        (b"GET /..%2f..%2fetc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", (404,)),
    ],
)
def test_malformed_requests_are_refused_and_others_served(
    server: Server, request_: bytes, statuses: tuple[int, ...]
) -> None:
    with contextlib.closing(server.send(request_)) as connection:
        line = connection.makefile("rb").readline()
    assert int(line.split()[1]) in statuses
    assert server.ask("POST", "/invocations", body("a"))[0] == 200


def test_slow_and_aborted_requests_do_not_affect_others(server: Server) -> None:
    content = json.dumps(body("abc")).encode()
    whole = HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content
    slow = [server.send(whole[: k * 9 + 5]) for k in range(20)]
    for k in range(20):  # gone before their answers
        server.send(whole[: len(whole) - k % 2]).close()
    began = time.monotonic()
    assert server.ask("POST", "/invocations", body("abc"))[0] == 200
    assert time.monotonic() - began < 10
    # One that was slow has its answer once the rest has come.
    rest = whole[5:]
    slow[0].sendall(rest)
    assert b" 200 " in slow[0].makefile("rb").readline()
    for connection in slow:
        connection.close()
    assert server.process.poll() is None


def test_memory_does_not_grow_with_requests(server: Server) -> None:
    def ask(k: int) -> int:
        return server.ask("POST", "/invocations", body("abcdefg"[: k % 7]))[0]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(300))) == {200}
        before = server.memory()
        assert set(pool.map(ask, range(600))) == {200}
    assert server.memory() < before * 1.02


def test_after_a_signal_open_requests_are_answered(folder: Path) -> None:
    with serving(folder) as server:
        texts = ["abcdefg" * 40] * 400
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(server.ask, "POST", "/invocations", body(*texts))
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            status, content = answer.result(60)
            assert (status, len(json.loads(content)["predictions"])) == (200, 400)
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 30
        with pytest.raises(OSError, match="refused"):
            server.ask("GET", "/ping")


def test_the_example_trains_and_serves_its_page(tmp_path: Path) -> None:
    train = "AB  AE B\nBA  B AA\nBA(2)  B AE\nABBA  AE B AH\nBAB  B AE B\nA  AH\n"
    (tmp_path / "cmudict-0.7b.train-dev-20-21").write_text(train)
    (tmp_path / "cmudict-0.7b.train-dev-1-21").write_text("BABA  B AA B AH\n")
    small = ["--data=.", "--any-files", "--updates=4", "--units=8"]
    example = str(Path(__file__).parents[2] / "examples" / "g2p_page.py")
    with started(example, *small, "--port=0", "--no-browser", cwd=tmp_path) as server:
        assert b"<textarea" in server.ask("GET", "/")[1]
        status, answer = server.ask("POST", "/translate", {"text": "ABBA"})
        assert (status, len(json.loads(answer)["outputs"])) == (200, 1)
    # Trained already, it serves at once.
    with started(example, *small, "--port=0", "--no-browser", cwd=tmp_path) as server:
        assert server.ask("GET", "/ping")[0] == 200


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (["-m", "missing"], 1, "missing"),
        ([], 2, "-m FOLDER is required"),
        (["-m", "{folder}", "--port", "{port}"], 1, "cannot listen on"),
        (["-m", "{folder}", "--port", "70000"], 2, "0..65535"),
        (["-m", "{folder}", "--max-batch", "0"], 2, "--max-batch"),
        (["-m", "{folder}", "--max-wait", "-1"], 2, "--max-wait"),
    ],
)
def test_an_error_is_one_line(
    server: Server, folder: Path, flags: list[str], status: int, words: str
) -> None:
    given = [flag.format(folder=folder, port=server.port) for flag in flags]
    port = [] if "--port" in given else ["--port", "0"]
    result = subprocess.run(
        [sys.executable, "-m", "kseq", "serve", *given, *port],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == status
    assert words in result.stderr.splitlines()[-1]
    assert result.stderr.count("\n") == 1


def test_the_socket_disables_nagles_algorithm() -> None:
    # asyncio turns Nagle's algorithm off where it sees that the protocol is TCP.
    with bind("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP
