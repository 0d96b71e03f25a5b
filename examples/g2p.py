"""Encoder-decoders learn to pronounce: "PHONE" -> "F OW N".

Trains two models with a bidirectional LSTM encoder, an LSTM decoder and attention on
the CMU Pronouncing Dictionary, without the words of its development set. Their ensemble
is measured on the development set, with greedy search and with a beam width of 5. An
output is right if it equals any pronunciation of the word (WER); edits are counted to
the closest pronunciation (PER).

    python examples/g2p.py

Downloads the dictionary, or reads it from --data FOLDER. Writes the model folders
g2p-0/ and g2p-1/; `kseq translate -m g2p-0 g2p-1` then pronounces words. Takes an hour
on two cores. --resume continues an interrupted training.
"""

import argparse

from kseq import TrainingSettings, Translator, train
from kseq.data import Examples, Vocabulary, cmudict, encode_pairs
from kseq.decoding import BeamSearch
from kseq.evaluation import evaluate_texts, group_references
from kseq.training import TrainingResult


def main() -> None:
    """Trains the models and measures their ensemble."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with the files of the dictionary")
    parser.add_argument(
        "--any-files", action="store_true", help="do not verify the checksums of --data"
    )
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--members", type=int, default=2, help="number of models")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument(
        "--output", default="g2p", help="model folders, without the suffix -N"
    )
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--overwrite", action="store_true")
    args = parser.parse_args()

    location = {"folder": args.data, "verify": not args.any_files}
    words = cmudict("train", **location)
    letters = Vocabulary.build((word for word, _ in words), "characters")
    phonemes = Vocabulary.build(phonemes for _, phonemes in words)
    examples, _ = encode_pairs(words, letters, phonemes)
    print(f"{words.report()}; {len(letters)} letters, {len(phonemes)} phonemes")

    dev = cmudict("dev", **location).lists()
    folders = []
    seconds = 0.0
    for member in range(args.members):
        result = train_member(f"{args.output}-{member}", member, examples, dev, args)
        folders.append(result.folder)
        seconds += result.metrics["seconds"].iloc[-1]

    translator = Translator.load(folders)
    sources, references = group_references(*dev)
    for name, search in (("greedy", "greedy"), ("beam 5", BeamSearch(beam_width=5))):
        outputs = translator.translate(sources, search)
        scores = evaluate_texts(outputs, references, ["wer", "per"])
        print(f"{name}: WER {scores['wer']:.4f}, PER {scores['per']:.4f}")
    print(f"training took {seconds / 60:.1f} minutes, including validation")


def train_member(
    folder: str,
    seed: int,
    examples: Examples,
    dev: tuple[list[str], list[str]],
    args: argparse.Namespace,
) -> TrainingResult:
    """Trains one model and writes it to a folder."""
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
            # Two more epochs: otherwise the learning rate is nearly 0 in the last one.
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
