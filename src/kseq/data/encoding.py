"""Pairs of texts encoded as ids, within limits of length.

Limits count the tokens of a text, without `</s>`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
import numpy.typing as npt

from kseq.config.checks import check_choice, check_integer
from kseq.data.batches import Indices, row_lengths
from kseq.data.corpora.corpus import Corpus
from kseq.data.examples import Examples
from kseq.data.vocabulary import Ids, Vocabulary, check_vocabulary
from kseq.progress import progress
from kseq.special_tokens import END, PAD

OVERLONG = ("drop", "truncate")

# Number of pairs per chunk, and maximum number of characters (rows x longest text) per
# array: one very long text then does not pad a thousand short ones to its length.
_CHUNK_SIZE = 1024
_MAX_CELLS = 1 << 20


@dataclasses.dataclass(frozen=True)
class LengthCounts:
    """Counts of the pairs that limits of length dropped or truncated.

    Args:
        pairs: int, number of pairs read. Default: 0.
        dropped: int, number of pairs dropped for their length. Default: 0.
        truncated: int, number of pairs with one or both sides truncated. Default: 0.
        longest_source: int, length of the longest source before any limit, in tokens
            without `</s>`. Default: 0.
        longest_target: int, the same for the targets. Default: 0.
    """

    pairs: int = 0
    dropped: int = 0
    truncated: int = 0
    longest_source: int = 0
    longest_target: int = 0

    @property
    def remaining(self) -> int:
        """Number of pairs that were not dropped."""
        return self.pairs - self.dropped

    def __add__(self, other: LengthCounts) -> LengthCounts:
        """Returns the counts of two parts of a corpus, added up."""
        return LengthCounts(
            self.pairs + other.pairs,
            self.dropped + other.dropped,
            self.truncated + other.truncated,
            max(self.longest_source, other.longest_source),
            max(self.longest_target, other.longest_target),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class RaggedRows:
    """Rows of ids of unequal length, stored without padding.

    Args:
        ids: int32 array of shape `(tokens,)`.
        starts: int64 array of shape `(rows,)`, the start of each row in `ids`.
        lengths: int64 array of shape `(rows,)`.
    """

    ids: Ids
    starts: Indices
    lengths: Indices

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self.lengths)

    def __getitem__(self, row: int) -> Ids:
        """Returns the ids of one row."""
        start = self.starts[row]
        return self.ids[start : start + self.lengths[row]]

    def select(self, rows: Any) -> RaggedRows:
        """Returns some of the rows, with only the tokens of these.

        Args:
            rows: indices, booleans or a slice, as for a numpy array.
        """
        starts, lengths = self.starts[rows], self.lengths[rows]
        new_starts = np.cumsum(lengths) - lengths
        indices = np.arange(lengths.sum()) + np.repeat(starts - new_starts, lengths)
        return RaggedRows(self.ids[indices], new_starts, lengths)

    def pad(self, rows: Any, width: int | None = None) -> Ids:
        """Returns some of the rows, padded on the right.

        Args:
            rows: indices or a slice.
            width: int or None, the length to pad to. Default: None, the longest of
                these rows.

        Returns:
            int32 array of shape `(rows, width)`.
        """
        starts, lengths = self.starts[rows], self.lengths[rows]
        columns = np.arange(lengths.max(initial=1) if width is None else width)
        real = columns < lengths[:, None]  # (rows, width)
        ids = np.full(real.shape, PAD, np.int32)
        ids[real] = self.ids[(starts[:, None] + columns)[real]]
        return ids


def encode_pairs(
    pairs: Iterable[tuple[str, str]],
    source_vocab: Vocabulary,
    target_vocab: Vocabulary,
    *,
    max_source_length: int | None = None,
    max_target_length: int | None = None,
    overlong: str = "drop",
) -> tuple[Examples, LengthCounts]:
    """Encodes pairs of texts as `Examples`, within limits of length.

    The pairs are read once, one by one. The arrays are as wide as the longest row, so
    set limits for a corpus with a few very long lines. For a corpus larger than memory
    use `write_shards`.

    Args:
        pairs: iterable of `(source, target)`, each a str.
        source_vocab: `Vocabulary` of the sources.
        target_vocab: `Vocabulary` of the targets.
        max_source_length: int or None, the maximum number of tokens of a source, not
            counting `</s>`. Default: None, no limit.
        max_target_length: int or None, the same for targets. Default: None.
        overlong: str, how to handle a pair with a longer side: `"drop"` leaves it out,
            `"truncate"` keeps the first tokens of that side, ended by `</s>`. Default:
            `"drop"`.

    Returns:
        A tuple `(examples, counts)`: `Examples` in the order of `pairs`, and
        `LengthCounts`.

    Raises:
        TypeError: if `pairs` does not consist of pairs of strings, or a vocabulary is
            not a `Vocabulary`.
        ValueError: if a limit is below 1, `overlong` is unknown, or all pairs are
            dropped.

    Example:
        >>> from kseq.data import Vocabulary, encode_pairs
        >>> vocab = Vocabulary(["a", "b"])
        >>> pairs = [("a b", "b"), ("a a a a", "b b"), ("b", "a a")]
        >>> examples, counts = encode_pairs(pairs, vocab, vocab, max_source_length=3)
        >>> examples.source
        array([[4, 5, 3],
               [5, 3, 0]], dtype=int32)
        >>> counts
        LengthCounts(pairs=3, dropped=1, truncated=0,
                     longest_source=4, longest_target=2)
    """
    counts = LengthCounts()
    chunks = []
    for source, target, chunk_counts in encode_chunks(
        pairs,
        source_vocab,
        target_vocab,
        max_source_length=max_source_length,
        max_target_length=max_target_length,
        overlong=overlong,
    ):
        chunks.append((source, target))
        counts += chunk_counts
    check_not_empty(counts, max_source_length, max_target_length)
    sources, targets = (_concatenate(side) for side in zip(*chunks, strict=True))
    return Examples(sources, targets, source_vocab, target_vocab), counts


def encode_chunks(
    pairs: Iterable[tuple[str, str]],
    source_vocab: Vocabulary,
    target_vocab: Vocabulary,
    *,
    max_source_length: int | None = None,
    max_target_length: int | None = None,
    overlong: str = "drop",
) -> Iterator[tuple[RaggedRows, RaggedRows, LengthCounts]]:
    """Encodes pairs in chunks, so that they need not all be in memory.

    Args:
        pairs: as for `encode_pairs`, like the other arguments.
        source_vocab: `Vocabulary` of the sources.
        target_vocab: `Vocabulary` of the targets.
        max_source_length: int or None. Default: None.
        max_target_length: int or None. Default: None.
        overlong: str, `"drop"` or `"truncate"`. Default: `"drop"`.

    Returns:
        An iterator of `(source, target, counts)`: the `RaggedRows` of the pairs in a
        chunk that were not dropped, which may be none, and the chunk's `LengthCounts`.
        The arguments are checked at the call.

    Raises:
        TypeError: as `encode_pairs`.
        ValueError: as `encode_pairs`, but not if all pairs are dropped.
    """
    check_vocabulary("source_vocab", source_vocab)
    check_vocabulary("target_vocab", target_vocab)
    limits = {
        "max_source_length": max_source_length,
        "max_target_length": max_target_length,
    }
    for name, limit in limits.items():
        if limit is not None:
            check_integer(name, limit, 1)
    check_choice("overlong", overlong, OVERLONG)
    if not isinstance(pairs, Iterable):
        raise TypeError(
            "`pairs` must be an iterable of (source, target) strings. Received: "
            f"{pairs!r}."
        )

    def chunks() -> Iterator[tuple[RaggedRows, RaggedRows, LengthCounts]]:
        total = len(pairs) if isinstance(pairs, Sized) else None
        checked = _check_pairs(pairs)
        # A corpus shows its own progress.
        if not isinstance(pairs, Corpus):
            checked = iter(progress(checked, "encoding", total, unit="pairs"))
        while chunk := list(itertools.islice(checked, _CHUNK_SIZE)):
            sources, targets = zip(*chunk, strict=True)
            yield _apply_limits(
                _encode(sources, source_vocab),
                _encode(targets, target_vocab),
                list(limits.values()),
                overlong,
            )

    return chunks()


def check_not_empty(
    counts: LengthCounts, max_source_length: int | None, max_target_length: int | None
) -> None:
    """Raises an error if there are no pairs, or all were dropped.

    Args:
        counts: `LengthCounts` of the whole corpus.
        max_source_length: int or None, the limit.
        max_target_length: int or None, the limit.

    Raises:
        ValueError: if no pair remains.
    """
    if not counts.pairs:
        raise ValueError("`pairs` must contain at least one pair. Received: none.")
    if not counts.remaining:
        raise ValueError(
            f"`pairs` must contain a pair within the limits: each of the "
            f"{counts.pairs} has a longer side. Received: "
            f"max_source_length={max_source_length}, "
            f"max_target_length={max_target_length}; raise them, or pass "
            "overlong='truncate'."
        )


def _check_pairs(pairs: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yields the pairs, or raises an error that names the first invalid one."""
    for index, pair in enumerate(pairs):
        if (
            not isinstance(pair, tuple | list)
            or len(pair) != 2
            or not all(isinstance(text, str) for text in pair)
        ):
            raise TypeError(
                "`pairs` must contain (source, target) strings. Received: "
                f"{pair!r} of type {type(pair).__name__} at index {index}."
            )
        yield pair[0], pair[1]


def _encode(texts: Sequence[str], vocab: Vocabulary) -> RaggedRows:
    """Encodes texts, in groups of similar length."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    lengths, ids = [], []
    start = 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order)
            and (stop + 1 - start) * len(texts[order[stop]]) <= _MAX_CELLS
        ):
            stop += 1
        rows = vocab.encode([texts[index] for index in order[start:stop]])
        lengths.append(row_lengths(rows))
        ids.append(rows[rows != PAD])
        start = stop
    length = np.concatenate(lengths)
    starts = np.cumsum(length) - length
    position = np.argsort(order)  # of each text in `order`
    return RaggedRows(np.concatenate(ids), starts[position], length[position])


def _apply_limits(
    source: RaggedRows,
    target: RaggedRows,
    limits: Sequence[int | None],
    overlong: str,
) -> tuple[RaggedRows, RaggedRows, LengthCounts]:
    """Drops or truncates the pairs that are too long, and counts them."""
    sides = (source, target)
    longest = [int(side.lengths.max()) - 1 for side in sides]
    too_long = [
        np.zeros(len(side), bool) if limit is None else side.lengths - 1 > limit
        for side, limit in zip(sides, limits, strict=True)
    ]
    either = too_long[0] | too_long[1]
    count = int(either.sum())
    if overlong == "drop":
        source_rows, target_rows = (side.select(~either) for side in sides)
        counts = LengthCounts(len(source), count, 0, *longest)
    else:
        source_rows, target_rows = (
            side if limit is None else _truncate(side, long, limit)
            for side, long, limit in zip(sides, too_long, limits, strict=True)
        )
        counts = LengthCounts(len(source), 0, count, *longest)
    return source_rows, target_rows, counts


def _truncate(rows: RaggedRows, where: npt.NDArray[np.bool_], limit: int) -> RaggedRows:
    """Truncates the rows of a mask to `limit` tokens and `</s>`."""
    lengths = np.where(where, limit + 1, rows.lengths)
    ids = rows.ids.copy()
    ids[rows.starts[where] + limit] = END
    return RaggedRows(ids, rows.starts, lengths).select(slice(None))


def _concatenate(chunks: Sequence[RaggedRows]) -> Ids:
    """Returns the rows of several chunks as one padded array."""
    width = max(int(chunk.lengths.max(initial=1)) for chunk in chunks)
    ids = np.full((sum(map(len, chunks)), width), PAD, np.int32)
    start = 0
    for chunk in chunks:
        ids[start : start + len(chunk)] = chunk.pad(slice(None), width)
        start += len(chunk)
    return ids
