"""Flags, configuration files and help texts, each option declared once."""

import argparse
import contextlib
import dataclasses
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NoReturn

import yaml
from docstring_parser import parse as parse_docstring

from kseq.config.checks import nearest_name

# Flags that are no settings, so that no configuration file holds them.
_NO_SETTINGS = ("help", "help_all", "config", "print_config", "debug")
_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}
_NULL = ("", "~", "null", "Null", "NULL")


class UsageError(Exception):
    """A mistake in how a command was called."""


class Arguments(argparse.Namespace):
    """Parsed arguments: `arguments.name`, `arguments["name"]`."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class Parser(argparse.ArgumentParser):
    """Parses the flags of a command and its configuration files.

    A flag has precedence over a configuration file, and a file over the default. A
    value in a file is read exactly as the text after the flag is.

    Args:
        prog: Name of the command, such as `"kseq train"`.
        description: What the command does.

    Attributes:
        first: Names of the arguments that `--help` shows; `--help-all` shows all.
            Empty: `--help` shows all.
        aliases: Names of Python arguments, as errors have them, to names of arguments
            of the command.
        active: The parser whose flags errors name: this one, or that of a subcommand.
    """

    def __init__(self, prog: str, description: str | None = None) -> None:
        super().__init__(
            prog=prog, description=description, allow_abbrev=False, add_help=False
        )
        self.first: Sequence[str] = ()
        self.aliases: dict[str, str] = {}
        self.active = self
        self.add_argument("-h", "--help", action="store_true", help="show this help")
        self.add_argument(
            "--config",
            action="append",
            default=[],
            metavar="FILE",
            help="YAML file of options, by their names in this help; flags have "
            "precedence",
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
        """Adds an argument, whose `type` is a type hint."""
        if "type" in options:
            options["type"] = _Kind(options["type"])
        return super().add_argument(*flags, **options)

    def parse(self, argv: Sequence[str]) -> Arguments:
        """Parses arguments, and the configuration files that they name.

        Args:
            argv: The arguments.

        Raises:
            UsageError: If an argument or a file is not valid.
            SystemExit: After the help.
        """
        if self.first and not any(a.dest == "help_all" for a in self._actions):
            self.add_argument(
                "--help-all", action="store_true", help="show all options"
            )
        shown = [flag for flag in ("--help-all", "-h", "--help") if flag in argv]
        if shown:
            print(self.help_text(everything=shown[0] == "--help-all"), end="")
            self.exit()
        arguments = self._parsed(argv)
        if arguments.config:
            kept = {a: a.default for a in self._actions}
            for path in arguments.config:
                for action, value in _read_config(path, self._settings()):
                    action.default = value
            arguments = self._parsed(argv)
            for action, default in kept.items():
                action.default = default
        return arguments

    def parse_args(  # type: ignore[override]
        self, argv: Sequence[str]
    ) -> Arguments:
        """Parses arguments as `parse` does; prints them where that is asked for."""
        arguments = self.parse(argv)
        if arguments.print_config:
            settings = self._settings().values()
            values = {action.dest: arguments[action.dest] for action in settings}
            print(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), end="")
            self.exit()
        return arguments

    def _parsed(self, argv: Sequence[str]) -> Arguments:
        arguments, unknown = super().parse_known_args(list(argv), Arguments())
        for text in unknown:
            if text.startswith("-"):
                known = [flag for a in self._actions for flag in a.option_strings]
                hint = nearest_name(text.split("=")[0], known).replace("`", "")
                raise UsageError(f"there is no option {text}.{hint}")
        if unknown:
            raise UsageError(f"unexpected argument {unknown[0]!r}")
        return arguments

    def _settings(self) -> dict[str, argparse.Action]:
        """Returns what a configuration file may hold, by name."""
        return {
            action.dest: action
            for action in self._actions
            if action.dest not in _NO_SETTINGS
        }

    def error(self, message: str) -> NoReturn:
        """Raises a `UsageError`, for whatever argparse refuses."""
        found = re.match(r"argument (\S+?): (.*)", message, re.DOTALL)
        if found is not None:
            name, what = found.groups()
            verb = "" if what.startswith("must ") else ":"
            flags = name.split("/")
            flag = next((flag for flag in flags if flag.startswith("--")), flags[-1])
            message = f"{flag}{verb} {what}"
        raise UsageError(" ".join(message.split()))

    def help_text(self, everything: bool) -> str:
        """Returns the help.

        Args:
            everything: Show all options, rather than those in `first`.
        """
        kept = [action.help for action in self._actions]
        hidden = 0
        for action in self._actions:
            words = self.with_flags(str(action.help)).replace("`", "")
            action.help = words.replace("%", "%%")
        if self.first and not everything:
            for action in self._actions:
                if action.dest not in (*self.first, "help", "help_all", "config"):
                    action.help = argparse.SUPPRESS
                    hidden += 1
        self.epilog = (
            f"{hidden} further options: {self.prog} --help-all" if hidden else None
        )
        try:
            return self.format_help()
        finally:
            for action, text in zip(self._actions, kept, strict=True):
                action.help = text

    def with_flags(self, message: str) -> str:
        """Returns an error message with flags in place of Python arguments.

        Args:
            message: Has arguments in backquotes, or as `name=value`.
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

        def flag(match: re.Match[str]) -> str:
            return flags.get(match[1], match[0])

        def assigned(match: re.Match[str]) -> str:
            if match[1] not in flags:
                return match[0]
            value = match[2].strip("'\"")
            return flags[match[1]] + ("" if value == "True" else f" {value}")

        message = re.sub(
            r"`?\b([a-z][a-z0-9_]*)=('[^']*'|\"[^\"]*\"|True|[0-9.]+)`?",
            assigned,
            message,
        )
        return re.sub(r"`([a-z][a-z0-9_]*)`", flag, message)


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
        text = docs[field.name]
        options: dict[str, Any] = {"default": default}
        if hint is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(hint) is tuple:
            options |= {"nargs": "+", "type": _Kind(str), "default": list(default)}
        else:
            options["type"] = _Kind(hint)
        if hint is not bool:
            options["metavar"] = _metavar(text, options["type"])
        # Python 3.11 and 3.12 would add the default of a boolean to its help.
        group.add_argument(*flags, **options).help = text


def _metavar(text: str, kind: "_Kind") -> str:
    """Returns what stands for the value in a help text."""
    word = text.split(" ", 1)[0].removesuffix("s").upper()
    if word in ("FILE", "FOLDER"):
        return word
    return {int: "N", float: "X"}.get(kind.options[0], "NAME")


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


class _Kind:
    """Reads the text of an argument as a type hint says.

    Args:
        hint: `str`, `int`, `float`, a `Literal`, `Any` (a name, or a mapping as JSON),
            or a union of these. None in it means that there may be no value.
    """

    def __init__(self, hint: Any) -> None:
        is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
        options = typing.get_args(hint) if is_union else (hint,)
        self.options = [each for each in options if each is not type(None)]
        self.may_be_none = len(self.options) < len(options) or hint is Any

    def __call__(self, text: str) -> Any:
        # A file may have the name "null".
        if self.may_be_none and str not in self.options and text in _NULL:
            return None
        for option in self.options:
            if option is Any:
                return _named_or_mapping(text)
            choices = typing.get_args(option)
            if choices and text in choices:
                return text
            with contextlib.suppress(ValueError):
                if not choices:
                    return option(text)
        wanted = " or ".join(map(_wanted, self.options))
        raise argparse.ArgumentTypeError(f"must be {wanted}. Received: {text!r}.")


def _wanted(option: Any) -> str:
    if typing.get_origin(option) is Literal:
        return f"one of {', '.join(typing.get_args(option))}"
    return {int: "an integer", float: "a number"}.get(option, "a text")


def _named_or_mapping(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be a name or a mapping in JSON. Received: {text!r}."
        ) from error


# Configuration files.


def _is_switch(action: argparse.Action) -> bool:
    return action.nargs == 0


def _read_config(
    path: str, settings: Mapping[str, argparse.Action]
) -> Iterator[tuple[argparse.Action, Any]]:
    """Reads a configuration file; yields arguments and their values."""
    try:
        with open(path, "rb") as file:
            root = yaml.compose(file, Loader=YamlLoader)
    except OSError as error:
        raise UsageError(f"--config: {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"'{path}' is not YAML: {error}") from error
    if root is None:  # an empty file
        return
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(
            f"'{path}' must be a mapping from names of options to values, such as "
            "'batch_size: 64'"
        )
    lines: dict[argparse.Action, int] = {}
    for key, node in root.value:
        line = key.start_mark.line + 1
        where = f"'{path}', line {line}"
        name = str(key.value).removeprefix("--").replace("-", "_")
        action = settings.get(name)
        if action is None:
            hint = nearest_name(name, settings).replace("`", "'")
            raise UsageError(f"{where}: there is no option '{key.value}'.{hint}")
        if action in lines:
            raise UsageError(
                f"{where}: '{key.value}' is in line {lines[action]} already"
            )
        lines[action] = line
        try:
            given, value = _value_of(action, node)
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise UsageError(f"{where}: '{key.value}' {error}") from error
        if given:
            yield action, value


def _value_of(action: argparse.Action, node: yaml.Node) -> tuple[bool, Any]:
    """Returns whether a node gives a value, and the value, as that of the flag."""
    kind: Any = action.type
    if _is_null(node):
        # Not only the default: a preset may have another value.
        return action.default is None or getattr(kind, "may_be_none", False), None
    if _is_switch(action):
        if isinstance(node, yaml.ScalarNode) and node.value.lower() in _BOOLEANS:
            return True, _BOOLEANS[node.value.lower()]
        raise ValueError(f"must be true or false. Received: {_shown(node)}.")
    if isinstance(node, yaml.MappingNode) and Any in getattr(kind, "options", ()):
        return True, _constructed(node)
    convert: Callable[[str], Any] = kind or str
    if action.nargs in ("+", "*"):
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if all(isinstance(each, yaml.ScalarNode) for each in nodes):
            return True, [convert(each.value) for each in nodes]
        raise ValueError(f"must be a list of values. Received: {_shown(node)}.")
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError(f"must be one value. Received: {_shown(node)}.")
    return True, convert(node.value)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in _NULL


def _constructed(node: yaml.Node) -> Any:
    loader = YamlLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _shown(node: yaml.Node) -> str:
    return json.dumps(_constructed(node), ensure_ascii=False, default=str)


class YamlLoader(yaml.SafeLoader):
    """Reads 1e-3 as a number, which YAML 1.1 has as a string."""


YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)
