"""Initial weights: parameters of another model, frozen layers, embeddings."""

import contextlib
import dataclasses
import fnmatch
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from kseq.config.checks import check_boolean, check_choice
from kseq.data import Vocabulary
from kseq.data.corpora.corpus import Reading
from kseq.data.corpora.lines import check_files, decode_line
from kseq.models import Seq2Seq
from kseq.storage.weights import find_variables, read_weights

_MAX_NAMES = 8  # in an error message
_SIDES = ("source", "target")


@dataclasses.dataclass(frozen=True)
class LoadedParameters:
    """The weights that `load_parameters` has loaded, and the others.

    Args:
        loaded: Paths of the model's weights that were loaded.
        unchanged: Paths of the model's weights that the file lacks, or has in another
            shape.
        unused: Weights in the file that the model lacks, or has in another shape.
    """

    loaded: tuple[str, ...]
    unchanged: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        """Returns a description for a log."""
        parts = [f"{len(self.loaded)} weights loaded"]
        if self.unchanged:
            names = _join_names(self.unchanged)
            parts.append(f"{len(self.unchanged)} unchanged: {names}")
        if self.unused:
            parts.append(f"{len(self.unused)} not used: {_join_names(self.unused)}")
        return "; ".join(parts)


def load_parameters(
    model: keras.Model, path: str | os.PathLike[str], strict: bool = True
) -> LoadedParameters:
    """Loads the weights of another model as initial weights.

    Weights are matched by the names of their layers, not by their order. The states of
    the optimizer and of random generators are not loaded.

    Args:
        model: A `Seq2Seq`, or a functional Keras model whose layers have unique names.
        path: A `.keras` file, a model folder, or a `.weights.h5` file.
        strict: Require that the model and the file have the same weights, with the same
            shapes. False loads the matching weights. Default: True.

    Returns:
        `LoadedParameters`.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If a weight does not match (with `strict`), if none matches, or if
            the file is of another kind. The model is then unchanged.

    Example:
        >>> from kseq import build_seq2seq
        >>> from kseq.training import load_parameters
        >>> sizes = {"source_vocab_size": 11, "units": 8}
        >>> build_seq2seq(target_vocab_size=13, **sizes).save_weights("old.weights.h5")
        >>> model = build_seq2seq(target_vocab_size=9, **sizes)
        >>> loaded = load_parameters(model, "old.weights.h5", strict=False)
        >>> len(loaded.loaded)
        7
        >>> loaded.unchanged
        ('decoder_embedding/embeddings', 'decoder_output/kernel', 'decoder_output/bias')
    """
    check_boolean("strict", strict)
    path = pathlib.Path(path)
    arrays = read_weights(path)
    variables = find_variables(model)
    loaded = [
        key
        for key, variable in variables.items()
        if key in arrays and tuple(variable.shape) == arrays[key].shape
    ]
    unchanged = [key for key in variables if key not in loaded]
    unused = [key for key in unchanged if key in arrays]
    unused += [key for key in arrays if key not in variables]
    if strict and (unchanged or unused):
        raise ValueError(_mismatch(path, variables, arrays, unchanged, unused))
    if not loaded:
        raise ValueError(
            f"'{path}' has no weight of the model, by name and shape. "
            f"{_mismatch(path, variables, arrays, unchanged, unused)}"
        )
    for key in loaded:
        variables[key].assign(arrays[key])
    return LoadedParameters(
        tuple(variables[key].path for key in loaded),
        tuple(variables[key].path for key in unchanged),
        tuple(variables[key].path if key in variables else key for key in unused),
    )


def freeze(model: keras.Model, patterns: str | Sequence[str]) -> list[str]:
    """Freezes layers: training does not change their weights.

    Call it before `model.compile`. A pattern is a shell pattern: `*` matches any
    characters. It matches names of layers (`"encoder_*"`) or paths of weights
    (`"encoder_lstm_1/*"`). A layer is frozen as a whole, so patterns must match all of
    its weights or none.

    Args:
        model: A `Seq2Seq` or another Keras model.
        patterns: A pattern or a list of patterns.

    Returns:
        Names of the layers that match, in the model's order.

    Raises:
        TypeError: If a pattern is not a string.
        ValueError: If a pattern matches nothing, or only a part of a layer.

    Example:
        >>> from kseq import build_seq2seq
        >>> from kseq.training import freeze
        >>> model = build_seq2seq(source_vocab_size=11, target_vocab_size=9, units=8)
        >>> freeze(model, ["encoder_*", "*/embeddings"])
        ['encoder_embedding', 'decoder_embedding', 'encoder_lstm_1']
        >>> len(model.trainable_weights)
        5
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    layers = [layer for layer in model.layers if layer.weights]
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(
                f"`patterns` must hold only strings. Received: {pattern!r}."
            )
        if not any(_match_weights(layer, [pattern]) for layer in layers):
            raise ValueError(
                f"`patterns` must each match a layer or its weights. Received: "
                f"{pattern!r}."
                f" The layers are: {', '.join(layer.name for layer in layers)}."
            )
    chosen = [layer for layer in layers if _match_weights(layer, patterns)]
    for layer in chosen:
        matches = _match_weights(layer, patterns)
        rest = [w.path for w in layer.weights if w.path not in matches]
        if rest:
            raise ValueError(
                "`patterns` must match all weights of a layer or none. Received: "
                f"{patterns}, which do not match {_join_names(rest)} of the layer "
                f"{layer.name!r}; pass its name instead."
            )
    for layer in chosen:
        layer.trainable = False
    return [layer.name for layer in chosen]


def load_embeddings(
    model: Seq2Seq,
    side: str,
    vocab: Vocabulary,
    vectors: str | os.PathLike[str] | np.ndarray,
) -> int:
    r"""Loads pretrained vectors into an embedding of a model.

    A file has the text format of word2vec, GloVe and fastText, in UTF-8, compressed if
    its name ends in `.gz`. Each line holds a token and its components, separated by
    spaces. The first line may hold the number of vectors and their width.

    Tokens that are not in the vocabulary are ignored. Special tokens such as `</s>` are
    loaded too. The first vector of a token counts. Tokens without a vector keep their
    initial one. The vectors also apply to layers that share the embedding.

    Args:
        model: A `Seq2Seq` with an embedding on this side.
        side: `"source"` or `"target"`.
        vocab: The `Vocabulary` of this side.
        vectors: Path of the file, or a float array (vocab, width), a row for each id.

    Returns:
        The number of tokens with a loaded vector.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model has no such embedding, if sizes differ, if a line is
            invalid (the message names file and line), or if the file has no token of
            the vocabulary.
        FileNotFoundError: If there is no such file.

    Example:
        >>> from kseq import build_seq2seq
        >>> from kseq.data import Vocabulary
        >>> from kseq.training import load_embeddings
        >>> with open("vectors.txt", "w") as file:
        ...     _ = file.write("3 2\nmist 0.5 1\nrain 2 -1\nfog 0 0\n")
        >>> vocab = Vocabulary(["sun", "rain"])
        >>> model = build_seq2seq(
        ...     source_vocab_size=6, target_vocab_size=9, units=4, embedding_dim=2
        ... )
        >>> load_embeddings(model, "source", vocab, "vectors.txt")
        1
        >>> layer = model.get_layer("encoder_embedding")
        >>> layer.embeddings.numpy()[vocab["rain"]].tolist()
        [2.0, -1.0]
    """
    layer = _find_embedding(model, side)
    if not isinstance(vocab, Vocabulary):
        raise TypeError(f"`vocab` must be a kseq.data.Vocabulary. Received: {vocab!r}.")
    if len(vocab) != layer.input_dim:
        raise ValueError(
            f"`vocab` must have {layer.input_dim} tokens, the size of the {side} "
            f"vocabulary of the model. Received: {len(vocab)} tokens."
        )
    shape = (layer.input_dim, layer.output_dim)
    if isinstance(vectors, np.ndarray):
        if vectors.shape != shape or not np.isfinite(vectors).all():
            raise ValueError(
                f"`vectors` must be finite numbers of shape {shape}, (vocab, width). "
                f"Received: shape {vectors.shape}."
            )
        layer.embeddings.assign(vectors)
        return len(vocab)
    vectors_by_id = _read_vectors(pathlib.Path(vectors), vocab, layer.output_dim)
    if not vectors_by_id:
        raise ValueError(
            f"'{vectors}' has no vector for a token of the {side} vocabulary. Check "
            "its language, its tokenization and its letter case."
        )
    table = keras.ops.convert_to_numpy(layer.embeddings).copy()
    for index, vector in vectors_by_id.items():
        table[index] = vector
    layer.embeddings.assign(table)
    return len(vectors_by_id)


def _find_embedding(model: Any, side: str) -> Any:
    """Returns the embedding layer of the source or the target."""
    if not isinstance(model, Seq2Seq):
        raise TypeError(f"`model` must be a kseq.Seq2Seq. Received: {model!r}.")
    check_choice("side", side, _SIDES)
    name = "encoder_embedding" if side == "source" else "decoder_embedding"
    for layer in model.layers:
        if layer.name in (name, "shared_embedding"):
            return layer
    config = model.config
    representation = config.encoder if side == "source" else config.decoder
    raise ValueError(
        f"`model` must have an embedding of the {side}. Received: a model with "
        f"{side}_representation={representation.representation!r}; build it with "
        f"{side}_representation='embedding'."
    )


def _read_vectors(
    path: pathlib.Path, vocab: Vocabulary, width: int
) -> dict[int, np.ndarray]:
    """Reads the vectors of the tokens of a vocabulary, by their ids."""
    check_files("vectors", path)
    vectors: dict[int, np.ndarray] = {}
    announced: int | None = None
    rows = 0
    with contextlib.closing(Reading([str(path)])) as reading:
        for number, line in enumerate(reading.lines(str(path)), 1):
            location = f"{path}:{number}"
            text = decode_line(line, str(path), number).rstrip(" ")
            if number == 1:
                header = text.split(" ")
                if len(header) == 2 and all(each.isdecimal() for each in header):
                    announced = int(header[0])
                    _check_width(location, int(header[1]), width)
                    continue
                # Only here: later tokens may contain spaces.
                _check_width(location, len(header) - 1, width)
            token, *components = text.rsplit(" ", width)
            if len(components) != width:
                raise ValueError(
                    f"{location}: the line must be a token and {width} numbers, "
                    f"separated by spaces. Received: {_shorten(text)}."
                )
            rows += 1
            if token not in vocab or vocab[token] in vectors:
                continue
            try:
                vector = np.array([float(each) for each in components], "float32")
            except ValueError:
                vector = np.array([np.nan])
            if not np.isfinite(vector).all():
                raise ValueError(
                    f"{location}: a vector must be finite numbers. Received: "
                    f"{_shorten(text)}."
                )
            vectors[vocab[token]] = vector
    if announced is not None and rows != announced:
        raise ValueError(
            f"{path}:1: the line announces {announced} vectors, but {rows} follow. The "
            "file may be truncated. To use it as it is, remove its first line."
        )
    return vectors


def _check_width(location: str, received: int, width: int) -> None:
    if received != width:
        raise ValueError(
            f"{location}: the vectors must have the width of the embedding, {width}. "
            f"Received: {received}."
        )


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def _mismatch(
    path: pathlib.Path,
    variables: dict[str, Any],
    arrays: dict[str, np.ndarray],
    unchanged: Iterable[str],
    unused: Iterable[str],
) -> str:
    """Describes how a model and a file differ."""
    shapes = [
        f"{variables[key].path} has the shape {tuple(variables[key].shape)} in the "
        f"model and {arrays[key].shape} in the file"
        for key in unchanged
        if key in arrays
    ]
    missing = [
        f"{variables[key].path} {tuple(variables[key].shape)}"
        for key in unchanged
        if key not in arrays
    ]
    extra = [f"{key} {arrays[key].shape}" for key in unused if key not in variables]
    parts = [
        f"{title}{_join_names(names)}."
        for title, names in (
            ("", shapes),
            ("The file lacks ", missing),
            ("The model lacks ", extra),
        )
        if names
    ]
    return (
        f"The weights in '{path}' do not match the model. {' '.join(parts)} Build the "
        "model with the same architecture, or pass strict=False to load the matching "
        "weights only."
    )


def _join_names(names: Sequence[str]) -> str:
    rest = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _match_weights(layer: keras.layers.Layer, patterns: Sequence[str]) -> list[str]:
    """Returns the paths of the weights of a layer that match patterns."""
    paths = [weight.path for weight in layer.weights]
    if any(fnmatch.fnmatchcase(layer.name, pattern) for pattern in patterns):
        return paths
    return [
        path
        for path in paths
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
    ]
