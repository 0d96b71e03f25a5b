"""Decoding with models: numpy arrays in, a compiled search, numpy arrays out."""

import collections
import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kseq.config.checks import INT32_MAX, check_integer
from kseq.decoding import Hypotheses, LengthRatio, Search, combine_steps, get
from kseq.decoding.search import SearchInputs
from kseq.models.compiled_functions import compile_function, describe
from kseq.models.inputs import array_to_ids, real_step_mask
from kseq.models.search_members import Member
from kseq.progress import progress
from kseq.special_tokens import END, PAD, START

# Number of compiled searches kept in memory.
_MAX_COMPILED = 16


class Generator:
    """Decodes with a model or an ensemble. A search is compiled once, for all shapes.

    Args:
        members: The models.
        averaging: `"linear"` or `"log_linear"`; see
            `kseq.decoding.average_distributions`. Default: `"linear"`.
        compile: Function that makes a `tf.function` from a function of tensors and its
            signature. Default: `compile_function`.
    """

    def __init__(
        self,
        members: Sequence[Member],
        averaging: str = "linear",
        compile: Callable[[Callable[..., Any], list[Any]], Any] = compile_function,
    ) -> None:
        self._members = members
        self._averaging = averaging
        self._compile = compile
        self._compiled: collections.OrderedDict[Any, Any] = collections.OrderedDict()
        self._tables = compile(lambda: [member.tables() for member in members], [])
        self._table_signature = [member.table_signature() for member in members]

    @property
    def has_attention(self) -> bool:
        """Whether a search can return attention weights."""
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
        """Decodes sources batch by batch; see `Seq2Seq.generate`.

        Args:
            source: Array of sources, (rows, source_length, ...), as `check_source`
                returns it.
            search: Name, dict or object.
            max_length: Maximum output length: an integer, one for each row, a
                `LengthRatio`, or None.
            batch_size: Number of sources decoded at once.
            return_attention: Return the attention weights.
            prefix: Integer ids (rows, prefix_length), or None.

        Returns:
            `Hypotheses` in the order of the sources.
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
        lengths = real_step_mask(source).sum(axis=1)  # (rows,)
        max_lengths = _compute_max_lengths(max_length, lengths, source.ndim == 2)
        if prefix is not None:
            prefix = _check_prefix(prefix, len(source), vocab_size)
        # A table of all tokens pays if at least as many tokens are looked up.
        lookups = int(lengths.sum()) * search.rows_per_source
        use_tables = any(self._table_signature) and lookups >= vocab_size
        hypotheses = min(batch_size, len(source)) * search.rows_per_source
        if hypotheses > INT32_MAX:
            raise ValueError(
                "`batch_size` times the number of hypotheses of a source must be at "
                f"most {INT32_MAX}. Received: {hypotheses}; pass a smaller "
                "`batch_size`."
            )
        function = self._function(
            search, return_attention, prefix is not None, use_tables
        )
        options = list(map(tf.constant, _tensor_options(search).values()))
        tables = [self._tables()] if use_tables else []
        # A batch takes as long as its longest source: sort by length.
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
            outputs = {
                name: value.numpy()
                for name, value in function(options, *arguments, *tables).items()
            }
            not_finite = outputs.pop("not_finite")
            if not_finite.any():
                raise ValueError(
                    f"The model's logits for row {rows[not_finite].min()} of `source` "
                    "are not finite (nan or inf): its weights have probably diverged. "
                    "Train with a lower learning rate or clip the gradients."
                )
            parts.append(Hypotheses(**outputs))
        return Hypotheses.concatenate(parts)[np.argsort(order)]

    def _function(
        self,
        search: Search,
        return_attention: bool,
        with_prefix: bool,
        use_tables: bool,
    ) -> Any:
        """Returns the compiled search, which is traced at its first call."""
        options = _tensor_options(search)
        # The values of these options are arguments of the graph, not part of it.
        template = _replace_options(
            search, {name: v.dtype.name for name, v in options.items()}
        )
        key = (describe(template), return_attention, with_prefix, use_tables)
        if key in self._compiled:
            self._compiled.move_to_end(key)
            return self._compiled[key]

        def run(
            values: Any, source: Any, max_lengths: Any, rows: Any, *further: Any
        ) -> Any:
            configured = _replace_options(
                search, dict(zip(options, values, strict=True))
            )
            rest = list(further)
            prefix = rest.pop(0) if with_prefix else None
            tables = rest.pop(0) if use_tables else [[] for _ in self._members]
            return self._search(
                configured, return_attention, source, max_lengths, rows, prefix, tables
            )

        ids = tf.TensorSpec((None, None), "int32")
        integers = tf.TensorSpec((None,), "int32")
        scalars = [tf.TensorSpec((), value.dtype) for value in options.values()]
        signature = [scalars, self._members[0].source, integers, integers]
        signature += [ids] if with_prefix else []
        signature += [self._table_signature] if use_tables else []
        self._compiled[key] = self._compile(run, signature)
        if len(self._compiled) > _MAX_COMPILED:
            self._compiled.popitem(last=False)
        return self._compiled[key]

    def graph(self, search: Any, return_attention: bool = False) -> Callable[..., Any]:
        """Returns a search as a function of tensors, to export it.

        Args:
            search: Name, dict or object.
            return_attention: Return the attention weights. Default: False.

        Returns:
            Function of sources, (batch, source_length, ...), and maximum output
            lengths, int32 (batch,). It returns a dict of the arrays of `Hypotheses`,
            and `not_finite`, bool (batch,), True for rows with logits that are not
            finite.
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
        parts = [
            member.start(source, each)
            for member, each in zip(self._members, tables, strict=True)
        ]
        steps, states, sources, masks = map(list, zip(*parts, strict=True))
        if len(steps) == 1:
            step, states, sources = steps[0], states[0], sources[0]
        else:
            step = combine_steps(steps, self._averaging)
        return search.search(
            SearchInputs(
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


def _tensor_options(search: Search) -> dict[str, Any]:
    # A subclass may need numbers for the options of its base class.
    own = "tensor_options" in vars(type(search))
    return search.tensor_options() if own else {}


def _replace_options(search: Search, values: dict[str, Any]) -> Search:
    """Returns a copy of a search with other values of some attributes."""
    replaced = copy.copy(search)
    for name, value in values.items():
        setattr(replaced, name, value)
    return replaced


def _compute_max_lengths(
    max_length: Any, lengths: np.ndarray, with_ends: bool
) -> np.ndarray:
    """Returns the maximum output length of each row, including `</s>`."""
    if max_length is None:
        return 2 * lengths + 10
    if isinstance(max_length, LengthRatio):
        return max_length(lengths - with_ends)
    if np.ndim(max_length) == 0:
        return np.full_like(
            lengths, check_integer("max_length", max_length, 1, INT32_MAX)
        )
    longest = np.asarray(max_length)
    if longest.shape != lengths.shape or not np.issubdtype(longest.dtype, np.integer):
        raise ValueError(
            "`max_length` must be an integer, a LengthRatio, or an integer for each of "
            f"the {len(lengths)} rows. Received: shape {longest.shape}, dtype "
            f"{longest.dtype}."
        )
    if longest.size:
        check_integer("max_length", longest.min(), 1)
        check_integer("max_length", longest.max(), 1, INT32_MAX)
    return longest


def _check_prefix(prefix: Any, rows: int, vocab_size: int) -> np.ndarray:
    ids = array_to_ids("prefix", np.asarray(prefix), vocab_size)
    message = f"`prefix` must be integer ids of shape ({rows}, time)"
    if ids.ndim != 2 or len(ids) != rows:
        raise ValueError(f"{message}. Received: shape {ids.shape}.")
    if not np.issubdtype(ids.dtype, np.integer) and ids.size:
        raise ValueError(f"{message}. Received: dtype {ids.dtype}.")
    wrong = (ids < 0) | (ids >= vocab_size) | np.isin(ids, [START, END])
    wrong |= (ids != PAD) & np.pad(ids == PAD, [(0, 0), (1, 0)])[:, :-1]
    if wrong.any():
        row = int(wrong.any(axis=1).argmax())
        raise ValueError(
            f"{message}, in 0..{vocab_size - 1} without <s> and </s>, padded with 0 on "
            f"the right. Received: {ids[row].tolist()} in row {row}."
        )
    return ids.astype(np.int32)
