"""What a training starts from: weights of an earlier one, pretrained vectors."""

import contextlib
import dataclasses
import fnmatch
import io
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import h5py
import keras
import numpy as np

from kseq.config.checks import check_boolean, check_choice
from kseq.data import Vocabulary
from kseq.data.corpora.corpus import Reading
from kseq.data.corpora.lines import check_files, decoded
from kseq.models import Seq2Seq

_MODEL = "model.keras"
_WEIGHTS = "model.weights.h5"
# As many names an error lists at most.
_MOST_NAMES = 8
_SIDES = ("source", "target")


@dataclasses.dataclass(frozen=True)
class LoadedParameters:
    """Which weights `load_parameters` has taken, and which not.

    Args:
        taken: Paths of the model's weights that have been set.
        kept: Paths of its weights that are as before: the file lacks them, or has them
            in another shape.
        unused: Weights in the file that the model lacks, or has in another shape.
    """

    taken: tuple[str, ...]
    kept: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        """Returns what a log says of it."""
        parts = [f"{len(self.taken)} weights taken"]
        if self.kept:
            parts.append(f"{len(self.kept)} kept as they were: {_listed(self.kept)}")
        if self.unused:
            parts.append(f"{len(self.unused)} not used: {_listed(self.unused)}")
        return "; ".join(parts)


def load_parameters(
    model: keras.Model, path: str | os.PathLike[str], strict: bool = True
) -> LoadedParameters:
    """Sets the weights of a model to those of an earlier training, to go on from.

    Weights are told apart by the names of their layers, not by their order. Neither the
    optimizer's state nor that of random generators is taken.

    Args:
        model: A `Seq2Seq`, or a functional Keras model whose layers have names of their
            own.
        path: A `.keras` file, a folder of `Translator.save`, or a `.weights.h5` file.
        strict: Require that the file has each weight of the model, in its shape, and no
            other. Default True; False takes those that agree, and says which.

    Returns:
        `LoadedParameters`.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the weights do not agree (with `strict`) or not one does, or
            the file is of another kind. The model is as before then.

    Example:
        >>> from kseq import build_seq2seq
        >>> from kseq.training import load_parameters
        >>> sizes = {"source_vocab_size": 11, "units": 8}
        >>> build_seq2seq(target_vocab_size=13, **sizes).save_weights("old.weights.h5")
        >>> model = build_seq2seq(target_vocab_size=9, **sizes)
        >>> loaded = load_parameters(model, "old.weights.h5", strict=False)
        >>> len(loaded.taken)
        7
        >>> loaded.kept
        ('decoder_embedding/embeddings', 'decoder_output/kernel', 'decoder_output/bias')
    """
    check_boolean("strict", strict)
    path = pathlib.Path(path)
    there = _weights_of_file(path)
    here = _weights_of_model(model)
    taken = [key for key in here if _agree(here[key], there.get(key))]
    kept = [key for key in here if key not in taken]
    unused = [key for key in kept if key in there]
    unused += [key for key in there if key not in here]
    if strict and (kept or unused):
        raise ValueError(_mismatch(path, here, there, kept, unused))
    if not taken:
        raise ValueError(
            f"'{path}' has not one weight of the model's, by name and shape. "
            f"{_mismatch(path, here, there, kept, unused)}"
        )
    for key in taken:
        here[key].assign(there[key])
    return LoadedParameters(
        tuple(here[key].path for key in taken),
        tuple(here[key].path for key in kept),
        # The model's path where it has the weight too, the file's own where not.
        tuple(here[key].path if key in here else key for key in unused),
    )


def freeze(model: keras.Model, patterns: str | Sequence[str]) -> list[str]:
    """Makes layers keep their weights in training. Call it before `model.compile`.

    A pattern is one of a shell: `*` stands for any characters. It is held against the
    names of layers (`"encoder_*"`) and the paths of weights (`"encoder_lstm_1/*"`).
    Layers are frozen whole: where patterns match some of a layer's weights only, that
    is an error.

    Args:
        model: A `Seq2Seq` or another Keras model.
        patterns: A pattern or a list of them.

    Returns:
        Names of the layers frozen by this call, in the model's order.

    Raises:
        TypeError: If `patterns` holds anything but strings.
        ValueError: If a pattern matches nothing, or a part of a layer only.

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
            raise TypeError(f"`patterns` must hold strings. Received: {pattern!r}.")
        if not any(_matched(layer, [pattern]) for layer in layers):
            raise ValueError(
                f"`patterns` must each match a layer or weights. Received: {pattern!r}."
                f" The layers are: {', '.join(layer.name for layer in layers)}."
            )
    chosen = [layer for layer in layers if _matched(layer, patterns)]
    for layer in chosen:
        found, all_of_it = _matched(layer, patterns), [w.path for w in layer.weights]
        if len(found) < len(all_of_it):
            left = [path for path in all_of_it if path not in found]
            raise ValueError(
                "`patterns` must match all weights of a layer or none, since a layer "
                f"is frozen whole. Received: {patterns}, which leave out "
                f"{_listed(left)} of the layer {layer.name!r}; give its name instead."
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
    r"""Sets a model's embedding to pretrained vectors.

    A file is text in the format of word2vec, GloVe and fastText, UTF-8, gzipped if its
    name ends in `.gz`: a line for each token, the token and its components, parted by
    spaces; a first line of their number and width may precede. It is read line by line,
    and only tokens of the vocabulary are taken, special ones too (`</s>`); of a token
    that stands there twice the first. The others keep the vectors they have.

    Where source and target share one embedding, or it is the output layer too, all of
    them get the vectors.

    Args:
        model: A `Seq2Seq` that has an embedding on this side.
        side: `"source"` or `"target"`.
        vocab: The `Vocabulary` of this side.
        vectors: Path of the file, or a float array (vocab, width), a row for each id.

    Returns:
        The number of tokens that got a vector.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model has no embedding there, if sizes differ, if a line
            cannot be read (the message names file and line), or if the file has not
            one token of the vocabulary.
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
    layer = _embedding(model, side)
    if not isinstance(vocab, Vocabulary):
        raise TypeError(f"`vocab` must be a kseq.data.Vocabulary. Received: {vocab!r}.")
    if len(vocab) != layer.input_dim:
        raise ValueError(
            f"`vocab` must have the {layer.input_dim} tokens of the {side} that the "
            f"model was built for. Received: a vocabulary of {len(vocab)}."
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
    found = _read_vectors(pathlib.Path(vectors), vocab, layer.output_dim)
    if not found:
        raise ValueError(
            f"'{vectors}' has a vector for not one token of the {side}'s vocabulary. "
            "Are the language, the tokens and their case the same?"
        )
    table = keras.ops.convert_to_numpy(layer.embeddings).copy()
    for index, vector in found.items():
        table[index] = vector
    layer.embeddings.assign(table)
    return len(found)


def _embedding(model: Any, side: str) -> Any:
    """Returns the embedding layer of a side."""
    if not isinstance(model, Seq2Seq):
        raise TypeError(f"`model` must be a kseq.Seq2Seq. Received: {model!r}.")
    check_choice("side", side, _SIDES)
    own = "encoder_embedding" if side == "source" else "decoder_embedding"
    for layer in model.layers:
        if layer.name in (own, "shared_embedding"):
            return layer
    config = model.config
    representation = config.encoder if side == "source" else config.decoder
    raise ValueError(
        f"`model` must have an embedding of the {side}. Received: a model whose {side} "
        f"is {representation.representation!r}; build it with "
        f"{side}_representation='embedding'."
    )


def _read_vectors(
    path: pathlib.Path, vocab: Vocabulary, width: int
) -> dict[int, np.ndarray]:
    """Reads the vectors of a vocabulary's tokens, by their ids."""
    check_files("vectors", path)
    found: dict[int, np.ndarray] = {}
    announced: int | None = None
    rows = 0
    with contextlib.closing(Reading([str(path)])) as reading:
        for number, line in enumerate(reading.lines(str(path)), 1):
            place = f"{path}:{number}"
            text = decoded(line, str(path), number).rstrip(" ")
            if number == 1:
                header = text.split(" ")
                if len(header) == 2 and all(each.isdecimal() for each in header):
                    announced = int(header[0])
                    _check_width(place, int(header[1]), width)
                    continue
                # Only here: some tokens hold spaces, seldom the very first.
                _check_width(place, len(header) - 1, width)
            token, *components = text.rsplit(" ", width)
            if len(components) != width:
                raise ValueError(
                    f"{place}: the line must be a token and {width} numbers, parted by "
                    f"spaces. Received: {_short(text)}."
                )
            rows += 1
            if token not in vocab or vocab[token] in found:
                continue
            try:
                vector = np.array([float(each) for each in components], "float32")
            except ValueError:
                vector = np.array([np.nan])
            if not np.isfinite(vector).all():
                raise ValueError(
                    f"{place}: a vector must be finite numbers. Received: "
                    f"{_short(text)}."
                )
            found[vocab[token]] = vector
    if announced is not None and rows != announced:
        raise ValueError(
            f"{path}:1: the line announces {announced} vectors, but {rows} follow. Was "
            "the file cut short? If that is meant, remove its first line."
        )
    return found


def _check_width(place: str, received: int, width: int) -> None:
    if received != width:
        raise ValueError(
            f"{place}: the vectors must have the embedding's width, {width}. Received: "
            f"{received}."
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def _weights_of_file(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the weights of a file or a model folder, by names that `_key` gives."""
    if path.is_dir():
        path = path / _MODEL
    if not path.name.endswith((".keras", ".weights.h5")):
        raise ValueError(
            "`path` must be a '.keras' file, a folder of a saved Translator, or a "
            f"'.weights.h5' file. Received: '{path}'."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There are no parameters at '{path}'.")
    content = path.read_bytes()
    try:
        if path.name.endswith(".keras"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = archive.read(_WEIGHTS)
        with h5py.File(io.BytesIO(content), "r") as file:
            return {_key(file, name): file[name][()] for name in _names(file)}
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"'{path}' is not a file that Keras has saved.") from error


def _weights_of_model(model: keras.Model) -> dict[str, Any]:
    """Returns the variables of a model, by the names that they have in a file of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, _WEIGHTS)
        model.save_weights(path)
        with h5py.File(path, "r") as file:
            found = {_key(file, n): _variable(model, file, n) for n in _names(file)}
    place = {id(weight): index for index, weight in enumerate(model.weights)}
    return dict(sorted(found.items(), key=lambda item: place[id(item[1])]))


def _names(file: h5py.File) -> list[str]:
    """Lists the weights in a file, not the optimizer's nor states of generators."""
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if (
            isinstance(item, h5py.Dataset)
            and not name.startswith("optimizer/")
            and not np.issubdtype(item.dtype, np.integer)
        ):
            found.append(name)

    file.visititems(visit)
    return found


def _steps(file: h5py.File, name: str) -> Iterator[tuple[str, str]]:
    """Gives the way to a weight: attributes, and the names of layers in a list.

    Keras calls the layers of a list by their classes and order there ("dense_1"), which
    differ from model to model, but notes their names beside.
    """
    *parts, _, index = name.split("/")
    for depth, part in enumerate(parts):
        if depth and parts[depth - 1] == "layers":
            group = file["/".join(parts[: depth + 1])]
            yield "layer", str(group["vars"].attrs["name"])
        elif part != "layers":
            yield "attribute", part
    yield "weight", index


def _key(file: h5py.File, name: str) -> str:
    return "/".join(step for _, step in _steps(file, name))


def _variable(model: keras.Model, file: h5py.File, name: str) -> Any:
    place: Any = model
    for kind, step in _steps(file, name):
        if kind == "layer":
            place = next(layer for layer in place.layers if layer.name == step)
        elif kind == "attribute":
            place = getattr(place, step)
        else:
            store: dict[str, Any] = {}
            place.save_own_variables(store)
            place = store[step]
    return place


def _agree(here: Any, there: np.ndarray | None) -> bool:
    return there is not None and tuple(here.shape) == there.shape


def _mismatch(
    path: pathlib.Path,
    here: dict[str, Any],
    there: dict[str, np.ndarray],
    kept: Iterable[str],
    unused: Iterable[str],
) -> str:
    """Says how a model and a file differ."""
    shapes = [
        f"{here[key].path} has the shape {tuple(here[key].shape)} here and "
        f"{there[key].shape} there"
        for key in kept
        if key in there
    ]
    lacking = [f"{here[k].path} {tuple(here[k].shape)}" for k in kept if k not in there]
    more = [f"{key} {there[key].shape}" for key in unused if key not in here]
    parts = [
        f"{title}{_listed(names)}."
        for title, names in (
            ("", shapes),
            ("The file lacks ", lacking),
            ("The model lacks ", more),
        )
        if names
    ]
    return (
        f"The weights in '{path}' are not those of the model. {' '.join(parts)} Build "
        "the model as the other one was, or pass strict=False to take what agrees."
    )


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _matched(layer: keras.layers.Layer, patterns: Sequence[str]) -> list[str]:
    """Returns the paths of a layer's weights that patterns mean."""
    paths = [weight.path for weight in layer.weights]
    if any(fnmatch.fnmatchcase(layer.name, pattern) for pattern in patterns):
        return paths
    return [
        path
        for path in paths
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
    ]
