"""Checks of the Keras objects in an architecture, from their serialized configs."""

from typing import Any

CELL = "a recurrent Keras layer such as keras.layers.GRU(1)"
ATTENTION = "an attention layer such as kseq.layers.DotAttention()"
INITIALIZER = (
    "the name, config or object of a Keras initializer, such as 'glorot_uniform', "
    "'uniform' or 'orthogonal'"
)


def check_initializer(name: str, value: Any) -> None:
    """Checks that Keras has an initializer, and that it makes matrices of any size.

    Args:
        name: Name of the setting.
        value: Name or config of the initializer.

    Raises:
        ValueError: If the initializer is invalid.
    """
    # The import of Keras takes seconds; the usual names need no check.
    if value in ("glorot_uniform", "orthogonal", "uniform"):
        return
    from keras import initializers

    try:
        initializer = initializers.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{name}` must be {INITIALIZER}. Received: {value!r}."
        ) from error
    try:
        initializer((5, 7))
    except Exception as error:  # an initializer may raise any error
        raise ValueError(
            f"`{name}` must be an initializer of matrices of any size, such as "
            f"'glorot_uniform', 'uniform' or 'orthogonal'. Received: {value!r}."
        ) from error


def check_cell(cell: dict[str, Any]) -> None:
    """Checks that a recurrent layer can be the template of others.

    Args:
        cell: Config of the layer.

    Raises:
        ValueError: If the layer is invalid.
    """
    from keras import layers

    valid = "`cell` must be a recurrent Keras layer with `units`, or its config."
    layer = _deserialize(cell, valid)
    if not isinstance(layer, layers.RNN) or "units" not in layer.get_config():
        raise ValueError(f"{valid} Received: {cell!r}.")
    for setting in ("go_backwards", "stateful", "unroll"):
        if getattr(layer, setting):
            raise ValueError(
                f"`cell` must be a layer with {setting}=False. Received: "
                f"{type(layer).__name__} with {setting}=True."
            )


def attention_layer(config: dict[str, Any]) -> Any:
    """Returns an attention layer.

    Args:
        config: Config of the layer.

    Raises:
        ValueError: If it is not the config of a `kseq.layers.Attention`.
    """
    from kseq.layers import Attention

    valid = "`attention` must be a kseq.layers.Attention layer or its config."
    layer = _deserialize(config, valid)
    if not isinstance(layer, Attention):
        raise ValueError(f"{valid} Received: {config!r}.")
    return layer


def is_plain_dot(layer: Any) -> bool:
    """Returns whether an attention is a dot product without projections."""
    from kseq.layers import DotAttention

    return isinstance(layer, DotAttention) and layer.units is None


def _deserialize(config: dict[str, Any], valid: str) -> Any:
    """Returns a layer from its config, or raises an error that begins with `valid`."""
    from keras import saving

    try:
        return saving.deserialize_keras_object(config)
    except Exception as error:  # a user's own class may raise any error
        raise ValueError(
            f"{valid} Received: {config!r}, which Keras cannot deserialize. "
            "Your own classes must be registered and imported first."
        ) from error
