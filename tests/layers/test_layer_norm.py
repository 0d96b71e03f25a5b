"""Recurrent layers with layer normalization, against their formulas in numpy."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kseq
from kseq.layers import LayerNormGRU, LayerNormGRUCell, LayerNormLSTM, LayerNormLSTMCell

UNITS = 5
X = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")
LENGTHS = [4, 2, 1]
MASK = np.arange(4) < np.array(LENGTHS)[:, None]

both = pytest.mark.parametrize("cls", [LayerNormLSTM, LayerNormGRU])


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def norm(x: Any, epsilon: float) -> Any:
    """Normalizes each gate of (batch, gates * units) by itself."""
    gates = [
        (gate - gate.mean(1, keepdims=True)) / np.sqrt(gate.var(1) + epsilon)[:, None]
        for gate in np.split(x, x.shape[1] // UNITS, axis=1)
    ]
    return np.concatenate(gates, axis=1)


def lstm_step(x: Any, states: Any, w: dict[str, Any], epsilon: float) -> Any:
    h, c = states
    gates = w["kernel_gain"] * norm(x @ w["kernel"], epsilon)
    gates = gates + w["recurrent_gain"] * norm(h @ w["recurrent_kernel"], epsilon)
    i, f, g, o = np.split(gates + w.get("bias", 0), 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    seen = w["cell_gain"] * norm(c, epsilon) + w.get("cell_offset", 0)
    h = sigmoid(o) * np.tanh(seen)
    return h, [h, c]


def gru_step(
    x: Any, states: Any, w: dict[str, Any], epsilon: float, reset_after: bool = True
) -> Any:
    (h,) = states
    bias = w.get("bias", np.zeros((2, 1)) if reset_after else 0)
    bias_x, bias_h = bias if reset_after else (bias, 0)
    kernel, gain = w["recurrent_kernel"], w["recurrent_gain"]
    x = w["kernel_gain"] * norm(x @ w["kernel"], epsilon) + bias_x
    x_z, x_r, x_g = np.split(x, 3, axis=1)
    y = gain * norm(h @ kernel, epsilon) + bias_h
    y_z, y_r, y_g = np.split(y, 3, axis=1)
    z, r = sigmoid(x_z + y_z), sigmoid(x_r + y_r)
    if reset_after:
        g = np.tanh(x_g + r * y_g)
    else:
        last = slice(2 * UNITS, None)
        g = np.tanh(x_g + gain[last] * norm((r * h) @ kernel[:, last], epsilon))
    h = z * h + (1 - z) * g
    return h, [h]


def shake(layer: keras.layers.Layer) -> dict[str, Any]:
    """Gives every weight random values, and returns them by name."""
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return {
        weight.name: keras.ops.convert_to_numpy(weight).astype("float64")
        for weight in layer.weights
    }


def make(cls: type, **options: Any) -> Any:
    layer = cls(UNITS, **{"return_sequences": True, "return_state": True, **options})
    layer.build((None, None, X.shape[-1]))
    shake(layer)
    return layer


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("cls", ["lstm", "gru", "gru_before"])
@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
@pytest.mark.parametrize("unroll", [False, True])
def test_the_layer_computes_its_formula(
    cls: str, use_bias: bool, epsilon: float, unroll: bool
) -> None:
    options: dict[str, Any] = {"use_bias": use_bias, "epsilon": epsilon}
    options |= {"unroll": unroll, "dtype": "float64"}
    if cls == "lstm":
        layer, step, own = make(LayerNormLSTM, **options), lstm_step, {}
    else:
        own = {"reset_after": cls == "gru"}
        layer, step = make(LayerNormGRU, **options, **own), gru_step
    weights = shake(layer)
    assert ("bias" in weights) == use_bias
    assert ("cell_offset" in weights) == (use_bias and cls == "lstm")
    rng = np.random.default_rng(2)
    states = [rng.normal(size=(3, UNITS)) for _ in layer.state_size]
    outputs, *last = layer(X.astype("float64"), initial_state=states, mask=MASK)
    for row, length in enumerate(LENGTHS):
        state = [s[row : row + 1] for s in states]
        for t in range(length):
            x = X[row : row + 1, t].astype("float64")
            expected, state = step(x, state, weights, epsilon, **own)
            np.testing.assert_allclose(outputs[row, t], expected[0], atol=1e-12)
        for a, b in zip(last, state, strict=True):
            np.testing.assert_allclose(a[row], b[0], atol=1e-12)


@both
def test_the_steps_of_the_cell_are_the_sequence(cls: type) -> None:
    layer = make(cls)
    outputs, *last = layer(X)
    states = layer.get_initial_state(3)
    for t in range(4):
        output, states = layer.cell(X[:, t], states)
        np.testing.assert_allclose(output, outputs[:, t], atol=1e-6)
    for a, b in zip(last, states, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_gru_state_may_come_without_a_list() -> None:
    cell = LayerNormGRUCell(UNITS)
    (h,) = cell.get_initial_state(3)
    output, state = cell(X[:, 0], h)
    np.testing.assert_array_equal(output, state)


@both
def test_the_weights_start_as_in_keras(cls: type) -> None:
    layer = cls(UNITS)
    layer.build((None, None, 2))
    weights = {w.name: keras.ops.convert_to_numpy(w) for w in layer.weights}
    for name, value in weights.items():
        if name.endswith("gain"):
            assert (value == 1).all()
    if cls is LayerNormLSTM:
        expected = np.repeat([0.0, 1.0, 0.0, 0.0], UNITS)
        np.testing.assert_array_equal(weights["bias"], expected)
        assert (weights["cell_offset"] == 0).all()
    else:
        assert (weights["bias"] == 0).all()
    assert len(layer.trainable_weights) == len(weights)


@both
def test_the_scale_of_the_inputs_is_forgotten(cls: type) -> None:
    layer = make(cls, epsilon=1e-12, dtype="float64")
    x = X.astype("float64")
    for small, large in zip(layer(x), layer(1000 * x), strict=True):
        np.testing.assert_allclose(small, large, atol=1e-6)


@both
def test_padding_changes_nothing(cls: type) -> None:
    layer = make(cls, zero_output_for_mask=True)
    wild = np.where(MASK[..., None], X, np.nan).astype("float32")
    outputs, *last = layer(np.where(MASK[..., None], X, 99), mask=MASK)
    for row, length in enumerate(LENGTHS):
        alone, *alone_last = layer(wild[row : row + 1, :length])
        np.testing.assert_allclose(outputs[row, :length], alone[0], atol=1e-6)
        assert not np.any(outputs[row, length:])
        for a, b in zip(last, alone_last, strict=True):
            np.testing.assert_allclose(a[row], b[0], atol=1e-6)


@both
@pytest.mark.parametrize("masked", [True, False])
def test_both_directions_are_the_layer_and_its_mirror(cls: type, masked: bool) -> None:
    layer = keras.layers.Bidirectional(cls(UNITS, return_sequences=True))
    layer.build(X.shape)
    shake(layer)
    mask = MASK if masked else np.ones_like(MASK)
    outputs = layer(X, mask=mask) if masked else layer(X)
    there = make(cls, return_state=False)
    back = make(cls, return_state=False)
    there.set_weights(layer.forward_layer.get_weights())
    back.set_weights(layer.backward_layer.get_weights())
    for row, length in enumerate(mask.sum(1)):
        x = X[row : row + 1, :length]
        one, two = outputs[row, :length, :UNITS], outputs[row, :length, UNITS:]
        np.testing.assert_allclose(one, there(x)[0], atol=1e-6)
        np.testing.assert_allclose(two, back(x[:, ::-1])[0, ::-1], atol=1e-6)


def test_no_neighbour_leads_to_cudnn() -> None:
    for plain, cls in [
        (keras.layers.LSTM, LayerNormLSTM),
        (keras.layers.GRU, LayerNormGRU),
    ]:
        back = cls(UNITS, go_backwards=True)
        layer = keras.layers.Bidirectional(plain(UNITS), backward_layer=back)
        layer(X)
        assert layer.forward_layer.use_cudnn == "auto"
        assert layer.backward_layer.use_cudnn is False


@both
@pytest.mark.parametrize("rate", ["dropout", "recurrent_dropout"])
def test_dropout_changes_training_only(cls: type, rate: str) -> None:
    plain = make(cls)
    layer = make(cls, **{rate: 0.5, "seed": 3})
    for a, b in zip(layer(X), plain(X), strict=True):
        np.testing.assert_array_equal(a, b)
    first, second = (layer(X, training=True)[0] for _ in range(2))
    steps = 1 if rate == "recurrent_dropout" else 0  # the first state is zeros
    assert not np.allclose(first[:, steps:], layer(X)[0][:, steps:], atol=1e-3)
    assert not np.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize(
    ("cls", "own"),
    [
        (LayerNormLSTM, {}),
        (LayerNormGRU, {}),
        (LayerNormGRU, {"reset_after": False}),
    ],
)
def test_each_gate_has_a_dropout_mask_of_its_own_kept_for_all_steps(
    cls: type, own: dict[str, Any]
) -> None:
    layer = make(cls, dropout=0.4, recurrent_dropout=0.4, dtype="float64", **own)
    weights = shake(layer)
    cell = layer.cell
    x = X.astype("float64")
    states = [np.ones((3, UNITS)) * 0.3 for _ in layer.state_size]
    for t in range(2):  # a cell by itself keeps its masks until they are reset
        output, new = cell(x[:, t], states, training=True)
        masks = [m.numpy() for m in cell.get_dropout_mask(x[:, t])]
        masks_h = [m.numpy() for m in cell.get_recurrent_dropout_mask(states[0])]
        assert len(masks) == len(masks_h) == (4 if cls is LayerNormLSTM else 3)
        for row in range(3):
            # A mask on the inputs of a gate is one on the rows of its kernel.
            dropped = dict(weights)
            for name, kept in (("kernel", masks), ("recurrent_kernel", masks_h)):
                kernels = np.split(weights[name], len(kept), axis=1)
                dropped[name] = np.concatenate(
                    [k * m[row][:, None] for k, m in zip(kernels, kept, strict=True)], 1
                )
            step = lstm_step if cls is LayerNormLSTM else gru_step
            alone = [s[row : row + 1] for s in states]
            expected, _ = step(x[row : row + 1, t], alone, dropped, 1e-5, **own)
            np.testing.assert_allclose(output[row], expected[0], atol=1e-12)
        states = [s.numpy() for s in new]


@both
@pytest.mark.parametrize("policy", ["float32", "float64", "mixed_float16"])
def test_every_gradient_is_finite_and_some_of_each_is_not_zero(
    cls: type, policy: str
) -> None:
    layer = make(cls, dtype=policy)
    with tf.GradientTape() as tape:
        outputs, *last = layer(X, mask=MASK)
        total = sum(tf.reduce_sum(tf.cast(o, "float32") ** 2) for o in [outputs, *last])
    for weight, gradient in zip(
        layer.trainable_weights,
        tape.gradient(total, [w.value for w in layer.trainable_weights]),
        strict=True,
    ):
        assert np.isfinite(gradient).all(), weight.name
        assert np.any(gradient), weight.name


@both
def test_equal_values_have_a_finite_gradient(cls: type) -> None:
    # The variance is 0 here, and its square root has no slope there.
    layer = make(cls)
    x = tf.zeros((2, 3, 2))
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x)[0])
    assert np.isfinite(tape.gradient(total, x)).all()


@both
def test_half_precision_normalizes_in_float32(cls: type) -> None:
    # The squares of such values have no place in float16: 300 ** 2 > 65504.
    half, full = make(cls, dtype="mixed_float16"), make(cls)
    x = (300 * X).astype("float16").astype("float32")
    output = half(x)[0]
    assert output.dtype == tf.float16
    np.testing.assert_allclose(
        tf.cast(output, "float32"), full(x)[0], atol=2e-2, rtol=0
    )
    assert {w.dtype for w in half.weights if "gain" in w.name} == {"float32"}


@both
def test_one_graph_takes_any_length_and_compiles(cls: type) -> None:
    layer = make(cls)
    spec = [tf.TensorSpec([None, None, 2]), tf.TensorSpec([None, None], "bool")]

    @tf.function(input_signature=spec)
    def graph(x: tf.Tensor, mask: tf.Tensor) -> Any:
        return layer(x, mask=mask)

    for time in (4, 1):
        x, mask = X[:, :time], MASK[:, :time]
        for a, b in zip(graph(x, mask), layer(x, mask=mask), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    compiled = tf.function(layer, jit_compile=True)
    for a, b in zip(compiled(X), layer(X), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@both
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_saved_layer_is_the_same_layer(
    cls: type, wrapped: bool, tmp_path: Path
) -> None:
    inner = cls(UNITS, epsilon=0.01, return_sequences=True, recurrent_dropout=0.1)
    layer = keras.layers.Bidirectional(inner) if wrapped else inner
    model = keras.Sequential([keras.Input((None, 2)), keras.layers.Masking(), layer])
    shake(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = X * MASK[..., None]
    np.testing.assert_array_equal(again(x), model(x))
    loaded = again.layers[-1]
    for one in (loaded.forward_layer, loaded.backward_layer) if wrapped else [loaded]:
        assert type(one) is cls
        assert (one.cell.epsilon, one.recurrent_dropout) == (0.01, 0.1)


@both
def test_the_options_of_keras_are_kept(cls: type) -> None:
    options = {
        "activation": "relu",
        "recurrent_activation": "hard_sigmoid",
        "use_bias": False,
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "go_backwards": True,
        "stateful": True,
        "unroll": True,
        "zero_output_for_mask": True,
        "return_sequences": True,
        "return_state": True,
        "seed": 7,
        "trainable": False,
        "name": "mine",
    }
    layer = cls.from_config(cls(UNITS, epsilon=0.5, **options).get_config())
    config = layer.get_config()
    assert {key: config[key] for key in options} == options
    assert (config["epsilon"], layer.cell.epsilon, layer.units) == (0.5, 0.5, UNITS)
    assert not layer.use_cudnn
    layer.build((3, 4, 2))
    assert not layer.trainable_weights


@both
def test_regularizers_and_constraints_act_on_the_kernels(cls: type) -> None:
    layer = cls(UNITS, kernel_regularizer="l2", recurrent_constraint="non_neg")
    layer(X)
    assert len(layer.losses) == 1
    assert layer.cell.recurrent_kernel.constraint is not None


@both
def test_states_stay_where_the_layer_is_stateful(cls: type) -> None:
    plain, layer = make(cls), cls(UNITS, return_sequences=True, stateful=True)
    layer.build(X.shape)
    layer.set_weights(plain.get_weights())
    halves = [layer(X[:, :2]), layer(X[:, 2:])]
    np.testing.assert_allclose(np.concatenate(halves, 1), plain(X)[0], atol=1e-6)


@both
def test_a_model_of_kseq_can_be_made_of_it(cls: type) -> None:
    # One unit: a pattern, whose width the builder replaces.
    model = kseq.build_seq2seq(
        source_vocab_size=11,
        target_vocab_size=11,
        embedding_dim=4,
        units=6,
        cell=cls(1, epsilon=0.01),
        encoder_direction="bidirectional",
    )
    layers = [v for v in model._flatten_layers() if isinstance(v, cls)]
    assert {(v.units, v.cell.epsilon) for v in layers} == {(3, 0.01), (6, 0.01)}


@pytest.mark.parametrize(
    "cls", [LayerNormLSTM, LayerNormGRU, LayerNormLSTMCell, LayerNormGRUCell]
)
def test_what_would_do_nothing_is_refused(cls: type) -> None:
    for epsilon in (0, -1e-5, float("nan")):
        with pytest.raises(ValueError, match=f"`epsilon` .* {epsilon}"):
            cls(UNITS, epsilon=epsilon)
    for name in ("dropout", "recurrent_dropout"):
        with pytest.raises(ValueError, match=f"`{name}` must be .* below 1.* 1.0"):
            cls(UNITS, **{name: 1.0})
    with pytest.raises(ValueError, match="implementation"):
        cls(UNITS, implementation=1)
    with pytest.raises(ValueError, match="use_cudnn"):
        cls(UNITS, use_cudnn=True)
    with pytest.raises(ValueError, match=r"`units` must be 2 or more.*: 1\."):
        cls(1).build((None, 2) if "Cell" in cls.__name__ else (None, None, 2))
