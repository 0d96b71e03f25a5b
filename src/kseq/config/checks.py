"""Checks of values, with one form of error for arguments and settings."""

import dataclasses
import difflib
import math
import numbers
import operator
import sys
from collections.abc import Iterable, Iterator
from typing import Any

# The largest length, number or id that TensorFlow's int32 can hold.
INT32_MAX = 2**31 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """The valid values of an argument or a setting.

    Args:
        types: Valid types: `int`, `float` (any real number), `bool`, `str`, and `tuple`
            for a list of strings. A boolean is not a number here. Empty: any value is
            valid.
        choices: Valid strings. Default: all.
        minimum: Minimum of a number. Default: no limit.
        maximum: Maximum of a number; `math.inf` also allows infinity. Default: any
            finite number.
        above: Number that a valid number exceeds. Default: no limit.
        below: Number that exceeds a valid number. Default: no limit.
        optional: None is valid. Default: False.
        objects: Description of the Keras objects that are valid too, such as "a Keras
            layer"; their configs are valid dicts. Default: none.
        attribute: Name of an attribute that these objects have. Default:
            `"get_config"`.
        note: Explanation that the error message adds in parentheses. Default: none.
    """

    types: tuple[Any, ...]
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    optional: bool = False
    objects: str = ""
    attribute: str = "get_config"
    note: str = ""

    def check(self, name: str, value: Any) -> Any:
        """Returns a valid value as a plain Python value, or raises.

        Args:
            name: Name of the argument.
            value: Value that the caller passed.

        Returns:
            The value with the first type in `types` that it fits. The config of a Keras
            object.

        Raises:
            TypeError: If the value has the wrong type.
            ValueError: If it is out of range, or not a valid choice.
        """
        if (value is None and self.optional) or not self.types:
            return value
        if self.objects and not isinstance(value, str):
            if isinstance(value, dict):
                return value
            is_object = hasattr(value, self.attribute) and hasattr(value, "get_config")
            if is_object and not isinstance(value, type):
                from keras.saving import serialize_keras_object  # takes seconds

                return serialize_keras_object(value)
        for kind in self.types:
            converted = _convert(kind, value)
            if converted is not None:
                if self._allows(converted):
                    return converted
                raise ValueError(self.error(name, converted))
        raise TypeError(self.error(name, value))

    def error(self, name: str, value: Any) -> str:
        """Returns the error message for an invalid value."""
        note = f" ({self.note})" if self.note else ""
        return f"`{name}` must be {self.describe()}{note}. Received: {value!r}."

    def describe(self) -> str:
        """Returns the valid values in words."""
        words = [self._describe_type(kind) for kind in self.types]
        if self.objects:  # their description includes names, unless there are choices
            words = [*(words if self.choices else []), self.objects]
        words += ["None"] if self.optional else []
        return ", or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)

    def _describe_type(self, kind: Any) -> str:
        if kind is str and self.choices:
            return one_of(self.choices)
        if kind not in (int, float):
            return _TYPES[kind]
        low, high = self.minimum, self.maximum
        low = low if self.above is None else self.above
        high = high if self.below is None else self.below
        noun = "an integer" if kind is int else "a number"
        if high is None and kind is float:
            noun = "a finite number"
        if low is not None and high not in (None, math.inf):
            brackets = (
                "[" if self.above is None else "(",
                "]" if self.below is None else ")",
            )
            return f"{noun} in {brackets[0]}{low}, {high}{brackets[1]}"
        if low is None:
            return noun
        return f"{noun} of at least {low}" if self.above is None else f"{noun} > {low}"

    def _allows(self, value: Any) -> bool:
        if isinstance(value, str):
            return not self.choices or value in self.choices
        if isinstance(value, bool | tuple):
            return True
        # No bound is infinite by default, so that nan and infinity are refused.
        largest = sys.float_info.max if isinstance(value, float) else math.inf
        low = -largest if self.minimum is None else self.minimum
        high = largest if self.maximum is None else self.maximum
        return (
            low <= value <= high
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


_TYPES = {str: "a string", bool: "True or False", tuple: "a list of strings"}


def _convert(kind: Any, value: Any) -> Any:
    """Returns a value as a plain value of a type; None if it has another type."""
    if kind is tuple:
        is_list = isinstance(value, list | tuple)
        is_list = is_list and all(isinstance(item, str) for item in value)
        return tuple(value) if is_list else None
    if kind in (str, bool):
        return value if isinstance(value, kind) else None
    if isinstance(value, bool):
        return None
    if kind is float:
        return float(value) if isinstance(value, numbers.Real) else None
    try:
        return operator.index(value)
    except TypeError:
        return None


def check_integer(
    name: str, value: Any, minimum: int, maximum: int | None = None
) -> int:
    """Returns a valid integer, or raises an error that names the argument.

    Args:
        name: Name of the argument.
        value: Value that the caller passed. Python and numpy integers are valid,
            booleans are not.
        minimum: Minimum.
        maximum: Maximum. Default: no limit.

    Returns:
        The value as a Python int.

    Raises:
        TypeError: If `value` is not an integer.
        ValueError: If `value` is out of range.
    """
    return Rule(types=(int,), minimum=minimum, maximum=maximum).check(name, value)


def check_number(name: str, value: Any, minimum: float = 0, **limits: Any) -> float:
    """Returns a valid number, or raises an error that names the argument.

    Args:
        name: Name of the argument.
        value: Value that the caller passed. Finite numbers are valid, booleans are not.
        minimum: Minimum. Default: 0.
        **limits: Further limits of a `Rule`: `maximum`, `above`, `below`.

    Returns:
        The value as a Python float.

    Raises:
        TypeError: If `value` is not a number.
        ValueError: If `value` is out of range, or not finite.
    """
    return Rule(types=(float,), minimum=minimum, **limits).check(name, value)


def check_boolean(name: str, value: Any) -> bool:
    """Returns a valid boolean, or raises an error that names the argument.

    Args:
        name: Name of the argument.
        value: Value that the caller passed.

    Raises:
        TypeError: If `value` is not a boolean.
    """
    return Rule(types=(bool,)).check(name, value)


def check_choice(
    name: str, value: Any, choices: Iterable[str], alternative: str = ""
) -> Any:
    """Returns a valid choice, or raises an error that lists the choices.

    Args:
        name: Name of the argument.
        value: Value that the caller passed.
        choices: Valid strings.
        alternative: Further valid values in words, such as ", or a Keras layer".
            Default: none.

    Raises:
        ValueError: If `value` is not one of the choices.
    """
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"`{name}` must be {one_of(choices)}{alternative}. Received: {value!r}."
        )
    return value


def one_of(choices: Iterable[Any]) -> str:
    """Returns `"one of 'a', 'b'"`, for error messages.

    Args:
        choices: Valid values.
    """
    return f"one of {', '.join(map(repr, choices))}"


def check_texts(name: str, value: Any) -> list[str]:
    """Returns a list of strings, or raises an error that names the invalid item.

    Args:
        name: Name of the argument.
        value: Iterable of strings: a list, a pandas Series, a numpy array of strings. A
            single string is invalid, since Python would iterate over its characters.

    Raises:
        TypeError: If `value` is a single string, is not iterable, or has an item that
            is not a string.
    """
    return list(stream_texts(name, value))


def stream_texts(name: str, value: Any) -> Iterator[str]:
    """Checks the strings of an iterable one by one, without storing them.

    Args:
        name: Name of the argument.
        value: Iterable of strings. A single string is invalid.

    Returns:
        An iterator over the strings. It raises TypeError at an item that is not a
        string.

    Raises:
        TypeError: If `value` is a single string or is not iterable.
    """
    if isinstance(value, str):
        raise TypeError(
            f"`{name}` must be a list of strings. Received the single string "
            f"{value!r}; put it in a list: [{value!r}]."
        )
    if not isinstance(value, Iterable):
        raise TypeError(
            f"`{name}` must be a list of strings. Received: {value!r} of type "
            f"{type(value).__name__}."
        )

    def texts() -> Iterator[str]:
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise TypeError(
                    f"`{name}` must hold only strings. Received: {item!r} of type "
                    f"{type(item).__name__} at index {index}; convert or drop it first."
                )
            # Vocabularies and JSON files need Python's string type, not numpy's.
            yield str(item)

    return texts()


def nearest_name(name: Any, known: Iterable[str]) -> str:
    """Returns `" Did you mean `x`?"` for an unknown name; "" if no name is similar.

    Args:
        name: Name that the caller passed.
        known: Valid names.
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean `{near[0]}`?" if near else ""
