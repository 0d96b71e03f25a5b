r"""An LSTM with attention learns to copy sequences: "3 10 7" -> "3 10 7".

Trains Sockeye 1's sequence copy model: an encoder with 64 units in both directions, a
decoder with 64 units, embeddings of 32, dot attention. The data are 99,000 sequences of
10 to 30 symbols, out of 11 symbols. The model is measured on lengths that are not in
the training data, and on the development set by perplexity and greedy decoding.

    python examples/copy_task.py
    python examples/copy_task.py --attention location_sensitive --hidden-dropout 0.2 \
        --recurrent-dropout 0.2

Writes copier/ (the model and its vocabulary) and attention.png (the attention weights
of one sequence) into the current folder.
"""

import argparse

import keras
import numpy as np

from kseq import Translator, build_seq2seq, preset
from kseq.data import CopyTask, Examples
from kseq.plotting import attention_map
from kseq.training import ShowExamples, StepTimes


def main() -> None:
    """Trains a model, saves it and measures it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attention", default="dot", help="name of an attention")
    parser.add_argument("--input-feeding", action="store_true")
    parser.add_argument("--hidden-dropout", type=float, default=0.0)
    parser.add_argument("--recurrent-dropout", type=float, default=0.0)
    parser.add_argument("--train-size", type=int, default=99_000)
    parser.add_argument("--dev-size", type=int, default=1_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--output", default="copier", help="model folder to write")
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    task = CopyTask()
    train, dev = task.split(args.train_size, args.dev_size, seed=args.seed)
    model = build_seq2seq(
        preset(
            "sockeye-seqcopy",
            attention=args.attention,
            input_feeding=args.input_feeding,
            hidden_dropout=args.hidden_dropout,
            recurrent_dropout=args.recurrent_dropout,
        )
    )
    model.summary()

    updates = args.epochs * -(-args.train_size // args.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, updates, warmup_target=args.learning_rate, warmup_steps=updates // 20
    )
    model.compile(
        optimizer=keras.optimizers.Adam(schedule, global_clipnorm=1.0),
        metrics=["token_accuracy", "perplexity"],
    )
    times = StepTimes()
    model.fit(
        train.dataset(args.batch_size, seed=args.seed),
        validation_data=dev.dataset(500, shuffle=False),
        epochs=args.epochs,
        callbacks=[times, ShowExamples(dev[:2])],
    )
    print(f"training steps took {times.total:.0f} s")

    translator = Translator(model, task.vocab, task.vocab)
    translator.save(args.output, overwrite=True)
    hypotheses = model.generate(dev.source[:1], return_attention=True)
    source = task.vocab.ids_to_tokens(dev.source[0])
    output = task.vocab.ids_to_tokens(hypotheses.tokens[0, 0])
    weights = np.asarray(hypotheses.attention)[0, 0, : len(output), : len(source)]
    attention_map(source, output, weights, path="attention.png")
    print(f"saved the model to {args.output}/ and an attention map to attention.png")

    for shortest, longest in ((1, 9), (31, 45), (46, 60)):
        lengths = CopyTask(min_length=shortest, max_length=longest)
        examples = lengths.sample(min(500, args.dev_size), seed=args.seed)
        share = measure_accuracy(translator, examples)
        print(f"accuracy on {shortest} to {longest} symbols: {share:.4f}")
    result = model.evaluate(
        dev.dataset(500, shuffle=False), verbose=0, return_dict=True
    )
    print(f"development perplexity: {result['perplexity']:.4f}")
    print(f"whole-sequence accuracy: {measure_accuracy(translator, dev):.4f}")


def measure_accuracy(translator: Translator, examples: Examples) -> float:
    """Returns the share of sequences that are copied without an error."""
    sources = examples.source_texts()
    answers = translator.translate(sources)
    right = sum(x == answer for x, answer in zip(sources, answers, strict=True))
    return right / len(sources)


if __name__ == "__main__":
    main()
