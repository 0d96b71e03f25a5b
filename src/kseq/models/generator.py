"""Decoding with models: checked arrays in, one compiled search, arrays out."""

import collections
import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from kseq.config.architecture import SideConfig
from kseq.config.checks import INT32_MAX, check_integer
from kseq.decoding import Hypotheses, LengthRatio, Search, Step, ensemble, get
from kseq.decoding.constraints import END, START
from kseq.decoding.search import Problem
from kseq.decoding.step_function import as_step
from kseq.models.compiled_functions import compiled, describe
from kseq.models.decoder import Decoder
from kseq.models.inputs import CONVERTER, ids_of_array
from kseq.models.precomputed_step import FoldedDecoder
from kseq.progress import progress

# Compiled searches are kept, the latest of them: each takes memory.
_MOST_COMPILED = 16


class Member(Protocol):
    """A model as a search sees it."""

    source: tf.TensorSpec
    vocab_size: int
    has_attention: bool

    def table_signature(self) -> list[tf.TensorSpec]:
        """Returns the shapes and dtypes of `tables`."""

    def tables(self) -> list[Any]:
        """Returns tables of all tokens, or none."""

    def start(self, source: Any, tables: list[Any]) -> tuple[Step, Any, Any, Any]:
        """Returns the step, states, constants and mask of sources.

        Args:
            source: The sources, (batch, source_length, ...).
            tables: What `tables` returns, or none, to do without.
        """


class FoldedMember:
    """A model with the folded form of its decoder.

    Args:
        encoder: The encoder of its inference models.
        decoder: Its `Decoder`.
    """

    def __init__(self, encoder: keras.Model, decoder: Decoder) -> None:
        self._encoder = encoder
        outputs = encoder.output
        self.source = _spec(encoder.input)
        keys = outputs.get("attention_keys")
        self._folded = FoldedDecoder(
            decoder,
            outputs["memory"].shape[-1],
            None if keys is None else keys.shape[-1],
        )
        self.vocab_size = self._folded.vocab_size
        self.has_attention = decoder.core.attention is not None

    def table_signature(self) -> list[tf.TensorSpec]:
        """As `Member`."""
        return self._folded.table_signature() if self._folded.folds_words else []

    def tables(self) -> list[Any]:
        """As `Member`."""
        return self._folded.tables() if self._folded.folds_words else []

    def start(self, source: Any, tables: list[Any]) -> tuple[Step, Any, Any, Any]:
        """As `Member`."""
        encoded = self._encoder(source, training=False)
        step, sources = self._folded.step(encoded, tables or None)
        return step, encoded["states"], sources, encoded["memory_mask"]


class PlainMember:
    """A model as its encoder and its one-step decoder stand.

    Args:
        encoder: The encoder.
        decoder_step: The one-step decoder.
    """

    def __init__(self, encoder: keras.Model, decoder_step: keras.Model) -> None:
        self._encoder = encoder
        self._decoder_step = decoder_step
        self.source = _spec(encoder.input)
        outputs = decoder_step.output
        self.vocab_size = outputs["logits"].shape[-1]
        self.has_attention = "attention" in outputs

    def table_signature(self) -> list[tf.TensorSpec]:
        """As `Member`."""
        return []

    def tables(self) -> list[Any]:
        """As `Member`."""
        return []

    def start(self, source: Any, tables: list[Any]) -> tuple[Step, Any, Any, Any]:
        """As `Member`."""
        encoded = dict(self._encoder(source, training=False))
        states = encoded.pop("states")

        def step(token: Any, states: Any, sources: Any) -> tuple[Any, ...]:
            outputs = self._decoder_step(
                {**sources, "token": token, "states": states}, training=False
            )
            kept = [outputs["attention"]] if self.has_attention else []
            return (outputs["logits"], outputs["states"], *kept)

        return as_step(step, True), states, encoded, encoded.get("memory_mask")


class Generator:
    """Searches over a model, or over several as one, compiled once for every shape.

    Args:
        members: The models.
        averaging: How distributions are averaged; see `kseq.decoding.averaged`.
        compile: What makes a graph of a function of tensors and its signature.
    """

    def __init__(
        self,
        members: Sequence[Member],
        averaging: str = "linear",
        compile: Callable[[Callable[..., Any], list[Any]], Any] = compiled,
    ) -> None:
        self._members = members
        self._averaging = averaging
        self._compile = compile
        self._compiled: collections.OrderedDict[Any, Any] = collections.OrderedDict()
        self._tables = compile(lambda: [member.tables() for member in members], [])
        self._table_signature = [member.table_signature() for member in members]

    @property
    def has_attention(self) -> bool:
        """Whether there are attention weights."""
        return all(member.has_attention for member in self._members)

    def __call__(
        self,
        source: np.ndarray,
        search: Any,
        max_length: Any,
        batch_size: int,
        return_attention: bool,
        prefix: Any,
    ) -> Hypotheses:
        """Decodes sources that `check_source` has passed, batch by batch.

        Args:
            source: The sources, (rows, source_length, ...).
            search: A search, by name, dict or object.
            max_length: Longest output: an integer, one for each row, a `LengthRatio`,
                or None.
            batch_size: Number of sources decoded at once.
            return_attention: Return the attention weights.
            prefix: Integer ids (rows, prefix_length), or None.
        """
        search = get(search)
        batch_size = check_integer("batch_size", batch_size, 1)
        vocab_size = self._members[0].vocab_size
        search.constraints.check_vocab(vocab_size)
        needs = {
            "return_attention": return_attention,
            "coverage_penalty": getattr(search, "coverage_penalty", 0.0) > 0,
        }
        for name, needed in needs.items():
            if needed and not self.has_attention:
                raise ValueError(f"`{name}` needs a model built with attention.")
        lengths = real_steps(source).sum(axis=1)  # (rows,)
        max_lengths = _max_lengths(max_length, lengths, source.ndim == 2)
        if prefix is not None:
            prefix = _check_prefix(prefix, len(source), vocab_size)
        # A table of all tokens pays where at least as many are looked up.
        looked_up = int(lengths.sum()) * search.rows_per_source
        folds = any(self._table_signature) and looked_up >= vocab_size
        held = min(batch_size, len(source)) * search.rows_per_source
        if held > INT32_MAX:
            raise ValueError(
                "`batch_size` times the hypotheses of each source must be at most "
                f"{INT32_MAX}. Received: {held}; pass a smaller `batch_size`."
            )
        function = self._function(search, return_attention, prefix is not None, folds)
        options = list(map(tf.constant, _options(search).values()))
        further = [self._tables()] if folds else []
        # Sources of like lengths together: a batch takes as long as its longest.
        order = np.argsort(lengths, kind="stable")
        parts = []
        starts = range(0, max(len(source), 1), batch_size)
        for start in progress(starts, "decoding", unit="batches"):
            rows = order[start : start + batch_size]
            longest = lengths[rows].max(initial=1)
            arguments = [
                tf.convert_to_tensor(source[rows, :longest]),
                tf.convert_to_tensor(max_lengths[rows], tf.int32),
                tf.convert_to_tensor(rows, tf.int32),
            ]
            if prefix is not None:
                arguments.append(tf.convert_to_tensor(prefix[rows]))
            found = {
                name: value.numpy()
                for name, value in function(options, *arguments, *further).items()
            }
            broken = found.pop("broken")
            if broken.any():
                raise ValueError(
                    f"The model's logits for row {rows[broken].min()} of `source` are "
                    "not finite (nan or inf): its weights have probably diverged. "
                    "Train with a lower learning rate or clip the gradients."
                )
            parts.append(Hypotheses(**found))
        return Hypotheses.concatenate(parts)[np.argsort(order)]

    def _function(
        self, search: Search, return_attention: bool, with_prefix: bool, folds: bool
    ) -> Any:
        """Returns the compiled search; it is traced at its first call only."""
        options = _options(search)
        # Another value of an option is another argument of the same graph.
        like = _with_options(
            search, {name: v.dtype.name for name, v in options.items()}
        )
        key = (describe(like), return_attention, with_prefix, folds)
        if key in self._compiled:
            self._compiled.move_to_end(key)
            return self._compiled[key]

        def run(
            values: Any, source: Any, max_lengths: Any, rows: Any, *further: Any
        ) -> Any:
            given = _with_options(search, dict(zip(options, values, strict=True)))
            rest = list(further)
            prefix = rest.pop(0) if with_prefix else None
            tables = rest.pop(0) if folds else [[] for _ in self._members]
            return self._search(
                given, return_attention, source, max_lengths, rows, prefix, tables
            )

        ids = tf.TensorSpec((None, None), "int32")
        numbers = tf.TensorSpec((None,), "int32")
        scalars = [tf.TensorSpec((), value.dtype) for value in options.values()]
        signature = [scalars, self._members[0].source, numbers, numbers]
        signature += [ids] if with_prefix else []
        signature += [self._table_signature] if folds else []
        self._compiled[key] = self._compile(run, signature)
        if len(self._compiled) > _MOST_COMPILED:
            self._compiled.popitem(last=False)
        return self._compiled[key]

    def graph(self, search: Any, return_attention: bool = False) -> Callable[..., Any]:
        """Returns a search as a function of tensors, for graphs that leave Python.

        Args:
            search: A search, by name, dict or object.
            return_attention: Return the attention weights. Default False.

        Returns:
            Function of the sources, (batch, source_length, ...), and of their longest
            outputs, int32 (batch,), to a dict of the arrays of `Hypotheses`, and
            `broken`, the rows whose logits are not finite.
        """
        search = get(search)

        def run(source: Any, max_lengths: Any) -> Any:
            tables: list[Any] = [[] for _ in self._members]
            rows = tf.range(tf.shape(max_lengths)[0])
            return self._search(
                search, return_attention, source, max_lengths, rows, None, tables
            )

        return run

    def _search(
        self,
        search: Search,
        return_attention: bool,
        source: Any,
        max_lengths: Any,
        rows: Any,
        prefix: Any,
        tables: list[Any],
    ) -> Any:
        started = [
            member.start(source, each)
            for member, each in zip(self._members, tables, strict=True)
        ]
        steps, states, sources, masks = map(list, zip(*started, strict=True))
        if len(steps) == 1:
            step, states, sources = steps[0], states[0], sources[0]
        else:
            step = ensemble(steps, self._averaging)
        return search.search(
            Problem(
                step,
                states,
                max_lengths,
                sources,
                source_mask=masks[0],
                min_lengths=None,
                prefix=prefix,
                rows=rows,
                return_attention=return_attention,
            )
        )


def _options(search: Search) -> dict[str, Any]:
    # What a subclass reads of them it may read as numbers.
    own = "tensor_options" in vars(type(search))
    return search.tensor_options() if own else {}


def _with_options(search: Search, values: dict[str, Any]) -> Search:
    """Returns a copy of a search with other values of some attributes."""
    found = copy.copy(search)
    for name, value in values.items():
        setattr(found, name, value)
    return found


def _spec(tensor: Any) -> tf.TensorSpec:
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _max_lengths(max_length: Any, lengths: np.ndarray, with_ends: bool) -> np.ndarray:
    """Returns the longest output of each row, `</s>` included."""
    if max_length is None:
        return 2 * lengths + 10
    if isinstance(max_length, LengthRatio):
        return max_length(lengths - with_ends)
    if np.ndim(max_length) == 0:
        longest = check_integer("max_length", max_length, 1, INT32_MAX)
        return np.full_like(lengths, longest)
    found = np.asarray(max_length)
    if found.shape != lengths.shape or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(
            "`max_length` must be an integer, a LengthRatio, or an integer for each of "
            f"the {len(lengths)} rows. Received: shape {found.shape}, dtype "
            f"{found.dtype}."
        )
    if found.size:
        check_integer("max_length", found.min(), 1)
        check_integer("max_length", found.max(), 1, INT32_MAX)
    return found


def _check_prefix(prefix: Any, rows: int, vocab_size: int) -> np.ndarray:
    found = ids_of_array("prefix", np.asarray(prefix), vocab_size)
    wanted = f"`prefix` must be integer ids of shape ({rows}, time)"
    if found.ndim != 2 or len(found) != rows:
        raise ValueError(f"{wanted}. Received: shape {found.shape}.")
    if not np.issubdtype(found.dtype, np.integer) and found.size:
        raise ValueError(f"{wanted}. Received: dtype {found.dtype}.")
    wrong = (found < 0) | (found >= vocab_size) | np.isin(found, [START, END])
    wrong |= (found != 0) & np.pad(found == 0, [(0, 0), (1, 0)])[:, :-1]
    if wrong.any():
        row = int(wrong.any(axis=1).argmax())
        raise ValueError(
            f"{wanted}, tokens of 0..{vocab_size - 1} but <s> and </s>, padded with 0 "
            f"on the right. Received: {found[row].tolist()} in row {row}."
        )
    return found.astype(np.int32)


def real_steps(source: np.ndarray) -> np.ndarray:
    """Returns the mask (batch, time) of the steps that are not padding."""
    real = source != 0
    return real if real.ndim == 2 else real.any(axis=-1)


def check_source(source: Any, side: SideConfig) -> np.ndarray:
    """Checks sources at the boundary, where an error can still name the row.

    Args:
        source: What the caller gave as sources.
        side: The settings of the model's encoder.

    Returns:
        int32 ids (batch, time) or float32 vectors (batch, time, dim).

    Raises:
        ValueError: If the sources are not what the model takes.
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
        array = ids_of_array("source", array, side.vocab_size)
    kind = "float" if features else "integer"
    fits = np.issubdtype(array.dtype, np.floating if features else np.integer)
    if array.dtype == object or (not fits and not (features and array.size == 0)):
        raise ValueError(
            f"`source` must be an array of {kind} {shape}, rows padded with 0 on the "
            f"right to one length. Received: dtype {array.dtype}."
            f"{'' if features else f' {CONVERTER} converts other arrays.'}"
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
    real = real_steps(array)
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
