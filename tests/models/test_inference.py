"""The two models of step-wise decoding share the trained weights."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kseq import (
    Seq2Seq,
    build_decoder,
    build_encoder,
    build_inference_models,
    build_seq2seq,
    load_model,
)
from kseq.losses import MaskedCrossentropy

SIZES: dict[str, Any] = {
    "source_vocab_size": 11,
    "target_vocab_size": 12,
    "units": 8,
    "embedding_dim": 4,
}
IDS = np.array([[5, 6, 7, 3], [9, 3, 0, 0]])
TOKENS = np.array([[2, 5, 6], [2, 7, 0]])
TARGETS = np.array([[5, 6, 3], [7, 3, 0]])
FEED = {"encoder_inputs": IDS, "decoder_inputs": TOKENS}


def make(**settings: Any) -> Seq2Seq:
    return build_seq2seq(**{**SIZES, **settings})


def first_step(inference: Any) -> np.ndarray:
    encoded = inference.encoder(IDS)
    token = keras.ops.array([2, 2])
    return np.array(inference.decoder_step({**encoded, "token": token})["logits"])


def test_they_are_plain_keras_models_with_the_promised_keys() -> None:
    inference = build_inference_models(make(layers=2))
    encoder, step = inference.encoder, inference.decoder_step
    assert isinstance(encoder, keras.Model)
    assert isinstance(step, keras.Model)
    assert not isinstance(encoder, Seq2Seq)
    assert set(encoder.output) == {"memory", "memory_mask", "states"}
    assert set(step.input) == {"token", "states", "memory", "memory_mask"}
    assert set(step.output) == {"logits", "states"}
    assert step.output["logits"].shape == (None, 12)
    assert len(step.input["states"]) == len(step.output["states"]) == 4
    # What the encoder gives is what the step takes.
    for key in ("memory", "memory_mask"):
        assert step.input[key].shape == encoder.output[key].shape
        assert step.input[key].dtype == encoder.output[key].dtype


def test_all_weights_are_the_models_own() -> None:
    model = make(decoder_units=6)
    inference = build_inference_models(model)
    own = {id(variable) for variable in model.variables}
    parts = [*inference.encoder.variables, *inference.decoder_step.variables]
    assert {id(variable) for variable in parts} == own


def test_training_the_model_changes_both() -> None:
    model = make()
    inference = build_inference_models(model)
    memory = np.array(inference.encoder(IDS)["memory"])
    logits = first_step(inference)
    model.compile(optimizer=keras.optimizers.Adam(0.1))
    model.fit(FEED, TARGETS, verbose=0)
    assert np.abs(inference.encoder(IDS)["memory"] - memory).max() > 1e-3
    assert np.abs(first_step(inference) - logits).max() > 1e-3
    expected = model(FEED)[:, 0]
    np.testing.assert_allclose(first_step(inference), expected, atol=1e-5)


def test_they_are_built_from_a_loaded_model_too(tmp_path: Path) -> None:
    model = make(cell="gru", encoder_direction="bidirectional", reverse_source=True)
    model.save(tmp_path / "model.keras")
    again = build_inference_models(load_model(tmp_path / "model.keras"))
    expected = first_step(build_inference_models(model))
    np.testing.assert_array_equal(first_step(again), expected)


def test_building_them_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = make()
    names = [variable.path for variable in model.variables]
    expected = model(FEED)
    build_inference_models(model)
    build_inference_models(model)
    assert [variable.path for variable in model.variables] == names
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(FEED), expected)


def test_they_can_be_saved_by_themselves(tmp_path: Path) -> None:
    inference = build_inference_models(make(layers=2, dropout=0.1))
    inference.encoder.save(tmp_path / "encoder.keras")
    inference.decoder_step.save(tmp_path / "step.keras")
    encoder = keras.saving.load_model(tmp_path / "encoder.keras")
    step = keras.saving.load_model(tmp_path / "step.keras")
    encoded = {**encoder(IDS), "token": keras.ops.array([2, 2])}
    np.testing.assert_allclose(
        step(encoded)["logits"], first_step(inference), atol=1e-6
    )


def test_a_model_built_by_hand_is_refused() -> None:
    inputs = keras.Input((3,))
    given = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(TypeError, match=r"kseq\.Seq2Seq.*build_seq2seq.*Functional"):
        build_inference_models(given)


# Encoder and decoder composed by hand.


def composed(**settings: Any) -> tuple[keras.Model, keras.Model, Any]:
    encoder = build_encoder(**{**SIZES, **settings})
    decoder = build_decoder(**{**SIZES, **settings}, encoder=encoder)
    source = keras.Input((None,), dtype="int32", name="encoder_inputs")
    tokens = keras.Input((None,), dtype="int32", name="decoder_inputs")
    encoded = encoder(source)
    memory, mask = encoded["memory"], encoded["memory_mask"]
    states = decoder.initial_states(memory, mask, encoded["states"])
    keys = decoder.attention_keys(memory)
    logits = decoder(tokens, states, memory, mask, keys)["logits"]
    inputs = {"encoder_inputs": source, "decoder_inputs": tokens}
    return keras.Model(inputs, logits), encoder, decoder


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder_units": 6, "attention": "additive"},
        {"attention": "coverage", "input_feeding": True, "layers": 2},
        {
            "decoder_init": "mean",
            "decoder_init_projection": "dense",
            "cell": "gru",
            "weight_tying": "all",
            "embedding_dim": 8,
            "target_vocab_size": 11,
        },
    ],
)
def test_a_model_composed_by_hand_has_them_too(settings: dict[str, Any]) -> None:
    model, encoder, decoder = composed(**settings)
    model.compile(keras.optimizers.Adam(0.1), MaskedCrossentropy(), jit_compile=False)
    model.fit(FEED, TARGETS, verbose=0)
    inference = build_inference_models(encoder=encoder, decoder=decoder)
    own = {id(variable) for variable in model.variables}
    parts = [*inference.encoder.variables, *inference.decoder_step.variables]
    assert {id(variable) for variable in parts} == own
    state = inference.encoder(keras.ops.array(IDS))
    logits = []
    for token in TOKENS.T:
        step = inference.decoder_step({**state, "token": keras.ops.array(token)})
        logits.append(step["logits"])
        state["states"] = step["states"]
    expected = np.array(model(FEED))
    found = np.stack(logits, axis=1)
    np.testing.assert_allclose(found[TOKENS != 0], expected[TOKENS != 0], atol=1e-5)
    assert inference.generate(IDS, max_length=3).tokens.shape[:2] == (2, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": 6}, r"memory of 8 units.*\[8, 8\].*memory of 6.*\[6, 6\]"),
        ({"cell": "gru"}, r"states of \[8, 8\].*states of \[8\]"),
        ({"source_vocab_size": 10}, "`encoder` must have.*11.*10"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    encoder = build_encoder(**{**SIZES, **settings})
    with pytest.raises(ValueError, match=message):
        build_inference_models(encoder=encoder, decoder=build_decoder(**SIZES))


def test_parts_that_are_none_are_refused() -> None:
    encoder, decoder = build_encoder(**SIZES), build_decoder(**SIZES)
    with pytest.raises(TypeError, match=r"`decoder` must be.*Functional"):
        build_inference_models(encoder=encoder, decoder=encoder)
    with pytest.raises(TypeError, match=r"`encoder` must be.*Decoder"):
        build_inference_models(encoder=decoder, decoder=decoder)
    with pytest.raises(TypeError, match="Received: neither"):
        build_inference_models()
    with pytest.raises(TypeError, match="Received: both"):
        build_inference_models(make(), encoder=encoder, decoder=decoder)


def test_a_decoder_that_shares_layers_needs_the_encoder() -> None:
    settings = {**SIZES, "target_vocab_size": 11, "weight_tying": "source_target"}
    with pytest.raises(ValueError, match=r"`encoder` must be.*weight_tying.*None"):
        build_decoder(**settings)


def test_a_decoder_refuses_states_of_another_width() -> None:
    tokens = keras.Input((), dtype="int32")
    with pytest.raises(ValueError, match=r"`states` .*\[8, 8\].*\[8\]"):
        build_decoder(**SIZES)(tokens, [keras.Input((8,))])
