"""A learned gain."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseq.layers import Stabilizer


@pytest.mark.parametrize("steepness", [0.5, 1.0, 4.0, 1000.0])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (1, 2, 3, 4)])
def test_the_gain_starts_at_one(steepness: float, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    layer = Stabilizer(steepness)
    np.testing.assert_allclose(layer(x), x, rtol=1e-6)
    assert [w.shape for w in layer.trainable_weights] == [()]


def test_the_start_for_a_steepness_of_four_is_that_of_cntk() -> None:
    layer = Stabilizer()
    layer.build((None, 3))
    np.testing.assert_allclose(layer.beta, 0.99537863, rtol=1e-6)


@pytest.mark.parametrize("beta", [-2.0, 0.0, 0.3, 2.0])
def test_the_gain_is_softplus_of_its_weight(beta: float) -> None:
    layer = Stabilizer(3.0, dtype="float64")
    layer.build((None, 2))
    layer.beta.assign(beta)
    x = np.array([[0.5, -2.0]])
    gain = np.log(1 + np.exp(3 * beta)) / 3
    np.testing.assert_allclose(layer(x), x * gain, rtol=1e-12)
    assert gain > 0


def test_the_gain_is_learned() -> None:
    model = keras.Sequential([keras.Input((1,)), Stabilizer()])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x = np.linspace(-1, 1, 32)[:, None]
    model.fit(x, 3 * x, epochs=60, verbose=0)
    np.testing.assert_allclose(model(np.array([[1.0]])), [[3.0]], atol=1e-2)


def test_half_precision_keeps_the_weight_and_the_dtype() -> None:
    layer = Stabilizer(dtype="mixed_float16")
    y = layer(np.array([[0.5, -2.0]], "float32"))
    assert (y.dtype, layer.beta.dtype) == (tf.float16, "float32")
    assert y.numpy().tolist() == [[0.5, -2.0]]


@pytest.mark.parametrize("steepness", [0.0, -1.0, float("nan"), float("inf")])
def test_a_steepness_that_is_none_is_refused(steepness: float) -> None:
    with pytest.raises(ValueError, match=f"`steepness` .* {steepness}"):
        Stabilizer(steepness)
