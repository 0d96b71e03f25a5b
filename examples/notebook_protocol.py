"""The well-known notebook on addition, measured by its rule and by stricter ones.

Trains on 5,000 sums of two numbers of up to three digits, right-justified, for 200
epochs with batches of 128, Adam and 128 units. The source is plain or reversed, one-hot
or embedded. The learning rate is constant, 0.001 as in the notebook, or falls from
0.003 to 0 along a cosine. Each model is measured on 1,000 sums whose operands are
together in no training example:

- token accuracy under teacher forcing with the first character given, as in the
  notebook. (It trains on y[:-1] -> y[1:] without a start token, so the model never
  predicts the first character.)
- token accuracy under teacher forcing at all positions
- share of whole sums that are right, with greedy decoding

    python examples/notebook_protocol.py

Prints a table.
"""

import argparse
import itertools

import keras
import numpy as np

from kseq import build_seq2seq
from kseq.data import AdditionTask


def run(
    representation: str, reverse: bool, cosine: bool, epochs: int, seed: int
) -> list[float]:
    """Trains one model and returns its three accuracies."""
    keras.utils.set_random_seed(seed)
    task = AdditionTask(digits=3)
    train, test = task.split(5_000, 1_000, seed=seed)
    model = build_seq2seq(
        source_vocab_size=len(task.vocab),
        target_vocab_size=len(task.vocab),
        units=128,
        source_representation=representation,
        reverse_source=reverse,
    )
    updates = epochs * -(-len(train) // 128)
    cosine_rate = keras.optimizers.schedules.CosineDecay(0.003, updates)
    model.compile(optimizer=keras.optimizers.Adam(cosine_rate if cosine else 0.001))
    model.fit(train.dataset(128, seed=seed), epochs=epochs, verbose=0)

    inputs, targets = test.arrays()
    after_first = np.ones(targets.shape, "float32")
    after_first[:, 0] = 0
    accuracies = [
        model.evaluate(inputs, targets, sample_weight=weight, verbose=0)[1]
        for weight in (after_first, None)
    ]
    outputs = model.generate(test.source, max_length=targets.shape[1]).tokens[:, 0]
    width = targets.shape[1] - outputs.shape[1]
    whole = (np.pad(outputs, ((0, 0), (0, width))) == targets).all(axis=1).mean()
    return [*accuracies, float(whole)]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description="Measure addition by the rule of the notebook."
    )
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(
        "| source | reversed | learning rate | first character given | all positions "
        "| whole sums |"
    )
    print("|---|---|---|---|---|---|")
    for representation, reverse, cosine in itertools.product(
        ("one_hot", "embedding"), (False, True), (False, True)
    ):
        accuracies = run(representation, reverse, cosine, args.epochs, args.seed)
        row = [
            representation,
            "yes" if reverse else "no",
            "cosine" if cosine else "constant",
            *(f"{100 * accuracy:.1f} %" for accuracy in accuracies),
        ]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
