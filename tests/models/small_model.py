"""A small model, and seven pairs of sequences to train it on."""

from typing import Any

import numpy as np

from kseq import Seq2Seq, build_seq2seq

SIZES: dict[str, Any] = {
    "source_vocab_size": 11,
    "target_vocab_size": 12,
    "units": 8,
    "embedding_dim": 4,
}
FEATURES: dict[str, Any] = {
    "source_vocab_size": None,
    "source_representation": "features",
    "source_feature_dim": 3,
}
ROWS = 7


def make(**settings: Any) -> Seq2Seq:
    return build_seq2seq(**{**SIZES, **settings})


def padded(rng: np.random.Generator, lengths: list[int], high: int) -> np.ndarray:
    ids = np.zeros((len(lengths), max(lengths)), "int32")
    for row, length in zip(ids, lengths, strict=True):
        row[: length - 1] = rng.integers(4, high, length - 1)
        row[length - 1] = 3
    return ids


def data(seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Seven pairs of unequal lengths, the longest targets first."""
    rng = np.random.default_rng(seed)
    source = padded(rng, [3, 5, 2, 4, 1, 3, 2], 11)
    target = padded(rng, [6, 5, 5, 3, 2, 1, 1], 12)
    read = np.where(target == 3, 0, target)
    read = np.concatenate([np.full((ROWS, 1), 2, "int32"), read[:, :-1]], axis=1)
    return {"encoder_inputs": source, "decoder_inputs": read}, target


def feed(**changes: Any) -> dict[str, Any]:
    return {**data()[0], **changes}
