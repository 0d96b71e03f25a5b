"""What was changed on the layers of a model since it was built, kept in its file.

A model is saved as its `Seq2SeqConfig`, from which the layers are built anew. What a
user changed on a single layer afterwards (frozen, quantized, with LoRA weights, another
dtype or another attribute) is saved beside it, by the path of the layer.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend.common import global_state  # there is no public way to it
from keras.src.saving.keras_saveable import KerasSaveable  # nor to this

# Keys of a layer's config that have an entry or a way of their own.
_APART = ("trainable", "dtype", "quantization_config", "lora_rank", "lora_alpha")


@dataclasses.dataclass(frozen=True)
class _Built:
    """A layer as the builder made it."""

    layer: keras.layers.Layer
    config: dict[str, Any]
    dtype: Any
    trainable: bool
    variables: list[bool]


class Alterations(KerasSaveable):
    """Tells what was changed on the layers of a model since it was built.

    It is also a part of the model's file: it holds the state that Keras leaves out, the
    weights of LoRA, which Keras saves merged into the kernel, and the seeds of dropout.

    Args:
        model: A model that has just been built.
    """

    def __init__(self, model: keras.Model) -> None:
        self._built = {
            path: _Built(
                layer,
                _config(layer),
                _dtype(layer),
                layer.trainable,
                _trainable_flags(layer),
            )
            for path, layer in _walk(model, "", set())
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the changes, a dict for each changed layer by its path.

        Raises:
            ValueError: If a change cannot be saved; the message names the layer.
        """
        changes = {path: self._changes(path) for path in self._built}
        return {path: change for path, change in changes.items() if change}

    def _changes(self, path: str) -> dict[str, Any]:
        built = self._built[path]
        layer, config = built.layer, _config(built.layer)
        changed = {
            key: value
            for key, value in config.items()
            if value != built.config.get(key) and not _is_layer(value)
        }
        found: dict[str, Any] = {}
        settings = {
            key: changed[key]
            for key in changed
            if key not in _APART and not _is_derived(layer, key)
        }
        if settings:
            _remade(path, layer, settings)  # or it could not be loaded
            found["settings"] = settings
        if _dtype(layer) != built.dtype:
            found["dtype"] = _dtype(layer)
        if "quantization_config" in changed:
            found["quantization_config"] = changed["quantization_config"]
        if getattr(layer, "lora_enabled", False):
            found["lora"] = {"rank": layer.lora_rank, "alpha": layer.lora_alpha}
        trainable = layer.trainable, _trainable_flags(layer)
        if trainable != (built.trainable, built.variables):
            found["trainable"], found["trainable_variables"] = trainable
        return found

    def apply(self, changes: dict[str, Any]) -> None:
        """Makes the changes on a model that has just been built from the same config.

        Args:
            changes: As `get_config` returns them.

        Raises:
            ValueError: If the model has no such layer.
        """
        unknown = sorted(set(changes) - set(self._built))
        if unknown:
            raise ValueError(
                f"The file changes a layer '{unknown[0]}', which its model lacks."
            )
        for path, change in changes.items():
            layer = self._built[path].layer
            settings = change.get("settings", {})
            if settings:
                remade = _remade(path, layer, settings)
                for key in settings:
                    setattr(layer, key, getattr(remade, key))
            if "dtype" in change:
                policy = keras.dtype_policies.deserialize(change["dtype"])
                if policy.quantization_mode is not None:
                    config = keras.saving.deserialize_keras_object(
                        change.get("quantization_config")
                    )
                    layer.quantize(policy.quantization_mode, config=config)
                layer.dtype_policy = policy
            if "lora" in change:
                rank, alpha = change["lora"]["rank"], change["lora"]["alpha"]
                layer.enable_lora(rank, lora_alpha=alpha)
        # A layer hands its flag down to all below it: parents first, variables last.
        for path, built in self._built.items():
            built.layer.trainable = changes.get(path, {}).get(
                "trainable", built.trainable
            )
        for path, built in self._built.items():
            flags = changes.get(path, {}).get("trainable_variables", built.variables)
            for variable, flag in zip(_own_variables(built.layer), flags, strict=True):
                variable.trainable = flag

    # As a part of a file; Keras comes to it after the layers.

    def _obj_type(self) -> str:
        return "Loss"  # one of the kinds that Keras knows: without layers below it

    def _state(self) -> dict[str, Any]:
        """Returns the variables that Keras does not save as they are, by name."""
        found: dict[str, Any] = {}
        for path, built in self._built.items():
            name = path.replace("/", ".")
            if getattr(built.layer, "lora_enabled", False):
                for index, variable in enumerate(_all_variables(built.layer)):
                    found[f"{name}.variable{index}"] = variable
            for index, seed in enumerate(_seeds(built.layer)):
                found[f"{name}.seed{index}"] = seed.state
        return found

    def save_own_variables(self, store: Any) -> None:
        for name, variable in self._state().items():
            store[name] = variable

    def load_own_variables(self, store: Any) -> None:
        there = set(store.keys())
        for name, variable in self._state().items():
            # Other weights than those of a like model: Keras has loaded what it could.
            if name in there and tuple(store[name].shape) == tuple(variable.shape):
                variable.assign(store[name])


def _walk(
    layer: keras.layers.Layer, path: str, seen: set[int]
) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields a model's layers, at any depth, with their paths, parents first.

    A layer of the model is called by its name, one inside of another by its number:
    Keras counts names such as `dense_3` up from model to model.
    """
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield path, layer
    for index, inner in enumerate(layer._layers):
        name = str(index) if path else inner.name
        yield from _walk(inner, f"{path}/{name}" if path else name, seen)


def _config(layer: keras.layers.Layer) -> dict[str, Any]:
    if isinstance(layer, keras.Model):
        return {}
    with without_sharing():
        try:
            return layer.get_config()
        except NotImplementedError:  # inside of a layer of the user's own
            return {}


def _dtype(layer: keras.layers.Layer) -> Any:
    with without_sharing():
        return keras.dtype_policies.serialize(layer.dtype_policy)


def _remade(
    path: str, layer: keras.layers.Layer, settings: dict[str, Any]
) -> keras.layers.Layer:
    """Returns another such layer, not built, with other settings."""
    try:
        with without_sharing():
            made = type(layer).from_config({**_config(layer), **settings})
        missing = [key for key in settings if not hasattr(made, key)]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Layer '{path}' cannot be saved with its changed "
            f"{', '.join(f'`{key}`' for key in settings)}: register functions and "
            "classes of your own with keras.saving.register_keras_serializable. "
            f"Received: {settings}."
        ) from error
    if missing:
        raise ValueError(
            f"Layer '{path}' cannot be saved: its `{missing[0]}` has changed since the "
            "model was built, and is no attribute that could be set again. Received: "
            f"{settings[missing[0]]!r}."
        )
    return made


def _is_derived(layer: keras.layers.Layer, key: str) -> bool:
    """Whether an attribute only shows one of a layer within, as those of an LSTM do."""
    found = getattr(type(layer), key, None)
    return isinstance(found, property) and found.fset is None


def _is_layer(value: Any) -> bool:
    """Whether a value of a config is a layer's own config: it has its own path."""
    if isinstance(value, list | tuple):
        return any(map(_is_layer, value))
    if not isinstance(value, dict) or "class_name" not in value:
        return False
    name = value["class_name"]
    found = keras.saving.get_registered_object(value.get("registered_name") or name)
    found = found or getattr(keras.layers, name, None)
    return isinstance(found, type) and issubclass(found, keras.layers.Layer)


def _own_variables(layer: keras.layers.Layer) -> list[Any]:
    """Returns the variables of a layer alone that were made to be trained."""
    return list(layer._trainable_variables)


def _all_variables(layer: keras.layers.Layer) -> list[Any]:
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def _trainable_flags(layer: keras.layers.Layer) -> list[bool]:
    return [variable.trainable for variable in _own_variables(layer)]


def _seeds(layer: keras.layers.Layer) -> list[Any]:
    found = list(layer._seed_generators)
    # Of a model only the last that `compile` made: Keras keeps the older ones too.
    return found[-1:] if isinstance(layer, keras.Model) else found


@contextlib.contextmanager
def without_sharing() -> Iterator[None]:
    """Builds layers, while Keras loads a file, as they are built anywhere else.

    While it loads, Keras takes two configs for one object where the objects they came
    from had one `id`. `Bidirectional` makes its halves from the config of a layer that
    is gone afterwards; the next may get its id, and would get the first one's half.
    While it saves, it marks the configs of objects that it has met before.
    """
    names = ("shared_objects/id_to_obj_map", "shared_objects/id_to_config_map")
    kept = {name: global_state.get_global_attribute(name) for name in names}
    for name in names:
        global_state.set_global_attribute(name, None)
    try:
        yield
    finally:
        for name, value in kept.items():
            global_state.set_global_attribute(name, value)
