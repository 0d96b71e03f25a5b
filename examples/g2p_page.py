"""Trains a small model of pronunciations, and opens a page to try it.

    python examples/g2p_page.py

Downloads the CMU Pronouncing Dictionary (or reads it from --data FOLDER), trains for
some minutes on two cores, and then serves the model until Ctrl+C. Type PHONE and press
Enter to see "F OW N" and the letters that each phoneme attends to. A second call serves
the trained model at once.
"""

import argparse
import pathlib
import threading
import webbrowser

from kseq import TrainingSettings, train
from kseq.cli.main import main as kseq
from kseq.data import Vocabulary, cmudict, encode_pairs


def main() -> None:
    """Trains the model, unless its folder exists, and serves it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with the files of the dictionary")
    parser.add_argument(
        "--any-files", action="store_true", help="do not verify the checksums of --data"
    )
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--output", default="g2p_small", help="model folder")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument(
        "--no-browser", action="store_true", help="do not open the page"
    )
    args = parser.parse_args()

    if not pathlib.Path(args.output).exists():
        train_model(args)
    if not args.no_browser:
        # Long enough for most models to load; otherwise reload the page.
        open_page = threading.Timer(
            15, webbrowser.open, [f"http://127.0.0.1:{args.port}/"]
        )
        open_page.daemon = True
        open_page.start()
    raise SystemExit(kseq(["serve", "-m", args.output, "--port", str(args.port)]))


def train_model(args: argparse.Namespace) -> None:
    """Trains a model and writes it to a folder."""
    location = {"folder": args.data, "verify": not args.any_files}
    words = cmudict("train", **location)
    letters = Vocabulary.build((word for word, _ in words), "characters")
    phonemes = Vocabulary.build(phonemes for _, phonemes in words)
    examples, _ = encode_pairs(words, letters, phonemes)
    train(
        args.output,
        examples,
        cmudict("dev", **location).lists(),
        {
            "encoder_direction": "bidirectional",
            "units": args.units,
            "embedding_dim": 64,
            "embedding_dropout": 0.1,
            "attention": "general",
            "hidden_dropout": 0.2,
        },
        TrainingSettings(
            batch_size=256,
            learning_rate=0.003,
            schedule="cosine",
            decay_steps=args.updates,
            warmup_steps=args.updates // 20,
            max_updates=args.updates,
            checkpoint_updates=max(1, args.updates // 4),
            metrics=("wer", "per", "perplexity"),
        ),
    )


if __name__ == "__main__":
    main()
