"""A clone is a model like the first, with new weights."""

from typing import Any

import keras
import numpy as np
import pytest

import kseq

SOURCE = np.array([[5, 6, 3]])


def make() -> kseq.Seq2Seq:
    return kseq.build_seq2seq(
        source_vocab_size=9, target_vocab_size=9, units=8, attention="dot"
    )


@pytest.mark.parametrize("compiled", [False, True])
def test_a_clone_is_a_seq2seq_with_new_weights(compiled: bool) -> None:
    model = make()
    model.get_layer("encoder_embedding").trainable = False
    if compiled:
        model.compile(keras.optimizers.Adam(0.5), teacher_forcing_ratio=0.5)
    clone = keras.models.clone_model(model)
    assert type(clone) is kseq.Seq2Seq
    assert clone.config == model.config
    assert clone.compiled == compiled
    assert not clone.get_layer("encoder_embedding").trainable
    if compiled:
        assert float(clone.optimizer.learning_rate) == 0.5
    one, other = model.get_weights(), clone.get_weights()
    assert [w.shape for w in one] == [w.shape for w in other]
    assert all(
        np.abs(a - b).max() > 0 for a, b in zip(one, other, strict=True) if a.ndim > 1
    )
    assert clone.generate(SOURCE, max_length=2).tokens.shape[0] == 1


@pytest.mark.parametrize(
    "argument",
    [
        {"clone_function": lambda layer: layer},
        {"call_function": lambda layer, *args, **kwargs: layer(*args, **kwargs)},
        {"input_tensors": {}},
    ],
    ids=lambda argument: next(iter(argument)),
)
def test_a_clone_of_other_layers_is_refused(argument: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(argument))}` must be None"):
        keras.models.clone_model(make(), **argument)


def test_other_models_are_cloned_as_ever() -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="a")(inputs))
    names: list[str] = []

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        names.append(layer.name)
        return type(layer).from_config(layer.get_config())

    clone = keras.models.clone_model(model, clone_function=copied)
    assert (type(clone), names) == (type(model), ["a"])
