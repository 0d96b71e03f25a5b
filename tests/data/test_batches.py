import subprocess
import sys
from collections.abc import Callable

import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings

from kseq.data import CopyTask, Examples, from_pairs
from kseq.data.batches import epoch_order

SEED = 5


def make_examples(size: int) -> Examples:
    """Pair i is recognised by its source, and no two neighbours are of one length."""
    return from_pairs(
        [f"s{i} " + "a " * (i % 5) for i in range(size)],
        [f"t{i} " + "b " * (i * 3 % 7) for i in range(size)],
    )


def read(dataset: tf.data.Dataset) -> list:
    return list(dataset.as_numpy_iterator())


def sources(batches: list) -> list[list[int]]:
    return [[x for x in row if x] for batch in batches for row in batch.tolist()]


def in_order(examples: Examples, order: np.ndarray) -> list[list[int]]:
    return sources([examples.source[order]])


def test_an_epochs_order_is_a_permutation_fixed_by_seed_and_epoch() -> None:
    order = epoch_order(100, seed=1, epoch=2)
    assert sorted(order) == list(range(100))
    assert order.tolist() == epoch_order(100, seed=1, epoch=2).tolist()
    assert order.tolist() != epoch_order(100, seed=1, epoch=3).tolist()
    assert order.tolist() != epoch_order(100, seed=2, epoch=2).tolist()


@settings(max_examples=10, deadline=None)
@given(
    size=st.integers(1, 23),
    batch_size=st.integers(1, 9),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_an_epoch_holds_each_pair_once_and_loses_no_token(
    size: int, batch_size: int, shuffle: bool, seed: int
) -> None:
    examples = make_examples(size)
    dataset = examples.dataset(batch_size, shuffle=shuffle, seed=seed)
    batches = read(dataset)
    order = epoch_order(size, seed, 0) if shuffle else np.arange(size)
    sizes = [len(targets) for _, targets in batches]
    assert sizes == [batch_size] * (size // batch_size) + [size % batch_size] * (
        size % batch_size > 0
    )
    assert len(batches) == int(dataset.cardinality())
    expected_inputs, expected_targets = examples[order].arrays()
    start = 0
    for inputs, targets in batches:
        stop = start + len(targets)
        for side, expected in (
            (inputs["encoder_inputs"], expected_inputs["encoder_inputs"]),
            (inputs["decoder_inputs"], expected_inputs["decoder_inputs"]),
            (targets, expected_targets),
        ):
            width = side.shape[1]
            assert side.dtype == np.int32
            assert side.tolist() == expected[start:stop, :width].tolist()
            assert not expected[start:stop, width:].any()
        # Trimmed as far as can be: the last column has a real token.
        assert inputs["encoder_inputs"][:, -1].any()
        assert targets[:, -1].any()
        start = stop


def test_the_spec_leaves_batch_and_time_open() -> None:
    spec = tf.TensorSpec((None, None), tf.int32)
    for dataset in (
        make_examples(5).dataset(2),
        make_examples(5).dataset(2, repeat=True),
        CopyTask().stream(2),
    ):
        inputs, targets = dataset.element_spec
        assert inputs == {"encoder_inputs": spec, "decoder_inputs": spec}
        assert targets == spec


def test_no_dataset_is_tuned_by_tf_data() -> None:
    for dataset in (
        make_examples(5).dataset(2),
        make_examples(5).dataset(2, repeat=True),
        CopyTask().stream(2),
    ):
        assert dataset.options().autotune.enabled is False
        assert dataset.options().deterministic is True


def test_each_pass_reads_the_next_epoch_whatever_tensorflows_seed() -> None:
    examples = make_examples(20)
    orders = []
    for tf_seed in (1, 2):
        tf.random.set_seed(tf_seed)
        dataset = examples.dataset(6, seed=SEED, initial_epoch=3)
        orders.append(
            [sources([x["encoder_inputs"] for x, _ in read(dataset)]) for _ in range(3)]
        )
    assert orders[0] == orders[1]
    assert orders[0] == [
        in_order(examples, epoch_order(20, SEED, 3 + k)) for k in (0, 1, 2)
    ]


@pytest.mark.parametrize("batch_size", [3, 10])
def test_a_pass_given_up_midway_does_not_count(batch_size: int) -> None:
    examples = make_examples(20)
    dataset = examples.dataset(batch_size, seed=SEED)
    for _ in range(3):
        next(iter(dataset))
        iter(dataset)
    rows = sources([x["encoder_inputs"] for x, _ in read(dataset)])
    assert rows == in_order(examples, epoch_order(20, SEED, 0))


def test_two_passes_at_once_each_read_a_whole_epoch() -> None:
    examples = make_examples(20)
    dataset = examples.dataset(6, seed=SEED)
    pairs = list(zip(dataset, dataset, strict=True))
    for side in (0, 1):
        rows = sources([pair[side][0]["encoder_inputs"].numpy() for pair in pairs])
        assert rows == in_order(examples, epoch_order(20, SEED, 0))
    rows = sources([x["encoder_inputs"] for x, _ in read(dataset)])
    assert rows == in_order(examples, epoch_order(20, SEED, 1))


def test_the_remainder_is_dropped_on_request() -> None:
    dataset = make_examples(20).dataset(6, drop_remainder=True)
    assert int(dataset.cardinality()) == 3
    assert [len(targets) for _, targets in read(dataset)] == [6, 6, 6]
    with pytest.raises(ValueError, match="`batch_size` must be at most 20"):
        make_examples(20).dataset(21, drop_remainder=True)


def test_a_repeated_dataset_goes_from_epoch_to_epoch() -> None:
    examples = make_examples(20)
    dataset = examples.dataset(6, seed=SEED, repeat=True, initial_epoch=2)
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    for _ in range(2):  # every iterator starts anew
        batches = [x["encoder_inputs"] for x, _ in read(dataset.take(9))]
        assert [len(batch) for batch in batches] == [6, 6, 6, 2, 6, 6, 6, 2, 6]
        assert sources(batches[:4]) == in_order(examples, epoch_order(20, SEED, 2))
        assert sources(batches[4:8]) == in_order(examples, epoch_order(20, SEED, 3))


class WorkerStrategy(tf.distribute.OneDeviceStrategy):
    """Stands for the strategy of one of several workers, and hands out its dataset."""

    def __init__(self, worker: int, workers: int, replicas: int) -> None:
        super().__init__("CPU:0")
        self.context = tf.distribute.InputContext(workers, worker, workers * replicas)

    def distribute_datasets_from_function(
        self, dataset_fn: Callable, options: object = None
    ) -> tf.data.Dataset:
        return dataset_fn(self.context)


@pytest.mark.parametrize(
    ("workers", "replicas", "batch_size"), [(1, 3, 6), (2, 1, 7), (3, 1, 2), (2, 2, 9)]
)
def test_workers_share_out_each_batch_in_equally_many_parts(
    workers: int, replicas: int, batch_size: int
) -> None:
    examples = make_examples(19)
    steps, number = -(-19 // batch_size), workers * replicas
    datasets = [
        examples.dataset(
            batch_size, seed=SEED, strategy=WorkerStrategy(worker, workers, replicas)
        )
        for worker in range(workers)
    ]
    for epoch in range(2):
        order = epoch_order(19, SEED, epoch)
        for worker, dataset in enumerate(datasets):
            elements = read(dataset)
            assert len(elements) == steps * replicas
            for k, (inputs, targets) in enumerate(elements):
                step, replica = k // replicas, worker * replicas + k % replicas
                batch = order[step * batch_size : (step + 1) * batch_size]
                rows = batch[replica::number]
                if len(rows):
                    assert sources([inputs["encoder_inputs"]]) == in_order(
                        examples, rows
                    )
                    assert (
                        targets.shape[1]
                        == np.max(examples.target[rows].nonzero()[1]) + 1
                    )
                else:
                    assert inputs["encoder_inputs"].tolist() == [[3]]
                    assert inputs["decoder_inputs"].tolist() == [[2]]
                    assert targets.tolist() == [[0]]


def test_a_workers_endless_dataset_goes_from_epoch_to_epoch() -> None:
    examples = make_examples(20)
    strategy = WorkerStrategy(1, 2, 1)
    dataset = examples.dataset(5, seed=SEED, repeat=True, strategy=strategy)
    rows = sources([x["encoder_inputs"] for x, _ in read(dataset.take(8))])
    orders = np.concatenate([epoch_order(20, SEED, epoch) for epoch in (0, 1)])
    own = [k for k in range(40) if k % 5 in (1, 3)]
    assert rows == in_order(examples, orders[own])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"batch_size": 2.0}, TypeError),
        ({"batch_size": True}, TypeError),
        ({"batch_size": 2, "seed": -1}, ValueError),
        ({"batch_size": 2, "initial_epoch": -1}, ValueError),
        ({"batch_size": 2, "shuffle": "no"}, TypeError),
        ({"batch_size": 2, "drop_remainder": 1}, TypeError),
        ({"batch_size": 2, "repeat": 3}, TypeError),
        ({"batch_size": 2, "strategy": "mirrored"}, TypeError),
    ],
)
def test_a_dataset_checks_its_arguments(options: dict, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"`{list(options)[-1]}` must be"):
        make_examples(5).dataset(**options)


class Recorder(keras.Model):
    """A model that is built by its first batch and notes all it is trained on."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embedding = keras.layers.Embedding(size, 2)
        self.logits = keras.layers.Dense(size)
        self.batches: list[np.ndarray] = []

    def call(self, inputs: dict) -> tf.Tensor:
        return self.logits(self.embedding(inputs["decoder_inputs"]))

    def train_step(self, data: tuple) -> dict:
        def note(ids: np.ndarray) -> np.int64:
            self.batches.append(ids.copy())
            return np.int64(0)

        tf.numpy_function(note, [data[0]["encoder_inputs"]], tf.int64)
        return super().train_step(data)


def recorder(examples: Examples, **options: int) -> Recorder:
    model = Recorder(len(examples.target_vocab))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="sgd", loss=loss, metrics=["accuracy"], **options)
    return model


class Progress(keras.callbacks.Callback):
    """Notes the number of steps that the progress bar is told."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.steps = self.params["steps"]


@pytest.mark.parametrize("batch_size", [20, 11, 6])
def test_epoch_k_of_fit_is_epoch_k(batch_size: int) -> None:
    examples = make_examples(20)
    model, progress = recorder(examples), Progress()
    dataset = examples.dataset(batch_size, seed=SEED)
    validation = examples.dataset(7, shuffle=False)
    steps = -(-20 // batch_size)
    model.fit(
        dataset,
        validation_data=validation,
        epochs=2,
        verbose=0,
        callbacks=[progress],
    )
    model.fit(dataset, initial_epoch=2, epochs=3, verbose=0)
    assert progress.steps == steps
    assert len(model.batches) == 3 * steps
    for epoch in range(3):
        rows = sources(model.batches[epoch * steps : (epoch + 1) * steps])
        assert rows == in_order(examples, epoch_order(20, SEED, epoch))


def test_fit_under_a_strategy_peeks_and_epoch_k_is_still_epoch_k() -> None:
    examples = make_examples(40)
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    with strategy.scope():
        model = recorder(examples)
    model.fit(examples.dataset(4, seed=SEED), epochs=2, verbose=0)
    assert len(model.batches) == 20
    for epoch in range(2):
        rows = sources(model.batches[10 * epoch : 10 * epoch + 10])
        assert rows == in_order(examples, epoch_order(40, SEED, epoch))


def test_fit_takes_several_steps_at_once() -> None:
    examples = make_examples(20)
    model = recorder(examples, steps_per_execution=3)
    model.fit(examples.dataset(6, seed=SEED), epochs=2, verbose=0)
    assert sorted(sources(model.batches)) == sorted(
        2 * in_order(examples, np.arange(20))
    )


def test_fit_takes_a_pydataset_with_a_partial_last_batch() -> None:
    examples = make_examples(20)
    model = recorder(examples)
    batches = examples.pydataset(6, seed=SEED)
    model.fit(batches, epochs=2, verbose=0, shuffle=False)
    # `fit` calls `on_epoch_end` once before its first epoch.
    for epoch in (0, 1):
        rows = sources(model.batches[4 * epoch : 4 * epoch + 4])
        assert rows == in_order(examples, epoch_order(20, SEED, epoch + 1))


def test_fit_takes_arrays_with_a_validation_split() -> None:
    examples = make_examples(20)
    model = recorder(examples)
    history = model.fit(
        *examples.arrays(), validation_split=0.3, batch_size=7, verbose=0
    )
    assert sorted(sources(model.batches)) == sorted(in_order(examples, np.arange(14)))
    assert "val_loss" in history.history


def test_fit_takes_a_stream() -> None:
    task = CopyTask(symbols=3, min_length=1, max_length=4)
    model = recorder(task.sample(1))
    model.fit(task.stream(8, seed=1), steps_per_epoch=3, epochs=2, verbose=0)
    for step, batch in enumerate(model.batches):
        expected, _ = task.batch(8, seed=1, step=step)
        assert batch.tolist() == expected["encoder_inputs"].tolist()
    assert len(model.batches) == 6


def test_importing_the_package_imports_no_heavy_library() -> None:
    code = (
        "import sys, kseq.data\n"
        "print([m for m in ('pandas', 'tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
