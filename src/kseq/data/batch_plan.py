"""The batches of an epoch, planned from the lengths of the pairs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kseq.config.checks import check_boolean, check_choice, check_integer
from kseq.data.batches import Indices
from kseq.data.buckets import Buckets, assign_buckets, check_buckets, check_lengths

BATCH_TYPES = ("pairs", "tokens")


@dataclasses.dataclass(frozen=True, eq=False)
class BatchPlan:
    """The batches of an epoch, as indices of pairs.

    Args:
        order: int64 array of shape `(pairs,)`, the indices of all pairs, batch after
            batch.
        starts: int64 array of shape `(batches,)`, the start of each batch in `order`.
        stops: int64 array of shape `(batches,)`, the end of each batch in `order`.
        buckets: int64 array of shape `(batches,)`, the bucket of each batch.
    """

    order: Indices
    starts: Indices
    stops: Indices
    buckets: Indices

    def __len__(self) -> int:
        """Returns the number of batches."""
        return len(self.starts)

    def rows(self, batch: int) -> Indices:
        """Returns the indices of the pairs of one batch."""
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
    """Distributes the pairs of an epoch over batches.

    The result depends only on the arguments. Each pair is in one batch. The pairs of a
    bucket are shuffled and split into batches, then the batches of all buckets are
    shuffled. Remaining pairs of a bucket move to the next longer bucket and fill up a
    batch there, so all batches except one are full: a small batch would count as much
    in training as a full one. With `"tokens"`, remaining pairs make a smaller batch if
    they do not fit in one batch of the next bucket. With buckets, the number of batches
    is the same in every epoch.

    With `batch_type="tokens"`, a batch has as many pairs of its bucket's maximum target
    length as fit in `batch_size`, at least one. A target longer than `batch_size` is in
    a batch of its own.

    Args:
        source_lengths: integers of shape `(pairs,)`, the number of tokens of each
            source, including `</s>`.
        target_lengths: integers of shape `(pairs,)`, the same for the targets.
        batch_size: int, the size of a batch, in pairs or target tokens.
        batch_type: str, the unit of `batch_size`: `"pairs"`, or `"tokens"` for the
            maximum number of target tokens including padding (pairs x longest target).
            Default: `"pairs"`.
        buckets: sequence of `(source, target)` boundaries, increasing on both sides, as
            from `choose_buckets`; or None for batches of pairs of any length, in the
            order of `epoch_order` with `batch_type="pairs"`. Default: None.
        shuffle: bool, whether to shuffle. False keeps the order of the pairs in a
            bucket, and orders the buckets from short to long. Default: True.
        seed: int, determines the order together with `epoch`. Default: 0.
        epoch: int, the number of the epoch. Default: 0.

    Returns:
        list of int64 arrays, the indices of the pairs of each batch.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range, `batch_type` is unknown, the buckets do
            not increase, or a pair fits in no bucket.

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
    """Plans batches like `plan_batches`, from checked arguments.

    Args:
        source_lengths: int64 array of shape `(pairs,)`.
        target_lengths: int64 array of shape `(pairs,)`.
        batch_size: int.
        batch_type: str, `"pairs"` or `"tokens"`.
        buckets: tuple of `(source, target)` boundaries, or None.
        shuffle: bool.
        key: sequence of int, the seed of the random order.

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
    # numpy sorts the smallest integer types in linear time.
    ordered = bucket[order].astype(np.min_scalar_type(len(buckets)))
    order = order[np.argsort(ordered, kind="stable")]
    counts = np.bincount(bucket, minlength=len(buckets))
    starts, stops, bucket_of_batch = split_buckets(
        counts, pairs_per_batch(buckets, batch_size, batch_type)
    )
    if shuffle:
        batches = rng.permutation(len(starts))
        starts, stops = starts[batches], stops[batches]
        bucket_of_batch = bucket_of_batch[batches]
    return BatchPlan(order, starts, stops, bucket_of_batch)


def pairs_per_batch(
    buckets: Buckets, batch_size: int, batch_type: str
) -> tuple[int, ...]:
    """Returns the number of pairs in a full batch of each bucket.

    Args:
        buckets: tuple of `(source, target)` boundaries.
        batch_size: int, in pairs or target tokens.
        batch_type: str, `"pairs"` or `"tokens"`.
    """
    if batch_type == "pairs":
        return (batch_size,) * len(buckets)
    return tuple(max(1, batch_size // target) for _, target in buckets)


def split_buckets(
    counts: npt.NDArray[np.int64], sizes: Sequence[int]
) -> tuple[Indices, Indices, Indices]:
    """Splits the pairs of all buckets, sorted by bucket, into batches.

    Args:
        counts: int64 array of shape `(buckets,)`, the number of pairs in each bucket.
        sizes: sequence of int, the maximum number of pairs in a batch of each bucket.

    Returns:
        A tuple `(starts, stops, buckets)` of int64 arrays of shape `(batches,)`: the
        start, the end and the bucket of each batch.
    """
    filled = np.flatnonzero(counts).tolist()
    starts, lengths, buckets = [], [], []
    start = stop = 0
    for bucket, longer in itertools.zip_longest(filled, filled[1:]):
        stop += int(counts[bucket])
        size = sizes[bucket]
        batches, rest = divmod(stop - start, size)
        bucket_starts = start + size * np.arange(batches)
        bucket_lengths = np.full(batches, size)
        start = stop - rest
        if rest and (longer is None or rest > sizes[longer]):
            bucket_starts = np.append(bucket_starts, start)
            bucket_lengths = np.append(bucket_lengths, rest)
            start = stop
        starts.append(bucket_starts)
        lengths.append(bucket_lengths)
        buckets.append(np.full(len(bucket_starts), bucket))
    begins = np.concatenate(starts)
    return begins, begins + np.concatenate(lengths), np.concatenate(buckets)


def _token_starts(lengths: Indices, batch_size: int) -> Indices:
    """Returns the starts of batches of at most `batch_size` tokens."""
    starts = [0]
    while True:
        start = starts[-1]
        # The first row limits the number of rows.
        rows = max(1, batch_size // int(lengths[start]))
        window = np.maximum.accumulate(lengths[start : start + rows])
        fits = window * np.arange(1, len(window) + 1) <= batch_size
        stop = start + max(1, int(np.count_nonzero(fits)))
        if stop == len(lengths):
            return np.array(starts)
        starts.append(stop)


def check_batch(batch_size: Any, batch_type: Any) -> tuple[int, str]:
    """Returns the size and type of a batch, or raises an error.

    Args:
        batch_size: any value; integers of at least 1 are valid.
        batch_type: any value; `"pairs"` and `"tokens"` are valid.

    Returns:
        A tuple `(batch_size, batch_type)`.

    Raises:
        TypeError: if the size is not an integer.
        ValueError: if the size is below 1 or the type is unknown.
    """
    check_choice("batch_type", batch_type, BATCH_TYPES)
    return check_integer("batch_size", batch_size, 1), str(batch_type)
