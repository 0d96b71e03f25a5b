"""Metrics of padded sequences, exact for batches with different token counts."""

from typing import Any

import keras
import tensorflow as tf

from kseq.config.checks import one_of
from kseq.losses import (
    CROSSENTROPIES,
    crossentropy_settings,
    is_from_keras,
    token_losses,
    token_weights,
)


class _WeightedMean(keras.metrics.Metric):
    """A sum of values divided by a sum of weights, accumulated over an epoch."""

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        # float32 counts exactly only up to 16.7 million tokens.
        self.total = self.add_variable((), "zeros", dtype="float64", name="total")
        self.weight = self.add_variable((), "zeros", dtype="float64", name="weight")

    def add(self, values: Any, weights: Any) -> None:
        # `where` and not a product: the value of padding can be nan.
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
    """Share of the real tokens whose most probable prediction is correct.

    Under teacher forcing, each token is predicted from the correct previous tokens.

    Args:
        name: Name of the metric. Default: `"token_accuracy"`.
        dtype: Dtype of the metric; sums are always float64. Default: Keras's.

    Call arguments:
        y_true: Integer ids (batch, time); 0 is padding.
        y_pred: Float logits or probabilities (batch, time, vocab).
        sample_weight: Weights, (batch,), (batch, 1) or (batch, time). Default: 1.

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
        self.add(_is_correct(y_true, y_pred), token_weights(y_true, sample_weight))


@keras.saving.register_keras_serializable(package="kseq")
class SequenceAccuracy(_WeightedMean):
    """Share of the sequences whose real tokens are all predicted correctly.

    Under teacher forcing this equals the share of correct greedy outputs: up to the
    first error both read the same tokens.

    Tokens of weight 0 are ignored. The weight of a row is the largest weight of its
    tokens.

    Args:
        name: Name of the metric. Default: `"sequence_accuracy"`.
        dtype: Dtype of the metric; sums are always float64. Default: Keras's.

    Call arguments:
        y_true: Integer ids (batch, time); 0 is padding.
        y_pred: Float logits or probabilities (batch, time, vocab).
        sample_weight: Weights, (batch,), (batch, 1) or (batch, time). Default: 1.

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
        correct = tf.reduce_all(_is_correct(y_true, y_pred) | (weights == 0), axis=1)
        self.add(correct, tf.reduce_max(weights, axis=1))  # (batch,) both


@keras.saving.register_keras_serializable(package="kseq")
class Crossentropy(_WeightedMean):
    """Mean cross-entropy of the real tokens, in nats.

    Without label smoothing, even if the loss has it.

    Args:
        name: Name of the metric. Default: `"crossentropy"`.
        dtype: Dtype of the metric; sums are always float64. Default: Keras's.

    Call arguments:
        y_true: Integer ids (batch, time); 0 is padding.
        y_pred: Float logits (batch, time, vocab).
        sample_weight: Weights, (batch,), (batch, 1) or (batch, time). Default: 1.

    Example:
        >>> import numpy as np
        >>> from kseq.metrics import Crossentropy
        >>> crossentropy = Crossentropy()
        >>> crossentropy.update_state([[5, 3, 0]], np.zeros((1, 3, 8)))
        >>> bool(np.isclose(crossentropy.result(), np.log(8)))
        True
    """

    def __init__(self, name: str = "crossentropy", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        weights = token_weights(y_true, sample_weight)
        self.add(token_losses(y_true, y_pred), weights)


@keras.saving.register_keras_serializable(package="kseq")
class Perplexity(Crossentropy):
    """Exponential of the mean cross-entropy of the real tokens.

    Without label smoothing, even if the loss has it.

    Args:
        name: Name of the metric. Default: `"perplexity"`.
        dtype: Dtype of the metric; sums are always float64. Default: Keras's.

    Call arguments:
        y_true: Integer ids (batch, time); 0 is padding.
        y_pred: Float logits (batch, time, vocab).
        sample_weight: Weights, (batch,), (batch, 1) or (batch, time). Default: 1.

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

    def result(self) -> Any:
        return tf.exp(super().result())


METRICS = {
    "token_accuracy": TokenAccuracy,
    "sequence_accuracy": SequenceAccuracy,
    "perplexity": Perplexity,
}
# Keras's names of the categorical accuracy.
_ACCURACIES = (
    "accuracy",
    "acc",
    "sparse_categorical_accuracy",
    "categorical_accuracy",
    "SparseCategoricalAccuracy",
    "CategoricalAccuracy",
)
_ACCURACY_FUNCTIONS = (
    keras.metrics.sparse_categorical_accuracy,
    keras.metrics.categorical_accuracy,
)
_ACCURACY_CLASSES = (
    keras.metrics.SparseCategoricalAccuracy,
    keras.metrics.CategoricalAccuracy,
)
_CROSSENTROPY_FUNCTIONS = (
    keras.metrics.sparse_categorical_crossentropy,
    keras.metrics.categorical_crossentropy,
)
_CROSSENTROPY_CLASSES = (
    keras.metrics.SparseCategoricalCrossentropy,
    keras.metrics.CategoricalCrossentropy,
)


def get(identifier: Any) -> Any:
    """Returns a metric of ids and logits for an argument of `compile`.

    Keras's categorical accuracies and cross-entropies count padding. So they are
    replaced by `TokenAccuracy` and `Crossentropy`, and keep their names.

    Args:
        identifier: `"token_accuracy"`, `"sequence_accuracy"`, `"perplexity"`; a name,
            function or object of Keras, such as `"accuracy"`; or your own function or
            metric of ids (batch, time) and logits (batch, time, vocab).

    Returns:
        A `keras.metrics.Metric` or a function.

    Raises:
        ValueError: If it is another metric of Keras.

    Example:
        >>> from kseq import metrics
        >>> metrics.get("perplexity").name
        'perplexity'
        >>> metrics.get("accuracy")
        <TokenAccuracy name=accuracy>
    """
    if isinstance(identifier, str) and identifier in METRICS:
        return METRICS[identifier]()
    if isinstance(identifier, type):
        identifier = identifier()
    name: Any = getattr(identifier, "name", getattr(identifier, "__name__", identifier))
    if identifier in (*_ACCURACIES, *_ACCURACY_FUNCTIONS) or isinstance(
        identifier, _ACCURACY_CLASSES
    ):
        return TokenAccuracy(name=name)
    if isinstance(identifier, str) and identifier in CROSSENTROPIES:
        return Crossentropy(name=name)
    settings = crossentropy_settings(
        identifier, _CROSSENTROPY_FUNCTIONS, _CROSSENTROPY_CLASSES
    )
    if settings is not None and not settings.get("label_smoothing"):
        return Crossentropy(name=name)
    own = callable(identifier) or isinstance(identifier, keras.metrics.Metric)
    if identifier is not None and (not own or is_from_keras(identifier)):
        raise ValueError(
            f"A metric must be {one_of(METRICS)}, 'accuracy', "
            "'crossentropy', or your own function or keras.metrics.Metric of ids "
            f"(batch, time) and logits (batch, time, vocab). Received: {identifier!r}."
        )
    return identifier


def _is_correct(y_true: Any, y_pred: Any) -> Any:
    best = tf.argmax(y_pred, axis=-1, output_type=tf.int32)
    return tf.equal(tf.cast(y_true, tf.int32), best)  # (batch, time)
