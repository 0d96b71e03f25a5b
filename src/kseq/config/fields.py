"""Types and choices of the fields of settings, checked by their annotations."""

import dataclasses
import types
import typing
from typing import Any, Literal


def check_types(settings: Any) -> None:
    """Gives every field the type of its annotation, or raises."""
    for name, kind in typing.get_type_hints(type(settings)).items():
        object.__setattr__(settings, name, _as(name, kind, getattr(settings, name)))


def as_plain_dict(settings: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass as JSON and YAML can hold them.

    Args:
        settings: A dataclass instance.
    """
    found = dataclasses.asdict(settings)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}


def _as(name: str, kind: Any, value: Any) -> Any:
    """Returns a value as the type of its field, or raises an error that names both."""
    is_union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    options = typing.get_args(kind) if is_union else (kind,)
    for option in options:
        if typing.get_origin(option) is Literal:
            if value is not None:
                return check_choice(name, value, typing.get_args(option))
            continue
        if option is type(None) and value is None:
            return None
        if typing.get_origin(option) is tuple:
            if isinstance(value, list | tuple) and all(
                isinstance(item, str) for item in value
            ):
                return tuple(value)
        elif option is float:
            # Not a boolean, which is a number to Python.
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
        elif option is int:
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        elif isinstance(value, option):
            return value
    wanted = " or ".join(_TYPES.get(option, "a list of strings") for option in options)
    raise TypeError(f"`{name}` must be {wanted}. Received: {value!r}.")


_TYPES = {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "True or False",
    type(None): "None",
}


def check_choice(name: str, value: Any, choices: Any) -> Any:
    """Returns `value` if it is one of `choices`, or raises an error that lists them.

    Args:
        name: Name of the argument, for the error.
        value: Value that was received.
        choices: Valid values.

    Raises:
        ValueError: If `value` is not one of them.
    """
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. "
            f"Received: {value!r}."
        )
    return value
