"""The best checkpoint of a run, by the values of its optimized metric."""

from collections.abc import Iterable, Sequence

from kseq.config.training import higher_is_better


def as_costs(metric: str, values: Iterable[float]) -> list[float]:
    """Returns the values of a metric, negated if higher is better.

    Example:
        >>> from kseq.storage.best_checkpoint import as_costs
        >>> as_costs("bleu", [0.25, 0.5]), as_costs("wer", [0.25, 0.5])
        ([-0.25, -0.5], [0.25, 0.5])
    """
    sign = -1 if higher_is_better(metric) else 1
    return [sign * value for value in values]


def find_best(costs: Sequence[float]) -> int:
    """Returns the index of the lowest value, the first of equal ones; -1 if none.

    Args:
        costs: A value for each checkpoint, lower is better. NaN is the worst.

    Example:
        >>> from kseq.storage.best_checkpoint import find_best
        >>> find_best([3.0, 1.0, float("nan"), 1.0]), find_best([])
        (1, -1)
    """
    ranked = [float("inf") if cost != cost else cost for cost in costs]
    return ranked.index(min(ranked)) if ranked else -1
