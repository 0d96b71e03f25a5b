"""A sweep over the settings of an LSTM that learns addition.

Trains an encoder-decoder on sums of two numbers for each number of units, with the
source in its original order and reversed (Sutskever et al., 2014). Ranks the models by
the share of validation sums that are right in every digit.

    python examples/sweep_addition.py

Writes results.csv (one row for each trial), sweep.png (accuracy against each setting)
and sweeps/addition/ (the sweep, with the best model in best/) into the current folder.
The same command continues an interrupted sweep.
"""

import argparse
import time

import keras

from kseq import Translator
from kseq.data import AdditionTask
from kseq.plotting import sweep as plot_sweep
from kseq.tuning import search


def main() -> None:
    """Runs the sweep and prints its results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--digits", type=int, default=3, help="maximum number of digits of an operand"
    )
    parser.add_argument("--train-size", type=int, default=40_000)
    parser.add_argument("--valid-size", type=int, default=2_000)
    parser.add_argument("--units", type=int, nargs="+", default=[64, 128, 192])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="delete an existing sweep and start again",
    )
    args = parser.parse_args()

    begin = time.perf_counter()
    task = AdditionTask(digits=args.digits)
    data = task.split(args.train_size, args.valid_size, seed=args.seed)
    updates = args.epochs * -(-args.train_size // args.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, updates, warmup_target=0.003, warmup_steps=updates // 20
    )
    sweep = search(
        data,
        {"units": args.units, "reverse_source": [False, True]},
        tuner="grid",
        objective="val_sequence_accuracy",
        source_representation="one_hot",
        learning_rate=schedule,
        global_clipnorm=1.0,
        batch_size=args.batch_size,
        validation_batch_size=1000,
        max_epochs=args.epochs,
        seed=args.seed,
        project_name="addition",
        overwrite=args.overwrite,
        verbose=2,
    )
    table = sweep.results()
    table.to_csv("results.csv", index=False)
    plot_sweep(table, path="sweep.png")
    shown = ["units", "reverse_source", "score", "parameters", "seconds"]
    print(table[shown].to_string(index=False))

    translator = Translator.load(sweep.folder / "best")
    sums = data[1][:5].source_texts()
    for x, answer in zip(sums, translator.translate(sums), strict=True):
        print(f"{x} = {answer}" + ("" if answer == task.answer(x) else "  (wrong)"))
    print(f"best: {sweep.best_hyperparameters}")
    print(f"took {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
