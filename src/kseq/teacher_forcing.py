"""How much of the truth a decoder is given as training goes on."""

import math
from typing import Any

import keras
from keras import ops

# For what a coin is thrown, where the ratio is below 1.
COINS = ("batch", "token")


class TeacherForcingSchedule:
    """Base class: a function from the number of updates to a ratio in [0, 1].

    A schedule of your own needs `__call__`, on a tensor, and `get_config`, and is
    registered with `keras.saving.register_keras_serializable`.

    Reference:
        Bengio et al., 2015, "Scheduled Sampling for Sequence Prediction with Recurrent
        Neural Networks".
    """

    def __call__(self, step: Any) -> Any:
        """Returns the ratio, a float32 scalar.

        Args:
            step: Number of updates made so far, an integer scalar.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make the schedule anew."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TeacherForcingSchedule":
        """Makes a schedule from what `get_config` returns.

        Args:
            config: Dict of arguments.
        """
        return cls(**config)


@keras.saving.register_keras_serializable(package="kseq")
class LinearDecay(TeacherForcingSchedule):
    """Falls from one ratio to another in a straight line, then stays.

    Args:
        steps: Number of updates the fall takes.
        start: Ratio at first. Default 1.0.
        end: Ratio at the end. Default 0.0.

    Raises:
        ValueError: If `steps` is below 1 or a ratio is outside [0, 1].

    Example:
        >>> from kseq.teacher_forcing import LinearDecay
        >>> schedule = LinearDecay(100, end=0.5)
        >>> [float(schedule(step)) for step in (0, 50, 100, 1000)]
        [1.0, 0.75, 0.5, 0.5]
    """

    def __init__(self, steps: int, start: float = 1.0, end: float = 0.0) -> None:
        self.steps = _positive("steps", steps)
        self.start = check_ratio("start", start)
        self.end = check_ratio("end", end)

    def __call__(self, step: Any) -> Any:
        part = ops.minimum(ops.cast(step, "float32") / self.steps, 1.0)
        return self.start + (self.end - self.start) * part

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "start": self.start, "end": self.end}


@keras.saving.register_keras_serializable(package="kseq")
class ExponentialDecay(TeacherForcingSchedule):
    """Falls by the same factor with each update: base ** step.

    Args:
        base: The factor, in (0, 1): 0.9999 is at 0.37 after 10,000 updates.
        end: Ratio it never falls below. Default 0.0.

    Raises:
        ValueError: If `base` is outside (0, 1) or `end` outside [0, 1].

    Example:
        >>> from kseq.teacher_forcing import ExponentialDecay
        >>> round(float(ExponentialDecay(0.99)(100)), 3)
        0.366
    """

    def __init__(self, base: float, end: float = 0.0) -> None:
        if not 0 < base < 1:
            raise ValueError(f"`base` must be in (0, 1). Received: {base}.")
        self.base = base
        self.end = check_ratio("end", end)

    def __call__(self, step: Any) -> Any:
        fallen = ops.exp(ops.cast(step, "float32") * math.log(self.base))
        return ops.maximum(fallen, self.end)

    def get_config(self) -> dict[str, Any]:
        return {"base": self.base, "end": self.end}


@keras.saving.register_keras_serializable(package="kseq")
class InverseSigmoidDecay(TeacherForcingSchedule):
    """Stays near 1, falls, and levels out: k / (k + exp(step / k)).

    Args:
        k: How slow it is, 1 or more: at k ln k updates the ratio is a half.
        end: Ratio it never falls below. Default 0.0.

    Raises:
        ValueError: If `k` is below 1 or `end` outside [0, 1].

    Example:
        >>> from kseq.teacher_forcing import InverseSigmoidDecay
        >>> schedule = InverseSigmoidDecay(100)
        >>> [round(float(schedule(step)), 2) for step in (0, 461, 2000)]
        [0.99, 0.5, 0.0]
    """

    def __init__(self, k: float, end: float = 0.0) -> None:
        self.k = _positive("k", k)
        self.end = check_ratio("end", end)

    def __call__(self, step: Any) -> Any:
        # As a sigmoid, which does not overflow.
        passed = ops.cast(step, "float32") / self.k
        return ops.maximum(ops.sigmoid(math.log(self.k) - passed), self.end)

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, "end": self.end}


_BY_NAME: dict[str, Any] = {
    "linear": LinearDecay,
    "exponential": ExponentialDecay,
    "inverse_sigmoid": InverseSigmoidDecay,
}


def teacher_forcing(value: Any) -> Any:
    """Returns a ratio or a schedule from what a command line can say.

    Args:
        value: A number in [0, 1], or it as a string; `"linear:STEPS[:END]"`,
            `"exponential:BASE[:END]"`, `"inverse_sigmoid:K[:END]"`; or a schedule.

    Returns:
        A float or a `TeacherForcingSchedule`.

    Raises:
        ValueError: If it is something else, or a number in it is out of range.

    Example:
        >>> from kseq.teacher_forcing import teacher_forcing
        >>> schedule = teacher_forcing("linear:100:0.5")
        >>> float(schedule(50)), teacher_forcing(0.5)
        (0.75, 0.5)
    """
    if isinstance(value, TeacherForcingSchedule):
        return value
    name, *numbers = str(value).split(":")
    if name not in _BY_NAME:
        return check_ratio("teacher_forcing_ratio", value)
    if len(numbers) not in (1, 2):
        raise ValueError(
            f"`teacher_forcing_ratio` {name!r} must have one or two numbers, such as "
            f"'{name}:100:0.5'. Received: {value!r}."
        )
    try:
        first, *end = (float(number) for number in numbers)
    except ValueError:
        raise ValueError(
            f"`teacher_forcing_ratio` must have numbers after its name. "
            f"Received: {value!r}."
        ) from None
    return _BY_NAME[name](first, **({"end": end[0]} if end else {}))


def check_ratio(name: str, value: Any) -> float:
    """Returns a ratio as a float, or raises ValueError unless it is in [0, 1].

    Args:
        name: Name of the argument, for the error.
        value: What the caller gave.
    """
    try:
        ratio = float(value)
    except (TypeError, ValueError):
        ratio = math.nan
    if not 0 <= ratio <= 1:
        raise ValueError(f"`{name}` must be a number in [0, 1]. Received: {value!r}.")
    return ratio


def _positive(name: str, value: Any) -> Any:
    if not value >= 1:
        raise ValueError(f"`{name}` must be >= 1. Received: {value!r}.")
    return value
