"""What a run decides from its figures alone, so that a resumed one decides the same."""

from collections.abc import Sequence


def best_of(values: Sequence[float]) -> int:
    """Returns the index of the lowest value, of equals the first; -1 where none is.

    Args:
        values: A figure for each checkpoint, the lower the better; one that is not a
            number is the worst.

    Example:
        >>> from kseq.training.early_stopping import best_of
        >>> best_of([3.0, 1.0, float("nan"), 1.0]), best_of([])
        (1, -1)
    """
    ranked = [float("inf") if value != value else value for value in values]
    return ranked.index(min(ranked)) if ranked else -1


def waited(values: Sequence[float], min_improvement: float = 0.0) -> int:
    """Returns how many checkpoints have passed since one was better.

    Args:
        values: A figure for each checkpoint, the lower the better.
        min_improvement: By how much a figure must be below that of the last better
            checkpoint. Smaller gains add up until they are as much together.

    Example:
        >>> from kseq.training.early_stopping import waited
        >>> waited([3.0, 1.0, 0.75, 0.5]), waited([3.0, 1.0, 0.75, 0.5], 0.3)
        (0, 0)
        >>> waited([3.0, 1.0, 0.75], 0.3), waited([])
        (1, 0)
    """
    best, count = float("inf"), 0
    for value in values:
        if value < best - min_improvement:
            best, count = value, 0
        else:
            count += 1
    return count


def plateau_factor(
    values: Sequence[float],
    factor: float,
    patience: int,
    min_improvement: float = 0.0,
) -> float:
    """Returns what a learning rate has fallen to, in parts of the first.

    It is multiplied by `factor` whenever so many checkpoints have passed without a
    better one, since the last better one or since it fell last.

    Args:
        values: A figure for each checkpoint, the lower the better.
        factor: In [0, 1].
        patience: Number of checkpoints, 1 or more.
        min_improvement: What makes a checkpoint a better one, as in `waited`.

    Example:
        >>> from kseq.training.early_stopping import plateau_factor
        >>> plateau_factor([3.0, 2.0, 2.5, 2.1], factor=0.5, patience=2)
        0.5
    """
    fallen = 1.0
    for end in range(1, len(values) + 1):
        count = waited(values[:end], min_improvement)
        if count and count % patience == 0:
            fallen *= factor
    return fallen
