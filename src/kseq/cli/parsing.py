"""Flags and config files from dataclasses: each setting is declared once, there."""

import argparse
import contextlib
import dataclasses
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import jsonargparse
from docstring_parser import parse as parse_docstring


class UsageError(Exception):
    """A mistake in how a command was called."""


class _Formatter(jsonargparse.DefaultHelpFormatter):
    """Shows help as it is written: that of a setting tells its default by itself."""

    def _get_help_string(self, action: argparse.Action) -> str:
        return action.help or ""


class Parser(jsonargparse.ArgumentParser):
    """A parser whose errors are one line.

    Args:
        **kwargs: The arguments of `jsonargparse.ArgumentParser`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            formatter_class=_Formatter,
            allow_abbrev=False,
            default_env=False,
            **kwargs,
        )

    def error(self, message: Any, ex: Exception | None = None) -> NoReturn:
        del ex
        raise UsageError(" ".join(str(message).split()))


def add_settings(
    parser: Parser,
    kind: type,
    title: str,
    short: Mapping[str, str] | None = None,
    skip: Sequence[str] = (),
) -> None:
    """Adds a flag for each field of a dataclass, with the help of its docstring.

    Args:
        parser: The parser.
        kind: The dataclass; its docstring has a section `Args`.
        title: Heading of the flags in the help.
        short: Further names of flags: a field to, for example, `"-s"`.
        skip: Fields without a flag.
    """
    docs = {
        param.arg_name: " ".join((param.description or "").split())
        for param in parse_docstring(kind.__doc__ or "").params
    }
    hints = typing.get_type_hints(kind)
    group = parser.add_argument_group(title)
    for field in dataclasses.fields(kind):
        if field.name in skip:
            continue
        hint, default = hints[field.name], field.default
        if default is dataclasses.MISSING:
            raise TypeError(f"`{field.name}` must have a default to be a flag.")
        flags = [f"--{field.name.replace('_', '-')}"]
        if short and field.name in short:
            flags.insert(0, short[field.name])
        options: dict[str, Any] = {
            "help": docs[field.name].replace("`", "").replace("%", "%%"),
            "default": default,
        }
        if hint is bool:
            options["action"] = jsonargparse.ActionYesNo(no_prefix="no-")
        elif typing.get_origin(hint) is tuple:
            options |= {"nargs": "+", "type": str, "default": list(default)}
            options["metavar"] = field.name.upper()
        else:
            options["type"] = str | dict | None if hint is Any else hint
        group.add_argument(*flags, **options)


def settings_of(kind: type, arguments: Any) -> dict[str, Any]:
    """Returns the values that a command was given for the fields of a dataclass.

    Args:
        kind: The dataclass.
        arguments: The parsed arguments.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    return {name: arguments[name] for name in names if name in arguments}


@contextlib.contextmanager
def usage() -> Iterator[None]:
    """Makes errors in values those of the usage: they name a flag's setting."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def say(message: str) -> None:
    """Prints a line to stderr, which is for people; stdout is for results."""
    print(message, file=sys.stderr)
