"""The batches of an epoch, planned from the lengths of the pairs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kseq.config.checks import check_boolean, check_integer
from kseq.data.batches import Indices
from kseq.data.buckets import Buckets, assign_buckets, check_buckets, check_lengths

BATCH_TYPES = ("pairs", "tokens")


@dataclasses.dataclass(frozen=True, eq=False)
class BatchPlan:
    """The batches of an epoch, before any of their pairs is read.

    Args:
        order: int64 array of shape `(pairs,)`, all pairs, batch after batch.
        starts: int64 array of shape `(batches,)`, where each batch begins in `order`.
        stops: int64 array of shape `(batches,)`, where it ends.
        buckets: int64 array of shape `(batches,)`, the bucket that each is of.
    """

    order: Indices
    starts: Indices
    stops: Indices
    buckets: Indices

    def __len__(self) -> int:
        """Returns the number of batches."""
        return len(self.starts)

    def rows(self, batch: int) -> Indices:
        """Returns the pairs of one batch."""
        return self.order[self.starts[batch] : self.stops[batch]]


def plan_batches(
    source_lengths: npt.ArrayLike,
    target_lengths: npt.ArrayLike,
    *,
    batch_size: int,
    batch_type: str = "pairs",
    buckets: Sequence[tuple[int, int]] | None = None,
    shuffle: bool = True,
    seed: int = 0,
    epoch: int = 0,
) -> list[Indices]:
    """Shares out the pairs of an epoch among batches, the same wherever it is asked.

    Each pair is in one batch. The pairs of a bucket are put in random order and cut
    into batches; then the batches of all buckets are put in random order. What is left
    over of a bucket joins the next longer one, where it fits as well, and fills up a
    batch there: so all batches but one are full, and none of a few rows weighs as much
    in training as the others. Only where a batch of the next bucket could not hold all
    that is left (`"tokens"`) does it make a smaller batch. The number of batches in
    buckets is the same in every epoch.

    With `batch_type="tokens"` a batch of a bucket has as many pairs as may be of the
    bucket's longest target, at least one: a target longer than `batch_size` is not an
    error, but a batch by itself.

    Args:
        source_lengths: integers of shape `(pairs,)`, tokens of each source, `</s>`
            included.
        target_lengths: integers of shape `(pairs,)`, of each target, likewise.
        batch_size: int, the size of a batch: pairs, or target tokens.
        batch_type: str, `"pairs"` or `"tokens"`: whether `batch_size` is the number of
            pairs, or the most target tokens, padding included: pairs x longest target.
            Defaults to `"pairs"`.
        buckets: sequence of `(source, target)` boundaries, rising on both sides, as
            `choose_buckets` returns them; or None, batches of pairs of any length,
            which with `batch_type="pairs"` are those of `epoch_order`. Defaults to
            None.
        shuffle: bool; False keeps the order of the pairs within a bucket, and goes from
            the shortest bucket to the longest. Defaults to True.
        seed: int, together with the epoch it decides the order. Defaults to 0.
        epoch: int. Defaults to 0.

    Returns:
        list of int64 arrays, the indices of the pairs of each batch.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range, `batch_type` is unknown, the buckets do
            not rise, or a pair fits in none of them.

    Example:
        >>> from kseq.data import plan_batches
        >>> lengths = [2, 9, 2, 8, 2, 9]
        >>> buckets = [(2, 2), (9, 9)]
        >>> plan = plan_batches(lengths, lengths, batch_size=2, buckets=buckets)
        >>> [batch.tolist() for batch in plan]
        [[2, 4], [0, 3], [5, 1]]
    """
    source, target = check_lengths(source_lengths, target_lengths)
    batch_size, batch_type = check_batch(batch_size, batch_type)
    check_boolean("shuffle", shuffle)
    seed = check_integer("seed", seed, 0)
    epoch = check_integer("epoch", epoch, 0)
    plan = make_plan(
        source,
        target,
        batch_size,
        batch_type,
        None if buckets is None else check_buckets("buckets", buckets),
        shuffle,
        [seed, epoch],
    )
    return [plan.rows(batch) for batch in range(len(plan))]


def make_plan(
    source_lengths: Indices,
    target_lengths: Indices,
    batch_size: int,
    batch_type: str,
    buckets: Buckets | None,
    shuffle: bool,
    key: Sequence[int],
) -> BatchPlan:
    """Does what `plan_batches` does, with arguments that have been checked.

    Args:
        source_lengths: int64 array of shape `(pairs,)`.
        target_lengths: int64 array of shape `(pairs,)`.
        batch_size: int.
        batch_type: str, `"pairs"` or `"tokens"`.
        buckets: tuple of `(source, target)` boundaries, or None.
        shuffle: bool.
        key: sequence of int, what decides the order.

    Returns:
        A `BatchPlan`.

    Raises:
        ValueError: if a pair fits in no bucket.
    """
    rng = np.random.default_rng(list(key))
    pairs = len(source_lengths)
    order = rng.permutation(pairs) if shuffle else np.arange(pairs)
    if buckets is None:
        if batch_type == "pairs":
            starts = np.arange(0, pairs, batch_size)
        else:
            starts = _token_starts(target_lengths[order], batch_size)
        stops = np.append(starts[1:], pairs)
        return BatchPlan(order, starts, stops, np.zeros_like(starts))
    bucket = assign_buckets(source_lengths, target_lengths, buckets)
    # Of the smallest type that does, for numpy sorts those in linear time.
    own = bucket[order].astype(np.min_scalar_type(len(buckets)))
    order = order[np.argsort(own, kind="stable")]
    counts = np.bincount(bucket, minlength=len(buckets))
    starts, stops, of = split_buckets(
        counts, pairs_per_batch(buckets, batch_size, batch_type)
    )
    if shuffle:
        batches = rng.permutation(len(starts))
        starts, stops, of = starts[batches], stops[batches], of[batches]
    return BatchPlan(order, starts, stops, of)


def pairs_per_batch(
    buckets: Buckets, batch_size: int, batch_type: str
) -> tuple[int, ...]:
    """Returns how many pairs a full batch of each bucket has.

    Args:
        buckets: tuple of `(source, target)` boundaries.
        batch_size: int, pairs or target tokens.
        batch_type: str, `"pairs"` or `"tokens"`.
    """
    if batch_type == "pairs":
        return (batch_size,) * len(buckets)
    return tuple(max(1, batch_size // target) for _, target in buckets)


def split_buckets(
    counts: npt.NDArray[np.int64], most: Sequence[int]
) -> tuple[Indices, Indices, Indices]:
    """Cuts the pairs of all buckets, one bucket after the other, into batches.

    Args:
        counts: int64 array of shape `(buckets,)`, the pairs of each bucket.
        most: the most pairs that a batch of each bucket may have.

    Returns:
        A tuple `(starts, stops, buckets)` of int64 arrays of shape `(batches,)`: where
        each batch begins and ends, and the bucket that it is of.
    """
    filled = np.flatnonzero(counts).tolist()
    starts, sizes, buckets = [], [], []
    start = stop = 0
    for bucket, longer in itertools.zip_longest(filled, filled[1:]):
        stop += int(counts[bucket])
        full, left = divmod(stop - start, most[bucket])
        begins = start + most[bucket] * np.arange(full)
        start = stop - left
        of = np.full(full, bucket)
        size = np.full(full, most[bucket])
        if left and (longer is None or left > most[longer]):
            begins, of = np.append(begins, start), np.append(of, bucket)
            size = np.append(size, left)
            start = stop
        starts.append(begins)
        sizes.append(size)
        buckets.append(of)
    begin = np.concatenate(starts)
    return begin, begin + np.concatenate(sizes), np.concatenate(buckets)


def _token_starts(lengths: Indices, batch_size: int) -> Indices:
    """Returns where batches of at most so many tokens begin, in a given order."""
    starts = [0]
    while True:
        start = starts[-1]
        # No batch can have more rows than of its first one's length.
        most = max(1, batch_size // int(lengths[start]))
        window = np.maximum.accumulate(lengths[start : start + most])
        fits = window * np.arange(1, len(window) + 1) <= batch_size
        stop = start + max(1, int(np.count_nonzero(fits)))
        if stop == len(lengths):
            return np.array(starts)
        starts.append(stop)


def check_batch(batch_size: Any, batch_type: Any) -> tuple[int, str]:
    """Returns the size and type of a batch, or raises.

    Args:
        batch_size: anything; integers of 1 or more pass.
        batch_type: anything; `"pairs"` and `"tokens"` pass.

    Returns:
        A tuple `(batch_size, batch_type)`.

    Raises:
        TypeError: if the size is not an integer.
        ValueError: if the size is below 1 or the type is unknown.
    """
    if batch_type not in BATCH_TYPES:
        raise ValueError(
            f"`batch_type` must be one of {', '.join(map(repr, BATCH_TYPES))}. "
            f"Received: {batch_type!r}."
        )
    return check_integer("batch_size", batch_size, 1), str(batch_type)
