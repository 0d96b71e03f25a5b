"""Private and faulty parts of Keras that kseq replaces.

A test that fails here means that Keras was fixed, and that a part of
`kseq/_compat/keras.py` can be removed.
"""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.saving import serialization_lib
from keras.src.saving.keras_saveable import KerasSaveable

import kseq


def test_keras_squares_the_slices_of_a_gradient_one_by_one() -> None:
    def update(gradient: Any) -> np.ndarray:
        variable = keras.Variable(np.zeros((2, 1), "float32"))
        keras.optimizers.SGD(1.0, global_clipnorm=1.0).apply([gradient], [variable])
        return keras.ops.convert_to_numpy(variable)

    # Two slices of one row; their sum is 1, which is not clipped.
    slices = tf.IndexedSlices(tf.constant([[3.0], [-2.0]]), tf.constant([0, 0]), [2, 1])
    np.testing.assert_allclose(update(tf.constant([[1.0], [0.0]])), [[-1], [0]])
    assert abs(update(slices)[0, 0]) < 0.5


def test_keras_has_no_public_base_class_of_saved_parts() -> None:
    public = [keras, keras.saving, keras.utils, keras.models]
    assert not any(each is KerasSaveable for m in public for each in vars(m).values())


def test_keras_takes_two_layers_with_one_id_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if the second layer got the id of the first one, which was deleted.
    monkeypatch.setattr(serialization_lib, "id", lambda _: 1, raising=False)
    with serialization_lib.ObjectSharingScope():
        configs = [
            keras.saving.serialize_keras_object(keras.layers.Dense(units))
            for units in (2, 3)
        ]
    with serialization_lib.ObjectSharingScope():
        first, second = map(keras.saving.deserialize_keras_object, configs)
    assert second is first


class Custom(keras.Model):
    """A functional model with a config and a `compile` of its own."""

    def __init__(self, units: int) -> None:
        inputs = keras.Input((3,))
        super().__init__(inputs, keras.layers.Dense(units)(inputs))
        self.units = units

    def get_config(self) -> dict[str, Any]:
        return {"units": self.units}


def test_keras_clones_a_custom_functional_model_as_a_plain_graph() -> None:
    model = Custom(2)
    assert type(Custom.from_config(model.get_config())) is Custom
    assert type(keras.models.clone_model(model)) is not Custom


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
def test_a_clone_with_other_layers_is_refused(argument: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(argument))}` must be None"):
        keras.models.clone_model(make(), **argument)


def test_other_models_are_cloned_as_before() -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="a")(inputs))
    names: list[str] = []

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        names.append(layer.name)
        return type(layer).from_config(layer.get_config())

    clone = keras.models.clone_model(model, clone_function=copied)
    assert (type(clone), names) == (type(model), ["a"])
