"""Ranges and choices of a search space."""

from typing import Any

import keras
import pytest
from tuning.trials import hyperparameters

from kseq.tuning import (
    Boolean,
    Choice,
    Float,
    Int,
    Seq2SeqHyperModel,
)


@pytest.mark.parametrize("make", [lambda: Int(1, 2.5), lambda: Choice("lstm")])  # type: ignore[arg-type]
def test_ranges_of_a_wrong_type_are_refused(make: Any) -> None:
    with pytest.raises(TypeError, match=r"Received: (2.5|'lstm')"):
        make()


def test_values_of_any_type_can_be_tried(data: Any) -> None:
    gru = keras.layers.GRU(1, reset_after=False)
    space = {
        "cell": Choice({"lstm": "lstm", "classic": gru}),
        "encoder_units": [None, 6],
        "dropout": [0, 0.25],
        "layers": 2,
        "reverse_source": [True, False],
    }
    hypermodel = Seq2SeqHyperModel(data, space)
    first = hypermodel.values(hyperparameters(hypermodel))
    assert first["encoder_units"] is None
    assert first["reverse_source"] is True
    hp = hyperparameters(hypermodel, cell="classic", encoder_units="6", dropout=0.25)
    config = hypermodel.config(hp)
    assert (config.encoder_units, config.dropout) == (6, 0.25)
    assert isinstance(config.cell, dict)
    assert config.cell["config"]["reset_after"] is False


def test_plain_mappings_replace_ranges(data: Any) -> None:
    space = {
        "units": {"type": "int", "low": 4, "high": 16, "step": 2, "sampling": "log"},
        "learning_rate": {"type": "float", "low": 0.001, "high": 0.1},
        "layers": {"type": "choice", "values": [1, 2]},
        "reverse_source": {"type": "boolean", "when": {"layers": 2}},
    }
    same = {
        "units": Int(4, 16, step=2, sampling="log"),
        "learning_rate": Float(0.001, 0.1),
        "layers": Choice([1, 2]),
        "reverse_source": Boolean(when={"layers": [2]}),
    }
    spaces = [
        hyperparameters(Seq2SeqHyperModel(data, each)).get_config()
        for each in (space, same)
    ]
    assert spaces[0] == spaces[1]
    assert len(spaces[0]["space"]) == 4
