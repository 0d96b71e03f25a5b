"""Saves changes made to single layers after a model was built.

A model is saved as its `Seq2SeqConfig`, and loading builds new layers from it. A user
can also change a single layer: freeze or quantize it, add LoRA weights, or set another
dtype or attribute. These changes are saved beside the config, by the path of the layer.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras

from kseq._compat.keras import SavedPart, without_shared_objects

# Keys of a layer's config that are saved separately.
_SEPARATE = ("trainable", "dtype", "quantization_config", "lora_rank", "lora_alpha")


@dataclasses.dataclass(frozen=True)
class _Built:
    """A layer and its settings when the model was built."""

    layer: keras.layers.Layer
    config: dict[str, Any]
    dtype: Any
    trainable: bool
    variables: list[bool]


class LayerChanges(SavedPart):
    """Finds, saves and applies changes made to the layers of a model.

    It also saves variables that Keras omits from the model's file: the weights of LoRA,
    which Keras saves merged into the kernel, and the seeds of dropout.

    Args:
        model: A model that was just built.
    """

    def __init__(self, model: keras.Model) -> None:
        self._built = {
            path: _Built(
                layer,
                _get_config(layer),
                _serialize_dtype(layer),
                layer.trainable,
                _trainable_flags(layer),
            )
            for path, layer in _iterate_layers(model, "", set())
        }

    def get_config(self) -> dict[str, Any]:
        """Returns a dict from the paths of the changed layers to their changes.

        Raises:
            ValueError: If a change cannot be saved; the message names the layer.
        """
        changes = {path: self._compare(path) for path in self._built}
        return {path: change for path, change in changes.items() if change}

    def _compare(self, path: str) -> dict[str, Any]:
        built = self._built[path]
        layer, config = built.layer, _get_config(built.layer)
        changed = {
            key: value
            for key, value in config.items()
            if value != built.config.get(key) and not _is_layer_config(value)
        }
        changes: dict[str, Any] = {}
        settings = {
            key: changed[key]
            for key in changed
            if key not in _SEPARATE and not _is_read_only(layer, key)
        }
        if settings:
            _rebuild(path, layer, settings)  # fails if it could not be loaded
            changes["settings"] = settings
        if _serialize_dtype(layer) != built.dtype:
            changes["dtype"] = _serialize_dtype(layer)
        if "quantization_config" in changed:
            changes["quantization_config"] = changed["quantization_config"]
        if getattr(layer, "lora_enabled", False):
            changes["lora"] = {"rank": layer.lora_rank, "alpha": layer.lora_alpha}
        trainable = layer.trainable, _trainable_flags(layer)
        if trainable != (built.trainable, built.variables):
            changes["trainable"], changes["trainable_variables"] = trainable
        return changes

    def apply(self, changes: dict[str, Any]) -> None:
        """Applies changes to the model, which was just built from the same config.

        Args:
            changes: A dict that `get_config` returned.

        Raises:
            ValueError: If the model has no such layer.
        """
        unknown = sorted(set(changes) - set(self._built))
        if unknown:
            raise ValueError(
                f"The file changes a layer '{unknown[0]}' that its model does not have."
            )
        for path, change in changes.items():
            layer = self._built[path].layer
            settings = change.get("settings", {})
            if settings:
                rebuilt = _rebuild(path, layer, settings)
                for key in settings:
                    setattr(layer, key, getattr(rebuilt, key))
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
        # Setting `trainable` also sets it on all sublayers: parents first.
        for path, built in self._built.items():
            built.layer.trainable = changes.get(path, {}).get(
                "trainable", built.trainable
            )
        for path, built in self._built.items():
            flags = changes.get(path, {}).get("trainable_variables", built.variables)
            for variable, flag in zip(_own_variables(built.layer), flags, strict=True):
                variable.trainable = flag

    def _state(self) -> dict[str, Any]:
        """Returns the variables that Keras does not save unchanged, by name."""
        variables: dict[str, Any] = {}
        for path, built in self._built.items():
            name = path.replace("/", ".")
            if getattr(built.layer, "lora_enabled", False):
                for index, variable in enumerate(_all_variables(built.layer)):
                    variables[f"{name}.variable{index}"] = variable
            for index, seed in enumerate(_seed_generators(built.layer)):
                variables[f"{name}.seed{index}"] = seed.state
        return variables

    def save_own_variables(self, store: Any) -> None:
        for name, variable in self._state().items():
            store[name] = variable

    def load_own_variables(self, store: Any) -> None:
        names = set(store.keys())
        for name, variable in self._state().items():
            # A file of another model has other variables.
            if name in names and tuple(store[name].shape) == tuple(variable.shape):
                variable.assign(store[name])


def _iterate_layers(
    layer: keras.layers.Layer, path: str, seen: set[int]
) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields the paths and layers of a model, at any depth, parents first.

    The path has the name of a layer of the model, and the index of a layer within a
    layer: names such as `dense_3` depend on the models built before.
    """
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield path, layer
    for index, inner in enumerate(layer._layers):
        name = str(index) if path else inner.name
        yield from _iterate_layers(inner, f"{path}/{name}" if path else name, seen)


def _get_config(layer: keras.layers.Layer) -> dict[str, Any]:
    if isinstance(layer, keras.Model):
        return {}
    with without_shared_objects():
        try:
            return layer.get_config()
        except NotImplementedError:  # within a layer that the user defined
            return {}


def _serialize_dtype(layer: keras.layers.Layer) -> Any:
    with without_shared_objects():
        return keras.dtype_policies.serialize(layer.dtype_policy)


def _rebuild(
    path: str, layer: keras.layers.Layer, settings: dict[str, Any]
) -> keras.layers.Layer:
    """Returns a new layer of the same kind, with other settings."""
    try:
        with without_shared_objects():
            rebuilt = type(layer).from_config({**_get_config(layer), **settings})
        missing = [key for key in settings if not hasattr(rebuilt, key)]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Layer '{path}' cannot be saved with its changed "
            f"{', '.join(f'`{key}`' for key in settings)}: register your own functions "
            "and classes with keras.saving.register_keras_serializable. "
            f"Received: {settings}."
        ) from error
    if missing:
        raise ValueError(
            f"Layer '{path}' cannot be saved: its `{missing[0]}` changed after the "
            "model was built, and it is not an attribute that can be set again. "
            f"Received: {settings[missing[0]]!r}."
        )
    return rebuilt


def _is_read_only(layer: keras.layers.Layer, key: str) -> bool:
    """Whether an attribute shows one of a sublayer, such as `units` of an LSTM."""
    attribute = getattr(type(layer), key, None)
    return isinstance(attribute, property) and attribute.fset is None


def _is_layer_config(value: Any) -> bool:
    """Whether a value of a config is the config of a sublayer, which has its path."""
    if isinstance(value, list | tuple):
        return any(map(_is_layer_config, value))
    if not isinstance(value, dict) or "class_name" not in value:
        return False
    name = value["class_name"]
    cls = keras.saving.get_registered_object(value.get("registered_name") or name)
    cls = cls or getattr(keras.layers, name, None)
    return isinstance(cls, type) and issubclass(cls, keras.layers.Layer)


def _own_variables(layer: keras.layers.Layer) -> list[Any]:
    """Returns the variables created as trainable, without those of sublayers."""
    return list(layer._trainable_variables)


def _all_variables(layer: keras.layers.Layer) -> list[Any]:
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def _trainable_flags(layer: keras.layers.Layer) -> list[bool]:
    return [variable.trainable for variable in _own_variables(layer)]


def _seed_generators(layer: keras.layers.Layer) -> list[Any]:
    seeds = list(layer._seed_generators)
    # Each `compile` of a model adds one, and Keras keeps the older ones too.
    return seeds[-1:] if isinstance(layer, keras.Model) else seeds
