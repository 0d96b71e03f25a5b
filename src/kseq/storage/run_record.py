"""The record of a run: every setting, in `settings.yaml`."""

import os
from collections.abc import Mapping
from typing import Any

import yaml

from kseq.config.data import DATA_FILES, START_FILES
from kseq.config.training import MAY_DIFFER
from kseq.storage.atomic_files import whole_file
from kseq.storage.model_folder import ModelFolder


def write_record(folder: ModelFolder, record: Mapping[str, Any]) -> None:
    """Writes the record of a run, with absolute paths.

    Args:
        folder: The model folder of the run.
        record: Settings by name, with values that YAML can hold.
    """
    plain = _plain_record(record)
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    if yaml.safe_load(text) != plain:  # some Unicode line breaks need an escape
        text = yaml.safe_dump(plain, sort_keys=False)
    with whole_file(folder.settings) as temporary:
        temporary.write_text(text, "utf-8")


def read_record(folder: ModelFolder) -> dict[str, Any]:
    """Reads the record of a run.

    Args:
        folder: The model folder of the run.

    Raises:
        FileNotFoundError: If the folder holds no run.
        ValueError: If the file is not a record.
    """
    if not folder.is_run():
        raise FileNotFoundError(f"'{folder.path}' is not the folder of a training run.")
    try:
        record = yaml.safe_load(folder.settings.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"'{folder.settings}' cannot be read: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"'{folder.settings}' is not the record of a training run.")
    return record


def check_record(folder: ModelFolder, record: Mapping[str, Any]) -> list[str]:
    """Raises ValueError unless a run may be resumed with these settings.

    The paths of files may differ: their contents are compared when they are read.

    Args:
        folder: The model folder of the run.
        record: Settings by name.

    Returns:
        A line for each setting that differs and may differ.

    Raises:
        ValueError: If another setting differs, or a newer kseq wrote the folder.
    """
    folder.read_config()  # raises if a newer kseq wrote it
    before, now = read_record(folder), _plain_record(record)
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
            f"The run in '{folder.path}' began with other settings: "
            f"{'; '.join(refused)}. A resumed run may only differ in "
            f"{', '.join(MAY_DIFFER)} and the paths of its files."
        )
    return list(changes.values())


def start_files(record: Mapping[str, Any]) -> dict[str, str]:
    """Returns the files that a run reads only at its beginning.

    Args:
        record: Settings by name.

    Returns:
        Paths by the names of their settings.
    """
    return {name: str(record[name]) for name in START_FILES if record.get(name)}


def changed_start_files(
    folder: ModelFolder, record: Mapping[str, Any]
) -> dict[str, str]:
    """Returns the `start_files` whose paths differ from the recorded ones.

    Args:
        folder: The model folder of the run.
        record: Settings by name.
    """
    before = read_record(folder)
    now = start_files(_plain_record(record))
    return {name: path for name, path in now.items() if path != before.get(name)}


def data_files(record: Mapping[str, Any], name: str) -> list[str]:
    """Returns the paths of the files of a part of the data.

    Args:
        record: Settings by name.
        name: Name of a setting: `"source"`, `"validation_target"`, `"prepared"`, ...
    """
    prefix = "validation_" if name.startswith("validation_") else ""
    for each in (name, f"{prefix}table", f"{prefix}ctf", "data"):
        if paths := record.get(each):
            return [str(path) for path in (paths if _is_list(paths) else [paths])]
    return []


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _plain_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record as YAML loads it, with absolute paths."""
    plain: dict[str, Any] = _plain(dict(record))
    for name in (*DATA_FILES, *START_FILES):
        value = plain.get(name)
        if isinstance(value, list):
            plain[name] = [_absolute(each) for each in value]
        elif value is not None:
            plain[name] = _absolute(value)
    return plain


def _absolute(path: Any) -> Any:
    """Returns an absolute path if the value is a path of an existing file."""
    is_path = isinstance(path, str) and os.path.exists(path)
    return os.path.abspath(path) if is_path else path


def _plain(value: Any) -> Any:
    """Returns a value as YAML loads it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
