"""Guarantee 3: a search's scores are the model's own, and greedy's choices too."""

from typing import Any

import numpy as np
import tensorflow as tf
from laws.architectures import batch, build, each_architecture

import kseq
from kseq.decoding import BeamSearch


@each_architecture
def test_generate_takes_the_most_probable_token_of_every_step(
    row: dict[str, Any],
) -> None:
    model = build(row)
    inputs, _ = batch(row)
    found = model.generate(inputs["encoder_inputs"], max_length=6)
    for k in range(len(found)):
        tokens = found.tokens[k, 0, : found.lengths[k, 0]]
        forced = model(
            {
                "encoder_inputs": inputs["encoder_inputs"][k : k + 1],
                "decoder_inputs": np.array([[2, *tokens[:-1]]]),
            }
        )
        logits = np.asarray(forced, "float64")[0]
        log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        logits[:, [0, 2]] = -np.inf  # <pad> and <s> are never an output
        assert logits.argmax(axis=-1).tolist() == tokens.tolist()
        score = log_probs[np.arange(len(tokens)), tokens].sum()
        np.testing.assert_allclose(found.scores[k, 0], score, atol=1e-5)
        assert found.truncated[k, 0] == (tokens[-1] != 3)


@each_architecture
def test_beam_search_scores_as_the_model_does(row: dict[str, Any]) -> None:
    tf.config.run_functions_eagerly(True)  # compiling takes most of the time
    model = build(row)
    inputs, _ = batch(row)
    source = inputs["encoder_inputs"]
    found = model.generate(source, BeamSearch(beam_width=3, n=3), max_length=4)
    forced = kseq.score(model, source, found.tokens)
    np.testing.assert_allclose(found.log_probs, forced, atol=1e-5)
    assert (found.lengths > 0).all()
    np.testing.assert_allclose(found.scores, forced.sum(axis=-1), atol=1e-5)
    ends = (found.tokens == 3).any(axis=-1)
    np.testing.assert_array_equal(found.truncated, ~ends)
    ranks = found.scores / found.lengths
    assert (np.diff(ranks, axis=1) <= 1e-6).all()
