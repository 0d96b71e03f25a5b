"""The best checkpoint by a metric."""

import math

from hypothesis import given
from hypothesis import strategies as st

from kseq.storage.best_checkpoint import as_costs, find_best

COSTS = st.lists(st.sampled_from([1.0, 2.0, 3.0, math.inf, math.nan]))


def test_the_best_checkpoint_depends_on_the_direction_of_the_metric() -> None:
    assert find_best(as_costs("perplexity", [5.0, 3.0, 4.0])) == 1
    assert find_best(as_costs("bleu", [0.1, 0.2, 0.7])) == 2


def test_the_first_of_equal_checkpoints_is_the_best() -> None:
    assert find_best([3.0, 1.0, 1.0]) == 1
    assert find_best([math.nan, math.inf]) == 0
    assert find_best([]) == -1


@given(COSTS)
def test_no_cost_is_below_the_best(costs: list[float]) -> None:
    best = find_best(costs)
    assert (best == -1) == (not costs)
    if costs:
        lowest = math.inf if math.isnan(costs[best]) else costs[best]
        assert not any(cost < lowest for cost in costs)
        assert not any(cost <= lowest for cost in costs[:best])


@given(COSTS, COSTS)
def test_a_later_checkpoint_is_the_best_only_if_it_is_better(
    before: list[float], later: list[float]
) -> None:
    best = find_best([*before, *later])
    if before and best < len(before):
        assert best == find_best(before)
    elif before:
        assert later[best - len(before)] < math.inf
