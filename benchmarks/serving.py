"""Measures `kseq serve` on loopback: throughput and latency, with and without batches.

    python benchmarks/serving.py [-m g2p --texts words.txt] [--soak 50000] [--json]

starts two servers, one that batches and one that does not, and lets so many clients ask
one request after another, each over a connection that stays open. The servers take
turns, so that what else the machine does meets both. `--soak N` sends N requests more,
some of them malformed, and tells how the server's memory has changed. Clients and
server share the machine's cores.

Without a model it is one of the size of examples/g2p.yaml that has learned nothing,
with outputs as long as pronunciations are.
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
# Of the soak: what is wrong, and must be refused with a status of 400 to 499.
ABUSE = (b"", b"{", b"[]", b"\xff\xfe", b'{"instances": 3}', b'{"instances": [{}]}')


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", help="folder of a model")
    parser.add_argument("--texts", help="file of sources for it, one a line")
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=int, default=0, help="requests of the soak")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    if (args.model is None) != (args.texts is None):
        parser.error("-m and --texts belong together")
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            args.model = f"{folder}/model"
            texts = make_model(args.model)
        else:
            lines = pathlib.Path(args.texts).read_text("utf-8").split("\n")
            texts = [text for text in lines if text.strip()]
        show(measure(args, texts), args.json)


def make_model(folder: str) -> list[str]:
    """Saves a model with random weights; returns sources for it."""
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
    ratio = LengthRatio(0.86)  # that of CMUDict
    Translator(model, letters, sounds, ratio).save(folder)
    draw = random.Random(0)
    return [
        "".join(draw.choices(letters.tokens[4:], k=draw.randint(3, 13)))
        for _ in range(5000)
    ]


def measure(args: argparse.Namespace, texts: list[str]) -> dict[str, Any]:
    """Measures all settings; returns the figures."""
    random.Random(0).shuffle(texts)
    requests = [request({"instances": [{"data": text}]}) for text in texts]
    found: dict[str, Any] = {"loads": []}
    with serving(args, 64) as batched, serving(args, 1) as alone:
        servers = {"batched": batched, "one by one": alone}
        for clients in args.clients:
            figures: dict[str, list[tuple[float, float, float]]] = {}
            for _ in range(args.rounds):
                for name, server in servers.items():
                    taken = asyncio.run(
                        load(server[0], requests, clients, args.seconds)
                    )
                    figures.setdefault(name, []).append(summary(taken, args.seconds))
            for name, rounds in figures.items():
                rate, middle, slow = map(statistics.median, zip(*rounds, strict=True))
                found["loads"].append(
                    {
                        "clients": clients,
                        "server": name,
                        "requests_per_second": round(rate, 1),
                        "p50_ms": round(1000 * middle, 1),
                        "p99_ms": round(1000 * slow, 1),
                    }
                )
        if args.soak:
            found["soak"] = soak(batched, requests, args.soak)
    return found


def show(found: dict[str, Any], as_json: bool) -> None:
    """Prints the figures."""
    if as_json:
        print(json.dumps(found))
        return
    print("| clients | server | requests/s | p50 ms | p99 ms |\n|---|---|---|---|---|")
    for row in found["loads"]:
        print("|", " | ".join(map(str, row.values())), "|")
    if "soak" in found:
        print(json.dumps(found["soak"]))


@contextlib.contextmanager
def serving(args: argparse.Namespace, max_batch: int) -> Iterator[tuple[int, int]]:
    """Starts a server; gives its port and its process number."""
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
    """Returns a request as it goes over the wire."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"{HEAD}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def load(
    port: int, requests: list[bytes], clients: int, seconds: float
) -> list[float]:
    """Lets clients ask for so long; returns the seconds of each answer."""
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def client(k: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            began = time.perf_counter()
            status = await ask(reader, writer, requests[k % len(requests)])
            assert status == 200, status
            if time.perf_counter() < end:
                taken.append(time.perf_counter() - began)
            k += clients
        writer.close()

    await asyncio.gather(*map(client, range(clients)))
    return taken


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes
) -> int:
    """Sends a request and reads its response; returns the status."""
    writer.write(content)
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length, head
    await reader.readexactly(int(length[1]))
    return int(head.split(b" ", 2)[1])


def summary(taken: list[float], seconds: float) -> tuple[float, float, float]:
    """Returns answers a second, the median of their times, and the 99th of 100."""
    ordered = sorted(taken)
    at = min(len(ordered) - 1, int(0.99 * len(ordered)))
    return len(taken) / seconds, statistics.median(ordered), ordered[at]


def soak(server: tuple[int, int], requests: list[bytes], count: int) -> dict[str, Any]:
    """Sends many requests, every tenth of them malformed, and looks at the memory."""
    port, process = server
    statuses: dict[int, int] = {}

    async def some(first: int, last: int) -> None:
        async def client(k: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in range(first + k, last, 32):
                bad = number % 10 == 0
                content = (
                    request(ABUSE[number // 10 % len(ABUSE)])
                    if bad
                    else requests[number % len(requests)]
                )
                status = await ask(reader, writer, content)
                statuses[status] = statuses.get(status, 0) + 1
                assert (400 <= status < 500) == bad, (status, content)
            writer.close()

        await asyncio.gather(*map(client, range(32)))

    memory = []
    parts = 10
    for part in range(parts):
        asyncio.run(some(part * count // parts, (part + 1) * count // parts))
        status = pathlib.Path(f"/proc/{process}/status").read_text()
        memory.append(round(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024, 1))
    return {"requests": count, "statuses": statuses, "resident_mib": memory}


if __name__ == "__main__":
    main()
