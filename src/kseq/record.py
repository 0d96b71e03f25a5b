"""The record of a run, `settings.yaml`: every choice of it."""

from collections.abc import Mapping
from typing import Any

import yaml

from kseq.files import whole_file
from kseq.folder import ModelFolder
from kseq.settings import MAY_DIFFER


def write_record(place: ModelFolder, record: Mapping[str, Any]) -> None:
    """Writes every choice of a run.

    Args:
        place: Its folder.
        record: Names and values, as YAML can hold them.
    """
    plain = _plain(dict(record))
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

    Args:
        place: Its folder.
        record: Names and values.

    Returns:
        A line for each choice that differs and may.

    Raises:
        ValueError: If one differs that may not, or the folder is of a newer kseq.
    """
    place.read_config()  # raises where that is of a newer kseq, or missing
    before, now = read_record(place), _plain(dict(record))
    changes = {
        name: f"`{name}` was {before.get(name)!r}, now {now.get(name)!r}"
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    }
    refused = [line for name, line in changes.items() if name not in MAY_DIFFER]
    if refused:
        raise ValueError(
            f"The run in '{place.path}' was begun with other settings: "
            f"{'; '.join(refused)}. Resumed, it may differ in {', '.join(MAY_DIFFER)} "
            "alone."
        )
    return list(changes.values())


def _plain(value: Any) -> Any:
    """Returns a value as YAML gives it back."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
