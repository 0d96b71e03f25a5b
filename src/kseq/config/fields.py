"""Dataclass fields that declare their rules, and the validator that checks them.

The type and the choices of a field are its annotation (`int | None`,
`Literal["mean", "sum"]`). All other rules are arguments of `field`.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from kseq.config.checks import Rule, nearest_name

# Another setting that a field needs: one of the names must be set, or the named setting
# must have one of the values (or hold one of them, if it is a list).
Needs = str | tuple[str, ...] | Mapping[str, tuple[str, ...]]


def field(default: Any, **rules: Any) -> Any:
    """Returns a dataclass field with a default and rules.

    Args:
        default: Default value.
        **rules: Arguments of `declare`.

    Example:
        >>> import dataclasses
        >>> from kseq.config.fields import check_fields, field
        >>> @dataclasses.dataclass(frozen=True)
        ... class Settings:
        ...     units: int = field(256, minimum=1)
        ...
        ...     def __post_init__(self):
        ...         check_fields(self)
        >>> Settings(units=0)
        Traceback (most recent call last):
        ...
        ValueError: `units` must be an integer of at least 1. Received: 0.
    """
    return dataclasses.field(default=default, metadata=declare(**rules))


def declare(
    *,
    needs: Needs = (),
    without: tuple[str, ...] = (),
    required: bool = False,
    **limits: Any,
) -> dict[str, Any]:
    """Returns the metadata of a dataclass field with rules.

    Args:
        needs: Setting without which a value other than the default has no effect.
            Default: none.
        without: Names of settings beside which a value other than the default has no
            effect. Default: none.
        required: None is invalid where the setting in `needs` is given. Default: False.
        **limits: Further arguments of `kseq.config.checks.Rule`, such as `minimum`.
    """
    return {
        "needs": needs,
        "without": without,
        "required": required,
        "limits": limits,
    }


def same_field(kind: type, name: str) -> Any:
    """Returns a dataclass field with the default and the rule of another one.

    Args:
        kind: Dataclass of the other field.
        name: Name of the other field.
    """
    return dataclasses.field(
        default=_fields(kind)[name].default, metadata={"rule": field_rule(kind, name)}
    )


def check_fields(settings: Any) -> None:
    """Checks every field of a dataclass instance, and stores plain Python values.

    Args:
        settings: Dataclass instance, which may be frozen.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value is out of range, unknown or missing, or has no effect.
    """
    for name, value in check_values(type(settings), vars(settings)).items():
        object.__setattr__(settings, name, value)


def check_values(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Checks values for some fields of a dataclass against the rules of the fields.

    Args:
        kind: The dataclass.
        values: Names of fields and values.

    Returns:
        Dict from the names to plain Python values.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value is out of range, unknown or missing, or has no effect.
    """
    declared = _fields(kind)
    values = {name: field_rule(kind, name).check(name, values[name]) for name in values}
    for name, value in values.items():
        default, rules = declared[name].default, declared[name].metadata
        needs = _missing(rules.get("needs", ()), values)
        if value != default:
            if needs:
                raise ValueError(_needs_error(name, value, rules["needs"], values))
            for other in rules.get("without", ()):
                if values.get(other):
                    raise ValueError(
                        f"`{name}` must be left out with `{other}`. "
                        f"Received: {value!r}."
                    )
        elif value is None and rules.get("required") and not needs:
            given = _given(rules["needs"], values)
            note = rules["limits"].get("note")
            raise ValueError(
                f"`{name}` is required{given}{f' ({note})' if note else ''}. "
                "Received: None."
            )
    return values


def check_names(kind: type, names: Iterable[str], noun: str) -> None:
    """Raises an error if a name is not the name of a field.

    Args:
        kind: The dataclass.
        names: Names that the caller passed.
        noun: Name for a field in the error message.

    Raises:
        ValueError: If a name is unknown.
    """
    known = list(_fields(kind))
    for name in names:
        if name not in known:
            raise ValueError(
                f"Unknown {noun} `{name}`.{nearest_name(name, known)} The {noun}s are: "
                f"{', '.join(known)}."
            )


@functools.cache
def field_rule(kind: type, name: str) -> Rule:
    """Returns the valid values of a field, from its annotation and its limits.

    Args:
        kind: The dataclass.
        name: Name of the field.
    """
    hint, declared = _hints(kind)[name], _fields(kind)[name]
    if "rule" in declared.metadata:
        return declared.metadata["rule"]
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    options = typing.get_args(hint) if is_union else (hint,)
    limits = dict(declared.metadata.get("limits", {}))
    limits["optional"] = type(None) in options or declared.default is None
    kinds: list[Any] = []
    for option in options:
        origin = typing.get_origin(option)
        if origin is Literal:
            limits["choices"] = typing.get_args(option)
            kinds.append(str)
        elif option is Any:
            kinds += [str] if limits.get("objects") else []
        elif option is not type(None):
            kinds.append(origin or option)
    return Rule(types=tuple(kinds), **limits)


def choices(kind: type, name: str) -> tuple[str, ...]:
    """Returns the valid strings of a field.

    Args:
        kind: The dataclass.
        name: Name of the field.
    """
    return field_rule(kind, name).choices


def as_plain_dict(settings: Any) -> dict[str, Any]:
    """Returns the fields of a dataclass as values that JSON and YAML can hold.

    Args:
        settings: Dataclass instance.
    """
    values = dataclasses.asdict(settings)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


@functools.cache
def _fields(kind: Any) -> dict[str, dataclasses.Field[Any]]:
    return {each.name: each for each in dataclasses.fields(kind)}


_hints = functools.cache(typing.get_type_hints)


def _missing(needs: Needs, values: Mapping[str, Any]) -> bool:
    """Returns whether the setting that a field needs is missing."""
    if isinstance(needs, Mapping):
        ((other, allowed),) = needs.items()
        value = values[other]
        held = value if isinstance(value, tuple) else (value,)
        return not any(item in allowed for item in held)
    names = (needs,) if isinstance(needs, str) else needs
    return bool(names) and not any(values[name] for name in names)


def _needs_error(name: str, value: Any, needs: Needs, values: Mapping[str, Any]) -> str:
    """Returns the error message for a value that has no effect."""
    if not isinstance(needs, Mapping):
        names = (needs,) if isinstance(needs, str) else needs
        words = " or ".join(f"`{other}`" for other in names)
        return f"`{name}` needs {words}. Received: {value!r}."
    ((other, allowed),) = needs.items()
    current = values[other]
    if isinstance(current, tuple):
        words = f"one of {', '.join(map(repr, allowed))} in `{other}`"
        return f"`{name}` needs {words}. Received: {value!r}."
    if isinstance(current, dict):  # the config of a Keras object
        current = current.get("class_name", current)
        words = f"must be set on the layer given as `{other}` itself"
    else:
        words = f"needs {other}={' or '.join(map(repr, allowed))}"
    return f"`{name}` {words}. Received: {value!r} with {other}={current!r}."


def _given(needs: Needs, values: Mapping[str, Any]) -> str:
    """Returns the setting that requires a field, in words."""
    if isinstance(needs, Mapping):
        ((other, _),) = needs.items()
        return f" with {other}={values[other]!r}"
    names = (needs,) if isinstance(needs, str) else needs
    return "".join(f" with `{other}`" for other in names if values[other])
