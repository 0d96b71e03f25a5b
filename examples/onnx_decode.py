"""Decodes with an exported model, greedily, without TensorFlow and without kseq.

    kseq export -m g2p --format onnx -o g2p-onnx
    python examples/onnx_decode.py g2p-onnx --characters PHONE READ

needs onnxruntime and numpy alone. The loop is the reference for one in another
language: encode once, then a step for each output token, which reads the one before.
"""

import argparse
import json
import pathlib

import numpy as np
import onnxruntime

UNK, START, END = 1, 2, 3


def main() -> None:
    """Decodes the texts of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=pathlib.Path, help="what kseq export has written"
    )
    parser.add_argument("texts", nargs="+", help="texts, tokens separated by spaces")
    parser.add_argument(
        "--characters", action="store_true", help="source tokens are characters"
    )
    args = parser.parse_args()

    encoder, decoder = (
        onnxruntime.InferenceSession(args.folder / f"{part}.onnx")
        for part in ("encoder", "decoder")
    )
    source_ids, target_ids = (
        json.loads((args.folder / f"vocab.{side}.json").read_text("utf-8"))
        for side in ("source", "target")
    )
    names = {index: token for token, index in target_ids.items()}

    # Rows of ids that end with </s>, padded with 0.
    cut = list if args.characters else str.split
    rows = [[source_ids.get(token, UNK) for token in cut(text)] for text in args.texts]
    source = np.zeros((len(rows), max(map(len, rows)) + 1), np.int32)  # (batch, time)
    for k, row in enumerate(rows):
        source[k, : len(row) + 1] = [*row, END]

    found = encoder.run(None, {"encoder_inputs": source})
    given = dict(zip((each.name for each in encoder.get_outputs()), found, strict=True))
    token = np.full(len(rows), START, np.int32)
    outputs = np.zeros((len(rows), 0), np.int32)
    for _ in range(2 * source.shape[1] + 10):
        found = decoder.run(None, {"token": token, **given})
        after = dict(
            zip((each.name for each in decoder.get_outputs()), found, strict=True)
        )
        logits = after["logits"]  # (batch, vocab)
        logits[:, [0, START]] = -np.inf  # neither padding nor <s> is ever put out
        token = logits.argmax(axis=1).astype(np.int32)
        outputs = np.concatenate([outputs, token[:, None]], axis=1)
        if (outputs == END).any(axis=1).all():
            break
        for name, state in after.items():
            if name.startswith("next_"):
                given[name.removeprefix("next_")] = state
    for row in outputs.tolist():
        end = row.index(END) if END in row else len(row)
        print(" ".join(names[index] for index in row[:end]))


if __name__ == "__main__":
    main()
