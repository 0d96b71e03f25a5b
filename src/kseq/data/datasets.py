"""Endless batches that go on from any step, and validation in one fixed order."""

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
    """Endless batches, epoch after epoch, each a function of the seed and its step.

    Nothing is remembered from batch to batch: whoever knows the step can go on from it,
    in any process, without reading what came before. An epoch of `Examples` is
    `plan_batches(..., seed=seed, epoch=epoch)`; one of `ShardedExamples` takes the
    shards one after the other, in an order of its own each epoch, and each as such a
    plan.

    Args:
        examples: `Examples`, or `ShardedExamples` for a corpus larger than memory.
        batch_size: int, the size of a batch: pairs, or target tokens. Defaults to 64.
        batch_type: str, `"pairs"` or `"tokens"`, as in `plan_batches`. Defaults to
            `"pairs"`.
        buckets: `"auto"` (what `choose_buckets` finds), an int, for so many of them at
            most, a sequence of `(source, target)` boundaries, or None, batches of pairs
            of any length. Defaults to `"auto"`.
        seed: int, decides the order of all epochs. Defaults to 0.
        shuffle: bool, whether every epoch has an order of its own; False reads all
            alike, from the shortest bucket to the longest. Defaults to True.
        fixed_lengths: bool, whether a batch is padded to the boundaries of its bucket,
            or without buckets to the longest pair of all, rather than trimmed to its
            longest rows: for XLA, which compiles anew for each shape. Defaults to
            False.
        bucket_width: int or None, the width of buckets that `even_buckets` cuts in
            place of `buckets`. Defaults to None.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range, `batch_type` is unknown, the buckets do
            not rise, or a pair fits in none of them.

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
        self._parts = _parts(examples)
        self.examples = examples
        self.batch_size, self.batch_type = check_batch(batch_size, batch_type)
        self.seed = check_integer("seed", seed, 0)
        self.shuffle = check_boolean("shuffle", shuffle)
        self.fixed_lengths = check_boolean("fixed_lengths", fixed_lengths)
        self.buckets = _buckets(buckets, bucket_width, self._parts)
        self._bounds = self.buckets
        if fixed_lengths and self.buckets is None:
            self._bounds = _buckets(1, None, self._parts)
        # How many batches of tokens there are depends on the order, without buckets.
        self._counts: Indices | None = None
        if self.buckets is not None or self.batch_type == "pairs":
            self._counts = np.array(
                [self._count(shard) for shard in range(self._parts.shards)]
            )
        self._lock = threading.Lock()
        # Where epochs begin, as far as they are known; only if they differ in length.
        self._begins = [0]
        self._plan_cached: tuple[tuple[int, int], BatchPlan] | None = None
        self._epoch_cached: tuple[int, Indices, Indices] | None = None

    def __repr__(self) -> str:
        """Returns a short description."""
        return (
            f"<BatchStream of {self.examples!r}: {self.batch_size} {self.batch_type} a "
            f"batch, buckets={self.buckets}, seed={self.seed}>"
        )

    def steps(self, epoch: int) -> int:
        """Returns the number of batches in an epoch.

        It is the same in all epochs, but for batches of tokens without buckets, where
        the order decides.

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
        """Returns the epoch that a step is in, and its place there.

        With batches of tokens and no buckets all epochs before must be planned (not
        read) once, a second or so for each million pairs; else it takes no time.

        Args:
            step: int, 0 or more.

        Returns:
            A tuple `(epoch, step within it)`.

        Raises:
            TypeError: if `step` is not an integer.
            ValueError: if it is below 0.
        """
        step = check_integer("step", step, 0)
        if self._counts is not None:
            return divmod(step, int(self._counts.sum()))
        with self._lock:
            while self._begins[-1] <= step:
                last = len(self._begins) - 1
                self._begins.append(self._begins[-1] + self.steps(last))
            epoch = int(np.searchsorted(self._begins, step, side="right")) - 1
            return epoch, step - self._begins[epoch]

    def epochs_at(self, step: int) -> float:
        """Returns how many epochs have been read before a step.

        Args:
            step: int, 0 or more; as many batches have been read.

        Returns:
            float, 2.5 in the middle of the third epoch.

        Raises:
            TypeError: if `step` is not an integer.
            ValueError: if it is below 0.
        """
        epoch, within = self.position(step)
        return epoch + within / self.steps(epoch)

    def step_at(self, epochs: float) -> int:
        """Returns how many steps make so many epochs, to the nearest step.

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
        """Returns the batches as an endless `tf.data.Dataset`, from any step on.

        Args:
            initial_step: int, the step that comes first: to go on with a run, the
                number of batches it has read. Every iterator starts there. Defaults to
                0.
            strategy: `tf.distribute.Strategy` or None: the one that the model is built
                under, so that each worker reads the rows of its own replicas only, and
                replica r of N those at r, r + N, ... of a batch. A replica for which a
                batch has no row gets one without a target, of weight 0. Defaults to
                None.

        Returns:
            A `tf.data.Dataset` of `(inputs, targets)` as `batch` returns them, all
            int32 of shape `(None, None)`; with a strategy a
            `tf.distribute.DistributedDataset` of the same batches, shared out.

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
        place = int(np.searchsorted(ends, within, side="right"))
        shard = int(order[place])
        plan = self._plan(epoch, shard)
        batch = within - int(ends[place]) + len(plan)
        widths = None
        if self.fixed_lengths and self._bounds is not None:
            widths = self._bounds[plan.buckets[batch]]
        return self._parts.read(shard, plan.rows(batch)[part], widths)

    def _epoch(self, epoch: int) -> tuple[Indices, Indices]:
        """Returns the shards in the order of an epoch, and at which step each ends."""
        cached = self._epoch_cached
        if cached is None or cached[0] != epoch:
            shards = self._parts.shards
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
            if isinstance(self._parts, ShardedExamples):
                # Not 0, which numpy cannot tell from a key that ends before it.
                key.append(shard + 1)
            source, target = self._parts.lengths(shard)
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
        source, target = self._parts.lengths(shard)
        if self.buckets is None:
            return -(-len(source) // self.batch_size)
        counts = np.bincount(assign_buckets(source, target, self.buckets))
        most = pairs_per_batch(self.buckets, self.batch_size, self.batch_type)
        return len(split_buckets(counts, most)[0])


def validation_dataset(
    examples: Examples | ShardedExamples,
    batch_size: int,
    buckets: str | int | Sequence[tuple[int, int]] | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> tf.data.Dataset:
    """Makes a `tf.data.Dataset` that reads each pair once, sorted by length.

    The order is by the length of the target, then by that of the source, and always the
    same; of `ShardedExamples` shard by shard.

    Args:
        examples: `Examples` or `ShardedExamples`.
        batch_size: int, pairs a batch; the last one (of each shard) may be smaller.
        buckets: None, batches trimmed to their longest rows; or buckets as
            `BatchStream` takes them: each batch is padded to those of the first
            bucket that is long enough, so that there are few shapes for XLA to compile.
            A batch too long for all of them (they may be those of the training data)
            is trimmed to its longest rows. Defaults to None.
        strategy: `tf.distribute.Strategy` or None, as in `BatchStream.dataset`.
            Defaults to None.

    Returns:
        A `tf.data.Dataset` of `(inputs, targets)`, all int32 of shape `(None, None)`,
        whose cardinality is the number of batches; with a strategy a
        `tf.distribute.DistributedDataset` of the same batches, shared out.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if `batch_size` is below 1, or the buckets do not rise.

    Example:
        >>> from kseq.data import from_pairs, validation_dataset
        >>> examples = from_pairs(["a", "b a", "b"], ["A A", "A B B", "A"])
        >>> for inputs, targets in validation_dataset(examples, batch_size=2):
        ...     print(targets.numpy().tolist())
        [[4, 3, 0], [4, 4, 3]]
        [[4, 5, 5, 3]]
    """
    parts = _parts(examples)
    size = check_integer("batch_size", batch_size, 1)
    bounds = _buckets(buckets, None, parts)
    counts = [-(-len(parts.lengths(shard)[0]) // size) for shard in range(parts.shards)]
    ends = np.cumsum(counts)

    # Of the shard that is being read.
    @functools.lru_cache(maxsize=1)
    def sorted_rows(shard: int) -> tuple[Indices, tuple[Indices, Indices]]:
        lengths = parts.lengths(shard)
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
        return parts.read(shard, rows[part], next(fitting, None))

    return read_dataset(read, steps=int(ends[-1]), strategy=strategy)


class _Memory:
    """Pairs in memory, read as if they were a single shard."""

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
            _padded(ids, lengths, rows, width)
            for ids, lengths, width in zip(
                self._sides, self._lengths, widths or (None, None), strict=True
            )
        )
        return source, target


def _padded(ids: Ids, lengths: Indices, rows: Indices, width: int | None) -> Ids:
    """Returns some rows of padded ids, padded to another width."""
    if width is None:
        width = int(lengths[rows].max(initial=1))
    picked = ids[:, :width][rows]
    more = width - picked.shape[1]
    if more:
        picked = np.pad(picked, [(0, 0), (0, more)], constant_values=PAD)
    return picked


def _parts(examples: Any) -> _Memory | ShardedExamples:
    """Returns what pairs are read from, or raises."""
    if isinstance(examples, ShardedExamples):
        return examples
    if isinstance(examples, Examples):
        return _Memory(examples)
    raise TypeError(
        "`examples` must be Examples or ShardedExamples. Received: "
        f"{examples!r} of type {type(examples).__name__}; from_pairs, encode_pairs and "
        "write_shards make them from texts."
    )


def _buckets(
    buckets: Any, width: Any, parts: _Memory | ShardedExamples
) -> Buckets | None:
    """Returns buckets as boundaries."""
    if width is not None:
        if buckets != "auto":
            raise ValueError(
                "`bucket_width` takes the place of `buckets`. Received both: "
                f"{width!r} and {buckets!r}."
            )
        return even_buckets(parts.source_lengths, parts.target_lengths, width)
    if buckets is None:
        return None
    if isinstance(buckets, str):
        if buckets != "auto":
            raise ValueError(
                "`buckets` must be 'auto', None, a number of buckets or (source, "
                f"target) boundaries. Received: {buckets!r}."
            )
        return choose_buckets(parts.source_lengths, parts.target_lengths)
    if isinstance(buckets, Iterable):
        return check_buckets("buckets", buckets)
    count = check_integer("buckets", buckets, 1)
    return choose_buckets(parts.source_lengths, parts.target_lengths, count)
