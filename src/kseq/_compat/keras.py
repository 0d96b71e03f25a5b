"""Gradients, saved files and clones of Keras.

All entries were seen in Keras 3.15. The tests named here are in
`tests/_compat/test_keras.py`; each fails once its entry can go.
"""

import contextlib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.models import cloning
from keras.src.saving.keras_saveable import KerasSaveable

# Gradients.


def sum_slices(gradient: Any) -> Any:
    """Makes a gradient of slices a dense one, and leaves others as they are.

    The gradient of an embedding has a slice for each token read, several for a token
    that occurs again. Keras squares and clips the slices one by one, which changes
    norms, clipped values and second moments
    (`test_keras_squares_the_slices_of_a_gradient_one_by_one`).

    Args:
        gradient: A tensor, `tf.IndexedSlices`, or None.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.math.unsorted_segment_sum(
        gradient.values, gradient.indices, gradient.dense_shape[0]
    )


# Saved files.


class SavedPart(KerasSaveable):
    """Base class of an attribute of a model with its own part of the model's file.

    A subclass defines `save_own_variables` and `load_own_variables`. Keras saves
    attributes of its own classes only, and this base class is private
    (`test_keras_has_no_public_base_class_of_saved_parts`).
    """

    def _obj_type(self) -> str:
        return "Loss"  # a kind that Keras knows and that has no layers


@contextlib.contextmanager
def without_shared_objects() -> Iterator[None]:
    """Disables Keras's detection of shared objects while it saves or loads a file.

    While Keras loads, it takes two configs for one object if the original objects had
    one `id`. `Bidirectional` makes its halves from the config of a temporary layer: the
    next layer can get the same `id`, and would get the wrong half. While Keras saves,
    it marks configs of objects that it has seen
    (`test_keras_takes_two_layers_with_one_id_for_one`).
    """
    names = ("shared_objects/id_to_obj_map", "shared_objects/id_to_config_map")
    maps = {name: global_state.get_global_attribute(name) for name in names}
    for name in names:
        global_state.set_global_attribute(name, None)
    try:
        yield
    finally:
        for name, value in maps.items():
            global_state.set_global_attribute(name, value)


# Clones.


def clone_from_config(cls: type[keras.Model]) -> type[keras.Model]:
    """Makes `keras.models.clone_model` build models of a class from their config.

    Use it as a class decorator. Keras clones every functional model as a plain graph of
    copied layers: it never reaches its own case for a model with a custom `get_config`,
    and fails for one with a custom `compile`. It offers no hook, so the function that
    `clone_model` calls is replaced, for models of `cls` only
    (`test_keras_clones_a_custom_functional_model_as_a_plain_graph`).

    Args:
        cls: Class of functional models with `get_config` and `from_config`.
    """
    clone_graph = cloning._clone_functional_model

    def clone(
        model: keras.Model,
        clone_function: Any,
        input_tensors: Any = None,
        call_function: Any = None,
    ) -> keras.Model:
        if not isinstance(model, cls):
            return clone_graph(model, clone_function, input_tensors, call_function)
        # Keras wraps the function of the caller, or else a default one.
        wrapped = inspect.getclosurevars(clone_function).nonlocals["clone_function"]
        arguments = {
            "input_tensors": input_tensors,
            "clone_function": None
            if wrapped.__module__ == cloning.__name__
            else wrapped,
            "call_function": call_function,
        }
        for name, value in arguments.items():
            if value is not None:
                raise ValueError(
                    f"`{name}` must be None for a {cls.__module__.partition('.')[0]}."
                    f"{cls.__name__}, which is built from its config: change the "
                    "layers of the clone, or build another model. Received: "
                    f"{value!r}."
                )
        config = keras.saving.serialize_keras_object(model)
        return keras.saving.deserialize_keras_object(
            config, custom_objects={type(model).__name__: type(model)}
        )

    cloning._clone_functional_model = clone
    return cls


# Graphs for other machines.


@contextlib.contextmanager
def without_cudnn(models: Iterable[keras.Model]) -> Iterator[None]:
    """Disables cuDNN in the recurrent layers of models.

    A graph traced on a machine with a GPU holds cuDNN's kernels, and a machine without
    one cannot run it. Keras has no option to export without them. (No test: it needs a
    GPU.)
    """
    layers = [
        layer
        for model in models
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Layer) and hasattr(layer, "use_cudnn")
    ]
    values = [layer.use_cudnn for layer in layers]
    for layer in layers:
        layer.use_cudnn = False
    try:
        yield
    finally:
        for layer, value in zip(layers, values, strict=True):
            layer.use_cudnn = value
