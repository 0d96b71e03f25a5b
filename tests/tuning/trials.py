"""Hyperparameters of single trials."""

from typing import Any

import keras_tuner


def hyperparameters(hypermodel: Any, **values: Any) -> Any:
    """The hyperparameters of a trial with these values."""
    hp = keras_tuner.HyperParameters()
    hp.values.update(values)
    hypermodel.declare_hyperparameters(hp)
    return hp


Epochs = dict[int, list[tuple[float, float]]]
