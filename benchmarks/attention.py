"""Number of updates that each kind of attention needs to learn to copy or reverse.

    python benchmarks/attention.py [--task copy|reverse] [--json]

Trains a model for each kind of attention, with and without input feeding. Training
stops when 99 % of the development sequences are right in every symbol, measured every
100 updates, or at `--max-updates`. (The accuracy is measured under teacher forcing;
greedy decoding gets the same sequences right.) Sizes are those of the presets
`sockeye-seqcopy` and `joeynmt-rnn`, the learning rate is constant, 0.003, and batches
have 64 pairs.

Prints the number of updates, the time of the training steps in seconds, and the
whole-sequence accuracy of greedy decoding on lengths that are not in the training data.
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


class StopWhenRight(keras.callbacks.Callback):
    """Stops training when 99 % of the development sequences are right."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Reads the accuracy on the development set."""
        self.epochs = epoch + 1
        self.accuracy = (logs or {})["val_sequence_accuracy"]
        self.model.stop_training = self.accuracy >= 0.99


def measure(
    name: str, kind: str, input_feeding: bool, args: argparse.Namespace
) -> dict[str, Any]:
    """Trains one model and returns a row of the table."""
    task = TASKS[name]()
    train, dev = task.split(args.train_size, args.dev_size, seed=args.seed)
    keras.utils.set_random_seed(args.seed)
    model = build_seq2seq(
        preset(
            PRESETS[name],
            attention=None if kind == "none" else kind,
            input_feeding=input_feeding,
            # The dot product needs equal widths of query and memory, or projections.
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
    stopping, times = StopWhenRight(), StepTimes()
    model.fit(
        train.dataset(args.batch_size, seed=args.seed, repeat=True),
        steps_per_epoch=args.every,
        epochs=args.max_updates // args.every,
        validation_data=dev.dataset(500, shuffle=False),
        callbacks=[stopping, times],
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
        "reached": bool(stopping.accuracy >= 0.99),
        "updates": stopping.epochs * args.every,
        "seconds": times.total,
        "accuracy": float(stopping.accuracy),
        "unseen": unseen,
    }


def main() -> None:
    """Prints the table row by row, or JSON at the end."""
    parser = argparse.ArgumentParser(description="Compare the kinds of attention.")
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
            prefix = "" if row["reached"] else "> "
            cells = [
                row["attention"],
                "yes" if row["input_feeding"] else "no",
                f"{prefix}{row['updates']}",
                f"{row['seconds']:.0f}",
                f"{row['accuracy']:.3f}",
                *(f"{row['unseen'][each]:.3f}" for each in lengths),
            ]
            print("| " + " | ".join(cells) + " |", flush=True)
    if args.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
