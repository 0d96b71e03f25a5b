"""Combines the steps of several models: averages their distributions."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kseq.config.checks import check_choice
from kseq.decoding.step_function import Step

AVERAGINGS = ("linear", "log_linear")


def average_distributions(logits: Sequence[Any], averaging: str) -> Any:
    """Averages the distributions of several models.

    Args:
        logits: List of float logits (..., vocab), one for each model.
        averaging: `"linear"`: the mean of the probabilities; `"log_linear"`: the mean
            of the log-probabilities, normalized again.

    Returns:
        Float32 log-probabilities (..., vocab).

    Raises:
        ValueError: If `averaging` is unknown.

    Example:
        >>> import numpy as np
        >>> from kseq.decoding import average_distributions
        >>> sure, unsure = np.log([[0.9, 0.1]]), np.log([[0.5, 0.5]])
        >>> np.exp(average_distributions([sure, unsure], "linear")).round(2)
        array([[0.7, 0.3]], dtype=float32)
        >>> np.exp(average_distributions([sure, unsure], "log_linear")).round(2)
        array([[0.75, 0.25]], dtype=float32)
    """
    check_choice("averaging", averaging, AVERAGINGS)
    log_probs = tf.stack([tf.nn.log_softmax(tf.cast(x, tf.float32)) for x in logits])
    if averaging == "linear":
        return tf.reduce_logsumexp(log_probs, axis=0) - tf.math.log(float(len(logits)))
    return tf.nn.log_softmax(tf.reduce_mean(log_probs, axis=0))


def combine_steps(steps: Sequence[Step], averaging: str = "linear") -> Step:
    """Combines the steps of several models with the same vocabulary.

    Args:
        steps: List of a `Step` for each model.
        averaging: As in `average_distributions`. Default: `"linear"`.

    Returns:
        A `Step`. Its states and sources are lists with an entry for each model. Its
        attention weights are the mean over the models, or None if a model has none.

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
        return average_distributions(logits, averaging)

    def carry(states: Any) -> Any:
        return [step.carry(each) for step, each in zip(steps, states, strict=True)]

    return Step(advance, project, carry)
