"""`keras.models.clone_model` of a `Seq2Seq` returns a `Seq2Seq`.

Keras 3.15 clones every functional model as a plain graph of copied layers: it never
comes to its own case of a model with a `get_config` of its own, and a model with a
`compile` of its own fails. Replaced here is the function that `clone_model` calls, so
that it does not matter how a program has imported `clone_model`.
"""

import inspect
from typing import Any

import keras
from keras.src.models import cloning

from kseq.models.seq2seq import Seq2Seq

_clone_functional_model = cloning._clone_functional_model


def _clone(
    model: keras.Model,
    clone_function: Any,
    input_tensors: Any = None,
    call_function: Any = None,
) -> keras.Model:
    """Clones a functional model; see `keras.models.clone_model`."""
    if not isinstance(model, Seq2Seq):
        return _clone_functional_model(
            model, clone_function, input_tensors, call_function
        )
    # Keras wraps the function of the caller, or else one of its own.
    wrapped = inspect.getclosurevars(clone_function).nonlocals["clone_function"]
    arguments = {
        "input_tensors": input_tensors,
        "clone_function": None if wrapped.__module__ == cloning.__name__ else wrapped,
        "call_function": call_function,
    }
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"`{name}` must be None for a kseq.Seq2Seq, which is built anew from "
                "its config: change the layers of the clone, or build another model "
                f"with model.config.replace(...). Received: {value!r}."
            )
    config = keras.saving.serialize_keras_object(model)
    return keras.saving.deserialize_keras_object(
        config, custom_objects={type(model).__name__: type(model)}
    )


cloning._clone_functional_model = _clone
