"""Inside the decoder: attention, input feeding, tied weights, dropout in the loop."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseq import Seq2Seq, build_decoder, build_inference_models, build_seq2seq
from kseq.layers import AdditiveAttention
from kseq.losses import MaskedCrossentropy
from kseq.models.decoder_core import InputFeedingLoop

SIZES: dict[str, Any] = {
    "source_vocab_size": 11,
    "target_vocab_size": 12,
    "units": 8,
    "embedding_dim": 4,
}
FEED = {
    "encoder_inputs": np.array([[5, 6, 7, 10, 3], [9, 4, 3, 0, 0]]),
    "decoder_inputs": np.array([[2, 5, 6, 4], [2, 7, 0, 0]]),
}
TARGETS = np.array([[5, 6, 4, 3], [7, 3, 0, 0]])
# One attention for all steps at once, one that goes step by step, one whole loop.
WIRINGS: dict[str, dict[str, Any]] = {
    "parallel": {"attention": "additive"},
    "look-back": {"attention": "coverage"},
    "input-feeding": {"attention": "location_sensitive", "input_feeding": True},
}
each_wiring = pytest.mark.parametrize("wiring", list(WIRINGS))


def make(dtype: Any = None, **settings: Any) -> Seq2Seq:
    return build_seq2seq(**{**SIZES, **settings}, dtype=dtype)


def drawn(seed: int = 0, **settings: Any) -> Seq2Seq:
    """A model whose weights, biases too, are large: differences show."""
    model = make(**settings)
    draw = np.random.default_rng(seed)
    model.set_weights([draw.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


def array(values: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(values)


def largest(one: Any, other: Any) -> float:
    return float(np.abs(array(one) - array(other)).max())


# How many weights there are, reckoned by hand.


def dense(inputs: int, units: int, bias: bool = True) -> int:
    return (inputs + bias) * units


def lstm(inputs: int, units: int = 8) -> int:
    return 4 * (inputs + units + 1) * units


EMBEDDINGS, OUTPUT = 11 * 4 + 12 * 4, dense(8, 12)
PLAIN = EMBEDDINGS + lstm(4) + lstm(4) + OUTPUT
# Query (with a bias) and memory (without) to the width, and a vector of weights.
ADDITIVE = dense(8, 8) + dense(8, 8, bias=False) + 8
HIDDEN = dense(8 + 8, 8)

COUNTS: list[tuple[dict[str, Any], int]] = [
    ({}, PLAIN),
    ({"attention": "dot"}, PLAIN + HIDDEN),
    ({"attention": "scaled_dot"}, PLAIN + HIDDEN),
    ({"attention": "fixed"}, PLAIN + HIDDEN),
    ({"attention": "dot", "attention_units": 6}, PLAIN + HIDDEN + 2 * 8 * 6),
    ({"attention": "general"}, PLAIN + HIDDEN + 8 * 8),
    ({"attention": "additive"}, PLAIN + HIDDEN + ADDITIVE),
    (
        {"attention": "additive", "attention_units": 6},
        PLAIN + HIDDEN + dense(8, 6) + 8 * 6 + 6,
    ),
    (
        {"attention": "multi_head_dot", "attention_heads": 4},
        PLAIN + HIDDEN + dense(8, 8) + 8 * 16 + 8 * 8,
    ),
    ({"attention": "location"}, PLAIN + HIDDEN + 8 * 100),
    ({"attention": "location", "attention_positions": 7}, PLAIN + HIDDEN + 8 * 7),
    ({"attention": "coverage"}, PLAIN + HIDDEN + ADDITIVE + 8),
    (
        {"attention": "location_sensitive"},
        PLAIN + HIDDEN + ADDITIVE + 15 * 16 + 16 * 8,
    ),
    ({"attention": AdditiveAttention(3)}, PLAIN + HIDDEN + dense(8, 3) + 8 * 3 + 3),
    # The wirings.
    ({"attention": "dot", "context_gate": True}, PLAIN + 2 * HIDDEN),
    (
        {"attention": "dot", "attention_output_units": 6},
        PLAIN + dense(16, 6) - OUTPUT + dense(6, 12),
    ),
    ({"attention": "dot", "input_feeding": True}, PLAIN + HIDDEN + 4 * 8 * 8),
    (
        {"attention": "dot", "input_feeding": True, "attention_output_units": 6},
        PLAIN + dense(16, 6) + 4 * 6 * 8 - OUTPUT + dense(6, 12),
    ),
    (
        {"attention": "general", "attention_previous_word": True},
        PLAIN + HIDDEN + (8 + 4) * 8,
    ),
    (
        {"attention": "dot", "decoder_layers": 3},
        PLAIN + HIDDEN + 2 * lstm(8),
    ),
    (
        {"attention": "dot", "decoder_layers": 3, "attention_in_upper_layers": True},
        PLAIN + HIDDEN + 2 * lstm(8 + 8),
    ),
    # The context of several heads is as wide as they are, not as the memory.
    (
        {
            "attention": "multi_head_dot",
            "attention_units": 6,
            "attention_heads": 2,
            "decoder_layers": 2,
            "attention_in_upper_layers": True,
        },
        PLAIN + dense(8, 6) + 8 * 12 + 6 * 6 + dense(8 + 6, 8) + lstm(8 + 6),
    ),
    # Tied: the output is the embedding, and has no bias.
    (
        {"weight_tying": "target_softmax", "target_embedding_dim": 8},
        11 * 4 + 12 * 8 + lstm(4) + lstm(8),
    ),
    (
        {"weight_tying": "source_target", "source_vocab_size": 12},
        12 * 4 + 2 * lstm(4) + OUTPUT,
    ),
    (
        {"weight_tying": "all", "source_vocab_size": 12, "embedding_dim": 8},
        12 * 8 + 2 * lstm(8),
    ),
    ({"stabilizer": "shared"}, PLAIN + 1),
    ({"stabilizer": "separate"}, PLAIN + 3),
]


@pytest.mark.parametrize(
    ("settings", "expected"), COUNTS, ids=["-".join(each) for each, _ in COUNTS]
)
def test_a_wiring_has_the_weights_of_its_formula(
    settings: dict[str, Any], expected: int
) -> None:
    assert make(**settings).count_params() == expected


# Where it looks.


@pytest.mark.parametrize("kind", ["dot", "additive", "multi_head_dot"])
@pytest.mark.parametrize("feeding", [False, True])
def test_attention_is_in_the_order_of_the_source_also_where_it_is_reversed(
    kind: str, feeding: bool
) -> None:
    settings = {"attention": kind, "input_feeding": feeding}
    model, forward = drawn(reverse_source=True, **settings), drawn(**settings)
    forward.set_weights(model.get_weights())
    source = FEED["encoder_inputs"]
    mirrored = np.array([[10, 7, 6, 5, 3], [4, 9, 3, 0, 0]])
    np.testing.assert_allclose(
        model(FEED), forward({**FEED, "encoder_inputs": mirrored}), atol=1e-5
    )
    assert largest(model(FEED), forward(FEED)) > 1e-3
    found = model.generate(source, max_length=4, return_attention=True).attention
    other = forward.generate(mirrored, max_length=4, return_attention=True).attention
    assert found is not None
    assert other is not None
    expected = np.array(other)
    expected[0, :, :, :4] = other[0, :, :, 3::-1]
    expected[1, :, :, :2] = other[1, :, :, 1::-1]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert largest(found, other) > 1e-3


def test_the_fixed_attention_looks_at_the_last_real_step() -> None:
    model = make(attention="fixed", reverse_source=True)
    found = model.generate(FEED["encoder_inputs"], max_length=1, return_attention=True)
    assert found.attention is not None
    expected = [[[[0, 0, 0, 0, 1]]], [[[0, 0, 1, 0, 0]]]]
    np.testing.assert_array_equal(found.attention, expected)


@each_wiring
def test_generate_gives_the_weights_of_the_decoders_steps(wiring: str) -> None:
    model = drawn(**WIRINGS[wiring])
    inference = build_inference_models(model)
    source = FEED["encoder_inputs"]
    encoded = inference.encoder(source)
    states, token = encoded["states"], keras.ops.full((2,), 2, dtype="int32")
    found = model.generate(source, max_length=6, return_attention=True)
    assert found.attention is not None
    steps = found.tokens.shape[2]
    assert found.attention.shape == (2, 1, steps, 5)
    assert found.attention.dtype == "float32"
    for time in range(steps):
        step = inference.decoder_step({**encoded, "token": token, "states": states})
        for row in range(2):
            expected = array(step["attention"][row])
            if time >= found.lengths[row, 0]:
                expected = np.zeros(5)
            np.testing.assert_allclose(
                found.attention[row, 0, time], expected, atol=1e-5
            )
        token = keras.ops.array(found.tokens[:, 0, time])
        states = step["states"]


@each_wiring
def test_attention_on_request_changes_nothing_else(wiring: str) -> None:
    model = drawn(**WIRINGS[wiring])
    source = FEED["encoder_inputs"]
    found, plain = model.generate(source, return_attention=True), model.generate(source)
    assert plain.attention is None
    np.testing.assert_array_equal(found.tokens, plain.tokens)
    np.testing.assert_allclose(found.scores, plain.scores, atol=1e-5)


def test_attention_of_several_batches_is_as_wide_as_the_longest_source() -> None:
    model = drawn(attention="additive")
    source = FEED["encoder_inputs"]
    together = model.generate(source, return_attention=True)
    apart = model.generate(source, batch_size=1, return_attention=True)
    np.testing.assert_array_equal(together.tokens, apart.tokens)
    assert together.attention is not None
    assert apart.attention is not None
    np.testing.assert_allclose(together.attention, apart.attention, atol=1e-5)


def test_attention_is_not_given_by_a_model_without_any() -> None:
    with pytest.raises(ValueError, match=r"`return_attention` needs a model built"):
        make().generate(FEED["encoder_inputs"], return_attention=True)


@pytest.mark.parametrize(
    ("settings", "names", "sizes"),
    [
        ({"attention": "dot"}, [], []),
        ({"attention": "coverage"}, ["state_attention"], [None]),
        ({"attention": "dot", "input_feeding": True}, ["state_hidden"], [8]),
        (
            {
                "attention": "coverage",
                "input_feeding": True,
                "attention_output_units": 6,
            },
            ["state_hidden", "state_attention"],
            [6, None],
        ),
    ],
)
def test_what_a_step_hands_on_is_a_state(
    settings: dict[str, Any], names: list[str], sizes: list[int | None]
) -> None:
    decoder = build_decoder(**SIZES, **settings)
    assert decoder.state_names == ["state_1_h", "state_1_c", *names]
    assert decoder.state_sizes == [8, 8, *sizes]


def test_the_upper_layers_read_the_context_of_the_first() -> None:
    """With a second layer that is blind to the first, what it gives is the context's.

    Its weights for the layer below are 0, so only attention can tell targets apart.
    """
    settings = {"attention": "dot", "decoder_layers": 2, "decoder_init": "zeros"}
    blind = drawn(**settings, attention_in_upper_layers=True)
    layer = blind.get_layer("decoder_lstm_2")
    kernel = array(layer.cell.kernel).copy()
    kernel[:8] = 0.0
    layer.cell.kernel.assign(kernel)
    hidden = blind.get_layer("decoder_attentional_hidden")
    weights = array(hidden.kernel).copy()
    weights[8:] = 0.0  # no way from the context past the layer
    hidden.kernel.assign(weights)
    other = {**FEED, "encoder_inputs": np.array([[6, 6, 5, 9, 3], [4, 4, 3, 0, 0]])}
    assert largest(blind(FEED), blind(other)) > 1e-3
    kernel[8:] = 0.0
    layer.cell.kernel.assign(kernel)
    np.testing.assert_array_equal(blind(FEED), blind(other))


def test_the_previous_word_is_in_the_query() -> None:
    """The last read token decides where to look, though nothing else has seen it."""
    model = drawn(attention="general", attention_previous_word=True)
    model.get_layer("decoder_lstm_1").cell.kernel.assign(np.zeros((4, 32)))
    other = {**FEED, "decoder_inputs": np.array([[2, 5, 6, 9], [2, 7, 0, 0]])}
    found, changed = model(FEED).numpy(), model(other).numpy()
    assert largest(found[0, 3], changed[0, 3]) > 1e-3
    np.testing.assert_array_equal(found[0, :3], changed[0, :3])


def test_the_hidden_layer_of_the_step_before_is_fed() -> None:
    """What the first step's output says reaches the second by no other way here."""
    model = drawn(attention="dot", input_feeding=True, cell="simple_rnn")
    plain = drawn(attention="dot", cell="simple_rnn")
    cell = model.get_layer("decoder_loop").core.recurrent[0].cell
    cell.recurrent_kernel.assign(np.zeros((8, 8)))
    plain.get_layer("decoder_simple_rnn_1").cell.recurrent_kernel.assign(
        np.zeros((8, 8))
    )
    other = {**FEED, "decoder_inputs": np.array([[2, 9, 6, 4], [2, 8, 0, 0]])}
    for each, reaches in ((model, True), (plain, False)):
        differs = largest(each(FEED)[0, 2], each(other)[0, 2]) > 1e-4
        assert differs == reaches


# Tied weights and stabilizers.


def gradient_rows(model: Seq2Seq, name: str, token: int) -> set[int]:
    """The rows of an embedding that the logits of a token hang on."""
    variable = model.get_layer(name).embeddings
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model(FEED)[..., token])
    gradient = tf.convert_to_tensor(tape.gradient(value, variable.value))
    return set(np.flatnonzero(np.abs(gradient).sum(axis=1)).tolist())


SOURCE_TOKENS, TARGET_TOKENS = {3, 4, 5, 6, 7, 9, 10}, {2, 4, 5, 6, 7}


@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize(
    ("tying", "name", "expected"),
    [
        # Padding (0) is read at the target's end too, which counts nowhere else.
        ("target_softmax", "decoder_embedding", TARGET_TOKENS | {0, 8}),
        ("source_target", "shared_embedding", SOURCE_TOKENS | TARGET_TOKENS | {0}),
        ("all", "shared_embedding", SOURCE_TOKENS | TARGET_TOKENS | {0, 8}),
    ],
)
def test_a_tied_matrix_learns_from_all_its_uses(
    tying: str, name: str, expected: set[int], feeding: bool
) -> None:
    model = drawn(
        source_vocab_size=12,
        embedding_dim=8,
        weight_tying=tying,
        attention="dot",
        input_feeding=feeding,
    )
    # Token 8 is read nowhere: only as an output does it have a part.
    assert gradient_rows(model, name, token=8) == expected
    shapes = [tuple(v.shape) for v in model.weights if v.path.endswith("embeddings")]
    assert shapes == [(12, 8)] * (2 if tying == "target_softmax" else 1)
    outputs = [v.path for v in model.weights if "output" in v.path]
    assert bool(outputs) == (tying == "source_target")


def test_the_tied_output_is_the_product_with_the_embedding() -> None:
    model = drawn(
        embedding_dim=8, weight_tying="target_softmax", attention="dot", units=8
    )
    hidden = keras.Model(
        model.input, model.get_layer("decoder_attentional_hidden").output
    )(FEED)
    embeddings = array(model.get_layer("decoder_embedding").embeddings)
    np.testing.assert_allclose(model(FEED), hidden @ embeddings.T, atol=1e-5)


@pytest.mark.parametrize("tying", ["target_softmax", "source_target", "all"])
def test_tied_weights_stay_tied_in_a_file(tying: str, tmp_path: Path) -> None:
    model = drawn(source_vocab_size=12, embedding_dim=8, weight_tying=tying)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.count_params() == model.count_params()
    np.testing.assert_array_equal(again(FEED), model(FEED))


@pytest.mark.parametrize("kind", ["shared", "separate"])
@pytest.mark.parametrize("representation", ["embedding", "one_hot"])
def test_a_stabilizer_changes_nothing_at_first_and_learns(
    kind: str, representation: str
) -> None:
    settings: dict[str, Any] = {"source_representation": representation}
    if representation == "one_hot":
        settings["embedding_dim"] = 256
    model, plain = make(**settings, stabilizer=kind), make(**settings)
    betas = [v for v in model.weights if "stabilizer" in v.path]
    assert [tuple(v.shape) for v in betas] == [()] * (1 if kind == "shared" else 3)
    others = [v for v in model.weights if "stabilizer" not in v.path]
    by_path = {v.path: v for v in others}
    assert set(by_path) == {v.path for v in plain.weights}
    for variable in plain.weights:
        variable.assign(by_path[variable.path])
    np.testing.assert_allclose(model(FEED), plain(FEED), atol=1e-6)
    before = [float(v) for v in betas]
    model.compile(optimizer=keras.optimizers.SGD(1.0))
    model.fit(FEED, TARGETS, verbose=0)
    assert all(float(v) != b for v, b in zip(betas, before, strict=True))


def test_separate_stabilizers_act_each_in_its_place() -> None:
    model = drawn(stabilizer="separate")
    names = [f"{place}_stabilizer" for place in ("encoder", "decoder", "output")]
    for name in names:
        model.get_layer(name).beta.assign(1.0)
    logits = model(FEED).numpy()
    bias = array(model.get_layer("decoder_output").bias)
    model.get_layer("output_stabilizer").beta.assign(2.0)
    gain = np.log1p(np.exp(8.0)) / np.log1p(np.exp(4.0))
    doubled = (logits - bias) * gain + bias
    np.testing.assert_allclose(model(FEED), doubled, atol=1e-4)
    for name in names[:2]:
        before = model(FEED).numpy()
        model.get_layer(name).beta.assign(2.0)
        assert largest(model(FEED), before) > 1e-3


# Dropout.


@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "simple_rnn"])
@pytest.mark.parametrize(
    "name",
    [
        "encoder_input_dropout",
        "decoder_input_dropout",
        "decoder_recurrent_dropout",
        "hidden_dropout",
    ],
)
def test_dropout_acts_in_training_only(name: str, cell: str, feeding: bool) -> None:
    model = drawn(**{name: 0.5}, cell=cell, attention="dot", input_feeding=feeding)
    still = model(FEED).numpy()
    np.testing.assert_array_equal(model(FEED, training=False), still)
    moved = [model(FEED, training=True).numpy() for _ in range(2)]
    assert largest(moved[0], still) > 1e-3
    assert largest(moved[0], moved[1]) > 1e-3
    np.testing.assert_array_equal(model(FEED), still)  # no mask is left behind


def transparent(feeding: bool, **rates: float) -> Seq2Seq:
    """A model whose logits are tanh(h), of a recurrent layer whose units are alone."""
    model = make(
        cell="simple_rnn",
        target_vocab_size=8,
        embedding_dim=8,
        decoder_init="zeros",
        attention="dot",
        input_feeding=feeding,
        **rates,
    )
    where = model.get_layer("decoder_loop").core if feeding else model
    cell = (
        where.recurrent[0].cell
        if feeding
        else where.get_layer("decoder_simple_rnn_1").cell
    )
    kernel = np.zeros((16 if feeding else 8, 8))
    kernel[:8] = np.eye(8)
    cell.kernel.assign(kernel)
    cell.recurrent_kernel.assign(np.eye(8))
    cell.bias.assign(np.full(8, 0.1))
    for layer in (*model.layers, *(model.graph.decoder.core.layers)):
        if layer.name == "decoder_attentional_hidden":
            layer.kernel.assign(np.eye(16)[:, :8])
    model.get_layer("decoder_output").kernel.assign(np.eye(8))
    # Token 5 is a vector of ones, the others of zeros.
    model.get_layer("decoder_embedding").embeddings.assign(
        np.eye(8)[5][:, None] * np.ones((8, 8))
    )
    return model


@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", ["input_dropout", "recurrent_dropout"])
def test_a_sequence_has_one_mask_for_all_its_steps(
    name: str, compiled: bool, feeding: bool
) -> None:
    model = transparent(feeding, **{f"decoder_{name}": 0.5})
    steps, rows = 6, 20
    feed = {
        "encoder_inputs": np.full((rows, 3), 3),
        "decoder_inputs": np.full((rows, steps), 5 if name == "input_dropout" else 4),
    }
    run = tf.function(model) if compiled else model
    run(feed, training=False)
    masks = []
    for _ in range(2):
        hidden = np.arctanh(run(feed, training=True).numpy())  # (rows, steps, 8)
        before = np.arctanh(hidden) - 0.1
        if name == "input_dropout":
            # The state before is added whole, the input times 0 or 2.
            gained = before[:, 1:] - hidden[:, :-1]
            factor = np.concatenate([before[:, :1], gained], axis=1)
        else:
            factor = before[:, 1:] / hidden[:, :-1]
        factor = np.round(factor, 2)
        assert set(np.unique(factor)) <= {0.0, 2.0}
        np.testing.assert_array_equal(factor, factor[:, :1] + 0 * factor)
        masks.append(factor[:, 0])
    # Half of the 160 units, each row and each call with units of its own.
    assert 0.5 < masks[0].mean() < 1.5
    assert (masks[0] != masks[0][:1]).any()
    assert (masks[0] != masks[1]).any()


@pytest.mark.parametrize("feeding", [False, True])
def test_the_last_hidden_layer_has_a_mask_of_its_own_at_each_step(
    feeding: bool,
) -> None:
    model = transparent(feeding, hidden_dropout=0.5)
    feed = {
        "encoder_inputs": np.full((20, 3), 3),
        "decoder_inputs": np.full((20, 6), 5),
    }
    dropped = model(feed, training=True).numpy() == 0
    assert 0.3 < dropped.mean() < 0.7
    assert (dropped[:, 1:] != dropped[:, :1]).any()


@each_wiring
def test_a_model_trains_with_every_dropout(wiring: str) -> None:
    model = make(
        **WIRINGS[wiring],
        input_dropout=0.3,
        recurrent_dropout=0.3,
        hidden_dropout=0.3,
        embedding_dropout=0.3,
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01), run_eagerly=True)
    before = model.get_weights()
    loss = model.train_on_batch(FEED, TARGETS)[0]
    assert np.isfinite(loss)
    for weight, old in zip(model.weights, before, strict=True):
        assert largest(weight, old) > 0, weight.path
    # Evaluation follows without masks of the training.
    expected = float(MaskedCrossentropy()(TARGETS, model(FEED)))
    assert model.test_on_batch(FEED, TARGETS)[0] != loss
    model.reset_metrics()
    assert model.test_on_batch(FEED, TARGETS)[0] == pytest.approx(expected, rel=1e-5)


def test_the_first_call_of_a_loop_may_be_in_training() -> None:
    model = drawn(
        cell="simple_rnn", attention="dot", input_feeding=True, recurrent_dropout=0.5
    )
    first = model(FEED, training=True).numpy()
    assert largest(first, model(FEED)) > 1e-3


# All of it in other surroundings.


@each_wiring
def test_half_precision_trains_and_decodes(wiring: str) -> None:
    model = make(
        **WIRINGS[wiring],
        dtype="mixed_float16",
        hidden_dropout=0.1,
        input_dropout=0.1,
        recurrent_dropout=0.1,
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    before = model.get_weights()
    losses = [model.train_on_batch(FEED, TARGETS)[0] for _ in range(2)]
    assert np.isfinite(losses).all()
    assert any(
        largest(one, other) > 0
        for one, other in zip(before, model.get_weights(), strict=True)
    )
    assert {v.dtype for v in model.weights} == {"float32"}
    assert model(FEED).dtype == "float32"
    core = model.graph.decoder.core
    assert {layer.compute_dtype for layer in core.layers} == {"float16"}
    found = model.generate(FEED["encoder_inputs"], return_attention=True)
    assert np.isfinite(found.scores).all()
    assert found.attention is not None
    inside = np.arange(found.tokens.shape[2]) < found.lengths  # (batch, time)
    np.testing.assert_allclose(found.attention.sum(axis=-1)[:, 0], inside, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "dot", "input_feeding": True},
        {"attention": "coverage"},
    ],
    ids=["dot-in-loop", "look-back"],
)
def test_a_model_trains_compiled_by_xla(settings: dict[str, Any]) -> None:
    model = make(**settings, cell="simple_rnn")
    expected = float(MaskedCrossentropy()(TARGETS, model(FEED)))
    before = model.get_weights()
    model.compile(optimizer=keras.optimizers.SGD(0.5), jit_compile=True)
    # The shapes of what `fit` is traced for are open; XLA is strict there.
    losses = model.fit(FEED, TARGETS, verbose=0).history["loss"]
    assert losses == pytest.approx([expected], rel=1e-4)
    for weight, old in zip(model.weights, before, strict=True):
        assert largest(weight, old) > 0, weight.path


def test_the_summary_names_the_layers_inside_the_loop() -> None:
    lines: list[str] = []
    model = make(
        attention="additive", input_feeding=True, hidden_dropout=0.1, decoder_layers=2
    )
    model.summary(print_fn=lambda line, **_: lines.append(line), line_length=160)
    text = "\n".join(lines)
    assert "decoder_loop (InputFeedingLoop)" in text
    for name in [
        "decoder_lstm_1 (FusedLSTM)",
        "decoder_lstm_2 (FusedLSTM)",
        "decoder_attention (AdditiveAttention)",
        "decoder_attentional_hidden",  # its class is on a line of its own
        "decoder_hidden_dropout (Dropout)",
        "decoder_input_feeding (Concatenate)",
    ]:
        assert f"└ {name}" in text


SETTINGS_OF_A_LOOP = {
    "attention": "location_sensitive",
    "input_feeding": True,
    "decoder_layers": 2,
    "attention_in_upper_layers": True,
    "context_gate": True,
    "stabilizer": "shared",
}


def test_a_loop_can_be_cloned() -> None:
    model = drawn(**SETTINGS_OF_A_LOOP)
    clone = keras.models.clone_model(model)
    ours = {id(v) for v in model.weights}
    assert not ours & {id(v) for v in clone.weights}
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(FEED), model(FEED))


def test_a_saved_loop_is_the_loop(tmp_path: Path) -> None:
    model = drawn(**SETTINGS_OF_A_LOOP)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.config == model.config
    assert isinstance(again.get_layer("decoder_loop"), InputFeedingLoop)
    np.testing.assert_array_equal(again(FEED), model(FEED))
