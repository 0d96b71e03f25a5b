"""Cells and initializers: by name, or as Keras objects."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from kseq import build_inference_models, build_seq2seq
from kseq.layers import FusedGRU, FusedLSTM
from kseq.models import Seq2Seq

SIZES: dict[str, Any] = {
    "source_vocab_size": 11,
    "target_vocab_size": 11,
    "units": 8,
    "embedding_dim": 4,
}
IDS = np.array([[5, 6, 7, 3], [9, 3, 0, 0]])
TOKENS = np.array([[2, 5, 6], [2, 7, 0]])


@keras.saving.register_keras_serializable(package="test_recurrent")
class LeakyCell(keras.layers.Layer):
    """h' = leak * h + (1 - leak) * tanh(W x): a cell that Keras does not have."""

    def __init__(self, units: int, leak: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units
        self.leak = leak

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight((shape[-1], self.units), name="kernel")

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        new = ops.tanh(inputs @ self.kernel)
        state = self.leak * states[0] + (1 - self.leak) * new
        return state, [state]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "leak": self.leak}


@keras.saving.register_keras_serializable(package="test_recurrent")
class Leaky(keras.layers.RNN):
    """A user's own recurrent layer."""

    def __init__(self, units: int, leak: float = 0.5, **kwargs: Any) -> None:
        super().__init__(LeakyCell(units, leak, dtype=kwargs.get("dtype")), **kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["cell"]
        return {**config, "units": self.cell.units, "leak": self.cell.leak}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Leaky":
        return cls(**config)  # Keras's own wants a cell


def make(**settings: Any) -> Seq2Seq:
    return build_seq2seq(**{**SIZES, **settings})


def weights(model: Seq2Seq, part: str) -> list[np.ndarray]:
    return [v.numpy() for v in model.weights if v.path.split("/")[-1] == part]


def by_steps(model: Seq2Seq) -> np.ndarray:
    """The logits of the one-step decoder, fed token by token."""
    inference = build_inference_models(model)
    encoded = inference.encoder(IDS)
    states, logits = encoded["states"], []
    for token in ops.transpose(TOKENS):
        step = inference.decoder_step({**encoded, "states": states, "token": token})
        states = step["states"]
        logits.append(step["logits"].numpy())
    return np.stack(logits, axis=1)


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("lstm", FusedLSTM),
        ("gru", FusedGRU),
        ("simple_rnn", keras.layers.SimpleRNN),
    ],
)
def test_a_cell_is_named_as_in_keras(cell: str, kind: type) -> None:
    model = make(cell=cell)
    for side in ("encoder", "decoder"):
        assert type(model.get_layer(f"{side}_{cell}_1")) is kind


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_keras_layer_is_a_pattern_for_all_layers(direction: str) -> None:
    pattern = keras.layers.GRU(1, reset_after=False, activation="relu", dropout=0.5)
    model = make(cell=pattern, layers=2, encoder_direction=direction)
    layers = [model.get_layer(f"{side}_gru_{k}") for side, k in SIDES]
    halved = direction == "bidirectional"
    for layer, side in zip(layers, SIDES, strict=True):
        inner = [layer]
        if halved and side[0] == "encoder":
            inner = [layer.forward_layer, layer.backward_layer]
        for gru in inner:
            assert (gru.reset_after, gru.dropout) == (False, 0.5)
            assert gru.activation is keras.activations.relu
            assert gru.units == 8 // len(inner)
    assert not pattern.built
    expected = model({"encoder_inputs": IDS, "decoder_inputs": TOKENS})
    np.testing.assert_allclose(by_steps(model), expected, atol=1e-5)


SIDES = [("encoder", 1), ("encoder", 2), ("decoder", 1), ("decoder", 2)]


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_recurrent_layer_of_ones_own_trains_decodes_and_reloads(
    direction: str, tmp_path: Any
) -> None:
    model = make(cell=Leaky(1, leak=0.25), encoder_direction=direction, layers=2)
    assert model.get_layer("decoder_leaky_2").cell.leak == 0.25
    model.compile()
    feed = {"encoder_inputs": IDS, "decoder_inputs": TOKENS}
    model.fit(feed, np.array([[5, 6, 3], [7, 3, 0]]), verbose=0)
    expected = model(feed).numpy()
    np.testing.assert_allclose(by_steps(model), expected, atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(feed), expected)


def test_a_named_uniform_initializer_has_the_given_bounds() -> None:
    model = make(
        kernel_initializer="uniform",
        recurrent_initializer="uniform",
        initializer_scale=0.3,
        decoder_init_projection="dense",
    )
    kernels = [
        *weights(model, "kernel"),
        *weights(model, "recurrent_kernel"),
        *weights(model, "embeddings"),
    ]
    assert len(kernels) == 9
    for kernel in kernels:
        assert 0.2 < np.abs(kernel).max() <= 0.3
        assert abs(kernel.mean()) < 0.1


def test_the_scale_leaves_other_initializers_alone() -> None:
    model = make(initializer_scale=1e-3)
    assert all(np.abs(x).max() <= 1e-3 for x in weights(model, "embeddings"))
    assert all(np.abs(x).max() > 0.1 for x in weights(model, "recurrent_kernel"))
    assert all(np.abs(x).max() > 0.1 for x in weights(model, "kernel"))


def test_recurrent_kernels_are_orthogonal_by_default() -> None:
    for kernel in weights(make(), "recurrent_kernel"):
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(8), atol=1e-5)


def test_initializers_are_taken_as_keras_objects_and_configs() -> None:
    constant = keras.initializers.Constant(0.5)
    model = make(
        kernel_initializer=constant,
        recurrent_initializer=keras.initializers.serialize(constant),
        embedding_initializer="ones",
    )
    assert all(np.all(x == 0.5) for x in weights(model, "kernel"))
    assert all(np.all(x == 0.5) for x in weights(model, "recurrent_kernel"))
    assert all(np.all(x == 1.0) for x in weights(model, "embeddings"))


@pytest.mark.parametrize(("setting", "expected"), [(None, 1.0), (2.5, 2.5), (0, 0.0)])
def test_the_forget_gate_starts_at_its_bias(
    setting: float | None, expected: float
) -> None:
    model = make(forget_bias=setting)
    for side in ("encoder", "decoder"):
        bias = model.get_layer(f"{side}_lstm_1").cell.bias.numpy().reshape(4, 8)
        assert bias[1].tolist() == [expected] * 8
        assert not np.any(bias[[0, 2, 3]])


@pytest.mark.parametrize(
    "initializer", ["glorot_uniform", "uniform", keras.initializers.RandomNormal()]
)
def test_layers_of_one_shape_start_from_different_values(initializer: Any) -> None:
    model = make(
        layers=3,
        embedding_dim=8,
        encoder_direction="bidirectional_first",
        kernel_initializer=initializer,
        embedding_initializer=initializer,
        decoder_init_projection="dense",
    )
    kernels = [
        v.numpy()
        for v in model.weights
        if v.path.split("/")[-1] in ("kernel", "recurrent_kernel", "embeddings")
    ]
    seen = {kernel.tobytes() for kernel in kernels}
    assert len(kernels) > 20
    assert len(seen) == len(kernels)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_without_fused_layers_it_is_the_same_model_of_keras_layers(
    cell: str, tmp_path: Path
) -> None:
    made = []
    for fused in (True, False):
        keras.utils.set_random_seed(0)
        model = build_seq2seq(
            **SIZES,
            cell=cell,
            fused=fused,
            encoder_direction="bidirectional",
            attention="dot",
        )
        model.compile("sgd")
        x = {"encoder_inputs": IDS, "decoder_inputs": TOKENS}
        model.fit(x, np.array([[5, 6, 3], [7, 3, 0]]), epochs=2, verbose=0)
        made.append(model)
    fused, plain = made
    kinds = {
        "lstm": (FusedLSTM, keras.layers.LSTM),
        "gru": (FusedGRU, keras.layers.GRU),
    }
    for model, kind in zip(made, kinds[cell], strict=True):
        assert type(model.get_layer(f"decoder_{cell}_1")) is kind
        encoder = model.get_layer(f"encoder_{cell}_1")
        assert type(encoder.forward_layer) is type(encoder.backward_layer) is kind
    for a, b in zip(fused.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    plain.save(tmp_path / "plain.keras")
    again = keras.saving.load_model(tmp_path / "plain.keras")
    assert not again.config.fused
    for model in (again, fused):
        found = model.generate(IDS, max_length=5)
        assert np.array_equal(found.tokens, plain.generate(IDS, max_length=5).tokens)
