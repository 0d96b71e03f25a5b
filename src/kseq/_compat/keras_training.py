"""A `keras.Model` that corrects Keras's training loop.

All entries were seen in Keras 3.15 with TensorFlow 2.21. The tests named here are in
`tests/_compat/test_keras_training.py`; each fails once its entry can go.
"""

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

# `_replace` changes objects of TensorFlow that threads share.
_LOCK = threading.RLock()


class TrainingLoop(keras.Model):
    """A functional Keras model whose training loop works for padded sequences.

    It corrects the following:

    - Updates on several replicas: an optimizer clips the gradient of each replica
      before the sum, and gradient accumulation fails. Here the gradients are summed
      first, then the optimizer is called once (tensorflow/tensorflow#33929;
      `test_keras_clips_before_it_sums`, `test_keras_cannot_accumulate_on_replicas`).
    - Updates on one replica: TensorFlow never frees the graph of the optimizer's sum
      over the replicas (`test_tensorflow_keeps_the_graph_of_a_sum`).
    - Building on several replicas: `fit` averages the first batch over the replicas,
      which fails if their shapes differ. Here the batch of one replica is used
      (`test_keras_cannot_build_from_an_odd_batch`).
    - Logs of several workers: `fit` cannot reduce scalars. Here logs have rank 1
      (keras-team/keras#20585; `test_two_processes_train_the_model_of_one` of
      `tests/test_distribution.py` fails without it).
    - The displayed loss: Keras weights batches by their number of rows. There is no
      public access to the metric (`test_keras_averages_the_loss_over_rows`).
    - Tracing: Keras traces with `reduce_retracing`, which relaxes (batch,) and (batch,
      time) to an unknown rank, and one-hot vectors of two widths to an unknown width.
      Neither can be checked. Here each rank has its own function
      (`test_keras_traces_two_ranks_as_an_unknown_one`).
    - Optimizer variables: if the first call of a training function creates them,
      TensorFlow traces the function twice (`test_keras_traces_a_first_step_twice`).
    """

    predict_function: Any  # not declared by Keras

    def _unpack_batch(self, data: Any) -> tuple[Any, Any, Any]:
        """Returns inputs, targets and sample weights of a batch, as the loss reads."""
        return keras.utils.unpack_x_y_sample_weight(data)

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
        super()._maybe_symbolic_build(data_batch=self._unpack_batch(data_batch))

    def _build_optimizer(self) -> None:
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def make_train_function(self, force: bool = False) -> None:
        with self.distribute_strategy.scope():
            self._build_optimizer()
        super().make_train_function(force)

    def _make_function(self, step: Any) -> Any:
        return _trace_by_rank(lambda: super(TrainingLoop, self)._make_function(step))

    def make_predict_function(self, force: bool = False) -> None:
        if self.predict_function is not None and not force:
            return

        def make() -> Any:
            super(TrainingLoop, self).make_predict_function(force=True)
            traced: Any = self.predict_function
            self.predict_function = function
            return traced

        function: Any = _trace_by_rank(make)
        self.predict_function = function

    def _apply_gradients(
        self, gradients: Sequence[Any], change: Callable[[Any], Any] | None = None
    ) -> None:
        """Updates the weights with the gradients of one replica.

        Args:
            gradients: Gradients of the replica's share of the loss, one for each
                trainable variable; a tensor or None.
            change: Function applied to each gradient after the sum over the replicas.
                Default: none.
        """
        change = change or (lambda gradient: gradient)
        pairs = [
            (gradient, variable)
            for gradient, variable in zip(
                gradients, self.trainable_variables, strict=True
            )
            if gradient is not None or _has_one_replica()
        ]
        context = tf.distribute.get_replica_context()
        if _has_one_replica():
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
            # All replicas have the same sums.
            first = [strategy.experimental_local_results(v)[0] for v in values]
            with _without_second_merge():
                self.optimizer.apply_gradients(
                    zip(first, [variable for _, variable in pairs], strict=True)
                )

        context.merge_call(update, args=summed)

    def _update_displayed_loss(self, loss: Any, tokens: Any) -> None:
        """Adds a batch to the loss that `fit` and `evaluate` display.

        Args:
            loss: Float scalar, the replica's share of the loss of the global batch.
            tokens: Float scalar, total weight of the tokens of the global batch.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._loss_tracker.update_state(
            loss * replicas, sample_weight=tokens / replicas
        )

    def _reducible_logs(self, logs: dict[str, Any]) -> dict[str, Any]:
        strategy = self.distribute_strategy
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return {name: tf.reshape(value, [1]) for name, value in logs.items()}
        return logs


def _has_one_replica() -> bool:
    return bool(tf.distribute.get_strategy().num_replicas_in_sync == 1)


@contextlib.contextmanager
def _replace(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replaces an attribute of an object or module, in one thread at a time."""
    with _LOCK:
        own, original = name in vars(owner), getattr(owner, name)
        setattr(owner, name, value)
        try:
            yield
        finally:
            if own:
                setattr(owner, name, original)
            else:
                delattr(owner, name)


def _without_sums(context: tf.distribute.ReplicaContext | None) -> Any:
    """Skips an optimizer's sum over the replicas, where there is one replica."""
    if context is None:  # within a merge, where an optimizer does not sum
        return contextlib.nullcontext()
    return _replace(context, "all_reduce", lambda reduce_op, value, options=None: value)


def _without_second_merge() -> Any:
    """Allows to call an optimizer after the replicas were merged.

    Keras's optimizers merge the replicas wherever they update a variable. A second
    merge fails, and so does a merge within the condition of gradient accumulation.
    """
    interim = tf.__internal__.distribute.interim
    original = interim.maybe_merge_call

    def merge(function: Any, strategy: Any, *args: Any, **kwargs: Any) -> Any:
        if tf.distribute.in_cross_replica_context():
            return function(strategy, *args, **kwargs)
        return original(function, strategy, *args, **kwargs)

    return _replace(interim, "maybe_merge_call", merge)


def _trace_by_rank(make: Callable[[], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Returns a step function that is traced once for each rank of its data.

    Args:
        make: Returns a new step function of Keras, of an iterator or of a list of
            batches.
    """
    functions: dict[Any, Callable[[Any], Any]] = {}
    # An epoch passes the same iterator at each step. It must not be kept alive here.
    latest: list[Any] = [lambda: None, None]

    def step(data: Any) -> Any:
        if isinstance(data, tf.data.Iterator | tf.distribute.DistributedIterator):
            if latest[0]() is not data:
                latest[:] = [weakref.ref(data), _ranks(data.element_spec)]
            ranks = latest[1]
        else:  # a list of batches, or a generator of one
            batches = list(data)
            ranks = _ranks(batches[:1])
            data = batches if isinstance(data, list) else iter(batches)
        if ranks not in functions:
            functions[ranks] = make()
        return functions[ranks](data)

    return step


def _ranks(structure: Any) -> tuple[Any, ...]:
    """Returns the ranks of tensors, and the widths of vectors."""
    leaves = tf.nest.flatten(structure, expand_composites=True)
    shapes = [tf.TensorShape(getattr(leaf, "shape", None)) for leaf in leaves]
    return tuple(
        (each.rank, each[2]) if each.rank == 3 else each.rank for each in shapes
    )
