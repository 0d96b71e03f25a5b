"""Decodes greedily with an exported ONNX model, without TensorFlow and kseq.

    kseq export -m g2p --format onnx -o g2p-onnx
    python examples/onnx_decode.py g2p-onnx --characters PHONE READ

Needs only onnxruntime and numpy. Use the loop as the reference for a program in another
language: encode once, then run one decoder step for each output token. Each step reads
the previous token.
"""

import argparse
import json
import pathlib

import numpy as np
import onnxruntime

UNK, START, END = 1, 2, 3


def main() -> None:
    """Decodes the texts given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "folder", type=pathlib.Path, help="folder that kseq export has written"
    )
    parser.add_argument(
        "texts", nargs="+", help="source texts, with tokens separated by spaces"
    )
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
    tokenize = list if args.characters else str.split
    rows = [
        [source_ids.get(token, UNK) for token in tokenize(text)] for text in args.texts
    ]
    source = np.zeros((len(rows), max(map(len, rows)) + 1), np.int32)  # (batch, time)
    for k, row in enumerate(rows):
        source[k, : len(row) + 1] = [*row, END]

    decoder_inputs = run(encoder, {"encoder_inputs": source})
    token = np.full(len(rows), START, np.int32)
    outputs = np.zeros((len(rows), 0), np.int32)
    for _ in range(2 * source.shape[1] + 10):
        step = run(decoder, {"token": token, **decoder_inputs})
        logits = step["logits"]  # (batch, vocab)
        logits[:, [0, START]] = -np.inf  # padding and <s> are not valid outputs
        token = logits.argmax(axis=1).astype(np.int32)
        outputs = np.concatenate([outputs, token[:, None]], axis=1)
        if (outputs == END).any(axis=1).all():
            break
        for name, state in step.items():
            if name.startswith("next_"):
                decoder_inputs[name.removeprefix("next_")] = state
    for row in outputs.tolist():
        end = row.index(END) if END in row else len(row)
        print(" ".join(names[index] for index in row[:end]))


def run(
    session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the outputs of a model by their names."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


if __name__ == "__main__":
    main()
