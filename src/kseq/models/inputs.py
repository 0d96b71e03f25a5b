"""What a model is fed: a dict or a pair, of ids or of one-hot vectors."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseq.config.architecture import Seq2SeqConfig
from kseq.data.keras_arrays import one_hot_columns
from kseq.layers.tokens import as_int32
from kseq.models import decoder as decoder_module
from kseq.models import encoder as encoder_module
from kseq.special_tokens import SPECIAL_TOKENS, START

INPUTS = (encoder_module.INPUT, decoder_module.INPUT)

# One-hot vectors of a caller's symbols have no columns for the special tokens.
FIRST = len(SPECIAL_TOKENS)
CONVERTER = "kseq.data.Examples.from_arrays"


def as_feed(inputs: Any, config: Seq2SeqConfig) -> tuple[dict[str, Any], int]:
    """Returns what the graph of a model reads, from what its caller gives.

    Args:
        inputs: Dict of the encoder's and the decoder's inputs, or a list or tuple of
            both, in this order. Where ids (batch, time) are read, one-hot vectors
            (batch, time, symbols) may be given: symbol k is token 4 + k, a step of
            zeros is padding.
        config: The model's configuration.

    Returns:
        A tuple of the dict of ids (or features) and the number of steps, 0 or 1, that
        the decoder's inputs have more than those given: one-hot vectors have none for
        `<s>`, which is put before them.

    Raises:
        ValueError: If the inputs are anything else.
    """
    if isinstance(inputs, list | tuple) and len(inputs) == len(INPUTS):
        inputs = dict(zip(INPUTS, inputs, strict=True))
    if not isinstance(inputs, dict) or set(inputs) != set(INPUTS):
        received = sorted(inputs) if isinstance(inputs, dict) else type(inputs)
        raise ValueError(
            f"The model's input must be a dict of {INPUTS[0]!r} and {INPUTS[1]!r}, or "
            f"a list of both in this order. Received: {received}."
        )
    feed = {
        name: value if hasattr(value, "dtype") else np.asarray(value)
        for name, value in inputs.items()
    }
    added = 0
    for name, side in zip(INPUTS, (config.encoder, config.decoder), strict=True):
        value = feed[name]
        if side.representation == "features":
            _check_features(name, value)
        elif _rank(value) == 3:
            feed[name] = ids_of_one_hot(name, value, side.vocab_size)
            if name == INPUTS[1]:
                added = 1
                feed[name] = tf.pad(feed[name], [[0, 0], [1, 0]], constant_values=START)
        else:
            _check_ids(name, value)
            if not isinstance(value, keras.KerasTensor):
                feed[name] = as_int32(value)
    if any(tf.is_tensor(value) for value in feed.values()):
        # Keras refuses tensors and arrays in one call.
        feed = {name: tf.convert_to_tensor(value) for name, value in feed.items()}
    return feed, added


def as_targets(y: Any, vocab_size: int) -> Any:
    """Returns target ids, from ids or one-hot vectors.

    Args:
        y: Integer ids (batch, time); or one-hot vectors (batch, time, symbols), of the
            symbols after the special tokens or of all `vocab_size` tokens.
        vocab_size: Number of target tokens.

    Returns:
        Integer ids (batch, time).

    Raises:
        ValueError: If `y` is anything else.
    """
    flat = keras.tree.flatten(y)
    if len(flat) != 1 or flat[0] is None:
        raise ValueError(
            "The model needs targets, a single `y` of ids (batch, time). Received: "
            f"{'none' if y is None else f'{len(flat)} arrays'}."
        )
    y = tf.convert_to_tensor(flat[0])
    if y.shape.rank == 3:
        if y.shape[2] == vocab_size:
            return ids_of_one_hot("y", y, vocab_size, first=0)
        return ids_of_one_hot("y", y, vocab_size)
    _check_ids("y", y)
    return y


def ids_of_one_hot(name: str, vectors: Any, vocab_size: int, first: int = FIRST) -> Any:
    """Returns the ids of one-hot vectors, inside a graph.

    Args:
        name: Name of the input, for the error.
        vectors: One-hot vectors of any dtype (batch, time, symbols).
        vocab_size: Number of tokens.
        first: Id of the first symbol; the symbols are all tokens from there. Default 4,
            the first after the special tokens.

    Returns:
        int32 ids (batch, time), 0 for vectors of zeros.

    Raises:
        ValueError: If there are more or fewer symbols.
        tf.errors.InvalidArgumentError: If a vector is neither one-hot nor zeros.
    """
    _check_width(name, vectors, vocab_size, first)
    vectors = tf.cast(vectors, tf.float32)
    ones = vectors == 1  # (batch, time, symbols)
    counts = tf.math.count_nonzero(ones, axis=-1)  # (batch, time)
    check = tf.debugging.Assert(
        tf.reduce_all(ones | (vectors == 0)) & tf.reduce_all(counts <= 1),
        [
            f"`{name}` must contain one-hot vectors: a single 1 among zeros, or zeros "
            "only for padding."
        ],
    )
    with tf.control_dependencies([check]):
        columns = tf.argmax(vectors, axis=-1, output_type=tf.int32)
    return tf.where(counts == 1, columns + first, 0)


def ids_of_array(name: str, array: np.ndarray, vocab_size: int) -> np.ndarray:
    """Does what `ids_of_one_hot` does, at the boundary, where an error names the row.

    Args:
        name: The argument's name.
        array: Ids of any shape, or one-hot vectors (rows, time, symbols).
        vocab_size: Number of tokens.

    Returns:
        The ids as they are, or int32 ids (rows, time) of the vectors.

    Raises:
        ValueError: If the vectors are not one-hot, or not of all symbols.
    """
    if array.ndim != 3:
        return array
    _check_width(name, array, vocab_size, FIRST)
    columns = one_hot_columns(name, array)
    return np.where(columns < 0, 0, columns + FIRST).astype(np.int32)


def _check_width(name: str, vectors: Any, vocab_size: int, first: int) -> None:
    """Raises unless there is a column for each token from `first` on."""
    shape = tuple(vectors.shape)
    if shape[1] == 0:
        raise ValueError(
            f"`{name}` must have a time of 1 or more. Received: shape {shape}."
        )
    if isinstance(vectors, keras.KerasTensor) or shape[2] != vocab_size - first:
        advice = ""
        if isinstance(shape[2], int):
            advice = (
                f"; for {shape[2]} symbols build the model with a vocabulary of "
                f"{shape[2] + FIRST}, or convert them with {CONVERTER}"
            )
        raise ValueError(
            f"`{name}` must be ids (batch, time), or one-hot vectors (batch, time, "
            f"{vocab_size - FIRST}), a column for each token but the four special "
            f"ones. Received: shape {shape}{advice}."
        )


def _check_ids(name: str, value: Any) -> None:
    _check("int", "an integer", "(batch, time)", name, value)


def _check_features(name: str, value: Any) -> None:
    _check("float", "a float", "(batch, time, dim)", name, value)


def _check(kind: str, kind_name: str, shape: str, name: str, value: Any) -> None:
    dtype = keras.backend.standardize_dtype(value.dtype)
    advice = f" {CONVERTER} converts other arrays." if kind == "int" else ""
    if kind not in dtype:
        raise ValueError(
            f"`{name}` must have {kind_name} dtype. Received: {dtype}.{advice}"
        )
    if _rank(value) != len(shape.split(",")):
        received = "unknown" if _rank(value) is None else tuple(value.shape)
        raise ValueError(
            f"`{name}` must have the shape {shape}. Received: {received}.{advice}"
        )
    if value.shape[1] == 0:
        raise ValueError(
            f"`{name}` must have the shape {shape} with a time of 1 or more. "
            f"Received: {tuple(value.shape)}."
        )


def _rank(value: Any) -> int | None:
    """Returns the number of dimensions; None where a dataset does not tell."""
    shape = value.shape
    return shape.rank if isinstance(shape, tf.TensorShape) else len(shape)
