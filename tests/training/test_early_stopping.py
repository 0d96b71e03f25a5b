"""What a run decides from its figures alone."""

import math

from hypothesis import given
from hypothesis import strategies as st

from kseq.training.early_stopping import best_of, plateau_factor, waited

FIGURES = st.lists(st.sampled_from([1.0, 2.0, 3.0, math.inf, math.nan]))
PATIENCE = st.integers(1, 4)


@given(FIGURES)
def test_the_best_is_the_first_that_none_is_below(values: list[float]) -> None:
    best = best_of(values)
    assert (best == -1) == (not values)
    if values:
        chosen = math.inf if math.isnan(values[best]) else values[best]
        assert not any(value < chosen for value in values)
        assert not any(value <= chosen for value in values[:best])


@given(FIGURES, FIGURES)
def test_what_comes_later_is_the_best_only_if_it_is_better(
    before: list[float], later: list[float]
) -> None:
    found = best_of([*before, *later])
    if before and found < len(before):
        assert found == best_of(before)
    elif before:
        assert later[found - len(before)] < math.inf


@given(FIGURES)
def test_every_gain_is_a_better_checkpoint_where_none_is_too_small(
    values: list[float],
) -> None:
    ranked = [math.inf if math.isnan(value) else value for value in values]
    count = waited(values)
    if all(value == math.inf for value in ranked):
        assert count == len(values)
    else:
        assert count == len(values) - 1 - best_of(values)


@given(FIGURES, st.sampled_from([0.0, 0.5, 1.0, 1.5]))
def test_a_gain_that_is_too_small_is_waited_through(
    values: list[float], least: float
) -> None:
    better, before = math.inf, 0
    for k, value in enumerate(values, 1):
        count = waited(values[:k], least)
        if value < better - least:
            better = value
            assert count == 0
        else:
            assert count == before + 1
        before = count


def test_small_gains_add_up() -> None:
    assert waited([3.0, 2.75, 2.25, 2.0], 0.5) == 1
    assert plateau_factor([3.0, 2.75, 2.25, 2.0], 0.5, 1, 0.5) == 0.25
    assert plateau_factor([3.0, 2.75, 2.25, 2.0], 0.5, 2, 0.5) == 1.0


def reduced(values: list[float], patience: int) -> list[int]:
    """The checkpoints at which the rate falls."""

    def factor(count: int) -> float:
        return plateau_factor(values[:count], 0.5, patience)

    return [k for k in range(len(values)) if factor(k + 1) != factor(k)]


@given(FIGURES, PATIENCE)
def test_the_rate_falls_by_the_factor_and_never_rises(
    values: list[float], patience: int
) -> None:
    falls = len(reduced(values, patience))
    assert plateau_factor(values, 0.5, patience) == 0.5**falls
    assert plateau_factor(values, 1.0, patience) == 1.0


@given(FIGURES, PATIENCE)
def test_it_falls_after_so_many_checkpoints_without_a_better_one(
    values: list[float], patience: int
) -> None:
    best = math.inf
    better = set()
    for k, value in enumerate(values):
        if value < best:
            best = value
            better.add(k)
    last = -1
    for k in range(len(values)):
        if k in better:
            last = k
        elif k - last == patience:
            assert k in reduced(values, patience)
            last = k
        else:
            assert k not in reduced(values, patience)


def test_a_long_stall_lowers_it_again_and_again() -> None:
    assert plateau_factor([1.0] * 7, 0.5, 2) == 0.125
