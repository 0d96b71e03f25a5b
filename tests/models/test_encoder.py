"""The encoder: what it gives, in which order, and what acts inside it."""

from typing import Any

import keras
import numpy as np
import pytest

from kseq import Seq2SeqConfig, build_encoder

SIZES: dict[str, Any] = {
    "source_vocab_size": 11,
    "target_vocab_size": 11,
    "units": 8,
    "embedding_dim": 4,
}
IDS = np.array([[5, 6, 7, 8, 3], [9, 10, 3, 0, 0], [4, 3, 0, 0, 0]])
LENGTHS = (IDS != 0).sum(axis=1)


def make(**settings: Any) -> keras.Model:
    return build_encoder(**{**SIZES, **settings})


def reversed_rows(ids: np.ndarray) -> np.ndarray:
    """Every row with its tokens before `</s>` reversed."""
    rows = ids.copy()
    for row, length in zip(rows, (ids != 0).sum(axis=1), strict=True):
        row[: length - 1] = row[: length - 1][::-1].copy()
    return rows


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
@pytest.mark.parametrize(
    "direction", ["forward", "bidirectional_first", "bidirectional"]
)
def test_the_outputs_have_the_promised_shapes(cell: str, direction: str) -> None:
    outputs = make(cell=cell, encoder_direction=direction, layers=2)(IDS)
    assert set(outputs) == {"memory", "memory_mask", "states"}
    assert outputs["memory"].shape == (3, 5, 8)
    assert outputs["memory_mask"].numpy().tolist() == (IDS != 0).tolist()
    kinds = 2 if cell == "lstm" else 1
    assert [state.shape for state in outputs["states"]] == [(3, 8)] * 2 * kinds


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_the_final_state_is_that_after_the_last_real_step(cell: str) -> None:
    outputs = make(cell=cell)(IDS)
    last = outputs["memory"].numpy()[np.arange(3), LENGTHS - 1]
    np.testing.assert_array_equal(outputs["states"][0], last)


@pytest.mark.parametrize("reverse", [False, True])
def test_each_direction_gives_its_own_final_state(reverse: bool) -> None:
    """Forward reads the whole row, backward too: its last step is the first."""
    encoder = make(
        cell="gru", encoder_direction="bidirectional", reverse_source=reverse
    )
    outputs = encoder(IDS)
    memory, state = outputs["memory"].numpy(), outputs["states"][0].numpy()
    # Reversed, the first token read is that before </s>; the last is </s> still.
    first = LENGTHS - 2 if reverse else np.zeros(3, int)
    rows = np.arange(3)
    np.testing.assert_array_equal(state[:, :4], memory[rows, LENGTHS - 1, :4])
    np.testing.assert_array_equal(state[:, 4:], memory[rows, first, 4:])


@pytest.mark.parametrize(
    ("direction", "halves"),
    [("forward", []), ("bidirectional_first", [1]), ("bidirectional", [1, 2])],
)
def test_a_bidirectional_layer_has_half_the_units_each_way(
    direction: str, halves: list[int]
) -> None:
    encoder = make(encoder_direction=direction, layers=2)
    for number in (1, 2):
        layer = encoder.get_layer(f"encoder_lstm_{number}")
        if number in halves:
            assert isinstance(layer, keras.layers.Bidirectional)
            assert layer.forward_layer.units == layer.backward_layer.units == 4
        else:
            assert layer.units == 8


def test_odd_units_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match=r"`encoder_units` must be even.*7"):
        make(units=7, encoder_direction="bidirectional")
    make(units=7)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_reversed_source_is_one_given_in_reverse(direction: str) -> None:
    """Memory at place i belongs to source token i all the same."""
    plain = make(encoder_direction=direction)
    backward = make(encoder_direction=direction, reverse_source=True)
    backward.set_weights(plain.get_weights())
    expected, found = plain(reversed_rows(IDS)), backward(IDS)
    for row, length in enumerate(LENGTHS):
        body = length - 1
        memory = expected["memory"].numpy()[row]
        np.testing.assert_allclose(
            found["memory"][row, :length],
            np.concatenate([memory[:body][::-1], memory[body:length]]),
            atol=1e-6,
        )
    for state, other in zip(expected["states"], found["states"], strict=True):
        np.testing.assert_allclose(state, other, atol=1e-6)


def test_a_place_of_a_reversed_memory_has_seen_the_tokens_after_it() -> None:
    encoder = make(reverse_source=True)
    before = encoder(np.array([[5, 6, 7, 8, 3]]))["memory"].numpy()[0]
    after = encoder(np.array([[5, 6, 9, 8, 3]]))["memory"].numpy()[0]
    # Read as 8 7 6 5 </s>: all but the 8 come with or after the changed token.
    changed = np.any(before != after, axis=-1)
    assert changed.tolist() == [True, True, True, False, True]


def test_reversed_features_have_no_end_to_keep() -> None:
    features = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    features[1, 2:] = 0
    settings = {
        "source_vocab_size": None,
        "source_representation": "features",
        "source_feature_dim": 3,
    }
    plain, backward = make(**settings), make(**settings, reverse_source=True)
    backward.set_weights(plain.get_weights())
    turned = features.copy()
    turned[0] = features[0, ::-1]
    turned[1, :2] = features[1, 1::-1]
    expected = plain(turned)["memory"].numpy()
    found = backward(features)["memory"].numpy()
    np.testing.assert_allclose(found[0], expected[0, ::-1], atol=1e-6)
    np.testing.assert_allclose(found[1, :2], expected[1, 1::-1], atol=1e-6)


def test_one_hot_vectors_given_as_features_are_a_one_hot_source() -> None:
    ids = make(source_representation="one_hot", embedding_dim=256)
    features = build_encoder(
        source_representation="features",
        source_feature_dim=11,
        target_vocab_size=11,
        units=8,
    )
    features.set_weights(ids.get_weights())
    vectors = np.eye(11, dtype="float32")[IDS] * (IDS != 0)[..., None]
    expected, found = ids(IDS), features(vectors)
    np.testing.assert_array_equal(found["memory_mask"], expected["memory_mask"])
    for state, other in zip(expected["states"], found["states"], strict=True):
        np.testing.assert_allclose(state, other, atol=1e-6)


@pytest.mark.parametrize(("first", "layers"), [(2, 3), (3, 3), (None, 3)])
def test_residuals_add_a_layers_input_from_the_chosen_layer_on(
    first: int | None, layers: int
) -> None:
    encoder = make(cell="gru", layers=layers, encoder_residual_from=first)
    recurrent = [encoder.get_layer(f"encoder_gru_{k + 1}") for k in range(layers)]
    inside = keras.Model(encoder.input, [layer.output[0] for layer in recurrent])
    outputs = [output.numpy() for output in inside(IDS)]
    above = outputs[0]
    for number in range(2, layers + 1):
        residual = above if first is not None and number >= first else 0
        above = outputs[number - 1] + residual
    np.testing.assert_allclose(encoder(IDS)["memory"], above, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "present"),
    [
        ({"source_embedding_dropout": 0.5}, ["encoder_embedding_dropout"]),
        (
            {"layers": 3, "encoder_dropout": 0.5},
            [f"encoder_dropout_{k}" for k in (1, 2)],
        ),
        ({"encoder_recurrent_dropout": 0.5}, []),
    ],
    ids=["embedding", "between", "recurrent"],
)
def test_dropout_acts_in_training_only(
    settings: dict[str, Any], present: list[str]
) -> None:
    encoder = make(**settings)
    found = [layer.name for layer in encoder.layers if "dropout" in layer.name]
    assert found == present

    def memory(**options: Any) -> np.ndarray:
        return encoder(IDS, **options)["memory"].numpy()

    np.testing.assert_array_equal(memory(), memory(training=False))
    assert np.abs(memory(training=True) - memory()).max() > 1e-5
    assert np.abs(memory(training=True) - memory(training=True)).max() > 1e-5
    plain = make(
        **{key: 0.0 if "dropout" in key else settings[key] for key in settings}
    )
    plain.set_weights(encoder.get_weights())
    np.testing.assert_allclose(plain(IDS)["memory"], memory(), atol=1e-6)


def test_a_config_may_be_given_instead_of_keywords_but_not_beside_them() -> None:
    config = Seq2SeqConfig(**SIZES)
    assert build_encoder(config).output["memory"].shape == (None, None, 8)
    with pytest.raises(ValueError, match=r"not both.*replace\(units=\.\.\.\)"):
        build_encoder(config, units=6)
    with pytest.raises(TypeError, match=r"`config` .*Seq2SeqConfig.*\{'units': 6\}"):
        build_encoder({"units": 6})  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["float16", "float64", "mixed_float16"])
@pytest.mark.parametrize("reverse", [False, True])
def test_every_float_has_the_dtype_that_was_asked_for(
    policy: str, reverse: bool
) -> None:
    encoder = make(dtype=policy, reverse_source=reverse)
    outputs = encoder(IDS)
    expected = keras.dtype_policies.get(policy).compute_dtype
    assert encoder.output["memory"].dtype == outputs["memory"].dtype == expected
    assert [state.dtype for state in outputs["states"]] == [expected] * 2
