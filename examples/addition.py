"""An LSTM learns to add: "325+78" -> "403".

Trains an encoder-decoder on 50,000 sums of two numbers of up to three digits, shows
some it gets right and wrong on the way, and measures it by greedy decoding on 5,000
sums whose two operands are together in no other example, in neither order.

    python examples/addition.py

writes adder/ (the model and its vocabulary) and addition.png (the learning curve) into
the current folder.
"""

import argparse

import keras

from kseq import Translator, build_seq2seq
from kseq.data import AdditionTask
from kseq.plotting import learning_curve
from kseq.training import ShowExamples, StepTimes


def main() -> None:
    """Trains, shows, measures and saves."""
    parser = argparse.ArgumentParser(description="An LSTM learns to add.")
    parser.add_argument("--digits", type=int, default=3, help="digits of an operand")
    parser.add_argument("--train-size", type=int, default=50_000)
    parser.add_argument("--test-size", type=int, default=5_000)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="adder", help="folder of the model")
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
    model.summary()

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
        callbacks=[times, ShowExamples(valid[:8], every=5)],
    )

    learning_curve(history, path="addition.png")
    translator = Translator(model, task.vocab, task.vocab)
    translator.save(args.output, overwrite=True)
    print(f"saved the model to {args.output}/ and its learning curve to addition.png")
    print(f"training steps took {times.total:.0f} s")

    sums = test.source_texts()
    answers = translator.translate(sums)
    right = sum(a == task.answer(x) for x, a in zip(sums, answers, strict=True))
    print(f"whole-sum accuracy: {right / len(sums):.4f}")


if __name__ == "__main__":
    main()
