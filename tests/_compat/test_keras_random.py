"""Each test fails once Keras no longer needs an entry of `_compat/keras_random`."""

import keras
import numpy as np

from kseq._compat.keras_random import preserved_seeds


def make() -> keras.Model:
    cell = keras.layers.LSTM(2, recurrent_dropout=0.5)
    return keras.Sequential([keras.Input((3, 1)), cell])


def seed(model: keras.Model) -> list[int]:
    (state,) = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    return np.asarray(state).tolist()


def test_keras_draws_recurrent_dropout_in_inference() -> None:
    model = make()
    before = seed(model)
    model(np.ones((1, 3, 1)), training=False)
    assert seed(model) != before


def test_seeds_are_restored() -> None:
    model = make()
    before = seed(model)
    with preserved_seeds(model):
        model(np.ones((1, 3, 1)), training=False)
    assert seed(model) == before
