"""What a run decides from its figures alone, so that a resumed one decides the same."""

from collections.abc import Sequence


def best_of(values: Sequence[float]) -> int:
    """Returns the index of the lowest value, of equals the first; -1 where none is.

    Args:
        values: A figure for each checkpoint, the lower the better; one that is not a
            number is the worst.

    Example:
        >>> from kseq.training.decisions import best_of
        >>> best_of([3.0, 1.0, float("nan"), 1.0]), best_of([])
        (1, -1)
    """
    ranked = [float("inf") if value != value else value for value in values]
    return ranked.index(min(ranked)) if ranked else -1


def plateau_factor(values: Sequence[float], factor: float, patience: int) -> float:
    """Returns what a learning rate has fallen to, in parts of the first.

    It is multiplied by `factor` whenever so many checkpoints have passed without a
    better one, since the best or since it fell last.

    Args:
        values: A figure for each checkpoint, the lower the better.
        factor: In [0, 1].
        patience: Number of checkpoints, 1 or more.

    Example:
        >>> from kseq.training.decisions import plateau_factor
        >>> plateau_factor([3.0, 2.0, 2.5, 2.1], factor=0.5, patience=2)
        0.5
    """
    best, waited, fallen = float("inf"), 0, 1.0
    for value in values:
        if value < best:
            best, waited = value, 0
            continue
        waited += 1
        if waited == patience:
            fallen, waited = fallen * factor, 0
    return fallen
