"""Throughput and latency of `kseq serve` on loopback, with and without batching.

    python benchmarks/serving.py [-m g2p --texts words.txt] [--soak 50000] [--json]

Starts two servers, one that batches requests and one that does not. Each client sends
one request after another over one open connection. The servers take turns, so that
other work on the machine affects both. `--soak N` sends N more requests, some of them
malformed, and prints the memory of the server. Clients and server share the cores of
the machine.

Without `-m`, the model is untrained. It has the size of examples/g2p.yaml, and outputs
as long as pronunciations.
"""

import argparse
import asyncio
import contextlib
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

CLIENTS = (1, 8, 64, 256)
HEAD = "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
# Malformed requests of the soak test; the server must answer with status 400 to 499.
MALFORMED = (b"", b"{", b"[]", b"\xff\xfe", b'{"instances": 3}', b'{"instances": [{}]}')


def main() -> None:
    """Measures and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "-m", "--model", help="model folder. Default: an untrained model"
    )
    parser.add_argument("--texts", help="file of source texts, one per line")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="time per measurement"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--soak", type=int, default=0, help="number of requests of the soak test"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    if (args.model is None) != (args.texts is None):
        parser.error("-m and --texts must be given together")
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            args.model = f"{folder}/model"
            texts = make_model(args.model)
        else:
            lines = pathlib.Path(args.texts).read_text("utf-8").split("\n")
            texts = [text for text in lines if text.strip()]
        show(measure(args, texts), args.json)


def make_model(folder: str) -> list[str]:
    """Saves a model with random weights and returns sources for it."""
    from kseq import Translator, build_seq2seq
    from kseq.data import Vocabulary
    from kseq.decoding import LengthRatio

    letters = Vocabulary(list("abcdefghijklmnopqrstuvwxyz'"), tokenizer="characters")
    sounds = Vocabulary([f"S{k}" for k in range(39)])
    model = build_seq2seq(
        source_vocab_size=len(letters),
        target_vocab_size=len(sounds),
        encoder_direction="bidirectional",
        encoder_layers=2,
        units=512,
        embedding_dim=128,
        attention="general",
    )
    ratio = LengthRatio(0.86)  # the ratio of CMUDict
    Translator(model, letters, sounds, ratio).save(folder)
    rng = random.Random(0)
    return [
        "".join(rng.choices(letters.tokens[4:], k=rng.randint(3, 13)))
        for _ in range(5000)
    ]


def measure(args: argparse.Namespace, texts: list[str]) -> dict[str, Any]:
    """Measures both servers with every number of clients."""
    random.Random(0).shuffle(texts)
    requests = [request({"instances": [{"data": text}]}) for text in texts]
    results: dict[str, Any] = {"loads": []}
    with serving(args, 64) as batched, serving(args, 1) as alone:
        servers = {"batched": batched, "one by one": alone}
        for clients in args.clients:
            figures: dict[str, list[tuple[float, float, float]]] = {}
            for _ in range(args.rounds):
                for name, server in servers.items():
                    durations = asyncio.run(
                        load(server[0], requests, clients, args.seconds)
                    )
                    figures.setdefault(name, []).append(
                        summarize(durations, args.seconds)
                    )
            for name, rounds in figures.items():
                rate, middle, slow = map(statistics.median, zip(*rounds, strict=True))
                results["loads"].append(
                    {
                        "clients": clients,
                        "server": name,
                        "requests_per_second": round(rate, 1),
                        "p50_ms": round(1000 * middle, 1),
                        "p99_ms": round(1000 * slow, 1),
                    }
                )
        if args.soak:
            results["soak"] = soak(batched, requests, args.soak)
    return results


def show(results: dict[str, Any], as_json: bool) -> None:
    """Prints the figures."""
    if as_json:
        print(json.dumps(results))
        return
    print("| clients | server | requests/s | p50 ms | p99 ms |\n|---|---|---|---|---|")
    for row in results["loads"]:
        print("|", " | ".join(map(str, row.values())), "|")
    if "soak" in results:
        print(json.dumps(results["soak"]))


@contextlib.contextmanager
def serving(args: argparse.Namespace, max_batch: int) -> Iterator[tuple[int, int]]:
    """Starts a server and yields its port and its process id."""
    command = [sys.executable, "-m", "kseq", "serve", "-m", args.model, "--port", "0"]
    command += ["--beam", str(args.beam), "--max-batch", str(max_batch)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            match = re.match(r"http://[^:]*:(\d+)/", process.stderr.readline())
            assert match, process.stderr.read()
            port = int(match[1])
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    asyncio.run(load(port, [request({"instances": []})], 1, 0.01))
                    break
                time.sleep(0.2)
            yield port, process.pid
        finally:
            process.terminate()


def request(body: Any) -> bytes:
    """Returns the bytes of an HTTP request."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"{HEAD}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def load(
    port: int, requests: list[bytes], clients: int, seconds: float
) -> list[float]:
    """Sends requests from several clients.

    Args:
        port: Port of the server.
        requests: Contents of the requests.
        clients: Number of clients.
        seconds: Time to send requests.

    Returns:
        The time of each response, in seconds.
    """
    durations: list[float] = []
    end = time.perf_counter() + seconds

    async def client(k: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            start = time.perf_counter()
            status = await send(reader, writer, requests[k % len(requests)])
            assert status == 200, status
            if time.perf_counter() < end:
                durations.append(time.perf_counter() - start)
            k += clients
        writer.close()

    await asyncio.gather(*map(client, range(clients)))
    return durations


async def send(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes
) -> int:
    """Sends a request, reads its response and returns the status."""
    writer.write(content)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length, head
    await reader.readexactly(int(length[1]))
    return int(head.split(b" ", 2)[1])


def summarize(durations: list[float], seconds: float) -> tuple[float, float, float]:
    """Returns responses per second, and the median and 99th percentile of times."""
    ordered = sorted(durations)
    index = min(len(ordered) - 1, int(0.99 * len(ordered)))
    return len(durations) / seconds, statistics.median(ordered), ordered[index]


def soak(server: tuple[int, int], requests: list[bytes], count: int) -> dict[str, Any]:
    """Sends many requests, every tenth malformed, and measures the memory."""
    port, process = server
    statuses: dict[int, int] = {}

    async def send_range(first: int, last: int) -> None:
        async def client(k: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in range(first + k, last, 32):
                malformed = number % 10 == 0
                content = (
                    request(MALFORMED[number // 10 % len(MALFORMED)])
                    if malformed
                    else requests[number % len(requests)]
                )
                status = await send(reader, writer, content)
                statuses[status] = statuses.get(status, 0) + 1
                assert (400 <= status < 500) == malformed, (status, content)
            writer.close()

        await asyncio.gather(*map(client, range(32)))

    memory = []
    parts = 10
    for part in range(parts):
        asyncio.run(send_range(part * count // parts, (part + 1) * count // parts))
        status = pathlib.Path(f"/proc/{process}/status").read_text()
        memory.append(round(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024, 1))
    return {"requests": count, "statuses": statuses, "resident_mib": memory}


if __name__ == "__main__":
    main()
