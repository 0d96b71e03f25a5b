"""Encoder-decoders learn to pronounce: "PHONE" -> "F OW N".

Trains bidirectional LSTM encoders and LSTM decoders with attention on the CMU
Pronouncing Dictionary, without the words of its development set, and measures there
what they say together: an output is right if it equals any pronunciation of the word
(WER), and the edits are counted to the closest one (PER), greedily and with a beam
of 5.

    python examples/g2p.py

downloads the dictionary (or reads it, --data FOLDER) and writes g2p-0/ and g2p-1/,
model folders from which `kseq translate -m g2p-0 g2p-1` pronounces words. An hour on
two cores; stopped and started again with --resume it goes on where it was.
"""

import argparse

from kseq import TrainingSettings, Translator, train
from kseq.data import Examples, Vocabulary, cmudict, encode_pairs
from kseq.decoding import BeamSearch
from kseq.evaluation import evaluate_texts, group_references
from kseq.training import TrainingResult


def main() -> None:
    """Trains and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of the dictionary's files")
    parser.add_argument(
        "--any-files", action="store_true", help="do not check that they are the public"
    )
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--members", type=int, default=2, help="how many models")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--output", default="g2p", help="folders of models, without -N")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args()

    where = {"folder": args.data, "verify": not args.any_files}
    words = cmudict("train", **where)
    letters = Vocabulary.build((word for word, _ in words), "characters")
    phonemes = Vocabulary.build(phonemes for _, phonemes in words)
    examples, _ = encode_pairs(words, letters, phonemes)
    print(f"{words.report()}; {len(letters)} letters, {len(phonemes)} phonemes")

    dev = cmudict("dev", **where).lists()
    folders = []
    seconds = 0.0
    for member in range(args.members):
        result = learn(f"{args.output}-{member}", member, examples, dev, args)
        folders.append(result.folder)
        seconds += result.metrics["seconds"].iloc[-1]

    translator = Translator.load(folders)
    sources, references = group_references(*dev)
    for name, search in (("greedy", "greedy"), ("beam 5", BeamSearch(beam_width=5))):
        outputs = translator.translate(sources, search)
        scores = evaluate_texts(outputs, references, ["wer", "per"])
        print(f"{name}: WER {scores['wer']:.4f}, PER {scores['per']:.4f}")
    print(f"trained for {seconds / 60:.1f} minutes, validation counted")


def learn(
    folder: str,
    seed: int,
    examples: Examples,
    dev: tuple[list[str], list[str]],
    args: argparse.Namespace,
) -> TrainingResult:
    """Trains one model into a folder."""
    updates_an_epoch = -(-len(examples) // args.batch_size)
    updates = args.epochs * updates_an_epoch
    return train(
        folder,
        examples,
        dev,
        {
            "encoder_direction": "bidirectional",
            "units": args.units,
            "encoder_layers": 2,
            "encoder_dropout": 0.3,
            "embedding_dim": 128,
            "embedding_dropout": 0.1,
            "attention": "general",
            "hidden_dropout": 0.3,
        },
        TrainingSettings(
            batch_size=args.batch_size,
            learning_rate=0.002,
            schedule="cosine",
            # Two epochs more: the last would otherwise be learnt at a rate of nearly 0.
            decay_steps=updates + 2 * updates_an_epoch,
            warmup_steps=updates // 15,
            label_smoothing=0.1,
            max_updates=updates,
            checkpoint_updates=updates_an_epoch,
            max_checkpoints_not_improved=0,
            metrics=("wer", "per", "perplexity"),
            seed=seed,
        ),
        resume=args.resume,
        overwrite=args.overwrite,
    )


if __name__ == "__main__":
    main()
