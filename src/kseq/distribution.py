"""`tf.distribute` strategies by name, and the mending that Keras needs for them."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from kseq.config.checks import check_choice

NAMES = ("auto", "one_device", "mirrored", "multi_worker")
DEVICES = ("auto", "cpu", "gpu")

# One object for each name a process: a second MirroredStrategy with another model
# fails, since its collective operations exist already.
_strategies: dict[str, tf.distribute.Strategy] = {}


def get_strategy(identifier: Any = "auto") -> tf.distribute.Strategy:
    """Returns a distribution strategy, to build and fit a model under its `scope()`.

    Call it at the start of a program: it makes GPUs take their memory as they need it,
    and several workers must find each other, before TensorFlow has begun to work.

    Args:
        identifier: One of these names, or a `tf.distribute.Strategy`.

            - `"auto"`: `"mirrored"` if there are several GPUs, else `"one_device"`.
            - `"one_device"`: the first GPU, or the CPU.
            - `"mirrored"`: a replica on each GPU of this machine; without a GPU, on
              each of its logical CPU devices.
            - `"multi_worker"`: a replica on each GPU (or the CPU) of each machine, the
              machines being listed in the environment variable `TF_CONFIG`.

    Returns:
        The strategy; for a name the same object each time.

    Raises:
        ValueError: If the name is unknown, or `TF_CONFIG` is missing or malformed.
        RuntimeError: If several workers are asked for too late in a program.

    Example:
        >>> from kseq.distribution import get_strategy
        >>> strategy = get_strategy("one_device")
        >>> strategy.num_replicas_in_sync, get_strategy("one_device") is strategy
        (1, True)
    """
    if isinstance(identifier, tf.distribute.Strategy):
        return identifier
    check_choice("identifier", identifier, NAMES, ", or a tf.distribute.Strategy")
    gpus = tf.config.list_physical_devices("GPU")
    if identifier == "auto":
        identifier = "mirrored" if len(gpus) > 1 else "one_device"
    if identifier not in _strategies:
        for gpu in gpus:
            _grow_memory(gpu)
        makers = {
            "one_device": _one_device,
            "mirrored": _mirrored,
            "multi_worker": _multi_worker,
        }
        _strategies[identifier] = makers[identifier](bool(gpus))
    return _strategies[identifier]


def use_device(name: str) -> None:
    """Chooses what a program computes on; call it before TensorFlow has begun to work.

    Args:
        name: `"auto"`, what there is; `"cpu"`; or `"gpu"`, which must be there.

    Raises:
        ValueError: If the name is unknown, or there is no GPU.
        RuntimeError: If TensorFlow has begun to use a GPU.

    Example:
        >>> from kseq.distribution import use_device
        >>> use_device("cpu")
    """
    check_choice("name", name, DEVICES)
    gpus = tf.config.list_physical_devices("GPU")
    if name == "gpu" and not gpus:
        raise ValueError(
            "device 'gpu' needs a GPU that TensorFlow can use; there is none: see "
            "TensorFlow's guide to GPUs, and pip install 'kseq[gpu]'."
        )
    if name == "cpu" and gpus:
        tf.config.set_visible_devices([], "GPU")


def is_chief(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Whether this process is the one that saves and prints.

    Args:
        strategy: A strategy. Default: the one whose scope the call is in.

    Returns:
        True on the chief (the worker with index 0, where none is named so), and
        wherever there is one process.
    """
    strategy = strategy or tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    resolver = strategy.cluster_resolver
    chief = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return resolver.task_type in (None, chief) and not resolver.task_id


def global_sum(value: Any) -> Any:
    """Sums a tensor over the replicas, if there are any.

    Args:
        value: A tensor of any shape.

    Returns:
        The sum, the same on each replica; `value` itself on one device.
    """
    context = tf.distribute.get_replica_context()
    if context is None or _is_single():
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


class DistributedTraining(keras.Model):
    """What Keras 3.15 lacks to train one model on several replicas, in one place.

    - Updates: an optimizer clips a replica's own gradient and then sums, and one that
      accumulates gradients fails. Here the gradients are summed first, and the
      optimizer is called once for all replicas, with those of the global batch.
    - Building: `fit` takes the mean over the replicas of a first batch to build the
      model, which fails where their shapes differ (an odd batch, lengths of their
      own) and where they are on several machines. Here a replica's batch serves.
    - Logs: with several machines `fit` cannot reduce scalar logs; here they have rank
      1.

    Reference:
        keras-team/keras#20585 (several workers), tensorflow/tensorflow#33929 (clipping
        before the sum).
    """

    def _maybe_symbolic_build(
        self, iterator: Any = None, data_batch: Any = None
    ) -> None:
        strategy = self._distribute_strategy
        if strategy is None:
            return
        if iterator is not None:
            for _, _, batches in iterator:
                data_batch = tf.nest.map_structure(
                    lambda value: strategy.experimental_local_results(value)[0],
                    next(batches),
                )
                break
        super()._maybe_symbolic_build(data_batch=self._unpacked(data_batch))

    def _unpacked(self, data: Any) -> tuple[Any, Any, Any]:
        """Returns inputs, targets and weights of a batch, as the loss takes them."""
        return keras.utils.unpack_x_y_sample_weight(data)

    def _apply_gradients(
        self, gradients: Sequence[Any], change: Callable[[Any], Any] | None = None
    ) -> None:
        """Updates the weights with a replica's gradients of its share of the loss.

        Args:
            gradients: The gradients.
            change: What is done to each, once they are summed over the replicas.
        """
        change = change or (lambda gradient: gradient)
        pairs = [
            (gradient, variable)
            for gradient, variable in zip(
                gradients, self.trainable_variables, strict=True
            )
            if gradient is not None or _is_single()
        ]
        context = tf.distribute.get_replica_context()
        if _is_single():
            with _without_sums(context):
                self.optimizer.apply_gradients(
                    [(None if g is None else change(g), v) for g, v in pairs]
                )
            return
        summed = context.all_reduce(
            tf.distribute.ReduceOp.SUM, [gradient for gradient, _ in pairs]
        )
        summed = [change(gradient) for gradient in summed]

        def update(strategy: tf.distribute.Strategy, *values: Any) -> None:
            # The sums are the same on each replica: one of them stands for all.
            first = [strategy.experimental_local_results(v)[0] for v in values]
            with _merged():
                self.optimizer.apply_gradients(
                    zip(first, [variable for _, variable in pairs], strict=True)
                )

        context.merge_call(update, args=summed)

    def _logs(self, logs: dict[str, Any]) -> dict[str, Any]:
        strategy = self.distribute_strategy
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return {name: tf.reshape(value, [1]) for name, value in logs.items()}
        return logs


@contextlib.contextmanager
def together_with_other_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Says in a sentence what it means that another worker has stopped.

    Args:
        strategy: The strategy that is trained under.

    Raises:
        RuntimeError: In place of TensorFlow's error, among several workers.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise
        raise RuntimeError(
            "Another worker has stopped or cannot be reached, and none can go on "
            "without it: see its own messages, then start all workers again, from the "
            "last checkpoint."
        ) from error


def _one_device(has_gpu: bool) -> tf.distribute.Strategy:
    return tf.distribute.OneDeviceStrategy("/GPU:0" if has_gpu else "/CPU:0")


def _mirrored(has_gpu: bool) -> tf.distribute.Strategy:
    if has_gpu:
        return tf.distribute.MirroredStrategy()
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    # Collective operations between the devices of one CPU cost more than they save.
    return tf.distribute.MirroredStrategy(
        devices, cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


def _multi_worker(has_gpu: bool) -> tf.distribute.Strategy:
    del has_gpu  # TensorFlow finds them by itself
    _check_cluster()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise RuntimeError(
            "Several workers must be asked for before TensorFlow has run anything: "
            "call get_strategy('multi_worker') first in the program."
        ) from error


def _check_cluster() -> None:
    example = (
        '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise ValueError(
            "Several workers need the environment variable TF_CONFIG, on each of them "
            f"with its own index: TF_CONFIG='{example}'."
        )
    try:
        config = json.loads(text)
        workers = config["cluster"]["worker"]
        index = config["task"]["index"]
        valid = (
            isinstance(workers, list)
            and isinstance(index, int)
            and 0 <= index < len(workers) + len(config["cluster"].get("chief", []))
        )
    except (ValueError, KeyError, TypeError):
        valid = False
    if not valid:
        raise ValueError(
            "The environment variable TF_CONFIG must list the workers and this one's "
            f"index among them, such as '{example}'. Received: {text!r}."
        )


def _grow_memory(gpu: Any) -> None:
    # An error means that the program has set up the GPU already: it has decided.
    with contextlib.suppress(RuntimeError, ValueError):
        tf.config.experimental.set_memory_growth(gpu, True)


def _is_single() -> bool:
    return bool(tf.distribute.get_strategy().num_replicas_in_sync == 1)


@contextlib.contextmanager
def _without_sums(context: tf.distribute.ReplicaContext | None) -> Iterator[None]:
    """Lets an optimizer of one replica be called without its sum over the replicas.

    TensorFlow keeps the graph of each such sum in memory for ever.
    """
    if context is None:  # inside a merge, where an optimizer makes no sum
        yield
        return
    context.all_reduce = lambda reduce_op, value, options=None: value
    try:
        yield
    finally:
        vars(context).pop("all_reduce", None)  # another thread may have been faster


@contextlib.contextmanager
def _merged() -> Iterator[None]:
    """Lets an optimizer be called where its replicas have been merged already.

    Keras's optimizers merge by themselves, wherever they update a variable; a second
    merge fails, and so does one inside the condition that accumulation is.
    """
    interim = tf.__internal__.distribute.interim
    merge = interim.maybe_merge_call
    interim.maybe_merge_call = lambda fn, strategy, *args, **kwargs: fn(
        strategy, *args, **kwargs
    )
    try:
        yield
    finally:
        interim.maybe_merge_call = merge
