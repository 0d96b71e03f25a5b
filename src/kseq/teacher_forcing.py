"""Schedules of the teacher forcing ratio over the updates of a training."""

import math
from typing import Any

import keras
from keras import ops

from kseq.config.checks import check_number
from kseq.config.fields import choices
from kseq.config.training import TrainingSettings

# Valid values of `teacher_forcing_coin`.
COINS = choices(TrainingSettings, "teacher_forcing_coin")


class TeacherForcingSchedule:
    """Base class of functions from the number of updates to a ratio in [0, 1].

    The ratio is the probability that the decoder reads the true token in training. A
    custom schedule implements `__call__`, on a tensor, and `get_config`; register it
    with `keras.saving.register_keras_serializable`.

    Reference:
        Bengio et al., 2015, "Scheduled Sampling for Sequence Prediction with Recurrent
        Neural Networks".
    """

    def __call__(self, step: Any) -> Any:
        """Returns the ratio, a float32 scalar.

        Args:
            step: Number of updates so far, an integer scalar.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the schedule."""
        raise NotImplementedError

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TeacherForcingSchedule":
        """Makes a schedule from the dict of `get_config`.

        Args:
            config: Dict of arguments.
        """
        return cls(**config)


@keras.saving.register_keras_serializable(package="kseq")
class LinearDecay(TeacherForcingSchedule):
    """Decays linearly from one ratio to another, then stays constant.

    Args:
        steps: Number of updates of the decay, 1 or more.
        start: Initial ratio. Default: 1.0.
        end: Final ratio. Default: 0.0.

    Raises:
        TypeError: If `steps` is not a number.
        ValueError: If `steps` is below 1 or a ratio is outside [0, 1].

    Example:
        >>> from kseq.teacher_forcing import LinearDecay
        >>> schedule = LinearDecay(100, end=0.5)
        >>> [float(schedule(step)) for step in (0, 50, 100, 1000)]
        [1.0, 0.75, 0.5, 0.5]
    """

    def __init__(self, steps: int, start: float = 1.0, end: float = 0.0) -> None:
        check_number("steps", steps, 1)
        self.steps = steps
        self.start = check_ratio("start", start)
        self.end = check_ratio("end", end)

    def __call__(self, step: Any) -> Any:
        time = ops.minimum(ops.cast(step, "float32") / self.steps, 1.0)
        return self.start + (self.end - self.start) * time

    def get_config(self) -> dict[str, Any]:
        return {"steps": self.steps, "start": self.start, "end": self.end}


@keras.saving.register_keras_serializable(package="kseq")
class ExponentialDecay(TeacherForcingSchedule):
    """Decays exponentially: base ** step.

    Args:
        base: Factor of each update, in (0, 1). With 0.9999 the ratio is 0.37 after
            10,000 updates.
        end: Minimum ratio. Default: 0.0.

    Raises:
        TypeError: If `base` is not a number.
        ValueError: If `base` is outside (0, 1) or `end` outside [0, 1].

    Example:
        >>> from kseq.teacher_forcing import ExponentialDecay
        >>> round(float(ExponentialDecay(0.99)(100)), 3)
        0.366
    """

    def __init__(self, base: float, end: float = 0.0) -> None:
        check_number("base", base, above=0, below=1)
        self.base = base
        self.end = check_ratio("end", end)

    def __call__(self, step: Any) -> Any:
        ratio = ops.exp(ops.cast(step, "float32") * math.log(self.base))
        return ops.maximum(ratio, self.end)

    def get_config(self) -> dict[str, Any]:
        return {"base": self.base, "end": self.end}


@keras.saving.register_keras_serializable(package="kseq")
class InverseSigmoidDecay(TeacherForcingSchedule):
    """Decays along an inverse sigmoid: k / (k + exp(step / k)).

    Args:
        k: Time constant, 1 or more. After k ln k updates the ratio is 0.5.
        end: Minimum ratio. Default: 0.0.

    Raises:
        TypeError: If `k` is not a number.
        ValueError: If `k` is below 1 or `end` outside [0, 1].

    Example:
        >>> from kseq.teacher_forcing import InverseSigmoidDecay
        >>> schedule = InverseSigmoidDecay(100)
        >>> [round(float(schedule(step)), 2) for step in (0, 461, 2000)]
        [0.99, 0.5, 0.0]
    """

    def __init__(self, k: float, end: float = 0.0) -> None:
        check_number("k", k, 1)
        self.k = k
        self.end = check_ratio("end", end)

    def __call__(self, step: Any) -> Any:
        # Equal to the formula, but without its overflow.
        time = ops.cast(step, "float32") / self.k
        return ops.maximum(ops.sigmoid(math.log(self.k) - time), self.end)

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, "end": self.end}


_SCHEDULES: dict[str, Any] = {
    "linear": LinearDecay,
    "exponential": ExponentialDecay,
    "inverse_sigmoid": InverseSigmoidDecay,
}


def teacher_forcing(value: Any) -> Any:
    """Returns a ratio or a schedule, also from the text of a command line.

    Args:
        value: A number in [0, 1], also as a string; `"linear:STEPS[:END]"`,
            `"exponential:BASE[:END]"` or `"inverse_sigmoid:K[:END]"`; or a schedule.

    Returns:
        A float or a `TeacherForcingSchedule`.

    Raises:
        ValueError: If the value is invalid, or a number in it is out of range.

    Example:
        >>> from kseq.teacher_forcing import teacher_forcing
        >>> schedule = teacher_forcing("linear:100:0.5")
        >>> float(schedule(50)), teacher_forcing(0.5)
        (0.75, 0.5)
    """
    if isinstance(value, TeacherForcingSchedule):
        return value
    name, *numbers = str(value).split(":")
    if name not in _SCHEDULES:
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
            f"`teacher_forcing_ratio` must have numbers after {name!r}. "
            f"Received: {value!r}."
        ) from None
    return _SCHEDULES[name](first, **({"end": end[0]} if end else {}))


def check_ratio(name: str, value: Any) -> float:
    """Returns a ratio as a float, also from a string.

    Args:
        name: Name of the argument.
        value: Value that the caller passed.

    Raises:
        ValueError: If the value is not a number in [0, 1].
    """
    try:
        ratio = float(value)
    except (TypeError, ValueError):
        ratio = math.nan
    if not 0 <= ratio <= 1:
        raise ValueError(f"`{name}` must be a number in [0, 1]. Received: {value!r}.")
    return ratio
