"""Decoding with a model: checked arrays in, one compiled search, arrays out."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from kseq.checks import check_integer
from kseq.config import Side
from kseq.decoding import Hypotheses, greedy
from kseq.models.inference import InferenceModels


class Generator:
    """Greedy search over inference models, compiled once for every shape.

    Args:
        inference: What `build_inference_models` returns.
    """

    def __init__(self, inference: InferenceModels) -> None:
        encoder, decoder_step = inference.encoder, inference.decoder_step

        def search(
            source: Any, max_lengths: Any, attention: bool = False
        ) -> dict[str, Any]:
            encoded = encoder(source, training=False)

            def step(token: Any, states: Any) -> tuple[Any, ...]:
                outputs = decoder_step(
                    {**encoded, "token": token, "states": states}, training=False
                )
                kept = [outputs["attention"]] if attention else []
                return (outputs["logits"], outputs["states"], *kept)

            length = tf.shape(encoded["memory"])[1] if attention else None
            return greedy(step, encoded["states"], max_lengths, attention_length=length)

        shape, dtype = encoder.input.shape, encoder.input.dtype

        def compiled(attention: bool) -> Any:
            return tf.function(
                functools.partial(search, attention=attention),
                input_signature=[
                    tf.TensorSpec(shape, dtype),
                    tf.TensorSpec((None,), "int32"),
                ],
            )

        # Neither is traced before its first call.
        self._search = {attention: compiled(attention) for attention in (False, True)}

    def __call__(
        self,
        source: np.ndarray,
        max_length: int | None,
        batch_size: int,
        attention: bool = False,
    ) -> Hypotheses:
        """Decodes sources that `check_source` has passed, batch by batch."""
        batch_size = check_integer("batch_size", batch_size, 1)
        lengths = real_steps(source).sum(axis=1)  # (batch,)
        if max_length is None:
            max_lengths = 2 * lengths + 10
        else:
            longest = check_integer("max_length", max_length, 1)
            max_lengths = np.full_like(lengths, longest)
        parts = []
        starts = range(0, max(len(source), 1), batch_size)
        for start in tqdm(starts, desc="decoding", delay=2, leave=False, disable=None):
            rows = slice(start, start + batch_size)
            longest = lengths[rows].max(initial=1)
            found = self._search[attention](
                tf.convert_to_tensor(source[rows, :longest]),
                tf.convert_to_tensor(max_lengths[rows], tf.int32),
            )
            parts.append(_hypotheses(found, start))
        return Hypotheses.concatenate(parts)


def real_steps(source: np.ndarray) -> np.ndarray:
    """Returns the mask (batch, time) of the steps that are not padding."""
    real = source != 0
    return real if real.ndim == 2 else real.any(axis=-1)


def check_source(source: Any, side: Side) -> np.ndarray:
    """Checks sources at the boundary, where an error can still name the row.

    Args:
        source: What the caller gave as sources.
        side: The settings of the model's encoder.

    Returns:
        int32 ids (batch, time) or float32 vectors (batch, time, dim).

    Raises:
        ValueError: If the sources are not what the model takes.
    """
    features = side.representation == "features"
    rank = 3 if features else 2
    shape = "ids (batch, time)"
    if features:
        shape = f"vectors (batch, time, {side.input_dim})"
    try:
        array = np.asarray(source)
    except ValueError:
        array = np.asarray(source, dtype=object)
    kind = "float" if features else "integer"
    fits = np.issubdtype(array.dtype, np.floating if features else np.integer)
    if array.dtype == object or (not fits and not (features and array.size == 0)):
        raise ValueError(
            f"`source` must be an array of {kind} {shape}, rows padded with 0 on the "
            f"right to one length. Received: dtype {array.dtype}."
        )
    if array.ndim != rank:
        raise ValueError(
            f"`source` must be {shape}, of rank {rank}. Received: shape {array.shape}."
        )
    if features and array.shape[2] != side.input_dim:
        raise ValueError(f"`source` must be {shape}. Received: shape {array.shape}.")
    if array.shape[1] == 0:
        raise ValueError(
            "`source` must have at least one step: an empty sentence is just </s> (3). "
            f"Received: shape {array.shape}."
        )
    if not features:
        wrong = (array < 0) | (array >= side.vocab_size)
        if wrong.any():
            row = int(wrong.any(axis=1).argmax())
            raise ValueError(
                f"`source` must hold token ids in 0..{side.vocab_size - 1}. Received: "
                f"{int(array[row][wrong[row]][0])} in row {row}."
            )
    elif not np.isfinite(array).all():
        raise ValueError("`source` must hold finite numbers. Received: nan or inf.")
    real = real_steps(array)
    empty = ~real.any(axis=1)
    if empty.any():
        raise ValueError(
            f"`source` must have a real step in each row: row {int(empty.argmax())} is "
            "padding only. An empty sentence is just </s> (3)."
        )
    gaps = (~real[:, :-1] & real[:, 1:]).any(axis=1)
    if gaps.any():
        raise ValueError(
            "`source` must be padded on the right: row "
            f"{int(gaps.argmax())} has padding (0) before a real step."
        )
    return array.astype(np.float32 if features else np.int32)


def _hypotheses(found: dict[str, Any], first_row: int) -> Hypotheses:
    scores = found["scores"].numpy()
    broken = ~np.isfinite(scores)
    if broken.any():
        raise ValueError(
            f"The model's logits for row {first_row + int(broken.argmax())} of "
            "`source` are not finite (nan or inf): its weights have probably "
            "diverged. Train with a lower learning rate or clip the gradients."
        )
    return Hypotheses(
        tokens=found["tokens"].numpy()[:, None],
        lengths=found["lengths"].numpy()[:, None],
        scores=scores[:, None],
        truncated=found["truncated"].numpy()[:, None],
        attention=found["attention"].numpy()[:, None] if "attention" in found else None,
    )
