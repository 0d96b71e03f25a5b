"""Ranges and choices: what a sweep tries for one setting."""

import dataclasses
import functools
import json
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras

from kseq.config.checks import Rule
from kseq.config.fields import field_rule


class _When:
    """Mixin of ranges that depend on another setting."""

    when: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        when = self.when
        if when is None:
            return
        if not isinstance(when, Mapping) or not when:
            raise TypeError(
                "`when` must be a mapping from the name of a setting to a list of its "
                f"values. Received: {when!r}."
            )
        lists = {
            parent: list(values) if isinstance(values, list | tuple | set) else [values]
            for parent, values in when.items()
        }
        for parent, values in lists.items():
            if not values:
                raise ValueError(
                    f"`when` must give at least one value of `{parent}`. Received: "
                    "none."
                )
        object.__setattr__(self, "when", lists)


@dataclasses.dataclass(frozen=True)
class Choice(_When):
    """One of several values.

    Args:
        values: List of values of any types: strings, numbers, booleans, None, Keras
            objects. Or a mapping from names, which reports show, to the values.
        when: Mapping from another setting of the space to the values for which the
            sweep tries this setting. Default: always.

    Example:
        >>> from kseq.tuning import Choice
        >>> Choice([1, 2]).values
        (1, 2)
    """

    values: Any
    when: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        values = self.values
        if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
            raise TypeError(f"`values` must be a list. Received: {values!r}.")
        options = list(values.values() if isinstance(values, Mapping) else values)
        if not options:
            raise ValueError(
                f"`values` must hold at least one value. Received: {values!r}."
            )
        labels = list(values) if isinstance(values, Mapping) else _raw_values(options)
        repeated = [label for label in labels if labels.count(label) > 1]
        if repeated:
            raise ValueError(
                f"`values` must differ. Received {repeated[0]!r} twice; give names to "
                "similar values, with a mapping from names to values."
            )
        is_mapping = isinstance(values, Mapping)
        object.__setattr__(
            self, "values", dict(values) if is_mapping else tuple(options)
        )
        super().__post_init__()

    def check(self, name: str, rule: Rule) -> None:
        """Checks the values against the rule of a setting."""
        for value in self._options.values():
            rule.check(name, value)

    @functools.cached_property
    def _options(self) -> dict[Any, Any]:
        """Dict from the values of keras-tuner to our values."""
        if isinstance(self.values, dict):
            return {str(name): value for name, value in self.values.items()}
        return dict(zip(_raw_values(self.values), self.values, strict=True))

    def _declare(self, hp: Any, name: str) -> Any:
        raw = list(self._options)
        if isinstance(raw[0], bool):
            return hp.Boolean(name, default=raw[0])
        return hp.Choice(name, raw)

    def _decode(self, raw: Any) -> Any:
        return self._options[raw]

    def _encode(self, value: Any) -> Any:
        for raw, option in self._options.items():
            if type(option) is type(value) and option == value:
                return raw
        return None

    def _describe(self) -> Any:
        return [[raw, to_json(value)] for raw, value in self._options.items()]


class _Range(_When):
    """A range of numbers."""

    low: Any
    high: Any
    step: Any
    sampling: str

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name in ("low", "high", "step", "sampling"):
            field_rule(kind, name).check(name, getattr(self, name))
        super().__post_init__()
        if not self.low <= self.high:
            raise ValueError(
                f"`low` must be <= `high`. Received: {self.low} and {self.high}."
            )
        is_log = self.sampling != "linear"
        if is_log and not self.low > 0:
            raise ValueError(
                f"`low` must be > 0 with sampling={self.sampling!r}. "
                f"Received: {self.low}."
            )
        minimum = 1 if is_log else 0
        if self.step is not None and not self.step > minimum:
            raise ValueError(
                f"`step` must be > {minimum} with sampling={self.sampling!r}. "
                f"Received: {self.step}."
            )

    def check(self, name: str, rule: Rule) -> None:
        """Checks both ends against the rule of a setting."""
        for end in (self.low, self.high):
            rule.check(name, end)

    def _holds(self, value: Any, kind: type) -> bool:
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high

    def _describe(self) -> Any:
        return [self.low, self.high, self.step, self.sampling]


@dataclasses.dataclass(frozen=True)
class Int(_Range):
    """An integer in a range.

    Args:
        low: Minimum.
        high: Maximum.
        step: Difference between two values; with `sampling="log"` their quotient.
            Default: 1, or any integer with `"log"`.
        sampling: `"linear"` (default), `"log"` or `"reverse_log"`.
        when: Mapping from another setting of the space to the values for which the
            sweep tries this setting. Default: always.

    Example:
        >>> from kseq.tuning import Int
        >>> Int(64, 256, step=2, sampling="log").high
        256
    """

    low: int
    high: int
    step: int | None = None
    sampling: Literal["linear", "log", "reverse_log"] = "linear"
    when: Mapping[str, Any] | None = None

    def _declare(self, hp: Any, name: str) -> Any:
        return hp.Int(name, self.low, self.high, self.step, self.sampling)

    def _decode(self, raw: Any) -> int:
        return int(raw)

    def _encode(self, value: Any) -> Any:
        return value if self._holds(value, numbers.Integral) else None


@dataclasses.dataclass(frozen=True)
class Float(_Range):
    """A number in a range.

    Args:
        low: Minimum.
        high: Maximum.
        step: Difference between two values; with `sampling="log"` their quotient.
            Default: any number; a grid has ten values.
        sampling: `"linear"` (default), `"log"` or `"reverse_log"`.
        when: Mapping from another setting of the space to the values for which the
            sweep tries this setting. Default: always.

    Example:
        >>> from kseq.tuning import Float
        >>> Float(1e-4, 1e-2, sampling="log").low
        0.0001
    """

    low: float
    high: float
    step: float | None = None
    sampling: Literal["linear", "log", "reverse_log"] = "linear"
    when: Mapping[str, Any] | None = None

    def _declare(self, hp: Any, name: str) -> Any:
        return hp.Float(name, self.low, self.high, self.step, self.sampling)

    def _decode(self, raw: Any) -> float:
        return float(raw)

    def _encode(self, value: Any) -> Any:
        return float(value) if self._holds(value, numbers.Real) else None


@dataclasses.dataclass(frozen=True)
class Boolean(_When):
    """False or True.

    Args:
        when: Mapping from another setting of the space to the values for which the
            sweep tries this setting. Default: always.

    Example:
        >>> from kseq.tuning import Boolean
        >>> Boolean(when={"layers": [2]}).when
        {'layers': [2]}
    """

    when: Mapping[str, Any] | None = None

    def check(self, name: str, rule: Rule) -> None:
        """Checks that a setting can be True or False."""
        rule.check(name, True)

    def _declare(self, hp: Any, name: str) -> Any:
        return hp.Boolean(name)

    def _decode(self, raw: Any) -> bool:
        return bool(raw)

    def _encode(self, value: Any) -> Any:
        return value if isinstance(value, bool) else None

    def _describe(self) -> Any:
        return [False, True]


Entry = Choice | Int | Float | Boolean
ENTRIES = {"choice": Choice, "int": Int, "float": Float, "boolean": Boolean}


def _raw_values(options: Sequence[Any]) -> list[Any]:
    """Returns values that keras-tuner supports: of one plain type, or names."""
    kinds = {type(option) for option in options}
    if kinds in ({str}, {int}, {float}) or (kinds == {bool} and len(options) == 2):
        return list(options)
    if kinds == {int, float}:
        return [float(option) for option in options]
    return [_label(option) for option in options]


def _label(value: Any) -> str:
    if isinstance(value, Mapping) and "class_name" in value:
        return str(value["class_name"])
    return type(value).__name__ if hasattr(value, "get_config") else str(value)


def to_json(value: Any) -> Any:
    """Returns a value as JSON can hold it."""
    if hasattr(value, "get_config"):
        return keras.saving.serialize_keras_object(value)
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return repr(value)
