"""Parses the flags and configuration files of a command, and writes its help text."""

import argparse
import dataclasses
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import yaml
from docstring_parser import parse as parse_docstring

from kseq.cli.argument_types import ArgumentType
from kseq.cli.config_files import read_config_file
from kseq.cli.usage_errors import UsageError
from kseq.config.checks import nearest_name

# Flags that a configuration file cannot hold.
_NOT_CONFIGURABLE = ("help", "help_all", "config", "print_config", "debug")


class Arguments(argparse.Namespace):
    """Parsed arguments: `arguments.name` or `arguments["name"]`."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class Parser(argparse.ArgumentParser):
    """Parses the flags of a command and its configuration files.

    A flag has precedence over a configuration file, and a file over the default. The
    values in a file are converted exactly as the texts after the flags.

    Args:
        prog: Name of the command, such as `"kseq train"`.
        description: What the command does.

    Attributes:
        main_options: Names of the arguments that `--help` shows; `--help-all` shows
            all. Empty: `--help` shows all.
        aliases: Dict from names of Python arguments in error messages to names of
            arguments of the command.
        active: The parser that error messages refer to: this one, or the parser of a
            subcommand.
    """

    def __init__(self, prog: str, description: str | None = None) -> None:
        super().__init__(
            prog=prog, description=description, allow_abbrev=False, add_help=False
        )
        self.main_options: Sequence[str] = ()
        self.aliases: dict[str, str] = {}
        self.active = self
        self.add_argument("-h", "--help", action="store_true", help="show this help")
        self.add_argument(
            "--config",
            action="append",
            default=[],
            metavar="FILE",
            help="YAML file with options, by their full names; flags have precedence",
        )
        self.add_argument(
            "--print-config",
            action="store_true",
            help="print all options as YAML for --config, and exit",
        )
        self.add_argument(
            "--debug", action="store_true", help="show the traceback of an error"
        )

    def add_argument(self, *flags: Any, **options: Any) -> argparse.Action:
        """Adds an argument, and its default to its help.

        Args:
            *flags: Names of the flag, the full one first among those with two dashes.
            **options: As for argparse, except `type`, which is a type hint.
        """
        if "type" in options:
            options["type"] = ArgumentType(options["type"])
            options.setdefault("metavar", options["type"].metavar)
            if options.get("default") not in (None, []):
                options["help"] += f". Default: {options['default']}"
        return super().add_argument(*flags, **options)

    def parse(self, argv: Sequence[str]) -> Arguments:
        """Parses arguments, and the configuration files that they name.

        Args:
            argv: The arguments.

        Raises:
            UsageError: If an argument or a file is not valid.
            SystemExit: After the help.
        """
        if self.main_options and not any(a.dest == "help_all" for a in self._actions):
            self.add_argument(
                "--help-all", action="store_true", help="show all options"
            )
        helps = [flag for flag in ("--help-all", "-h", "--help") if flag in argv]
        if helps:
            self._show_help(everything=helps[0] == "--help-all")
        arguments = self._parse_flags(argv)
        if arguments.config:
            defaults = {action: action.default for action in self._actions}
            for path in arguments.config:
                for action, value in read_config_file(path, self._settings()):
                    action.default = value
            arguments = self._parse_flags(argv)
            for action, default in defaults.items():
                action.default = default
        return arguments

    def parse_args(  # type: ignore[override]
        self, argv: Sequence[str]
    ) -> Arguments:
        """Parses arguments as `parse` does, and handles `--print-config`."""
        arguments = self.parse(argv)
        if arguments.print_config:
            values = {name: arguments[name] for name in self._settings()}
            print(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), end="")
            self.exit()
        return arguments

    def require(self, arguments: Arguments, *names: str) -> None:
        """Raises a `UsageError` if one of the named arguments is not given."""
        actions = {action.dest: action for action in self._actions}
        for name in names:
            if not arguments[name]:
                words = [*actions[name].option_strings[:1], str(actions[name].metavar)]
                raise UsageError(f"{' '.join(words)} is required")

    def _parse_flags(self, argv: Sequence[str]) -> Arguments:
        arguments, unknown = super().parse_known_args(list(argv), Arguments())
        for text in unknown:
            if text.startswith("-"):
                known = [flag for a in self._actions for flag in a.option_strings]
                hint = nearest_name(text.split("=")[0], known).replace("`", "")
                raise UsageError(f"unknown option {text}.{hint}")
        if unknown:
            raise UsageError(f"unexpected argument {unknown[0]!r}")
        return arguments

    def _settings(self) -> dict[str, argparse.Action]:
        """Returns the arguments that a configuration file may hold, by name."""
        return {
            action.dest: action
            for action in self._actions
            if action.dest not in _NOT_CONFIGURABLE
        }

    def error(self, message: str) -> NoReturn:
        """Raises a `UsageError` for an error of argparse."""
        match = re.match(r"argument (\S+?): (.*)", message, re.DOTALL)
        if match is not None:
            name, problem = match.groups()
            separator = "" if problem.startswith("must ") else ":"
            flags = name.split("/")
            flag = next((flag for flag in flags if flag.startswith("--")), flags[-1])
            message = f"{flag}{separator} {problem}"
        raise UsageError(" ".join(message.split()))

    def _show_help(self, everything: bool) -> NoReturn:
        """Prints all options, or only `main_options`, and exits."""
        shown = (*self.main_options, "help", "help_all", "config")
        hidden = 0
        for action in self._actions:
            text = self.replace_by_flags(str(action.help)).replace("`", "")
            text = f"{text[:1].upper()}{text[1:].removesuffix('.')}."
            action.help = text.replace("%", "%%")
            if self.main_options and not everything and action.dest not in shown:
                action.help = argparse.SUPPRESS
                hidden += 1
        if hidden:
            self.epilog = f"{hidden} more options: {self.prog} --help-all"
        print(self.format_help(), end="")
        sys.exit()

    def replace_by_flags(self, message: str) -> str:
        """Replaces Python arguments in a message by flags.

        Args:
            message: Text with arguments in backquotes, or as `name=value`.
        """
        flags = {
            action.dest: next(
                (flag for flag in action.option_strings if flag.startswith("--")),
                str(action.metavar),
            )
            for action in self._actions
        }
        for name, dest in self.aliases.items():
            flags[name] = flags[dest]

        def replace_name(match: re.Match[str]) -> str:
            return flags.get(match[1], match[0])

        def replace_assignment(match: re.Match[str]) -> str:
            if match[1] not in flags:
                return match[0]
            value = match[2].strip("'\"")
            return flags[match[1]] + ("" if value == "True" else f" {value}")

        message = re.sub(
            r"`?\b([a-z][a-z0-9_]*)=('[^']*'|\"[^\"]*\"|True|[0-9.]+)`?",
            replace_assignment,
            message,
        )
        return re.sub(r"`([a-z][a-z0-9_]*)`", replace_name, message)


def add_settings(
    parser: Parser,
    kind: type,
    title: str,
    short: Mapping[str, str] | None = None,
    skip: Sequence[str] = (),
) -> None:
    """Adds a flag for each field of a dataclass, with the help from its docstring.

    Args:
        parser: The parser.
        kind: The dataclass. Its docstring has a section `Args`.
        title: Heading of the flags in the help.
        short: Mapping from fields to short flags, such as `"-s"`. Default: None.
        skip: Fields without a flag. Default: none.
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
            flags.append(short[field.name])
            # A short flag with one dash stands first, as in most programs.
            flags.sort(key=lambda flag: flag.startswith("--"))
        text = docs[field.name]
        options: dict[str, Any] = {"default": default}
        if hint is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(hint) is tuple:
            options |= {"nargs": "+", "type": ArgumentType(str)}
            options["default"] = list(default)
        else:
            options["type"] = ArgumentType(hint)
        if hint is not bool:
            word = text.split(" ", 1)[0].removesuffix("s").upper()
            is_path = word in ("FILE", "FOLDER")
            options["metavar"] = word if is_path else options["type"].metavar
        # Python 3.11 and 3.12 would add the default of a boolean to its help.
        group.add_argument(*flags, **options).help = text


def select_settings(kind: type, arguments: Any) -> dict[str, Any]:
    """Returns the arguments that are fields of a dataclass.

    Args:
        kind: The dataclass.
        arguments: The parsed arguments.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    return {name: arguments[name] for name in names if name in arguments}
