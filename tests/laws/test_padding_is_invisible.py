"""Guarantee 2: neither padding nor the other rows of a batch change a row's results.

All is computed in float64: layers that normalise vectors of a few numbers, as they have
here, make more of float32's rounding than the guarantee allows for.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from laws.architectures import batch, build, each_architecture

import kseq
from kseq.decoding import BeamSearch
from kseq.losses import MaskedCrossentropy

SUM = MaskedCrossentropy(reduction="sum")


def padded(array: np.ndarray, by: int) -> np.ndarray:
    widths = [(0, 0), (0, by), (0, 0)][: array.ndim]
    return np.pad(array, widths)


def loss_and_gradients(
    model: kseq.Seq2Seq, inputs: dict[str, np.ndarray], targets: np.ndarray, row: int
) -> tuple[float, list[np.ndarray]]:
    """The summed token loss of one row of a batch, and its gradients."""
    with tf.GradientTape() as tape:
        logits = model(inputs, training=False)
        loss = SUM(targets[row : row + 1], logits[row : row + 1])
    gradients = tape.gradient(
        loss,
        [variable.value for variable in model.trainable_variables],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return float(loss), [np.asarray(tf.convert_to_tensor(g)) for g in gradients]


@each_architecture
def test_padding_and_neighbours_change_no_loss_and_no_gradient(
    row: dict[str, Any],
) -> None:
    model = build(row, dtype="float64")
    inputs, targets = batch(row)
    wide = {name: padded(array, 3) for name, array in inputs.items()}
    # Rows that are shorter than the batch on one side, and on the other.
    for k in (1, 2):
        source = inputs["encoder_inputs"][k : k + 1]
        real = (source != 0).reshape(source.shape[1], -1).any(axis=1).sum()
        length = (targets[k] != 0).sum()
        alone = {
            "encoder_inputs": source[:, :real],
            "decoder_inputs": inputs["decoder_inputs"][k : k + 1, :length],
        }
        loss, gradients = loss_and_gradients(
            model, alone, targets[k : k + 1, :length], 0
        )
        wide_loss, wide_gradients = loss_and_gradients(
            model, wide, padded(targets, 3), k
        )
        np.testing.assert_allclose(wide_loss, loss, atol=1e-5)
        for ours, theirs in zip(wide_gradients, gradients, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


@each_architecture
def test_padding_and_neighbours_change_no_decoded_token_and_no_score(
    row: dict[str, Any],
) -> None:
    model = build(row, dtype="float64")
    source = batch(row)[0]["encoder_inputs"]
    together = model.generate(padded(source, 4))
    for k in range(len(source)):
        real = (source[k] != 0).reshape(source.shape[1], -1).any(axis=1).sum()
        alone = model.generate(source[k : k + 1, :real])
        length = alone.lengths[0, 0]
        assert together.lengths[k, 0] == length
        assert together.tokens[k, 0, :length].tolist() == alone.tokens[0, 0].tolist()
        assert not together.tokens[k, 0, length:].any()
        np.testing.assert_allclose(together.scores[k], alone.scores[0], atol=1e-5)


@each_architecture
def test_padding_and_neighbours_change_no_hypothesis_of_a_beam(
    row: dict[str, Any],
) -> None:
    tf.config.run_functions_eagerly(True)  # compiling takes most of the time
    model = build(row, dtype="float64")
    source = batch(row)[0]["encoder_inputs"]
    search = BeamSearch(beam_width=3, n=2)
    together = model.generate(padded(source, 4), search, max_length=4)
    for k in range(len(source)):
        real = (source[k] != 0).reshape(source.shape[1], -1).any(axis=1).sum()
        alone = model.generate(source[k : k + 1, :real], search, max_length=4)
        np.testing.assert_allclose(together.scores[k], alone.scores[0], atol=1e-5)
        ranks = np.sort(alone.scores[0] / alone.lengths[0])
        if np.diff(ranks).min() > 1e-4:
            length = alone.tokens.shape[2]
            tokens = together.tokens[k, :, :length]
            np.testing.assert_array_equal(tokens, alone.tokens[0])
            assert not together.tokens[k, :, length:].any()
