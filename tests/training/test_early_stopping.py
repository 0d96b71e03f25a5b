"""Decisions from the metric of each checkpoint."""

import math

from hypothesis import given
from hypothesis import strategies as st

from kseq.storage.best_checkpoint import find_best
from kseq.training.early_stopping import (
    compute_plateau_factor,
    count_without_improvement,
)

COSTS = st.lists(st.sampled_from([1.0, 2.0, 3.0, math.inf, math.nan]))
PATIENCE = st.integers(1, 4)


def test_small_improvements_add_up() -> None:
    costs = [3.0, 2.75, 2.25, 2.0]
    assert count_without_improvement(costs, 0.5) == 1
    assert compute_plateau_factor(costs, 0.5, 1, 0.5) == 0.25
    assert compute_plateau_factor(costs, 0.5, 2, 0.5) == 1.0


def test_a_long_plateau_lowers_the_learning_rate_repeatedly() -> None:
    assert compute_plateau_factor([1.0] * 7, 0.5, 2) == 0.125


@given(COSTS)
def test_without_a_minimum_every_decrease_is_an_improvement(
    costs: list[float],
) -> None:
    count = count_without_improvement(costs)
    if all(math.isinf(cost) or math.isnan(cost) for cost in costs):
        assert count == len(costs)
    else:
        assert count == len(costs) - 1 - find_best(costs)


@given(COSTS, st.sampled_from([0.0, 0.5, 1.0, 1.5]))
def test_a_decrease_below_the_minimum_is_no_improvement(
    costs: list[float], minimum: float
) -> None:
    best, before = math.inf, 0
    for k, cost in enumerate(costs, 1):
        count = count_without_improvement(costs[:k], minimum)
        if cost < best - minimum:
            best = cost
            assert count == 0
        else:
            assert count == before + 1
        before = count


def reductions(costs: list[float], patience: int) -> list[int]:
    """Returns the checkpoints that lower the learning rate."""

    def factor(count: int) -> float:
        return compute_plateau_factor(costs[:count], 0.5, patience)

    return [k for k in range(len(costs)) if factor(k + 1) != factor(k)]


@given(COSTS, PATIENCE)
def test_each_reduction_multiplies_by_the_factor(
    costs: list[float], patience: int
) -> None:
    count = len(reductions(costs, patience))
    assert compute_plateau_factor(costs, 0.5, patience) == 0.5**count
    assert compute_plateau_factor(costs, 1.0, patience) == 1.0


@given(COSTS, PATIENCE)
def test_a_reduction_follows_patience_checkpoints_without_improvement(
    costs: list[float], patience: int
) -> None:
    best = math.inf
    improvements = set()
    for k, cost in enumerate(costs):
        if cost < best:
            best = cost
            improvements.add(k)
    last = -1  # improvement or reduction
    for k in range(len(costs)):
        if k in improvements:
            last = k
        elif k - last == patience:
            assert k in reductions(costs, patience)
            last = k
        else:
            assert k not in reductions(costs, patience)
