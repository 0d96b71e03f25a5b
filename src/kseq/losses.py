"""Losses of padded sequences, normalized by their number of real tokens."""

import functools
from typing import Any

import keras
import tensorflow as tf

from kseq.config.checks import check_choice
from kseq.distribution import global_sum
from kseq.layers.tokens import as_int32
from kseq.special_tokens import PAD


def token_weights(targets: Any, sample_weight: Any = None) -> Any:
    """Returns the weight of each token: its sample weight, and 0 for padding.

    Args:
        targets: Integer ids (batch, time); 0 is padding.
        sample_weight: Weights of the rows, (batch,) or (batch, 1), or of the tokens,
            (batch, time). Default: 1.

    Returns:
        Float32 weights (batch, time).

    Example:
        >>> from kseq.losses import token_weights
        >>> token_weights([[5, 3, 0], [3, 0, 0]], [1.0, 2.0]).numpy().tolist()
        [[1.0, 1.0, 0.0], [2.0, 0.0, 0.0]]
    """
    targets = tf.convert_to_tensor(targets)
    mask = tf.cast(tf.not_equal(targets, PAD), tf.float32)  # (batch, time)
    if sample_weight is None:
        return mask
    weight = tf.cast(sample_weight, tf.float32)
    wide = weight[:, None] if weight.shape.rank == 1 else weight
    fits = wide.shape.rank == 2 and wide.shape[0] in (None, targets.shape[0])
    if not fits or (
        wide.shape[1] != 1 and not wide.shape.is_compatible_with(targets.shape)
    ):
        raise ValueError(
            "`sample_weight` must have the shape (batch,), (batch, 1) or (batch, time)."
            f" Received: shape={weight.shape} for targets of shape {targets.shape}."
        )
    if None in (wide.shape[1], targets.shape[1]):
        lengths = tf.stack([1, tf.shape(targets)[1]])
        check = tf.debugging.Assert(
            tf.reduce_any(tf.shape(wide)[1] == lengths),
            [
                "`sample_weight` must have the shape (batch,), (batch, 1) or (batch, "
                "time). Received weights and targets of the shapes",
                tf.shape(wide),
                tf.shape(targets),
            ],
        )
        with tf.control_dependencies([check]):
            wide = tf.identity(wide)
    return mask * wide


def token_losses(targets: Any, logits: Any, label_smoothing: float = 0.0) -> Any:
    """Returns the cross-entropy of each token, including padding.

    Args:
        targets: Integer ids (batch, time).
        logits: Float scores before the softmax (batch, time, vocab).
        label_smoothing: Share, in [0, 1), of the target distribution that is
            distributed evenly over the vocabulary. Default: 0.

    Returns:
        Float32 losses (batch, time), in nats.

    Raises:
        tf.errors.InvalidArgumentError: If a target is outside the vocabulary.

    Example:
        >>> from kseq.losses import token_losses
        >>> token_losses([[1]], [[[0.0, 0.0]]]).numpy().round(3)
        array([[0.693]], dtype=float32)

    Reference:
        Szegedy et al., 2016, "Rethinking the Inception Architecture for Computer
        Vision" (label smoothing).
    """
    logits = tf.cast(logits, tf.float32)
    targets = as_int32(targets)
    if (
        logits.shape.rank != 3
        or targets.shape.rank != 2
        or not targets.shape.is_compatible_with(logits.shape[:2])
    ):
        raise ValueError(
            "Targets must be ids of shape (batch, time) and logits of shape (batch, "
            f"time, vocab). Received: targets of shape {targets.shape} and logits of "
            f"shape {logits.shape}; kseq.data.Examples.from_arrays converts one-hot "
            "vectors to ids."
        )
    vocab_size = logits.shape[-1] or tf.shape(logits)[-1]
    low, high = tf.reduce_min(targets), tf.reduce_max(targets)
    check = tf.debugging.Assert(
        ((low >= 0) & (high < vocab_size)) | tf.equal(tf.size(targets), 0),
        [
            "The targets must hold token ids in 0..vocab - 1. Received ids from",
            low,
            "to",
            high,
            "with a vocab of",
            vocab_size,
        ],
    )
    with tf.control_dependencies([check]):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    if label_smoothing:
        # The cross-entropy with the uniform distribution.
        uniform = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
        losses = (1 - label_smoothing) * losses + label_smoothing * uniform
    return losses  # (batch, time)


@keras.saving.register_keras_serializable(package="kseq")
class MaskedCrossentropy(keras.losses.Loss):
    """Cross-entropy of token ids and logits, averaged over the real tokens.

    Padding (target id 0) counts neither in the sum nor in the number of tokens. Sample
    weights multiply the loss and the count of a token: a row of weight 2 counts as two
    rows, a row of weight 0 does not count. On several replicas the sum is divided by
    the number of tokens of the global batch, so that the sum over the replicas equals
    the loss on one device.

    Args:
        label_smoothing: Share, in [0, 1), of the target distribution that is
            distributed evenly over the vocabulary. Default: 0.
        reduction: `"mean_with_sample_weight"`, `"sum"`, or `"none"` for the weighted
            losses (batch, time). Default: `"mean_with_sample_weight"`.
        name: Name of the loss. Default: `"masked_crossentropy"`.

    Call arguments:
        y_true: Integer ids (batch, time).
        y_pred: Float logits (batch, time, vocab).
        sample_weight: Weights, (batch,), (batch, 1) or (batch, time). Default: 1.

    Returns:
        Float32 scalar, in nats per token.

    Raises:
        ValueError: If `label_smoothing` or `reduction` is invalid.

    Example:
        >>> import numpy as np
        >>> from kseq.losses import MaskedCrossentropy
        >>> logits = np.zeros((1, 3, 8), "float32")
        >>> loss = MaskedCrossentropy()(np.array([[5, 3, 0]]), logits)
        >>> bool(np.isclose(loss, np.log(8)))
        True
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        reduction: str = "mean_with_sample_weight",
        name: str = "masked_crossentropy",
    ) -> None:
        if not 0 <= label_smoothing < 1:
            raise ValueError(
                f"`label_smoothing` must be in [0, 1). Received: {label_smoothing}."
            )
        check_choice("reduction", reduction, ("mean_with_sample_weight", "sum", "none"))
        super().__init__(name=name, reduction=reduction)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return token_losses(y_true, y_pred, self.label_smoothing)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        # Keras's method casts ids to floats, and divides by the tokens of a replica.
        weights = token_weights(y_true, sample_weight)
        # `where` and not a product: the loss of padding can be nan.
        losses = self.call(y_true, y_pred)
        losses = tf.where(weights != 0, losses * weights, 0.0)  # (batch, time)
        if self.reduction == "none":
            return losses
        total = tf.reduce_sum(losses)
        if self.reduction == "sum":
            return total
        return tf.math.divide_no_nan(total, global_sum(tf.reduce_sum(weights)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


# Keras's names of the categorical cross-entropy.
CROSSENTROPIES = (
    "crossentropy",
    "ce",
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "SparseCategoricalCrossentropy",
    "CategoricalCrossentropy",
)
_FUNCTIONS = (
    keras.losses.sparse_categorical_crossentropy,
    keras.losses.categorical_crossentropy,
)
_CLASSES = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.CategoricalCrossentropy,
)


def get(identifier: Any) -> Any:
    """Returns a loss of ids and logits for an argument of `compile`.

    Keras's categorical cross-entropies read probabilities by default, and count
    padding. So their names and functions mean `MaskedCrossentropy`, and so do their
    objects with `from_logits=True`.

    Args:
        identifier: None or `"masked_crossentropy"`; a name or function of Keras, such
            as `"sparse_categorical_crossentropy"`; an object; your own function of ids
            (batch, time) and logits (batch, time, vocab); or a list or dict of one of
            these.

    Returns:
        A `keras.losses.Loss` or a function.

    Raises:
        ValueError: If it is another loss of Keras.

    Example:
        >>> from kseq import losses
        >>> losses.get("categorical_crossentropy").name
        'masked_crossentropy'
    """
    if isinstance(identifier, dict) and "class_name" in identifier:
        identifier = keras.saving.deserialize_keras_object(identifier)
    if isinstance(identifier, list | tuple | dict) and len(identifier) == 1:
        (identifier,) = (
            identifier.values() if isinstance(identifier, dict) else identifier
        )
    if identifier is None or identifier in ("masked_crossentropy", *CROSSENTROPIES):
        return MaskedCrossentropy()
    if isinstance(identifier, type):
        identifier = identifier()
    settings = crossentropy_settings(identifier, _FUNCTIONS, _CLASSES)
    if settings is not None:
        smoothing = settings.pop("label_smoothing", 0.0)
        reduction = settings.pop("reduction", "sum_over_batch_size")
        reductions = {"sum": "sum", "none": "none", None: "none"}
        return MaskedCrossentropy(
            smoothing, reductions.get(reduction, "mean_with_sample_weight")
        )
    if not callable(identifier) or is_from_keras(identifier):
        raise ValueError(
            "`loss` must be kseq.losses.MaskedCrossentropy(), the default, or your own "
            "function of ids (batch, time) and logits (batch, time, vocab). Received: "
            f"{identifier!r}."
        )
    return identifier


def crossentropy_settings(
    identifier: Any, functions: tuple[Any, ...], classes: tuple[Any, ...]
) -> dict[str, Any] | None:
    """Returns the settings of a cross-entropy of Keras.

    Args:
        identifier: An object, a function, or a partial function.
        functions: Keras's functions of the cross-entropy.
        classes: Keras's classes of the cross-entropy.

    Returns:
        Dict of settings; None if `identifier` is no cross-entropy of Keras.

    Raises:
        ValueError: If it reads probabilities, or has a setting that kseq lacks.
    """
    if isinstance(identifier, classes):
        if not is_from_keras(identifier) and identifier.get_config().get("from_logits"):
            return None  # a subclass can compute another loss
        settings = identifier.get_config()
    elif isinstance(identifier, functools.partial) and identifier.func in functions:
        settings = {"from_logits": False, **identifier.keywords}
    elif identifier in functions:
        return {}
    else:
        return None
    if not settings.pop("from_logits"):
        raise ValueError(
            "A cross-entropy must read logits, not probabilities: use "
            "kseq.losses.MaskedCrossentropy(), the default, or from_logits=True. "
            f"Received: {identifier!r} with from_logits=False."
        )
    supported = {"ignore_class": (None, 0), "axis": (-1, 2)}
    for name, values in supported.items():
        if settings.get(name, values[0]) not in values:
            raise ValueError(
                f"`{name}` of a cross-entropy must be {values[0]}. Received: "
                f"{settings[name]}."
            )
    return settings


def is_from_keras(identifier: Any) -> bool:
    """Whether a function, or the class of an object, is defined in Keras."""
    while isinstance(identifier, functools.partial):
        identifier = identifier.func
    where = identifier if hasattr(identifier, "__name__") else type(identifier)
    return where.__module__.split(".")[0] == "keras"
