"""Decisions from the metric of each checkpoint: early stopping, plateau, divergence.

They depend on the recorded values only, so a resumed run makes the same ones.
"""

import math
from collections.abc import Sequence

# Sockeye ends a training at the same factor.
MAX_PERPLEXITY_FACTOR = 2.0


def count_without_improvement(
    costs: Sequence[float], min_improvement: float = 0.0
) -> int:
    """Returns the number of checkpoints since the last improvement.

    Args:
        costs: The metric of each checkpoint, lower is better; see `as_costs`.
        min_improvement: Minimum decrease since the last improvement. Smaller decreases
            add up until together they reach it. Default: 0.0.

    Example:
        >>> from kseq.training.early_stopping import count_without_improvement
        >>> count_without_improvement([3.0, 1.0, 0.75, 0.5])
        0
        >>> count_without_improvement([3.0, 1.0, 0.75], min_improvement=0.3)
        1
        >>> count_without_improvement([3.0, 1.0, 0.75, 0.5], min_improvement=0.3)
        0
    """
    best, count = float("inf"), 0
    for cost in costs:
        if cost < best - min_improvement:
            best, count = cost, 0
        else:
            count += 1
    return count


def compute_plateau_factor(
    costs: Sequence[float],
    factor: float,
    patience: int,
    min_improvement: float = 0.0,
) -> float:
    """Returns the learning rate after some checkpoints, relative to the initial one.

    The learning rate is multiplied by `factor` after `patience` checkpoints without
    improvement, and again after each further `patience` of them.

    Args:
        costs: The metric of each checkpoint, lower is better; see `as_costs`.
        factor: In [0, 1].
        patience: Number of checkpoints, 1 or more.
        min_improvement: As in `count_without_improvement`. Default: 0.0.

    Example:
        >>> from kseq.training.early_stopping import compute_plateau_factor
        >>> compute_plateau_factor([3.0, 2.0, 2.5, 2.1], factor=0.5, patience=2)
        0.5
    """
    total = 1.0
    for end in range(1, len(costs) + 1):
        count = count_without_improvement(costs[:end], min_improvement)
        if count and count % patience == 0:
            total *= factor
    return total


def has_diverged(loss: float, vocab_size: int) -> bool:
    """Returns whether a validation loss shows that a model has diverged.

    A model that guesses each token with equal probability has a perplexity of
    `vocab_size`. A model has diverged if its perplexity is more than twice as high, or
    if its loss is not finite.

    Args:
        loss: Mean cross-entropy per token, the logarithm of the perplexity.
        vocab_size: Size of the target vocabulary.

    Example:
        >>> import math
        >>> from kseq.training.early_stopping import has_diverged
        >>> [has_diverged(loss, 9) for loss in (0.5, math.log(9), 1e6, math.nan)]
        [False, False, True, True]
    """
    # A comparison with NaN is false.
    return not loss <= math.log(MAX_PERPLEXITY_FACTOR * vocab_size)
