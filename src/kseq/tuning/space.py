"""What a sweep tries: ranges and choices for the settings of models and training."""

import dataclasses
import functools
import json
import numbers
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras_tuner.src.engine import conditions

from kseq.config import architecture
from kseq.config.checks import nearest_name
from kseq.losses import MaskedCrossentropy
from kseq.teacher_forcing import COINS, check_ratio

FROM_DATA = ("source_vocab_size", "target_vocab_size")


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values.

    Args:
        values: List of values of any kind: strings, numbers, booleans, None, Keras
            objects, mixed as you like. Or a mapping from the names that reports show
            to the values.
        when: Mapping from another field of the space to the values for which this one
            is tried at all. Default None: always.

    Example:
        >>> from kseq.tuning import Choice
        >>> Choice([1, 2]).values
        (1, 2)
    """

    values: Any
    when: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        values = self.values
        if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
            raise TypeError(f"`values` must be a list. Received: {values!r}.")
        options = list(values.values() if isinstance(values, Mapping) else values)
        if not options:
            raise ValueError(
                f"`values` must hold at least one value. Received: {values!r}."
            )
        labels = list(values) if isinstance(values, Mapping) else _raw_values(options)
        repeated = [label for label in labels if labels.count(label) > 1]
        if repeated:
            raise ValueError(
                f"`values` must differ. Received {repeated[0]!r} twice; to values that "
                "look alike give names, by a mapping from names to values."
            )
        kept = dict(values) if isinstance(values, Mapping) else tuple(options)
        object.__setattr__(self, "values", kept)
        object.__setattr__(self, "when", _checked_when(self.when))

    @functools.cached_property
    def _options(self) -> dict[Any, Any]:
        """What keras-tuner is given, and the value it stands for."""
        if isinstance(self.values, dict):
            return {str(name): value for name, value in self.values.items()}
        return dict(zip(_raw_values(self.values), self.values, strict=True))

    def _declare(self, hp: Any, name: str) -> Any:
        raw = list(self._options)
        if isinstance(raw[0], bool):
            return hp.Boolean(name, default=raw[0])
        return hp.Choice(name, raw)

    def _decode(self, raw: Any) -> Any:
        return self._options[raw]

    def _encode(self, value: Any) -> Any:
        for raw, option in self._options.items():
            if type(option) is type(value) and option == value:
                return raw
        return None

    def _describe(self) -> Any:
        return [[raw, json_of(value)] for raw, value in self._options.items()]


@dataclasses.dataclass(frozen=True)
class Int:
    """A whole number in a range, both ends included.

    Args:
        low: The smallest.
        high: The largest.
        step: Distance between two values; with `sampling="log"` their quotient.
            Default None: 1, or any with `"log"`.
        sampling: `"linear"` (default), `"log"` or `"reverse_log"`.
        when: Mapping from another field of the space to the values for which this one
            is tried at all. Default None: always.

    Example:
        >>> from kseq.tuning import Int
        >>> Int(64, 256, step=2, sampling="log").high
        256
    """

    low: int
    high: int
    step: int | None = None
    sampling: str = "linear"
    when: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check_range(self, numbers.Integral, "an integer")
        object.__setattr__(self, "when", _checked_when(self.when))

    def _declare(self, hp: Any, name: str) -> Any:
        return hp.Int(name, self.low, self.high, self.step, self.sampling)

    def _decode(self, raw: Any) -> int:
        return int(raw)

    def _encode(self, value: Any) -> Any:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return value if whole and self.low <= value <= self.high else None

    def _describe(self) -> Any:
        return [self.low, self.high, self.step, self.sampling]


@dataclasses.dataclass(frozen=True)
class Float:
    """A number in a range.

    Args:
        low: The smallest.
        high: The largest.
        step: Distance between two values; with `sampling="log"` their quotient.
            Default None: any value; a grid takes ten of them.
        sampling: `"linear"` (default), `"log"` or `"reverse_log"`.
        when: Mapping from another field of the space to the values for which this one
            is tried at all. Default None: always.

    Example:
        >>> from kseq.tuning import Float
        >>> Float(1e-4, 1e-2, sampling="log").low
        0.0001
    """

    low: float
    high: float
    step: float | None = None
    sampling: str = "linear"
    when: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check_range(self, numbers.Real, "a number")
        object.__setattr__(self, "when", _checked_when(self.when))

    def _declare(self, hp: Any, name: str) -> Any:
        return hp.Float(name, self.low, self.high, self.step, self.sampling)

    def _decode(self, raw: Any) -> float:
        return float(raw)

    def _encode(self, value: Any) -> Any:
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return float(value) if number and self.low <= value <= self.high else None

    def _describe(self) -> Any:
        return [self.low, self.high, self.step, self.sampling]


@dataclasses.dataclass(frozen=True)
class Boolean:
    """False or True.

    Args:
        when: Mapping from another field of the space to the values for which this one
            is tried at all. Default None: always.

    Example:
        >>> from kseq.tuning import Boolean
        >>> Boolean(when={"layers": [2]}).when
        {'layers': [2]}
    """

    when: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "when", _checked_when(self.when))

    def _declare(self, hp: Any, name: str) -> Any:
        return hp.Boolean(name)

    def _decode(self, raw: Any) -> bool:
        return bool(raw)

    def _encode(self, value: Any) -> Any:
        return value if isinstance(value, bool) else None

    def _describe(self) -> Any:
        return [False, True]


Entry = Choice | Int | Float | Boolean
_ENTRIES = {"choice": Choice, "int": Int, "float": Float, "boolean": Boolean}


def default_space() -> dict[str, Any]:
    """Returns the space that is searched where none is given.

    Returns:
        A new dict to change as you like: `{**default_space(), "units": [512]}`.

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How a trial is trained; the fields are documented at `Seq2SeqHyperModel`."""

    batch_size: int = 64
    validation_batch_size: int = 256
    epochs: int = 10
    optimizer: Any = "adam"
    learning_rate: Any = None
    global_clipnorm: float | None = None
    label_smoothing: float = 0.0
    teacher_forcing_ratio: Any = 1.0
    teacher_forcing_coin: str = "token"

    def __post_init__(self) -> None:
        for name in ("batch_size", "validation_batch_size", "epochs"):
            value = getattr(self, name)
            whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
            if not whole or value < 1:
                raise ValueError(
                    f"`{name}` must be an integer >= 1. Received: {value!r}."
                )
        clip = self.global_clipnorm
        if clip is not None and not clip > 0:
            raise ValueError(f"`global_clipnorm` must be > 0. Received: {clip!r}.")
        if not callable(self.teacher_forcing_ratio):
            check_ratio("teacher_forcing_ratio", self.teacher_forcing_ratio)
        if self.teacher_forcing_coin not in COINS:
            raise ValueError(
                f"`teacher_forcing_coin` must be one of {', '.join(map(repr, COINS))}. "
                f"Received: {self.teacher_forcing_coin!r}."
            )
        rate = self.learning_rate
        if isinstance(rate, int | float) and not rate > 0:
            raise ValueError(f"`learning_rate` must be > 0. Received: {rate!r}.")

    def loss(self) -> MaskedCrossentropy:
        return MaskedCrossentropy(label_smoothing=self.label_smoothing)

    def new_optimizer(self) -> Any:
        """Returns an optimizer of its own for each model."""
        try:
            pattern = keras.optimizers.get(self.optimizer)
        except (ValueError, TypeError) as error:
            raise ValueError(
                "`optimizer` must be the name, config or object of a Keras optimizer. "
                f"Received: {self.optimizer!r}."
            ) from error
        own = {
            "learning_rate": self.learning_rate,
            "global_clipnorm": self.global_clipnorm,
        }
        given = {name: value for name, value in own.items() if value is not None}
        return type(pattern).from_config({**pattern.get_config(), **given})


def architecture_names() -> list[str]:
    """Returns the fields of a configuration, but for those that the data give."""
    # Looked up when it is used: whatever field a configuration has can be tuned.
    fields = dataclasses.fields(architecture.Seq2SeqConfig)
    return [field.name for field in fields if field.name not in FROM_DATA]


def training_names() -> list[str]:
    """Returns the names of the training settings."""
    return [field.name for field in dataclasses.fields(Training)]


def only(names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values that have one of the names."""
    return {name: values[name] for name in values if name in names}


def parse_space(
    space: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> tuple[dict[str, Entry], dict[str, Any]]:
    """Returns what is tried, parents before those that hang on them, and the rest."""
    if space is not None and not isinstance(space, Mapping):
        raise TypeError(
            "`space` must be a mapping from names of settings to what is tried. "
            f"Received: {space!r}."
        )
    entries = default_space() if space is None else dict(space)
    known = [*architecture_names(), *training_names()]
    for name in [*entries, *settings]:
        if name in FROM_DATA:
            raise ValueError(f"`{name}` must be left out: the data give it.")
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
    parsed = {name: _entry(name, value) for name, value in entries.items()}
    tuned = {k: v for k, v in parsed.items() if isinstance(v, Entry)}
    fixed = {**{k: v for k, v in parsed.items() if k not in tuned}, **settings}
    for name, entry in list(tuned.items()):
        held = _without_fixed_parents(name, entry, fixed)
        if held is not None:
            tuned[name] = held
        elif space is None:  # the default's dropout between layers, with one layer
            del tuned[name]
        else:
            raise ValueError(
                f"`when` of `{name}` must be able to hold. Received: {entry.when}, but "
                f"{only(list(entry.when or ()), fixed)} in every trial."
            )
    return _sorted_by_parents(tuned), fixed


def _entry(name: str, value: Any) -> Any:
    try:
        if isinstance(value, Mapping) and value.get("type") in _ENTRIES:
            arguments = {key: value[key] for key in value if key != "type"}
            return _ENTRIES[value["type"]](**arguments)
        if isinstance(value, list | tuple):
            return Choice(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"`space` is wrong for `{name}`: {error}") from error
    return value


def _without_fixed_parents(
    name: str, entry: Entry, fixed: Mapping[str, Any]
) -> Entry | None:
    """Drops conditions on what is the same in every trial; None if one fails."""
    open_conditions = {}
    for parent, wanted in (entry.when or {}).items():
        if parent not in fixed:
            open_conditions[parent] = wanted
        elif fixed[parent] not in wanted:
            return None
    return dataclasses.replace(entry, when=open_conditions or None)


def _sorted_by_parents(tuned: dict[str, Entry]) -> dict[str, Entry]:
    for name, entry in tuned.items():
        for parent, wanted in (entry.when or {}).items():
            if parent not in tuned:
                hint = nearest_name(parent, tuned)
                raise ValueError(
                    f"`when` of `{name}` must name settings in the space. "
                    f"Received: {parent!r}.{hint}"
                )
            for value in wanted:
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
                f"`when` must not go in a circle. Received: one through {circle}."
            )
        ordered.update({name: tuned[name] for name in ready})
    return ordered


def conditions_of(tuned: Mapping[str, Entry]) -> dict[str, list[Any]]:
    """Returns the conditions of each field, as keras-tuner has them."""
    return {
        name: [
            conditions.Parent(parent, [tuned[parent]._encode(v) for v in wanted])
            for parent, wanted in (entry.when or {}).items()
        ]
        for name, entry in tuned.items()
    }


@contextmanager
def under(hp: Any, parents: list[Any]) -> Iterator[None]:
    """Declares what is inside it for the time that conditions hold."""
    # `hp.conditional_scope` cannot name two parents that do not depend on each other.
    hp._conditions.extend(parents)
    try:
        yield
    finally:
        del hp._conditions[len(hp._conditions) - len(parents) :]


def _checked_when(when: Any) -> dict[str, list[Any]] | None:
    if when is None:
        return None
    if not isinstance(when, Mapping) or not when:
        raise TypeError(
            "`when` must be a mapping from a setting's name to a list of its values. "
            f"Received: {when!r}."
        )
    lists = {
        parent: list(wanted) if isinstance(wanted, list | tuple | set) else [wanted]
        for parent, wanted in when.items()
    }
    for parent, wanted in lists.items():
        if not wanted:
            raise ValueError(
                f"`when` must give at least one value of `{parent}`. Received: none."
            )
    return lists


def _check_range(entry: Any, kind: type, what: str) -> None:
    for name in ("low", "high", "step"):
        value = getattr(entry, name)
        if name == "step" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kind):
            raise TypeError(f"`{name}` must be {what}. Received: {value!r}.")
    if not entry.low <= entry.high:
        raise ValueError(
            f"`low` must be <= `high`. Received: {entry.low} and {entry.high}."
        )
    samplings = ("linear", "log", "reverse_log")
    if entry.sampling not in samplings:
        raise ValueError(
            f"`sampling` must be one of {', '.join(map(repr, samplings))}. "
            f"Received: {entry.sampling!r}."
        )
    is_log = entry.sampling != "linear"
    if is_log and not entry.low > 0:
        raise ValueError(
            f"`low` must be > 0 where sampling={entry.sampling!r}. "
            f"Received: {entry.low}."
        )
    if entry.step is not None and not entry.step > (1 if is_log else 0):
        raise ValueError(
            f"`step` must be > {1 if is_log else 0} where sampling={entry.sampling!r}. "
            f"Received: {entry.step}."
        )


def _raw_values(options: Sequence[Any]) -> list[Any]:
    """Returns what keras-tuner can hold: values of one plain type, else their names."""
    kinds = {type(option) for option in options}
    if kinds in ({str}, {int}, {float}) or (kinds == {bool} and len(options) == 2):
        return list(options)
    if kinds == {int, float}:
        return [float(option) for option in options]
    return [_label(option) for option in options]


def _label(value: Any) -> str:
    if isinstance(value, Mapping) and "class_name" in value:
        return str(value["class_name"])
    return type(value).__name__ if hasattr(value, "get_config") else str(value)


def json_of(value: Any) -> Any:
    """Returns a value as JSON can hold it."""
    if hasattr(value, "get_config"):
        return keras.saving.serialize_keras_object(value)
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return repr(value)
