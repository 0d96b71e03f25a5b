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

from kseq.config.checks import check_integer
from kseq.data.batches import Indices, row_lengths
from kseq.data.corpora.corpus import Corpus
from kseq.data.examples import Examples
from kseq.data.vocabulary import Ids, Vocabulary, check_vocabulary
from kseq.progress import progress
from kseq.special_tokens import END, PAD

OVERLONG = ("drop", "truncate")

# So many pairs are encoded at a time, and so many characters (rows x longest) in one
# array: a line without end then costs its own length, not that of a thousand like it.
_CHUNK = 1024
_CELLS = 1 << 20


@dataclasses.dataclass(frozen=True)
class LengthCounts:
    """What limits of length have done to a corpus.

    Args:
        pairs: int, pairs read.
        dropped: int, those left out for their length.
        truncated: int, those of which one side or both were cut.
        longest_source: int, the longest source read, before any limit, in tokens
            without `</s>`.
        longest_target: int, the longest target, likewise.
    """

    pairs: int = 0
    dropped: int = 0
    truncated: int = 0
    longest_source: int = 0
    longest_target: int = 0

    @property
    def kept(self) -> int:
        """The pairs that are left."""
        return self.pairs - self.dropped

    def __add__(self, other: LengthCounts) -> LengthCounts:
        """Returns the counts of two parts of a corpus together."""
        return LengthCounts(
            self.pairs + other.pairs,
            self.dropped + other.dropped,
            self.truncated + other.truncated,
            max(self.longest_source, other.longest_source),
            max(self.longest_target, other.longest_target),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class RaggedRows:
    """Rows of ids of unequal length, which take the room of their tokens alone.

    Args:
        ids: int32 array of shape `(tokens,)`.
        starts: int64 array of shape `(rows,)`, where each row begins in `ids`.
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

    def take(self, rows: Any) -> RaggedRows:
        """Returns some of the rows, with their own tokens alone.

        Args:
            rows: indices or booleans, as numpy takes them.
        """
        starts, lengths = self.starts[rows], self.lengths[rows]
        own = np.cumsum(lengths) - lengths  # where the rows begin from now on
        places = np.arange(lengths.sum()) + np.repeat(starts - own, lengths)
        return RaggedRows(self.ids[places], own, lengths)

    def padded(self, rows: Any, width: int | None = None) -> Ids:
        """Returns some of the rows, padded on the right.

        Args:
            rows: indices or a slice.
            width: int or None, the length to pad to. Defaults to None, the longest of
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
    """Turns pairs of texts into `Examples`, within limits of length.

    The pairs are read once, one after the other. A pair that is dropped costs no more
    memory than its own tokens; those that are kept make arrays as wide as the longest
    of them, so a corpus with a few huge lines wants limits. For a corpus larger than
    memory see `write_shards`.

    Args:
        pairs: iterable of `(source, target)`, each a str.
        source_vocab: `Vocabulary` of the sources.
        target_vocab: `Vocabulary` of the targets.
        max_source_length: int or None, the most tokens of a source, `</s>` not counted.
            Defaults to None, no limit.
        max_target_length: int or None, the most tokens of a target, likewise.
        overlong: str, what becomes of a pair with a longer side: `"drop"` leaves it
            out, `"truncate"` keeps the first tokens of that side, ended by `</s>`.
            Defaults to `"drop"`.

    Returns:
        A tuple `(examples, counts)`: `Examples` in the order of `pairs`, and
        `LengthCounts`.

    Raises:
        TypeError: if `pairs` holds anything but pairs of strings, or a vocabulary is
            not a `Vocabulary`.
        ValueError: if a limit is below 1, `overlong` is unknown, or no pair is left.

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
    for source, target, more in encode_chunks(
        pairs,
        source_vocab,
        target_vocab,
        max_source_length=max_source_length,
        max_target_length=max_target_length,
        overlong=overlong,
    ):
        chunks.append((source, target))
        counts += more
    check_not_empty(counts, max_source_length, max_target_length)
    sources, targets = (_joined(side) for side in zip(*chunks, strict=True))
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
    """Encodes pairs a chunk at a time, for what must not hold them all.

    Args:
        pairs: as for `encode_pairs`, like all that follows.
        source_vocab: `Vocabulary` of the sources.
        target_vocab: `Vocabulary` of the targets.
        max_source_length: int or None.
        max_target_length: int or None.
        overlong: str, `"drop"` or `"truncate"`.

    Returns:
        An iterator of `(source, target, counts)`: the rows of the pairs kept of a
        chunk, which may be none, and the `LengthCounts` of that chunk. The arguments
        are checked at the call.

    Raises:
        TypeError: as `encode_pairs`.
        ValueError: as `encode_pairs`, but for no pair left.
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
    if overlong not in OVERLONG:
        raise ValueError(
            f"`overlong` must be one of {', '.join(map(repr, OVERLONG))}. "
            f"Received: {overlong!r}."
        )
    if not isinstance(pairs, Iterable):
        raise TypeError(
            "`pairs` must be an iterable of (source, target) strings. Received: "
            f"{pairs!r}."
        )

    def chunks() -> Iterator[tuple[RaggedRows, RaggedRows, LengthCounts]]:
        total = len(pairs) if isinstance(pairs, Sized) else None
        shown = iter(_checked(pairs))
        # A corpus shows how much of its files is read.
        if not isinstance(pairs, Corpus):
            shown = iter(progress(shown, "encoding", total, unit="pairs"))
        while chunk := list(itertools.islice(shown, _CHUNK)):
            sources, targets = zip(*chunk, strict=True)
            yield _limited(
                _encoded(sources, source_vocab),
                _encoded(targets, target_vocab),
                list(limits.values()),
                overlong,
            )

    return chunks()


def check_not_empty(
    counts: LengthCounts, max_source_length: int | None, max_target_length: int | None
) -> None:
    """Raises unless a pair is left.

    Args:
        counts: `LengthCounts` of the whole corpus.
        max_source_length: int or None, the limit that was set.
        max_target_length: int or None, likewise.

    Raises:
        ValueError: if no pair is left.
    """
    if not counts.pairs:
        raise ValueError("`pairs` must hold at least one pair. Received: none.")
    if not counts.kept:
        raise ValueError(
            f"`pairs` must hold a pair within the limits: each of the {counts.pairs} "
            "has a longer side. Received: "
            f"max_source_length={max_source_length}, "
            f"max_target_length={max_target_length}; raise them, or pass "
            "overlong='truncate'."
        )


def _checked(pairs: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yields the pairs, or raises an error that says which is none."""
    for index, pair in enumerate(pairs):
        if (
            not isinstance(pair, tuple | list)
            or len(pair) != 2
            or not all(isinstance(text, str) for text in pair)
        ):
            raise TypeError(
                "`pairs` must hold (source, target) strings. Received: "
                f"{pair!r} of type {type(pair).__name__} at index {index}."
            )
        yield pair[0], pair[1]


def _encoded(texts: Sequence[str], vocab: Vocabulary) -> RaggedRows:
    """Encodes texts, those of like length together."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    lengths, ids = [], []
    start = 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order) and (stop + 1 - start) * len(texts[order[stop]]) <= _CELLS
        ):
            stop += 1
        rows = vocab.encode([texts[index] for index in order[start:stop]])
        lengths.append(row_lengths(rows))
        ids.append(rows[rows != PAD])
        start = stop
    length = np.concatenate(lengths)
    begin = np.cumsum(length) - length
    place = np.argsort(order)  # where each text has come to stand
    return RaggedRows(np.concatenate(ids), begin[place], length[place])


def _limited(
    source: RaggedRows,
    target: RaggedRows,
    limits: Sequence[int | None],
    overlong: str,
) -> tuple[RaggedRows, RaggedRows, LengthCounts]:
    """Drops or cuts the pairs that are too long, and counts them."""
    sides = (source, target)
    longest = [int(side.lengths.max()) - 1 for side in sides]
    too_long = [
        np.zeros(len(side), bool) if limit is None else side.lengths - 1 > limit
        for side, limit in zip(sides, limits, strict=True)
    ]
    either = too_long[0] | too_long[1]
    number = int(either.sum())
    if overlong == "drop":
        kept_source, kept_target = (side.take(~either) for side in sides)
        counts = LengthCounts(len(source), number, 0, *longest)
    else:
        kept_source, kept_target = (
            side if limit is None else _cut(side, where, limit)
            for side, where, limit in zip(sides, too_long, limits, strict=True)
        )
        counts = LengthCounts(len(source), 0, number, *longest)
    return kept_source, kept_target, counts


def _cut(rows: RaggedRows, where: npt.NDArray[np.bool_], limit: int) -> RaggedRows:
    """Cuts some rows to so many tokens and `</s>`."""
    lengths = np.where(where, limit + 1, rows.lengths)
    ids = rows.ids.copy()
    ids[rows.starts[where] + limit] = END
    return RaggedRows(ids, rows.starts, lengths).take(slice(None))


def _joined(chunks: Sequence[RaggedRows]) -> Ids:
    """Returns the rows of several chunks as one padded array."""
    width = max(int(chunk.lengths.max(initial=1)) for chunk in chunks)
    ids = np.full((sum(map(len, chunks)), width), PAD, np.int32)
    start = 0
    for chunk in chunks:
        ids[start : start + len(chunk)] = chunk.padded(slice(None), width)
        start += len(chunk)
    return ids
