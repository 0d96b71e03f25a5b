"""Several models as one: their distributions averaged at every step."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kseq.config.checks import check_choice
from kseq.decoding.step_function import Step

AVERAGINGS = ("linear", "log_linear")


def averaged(logits: Sequence[Any], averaging: str) -> Any:
    """Averages distributions over the same tokens.

    Args:
        logits: Floats (..., vocab), of several models.
        averaging: `"linear"`, the mean of the probabilities, or `"log_linear"`, that of
            their logarithms, normalised again.

    Returns:
        Float32 log-probabilities (..., vocab).

    Raises:
        ValueError: If `averaging` is unknown.

    Example:
        >>> import numpy as np
        >>> from kseq.decoding import averaged
        >>> sure, unsure = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
        >>> np.exp(averaged([sure, unsure], "linear")).round(2)
        array([[0.7, 0.3]], dtype=float32)
        >>> np.exp(averaged([sure, unsure], "log_linear")).round(2)
        array([[0.75, 0.25]], dtype=float32)
    """
    check_choice("averaging", averaging, AVERAGINGS)
    log_probs = tf.stack([tf.nn.log_softmax(tf.cast(x, tf.float32)) for x in logits])
    if averaging == "linear":
        return tf.reduce_logsumexp(log_probs, axis=0) - tf.math.log(float(len(logits)))
    return tf.nn.log_softmax(tf.reduce_mean(log_probs, axis=0))


def ensemble(steps: Sequence[Step], averaging: str = "linear") -> Step:
    """Makes one step of those of several models with one vocabulary.

    Its states and its sources are lists, one entry for each model. Its attention
    weights are the mean of theirs, where all have some.

    Args:
        steps: Each a `Step`.
        averaging: As `averaged`. Default `"linear"`.

    Returns:
        A `Step`.

    Reference:
        Sockeye 1.18 (linear and log-linear ensembles).
    """

    def advance(tokens: Any, carried: Any, sources: Any) -> tuple[Any, Any, Any]:
        outputs = [
            step.advance(tokens, *each)
            for step, *each in zip(steps, carried, sources, strict=True)
        ]
        hidden, states, weights = (list(each) for each in zip(*outputs, strict=True))
        if any(each is None for each in weights):
            return hidden, states, None
        return hidden, states, tf.add_n(weights) / len(weights)

    def project(hidden: Any) -> Any:
        logits = [step.project(x) for step, x in zip(steps, hidden, strict=True)]
        return averaged(logits, averaging)

    def carry(states: Any) -> Any:
        return [step.carry(each) for step, each in zip(steps, states, strict=True)]

    return Step(advance, project, carry)
