"""Optimizers by name, with clipping and accumulated gradients."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kseq._compat.keras import sum_slices
from kseq.config.checks import check_choice, check_integer, check_number
from kseq.config.fields import check_values
from kseq.config.training import TrainingSettings


class _Exact:
    """What Keras 3.15 lacks to update by the true gradient, at the scheduled rate.

    - Keras squares and clips the slices of an embedding's gradient one by one. Here
      those of a token are summed before.
    - With accumulated gradients Keras gives a schedule the number of batches. Here it
      is the number of updates, as in `iterations`.
    """

    gradient_accumulation_steps: int | None
    iterations: Any
    _learning_rate: Any

    def apply(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None
    ) -> None:
        super().apply([sum_slices(each) for each in grads], trainable_variables)  # type: ignore[misc]

    def _get_current_learning_rate(self) -> Any:
        rate = self._learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            return rate(self.iterations)
        return super()._get_current_learning_rate()  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="kseq")
class Adam(_Exact, keras.optimizers.Adam):
    """Keras's Adam, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class AdamW(_Exact, keras.optimizers.AdamW):
    """Keras's AdamW, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class Nadam(_Exact, keras.optimizers.Nadam):
    """Keras's Nadam, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class RMSprop(_Exact, keras.optimizers.RMSprop):
    """Keras's RMSprop, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class Adagrad(_Exact, keras.optimizers.Adagrad):
    """Keras's Adagrad, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class Adadelta(_Exact, keras.optimizers.Adadelta):
    """Keras's Adadelta, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class SGD(_Exact, keras.optimizers.SGD):
    """Keras's SGD, on gradients whose slices are summed, with unit gain if wanted.

    Args:
        learning_rate: Float or schedule. Default 0.01.
        momentum: In [0, 1). Default 0.
        nesterov: Look ahead along the momentum. Default False.
        unit_gain: Let the momentum be a mean of gradients, v = m v + (1 - m) g, which
            is as long as one of them; then w = w - learning_rate v. Default False, a
            sum: 1 / (1 - m) times as long.
        **kwargs: The further arguments of `keras.optimizers.SGD`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        unit_gain: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, momentum, nesterov, **kwargs)
        self.unit_gain = unit_gain

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not self.unit_gain:
            super().update_step(gradient, variable, learning_rate)
            return
        rate = ops.cast(learning_rate, variable.dtype)
        part = (1 - self.momentum) * ops.cast(gradient, variable.dtype)
        mean = self.momentums[self._get_variable_index(variable)]
        self.assign(mean, self.momentum * mean + part)
        step = self.momentum * mean + part if self.nesterov else mean
        self.assign_sub(variable, rate * step)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unit_gain": self.unit_gain}


# The parameters that each optimizer has of its own.
OPTIMIZERS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "adam": (Adam, ("beta_1", "beta_2", "epsilon")),
    "adamw": (AdamW, ("beta_1", "beta_2", "epsilon")),
    "nadam": (Nadam, ("beta_1", "beta_2", "epsilon")),
    "sgd": (SGD, ("momentum", "nesterov", "unit_gain")),
    "rmsprop": (RMSprop, ("rho", "momentum", "epsilon")),
    "adagrad": (Adagrad, ("epsilon",)),
    "adadelta": (Adadelta, ("rho", "epsilon")),
}


def make_optimizer(
    name: str,
    learning_rate: Any,
    *,
    momentum: float | None = None,
    nesterov: bool = False,
    unit_gain: bool = False,
    beta_1: float | None = None,
    beta_2: float | None = None,
    rho: float | None = None,
    epsilon: float | None = None,
    weight_decay: float | None = None,
    global_clipnorm: float | None = None,
    clipvalue: float | None = None,
    accumulation_steps: int | None = None,
) -> Any:
    """Makes an optimizer by its name.

    It is Keras's own, but that repeated tokens enter an embedding's gradient as one
    sum, and that schedules count updates, not batches, where gradients are accumulated.

    CNTK gives a momentum as a time constant in samples and a rate per sample: a
    minibatch of 72 tokens, time constant 1100 and rate 0.007 are `momentum =
    exp(-72 / 1100)`, `unit_gain = True` and `learning_rate = 72 * 0.007`, as in the
    example; its clipping at 2.3 per sample with truncation is `clipvalue = 2.3`.

    Args:
        name: `"adam"`, `"adamw"`, `"nadam"`, `"sgd"`, `"rmsprop"`, `"adagrad"` or
            `"adadelta"`.
        learning_rate: A number, or a Keras schedule, as `make_schedule` returns it.
        momentum: In [0, 1), for `"sgd"` and `"rmsprop"`. Default 0.
        nesterov: For `"sgd"` with momentum: look ahead along it. Default False.
        unit_gain: For `"sgd"` with momentum: a mean of gradients, v = m v + (1 - m) g,
            instead of a sum, v = m v + g. Default False.
        beta_1: In [0, 1), decay of the first moment: for the three Adams. Default 0.9.
        beta_2: In [0, 1), decay of the second moment: for them. Default 0.999.
        rho: In [0, 1), decay of the mean square: for `"rmsprop"`, default 0.9, and
            `"adadelta"`, default 0.95.
        epsilon: What the denominator is kept from 0 by, not for `"sgd"`. Default 1e-7
            (PyTorch's Adam has 1e-8).
        weight_decay: With each update every weight loses this part, times the learning
            rate: decoupled from the gradient. Default none; for `"adamw"` 0.004.
        global_clipnorm: Maximum global gradient norm, as PyTorch's `clip_grad_norm_`.
            Default: no clipping.
        clipvalue: Maximum absolute value of a gradient element. Default: no clipping.
        accumulation_steps: Number of batches an update is made of, by the mean of their
            gradients, which is clipped once. Default 1.

    Returns:
        A Keras optimizer.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the name is unknown, if an argument is out of range or the
            optimizer does not have it, or if both clippings are asked for.

    Example:
        >>> import math
        >>> from kseq.training import make_optimizer
        >>> make_optimizer("adam", 0.001, global_clipnorm=1).global_clipnorm
        1.0
        >>> optimizer = make_optimizer(
        ...     "sgd",
        ...     72 * 0.007,
        ...     momentum=math.exp(-72 / 1100),
        ...     unit_gain=True,
        ...     clipvalue=2.3,
        ... )
        >>> round(optimizer.momentum, 3)
        0.937

    Reference:
        Sockeye 1.18 (`--optimizer`, `--gradient-clipping-type`); CNTK 2 (unit-gain
        momentum, `momentum_as_time_constant_schedule`).
    """
    check_choice("name", name, OPTIMIZERS)
    maker, own = OPTIMIZERS[name]
    given: dict[str, Any] = {
        "momentum": momentum,
        "nesterov": nesterov,
        "unit_gain": unit_gain,
        "beta_1": beta_1,
        "beta_2": beta_2,
        "rho": rho,
        "epsilon": epsilon,
    }
    given = check_values(TrainingSettings, given)
    given = {k: v for k, v in given.items() if v is not None and v is not False}
    for key, value in given.items():
        if key not in own:
            raise ValueError(
                f"The optimizer {name!r} has no `{key}`; it has "
                f"{', '.join(f'`{each}`' for each in own)}. Received: {key}={value!r}."
            )
    if (nesterov or unit_gain) and not momentum:
        key = "nesterov" if nesterov else "unit_gain"
        raise ValueError(f"`{key}` needs a `momentum` above 0. Received: {momentum}.")
    if global_clipnorm is not None and clipvalue is not None:
        raise ValueError(
            "Give `global_clipnorm` or `clipvalue`, not both. Received: "
            f"global_clipnorm={global_clipnorm}, clipvalue={clipvalue}."
        )
    if global_clipnorm is not None:
        given["global_clipnorm"] = check_number(
            "global_clipnorm", global_clipnorm, above=0
        )
    if clipvalue is not None:
        given["clipvalue"] = check_number("clipvalue", clipvalue, above=0)
    if weight_decay is not None:
        given["weight_decay"] = check_number("weight_decay", weight_decay)
    if accumulation_steps is not None:
        steps = check_integer("accumulation_steps", accumulation_steps, 1)
        given["gradient_accumulation_steps"] = None if steps == 1 else steps
    if not isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        learning_rate = check_number("learning_rate", learning_rate, above=0)
    return maker(learning_rate=learning_rate, **given)
