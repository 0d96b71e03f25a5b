"""Learning rate schedules: functions of the number of updates."""

import math
from typing import Any

import keras
import pytest
import tensorflow as tf

from kseq.config.training import SCHEDULES
from kseq.training.learning_rates import (
    InverseSqrtDecay,
    Plateau,
    Warmup,
    find_plateau,
    make_schedule,
)

OPTIONS: dict[str, dict[str, Any]] = {
    "constant": {},
    "plateau": {},
    "inverse_time": {"half_life": 40},
    "inverse_sqrt": {"half_life": 40},
    "step": {"decay_steps": 30, "decay_rate": 0.7},
    "cosine": {"decay_steps": 90, "end_learning_rate": 0.02},
}
FORMULAS: dict[str, Any] = {
    "constant": lambda t: 0.2,
    "plateau": lambda t: 0.2,
    "inverse_time": lambda t: 0.2 / (1 + t / 40),
    "inverse_sqrt": lambda t: 0.2 / math.sqrt(1 + 3 * t / 40),
    "step": lambda t: 0.2 * 0.7 ** (t // 30),
    "cosine": lambda t: 0.02 + 0.18 * (1 + math.cos(math.pi * min(t / 90, 1))) / 2,
}
STEPS = [0, 1, 5, 9, 10, 29, 30, 40, 89, 90, 1000]
each_name = pytest.mark.parametrize("name", list(SCHEDULES))


def rate(schedule: Any, step: Any) -> float:
    return float(schedule) if isinstance(schedule, float) else float(schedule(step))


@each_name
def test_schedules_follow_their_formulas(name: str) -> None:
    schedule = make_schedule(name, 0.2, **OPTIONS[name])
    for step in STEPS:
        assert rate(schedule, step) == pytest.approx(FORMULAS[name](step), rel=1e-5)


@each_name
def test_a_warm_up_rises_linearly_to_its_schedule(
    name: str,
) -> None:
    schedule = make_schedule(name, 0.2, warmup_steps=9, **OPTIONS[name])
    for step in STEPS:
        expected = min(0.2 * (step + 1) / 10, FORMULAS[name](step))
        assert rate(schedule, step) == pytest.approx(expected, rel=1e-5)
    assert rate(schedule, 0) == pytest.approx(0.02)


@pytest.mark.parametrize("name", ["inverse_time", "inverse_sqrt"])
def test_a_half_life_halves_the_learning_rate(name: str) -> None:
    schedule = make_schedule(name, 0.2, half_life=250)
    assert rate(schedule, 250) == pytest.approx(0.1)


@pytest.mark.parametrize("warmup_steps", [0, 9])
@each_name
def test_a_schedule_follows_the_optimizers_counter_in_one_graph(
    name: str, warmup_steps: int
) -> None:
    schedule = make_schedule(name, 0.2, warmup_steps=warmup_steps, **OPTIONS[name])
    optimizer = keras.optimizers.SGD(schedule)
    variable = keras.Variable(0.0)
    optimizer.build([variable])
    traces = []

    @tf.function
    def update() -> None:
        traces.append(1)
        optimizer.apply([tf.constant(1.0)], [variable])

    for step in range(3):
        before = float(variable.numpy())
        update()
        moved = before - float(variable.numpy())
        assert moved == pytest.approx(rate(schedule, step), abs=1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize("warmup_steps", [0, 9])
@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - {"constant"}))
def test_a_schedule_is_rebuilt_from_its_config(name: str, warmup_steps: int) -> None:
    schedule = make_schedule(name, 0.2, warmup_steps=warmup_steps, **OPTIONS[name])
    plateau = find_plateau(schedule)
    if plateau is not None:
        plateau.reduce(0.25)
    optimizer = keras.optimizers.SGD(schedule)
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(config)
    for step in (0, 5, 50):
        again.iterations.assign(step)
        assert float(again.learning_rate) == float(schedule(step))


def test_a_plateau_can_be_lowered_in_a_compiled_function() -> None:
    plateau = Plateau(0.5)
    traces = []

    @tf.function
    def now(step: Any) -> Any:
        traces.append(1)
        return Warmup(plateau, 3)(step)

    step = tf.constant(100, tf.int64)
    rates = [float(now(step))]
    plateau.reduce(0.5)
    rates.append(float(now(step)))
    plateau.reduce(0.5)
    assert plateau.factor == 0.25
    plateau.factor = 0.75
    rates.append(float(now(step)))
    assert rates == [0.5, 0.25, 0.375]
    assert len(traces) == 1


def test_a_warm_up_rises_to_the_current_learning_rate_of_a_plateau() -> None:
    plateau = Plateau(0.5)
    warmup = Warmup(plateau, 9)
    plateau.reduce(0.5)
    assert float(warmup(4)) == pytest.approx(0.125)


def test_a_plateau_is_found_in_a_schedule() -> None:
    plateau = Plateau(0.5)
    assert find_plateau(plateau) is plateau
    assert find_plateau(Warmup(plateau, 9)) is plateau
    assert find_plateau(Warmup(0.5, 9)) is None
    assert find_plateau(0.5) is None


def test_a_constant_schedule_is_a_number() -> None:
    assert make_schedule("constant", 1) == 1.0
    assert type(make_schedule("constant", 1)) is float


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: make_schedule("linear", 0.1), ValueError, "'plateau', .*'linear'"),
        (lambda: make_schedule("constant", 0), ValueError, "`learning_rate` .*> 0.*0"),
        (lambda: make_schedule("constant", "x"), TypeError, "`learning_rate` .*'x'"),
        (lambda: make_schedule("constant", True), TypeError, "`learning_rate` .*True"),
        (lambda: make_schedule("constant", math.nan), ValueError, "nan"),
        (
            lambda: make_schedule("cosine", 0.1, decay_steps=9, half_life=3),
            ValueError,
            "`half_life` needs schedule='inverse_time' or 'inverse_sqrt'. Received: 3"
            ".0 with schedule='cosine'",
        ),
        (
            lambda: make_schedule("plateau", 0.1, decay_rate=0.5),
            ValueError,
            "`decay_rate` needs schedule='step'. Received: 0.5 with schedule='plateau'",
        ),
        (lambda: make_schedule("inverse_sqrt", 0.1), ValueError, "`half_life` is req"),
        (
            lambda: make_schedule("step", 0.1, decay_steps=3),
            ValueError,
            "`decay_rate` is required with schedule='step'",
        ),
        (
            lambda: make_schedule("step", 0.1, decay_steps=3, decay_rate=1.0),
            ValueError,
            r"`decay_rate` must be a number in \(0, 1\).*: 1.0",
        ),
        (
            lambda: make_schedule("step", 0.1, decay_steps=0, decay_rate=0.5),
            ValueError,
            "`decay_steps` .*0",
        ),
        (
            lambda: make_schedule("cosine", 0.1, decay_steps=3, end_learning_rate=0.2),
            ValueError,
            "`end_learning_rate` .*0.1. Received: 0.2",
        ),
        (
            lambda: make_schedule("constant", 0.1, warmup_steps=-1),
            ValueError,
            "`warmup_steps` .*-1",
        ),
        (lambda: Plateau(0.1, 0), ValueError, "`factor`"),
        (lambda: Plateau(0.1).reduce(1.0), ValueError, "`factor` must be below 1"),
        (lambda: Plateau(0.1).reduce(0), ValueError, "`factor` .*Received: 0"),
        (lambda: setattr(Plateau(0.1), "factor", -1), ValueError, "`factor` .*-1"),
        (lambda: Warmup("x", 3), TypeError, "`schedule` .*'x'"),
        (lambda: Warmup(0.1, 0), ValueError, "`steps` .*0"),
        (lambda: InverseSqrtDecay(0.1, 0), ValueError, "`half_life` .*0"),
    ],
)
def test_a_mistake_is_refused(make: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
