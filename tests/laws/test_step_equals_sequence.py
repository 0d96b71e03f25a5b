"""Guarantee 1: decoding step by step computes what training computes."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from laws.architectures import batch, build, each_architecture

import kseq
from kseq.decoding.step_function import flatten_hypotheses, map_nest
from kseq.models import precomputed_step


@each_architecture
def test_the_one_step_decoder_gives_the_logits_of_the_training_model(
    row: dict[str, Any],
) -> None:
    model = build(row)
    inputs, _ = batch(row)
    expected = np.asarray(model(inputs))
    inference = kseq.build_inference_models(model)
    state = inference.encoder(inputs["encoder_inputs"])
    for time in range(expected.shape[1]):
        token = ops.convert_to_tensor(inputs["decoder_inputs"][:, time])
        outputs = inference.decoder_step({**state, "token": token})
        np.testing.assert_allclose(outputs["logits"], expected[:, time], atol=1e-5)
        state = {**state, "states": outputs["states"]}


@pytest.mark.parametrize("with_tables", [True, False])
@each_architecture
def test_the_precomputed_step_of_a_search_gives_them_too(
    row: dict[str, Any], with_tables: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if with_tables:  # so small an LSTM is multiplied directly otherwise
        monkeypatch.setattr(precomputed_step, "_SMALL", 0)
    model = build(row)
    inputs, _ = batch(row)
    # Two hypotheses of each source, the second with another target.
    targets = [inputs["decoder_inputs"], np.roll(inputs["decoder_inputs"], 1, axis=0)]
    expected = np.stack(
        [model({**inputs, "decoder_inputs": target}) for target in targets], axis=1
    )  # (batch, 2, time, vocab)
    member = model.search_member()
    tables = member.tables() if with_tables else []
    step, states, sources, _ = member.start(inputs["encoder_inputs"], tables)
    carried = map_nest(lambda x: tf.repeat(x[:, None], 2, 1), step.carry(states))
    for time in range(expected.shape[2]):
        tokens = tf.stack([target[:, time] for target in targets], axis=1)
        hidden, states, _ = step.advance(tokens, carried, sources)
        logits = step.project(flatten_hypotheses(hidden))
        wanted = expected[:, :, time].reshape(logits.shape)
        np.testing.assert_allclose(logits, wanted, atol=1e-5)
        carried = map_nest(
            lambda x: tf.reshape(x, [-1, 2, *x.shape[1:]]),
            step.carry(flatten_hypotheses(states)),
        )
