"""Schedules of teacher forcing: functions of the number of updates."""

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseq.teacher_forcing import (
    ExponentialDecay,
    InverseSigmoidDecay,
    LinearDecay,
    TeacherForcingSchedule,
    check_ratio,
    teacher_forcing,
)

SCHEDULES = [
    LinearDecay(100),
    LinearDecay(7, start=0.9, end=0.25),
    LinearDecay(10, start=0.25, end=0.75),
    ExponentialDecay(0.99),
    ExponentialDecay(0.5, end=0.1),
    InverseSigmoidDecay(20),
    InverseSigmoidDecay(1.5, end=0.3),
]
each_schedule = pytest.mark.parametrize(
    "schedule",
    SCHEDULES,
    ids=lambda each: f"{type(each).__name__}-{list(each.get_config().values())}",
)


@pytest.mark.parametrize("step", [0, 1, 3, 50, 99, 100, 101, 5000])
def test_the_ratios_are_those_of_the_formulas(step: int) -> None:
    fall = min(step / 100, 1)
    expected = {
        LinearDecay(100): 1 - fall,
        LinearDecay(100, start=0.75, end=0.5): 0.75 - 0.25 * fall,
        ExponentialDecay(0.97): 0.97**step,
        ExponentialDecay(0.97, end=0.4): max(0.97**step, 0.4),
        InverseSigmoidDecay(20): 20 / (20 + math.exp(step / 20)),
        InverseSigmoidDecay(20, end=0.4): max(20 / (20 + math.exp(step / 20)), 0.4),
    }
    for schedule, ratio in expected.items():
        assert float(schedule(step)) == pytest.approx(ratio, abs=1e-5)


@each_schedule
def test_a_ratio_is_a_float32_between_0_and_1_for_every_step(
    schedule: TeacherForcingSchedule,
) -> None:
    steps = [0, 1, 10, 1000, 10**6, 10**9, 2**31 - 1]
    ratios = [schedule(tf.constant(step, tf.int64)) for step in steps]
    assert {ratio.dtype for ratio in ratios} == {tf.float32}
    values = np.array([float(ratio) for ratio in ratios])
    assert ((values >= 0) & (values <= 1)).all()
    settings = schedule.get_config()
    assert values[-1] == pytest.approx(settings["end"], abs=1e-6)
    moves = np.diff(values)
    rises = settings.get("start", 1.0) < settings["end"]
    assert (moves >= 0).all() if rises else (moves <= 0).all()
    assert np.abs(moves).max() > 0


@each_schedule
def test_a_schedule_follows_a_counter_within_a_graph(
    schedule: TeacherForcingSchedule,
) -> None:
    counter = tf.Variable(0, dtype=tf.int64)
    traces = []

    @tf.function
    def ratio() -> Any:
        traces.append(1)
        return schedule(counter)

    for step in (0, 3, 8):
        counter.assign(step)
        assert float(ratio()) == pytest.approx(float(schedule(step)), abs=1e-6)
    assert len(traces) == 1


@each_schedule
def test_a_config_restores_the_schedule(schedule: TeacherForcingSchedule) -> None:
    config = keras.saving.serialize_keras_object(schedule)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    assert float(again(5)) == float(schedule(5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearDecay(0), "`steps` .*at least 1. Received: 0"),
        (lambda: LinearDecay(10, start=1.5), r"`start` .*\[0, 1\]. Received: 1.5"),
        (lambda: LinearDecay(10, end=-0.5), r"`end` .*\[0, 1\]. Received: -0.5"),
        (lambda: LinearDecay(10, start=math.nan), "`start` .*nan"),
        (lambda: ExponentialDecay(0.0), r"`base` .*in \(0, 1\). Received: 0.0"),
        (lambda: ExponentialDecay(1.0), r"`base` .*in \(0, 1\). Received: 1.0"),
        (lambda: ExponentialDecay(math.nan), "`base` .*nan"),
        (lambda: ExponentialDecay(0.9, end=2), r"`end` .*\[0, 1\]. Received: 2"),
        (lambda: InverseSigmoidDecay(0.5), "`k` .*at least 1. Received: 0.5"),
        (lambda: InverseSigmoidDecay(math.nan), "`k` .*nan"),
        (lambda: InverseSigmoidDecay(9, end="no"), "`end` .*'no'"),  # type: ignore[arg-type]
    ],
)
def test_an_invalid_schedule_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.25)])
def test_a_ratio_becomes_a_float(value: Any) -> None:
    assert check_ratio("ratio", value) == value
    assert type(check_ratio("ratio", value)) is float


def test_the_base_class_has_no_ratio() -> None:
    with pytest.raises(NotImplementedError):
        TeacherForcingSchedule()(0)


# From a command line.


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("linear:100", LinearDecay(100)),
        ("linear:100:0.5", LinearDecay(100, end=0.5)),
        ("exponential:0.99", ExponentialDecay(0.99)),
        ("exponential:0.99:0.25", ExponentialDecay(0.99, end=0.25)),
        ("inverse_sigmoid:1e3", InverseSigmoidDecay(1000)),
    ],
)
def test_a_schedule_may_be_a_string(
    text: str, schedule: TeacherForcingSchedule
) -> None:
    parsed = teacher_forcing(text)
    assert type(parsed) is type(schedule)
    assert parsed.get_config() == schedule.get_config()


@pytest.mark.parametrize("value", [0, 1.0, 0.25, "0.25", "1"])
def test_a_number_is_a_constant_ratio(value: Any) -> None:
    assert teacher_forcing(value) == float(value)


def test_a_schedule_is_returned_unchanged() -> None:
    schedule = LinearDecay(7)
    assert teacher_forcing(schedule) is schedule


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("linear", "'linear' must have one or two numbers, such as 'linear:100:0.5'"),
        ("linear:1:2:3", "must have one or two numbers"),
        ("linear:many", "must have numbers after 'linear'. Received: 'linear:many'"),
        ("linear:", "must have numbers after 'linear'"),
        ("linear:100:2", r"`end` .*\[0, 1\]. Received: 2.0"),
        ("exponential:1.5", "`base` must be a number in"),
        ("cosine:100", "`teacher_forcing_ratio`"),
        (1.5, r"`teacher_forcing_ratio` .*Received: 1.5"),
        ("", "`teacher_forcing_ratio`"),
    ],
)
def test_other_strings_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        teacher_forcing(value)
