"""Batches of padded pairs: their order, their trimming, and tf.data pipelines."""

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

# Fixed, not tuned by tf.data: its tuner can stall a program for seconds whenever an
# iterator is dropped.
PARALLEL_CALLS = 2
PREFETCHED_BATCHES = 2


def epoch_order(size: int, seed: int, epoch: int) -> Indices:
    """Returns the order in which an epoch reads a set, the same wherever it is asked.

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
        import tensorflow as library
    start = library.zeros_like(target[:, :1]) + START  # (batch, 1)
    shifted = library.concat([start, target[:, :-1]], axis=1)  # (batch, time)
    # Nothing is predicted after `</s>`, so it is not a decoder input.
    return library.where(shifted == END, PAD, shifted)


def make_batch(source: Ids, target: Ids) -> Batch:
    """Returns what a model trains on, from rows that end with `</s>`.

    Args:
        source: int32 array of shape `(batch, source_time)`.
        target: int32 array of shape `(batch, target_time)`.

    Returns:
        A tuple `(inputs, targets)`: a dict of `encoder_inputs`, `(batch, source_time)`,
        and `decoder_inputs`, `(batch, target_time)`; and the targets,
        `(batch, target_time)`.
    """
    inputs = {"encoder_inputs": source, "decoder_inputs": shift_targets(target)}
    return inputs, target


class _Passes:
    """The epoch that the next pass over a dataset will read."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def next_epoch(self, _: Any) -> np.int64:
        """Returns the epoch of a pass that begins now."""
        return np.int64(self._epoch)

    def finish(self, epoch: Any) -> np.int64:
        """Notes that a pass has come to its last batch, and returns its epoch."""
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
    initial_epoch)`, and a pass that begins after n passes have come to their last
    batch reads that of `initial_epoch + n`. A pass given up midway does not count, so
    the batch that Keras's `fit` peeks at under a distribution strategy changes nothing,
    and epoch k of `fit` is epoch `initial_epoch + k` here. (The exception is a set of
    so few batches that the strategy, which reads ahead, has read it all.)

    Args:
        source: int32 array of shape `(size, source_time)`, rows ended by `</s>`.
        target: int32 array of shape `(size, target_time)`, rows ended by `</s>`.
        batch_size: int, pairs a batch.
        shuffle: bool, whether every epoch has an order of its own. Defaults to True.
        seed: int, together with the epoch it decides the order. Defaults to 0.
        drop_remainder: bool, whether a smaller last batch is left out. Defaults to
            False.
        repeat: bool, whether the dataset is endless, epoch after epoch; then each
            iterator starts at `initial_epoch`. Defaults to False.
        initial_epoch: int, the epoch that comes first. Defaults to 0.
        strategy: `tf.distribute.Strategy` or None: with one, each worker reads the rows
            of its own replicas only, and replica r of N those at r, r + N, ... of a
            batch. A replica for which a last batch has no row left gets one without a
            target, of weight 0. Defaults to None.

    Returns:
        A `tf.data.Dataset` of `(inputs, targets)`, all int32 of shape `(None, None)`;
        with a strategy a `tf.distribute.DistributedDataset` of the same.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a number is out of range, or if `drop_remainder` leaves nothing.
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

    # tf.data runs on the CPU; on a machine with a GPU constants would go there.
    with tf.device("CPU:0"):
        sides = [tf.constant(side) for side in (source, target)]
        lengths = [tf.constant(row_lengths(side)) for side in (source, target)]

    def order_of(epoch: tf.Tensor) -> tf.Tensor:
        if not shuffle:
            return tf.range(size, dtype=tf.int64)
        order = tf.numpy_function(
            lambda epoch: epoch_order(size, seed, int(epoch)), [epoch], tf.int64
        )
        return tf.ensure_shape(order, [size])

    def trimmed(rows: tf.Tensor) -> list[tf.Tensor]:
        return [
            tf.gather(side, rows)[:, : tf.reduce_max(tf.gather(length, rows))]
            for side, length in zip(sides, lengths, strict=True)
        ]

    def read(replicas: range, of: int) -> tf.data.Dataset:
        """Reads what belongs to some of the replicas, for each step one by one."""
        elements = steps * len(replicas)

        def read_batch(order: tf.Tensor, element: tf.Tensor) -> Any:
            step, place = element // len(replicas), element % len(replicas)
            rows = order[step * batch_size : (step + 1) * batch_size]  # (batch,)
            if of == 1:
                return _tensors(*trimmed(rows))
            rows = rows[replicas.start + place :: of]  # (part of the batch,)
            return _tensors(
                *tf.cond(
                    tf.size(rows) > 0,
                    lambda: trimmed(rows),
                    lambda: [tf.constant([[END]]), tf.constant([[PAD]])],
                )
            )

        def batches(order: tf.Tensor, begin: int, end: int) -> tf.data.Dataset:
            return tf.data.Dataset.range(begin, end).map(
                lambda element: read_batch(order, element),
                num_parallel_calls=PARALLEL_CALLS,
                deterministic=True,
            )

        def endless(epoch: tf.Tensor) -> tf.data.Dataset:
            return batches(order_of(epoch), 0, elements)

        passes = _Passes(initial_epoch)

        def counted(epoch: tf.Tensor) -> tf.data.Dataset:
            order = order_of(epoch)

            def last_batch(element: tf.Tensor) -> Any:
                # Stateful, so it runs although its result is not used.
                tf.numpy_function(passes.finish, [epoch], tf.int64)
                return read_batch(order, element)

            # The last batch is made when it is asked for, never ahead: making it is
            # what tells a finished pass from one that was only peeked at.
            head = batches(order, 0, elements - 1).prefetch(PREFETCHED_BATCHES)
            last = tf.data.Dataset.range(elements - 1, elements).map(last_batch)
            return head.concatenate(last)

        if repeat:
            dataset = tf.data.Dataset.counter(initial_epoch).flat_map(endless)
            dataset = dataset.prefetch(PREFETCHED_BATCHES)
            dataset = _with_cardinality(dataset, tf.data.INFINITE_CARDINALITY)
        else:
            dataset = tf.data.Dataset.range(1).map(
                lambda zero: tf.ensure_shape(
                    tf.numpy_function(passes.next_epoch, [zero], tf.int64), []
                )
            )
            dataset = dataset.flat_map(counted)
            dataset = _with_cardinality(dataset, elements)
        return dataset.with_options(_options())

    if strategy is None:
        return read(range(1), 1)
    return _distributed(read, strategy, None if repeat else steps)


def stream_dataset(
    make: Callable[[int], Batch], initial_step: int = 0
) -> tf.data.Dataset:
    """Makes an endless `tf.data.Dataset` whose batch k is a function of k alone.

    Args:
        make: callable, a step -> `(inputs, targets)` as `make_batch` returns them.
        initial_step: int, the step that comes first. Defaults to 0.

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
    """Makes a `tf.data.Dataset` whose batch k is read by a function, from any step on.

    Args:
        read: callable, a step and a slice -> `(source, target)`, int32 of shape
            `(rows, time)`: those rows of the step's batch that the slice picks, which
            may be none.
        initial_step: int, the step that comes first. Defaults to 0.
        steps: int or None, where the dataset ends: at step `steps`, which is not read
            any more. Defaults to None, never.
        strategy: `tf.distribute.Strategy` or None: shared out as `pairs_dataset` does.
            Defaults to None.

    Returns:
        A `tf.data.Dataset` of `(inputs, targets)`, all int32 of shape `(None, None)`;
        with a strategy a `tf.distribute.DistributedDataset` of the same.

    Raises:
        TypeError: if `strategy` is not one.
    """
    check_strategy(strategy)

    import tensorflow as tf

    def elements(replicas: range, of: int) -> tf.data.Dataset:
        """Reads what belongs to some of the replicas, for each step one by one."""
        own = len(replicas)

        def numpy_batch(element: Any) -> tuple[Ids, Ids]:
            step, place = divmod(int(element), own)
            source, target = read(step, slice(replicas.start + place, None, of))
            if not len(target):
                return np.array([[END]], np.int32), np.array([[PAD]], np.int32)
            return source, target

        def read_batch(element: tf.Tensor) -> Any:
            source, target = tf.numpy_function(numpy_batch, [element], [tf.int32] * 2)
            return _tensors(source, target)

        if steps is None:
            dataset = tf.data.Dataset.counter(initial_step * own)
        else:
            dataset = tf.data.Dataset.range(initial_step * own, steps * own)
        # One call at a time: numpy holds Python's lock, two would only wait.
        dataset = dataset.map(read_batch).prefetch(PREFETCHED_BATCHES)
        return dataset.with_options(_options())

    if strategy is None:
        return elements(range(1), 1)
    return _distributed(
        elements, strategy, None if steps is None else steps - initial_step
    )


def check_strategy(strategy: Any) -> None:
    """Raises unless `strategy` is a distribution strategy or None.

    Args:
        strategy: anything.

    Raises:
        TypeError: if it is neither.
    """
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.Strategy | None):
        raise TypeError(
            "`strategy` must be a tf.distribute.Strategy or None. Received: "
            f"{strategy!r}; kseq.distribution.get_strategy returns one for a name."
        )


def _distributed(
    elements: Callable[[range, int], tf.data.Dataset],
    strategy: tf.distribute.Strategy,
    steps: int | None,
) -> tf.data.Dataset:
    """Lets each worker read the elements of its own replicas alone."""

    def read_as_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        own = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * own
        return elements(range(first, first + own), context.num_replicas_in_sync)

    distributed = strategy.distribute_datasets_from_function(read_as_worker)
    if steps is not None:
        # TensorFlow counts a worker's elements, which is several a step where it has
        # several replicas; `fit` reads this as the number of steps.
        distributed._cardinality = steps
    return distributed


def _tensors(source: tf.Tensor, target: tf.Tensor) -> Any:
    """Returns the batch of two tensors, with their ranks set."""
    import tensorflow as tf

    source = tf.ensure_shape(source, [None, None])  # (batch, source_time)
    target = tf.ensure_shape(target, [None, None])  # (batch, target_time)
    return make_batch(source, target)


def _with_cardinality(dataset: tf.data.Dataset, size: int) -> tf.data.Dataset:
    """Lets a dataset know its size."""
    import tensorflow as tf

    return dataset.apply(tf.data.experimental.assert_cardinality(size))


def _options() -> tf.data.Options:
    """Returns the options that every dataset here carries."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    # There are no files to share out between workers, only elements.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return options
