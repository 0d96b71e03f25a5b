"""The search space: settings of models and training, with the values to try."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kseq._compat.keras_tuner import Parent
from kseq.config import architecture
from kseq.config.checks import nearest_name
from kseq.config.fields import field_rule
from kseq.tuning.ranges import ENTRIES, Boolean, Choice, Entry, Float
from kseq.tuning.trial_settings import TrialSettings

FROM_DATA = ("source_vocab_size", "target_vocab_size")


def default_space() -> dict[str, Any]:
    """Returns the default search space.

    Returns:
        A new dict, which the caller may change:
        `{**default_space(), "units": [512]}`.

    Example:
        >>> from kseq.tuning import default_space
        >>> default_space()["layers"].values
        (1, 2)
    """
    return {
        "cell": Choice(["lstm", "gru"]),
        "units": Choice([64, 128, 256]),
        "layers": Choice([1, 2]),
        "dropout": Float(0.0, 0.4, step=0.1, when={"layers": [2]}),
        "reverse_source": Boolean(),
        "learning_rate": Float(3e-4, 1e-2, sampling="log"),
        "batch_size": Choice([32, 64, 128]),
    }


def architecture_names() -> list[str]:
    """Returns the names of the fields of a configuration that the data do not set."""
    # Looked up at each call, so that any new field of the class can be tuned.
    fields = dataclasses.fields(architecture.Seq2SeqConfig)
    return [field.name for field in fields if field.name not in FROM_DATA]


def training_names() -> list[str]:
    """Returns the names of the training settings."""
    return [field.name for field in dataclasses.fields(TrialSettings)]


def select(names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values with the given names."""
    return {name: values[name] for name in values if name in names}


def parse_space(
    space: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> tuple[dict[str, Entry], dict[str, Any]]:
    """Separates the settings that a sweep tries from the fixed ones, and checks both.

    Args:
        space: Search space. Default: `default_space()`.
        settings: Fixed settings.

    Returns:
        The entries of the space, each after the settings that its `when` names, and the
        fixed settings.
    """
    if space is not None and not isinstance(space, Mapping):
        raise TypeError(
            "`space` must be a mapping from names of settings to the values to try. "
            f"Received: {space!r}."
        )
    entries = default_space() if space is None else dict(space)
    known = [*architecture_names(), *training_names()]
    for name in [*entries, *settings]:
        if name in FROM_DATA:
            raise ValueError(f"`{name}` must be left out: the data define it.")
        if name not in known:
            hint = nearest_name(name, known)
            raise ValueError(
                f"Unknown setting `{name}`.{hint} Settings are the fields of "
                f"Seq2SeqConfig, and {', '.join(training_names())}."
            )
        if name in settings and name in entries:
            if space is not None:
                raise ValueError(
                    f"`{name}` must be given once. Received: {settings[name]!r}, and "
                    f"{entries[name]!r} in `space`."
                )
            del entries[name]
    parsed = {name: _parse_entry(name, value) for name, value in entries.items()}
    tuned = {k: v for k, v in parsed.items() if isinstance(v, Entry)}
    fixed = {**{k: v for k, v in parsed.items() if k not in tuned}, **settings}
    for name, value in fixed.items():
        _rule(name).check(name, value)
    for name, entry in list(tuned.items()):
        entry.check(name, _rule(name))
        reduced = _without_fixed_parents(entry, fixed)
        if reduced is not None:
            tuned[name] = reduced
        elif space is None:  # the default space tries `dropout` only between layers
            del tuned[name]
        else:
            raise ValueError(
                f"`when` of `{name}` must be possible. Received: {entry.when}, but "
                f"{select(list(entry.when or ()), fixed)} in every trial."
            )
    return _sort_by_parents(tuned), fixed


def _rule(name: str) -> Any:
    is_training = name in training_names()
    return field_rule(
        TrialSettings if is_training else architecture.Seq2SeqConfig, name
    )


def _parse_entry(name: str, value: Any) -> Any:
    try:
        if isinstance(value, Mapping) and value.get("type") in ENTRIES:
            arguments = {key: value[key] for key in value if key != "type"}
            return ENTRIES[value["type"]](**arguments)
        if isinstance(value, list | tuple):
            return Choice(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"`space` is invalid for `{name}`: {error}") from error
    return value


def _without_fixed_parents(entry: Entry, fixed: Mapping[str, Any]) -> Entry | None:
    """Removes conditions on fixed settings; returns None if one of them is false."""
    remaining = {}
    for parent, values in (entry.when or {}).items():
        if parent not in fixed:
            remaining[parent] = values
        elif fixed[parent] not in values:
            return None
    return dataclasses.replace(entry, when=remaining or None)


def _sort_by_parents(tuned: dict[str, Entry]) -> dict[str, Entry]:
    for name, entry in tuned.items():
        for parent, values in (entry.when or {}).items():
            if parent not in tuned:
                hint = nearest_name(parent, tuned)
                raise ValueError(
                    f"`when` of `{name}` must name settings in the space. "
                    f"Received: {parent!r}.{hint}"
                )
            for value in values:
                if tuned[parent]._encode(value) is None:
                    raise ValueError(
                        f"`when` of `{name}` must give values that `{parent}` can "
                        f"have. Received: {value!r}."
                    )
    ordered: dict[str, Entry] = {}
    while len(ordered) < len(tuned):
        ready = [
            name
            for name, entry in tuned.items()
            if name not in ordered and set(entry.when or ()) <= set(ordered)
        ]
        if not ready:
            circle = [name for name in tuned if name not in ordered]
            raise ValueError(
                f"`when` must not be circular. Received: a circle of {circle}."
            )
        ordered.update({name: tuned[name] for name in ready})
    return ordered


def conditions_of(tuned: Mapping[str, Entry]) -> dict[str, list[Any]]:
    """Returns the conditions of each setting as objects of keras-tuner."""
    return {
        name: [
            Parent(parent, [tuned[parent]._encode(value) for value in values])
            for parent, values in (entry.when or {}).items()
        ]
        for name, entry in tuned.items()
    }
