"""`tf.distribute` strategies by name."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from kseq.config.checks import check_choice

NAMES = ("auto", "one_device", "mirrored", "multi_worker")
DEVICES = ("auto", "cpu", "gpu")

# One strategy for each name: a second MirroredStrategy in a process fails, since its
# collective operations exist already.
_strategies: dict[str, tf.distribute.Strategy] = {}


def get_strategy(identifier: Any = "auto") -> tf.distribute.Strategy:
    """Returns a distribution strategy. Build and fit a model under its `scope()`.

    Call it before TensorFlow runs anything: it enables memory growth on the GPUs, and
    connects the workers.

    Args:
        identifier: One of the names below, or a `tf.distribute.Strategy`. Default:
            `"auto"`.

            - `"auto"`: `"mirrored"` if there are several GPUs, else `"one_device"`.
            - `"one_device"`: the first GPU, or the CPU.
            - `"mirrored"`: a replica on each GPU of this machine; without a GPU, on
              each of its logical CPU devices.
            - `"multi_worker"`: a replica on each GPU (or the CPU) of each machine. The
              environment variable `TF_CONFIG` lists the machines.

    Returns:
        The strategy; the same object for each call with the same name.

    Raises:
        ValueError: If the name is unknown, or `TF_CONFIG` is missing or malformed.
        RuntimeError: If `"multi_worker"` is requested after TensorFlow has started.

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
    """Chooses between CPU and GPU. Call it before TensorFlow runs anything.

    Args:
        name: `"auto"`: a GPU if there is one; `"cpu"`; or `"gpu"`, which fails if there
            is none.

    Raises:
        ValueError: If the name is unknown, or if there is no GPU for `"gpu"`.
        RuntimeError: If TensorFlow uses a GPU already.

    Example:
        >>> from kseq.distribution import use_device
        >>> use_device("cpu")
    """
    check_choice("name", name, DEVICES)
    gpus = tf.config.list_physical_devices("GPU")
    if name == "gpu" and not gpus:
        raise ValueError(
            "device 'gpu' needs a GPU that TensorFlow can use, and TensorFlow finds "
            "none: see its guide to GPUs, and pip install 'kseq[gpu]'."
        )
    if name == "cpu" and gpus:
        tf.config.set_visible_devices([], "GPU")


def is_chief(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Whether this process saves files and prints.

    Args:
        strategy: A strategy. Default: the current strategy.

    Returns:
        True in the chief process, which is worker 0 if `TF_CONFIG` has no chief; and
        True if there is only one process.
    """
    strategy = strategy or tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    resolver = strategy.cluster_resolver
    chief = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return resolver.task_type in (None, chief) and not resolver.task_id


def global_sum(value: Any) -> Any:
    """Sums a tensor over the replicas.

    Args:
        value: A tensor of any shape.

    Returns:
        The sum, on each replica; `value` itself if there is one replica.
    """
    context = tf.distribute.get_replica_context()
    if context is None or tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


@contextlib.contextmanager
def explain_lost_worker(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Replaces TensorFlow's error after another worker stopped by a clear message.

    Args:
        strategy: The strategy of the training.

    Raises:
        RuntimeError: If a worker of several stopped.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise
        raise RuntimeError(
            "Another worker has stopped or cannot be reached, and training cannot "
            "continue without it. Read its messages, then restart all workers from the "
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
    del has_gpu  # TensorFlow finds the GPUs
    _check_cluster()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise RuntimeError(
            "get_strategy('multi_worker') must be called before TensorFlow runs "
            "anything: call it first in the program."
        ) from error


def _check_cluster() -> None:
    example = (
        '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise ValueError(
            "'multi_worker' needs the environment variable TF_CONFIG on each worker, "
            f"with the worker's index: TF_CONFIG='{example}'."
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
            "The environment variable TF_CONFIG must list the workers and the index "
            f"of this worker, such as '{example}'. Received: {text!r}."
        )


def _grow_memory(gpu: Any) -> None:
    # An error means that the program has configured the GPU already.
    with contextlib.suppress(RuntimeError, ValueError):
        tf.config.experimental.set_memory_growth(gpu, True)
