"""One-hot vectors and ids of another numbering, as Keras's examples have them."""

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
        row, step = (int(place) for place in np.argwhere(~good)[0])
        raise ValueError(
            f"`{name}` must hold one-hot vectors: a single 1 among zeros, or zeros "
            f"only for padding. Received: {vectors[row, step].tolist()} in row {row}, "
            f"step {step}."
        )
    return np.where(counts == 1, ones.argmax(axis=-1), -1)


class Side:
    """The arrays of one side, sources or targets, and what their numbers mean.

    Args:
        name: str, `"source"` or `"target"`, for errors.
        array: one-hot vectors `(samples, time, symbols)` or integer ids `(samples,
            time)` of the caller's numbering.
        symbols: the symbol of each number, as `Examples.from_arrays` takes them.
        start: the symbol that begins rows, or None.
        end: the symbol that ends rows, or None.
        padding: the symbol that fills rows up, or None.

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
        numbers, size = _numbers(name, array)
        named = _symbols(symbols, size, numbers)
        roles = {"start": start, "end": end, "padding": padding}
        found = {role: _symbol(role, value, named) for role, value in roles.items()}
        special = dict(zip(SPECIAL_TOKENS, range(len(SPECIAL_TOKENS)), strict=True))
        special |= {
            found[role]: place
            for role, place in (("start", START), ("end", END))
            if found[role] is not None
        }
        self.tokens = [symbol for symbol in named if symbol not in special]
        single = all(len(token) == 1 for token in self.tokens)
        self.tokenizer = (
            "characters" if single and symbols is not None else "whitespace"
        )
        places = special | {
            token: len(SPECIAL_TOKENS) + place
            for place, token in enumerate(self.tokens)
        }
        table = np.array([places[symbol] for symbol in named] + [PAD])
        ids = table[numbers]  # -1, padding, is the last of the table
        fillers = [PAD] if padding is None else [PAD, places[found["padding"]]]
        must_start = name == "target" and start is not None
        self.ids = _rows(name, _without_start(name, ids, must_start), fillers)


def _numbers(name: str, array: npt.ArrayLike) -> tuple[npt.NDArray[Any], int]:
    """Returns the caller's numbers, -1 for padding, and how many symbols there are."""
    try:
        found = np.asarray(array)
    except ValueError:  # rows of unequal lengths
        found = np.asarray(array, dtype=object)
    kinds = {2: "iu", 3: "biuf"}
    if found.dtype.kind not in kinds.get(found.ndim, ""):
        raise ValueError(
            f"`{name}` must be one-hot vectors (samples, time, symbols), or integer "
            f"ids (samples, time). Received: shape {found.shape}, dtype {found.dtype}."
        )
    if not found.size:
        raise ValueError(
            f"`{name}` must hold at least one sample, step and symbol. Received: shape "
            f"{found.shape}."
        )
    if found.ndim == 3:
        return one_hot_columns(name, found), found.shape[2]
    if found.min() < 0:
        raise ValueError(
            f"`{name}` must hold ids of 0 or more. Received: {found.min()}."
        )
    return found.astype(np.int64), 0


def _symbols(
    symbols: Symbols | None, size: int, numbers: npt.NDArray[Any]
) -> list[str]:
    """Returns the symbol of each number; `size` is 0 where any number may be."""
    needed = size or int(numbers.max()) + 1
    if symbols is None:
        return [str(number) for number in range(needed)]
    if isinstance(symbols, Mapping):
        if sorted(symbols.values()) != list(range(len(symbols))):
            raise ValueError(
                "`symbols`, where it is a dict, must give each symbol its number, 0 to "
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
        raise ValueError(f"`symbols` must not repeat one. Received: {twice!r} twice.")
    return named


def _symbol(role: str, value: Symbol | None, named: list[str]) -> Any:
    """Returns the symbol with a role, given by itself or by its number."""
    if isinstance(value, int | np.integer) and 0 <= value < len(named):
        return named[value]
    if value is not None and value not in named:
        raise ValueError(
            f"`{role}` must be one of the symbols {named}, or its number. "
            f"Received: {value!r}."
        )
    return value


def _without_start(name: str, ids: npt.NDArray[Any], required: bool) -> Any:
    """Drops the symbol that begins all rows, if there is one."""
    begun: npt.NDArray[np.bool_] = np.equal(ids[:, 0], START)
    if not begun.all() and (begun.any() or required):
        raise ValueError(
            f"`{name}` must begin with the `start` symbol in each row. Received: a row "
            f"without it, {begun.tolist().index(False)}."
        )
    return ids[:, 1:] if begun.all() else ids


def _rows(name: str, ids: npt.NDArray[Any], fillers: list[int]) -> Ids:
    """Returns rows of ids, each ended by `</s>` and then padded."""
    filler = np.isin(ids, fillers)
    ends = np.equal(ids, END)
    after = np.cumsum(ends, axis=1) > 0  # the end and what follows it
    wrong = after & ~ends & ~filler
    # Without an end, a row goes as far as its last symbol.
    ended = np.any(after, axis=1, keepdims=True)  # (samples, 1)
    real = np.where(ended, ~after, ~filler)
    places = np.arange(1, ids.shape[1] + 1)
    lengths = np.max(real * places, axis=1, initial=0)  # (samples,)
    within = places <= lengths[:, None]
    wrong |= within & np.isin(ids, [PAD, START])
    if wrong.any():
        row, step = (int(place) for place in np.argwhere(wrong)[0])
        what = "a symbol after its end" if after[row, step] else "padding or a start"
        raise ValueError(
            f"`{name}` must hold rows of symbols, then an end or padding. Received: "
            f"row {row} with {what} at step {step}."
        )
    width = int(lengths.max()) + 1
    rows = np.full((len(ids), width), PAD, np.int32)
    rows[:, : width - 1] = np.where(within, ids, PAD)[:, : width - 1]
    rows[np.arange(len(ids)), lengths] = END
    return rows
