"""Batches of padded pairs, and tf.data pipelines of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kseq.config.checks import check_boolean, check_integer
from kseq.data.vocabulary import Ids
from kseq.special_tokens import END, PAD, START

if TYPE_CHECKING:
    import tensorflow as tf

Indices = npt.NDArray[np.int64]
Batch = tuple[dict[str, Ids], Ids]

# Fixed, because tf.data's autotuning can block a program for seconds when an iterator
# is deleted.
PARALLEL_CALLS = 2
PREFETCHED_BATCHES = 2


def epoch_order(size: int, seed: int, epoch: int) -> Indices:
    """Returns the order of the examples in an epoch, a function of the arguments.

    Args:
        size: int, the number of examples.
        seed: int, 0 or more.
        epoch: int, 0 or more.

    Returns:
        int64 array of shape `(size,)`, a permutation of `0..size-1`.

    Example:
        >>> from kseq.data.batches import epoch_order
        >>> epoch_order(5, seed=0, epoch=0).tolist()
        [2, 4, 3, 0, 1]
        >>> sorted(epoch_order(5, seed=0, epoch=1).tolist())
        [0, 1, 2, 3, 4]
    """
    return np.random.default_rng([seed, epoch]).permutation(size)


def row_lengths(ids: Ids) -> Indices:
    """Returns the number of real tokens of each row.

    Args:
        ids: int32 array of shape `(batch, time)`, padded on the right.

    Returns:
        int64 array of shape `(batch,)`.
    """
    lengths: Indices = np.count_nonzero(ids, axis=1)
    return lengths


def shift_targets(target: Any) -> Any:
    """Returns the decoder's inputs, `<s> y1 .. yn`, for targets `y1 .. yn </s>`.

    Args:
        target: int32 array or tensor of shape `(batch, time)`, each row ended by `</s>`
            and padded on the right.

    Returns:
        int32 array or tensor of shape `(batch, time)`.

    Example:
        >>> import numpy as np
        >>> from kseq.data.batches import shift_targets
        >>> shift_targets(np.array([[7, 8, 3], [9, 3, 0]], dtype="int32"))
        array([[2, 7, 8],
               [2, 9, 0]], dtype=int32)
    """
    library: Any = np
    if not isinstance(target, np.ndarray):
        import tensorflow

        library = tensorflow
    start = library.zeros_like(target[:, :1]) + START  # (batch, 1)
    shifted = library.concat([start, target[:, :-1]], axis=1)  # (batch, time)
    # Nothing is predicted after `</s>`, so it is not a decoder input.
    return library.where(shifted == END, PAD, shifted)


def make_batch(source: Ids, target: Ids) -> Batch:
    """Returns the inputs and targets of a batch, for `fit`.

    Args:
        source: int32 array or tensor of shape `(batch, source_time)`, rows ended by
            `</s>`.
        target: int32 array or tensor of shape `(batch, target_time)`, rows ended by
            `</s>`.

    Returns:
        A tuple `(inputs, targets)`: a dict of `encoder_inputs`, `(batch, source_time)`,
        and `decoder_inputs`, `(batch, target_time)`; and the targets,
        `(batch, target_time)`.
    """
    inputs = {"encoder_inputs": source, "decoder_inputs": shift_targets(target)}
    return inputs, target


class _EpochCounter:
    """Counts the finished passes over a dataset."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def next_epoch(self, _: Any) -> np.int64:
        """Returns the epoch of a pass that starts now."""
        return np.int64(self._epoch)

    def finish(self, epoch: Any) -> np.int64:
        """Counts a pass that reached its last batch, and returns its epoch."""
        self._epoch = max(self._epoch, int(epoch) + 1)
        return np.int64(epoch)


def pairs_dataset(
    source: Ids,
    target: Ids,
    batch_size: int,
    shuffle: bool = True,
    seed: int = 0,
    drop_remainder: bool = False,
    repeat: bool = False,
    initial_epoch: int = 0,
    strategy: tf.distribute.Strategy | None = None,
) -> tf.data.Dataset:
    """Makes a `tf.data.Dataset` of batches, trimmed to their longest rows.

    The first pass reads the pairs in the order `epoch_order(size, seed,
    initial_epoch)`. After n finished passes, the next pass reads the order of epoch
    `initial_epoch + n`. A pass that stops before its last batch does not count: the
    batch that Keras's `fit` reads in advance under a distribution strategy changes
    nothing, and epoch k of `fit` is epoch `initial_epoch + k` here. (Exception: with
    very few batches, a strategy, which reads ahead, may read all of them.)

    Args:
        source: int32 array of shape `(size, source_time)`, rows ended by `</s>`.
        target: int32 array of shape `(size, target_time)`, rows ended by `</s>`.
        batch_size: int, number of pairs per batch.
        shuffle: bool, whether to shuffle the pairs anew in each epoch. Default: True.
        seed: int, determines the order together with the epoch. Default: 0.
        drop_remainder: bool, whether to drop a smaller last batch. Default: False.
        repeat: bool, whether the dataset is endless, epoch after epoch. Each iterator
            then starts at `initial_epoch`. Default: False.
        initial_epoch: int, the first epoch. Default: 0.
        strategy: `tf.distribute.Strategy` or None. With a strategy, each worker only
            reads the rows of its own replicas: replica r of N reads the rows r, r + N,
            ... of a batch. A replica without rows in the last batch gets one row
            without a target, of weight 0. Default: None.

    Returns:
        A `tf.data.Dataset` of `(inputs, targets)`, all int32 of shape `(None, None)`;
        with a strategy a `tf.distribute.DistributedDataset` of the same.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range, or if `drop_remainder` drops all pairs.
    """
    size = len(source)
    batch_size = check_integer("batch_size", batch_size, 1)
    seed = check_integer("seed", seed, 0)
    initial_epoch = check_integer("initial_epoch", initial_epoch, 0)
    check_boolean("shuffle", shuffle)
    check_boolean("drop_remainder", drop_remainder)
    check_boolean("repeat", repeat)
    steps = size // batch_size if drop_remainder else -(-size // batch_size)
    if steps == 0:
        raise ValueError(
            f"`batch_size` must be at most {size}, the number of pairs, when "
            f"`drop_remainder` is True. Received: {batch_size}."
        )
    check_strategy(strategy)

    import tensorflow as tf

    # tf.data runs on the CPU. Without this, constants would be on the GPU.
    with tf.device("CPU:0"):
        sides = [tf.constant(side) for side in (source, target)]
        lengths = [tf.constant(row_lengths(side)) for side in (source, target)]

    def read_order(epoch: tf.Tensor) -> tf.Tensor:
        if not shuffle:
            return tf.range(size, dtype=tf.int64)
        order = tf.numpy_function(
            lambda epoch: epoch_order(size, seed, int(epoch)), [epoch], tf.int64
        )
        return tf.ensure_shape(order, [size])

    def read_trimmed(rows: tf.Tensor) -> list[tf.Tensor]:
        return [
            tf.gather(side, rows)[:, : tf.reduce_max(tf.gather(length, rows))]
            for side, length in zip(sides, lengths, strict=True)
        ]

    def read_replicas(replicas: range, count: int) -> tf.data.Dataset:
        """Reads the batches of some of `count` replicas, step after step."""
        elements = steps * len(replicas)

        def read_batch(order: tf.Tensor, element: tf.Tensor) -> Any:
            step, position = element // len(replicas), element % len(replicas)
            rows = order[step * batch_size : (step + 1) * batch_size]  # (batch,)
            if count == 1:
                return _make_tensor_batch(*read_trimmed(rows))
            rows = rows[replicas.start + position :: count]  # (part of the batch,)
            return _make_tensor_batch(
                *tf.cond(
                    tf.size(rows) > 0,
                    lambda: read_trimmed(rows),
                    lambda: [tf.constant([[END]]), tf.constant([[PAD]])],
                )
            )

        def batches(order: tf.Tensor, begin: int, end: int) -> tf.data.Dataset:
            return tf.data.Dataset.range(begin, end).map(
                lambda element: read_batch(order, element),
                num_parallel_calls=PARALLEL_CALLS,
                deterministic=True,
            )

        def read_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            return batches(read_order(epoch), 0, elements)

        counter = _EpochCounter(initial_epoch)

        def read_counted_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
            order = read_order(epoch)

            def last_batch(element: tf.Tensor) -> Any:
                # Stateful, so it runs although its result is not used.
                tf.numpy_function(counter.finish, [epoch], tf.int64)
                return read_batch(order, element)

            # The last batch is not prefetched: reading it counts the pass as finished.
            head = batches(order, 0, elements - 1).prefetch(PREFETCHED_BATCHES)
            last = tf.data.Dataset.range(elements - 1, elements).map(last_batch)
            return head.concatenate(last)

        if repeat:
            dataset = tf.data.Dataset.counter(initial_epoch).flat_map(read_epoch)
            dataset = dataset.prefetch(PREFETCHED_BATCHES)
            dataset = _with_cardinality(dataset, tf.data.INFINITE_CARDINALITY)
        else:
            dataset = tf.data.Dataset.range(1).map(
                lambda zero: tf.ensure_shape(
                    tf.numpy_function(counter.next_epoch, [zero], tf.int64), []
                )
            )
            dataset = dataset.flat_map(read_counted_epoch)
            dataset = _with_cardinality(dataset, elements)
        return dataset.with_options(_options())

    if strategy is None:
        return read_replicas(range(1), 1)
    return _distribute(read_replicas, strategy, None if repeat else steps)


def stream_dataset(
    make: Callable[[int], Batch], initial_step: int = 0
) -> tf.data.Dataset:
    """Makes an endless `tf.data.Dataset` whose batch k depends only on k.

    Args:
        make: callable that returns for a step `(inputs, targets)` as from `make_batch`.
        initial_step: int, the first step. Default: 0.

    Returns:
        A `tf.data.Dataset` of `(inputs, targets)`, all int32 of shape `(None, None)`.
    """

    def read(step: int, _: slice) -> tuple[Ids, Ids]:
        inputs, targets = make(step)
        return inputs["encoder_inputs"], targets

    return read_dataset(read, initial_step)


def read_dataset(
    read: Callable[[int, slice], tuple[Ids, Ids]],
    initial_step: int = 0,
    steps: int | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> tf.data.Dataset:
    """Makes a `tf.data.Dataset` from a function that reads the batch of a step.

    Args:
        read: callable that returns for a step and a slice `(source, target)`, int32 of
            shape `(rows, time)`: the rows of the slice in the step's batch, which may
            be none.
        initial_step: int, the first step. Default: 0.
        steps: int or None, the step before which the dataset ends. Default: None,
            endless.
        strategy: `tf.distribute.Strategy` or None, as in `pairs_dataset`. Default:
            None.

    Returns:
        A `tf.data.Dataset` of `(inputs, targets)`, all int32 of shape `(None, None)`;
        with a strategy a `tf.distribute.DistributedDataset` of the same.

    Raises:
        TypeError: if `strategy` is neither.
    """
    check_strategy(strategy)

    import tensorflow as tf

    def read_replicas(replicas: range, count: int) -> tf.data.Dataset:
        """Reads the batches of some of `count` replicas, step after step."""
        own = len(replicas)

        def numpy_batch(element: Any) -> tuple[Ids, Ids]:
            step, position = divmod(int(element), own)
            source, target = read(step, slice(replicas.start + position, None, count))
            if not len(target):
                return np.array([[END]], np.int32), np.array([[PAD]], np.int32)
            return source, target

        def read_batch(element: tf.Tensor) -> Any:
            source, target = tf.numpy_function(numpy_batch, [element], [tf.int32] * 2)
            return _make_tensor_batch(source, target)

        if steps is None:
            dataset = tf.data.Dataset.counter(initial_step * own)
        else:
            dataset = tf.data.Dataset.range(initial_step * own, steps * own)
        # One call at a time, because numpy_function holds Python's lock.
        dataset = dataset.map(read_batch).prefetch(PREFETCHED_BATCHES)
        return dataset.with_options(_options())

    if strategy is None:
        return read_replicas(range(1), 1)
    return _distribute(
        read_replicas, strategy, None if steps is None else steps - initial_step
    )


def check_strategy(strategy: Any) -> None:
    """Raises an error unless `strategy` is a distribution strategy or None.

    Args:
        strategy: any value.

    Raises:
        TypeError: if it is neither.
    """
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.Strategy | None):
        raise TypeError(
            "`strategy` must be a tf.distribute.Strategy or None. Received: "
            f"{strategy!r}; kseq.distribution.get_strategy returns one by its name."
        )


def _distribute(
    read_replicas: Callable[[range, int], tf.data.Dataset],
    strategy: tf.distribute.Strategy,
    steps: int | None,
) -> tf.data.Dataset:
    """Lets each worker read only the batches of its own replicas."""

    def read_as_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        own = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * own
        return read_replicas(range(first, first + own), context.num_replicas_in_sync)

    distributed = strategy.distribute_datasets_from_function(read_as_worker)
    if steps is not None:
        # TensorFlow counts one element per replica and step, but `fit` reads the
        # cardinality as the number of steps.
        distributed._cardinality = steps
    return distributed


def _make_tensor_batch(source: tf.Tensor, target: tf.Tensor) -> Any:
    """Returns the batch of two tensors, with their ranks set."""
    import tensorflow as tf

    source = tf.ensure_shape(source, [None, None])  # (batch, source_time)
    target = tf.ensure_shape(target, [None, None])  # (batch, target_time)
    return make_batch(source, target)


def _with_cardinality(dataset: tf.data.Dataset, size: int) -> tf.data.Dataset:
    """Sets the cardinality of a dataset."""
    import tensorflow as tf

    return dataset.apply(tf.data.experimental.assert_cardinality(size))


def _options() -> tf.data.Options:
    """Returns the options of all datasets."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    # There are no files to distribute over workers, only elements.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return options
