"""Conversion of one-hot vectors and other ids, as in Keras's examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kseq.config.checks import check_texts
from kseq.data.vocabulary import Ids
from kseq.special_tokens import END, PAD, SPECIAL_TOKENS, START

Symbols = Iterable[str] | Mapping[str, int]
Symbol = str | int


def one_hot_columns(name: str, vectors: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Returns the column of each one-hot vector, or -1 for a vector of zeros.

    Args:
        name: str, the argument's name in the caller's signature.
        vectors: array of any dtype, shape `(samples, time, symbols)`.

    Returns:
        int64 array of shape `(samples, time)`.

    Raises:
        ValueError: if a vector is neither one-hot nor zeros.

    Example:
        >>> import numpy as np
        >>> from kseq.data.keras_arrays import one_hot_columns
        >>> one_hot_columns("x", np.array([[[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]]))
        array([[ 1,  0, -1]])
    """
    ones = vectors == 1
    counts = np.count_nonzero(ones, axis=-1)  # (samples, time)
    good = np.all(ones | (vectors == 0), axis=-1) & (counts <= 1)
    if not good.all():
        row, step = (int(index) for index in np.argwhere(~good)[0])
        raise ValueError(
            f"`{name}` must contain one-hot vectors: a single 1 among zeros, or only "
            f"zeros for padding. Received: {vectors[row, step].tolist()} in row {row}, "
            f"step {step}."
        )
    return np.where(counts == 1, ones.argmax(axis=-1), -1)


class Side:
    """The arrays of the sources or the targets, converted to the ids of kseq.

    Args:
        name: str, `"source"` or `"target"`, for errors.
        array: one-hot vectors `(samples, time, symbols)`, or the caller's integer ids
            `(samples, time)`.
        symbols: the symbol of each id, as for `Examples.from_arrays`.
        start: the symbol at the start of rows, or None.
        end: the symbol that ends rows, or None.
        padding: the symbol that pads rows, or None.

    Attributes:
        ids: int32 array of rows that end with `</s>`.
        tokens: list of str, the ordinary tokens.
        tokenizer: str, the tokenizer of the vocabulary.
    """

    def __init__(
        self,
        name: str,
        array: npt.ArrayLike,
        symbols: Symbols | None,
        start: Symbol | None,
        end: Symbol | None,
        padding: Symbol | None,
    ) -> None:
        numbers, size = _as_numbers(name, array)
        named = _check_symbols(symbols, size, numbers)
        roles = {"start": start, "end": end, "padding": padding}
        by_role = {
            role: _find_symbol(role, value, named) for role, value in roles.items()
        }
        special = dict(zip(SPECIAL_TOKENS, range(len(SPECIAL_TOKENS)), strict=True))
        special |= {
            by_role[role]: index
            for role, index in (("start", START), ("end", END))
            if by_role[role] is not None
        }
        self.tokens = [symbol for symbol in named if symbol not in special]
        single = all(len(token) == 1 for token in self.tokens)
        self.tokenizer = (
            "characters" if single and symbols is not None else "whitespace"
        )
        new_ids = special | {
            token: index for index, token in enumerate(self.tokens, len(SPECIAL_TOKENS))
        }
        table = np.array([new_ids[symbol] for symbol in named] + [PAD])
        ids = table[numbers]  # padding, -1, is the last entry
        fillers = [PAD] if padding is None else [PAD, new_ids[by_role["padding"]]]
        must_start = name == "target" and start is not None
        self.ids = _end_rows(name, _drop_start(name, ids, must_start), fillers)


def _as_numbers(name: str, array: npt.ArrayLike) -> tuple[npt.NDArray[Any], int]:
    """Returns the caller's ids, -1 for padding, and the number of symbols or 0."""
    try:
        numbers = np.asarray(array)
    except ValueError:  # rows of unequal lengths
        numbers = np.asarray(array, dtype=object)
    kinds = {2: "iu", 3: "biuf"}
    if numbers.dtype.kind not in kinds.get(numbers.ndim, ""):
        raise ValueError(
            f"`{name}` must be one-hot vectors (samples, time, symbols), or integer "
            f"ids (samples, time). Received: shape {numbers.shape}, dtype "
            f"{numbers.dtype}."
        )
    if not numbers.size:
        raise ValueError(
            f"`{name}` must have at least one sample, step and symbol. Received: "
            f"shape {numbers.shape}."
        )
    if numbers.ndim == 3:
        return one_hot_columns(name, numbers), numbers.shape[2]
    if numbers.min() < 0:
        raise ValueError(
            f"`{name}` must contain ids of at least 0. Received: {numbers.min()}."
        )
    return numbers.astype(np.int64), 0


def _check_symbols(
    symbols: Symbols | None, size: int, numbers: npt.NDArray[Any]
) -> list[str]:
    """Returns the symbol of each id. A `size` of 0 allows any number of symbols."""
    needed = size or int(numbers.max()) + 1
    if symbols is None:
        return [str(number) for number in range(needed)]
    if isinstance(symbols, Mapping):
        if sorted(symbols.values()) != list(range(len(symbols))):
            raise ValueError(
                "`symbols`, if it is a dict, must map the symbols to the ids from 0 to "
                f"{len(symbols) - 1}. Received: {symbols!r}."
            )
        symbols = sorted(symbols, key=lambda symbol: symbols[symbol])
    named = check_texts("symbols", list(symbols))
    if len(named) < needed or (size and len(named) > size):
        raise ValueError(
            f"`symbols` must name {'' if size else 'at least '}{needed} symbols, one "
            f"for each {'column' if size else 'id'}. Received: {len(named)}."
        )
    if len(set(named)) < len(named):
        twice = next(symbol for symbol in named if named.count(symbol) > 1)
        raise ValueError(
            f"`symbols` must not repeat a symbol. Received: {twice!r} twice."
        )
    return named


def _find_symbol(role: str, value: Symbol | None, named: list[str]) -> Any:
    """Returns the symbol with a role, given as the symbol or its id."""
    if isinstance(value, int | np.integer) and 0 <= value < len(named):
        return named[value]
    if value is not None and value not in named:
        raise ValueError(
            f"`{role}` must be one of the symbols {named}, or its id. "
            f"Received: {value!r}."
        )
    return value


def _drop_start(name: str, ids: npt.NDArray[Any], required: bool) -> Any:
    """Drops the start symbol of all rows, if they have one."""
    started: npt.NDArray[np.bool_] = np.equal(ids[:, 0], START)
    if not started.all() and (started.any() or required):
        raise ValueError(
            f"`{name}` must have the `start` symbol at the start of each row. "
            f"Received: row {started.tolist().index(False)} without it."
        )
    return ids[:, 1:] if started.all() else ids


def _end_rows(name: str, ids: npt.NDArray[Any], fillers: list[int]) -> Ids:
    """Returns rows of ids, each ended by `</s>` and padded."""
    filler = np.isin(ids, fillers)
    ends = np.equal(ids, END)
    after = np.cumsum(ends, axis=1) > 0  # from the end on
    wrong = after & ~ends & ~filler
    # A row without an end ends with its last symbol.
    ended = np.any(after, axis=1, keepdims=True)  # (samples, 1)
    real = np.where(ended, ~after, ~filler)
    positions = np.arange(1, ids.shape[1] + 1)
    lengths = np.max(real * positions, axis=1, initial=0)  # (samples,)
    within = positions <= lengths[:, None]
    wrong |= within & np.isin(ids, [PAD, START])
    if wrong.any():
        row, step = (int(index) for index in np.argwhere(wrong)[0])
        reason = "a symbol after its end" if after[row, step] else "padding or a start"
        raise ValueError(
            f"`{name}` must have rows of symbols, then an end or padding. Received: "
            f"row {row} with {reason} at step {step}."
        )
    width = int(lengths.max()) + 1
    rows = np.full((len(ids), width), PAD, np.int32)
    rows[:, : width - 1] = np.where(within, ids, PAD)[:, : width - 1]
    rows[np.arange(len(ids)), lengths] = END
    return rows
