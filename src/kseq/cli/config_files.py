"""Configuration files: YAML files with the options of a command."""

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from kseq.cli.argument_types import NULL
from kseq.cli.usage_errors import UsageError
from kseq.config.checks import nearest_name

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}


class YamlLoader(yaml.SafeLoader):
    """Loads YAML with 1e-3 as a number, which is a string in YAML 1.1."""


YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def read_config_file(
    path: str, actions: Mapping[str, argparse.Action]
) -> Iterator[tuple[argparse.Action, Any]]:
    """Yields the options in a configuration file and their values.

    Args:
        path: The file.
        actions: The options that it may hold, by name.

    Raises:
        UsageError: If the file is not valid.
    """
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
        position = f"'{path}', line {line}"
        name = str(key.value).removeprefix("--").replace("-", "_")
        action = actions.get(name)
        if action is None:
            hint = nearest_name(name, actions).replace("`", "'")
            raise UsageError(f"{position}: unknown option '{key.value}'.{hint}")
        if action in lines:
            raise UsageError(
                f"{position}: '{key.value}' is already set in line {lines[action]}"
            )
        lines[action] = line
        try:
            is_set, value = _read_value(action, node)
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise UsageError(f"{position}: '{key.value}' {error}") from error
        if is_set:
            yield action, value


def _read_value(action: argparse.Action, node: yaml.Node) -> tuple[bool, Any]:
    """Returns whether a node sets an option, and the value, converted as a flag's."""
    kind: Any = action.type
    if _is_null(node):
        # None replaces the value of a preset, so it is not the same as no value.
        return action.default is None or getattr(kind, "may_be_none", False), None
    if action.nargs == 0:  # a switch
        if isinstance(node, yaml.ScalarNode) and node.value.lower() in _BOOLEANS:
            return True, _BOOLEANS[node.value.lower()]
        raise ValueError(f"must be true or false. Received: {_show(node)}.")
    if isinstance(node, yaml.MappingNode) and Any in getattr(kind, "options", ()):
        return True, _construct(node)
    convert: Callable[[str], Any] = kind or str
    if action.nargs in ("+", "*"):
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if all(isinstance(each, yaml.ScalarNode) for each in nodes):
            return True, [convert(each.value) for each in nodes]
        raise ValueError(f"must be a list of values. Received: {_show(node)}.")
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError(f"must be one value. Received: {_show(node)}.")
    return True, convert(node.value)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in NULL


def _construct(node: yaml.Node) -> Any:
    loader = YamlLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _show(node: yaml.Node) -> str:
    return json.dumps(_construct(node), ensure_ascii=False, default=str)
