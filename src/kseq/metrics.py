"""Metrics over padded sequences, exact over batches of unequal token counts."""

from typing import Any

import keras
import tensorflow as tf

from kseq.losses import token_losses, token_weights


class _WeightedMean(keras.metrics.Metric):
    """A sum of values over a sum of weights, both kept for a whole epoch."""

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        # float32 counts exactly to 16.7 million only; an epoch may hold more tokens.
        self.total = self.add_variable((), "zeros", dtype="float64", name="total")
        self.weight = self.add_variable((), "zeros", dtype="float64", name="weight")

    def add(self, values: Any, weights: Any) -> None:
        # where, not a product: at padding a value may be anything, nan included.
        weighted = tf.where(weights != 0, tf.cast(values, tf.float32) * weights, 0.0)
        total = tf.reduce_sum(weighted)
        self.total.assign_add(tf.cast(total, tf.float64))
        self.weight.assign_add(tf.cast(tf.reduce_sum(weights), tf.float64))

    def result(self) -> Any:
        mean = tf.math.divide_no_nan(
            tf.convert_to_tensor(self.total), tf.convert_to_tensor(self.weight)
        )
        return tf.cast(mean, tf.float32)


@keras.saving.register_keras_serializable(package="kseq")
class TokenAccuracy(_WeightedMean):
    """Share of the real tokens whose most probable prediction is right.

    Under teacher forcing: each token is predicted from the right ones before it.

    Args:
        name: Name of the metric. Default `"token_accuracy"`.
        dtype: Kept for Keras; sums are float64 whatever it is.

    Call arguments:
        y_true: Integer ids (batch, time); 0 is padding.
        y_pred: Float logits or probabilities (batch, time, vocab).
        sample_weight: Optional weights, (batch,), (batch, 1) or (batch, time).

    Example:
        >>> import numpy as np
        >>> from kseq.metrics import TokenAccuracy
        >>> accuracy = TokenAccuracy()
        >>> accuracy.update_state([[5, 3, 0]], np.eye(8)[[[5, 4, 1]]])
        >>> float(accuracy.result())
        0.5
    """

    def __init__(self, name: str = "token_accuracy", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.add(_right(y_true, y_pred), token_weights(y_true, sample_weight))


@keras.saving.register_keras_serializable(package="kseq")
class SequenceAccuracy(_WeightedMean):
    """Share of the sequences all of whose real tokens are predicted right.

    Under teacher forcing, a sequence right here is right by greedy decoding as well,
    and the other way round: up to its first error both see the same tokens.

    Tokens of weight 0 are not looked at; a row counts by the largest weight in it, and
    not at all where it has none.

    Args:
        name: Name of the metric. Default `"sequence_accuracy"`.
        dtype: Kept for Keras; sums are float64 whatever it is.

    Call arguments:
        y_true: Integer ids (batch, time); 0 is padding.
        y_pred: Float logits or probabilities (batch, time, vocab).
        sample_weight: Optional weights, (batch,), (batch, 1) or (batch, time).

    Example:
        >>> import numpy as np
        >>> from kseq.metrics import SequenceAccuracy
        >>> accuracy = SequenceAccuracy()
        >>> accuracy.update_state(
        ...     [[5, 3, 0], [5, 3, 0]], np.eye(8)[[[5, 3, 1], [5, 4, 1]]]
        ... )
        >>> float(accuracy.result())
        0.5
    """

    def __init__(self, name: str = "sequence_accuracy", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        weights = token_weights(y_true, sample_weight)
        right = tf.reduce_all(_right(y_true, y_pred) | (weights == 0), axis=1)
        self.add(right, tf.reduce_max(weights, axis=1))  # (batch,) both


@keras.saving.register_keras_serializable(package="kseq")
class Perplexity(_WeightedMean):
    """Exponential of the mean cross-entropy of the real tokens.

    Without label smoothing, whatever the loss does.

    Args:
        name: Name of the metric. Default `"perplexity"`.
        dtype: Kept for Keras; sums are float64 whatever it is.

    Call arguments:
        y_true: Integer ids (batch, time); 0 is padding.
        y_pred: Float logits (batch, time, vocab).
        sample_weight: Optional weights, (batch,), (batch, 1) or (batch, time).

    Example:
        >>> import numpy as np
        >>> from kseq.metrics import Perplexity
        >>> perplexity = Perplexity()
        >>> perplexity.update_state([[5, 3, 0]], np.zeros((1, 3, 8)))
        >>> round(float(perplexity.result()), 3)
        8.0
    """

    def __init__(self, name: str = "perplexity", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        weights = token_weights(y_true, sample_weight)
        self.add(token_losses(y_true, y_pred), weights)

    def result(self) -> Any:
        return tf.exp(super().result())


METRICS = {
    "token_accuracy": TokenAccuracy,
    "sequence_accuracy": SequenceAccuracy,
    "perplexity": Perplexity,
}


def get(identifier: Any) -> Any:
    """Returns a metric from its name; whatever is not a kseq name is left to Keras.

    Args:
        identifier: `"token_accuracy"`, `"sequence_accuracy"`, `"perplexity"`, or
            anything that `compile(metrics=[...])` takes.

    Example:
        >>> from kseq import metrics
        >>> metrics.get("perplexity").name
        'perplexity'
    """
    if isinstance(identifier, str) and identifier in METRICS:
        return METRICS[identifier]()
    return identifier


def _right(y_true: Any, y_pred: Any) -> Any:
    best = tf.argmax(y_pred, axis=-1, output_type=tf.int32)
    return tf.equal(tf.cast(y_true, tf.int32), best)  # (batch, time)
