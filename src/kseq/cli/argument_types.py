"""Converts the text of a flag to the type of its setting."""

import argparse
import contextlib
import json
import types
import typing
from typing import Any, Literal

# How YAML writes None.
NULL = ("", "~", "null", "Null", "NULL")
_LONGEST_METAVAR = 30


class ArgumentType:
    """Converts a text to the type of a type hint.

    Args:
        hint: `str`, `int`, `float`, a `Literal`, `Any` (a name, or a mapping as JSON),
            or a union of these. With None in the union there may be no value.
    """

    def __init__(self, hint: Any) -> None:
        is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
        options = typing.get_args(hint) if is_union else (hint,)
        self.options = [each for each in options if each is not type(None)]
        self.may_be_none = len(self.options) < len(options) or hint is Any

    @property
    def metavar(self) -> str:
        """The placeholder for the value in a help text."""
        first = self.options[0]
        choices = "|".join(typing.get_args(first))
        if choices and len(self.options) == 1 and len(choices) <= _LONGEST_METAVAR:
            return choices
        return {int: "N", float: "X"}.get(first, "NAME")

    def __call__(self, text: str) -> Any:
        # A file may have the name "null".
        if self.may_be_none and str not in self.options and text in NULL:
            return None
        for option in self.options:
            if option is Any:
                return _read_name_or_mapping(text)
            choices = typing.get_args(option)
            if choices and text in choices:
                return text
            with contextlib.suppress(ValueError):
                if not choices:
                    return option(text)
        valid = " or ".join(map(_describe, self.options))
        raise argparse.ArgumentTypeError(f"must be {valid}. Received: {text!r}.")


def _describe(option: Any) -> str:
    if typing.get_origin(option) is Literal:
        return f"one of {', '.join(typing.get_args(option))}"
    return {int: "an integer", float: "a number"}.get(option, "a text")


def _read_name_or_mapping(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be a name or a mapping in JSON. Received: {text!r}."
        ) from error
