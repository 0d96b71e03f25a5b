"""A model trains and takes its steps under XLA as it does without."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from laws.architectures import AXES, PAIRWISE, batch, build, name

import kseq

# XLA takes seconds to compile one: `make test` runs one.
CHOSEN: list[dict[str, Any]] = [
    {"attention": "location_sensitive"},
    {
        "attention": "location_sensitive",
        "input_feeding": True,
        "cell": "gru",
        "context_gate": True,
        "weight_tying": "target_softmax",
    },
    {
        "attention": "coverage",
        "layers": (2, 2),
        "attention_in_upper_layers": True,
        "cell": "layer_norm_lstm",
        "encoder_direction": "bidirectional",
        "stabilizer": "separate",
    },
    {
        "attention": "multi_head_dot",
        "input_feeding": True,
        "attention_previous_word": True,
        "cell": "simple_rnn",
        "source_representation": "features",
        "decoder_init": "mean",
    },
]
FIRST = {axis: values[0] for axis, values in AXES.items()}
ROWS = [
    pytest.param(
        FIRST | row, id=f"chosen-{k}", marks=pytest.mark.slow if k != 1 else ()
    )
    for k, row in enumerate(CHOSEN)
]
ROWS += [pytest.param(row, id=name(row), marks=pytest.mark.slow) for row in PAIRWISE]


@pytest.mark.parametrize("row", ROWS)
def test_xla_trains_and_takes_a_step_as_without_it(row: dict[str, Any]) -> None:
    row = row | {"dropout": 0.0}  # XLA draws other numbers
    inputs, targets = batch(row)
    losses = []
    for options in ({"run_eagerly": True}, {"jit_compile": True}):
        model = build(row)
        model.compile("sgd", **options)
        history = model.fit(inputs, targets, epochs=2, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-4)

    inference = kseq.build_inference_models(model)
    state = {
        **inference.encoder(tf.constant(inputs["encoder_inputs"])),
        "token": tf.constant(inputs["decoder_inputs"][:, 0]),
    }
    step = tf.function(lambda state: inference.decoder_step(state), jit_compile=True)
    expected = inference.decoder_step(state)["logits"]
    np.testing.assert_allclose(step(state)["logits"], expected, atol=1e-4)


@pytest.mark.slow
def test_xla_trains_with_the_decoders_own_predictions_fed_back() -> None:
    row = FIRST | {"attention": "location_sensitive", "input_feeding": True}
    inputs, targets = batch(row)
    losses = []
    for options in ({"run_eagerly": True}, {"jit_compile": True}):
        model = build(row)
        model.compile(
            "sgd",
            teacher_forcing_ratio=0.0,
            free_running_evaluation=True,
            clipvalue_per_token=0.1,
            metrics=["perplexity", "sequence_accuracy"],
            loss=kseq.losses.MaskedCrossentropy(label_smoothing=0.1),
            **options,
        )
        history = model.fit(inputs, targets, epochs=2, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-4)
