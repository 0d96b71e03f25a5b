"""When a training has diverged: one definition for runs and sweeps."""

import math

# Perplexity, relative to that of guessing, above which a model has diverged.
# Sockeye ends a training at the same factor.
WORSE_THAN_GUESSING = 2.0


def has_diverged(loss: float, vocab_size: int) -> bool:
    """Returns whether a validation loss is that of a diverged model.

    A model that guesses each token with equal probability has a perplexity of
    `vocab_size`. A model has diverged if its perplexity is more than twice as high, or
    if its loss is not finite.

    Args:
        loss: Mean cross-entropy per token, the logarithm of the perplexity.
        vocab_size: Size of the target vocabulary.

    Example:
        >>> import math
        >>> from kseq.training.divergence import has_diverged
        >>> [has_diverged(loss, 9) for loss in (0.5, math.log(9), 1e6, math.nan)]
        [False, False, True, True]
    """
    # A loss that is not a number is not below anything.
    return not loss <= math.log(WORSE_THAN_GUESSING * vocab_size)
