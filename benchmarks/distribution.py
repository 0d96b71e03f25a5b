"""Training speed on one device, on two replicas of a process, and on two processes.

    python benchmarks/distribution.py [--json]

Each contestant trains the same model on the same global batches: an LSTM
encoder-decoder that copies sequences. The contestants run one after the other, in
several rounds. The time of a step is the median over the steps of a run, without the
first epoch, measured in callbacks. Prints the medians over the rounds, and the median
ratio of the time on one device to the time of each contestant.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path

CONTESTANTS = ("one device", "two replicas", "two processes")


def train(contestant: str, units: int, batch_size: int) -> float:
    """Trains in this process and returns the median time of a step in seconds."""
    import tensorflow as tf

    if contestant == "two replicas":
        (cpu,) = tf.config.list_physical_devices("CPU")
        device = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [device] * 2)
    from kseq.distribution import get_strategy

    names = dict(
        zip(CONTESTANTS, ("one_device", "mirrored", "multi_worker"), strict=True)
    )
    strategy = get_strategy(names[contestant])

    from kseq import build_seq2seq
    from kseq.data import CopyTask
    from kseq.training import StepTimes

    task = CopyTask(min_length=10, max_length=10)
    examples = task.sample(20 * batch_size, seed=0)
    with strategy.scope():
        model = build_seq2seq(
            source_vocab_size=len(task.vocab),
            target_vocab_size=len(task.vocab),
            units=units,
            embedding_dim=64,
        )
        model.compile()
    times = StepTimes()
    dataset = examples.dataset(batch_size, strategy=strategy)
    model.fit(dataset, epochs=3, verbose=0, callbacks=[times])
    return statistics.median(times.times[20:])


def measure(contestant: str, units: int, batch_size: int) -> float:
    """Runs a contestant in new processes and returns its time per step in seconds."""
    count = 2 if contestant == "two processes" else 1
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    processes = []
    for index in range(count):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": workers}, "task": task})
        cluster = {"TF_CONFIG": config} if count > 1 else {}
        command = [sys.executable, __file__, "--run", contestant]
        command += ["--units", str(units), "--batch-size", str(batch_size)]
        processes.append(
            subprocess.Popen(
                command,
                env={**os.environ, **cluster},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    return max(float(output.split()[-1]) for output in outputs)


def main() -> None:
    """Prints the table or JSON."""
    parser = argparse.ArgumentParser(
        description="Compare training on one device and on several."
    )
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=128, help="over all replicas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if args.run:
        print(train(args.run, args.units, args.batch_size))
        return
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(args.rounds):
        for name in CONTESTANTS:
            seconds[name].append(measure(name, args.units, args.batch_size))
    rows = [
        {
            "contestant": name,
            "ms_per_step": 1000 * statistics.median(times),
            "ratio": statistics.median(
                one / own for one, own in zip(seconds["one device"], times, strict=True)
            ),
        }
        for name, times in seconds.items()
    ]
    if args.json:
        print(json.dumps(rows))
        return
    print(f"{Path(__file__).name}: units {args.units}, batch {args.batch_size}")
    print("| contestant | ms per step | speed, one device = 1 |")
    print("|---|---|---|")
    for row in rows:
        print(
            f"| {row['contestant']} | {row['ms_per_step']:.1f} | {row['ratio']:.2f} |"
        )


if __name__ == "__main__":
    main()
