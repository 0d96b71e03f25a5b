"""Checks of values: what is valid, and the one form of the error messages."""

import math
from typing import Any

import numpy as np
import pytest

from kseq.config.checks import (
    Rule,
    check_boolean,
    check_choice,
    check_integer,
    check_number,
    check_texts,
    nearest_name,
)


def test_valid_values_become_plain_python_values() -> None:
    assert check_integer("size", np.int64(3), 1) == 3
    assert type(check_integer("size", np.int64(3), 1)) is int
    assert type(check_number("rate", 1)) is float
    assert check_boolean("flag", False) is False
    assert check_choice("side", "source", ("source", "target")) == "source"
    assert check_texts("texts", np.array(["a", "b"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("rule", "valid_values"),
    [
        (Rule(types=(int,)), "an integer"),
        (Rule(types=(int,), minimum=1), "an integer of at least 1"),
        (Rule(types=(int,), minimum=1, maximum=5), "an integer in [1, 5]"),
        (Rule(types=(float,)), "a finite number"),
        (Rule(types=(float,), above=0), "a finite number > 0"),
        (Rule(types=(float,), minimum=0, maximum=math.inf), "a number of at least 0"),
        (Rule(types=(float,), minimum=0, below=1), "a number in [0, 1)"),
        (Rule(types=(float,), above=0, maximum=1e38), "a number in (0, 1e+38]"),
        (Rule(types=(int,), optional=True), "an integer, or None"),
        (Rule(types=(float, str), above=0), "a finite number > 0, or a string"),
        (Rule(types=(str,), choices=("a", "b")), "one of 'a', 'b'"),
        (
            Rule(types=(str,), choices=("a", "b"), objects="a layer", optional=True),
            "one of 'a', 'b', a layer, or None",
        ),
    ],
)
def test_an_error_describes_the_valid_values(rule: Rule, valid_values: str) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        rule.check("x", b"?")
    assert str(error.value) == f"`x` must be {valid_values}. Received: b'?'."


@pytest.mark.parametrize(
    ("limits", "valid", "invalid"),
    [
        ({}, [-1e308, 0.0, 1e308], [math.inf, -math.inf, math.nan]),
        ({"minimum": 0}, [0.0, 1e308], [-1e-9, math.inf, math.nan]),
        ({"minimum": 0, "maximum": math.inf}, [0.0, math.inf], [-1.0, math.nan]),
        ({"above": 0}, [1e-300], [0.0, -1.0, math.inf]),
        ({"minimum": 0, "below": 1}, [0.0, 0.999], [1.0, -0.1, math.nan]),
        ({"above": 0, "maximum": 1e38}, [1e38], [0.0, 1.1e38, math.inf]),
    ],
)
def test_numbers_are_valid_within_their_limits(
    limits: Any, valid: list[float], invalid: list[float]
) -> None:
    rule = Rule(types=(float,), **limits)
    assert [rule.check("x", value) for value in valid] == valid
    for value in invalid:
        with pytest.raises(ValueError, match="`x` must be a"):
            rule.check("x", value)


def test_integers_have_no_limit_by_default() -> None:
    assert check_integer("x", 10**400, 1) == 10**400
    with pytest.raises(ValueError, match=r"in \[1, 9\]. Received: 10"):
        check_integer("x", 10, 1, 9)


@pytest.mark.parametrize("value", [True, "1", None, [1]])
def test_other_types_are_not_numbers(value: Any) -> None:
    for check in (check_number, lambda *given: check_integer(*given, 0)):
        with pytest.raises(TypeError, match="`x` must be a"):
            check("x", value)


@pytest.mark.parametrize("value", ["c", 1, None, ["a"]])
def test_another_choice_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"`x` must be one of 'a', 'b', or 1. Rec"):
        check_choice("x", value, ("a", "b"), ", or 1")


def test_a_similar_name_is_suggested() -> None:
    assert nearest_name("unit", ["units", "layers"]) == " Did you mean `units`?"
    assert nearest_name("zzz", ["units", "layers"]) == ""
