"""Checks and converts the inputs and targets of a model: ids or one-hot vectors."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseq.config.architecture import Seq2SeqConfig, SideConfig
from kseq.data.keras_arrays import one_hot_columns
from kseq.layers.tokens import as_int32
from kseq.models import decoder as decoder_module
from kseq.models import encoder as encoder_module
from kseq.special_tokens import SPECIAL_TOKENS, START

INPUTS = (encoder_module.INPUT, decoder_module.INPUT)

# Id of the first symbol: one-hot vectors have no columns for the special tokens.
_FIRST_SYMBOL = len(SPECIAL_TOKENS)
_CONVERTER = "kseq.data.Examples.from_arrays"


def convert_inputs(inputs: Any, config: Seq2SeqConfig) -> tuple[dict[str, Any], int]:
    """Converts the inputs of a model to those of its graph.

    Args:
        inputs: Dict, or list in this order, of `encoder_inputs` and `decoder_inputs`.
            Instead of ids (batch, time) they can be one-hot vectors (batch, time,
            symbols): symbol k is token 4 + k, a step of zeros is padding.
        config: The model's configuration.

    Returns:
        A tuple of the dict of ids (or features), and the number of steps added to the
        decoder's inputs: 1 for one-hot vectors, which have no `<s>`, else 0.

    Raises:
        ValueError: If the inputs have another form.
    """
    if isinstance(inputs, list | tuple) and len(inputs) == len(INPUTS):
        inputs = dict(zip(INPUTS, inputs, strict=True))
    if not isinstance(inputs, dict) or set(inputs) != set(INPUTS):
        received = sorted(inputs) if isinstance(inputs, dict) else type(inputs)
        raise ValueError(
            f"The model's input must be a dict of {INPUTS[0]!r} and {INPUTS[1]!r}, or "
            f"a list in this order. Received: {received}."
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
            feed[name] = one_hot_to_ids(name, value, side.vocab_size)
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


def convert_targets(y: Any, vocab_size: int) -> Any:
    """Converts targets to ids.

    Args:
        y: Integer ids (batch, time); or one-hot vectors (batch, time, symbols), of the
            symbols after the special tokens or of all `vocab_size` tokens.
        vocab_size: Number of target tokens.

    Returns:
        Integer ids (batch, time).

    Raises:
        ValueError: If `y` has another form.
    """
    arrays = keras.tree.flatten(y)
    if len(arrays) != 1 or arrays[0] is None:
        raise ValueError(
            "The model needs targets, a single `y` of ids (batch, time). Received: "
            f"{'none' if y is None else f'{len(arrays)} arrays'}."
        )
    y = tf.convert_to_tensor(arrays[0])
    if y.shape.rank == 3:
        if y.shape[2] == vocab_size:
            return one_hot_to_ids("y", y, vocab_size, first=0)
        return one_hot_to_ids("y", y, vocab_size)
    _check_ids("y", y)
    return y


def one_hot_to_ids(
    name: str, vectors: Any, vocab_size: int, first: int = _FIRST_SYMBOL
) -> Any:
    """Converts one-hot vectors to ids, within a graph.

    Args:
        name: Name of the input, for the error message.
        vectors: One-hot vectors of any dtype (batch, time, symbols).
        vocab_size: Number of tokens.
        first: Id of the first symbol. Default: 4, the first id after the special
            tokens.

    Returns:
        int32 ids (batch, time), 0 for vectors of zeros.

    Raises:
        ValueError: If there are not `vocab_size - first` symbols.
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


def array_to_ids(name: str, array: np.ndarray, vocab_size: int) -> np.ndarray:
    """Converts one-hot vectors of a numpy array to ids; errors name the row.

    Args:
        name: Name of the argument.
        array: Ids of any shape, or one-hot vectors (rows, time, symbols).
        vocab_size: Number of tokens.

    Returns:
        The ids unchanged, or int32 ids (rows, time) of the vectors.

    Raises:
        ValueError: If the vectors are not one-hot or have the wrong width.
    """
    if array.ndim != 3:
        return array
    _check_width(name, array, vocab_size, _FIRST_SYMBOL)
    columns = one_hot_columns(name, array)
    return np.where(columns < 0, 0, columns + _FIRST_SYMBOL).astype(np.int32)


def real_step_mask(source: np.ndarray) -> np.ndarray:
    """Returns a mask (batch, time), True for steps that are not padding."""
    real = source != 0
    return real if real.ndim == 2 else real.any(axis=-1)


def check_source(source: Any, side: SideConfig) -> np.ndarray:
    """Checks and converts sources to decode; errors name the row.

    Args:
        source: Ids (batch, time), one-hot vectors (batch, time, symbols), or features
            (batch, time, dim).
        side: Configuration of the model's encoder.

    Returns:
        int32 ids (batch, time) or float32 features (batch, time, dim).

    Raises:
        ValueError: If the sources have another form.
    """
    features = side.representation == "features"
    rank = 3 if features else 2
    shape = "ids (batch, time)"
    if features:
        shape = f"vectors (batch, time, {side.input_dim})"
    try:
        array = np.asarray(source)
    except ValueError:
        array = np.asarray(source, dtype=object)
    if not features and array.dtype != object:
        array = array_to_ids("source", array, side.vocab_size)
    kind = "float" if features else "integer"
    fits = np.issubdtype(array.dtype, np.floating if features else np.integer)
    if array.dtype == object or (not fits and not (features and array.size == 0)):
        raise ValueError(
            f"`source` must be an array of {kind} {shape}, rows padded with 0 on the "
            f"right to one length. Received: dtype {array.dtype}."
            f"{'' if features else f' {_CONVERTER} converts other arrays.'}"
        )
    if array.ndim != rank:
        raise ValueError(
            f"`source` must be {shape}, of rank {rank}. Received: shape {array.shape}."
        )
    if features and array.shape[2] != side.input_dim:
        raise ValueError(f"`source` must be {shape}. Received: shape {array.shape}.")
    if array.shape[1] == 0:
        raise ValueError(
            "`source` must have at least one step: an empty sentence is just </s> (3). "
            f"Received: shape {array.shape}."
        )
    if not features:
        wrong = (array < 0) | (array >= side.vocab_size)
        if wrong.any():
            row = int(wrong.any(axis=1).argmax())
            raise ValueError(
                f"`source` must hold token ids in 0..{side.vocab_size - 1}. Received: "
                f"{int(array[row][wrong[row]][0])} in row {row}."
            )
    elif not np.isfinite(array).all():
        raise ValueError("`source` must hold finite numbers. Received: nan or inf.")
    real = real_step_mask(array)
    empty = ~real.any(axis=1)
    if empty.any():
        raise ValueError(
            f"`source` must have a real step in each row: row {int(empty.argmax())} is "
            "padding only. An empty sentence is just </s> (3)."
        )
    gaps = (~real[:, :-1] & real[:, 1:]).any(axis=1)
    if gaps.any():
        raise ValueError(
            "`source` must be padded on the right: row "
            f"{int(gaps.argmax())} has padding (0) before a real step."
        )
    return array.astype(np.float32 if features else np.int32)


def _check_width(name: str, vectors: Any, vocab_size: int, first: int) -> None:
    """Checks that one-hot vectors have a column for each token from `first` on."""
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
                f"{shape[2] + _FIRST_SYMBOL}, or convert them with {_CONVERTER}"
            )
        raise ValueError(
            f"`{name}` must be ids (batch, time), or one-hot vectors (batch, time, "
            f"{vocab_size - _FIRST_SYMBOL}), with a column for each token except the "
            f"four special ones. Received: shape {shape}{advice}."
        )


def _check_ids(name: str, value: Any) -> None:
    _check("int", "an integer", "(batch, time)", name, value)


def _check_features(name: str, value: Any) -> None:
    _check("float", "a float", "(batch, time, dim)", name, value)


def _check(kind: str, kind_name: str, shape: str, name: str, value: Any) -> None:
    dtype = keras.backend.standardize_dtype(value.dtype)
    advice = f" {_CONVERTER} converts other arrays." if kind == "int" else ""
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
    """Returns the number of dimensions; None if a dataset has an unknown rank."""
    shape = value.shape
    return shape.rank if isinstance(shape, tf.TensorShape) else len(shape)
