"""Optimizers by name, with gradient clipping and gradient accumulation."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kseq._compat.keras import sum_slices
from kseq._compat.keras_optimizers import ScheduleByUpdates, variable_index
from kseq.config.checks import check_choice, check_integer, check_number
from kseq.config.fields import check_values
from kseq.config.training import TrainingSettings


class _SumSlices(ScheduleByUpdates):
    """Mixin for optimizers that sums the slices of an embedding's gradient first."""

    def apply(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None
    ) -> None:
        super().apply([sum_slices(each) for each in grads], trainable_variables)  # type: ignore[misc]


@keras.saving.register_keras_serializable(package="kseq")
class Adam(_SumSlices, keras.optimizers.Adam):
    """Keras's Adam, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class AdamW(_SumSlices, keras.optimizers.AdamW):
    """Keras's AdamW, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class Nadam(_SumSlices, keras.optimizers.Nadam):
    """Keras's Nadam, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class RMSprop(_SumSlices, keras.optimizers.RMSprop):
    """Keras's RMSprop, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class Adagrad(_SumSlices, keras.optimizers.Adagrad):
    """Keras's Adagrad, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class Adadelta(_SumSlices, keras.optimizers.Adadelta):
    """Keras's Adadelta, on gradients whose slices are summed."""


@keras.saving.register_keras_serializable(package="kseq")
class SGD(_SumSlices, keras.optimizers.SGD):
    """Keras's SGD, on gradients whose slices are summed, with optional unit gain.

    Args:
        learning_rate: Float or schedule. Default: 0.01.
        momentum: In [0, 1). Default: 0.
        nesterov: Use Nesterov momentum. Default: False.
        unit_gain: Use a mean of gradients, v = m v + (1 - m) g, and the update
            w = w - learning_rate v. The default is a sum of gradients, which is
            1 / (1 - m) times as large. Default: False.
        **kwargs: Further arguments of `keras.optimizers.SGD`.
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
        mean = self.momentums[variable_index(self, variable)]
        self.assign(mean, self.momentum * mean + part)
        step = self.momentum * mean + part if self.nesterov else mean
        self.assign_sub(variable, rate * step)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "unit_gain": self.unit_gain}


# The class of each optimizer, and the options that not all optimizers have.
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

    It differs from Keras's optimizer in two ways. The gradients of a repeated token of
    an embedding are summed first. With accumulated gradients, schedules count updates,
    not batches.

    CNTK specifies the momentum as a time constant in samples, and the learning rate per
    sample. For a minibatch of 72 tokens, a time constant of 1100 and a learning rate of
    0.007, use `momentum = exp(-72 / 1100)`, `unit_gain = True` and `learning_rate = 72
    * 0.007`, as in the example. For its clipping at 2.3 per sample with truncation, use
    `clipvalue = 2.3`.

    Args:
        name: `"adam"`, `"adamw"`, `"nadam"`, `"sgd"`, `"rmsprop"`, `"adagrad"` or
            `"adadelta"`.
        learning_rate: A number, or a Keras schedule, such as `make_schedule` returns.
        momentum: For `"sgd"` and `"rmsprop"`: in [0, 1). Default: 0.
        nesterov: For `"sgd"` with momentum: use Nesterov momentum. Default: False.
        unit_gain: For `"sgd"` with momentum: a mean of gradients, v = m v + (1 - m) g,
            instead of a sum, v = m v + g. Default: False.
        beta_1: For `"adam"`, `"adamw"` and `"nadam"`: decay rate of the first moment,
            in [0, 1). Default: 0.9.
        beta_2: For the same optimizers: decay rate of the second moment, in [0, 1).
            Default: 0.999.
        rho: For `"rmsprop"` and `"adadelta"`: decay rate of the mean square, in [0, 1).
            Default: 0.9 and 0.95.
        epsilon: For all but `"sgd"`: constant that keeps the denominator above 0.
            Default: 1e-7 (1e-8 in PyTorch's Adam).
        weight_decay: Decoupled weight decay: each update subtracts this part of every
            weight, times the learning rate. Default: none; 0.004 for `"adamw"`.
        global_clipnorm: Maximum global gradient norm, as PyTorch's `clip_grad_norm_`.
            Default: no clipping.
        clipvalue: Maximum absolute value of a gradient element. Default: no clipping.
        accumulation_steps: Number of batches for an update. Their mean gradient is
            clipped once. Default: 1.

    Returns:
        A Keras optimizer.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the name is unknown, an argument is out of range or not an option
            of the optimizer, or both `global_clipnorm` and `clipvalue` are given.

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
    optimizer_class, options = OPTIMIZERS[name]
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
        if key not in options:
            valid = ", ".join(f"`{each}`" for each in options)
            raise ValueError(
                f"The optimizer {name!r} has no `{key}`. Its options are: {valid}. "
                f"Received: {key}={value!r}."
            )
    if (nesterov or unit_gain) and not momentum:
        key = "nesterov" if nesterov else "unit_gain"
        raise ValueError(f"`{key}` needs a `momentum` above 0. Received: {momentum}.")
    if global_clipnorm is not None and clipvalue is not None:
        raise ValueError(
            "Pass only one of `global_clipnorm` and `clipvalue`. Received: "
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
    return optimizer_class(learning_rate=learning_rate, **given)
