"""Guarantee 3, of greedy search: its choices and scores are the model's own."""

from typing import Any

import numpy as np
from laws.architectures import batch, build, each_architecture


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
