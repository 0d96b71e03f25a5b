"""Training batches that can resume at any step, and validation batches."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kseq.config.checks import check_boolean, check_integer, check_number
from kseq.data.batch_plan import (
    BatchPlan,
    check_batch,
    make_plan,
    pairs_per_batch,
    split_buckets,
)
from kseq.data.batches import (
    Batch,
    Indices,
    epoch_order,
    make_batch,
    read_dataset,
    row_lengths,
)
from kseq.data.buckets import (
    Buckets,
    assign_buckets,
    check_buckets,
    choose_buckets,
    even_buckets,
)
from kseq.data.examples import Examples
from kseq.data.shards import ShardedExamples
from kseq.data.vocabulary import Ids
from kseq.special_tokens import PAD

if TYPE_CHECKING:
    import tensorflow as tf


class BatchStream:
    """Endless training batches, each a function of the seed and the step.

    The stream has no state, so training can resume at any step, in any process, without
    reading the steps before. An epoch of `Examples` is `plan_batches(..., seed=seed,
    epoch=epoch)`. An epoch of `ShardedExamples` reads the shards in random order, and
    each shard as such a plan.

    Args:
        examples: `Examples`, or `ShardedExamples` for a corpus larger than memory.
        batch_size: int, the size of a batch, in pairs or target tokens. Default: 64.
        batch_type: str, `"pairs"` or `"tokens"`, as in `plan_batches`. Default:
            `"pairs"`.
        buckets: `"auto"` (the buckets of `choose_buckets`), an int (the maximum number
            of buckets), a sequence of `(source, target)` boundaries, or None (batches
            of pairs of any length). Default: `"auto"`.
        seed: int, determines the order of all epochs. Default: 0.
        shuffle: bool, whether to shuffle the pairs anew in each epoch. False makes all
            epochs equal, from the shortest bucket to the longest. Default: True.
        fixed_lengths: bool, whether to pad a batch to the boundaries of its bucket, or
            without buckets to the longest pair of all, instead of its longest rows. Use
            it with XLA, which compiles anew for each shape. Default: False.
        bucket_width: int or None, the width of buckets made by `even_buckets`, in place
            of `buckets`. Default: None.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range, `batch_type` is unknown, the buckets do
            not increase, or a pair fits in no bucket.

    Example:
        >>> from kseq.data import BatchStream, from_pairs
        >>> examples = from_pairs(["a", "b a", "b", "a b"], ["A", "B A", "B", "A B"])
        >>> stream = BatchStream(examples, batch_size=2)
        >>> stream.buckets, stream.steps(epoch=0), stream.position(step=5)
        (((2, 2), (3, 3)), 2, (2, 1))
        >>> inputs, targets = stream.batch(step=5)
        >>> targets
        array([[5, 4, 3],
               [4, 5, 3]], dtype=int32)
    """

    def __init__(
        self,
        examples: Examples | ShardedExamples,
        batch_size: int = 64,
        batch_type: str = "pairs",
        buckets: str | int | Sequence[tuple[int, int]] | None = "auto",
        seed: int = 0,
        shuffle: bool = True,
        fixed_lengths: bool = False,
        bucket_width: int | None = None,
    ) -> None:
        self._reader = _as_reader(examples)
        self.examples = examples
        self.batch_size, self.batch_type = check_batch(batch_size, batch_type)
        self.seed = check_integer("seed", seed, 0)
        self.shuffle = check_boolean("shuffle", shuffle)
        self.fixed_lengths = check_boolean("fixed_lengths", fixed_lengths)
        self.buckets = _resolve_buckets(buckets, bucket_width, self._reader)
        self._bounds = self.buckets
        if fixed_lengths and self.buckets is None:
            self._bounds = _resolve_buckets(1, None, self._reader)
        # Without buckets, the number of batches of tokens depends on the order.
        self._counts: Indices | None = None
        if self.buckets is not None or self.batch_type == "pairs":
            self._counts = np.array(
                [self._count(shard) for shard in range(self._reader.shards)]
            )
        self._lock = threading.Lock()
        # First steps of the epochs known so far, if epochs differ in length.
        self._epoch_starts = [0]
        self._plan_cached: tuple[tuple[int, int], BatchPlan] | None = None
        self._epoch_cached: tuple[int, Indices, Indices] | None = None

    def __repr__(self) -> str:
        """Returns a short description."""
        return (
            f"<BatchStream of {self.examples!r}: {self.batch_size} {self.batch_type} "
            f"per batch, buckets={self.buckets}, seed={self.seed}>"
        )

    def steps(self, epoch: int) -> int:
        """Returns the number of batches in an epoch.

        All epochs have the same number, except with batches of tokens and no buckets.

        Args:
            epoch: int, 0 or more.

        Returns:
            int.

        Raises:
            TypeError: if `epoch` is not an integer.
            ValueError: if it is below 0.
        """
        epoch = check_integer("epoch", epoch, 0)
        if self._counts is not None:
            return int(self._counts.sum())
        return int(self._epoch(epoch)[1][-1])

    def position(self, step: int) -> tuple[int, int]:
        """Returns the epoch of a step, and its position in the epoch.

        With batches of tokens and no buckets, all epochs before must be planned (not
        read) once, which takes about a second per million pairs. Otherwise it is fast.

        Args:
            step: int, 0 or more.

        Returns:
            A tuple `(epoch, step within the epoch)`.

        Raises:
            TypeError: if `step` is not an integer.
            ValueError: if it is below 0.
        """
        step = check_integer("step", step, 0)
        if self._counts is not None:
            return divmod(step, int(self._counts.sum()))
        with self._lock:
            while self._epoch_starts[-1] <= step:
                last = len(self._epoch_starts) - 1
                self._epoch_starts.append(self._epoch_starts[-1] + self.steps(last))
            epoch = int(np.searchsorted(self._epoch_starts, step, side="right")) - 1
            return epoch, step - self._epoch_starts[epoch]

    def epochs_at(self, step: int) -> float:
        """Returns the number of epochs read before a step.

        Args:
            step: int, 0 or more, the number of batches read.

        Returns:
            float, such as 2.5 in the middle of the third epoch.

        Raises:
            TypeError: if `step` is not an integer.
            ValueError: if it is below 0.
        """
        epoch, within = self.position(step)
        return epoch + within / self.steps(epoch)

    def step_at(self, epochs: float) -> int:
        """Returns the number of steps in a number of epochs, rounded to a whole step.

        Args:
            epochs: float, 0 or more.

        Returns:
            int.

        Raises:
            TypeError: if `epochs` is not a number.
            ValueError: if it is negative or not finite.
        """
        whole, part = divmod(check_number("epochs", epochs), 1)
        if self._counts is not None:
            begin = int(whole) * self.steps(0)
        else:
            begin = sum(self.steps(epoch) for epoch in range(int(whole)))
        return begin + (round(part * self.steps(int(whole))) if part else 0)

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step.

        Args:
            step: int, 0 or more, counted over all epochs.

        Returns:
            A tuple `(inputs, targets)` of int32 arrays: a dict of `encoder_inputs`,
            `(batch, source_time)`, and `decoder_inputs`, `(batch, target_time)`; and
            the targets, `(batch, target_time)`.

        Raises:
            TypeError: if `step` is not an integer.
            ValueError: if it is below 0.
        """
        return make_batch(*self._read(step, slice(None)))

    def dataset(
        self, initial_step: int = 0, strategy: tf.distribute.Strategy | None = None
    ) -> tf.data.Dataset:
        """Returns the batches as an endless `tf.data.Dataset` that starts at any step.

        Args:
            initial_step: int, the first step of every iterator. To resume a run, pass
                the number of batches it has read. Default: 0.
            strategy: `tf.distribute.Strategy` or None, the strategy that the model is
                built under. Each worker then only reads the rows of its own replicas:
                replica r of N reads the rows r, r + N, ... of a batch. A replica
                without rows gets one row without a target, of weight 0. Default: None.

        Returns:
            A `tf.data.Dataset` of `(inputs, targets)` as from `batch`, all int32 of
            shape `(None, None)`; with a strategy, a `tf.distribute.DistributedDataset`
            of the same batches.

        Raises:
            TypeError: if an argument has the wrong type.
            ValueError: if `initial_step` is below 0.
        """
        initial_step = check_integer("initial_step", initial_step, 0)
        return read_dataset(self._read, initial_step, strategy=strategy)

    def _read(self, step: int, part: slice) -> tuple[Ids, Ids]:
        """Reads some rows of the batch of a step."""
        epoch, within = self.position(step)
        order, ends = self._epoch(epoch)
        index = int(np.searchsorted(ends, within, side="right"))
        shard = int(order[index])
        plan = self._plan(epoch, shard)
        batch = within - int(ends[index]) + len(plan)
        widths = None
        if self.fixed_lengths and self._bounds is not None:
            widths = self._bounds[plan.buckets[batch]]
        return self._reader.read(shard, plan.rows(batch)[part], widths)

    def _epoch(self, epoch: int) -> tuple[Indices, Indices]:
        """Returns the shards in the order of an epoch, and the step after each."""
        cached = self._epoch_cached
        if cached is None or cached[0] != epoch:
            shards = self._reader.shards
            order = np.arange(shards)
            if self.shuffle:
                order = epoch_order(shards, self.seed, epoch)
            counts = self._counts
            if counts is None:
                plans = (self._plan(epoch, shard) for shard in range(shards))
                counts = np.array([len(plan) for plan in plans])
            cached = epoch, order, np.cumsum(counts[order])
            self._epoch_cached = cached
        return cached[1:]

    def _plan(self, epoch: int, shard: int) -> BatchPlan:
        """Returns the batches of one shard in an epoch."""
        cached = self._plan_cached
        if cached is None or cached[0] != (epoch, shard):
            key = [self.seed, epoch]
            if isinstance(self._reader, ShardedExamples):
                # Plus 1, because numpy ignores zeros at the end of a key.
                key.append(shard + 1)
            source, target = self._reader.lengths(shard)
            plan = make_plan(
                source,
                target,
                self.batch_size,
                self.batch_type,
                self.buckets,
                self.shuffle,
                key,
            )
            cached = (epoch, shard), plan
            self._plan_cached = cached
        return cached[1]

    def _count(self, shard: int) -> int:
        """Returns the number of batches of a shard, the same in every epoch."""
        source, target = self._reader.lengths(shard)
        if self.buckets is None:
            return -(-len(source) // self.batch_size)
        counts = np.bincount(assign_buckets(source, target, self.buckets))
        sizes = pairs_per_batch(self.buckets, self.batch_size, self.batch_type)
        return len(split_buckets(counts, sizes)[0])


def validation_dataset(
    examples: Examples | ShardedExamples,
    batch_size: int,
    buckets: str | int | Sequence[tuple[int, int]] | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> tf.data.Dataset:
    """Makes a `tf.data.Dataset` that reads each pair once, sorted by length.

    The pairs are sorted by target length, then by source length; `ShardedExamples` are
    sorted shard by shard. The order is always the same.

    Args:
        examples: `Examples` or `ShardedExamples`.
        batch_size: int, number of pairs per batch. The last batch (of each shard) may
            be smaller.
        buckets: None to trim each batch to its longest rows; or buckets as for
            `BatchStream`, to pad each batch to the first bucket that is long enough, so
            that XLA compiles few shapes. A batch that is longer than all buckets, which
            may be chosen from other data, is trimmed to its longest rows. Default:
            None.
        strategy: `tf.distribute.Strategy` or None, as in `BatchStream.dataset`.
            Default: None.

    Returns:
        A `tf.data.Dataset` of `(inputs, targets)`, all int32 of shape `(None, None)`,
        whose cardinality is the number of batches; with a strategy, a
        `tf.distribute.DistributedDataset` of the same batches.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if `batch_size` is below 1, or the buckets do not increase.

    Example:
        >>> from kseq.data import from_pairs, validation_dataset
        >>> examples = from_pairs(["a", "b a", "b"], ["A A", "A B B", "A"])
        >>> for inputs, targets in validation_dataset(examples, batch_size=2):
        ...     print(targets.numpy().tolist())
        [[4, 3, 0], [4, 4, 3]]
        [[4, 5, 5, 3]]
    """
    reader = _as_reader(examples)
    size = check_integer("batch_size", batch_size, 1)
    bounds = _resolve_buckets(buckets, None, reader)
    counts = [
        -(-len(reader.lengths(shard)[0]) // size) for shard in range(reader.shards)
    ]
    ends = np.cumsum(counts)

    # Caches the order of the current shard.
    @functools.lru_cache(maxsize=1)
    def sorted_rows(shard: int) -> tuple[Indices, tuple[Indices, Indices]]:
        lengths = reader.lengths(shard)
        return np.lexsort(lengths), lengths

    def read(step: int, part: slice) -> tuple[Ids, Ids]:
        shard = int(np.searchsorted(ends, step, side="right"))
        begin = (step - int(ends[shard]) + counts[shard]) * size
        order, lengths = sorted_rows(shard)
        rows = order[begin : begin + size]
        source, target = (int(side[rows].max()) for side in lengths)
        fitting = (
            bound for bound in bounds or () if bound[0] >= source and bound[1] >= target
        )
        return reader.read(shard, rows[part], next(fitting, None))

    return read_dataset(read, steps=int(ends[-1]), strategy=strategy)


class _SingleShard:
    """Examples in memory, with the interface of `ShardedExamples`."""

    shards = 1

    def __init__(self, examples: Examples) -> None:
        self._sides = examples.source, examples.target
        self.source_lengths, self.target_lengths = map(row_lengths, self._sides)
        self._lengths = self.source_lengths, self.target_lengths

    def lengths(self, shard: int) -> tuple[Indices, Indices]:
        return self._lengths

    def read(
        self, shard: int, rows: Any, widths: tuple[int, int] | None = None
    ) -> tuple[Ids, Ids]:
        source, target = (
            _pad_rows(ids, lengths, rows, width)
            for ids, lengths, width in zip(
                self._sides, self._lengths, widths or (None, None), strict=True
            )
        )
        return source, target


def _pad_rows(ids: Ids, lengths: Indices, rows: Indices, width: int | None) -> Ids:
    """Returns some rows of padded ids, with another width."""
    if width is None:
        width = int(lengths[rows].max(initial=1))
    selected = ids[:, :width][rows]
    missing = width - selected.shape[1]
    if missing:
        selected = np.pad(selected, [(0, 0), (0, missing)], constant_values=PAD)
    return selected


def _as_reader(examples: Any) -> _SingleShard | ShardedExamples:
    """Returns the examples with the interface of `ShardedExamples`, or raises."""
    if isinstance(examples, ShardedExamples):
        return examples
    if isinstance(examples, Examples):
        return _SingleShard(examples)
    raise TypeError(
        "`examples` must be Examples or ShardedExamples. Received: "
        f"{examples!r} of type {type(examples).__name__}; from_pairs, encode_pairs and "
        "write_shards make them from texts."
    )


def _resolve_buckets(
    buckets: Any, width: Any, reader: _SingleShard | ShardedExamples
) -> Buckets | None:
    """Returns the boundaries of the buckets that a caller chose."""
    if width is not None:
        if buckets != "auto":
            raise ValueError(
                "`bucket_width` must be None if `buckets` is given. Received: "
                f"{width!r} and buckets={buckets!r}."
            )
        return even_buckets(reader.source_lengths, reader.target_lengths, width)
    if buckets is None:
        return None
    if isinstance(buckets, str):
        if buckets != "auto":
            raise ValueError(
                "`buckets` must be 'auto', None, a number of buckets or (source, "
                f"target) boundaries. Received: {buckets!r}."
            )
        return choose_buckets(reader.source_lengths, reader.target_lengths)
    if isinstance(buckets, Iterable):
        return check_buckets("buckets", buckets)
    count = check_integer("buckets", buckets, 1)
    return choose_buckets(reader.source_lengths, reader.target_lengths, count)
