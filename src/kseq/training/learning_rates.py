"""Learning rate schedules, as functions of the number of updates."""

from typing import Any

import keras
from keras import ops

from kseq.config.checks import check_integer, check_number
from kseq.config.fields import check_values
from kseq.config.training import TrainingSettings


@keras.saving.register_keras_serializable(package="kseq")
class InverseSqrtDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Decays with the inverse square root of the number of updates.

    At update t (from 0) the learning rate is
    learning_rate / sqrt(1 + 3 t / half_life).

    Args:
        learning_rate: Initial learning rate.
        half_life: Number of updates until the learning rate is halved. After five times
            as many updates it is a quarter.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is not above 0.

    Example:
        >>> from kseq.training import InverseSqrtDecay
        >>> schedule = InverseSqrtDecay(0.5, half_life=1000)
        >>> [float(schedule(step)) for step in (0, 1000, 5000)]
        [0.5, 0.25, 0.125]

    Reference:
        Sockeye 1.18 (`fixed-rate-inv-sqrt-t`).
    """

    def __init__(self, learning_rate: float, half_life: float) -> None:
        self.learning_rate = _check_positive("learning_rate", learning_rate)
        self.half_life = _check_positive("half_life", half_life)

    def __call__(self, step: Any) -> Any:
        time = ops.cast(step, "float32") / self.half_life
        return self.learning_rate / ops.sqrt(1.0 + 3.0 * time)

    def get_config(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "half_life": self.half_life}


@keras.saving.register_keras_serializable(package="kseq")
class Plateau(keras.optimizers.schedules.LearningRateSchedule):
    """A constant learning rate that the training loop lowers without improvement.

    A change applies from the next update on, also in a compiled training function. The
    factor is saved with the optimizer.

    Args:
        learning_rate: Initial learning rate.
        factor: Current factor of the learning rate. Default: 1.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is not above 0.

    Example:
        >>> from kseq.training import Plateau
        >>> schedule = Plateau(0.5)
        >>> schedule.reduce(0.5)
        >>> float(schedule(1000)), schedule.factor
        (0.25, 0.5)

    Reference:
        Sockeye 1.18 (`plateau-reduce`).
    """

    def __init__(self, learning_rate: float, factor: float = 1.0) -> None:
        self.learning_rate = _check_positive("learning_rate", learning_rate)
        # A variable, since a number would become a constant of the compiled function.
        self._factor = keras.Variable(
            _check_positive("factor", factor),
            dtype="float32",
            trainable=False,
            aggregation="only_first_replica",
            name="plateau_factor",
        )

    @property
    def factor(self) -> float:
        """Current factor of the learning rate. It can be set."""
        return float(self._factor.numpy())

    @factor.setter
    def factor(self, factor: float) -> None:
        self._factor.assign(_check_positive("factor", factor))

    def reduce(self, factor: float) -> None:
        """Lowers the learning rate.

        Args:
            factor: In (0, 1), such as 0.5.

        Raises:
            TypeError: If `factor` is not a number.
            ValueError: If `factor` is not in (0, 1).
        """
        factor = _check_positive("factor", factor)
        if factor >= 1:
            raise ValueError(f"`factor` must be below 1. Received: {factor}.")
        self._factor.assign(self._factor * factor)

    def __call__(self, step: Any) -> Any:
        del step
        return self.learning_rate * ops.convert_to_tensor(self._factor)

    def get_config(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "factor": self.factor}


@keras.saving.register_keras_serializable(package="kseq")
class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """Raises the learning rate linearly at the beginning of a schedule.

    At update t (from 0) the learning rate is (t + 1) / (steps + 1) times the initial
    one of the schedule, or that of the schedule if it is lower. The schedule also
    counts from the first update: after the warm-up it continues as without one.

    Args:
        schedule: A learning rate schedule that never rises, or a number.
        steps: Number of updates of the warm-up.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> from kseq.training import Warmup
        >>> schedule = Warmup(0.5, steps=4)
        >>> [round(float(schedule(step)), 2) for step in range(6)]
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.5]

    Reference:
        Sockeye 1.18 (`--learning-rate-warmup`).
    """

    def __init__(self, schedule: Any, steps: int) -> None:
        if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            schedule = _check_positive("schedule", schedule)
        self.schedule = schedule
        self.steps = check_integer("steps", steps, 1)

    def __call__(self, step: Any) -> Any:
        rise = (ops.cast(step, "float32") + 1.0) / (self.steps + 1)
        if isinstance(self.schedule, float):
            return self.schedule * ops.minimum(rise, 1.0)
        return ops.minimum(self.schedule(0) * rise, self.schedule(step))

    def get_config(self) -> dict[str, Any]:
        schedule = self.schedule
        if not isinstance(schedule, float):
            schedule = keras.saving.serialize_keras_object(schedule)
        return {"schedule": schedule, "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Warmup":
        schedule = config["schedule"]
        if isinstance(schedule, dict):
            schedule = keras.saving.deserialize_keras_object(schedule)
        return cls(schedule, config["steps"])


def make_schedule(
    schedule: str,
    learning_rate: float,
    *,
    half_life: float | None = None,
    decay_steps: int | None = None,
    decay_rate: float | None = None,
    end_learning_rate: float | None = None,
    warmup_steps: int = 0,
) -> Any:
    """Makes a learning rate schedule by its name.

    Schedules count updates, not batches, with accumulated gradients too.

    Args:
        schedule: One of these.

            - `"constant"`: `learning_rate`.
            - `"plateau"`: a `Plateau`, which `kseq.train` lowers without improvement.
            - `"inverse_time"`: learning_rate / (1 + t / half_life).
            - `"inverse_sqrt"`: learning_rate / sqrt(1 + 3 t / half_life).
            - `"step"`: multiplied by `decay_rate` every `decay_steps` updates.
            - `"cosine"`: half a cosine wave from `learning_rate` to
              `end_learning_rate` over `decay_steps` updates, then constant.
        learning_rate: Initial learning rate, or the one after the warm-up.
        half_life: For `"inverse_time"` and `"inverse_sqrt"`: number of updates until
            the learning rate is halved. Sockeye and SageMaker count checkpoints
            instead; multiply by the number of updates between checkpoints.
        decay_steps: For `"step"`: number of updates between decays. For `"cosine"`:
            number of updates until the end of the decay.
        decay_rate: For `"step"`: factor in (0, 1).
        end_learning_rate: For `"cosine"`: at most `learning_rate`. Default: 0.
        warmup_steps: Number of updates over which the learning rate rises linearly; see
            `Warmup`. Default: 0.

    Returns:
        A Keras `LearningRateSchedule`, or a float for a constant without warm-up.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `schedule` is unknown, or if an option is out of range, missing,
            or not an option of the schedule.

    Example:
        >>> from kseq.training import make_schedule
        >>> schedule = make_schedule("step", 1.0, decay_steps=100, decay_rate=0.5)
        >>> [float(schedule(step)) for step in (0, 99, 100, 250)]
        [1.0, 1.0, 0.5, 0.25]
        >>> schedule = make_schedule("inverse_time", 1.0, half_life=99, warmup_steps=9)
        >>> [round(float(schedule(step)), 2) for step in (0, 4, 9, 99)]
        [0.1, 0.5, 0.92, 0.5]
    """
    values = check_values(
        TrainingSettings,
        {
            "schedule": schedule,
            "learning_rate": learning_rate,
            "half_life": half_life,
            "decay_steps": decay_steps,
            "decay_rate": decay_rate,
            "end_learning_rate": end_learning_rate,
            "warmup_steps": warmup_steps,
        },
    )
    rate = values["learning_rate"]
    result: Any = rate
    if schedule == "plateau":
        result = Plateau(rate)
    elif schedule == "inverse_time":
        result = keras.optimizers.schedules.InverseTimeDecay(
            rate, values["half_life"], 1.0
        )
    elif schedule == "inverse_sqrt":
        result = InverseSqrtDecay(rate, values["half_life"])
    elif schedule == "step":
        result = keras.optimizers.schedules.ExponentialDecay(
            rate, values["decay_steps"], values["decay_rate"], staircase=True
        )
    elif schedule == "cosine":
        end = values["end_learning_rate"] or 0.0
        if end > rate:
            raise ValueError(
                f"`end_learning_rate` must be at most `learning_rate`, {rate}. "
                f"Received: {end}."
            )
        result = keras.optimizers.schedules.CosineDecay(
            rate, values["decay_steps"], alpha=end / rate
        )
    steps = values["warmup_steps"]
    return Warmup(result, steps) if steps else result


def find_plateau(schedule: Any) -> Plateau | None:
    """Returns the `Plateau` in a schedule, which may be in a `Warmup`.

    Args:
        schedule: A schedule or a number, as `make_schedule` returns.

    Returns:
        The `Plateau`; None if there is none.

    Example:
        >>> from kseq.training import find_plateau, make_schedule
        >>> find_plateau(make_schedule("plateau", 0.1, warmup_steps=5)).factor
        1.0
    """
    if isinstance(schedule, Warmup):
        schedule = schedule.schedule
    return schedule if isinstance(schedule, Plateau) else None


def _check_positive(name: str, value: Any) -> float:
    return check_number(name, value, above=0)
