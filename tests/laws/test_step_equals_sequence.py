"""Guarantee 1: decoding step by step computes what training computes."""

from typing import Any

import numpy as np
from keras import ops
from laws.architectures import batch, build, each_architecture

import kseq


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
