"""The record of a run, `settings.yaml`: every choice of it."""

import os
from collections.abc import Mapping
from typing import Any

import yaml

from kseq.config.data import DATA_FILES, START_FILES
from kseq.config.training import MAY_DIFFER
from kseq.storage.atomic_files import whole_file
from kseq.storage.model_folder import ModelFolder


def write_record(place: ModelFolder, record: Mapping[str, Any]) -> None:
    """Writes every choice of a run, paths as absolute ones.

    Args:
        place: Its folder.
        record: Names and values, as YAML can hold them.
    """
    plain = _plain_record(record)
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    if yaml.safe_load(text) != plain:  # some line breaks of Unicode get lost as such
        text = yaml.safe_dump(plain, sort_keys=False)
    with whole_file(place.settings) as temporary:
        temporary.write_text(text, "utf-8")


def read_record(place: ModelFolder) -> dict[str, Any]:
    """Reads every choice of a run.

    Args:
        place: Its folder.

    Raises:
        FileNotFoundError: If no run has been begun there.
        ValueError: If the file is not a record.
    """
    if not place.is_run():
        raise FileNotFoundError(f"'{place.path}' is not the folder of a training run.")
    try:
        found = yaml.safe_load(place.settings.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"'{place.settings}' cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"'{place.settings}' is not the record of a training run.")
    return found


def check_record(place: ModelFolder, record: Mapping[str, Any]) -> list[str]:
    """Raises ValueError unless a run may be resumed with these choices.

    Files may have other paths: whether they are the same is seen when they are read.

    Args:
        place: Its folder.
        record: Names and values.

    Returns:
        A line for each choice that differs and may.

    Raises:
        ValueError: If one differs that may not, or the folder is of a newer kseq.
    """
    place.read_config()  # raises where that is of a newer kseq, or missing
    before, now = read_record(place), _plain_record(record)
    changes = {
        name: f"`{name}` was {before.get(name)!r}, now {now.get(name)!r}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    }
    allowed = {*MAY_DIFFER, *DATA_FILES}
    allowed |= {name for name in START_FILES if before.get(name) and now.get(name)}
    refused = [line for name, line in changes.items() if name not in allowed]
    if refused:
        raise ValueError(
            f"The run in '{place.path}' was begun with other settings: "
            f"{'; '.join(refused)}. Resumed, it may differ in {', '.join(MAY_DIFFER)} "
            "and the paths of its files alone."
        )
    return list(changes.values())


def start_files(record: Mapping[str, Any]) -> dict[str, str]:
    """Returns the files that a run reads only when it begins.

    Args:
        record: Names and values.

    Returns:
        Dict from the name of a setting to a path.
    """
    return {name: str(record[name]) for name in START_FILES if record.get(name)}


def changed_files(place: ModelFolder, record: Mapping[str, Any]) -> dict[str, str]:
    """Returns those of `start_files` whose path differs from that of a begun run.

    Args:
        place: Its folder.
        record: Names and values.
    """
    begun = read_record(place)
    now = start_files(_plain_record(record))
    return {name: path for name, path in now.items() if path != begun.get(name)}


def files_of(record: Mapping[str, Any], name: str) -> list[str]:
    """Returns the paths where a record has a part of the data.

    Args:
        record: Names and values.
        name: Name of a setting: `"source"`, `"validation_target"`, `"prepared"`, ...
    """
    prefix = "validation_" if name.startswith("validation_") else ""
    for each in (name, f"{prefix}table", f"{prefix}ctf", "data"):
        if found := record.get(each):
            return [str(path) for path in (found if _is_list(found) else [found])]
    return []


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _plain_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record as YAML gives it back, with absolute paths."""
    found: dict[str, Any] = _plain(dict(record))
    for name in (*DATA_FILES, *START_FILES):
        value = found.get(name)
        if isinstance(value, list):
            found[name] = [_absolute(each) for each in value]
        elif value is not None:
            found[name] = _absolute(value)
    return found


def _absolute(path: Any) -> Any:
    """Returns a path from the root; what is no path is left as it is."""
    is_path = isinstance(path, str) and os.path.exists(path)
    return os.path.abspath(path) if is_path else path


def _plain(value: Any) -> Any:
    """Returns a value as YAML gives it back."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
