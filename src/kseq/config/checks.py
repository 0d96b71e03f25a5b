"""Checks of arguments that several modules share."""

import difflib
import math
import numbers
import operator
from collections.abc import Iterable, Iterator
from typing import Any

# The largest length, number or id that TensorFlow's int32 can hold.
INT32_MAX = 2**31 - 1


def check_integer(
    name: str, value: Any, minimum: int, maximum: int | None = None
) -> int:
    """Returns `value` as an int, or raises an error that names the argument.

    Args:
        name: str, the argument's name in the caller's signature.
        value: anything; Python and numpy integers pass, booleans do not.
        minimum: int, the least value allowed.
        maximum: int or None, the largest value allowed. Default None: any.

    Returns:
        The value as a Python int.

    Raises:
        TypeError: if `value` is not an integer.
        ValueError: if `value` is below `minimum` or above `maximum`.
    """
    wanted = f"`{name}` must be an integer of at least {minimum}"
    wanted += "." if maximum is None else f" and at most {maximum}."
    # A boolean is an int to Python, but `digits=True` is always a slip.
    if isinstance(value, bool):
        raise TypeError(f"{wanted} Received: {value!r}.")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{wanted} Received: {value!r} of type {type(value).__name__}."
        ) from None
    if number < minimum or (maximum is not None and number > maximum):
        raise ValueError(f"{wanted} Received: {number}.")
    return number


def check_number(name: str, value: Any) -> float:
    """Returns `value` as a float, or raises an error that names the argument.

    Args:
        name: str, the argument's name in the caller's signature.
        value: anything; finite numbers of 0 or more pass, booleans do not.

    Returns:
        The value as a Python float.

    Raises:
        TypeError: if `value` is not a number.
        ValueError: if `value` is negative or not finite.
    """
    wanted = f"`{name}` must be a finite number of 0 or more."
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{wanted} Received: {value!r}.")
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{wanted} Received: {value}.")
    return number


def check_boolean(name: str, value: Any) -> bool:
    """Returns `value` if it is a boolean, or raises an error that names the argument.

    Args:
        name: str, the argument's name in the caller's signature.
        value: anything.

    Returns:
        The value.

    Raises:
        TypeError: if `value` is not a boolean.
    """
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False. Received: {value!r}.")
    return value


def check_texts(name: str, value: Any) -> list[str]:
    """Returns `value` as a list of strings, or raises an error that names the misfit.

    Args:
        name: str, the argument's name in the caller's signature.
        value: an iterable of strings: a list, a pandas Series, a numpy array of
            strings. One string alone is refused: Python would read it as a list of
            its characters.

    Returns:
        A list of strings.

    Raises:
        TypeError: if `value` is a single string, is not iterable, or holds anything
            but strings.
    """
    return list(stream_texts(name, value))


def stream_texts(name: str, value: Any) -> Iterator[str]:
    """Checks an iterable of strings as it is read, without holding them.

    Args:
        name: str, the argument's name in the caller's signature.
        value: an iterable of strings. One string alone is refused.

    Returns:
        An iterator over the strings, which raises TypeError at anything else.

    Raises:
        TypeError: if `value` is a single string or is not iterable.
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
                    f"`{name}` must hold strings alone. Received: {item!r} of type "
                    f"{type(item).__name__} at index {index}; convert or drop it first."
                )
            # numpy's own string type would leak into vocabularies and JSON.
            yield str(item)

    return texts()


def nearest_name(name: Any, known: Iterable[str]) -> str:
    """Returns `" Did you mean `x`?"` for a name that is not known, or nothing.

    Args:
        name: anything, what was received.
        known: the names there are.
    """
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean `{near[0]}`?" if near else ""
