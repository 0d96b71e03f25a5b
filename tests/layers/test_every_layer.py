"""What holds for every layer: one test of each kind, run on all of them."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseq import layers

IDS = np.array([[7, 8, 9, 3], [5, 3, 0, 0], [6, 0, 0, 0]], "int32")
VECTORS = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")
VECTORS *= (IDS != 0)[..., None]


def start() -> dict[str, Any]:
    """Initializers that give two layers the same weights."""
    return {
        "kernel_initializer": keras.initializers.GlorotUniform(seed=1),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=2),
    }


def kernels() -> dict[str, Any]:
    """The same for layers without recurrence."""
    return {"kernel_initializer": start()["kernel_initializer"]}


# Each layer with arguments that are not its defaults, and what it is called on.
CASES: dict[str, tuple[Callable[..., keras.layers.Layer], np.ndarray, bool]] = {
    "AdditiveAttention": (
        lambda **k: layers.AdditiveAttention(5, **kernels(), **k),
        VECTORS,
        True,
    ),
    "AttentionalHidden": (
        lambda **k: layers.AttentionalHidden(5, gate=True, **kernels(), **k),
        VECTORS,
        False,
    ),
    "CoverageAttention": (
        lambda **k: layers.CoverageAttention(5, **kernels(), **k),
        VECTORS,
        True,
    ),
    "DotAttention": (
        lambda **k: layers.DotAttention(scaled=True, units=5, **kernels(), **k),
        VECTORS,
        True,
    ),
    "FixedAttention": (layers.FixedAttention, VECTORS, True),
    "GeneralAttention": (
        lambda **k: layers.GeneralAttention(**kernels(), **k),
        VECTORS,
        True,
    ),
    "LocationAttention": (
        lambda **k: layers.LocationAttention(3, **kernels(), **k),
        VECTORS,
        True,
    ),
    "LocationSensitiveAttention": (
        lambda **k: layers.LocationSensitiveAttention(
            5, filters=2, kernel_size=3, cumulative=True, **kernels(), **k
        ),
        VECTORS,
        True,
    ),
    "MultiHeadDotAttention": (
        lambda **k: layers.MultiHeadDotAttention(6, heads=2, **kernels(), **k),
        VECTORS,
        True,
    ),
    "FeatureMask": (lambda **k: layers.FeatureMask("x", **k), VECTORS, False),
    "FusedGRU": (lambda **k: layers.FusedGRU(5, **start(), **k), VECTORS, True),
    "FusedLSTM": (lambda **k: layers.FusedLSTM(5, **start(), **k), VECTORS, True),
    "LayerNormGRU": (
        lambda **k: layers.LayerNormGRU(5, epsilon=0.01, **start(), **k),
        VECTORS,
        True,
    ),
    "LayerNormGRUCell": (
        lambda **k: layers.LayerNormGRUCell(5, epsilon=0.01, **start(), **k),
        VECTORS,
        True,
    ),
    "LayerNormLSTM": (
        lambda **k: layers.LayerNormLSTM(5, epsilon=0.01, **start(), **k),
        VECTORS,
        True,
    ),
    "LayerNormLSTMCell": (
        lambda **k: layers.LayerNormLSTMCell(5, epsilon=0.01, **start(), **k),
        VECTORS,
        True,
    ),
    "MaskedMean": (layers.MaskedMean, VECTORS, True),
    "OneHot": (lambda **k: layers.OneHot(11, **k), IDS, False),
    "PaddingMask": (layers.PaddingMask, IDS, False),
    "ReversalMask": (lambda **k: layers.ReversalMask(9, **k), IDS, True),
    "ReverseSequence": (layers.ReverseSequence, VECTORS, True),
    "Stabilizer": (lambda **k: layers.Stabilizer(2.0, **k), VECTORS, False),
    "TokenIds": (
        lambda **k: layers.TokenIds(11, "x", padded_right=True, **k),
        IDS,
        False,
    ),
    "WithoutMask": (layers.WithoutMask, VECTORS, False),
    "ZeroState": (lambda **k: layers.ZeroState(5, **k), IDS, False),
}

# These refuse a row of padding only: it is what they are for.
CHECKS = {"FeatureMask", "TokenIds"}

every_layer = pytest.mark.parametrize("name", sorted(CASES))


def over_time(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Makes a layer of a cell, which itself takes one step."""
    if isinstance(layer, keras.layers.LSTMCell | keras.layers.GRUCell):
        return keras.layers.RNN(layer, dtype=layer.dtype_policy)
    return layer


def run(name: str, layer: Any, x: Any, ids: Any = IDS) -> Any:
    layer = over_time(layer)
    return call(layer, x, (ids != 0) if CASES[name][2] else None)


def call(layer: Any, x: Any, mask: Any) -> Any:
    if isinstance(layer, layers.Attention):  # each step attends to all
        return layer(x, x, mask)[0]
    if isinstance(layer, layers.AttentionalHidden):
        return layer(x, x)
    return layer(x) if mask is None else layer(x, mask=mask)


def model_of(name: str, layer: keras.layers.Layer) -> keras.Model:
    layer = over_time(layer)
    x = CASES[name][1]
    inputs = {"x": keras.Input((None, *x.shape[2:]), dtype=str(x.dtype), name="x")}
    if not CASES[name][2]:
        return keras.Model(inputs, call(layer, inputs["x"], None))
    inputs["mask"] = keras.Input((None,), dtype="bool", name="mask")
    return keras.Model(inputs, call(layer, inputs["x"], inputs["mask"]))


def feed(name: str) -> dict[str, np.ndarray]:
    x, masked = CASES[name][1:]
    return {"x": x, "mask": IDS != 0} if masked else {"x": x}


def test_every_registered_layer_is_tested_here() -> None:
    registered = {
        value.__name__
        for key, value in keras.saving.get_custom_objects().items()
        if key.startswith("kseq>") and issubclass(value, keras.layers.Layer)
    }
    assert registered - {"Seq2Seq", "InputFeedingLoop"} == set(CASES)
    bases = {"Attention", "Block", "ForgetBias", "Linear", "RecurrentCell"}
    assert set(CASES) | bases == set(layers.__all__)


@every_layer
def test_the_config_holds_every_argument(name: str) -> None:
    make = CASES[name][0]
    layer = make(name="mine", dtype="float64")
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config
    own = dict(inspect.signature(type(layer)).parameters)
    if "__init__" not in vars(type(layer)):
        own = {}
    own.pop("empty_rows", None)  # of TokenIds; tests/layers/test_tokens.py has it
    # Nothing but a value unlike the default shows that an argument is kept.
    kept = {key: config[key] != own[key].default for key in own if key != "kwargs"}
    assert all(kept.values()), kept
    assert (again.name, again.dtype_policy.name) == ("mine", "float64")


@every_layer
def test_a_saved_model_gives_the_same_output(name: str, tmp_path: Path) -> None:
    model = model_of(name, CASES[name][0]())
    expected = model(feed(name))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(feed(name)), expected)
    np.testing.assert_array_equal(run(name, CASES[name][0](), CASES[name][1]), expected)


@every_layer
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "float64"])
def test_shape_and_dtype_are_known_before_the_run(name: str, policy: str) -> None:
    model = model_of(name, CASES[name][0](dtype=policy))
    symbolic = model.output
    real = model(feed(name))
    assert len(real.shape) == len(symbolic.shape)
    known = [
        (a, b) for a, b in zip(real.shape, symbolic.shape, strict=True) if b is not None
    ]
    assert [a for a, _ in known] == [b for _, b in known]
    assert keras.backend.standardize_dtype(real.dtype) == symbolic.dtype


@every_layer
def test_half_precision_changes_little(name: str) -> None:
    make, x, _ = CASES[name]
    half = run(name, make(dtype="mixed_float16"), tf.constant(x))
    full = run(name, make(), tf.constant(x))
    np.testing.assert_allclose(
        tf.cast(half, "float32"), tf.cast(full, "float32"), atol=2e-3
    )


@every_layer
def test_an_empty_batch_gives_an_empty_output(name: str) -> None:
    make, x, _ = CASES[name]
    full = run(name, make(), x)
    empty = run(name, make(), x[:0], IDS[:0])
    assert empty.shape == (0, *full.shape[1:])


@pytest.mark.parametrize("name", sorted(set(CASES) - CHECKS))
def test_a_row_of_padding_changes_no_other_row(name: str) -> None:
    make, x, _ = CASES[name]
    ids = np.concatenate([IDS, np.zeros_like(IDS[:1])])
    padded = np.concatenate([x, np.zeros_like(x[:1])])
    more = run(name, make(), padded, ids).numpy()
    # A product over more rows may round otherwise.
    np.testing.assert_allclose(more[:3], run(name, make(), x), atol=1e-6, rtol=0)
    assert np.isfinite(more).all()


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_row_of_padding_is_refused(name: str) -> None:
    make, x, _ = CASES[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match="`x` has a row of padd"):
        make()(np.concatenate([x, np.zeros_like(x[:1])]))


@every_layer
def test_a_layer_runs_in_a_graph_of_unknown_sizes(name: str) -> None:
    make, x, _ = CASES[name]
    layer = make()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, *x.shape[2:]], x.dtype),
            tf.TensorSpec([None, None], "int32"),
        ]
    )
    def graph(x: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        return run(name, layer, x, ids)

    np.testing.assert_allclose(graph(x, IDS), run(name, make(), x), atol=1e-6, rtol=0)


@every_layer
def test_no_mask_travels_on_by_itself(name: str) -> None:
    make, x, _ = CASES[name]
    tensor = tf.constant(x)
    if make().supports_masking:
        tensor._keras_mask = tf.constant(IDS != 0)  # as Keras attaches it
    assert getattr(run(name, make(), tensor), "_keras_mask", None) is None
