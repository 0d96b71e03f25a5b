"""An LSTM with attention learns to reverse sequences: "3 10 7" -> "7 10 3".

Trains the model of JoeyNMT's tutorial: an encoder with 64 units in each direction, a
decoder with 64 units, attention and input feeding, embeddings of 16. The data are
50,000 sequences of 1 to 25 symbols, out of 50 symbols. The model is measured by greedy
decoding on 1,000 sequences of 1 to 30 symbols, by BLEU and by whole sequences.

    python examples/reverse_task.py

Writes reverser/ (the model and its vocabulary) and attention.png (the attention weights
of one sequence) into the current folder. Needs the extras `text` and `plot`.
"""

import argparse

import keras
import numpy as np
import sacrebleu

from kseq import Translator, build_seq2seq, preset
from kseq.data import ReverseTask
from kseq.plotting import attention_map
from kseq.training import ShowExamples, StepTimes


def main() -> None:
    """Trains a model, saves it and measures it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attention", default="general", help="name of an attention")
    parser.add_argument("--train-size", type=int, default=50_000)
    parser.add_argument("--dev-size", type=int, default=1_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--output", default="reverser", help="model folder to write")
    args = parser.parse_args()

    keras.utils.set_random_seed(args.seed)
    task = ReverseTask()
    train, dev = task.split(args.train_size, args.dev_size, seed=args.seed)
    model = build_seq2seq(preset("joeynmt-rnn", attention=args.attention))
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
        callbacks=[times, ShowExamples(dev[:2], every=5)],
    )
    print(f"training steps took {times.total:.0f} s")

    translator = Translator(model, task.vocab, task.vocab)
    translator.save(args.output, overwrite=True)
    # Another seed, with some sequences longer than in training, as in the tutorial.
    test = ReverseTask(max_length=30).sample(1_000, seed=args.seed + 1)
    sources, references = test.source_texts(), test.target_texts()
    answers = translator.translate(sources)
    longest = max(range(len(sources)), key=lambda k: len(sources[k]))
    hypotheses = model.generate(
        test.source[longest : longest + 1], return_attention=True
    )
    source = task.vocab.ids_to_tokens(test.source[longest])
    output = task.vocab.ids_to_tokens(hypotheses.tokens[0, 0])
    weights = np.asarray(hypotheses.attention)[0, 0, : len(output), : len(source)]
    attention_map(source, output, weights, path="attention.png")
    print(f"saved the model to {args.output}/ and an attention map to attention.png")

    right = sum(x == y for x, y in zip(answers, references, strict=True))
    print(f"whole-sequence accuracy: {right / len(sources):.4f}")
    bleu = sacrebleu.corpus_bleu(answers, [references], tokenize="none")
    print(f"BLEU: {bleu.score:.1f}")


if __name__ == "__main__":
    main()
