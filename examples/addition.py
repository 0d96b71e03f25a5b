"""An LSTM learns to add: "325+78" -> "403".

Trains an encoder-decoder on 50,000 sums of two numbers of up to three digits, and shows
some right and wrong answers during training. Then it measures the model by greedy
decoding on 5,000 sums. Their two operands are together in no other example, in neither
order.

    python examples/addition.py

Writes adder/ (the model and its vocabulary) and addition.png (the learning curve) into
the current folder. `--epochs 2 --train-size 2000` is a quick trial; its model cannot
add yet.
"""

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import keras

from kseq import Translator, build_seq2seq
from kseq.data import AdditionTask
from kseq.plotting import learning_curve
from kseq.training import StepTimes


def show(task: AdditionTask, sums: Sequence[str], answers: Sequence[str]) -> None:
    """Prints sums with their answers, each marked as right or wrong."""
    for text, answer in zip(sums, answers, strict=True):
        mark = "✓" if answer == task.answer(text) else "✗"
        print(f"  {text.strip()} = {answer}  {mark}")


class Progress(keras.callbacks.Callback):
    """Prints a line after each epoch, and sums after every `every` epochs."""

    def __init__(self, task: AdditionTask, sums: Sequence[str], every: int) -> None:
        super().__init__()
        self.task, self.sums, self.every = task, sums, every

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs, last = logs or {}, self.params["epochs"]
        print(
            f"epoch {epoch + 1}/{last}: loss {logs['loss']:.4f}, "
            f"validation loss {logs['val_loss']:.4f}, "
            f"right sums {logs['val_sequence_accuracy']:.2%}",
            flush=True,
        )
        if (epoch + 1) % self.every == 0 and epoch + 1 < last:
            translator = Translator(self.model, self.task.vocab, self.task.vocab)
            show(self.task, self.sums, translator.translate(self.sums))


def main() -> None:
    """Trains a model, saves it and measures it."""
    parser = argparse.ArgumentParser(description="An LSTM learns to add.")
    parser.add_argument(
        "--digits", type=int, default=3, help="maximum number of digits of an operand"
    )
    parser.add_argument("--train-size", type=int, default=50_000)
    parser.add_argument("--test-size", type=int, default=5_000)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="adder", help="model folder to write")
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    task = AdditionTask(digits=args.digits)
    train, valid, test = task.split(
        args.train_size, args.test_size, test_size=args.test_size, seed=args.seed
    )
    model = build_seq2seq(
        source_vocab_size=len(task.vocab),
        target_vocab_size=len(task.vocab),
        units=args.units,
        source_representation="one_hot",
        reverse_source=True,
    )
    print(f"training {model.count_params():,} weights on {len(train):,} sums")
    updates = args.epochs * -(-args.train_size // args.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, updates, warmup_target=args.learning_rate, warmup_steps=updates // 20
    )
    model.compile(
        optimizer=keras.optimizers.Adam(schedule, global_clipnorm=1.0),
        metrics=["token_accuracy", "sequence_accuracy"],
    )
    times = StepTimes()
    history = model.fit(
        train.dataset(args.batch_size, seed=args.seed),
        validation_data=valid.dataset(1000, shuffle=False),
        epochs=args.epochs,
        # Draw Keras's progress bar only on a terminal.
        verbose=1 if sys.stdout.isatty() else 0,
        callbacks=[times, Progress(task, valid[:8].source_texts(), every=5)],
    )

    learning_curve(history, path="addition.png")
    translator = Translator(model, task.vocab, task.target_vocab)
    translator.save(args.output, overwrite=True)
    print(f"saved the model to {args.output}/ and its learning curve to addition.png")
    print(f"training steps took {times.total:.0f} s")

    sums = test.source_texts()
    answers = translator.translate(sums)
    right = sum(a == task.answer(x) for x, a in zip(sums, answers, strict=True))
    print("sums that are not in the training data:")
    show(task, sums[:10], answers[:10])
    print(f"whole-sum accuracy: {right / len(sums):.4f}")
    # `make demo` runs in .venv, which may not be on the user's PATH.
    command = "kseq"
    if shutil.which(command) is None:
        command = os.path.relpath(Path(sys.executable).with_name(command))
    folder = shlex.quote(args.output)
    print("try your own sum:")
    print(f"  echo {sums[0].strip()} | {command} translate -m {folder}")


if __name__ == "__main__":
    main()
