"""The decoder: its initial state, and what acts inside it."""

from typing import Any

import keras
import numpy as np
import pytest

from kseq import build_decoder, build_inference_models, build_seq2seq
from kseq.models import Decoder, Seq2Seq

SIZES: dict[str, Any] = {
    "source_vocab_size": 11,
    "target_vocab_size": 12,
    "units": 8,
    "embedding_dim": 4,
}
IDS = np.array([[5, 6, 7, 3], [9, 3, 0, 0]])
TOKENS = np.array([[2, 5, 6], [2, 7, 0]])
MASK = (IDS != 0)[..., None]


def make(**settings: Any) -> Seq2Seq:
    return build_seq2seq(**{**SIZES, **settings})


def states_of(model: Seq2Seq) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """The encoder's final states, the decoder's initial ones, and the memory."""
    names = [layer.name for layer in model.layers]
    inside = []
    for number in range(1, model.config.encoder.layers + 1):
        base = f"encoder_{model.config.cell}_{number}"
        if f"{base}_h" in names:
            kinds = [k for k in ("h", "c") if f"{base}_{k}" in names]
            inside += [model.get_layer(f"{base}_{kind}").output for kind in kinds]
        else:
            inside += model.get_layer(base).output[1:]
    encoder = build_inference_models(model).encoder
    found = encoder(IDS)
    final = keras.Model(encoder.input, {"states": inside})(IDS)["states"]
    return (
        [np.array(state) for state in final],
        [np.array(state) for state in found["states"]],
        np.array(found["memory"]),
    )


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("layers", [1, 2])
def test_states_that_fit_are_passed_on_unchanged_layer_by_layer(
    cell: str, direction: str, layers: int
) -> None:
    model = make(cell=cell, encoder_direction=direction, layers=layers)
    final, initial, _ = states_of(model)
    assert len(final) == len(initial) == layers * (2 if cell == "lstm" else 1)
    for state, expected in zip(initial, final, strict=True):
        np.testing.assert_array_equal(state, expected)
    assert not [v.path for v in model.weights if "decoder_init" in v.path]


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder_units": 6},
        {"decoder_init_projection": "dense"},
        {"decoder_units": 6, "layers": 2},
        {"decoder_units": 6, "cell": "gru", "encoder_direction": "bidirectional"},
    ],
)
def test_states_go_through_a_dense_layer_each_where_asked_or_needed(
    settings: dict[str, Any],
) -> None:
    model = make(**settings)
    final, initial, _ = states_of(model)
    layers = [x for x in model.layers if x.name.startswith("decoder_init_")]
    kinds = ["h"] if model.config.cell == "gru" else ["h", "c"]
    numbers = range(1, model.config.decoder.layers + 1)
    assert {layer.name for layer in layers} == {
        f"decoder_init_{number}_{kind}" for number in numbers for kind in kinds
    }
    order = [f"decoder_init_{number}_{kind}" for number in numbers for kind in kinds]
    for name, state, source in zip(order, initial, final, strict=True):
        kernel, bias = model.get_layer(name).get_weights()
        expected = np.tanh(source @ kernel + bias)
        np.testing.assert_allclose(state, expected, atol=1e-6)


@pytest.mark.parametrize(("encoder", "decoder"), [(2, 1), (1, 3), (3, 2)])
def test_with_unequal_depths_each_layer_starts_from_the_encoders_top(
    encoder: int, decoder: int
) -> None:
    final, initial, _ = states_of(make(encoder_layers=encoder, decoder_layers=decoder))
    assert len(initial) == 2 * decoder
    for index, state in enumerate(initial):
        np.testing.assert_array_equal(state, final[-2:][index % 2])


@pytest.mark.parametrize("units", [8, 6])
def test_the_mean_of_the_memory_is_over_the_real_steps(units: int) -> None:
    model = make(decoder_init="mean", decoder_units=units, decoder_layers=2)
    _, initial, memory = states_of(model)
    mean = (memory * MASK).sum(axis=1) / MASK.sum(axis=1)
    for number in (1, 2):
        for kind, state in zip("hc", initial[2 * number - 2 :], strict=False):
            expected = mean
            if units != 8:
                name = f"decoder_init_{number}_{kind}"
                kernel, bias = model.get_layer(name).get_weights()
                expected = np.tanh(mean @ kernel + bias)
            np.testing.assert_allclose(state, expected, atol=1e-6)


def test_zeros_start_from_zeros() -> None:
    _, initial, _ = states_of(make(decoder_init="zeros", layers=2, decoder_units=6))
    assert [state.shape for state in initial] == [(2, 6)] * 4
    assert not np.any(initial)


@pytest.mark.parametrize(("encoder", "decoder"), [(2, 2), (1, 2)])
def test_the_first_layer_alone_starts_from_the_encoders_top(
    encoder: int, decoder: int
) -> None:
    final, initial, _ = states_of(
        make(
            decoder_init_layers="first",
            encoder_layers=encoder,
            decoder_layers=decoder,
        )
    )
    np.testing.assert_array_equal(initial[:2], final[-2:])
    assert not np.any(initial[2:])


def test_the_mean_may_be_for_the_first_layer_alone() -> None:
    model = make(decoder_init="mean", decoder_init_layers="first", decoder_layers=2)
    _, initial, memory = states_of(model)
    mean = (memory * MASK).sum(axis=1) / MASK.sum(axis=1)
    np.testing.assert_allclose(initial[:2], [mean, mean], atol=1e-6)
    assert not np.any(initial[2:])


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("lstm", ["state_1_h", "state_1_c", "state_2_h", "state_2_c"]),
        ("gru", ["state_1_h", "state_2_h"]),
        ("simple_rnn", ["state_1_h", "state_2_h"]),
    ],
)
def test_the_states_are_named(cell: str, names: list[str]) -> None:
    decoder = build_decoder(**SIZES, layers=2, cell=cell)
    assert isinstance(decoder, Decoder)
    assert decoder.state_names == names
    assert decoder.state_sizes == [8] * len(names)


@pytest.mark.parametrize(("first", "layers"), [(2, 3), (3, 3), (None, 3)])
def test_residuals_act_in_whole_sequences_and_in_steps(
    first: int | None, layers: int
) -> None:
    model = make(cell="gru", layers=layers, decoder_residual_from=first)
    recurrent = [model.get_layer(f"decoder_gru_{k + 1}") for k in range(layers)]
    inside = keras.Model(model.input, [layer.output[0] for layer in recurrent])
    feed = {"encoder_inputs": IDS, "decoder_inputs": TOKENS}
    outputs = [output.numpy() for output in inside(feed)]
    above = outputs[0]
    for number in range(2, layers + 1):
        residual = above if first is not None and number >= first else 0
        above = outputs[number - 1] + residual
    kernel, bias = model.get_layer("decoder_output").get_weights()
    expected = above @ kernel + bias
    np.testing.assert_allclose(model(feed), expected, atol=1e-5)

    inference = build_inference_models(model)
    encoded = inference.encoder(IDS)
    step = inference.decoder_step({**encoded, "token": keras.ops.array(TOKENS[:, 0])})
    np.testing.assert_allclose(step["logits"], expected[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "present"),
    [
        ({"target_embedding_dropout": 0.5}, ["decoder_embedding_dropout"]),
        (
            {"layers": 3, "decoder_dropout": 0.5},
            [f"decoder_dropout_{k}" for k in (1, 2)],
        ),
        ({"decoder_recurrent_dropout": 0.5}, []),
    ],
    ids=["embedding", "between", "recurrent"],
)
def test_dropout_acts_in_training_only(
    settings: dict[str, Any], present: list[str]
) -> None:
    model = make(**settings)
    found = [layer.name for layer in model.layers if "dropout" in layer.name]
    assert found == present
    feed = {"encoder_inputs": IDS, "decoder_inputs": TOKENS}
    still = model(feed).numpy()
    np.testing.assert_array_equal(model(feed, training=False), still)
    moved = [model(feed, training=True).numpy() for _ in range(2)]
    assert np.abs(moved[0] - still).max() > 1e-4
    assert np.abs(moved[0] - moved[1]).max() > 1e-4


def test_a_decoder_may_be_wired_by_hand() -> None:
    decoder = build_decoder(**SIZES)
    tokens = keras.Input((None,), dtype="int32")
    states = [keras.Input((8,)), keras.Input((8,))]
    outputs = decoder(tokens, states)
    model = keras.Model([tokens, *states], outputs)
    found = model([TOKENS, np.ones((2, 8)), np.zeros((2, 8))])
    assert found["logits"].shape == (2, 3, 12)
    assert [state.shape for state in found["states"]] == [(2, 8)] * 2
