"""How soon each kind of attention learns to copy and to reverse, and how fast.

    python benchmarks/attention.py [--task copy|reverse] [--json]

Trains a model for each kind of attention, with and without input feeding, until 99 % of
the development sequences are right in every symbol, looked at every 100 updates (under
teacher forcing: greedy decoding gets just those right), or until `--max-updates`.
Sizes are those of the presets `sockeye-seqcopy` and `joeynmt-rnn`, the rate a constant
0.003, the batches of 64. Printed are the updates, the seconds of the training steps,
and the whole-sequence accuracy by greedy decoding on lengths that training never saw.
"""

import argparse
import json
from typing import Any

import keras

from kseq import build_seq2seq, preset
from kseq.data import CopyTask, ReverseTask
from kseq.training import StepTimes

KINDS = (
    "none",
    "dot",
    "scaled_dot",
    "general",
    "additive",
    "multi_head_dot",
    "location",
    "location_sensitive",
    "coverage",
    "fixed",
)
PRESETS = {"copy": "sockeye-seqcopy", "reverse": "joeynmt-rnn"}
TASKS = {"copy": CopyTask, "reverse": ReverseTask}
UNSEEN = {"copy": [(1, 9), (31, 45), (46, 60)], "reverse": [(26, 30), (31, 45)]}


class UntilRight(keras.callbacks.Callback):
    """Stops the training when 99 % of the development sequences are right."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Looks at what the development set gave."""
        self.epochs = epoch + 1
        self.accuracy = (logs or {})["val_sequence_accuracy"]
        self.model.stop_training = self.accuracy >= 0.99


def measure(
    name: str, kind: str, input_feeding: bool, args: argparse.Namespace
) -> dict[str, Any]:
    """Trains one model; returns a row of the table."""
    task = TASKS[name]()
    train, dev = task.split(args.train_size, args.dev_size, seed=args.seed)
    keras.utils.set_random_seed(args.seed)
    model = build_seq2seq(
        preset(
            PRESETS[name],
            attention=None if kind == "none" else kind,
            input_feeding=input_feeding,
            # The dot product needs a query as wide as the memory, or projections.
            attention_units=64 if kind in ("dot", "scaled_dot") else None,
            hidden_dropout=args.hidden_dropout,
            recurrent_dropout=args.recurrent_dropout,
            embedding_dropout=0.0,
        )
    )
    model.compile(
        optimizer=keras.optimizers.Adam(args.learning_rate, global_clipnorm=1.0),
        metrics=["sequence_accuracy"],
    )
    until, times = UntilRight(), StepTimes()
    model.fit(
        train.dataset(args.batch_size, seed=args.seed, repeat=True),
        steps_per_epoch=args.every,
        epochs=args.max_updates // args.every,
        validation_data=dev.dataset(500, shuffle=False),
        callbacks=[until, times],
        verbose=0,
    )
    unseen = {}
    for shortest, longest in UNSEEN[name]:
        lengths = TASKS[name](min_length=shortest, max_length=longest)
        examples = lengths.sample(args.dev_size, seed=args.seed)
        answers = task.decode(model.generate(examples.source).tokens)
        right = sum(
            x == y for x, y in zip(answers, examples.target_texts(), strict=True)
        )
        unseen[f"{shortest}-{longest}"] = right / len(answers)
    return {
        "task": name,
        "attention": kind,
        "input_feeding": input_feeding,
        "reached": bool(until.accuracy >= 0.99),
        "updates": until.epochs * args.every,
        "seconds": times.total,
        "accuracy": float(until.accuracy),
        "unseen": unseen,
    }


def main() -> None:
    """Prints the table row by row, or JSON."""
    parser = argparse.ArgumentParser(description="Kinds of attention compared.")
    parser.add_argument("--task", choices=TASKS, default="copy")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--train-size", type=int, default=50_000)
    parser.add_argument("--dev-size", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--hidden-dropout", type=float, default=0.0)
    parser.add_argument("--recurrent-dropout", type=float, default=0.0)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--max-updates", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    lengths = [f"{low}-{high}" for low, high in UNSEEN[args.task]]
    if not args.json:
        print("| attention | input feeding | updates | seconds | accuracy |", end="")
        print("".join(f" {each} |" for each in lengths))
        print("|---" * (5 + len(lengths)) + "|", flush=True)
    rows = []
    for kind in args.kinds:
        for input_feeding in (False, True):
            if kind == "none" and input_feeding:
                continue
            row = measure(args.task, kind, input_feeding, args)
            rows.append(row)
            if args.json:
                continue
            more = "" if row["reached"] else "> "
            cells = [
                row["attention"],
                "yes" if row["input_feeding"] else "no",
                f"{more}{row['updates']}",
                f"{row['seconds']:.0f}",
                f"{row['accuracy']:.3f}",
                *(f"{row['unseen'][each]:.3f}" for each in lengths),
            ]
            print("| " + " | ".join(cells) + " |", flush=True)
    if args.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
