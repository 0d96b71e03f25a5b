import inspect
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from laws.children import run_child

from kseq.data import (
    BatchStream,
    Examples,
    ShardedExamples,
    from_pairs,
    plan_batches,
    validation_dataset,
    write_shards,
)

SIZE = 41


def make_texts(size: int = SIZE) -> tuple[list[str], list[str]]:
    """Pair i is recognised by either side, and no two neighbours are of one length."""
    return (
        [f"s{i} " + "a " * (i % 5) for i in range(size)],
        [f"t{i} " + "b " * (i * 3 % 7) for i in range(size)],
    )


@pytest.fixture(scope="module")
def examples() -> Examples:
    return from_pairs(*make_texts())


@pytest.fixture(scope="module")
def sharded(
    examples: Examples, tmp_path_factory: pytest.TempPathFactory
) -> ShardedExamples:
    return write_shards(
        zip(*make_texts(), strict=True),
        tmp_path_factory.mktemp("corpus") / "shards",
        examples.source_vocab,
        examples.target_vocab,
        shard_size=12,
    )


@pytest.fixture(params=["memory", "shards"])
def either(
    request: pytest.FixtureRequest, examples: Examples, sharded: ShardedExamples
) -> Examples | ShardedExamples:
    return examples if request.param == "memory" else sharded


def rows(batches: list) -> list[tuple[list[int], list[int]]]:
    """The pairs of batches, in order, without padding."""
    return [
        ([x for x in source if x], [y for y in target if y])
        for inputs, targets in batches
        for source, target in zip(
            inputs["encoder_inputs"].tolist(), targets.tolist(), strict=True
        )
    ]


def all_rows(examples: Examples) -> list:
    inputs, targets = examples.arrays()
    return rows([(inputs, targets)])


def epoch_of(stream: BatchStream, epoch: int) -> list:
    begin = sum(stream.steps(each) for each in range(epoch))
    return [stream.batch(begin + k) for k in range(stream.steps(epoch))]


def assert_same(first: tuple, second: tuple) -> None:
    for name in ("encoder_inputs", "decoder_inputs"):
        np.testing.assert_array_equal(first[0][name], second[0][name])
    np.testing.assert_array_equal(first[1], second[1])


OPTIONS = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 50),
        "batch_type": st.sampled_from(["pairs", "tokens"]),
        "buckets": st.sampled_from(["auto", None, 3, [(3, 9), (9, 9)]]),
        "seed": st.integers(0, 2**40),
        "shuffle": st.booleans(),
        "fixed_lengths": st.booleans(),
    }
)


@given(options=OPTIONS, from_shards=st.booleans(), epoch=st.integers(0, 3))
def test_every_epoch_reads_each_pair_once(
    examples: Examples,
    sharded: ShardedExamples,
    options: dict,
    from_shards: bool,
    epoch: int,
) -> None:
    stream = BatchStream(sharded if from_shards else examples, **options)
    batches = epoch_of(stream, epoch)
    assert sorted(rows(batches)) == sorted(all_rows(examples))
    for inputs, targets in batches:
        assert inputs["encoder_inputs"].dtype == targets.dtype == np.int32
        assert (inputs["decoder_inputs"][:, 0] == 2).all()
        if not options["fixed_lengths"]:
            assert inputs["encoder_inputs"][:, -1].any()
            assert targets[:, -1].any()


@given(options=OPTIONS, step=st.integers(0, 200), from_shards=st.booleans())
def test_a_step_is_a_place_in_an_epoch(
    examples: Examples,
    sharded: ShardedExamples,
    options: dict,
    step: int,
    from_shards: bool,
) -> None:
    stream = BatchStream(sharded if from_shards else examples, **options)
    epoch, within = stream.position(step)
    assert sum(stream.steps(each) for each in range(epoch)) + within == step
    assert within < stream.steps(epoch)
    share = stream.epochs_at(step)
    assert share == epoch + within / stream.steps(epoch)
    assert stream.step_at(share) == step
    assert stream.step_at(epoch) == step - within


@given(
    options=OPTIONS,
    steps=st.lists(st.integers(0, 60), min_size=1, max_size=6),
    from_shards=st.booleans(),
)
def test_a_batch_depends_on_its_step_and_not_on_what_was_read_before(
    examples: Examples,
    sharded: ShardedExamples,
    options: dict,
    steps: list,
    from_shards: bool,
) -> None:
    source = sharded if from_shards else examples
    stream = BatchStream(source, **options)
    for step in steps:
        assert_same(stream.batch(step), BatchStream(source, **options).batch(step))


def test_an_epoch_in_memory_is_a_plan(examples: Examples) -> None:
    stream = BatchStream(examples, batch_size=6, seed=5)
    sides = examples.source, examples.target
    lengths = [np.count_nonzero(ids, axis=1) for ids in sides]
    for epoch in range(2):
        plan = plan_batches(
            *lengths, batch_size=6, buckets=stream.buckets, seed=5, epoch=epoch
        )
        for batch, picked in zip(epoch_of(stream, epoch), plan, strict=True):
            assert rows([batch]) == all_rows(examples[picked])


def test_epochs_differ_where_they_are_shuffled_only(
    either: Examples | ShardedExamples,
) -> None:
    def order(shuffle: bool, seed: int, epoch: int) -> list:
        stream = BatchStream(either, batch_size=4, shuffle=shuffle, seed=seed)
        return rows(epoch_of(stream, epoch))

    assert order(True, 0, 0) != order(True, 0, 1)
    assert order(True, 0, 0) != order(True, 1, 0)
    assert order(False, 0, 0) == order(False, 1, 1)


def test_shards_come_in_an_order_of_their_own_each_epoch(
    examples: Examples, sharded: ShardedExamples
) -> None:
    shard_of = {tuple(row[0]): i // 12 for i, row in enumerate(all_rows(examples))}
    stream = BatchStream(sharded, batch_size=5, seed=1)
    orders = []
    for epoch in range(4):
        visited = [shard_of[tuple(row[0])] for row in rows(epoch_of(stream, epoch))]
        # One shard after the other: each is read from disk once.
        order = list(dict.fromkeys(visited))
        assert visited == sorted(visited, key=order.index)
        orders.append(tuple(order))
    assert len(set(orders)) > 1


def test_two_shards_of_one_size_are_not_shuffled_alike(tmp_path: Path) -> None:
    texts = [f"s{i}" for i in range(20)] * 2
    vocab = from_pairs(texts, texts).source_vocab
    sharded = write_shards(
        zip(texts, texts, strict=True), tmp_path / "c", vocab, vocab, shard_size=20
    )
    stream = BatchStream(sharded, batch_size=20)
    first, second = (rows([stream.batch(step)]) for step in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != second


def test_resuming_far_along_reads_nothing_of_what_came_before(
    sharded: ShardedExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = BatchStream(sharded, batch_size=4)
    read = []
    lengths = sharded.lengths
    monkeypatch.setattr(
        sharded, "lengths", lambda shard: read.append(shard) or lengths(shard)
    )
    stream.batch(10**9)
    assert len(set(read)) == 1


@settings(max_examples=8)
@given(options=OPTIONS, initial_step=st.integers(0, 30), from_shards=st.booleans())
def test_a_dataset_from_a_step_on_is_the_tail_of_the_whole(
    examples: Examples,
    sharded: ShardedExamples,
    options: dict,
    initial_step: int,
    from_shards: bool,
) -> None:
    stream = BatchStream(sharded if from_shards else examples, **options)
    tail = stream.dataset(initial_step).take(9).as_numpy_iterator()
    whole = stream.dataset().skip(initial_step).take(9).as_numpy_iterator()
    for step, (first, second) in enumerate(zip(tail, whole, strict=True), initial_step):
        assert_same(first, second)
        assert_same(first, stream.batch(step))


def test_a_dataset_is_endless_open_in_its_shapes_and_not_tuned(
    either: Examples | ShardedExamples,
) -> None:
    spec = tf.TensorSpec((None, None), tf.int32)
    dataset = BatchStream(either).dataset()
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    validation = validation_dataset(either, 5)
    for each in (dataset, validation):
        inputs, targets = each.element_spec
        assert inputs == {"encoder_inputs": spec, "decoder_inputs": spec}
        assert targets == spec
        assert each.options().autotune.enabled is False
        assert each.options().deterministic is True


def test_fixed_lengths_leave_a_shape_a_bucket(
    either: Examples | ShardedExamples,
) -> None:
    stream = BatchStream(either, batch_size=4, buckets=3, fixed_lengths=True)
    shapes = {
        (inputs["encoder_inputs"].shape[1], targets.shape[1])
        for epoch in range(3)
        for inputs, targets in epoch_of(stream, epoch)
    }
    assert shapes <= set(stream.buckets)
    assert len(stream.buckets) == 3
    unbucketed = BatchStream(either, batch_size=4, buckets=None, fixed_lengths=True)
    for inputs, targets in epoch_of(unbucketed, 0):
        assert (inputs["encoder_inputs"].shape[1], targets.shape[1]) == (6, 8)


def test_buckets_longer_than_any_pair_are_padded_to(
    either: Examples | ShardedExamples,
) -> None:
    stream = BatchStream(either, 4, buckets=[(20, 30)], fixed_lengths=True)
    inputs, targets = stream.batch(0)
    assert (inputs["encoder_inputs"].shape, targets.shape) == ((4, 20), (4, 30))
    assert not targets[:, 8:].any()


def digests(source: Examples | ShardedExamples) -> list[str]:
    """What some batches hold, far into a stream."""
    import hashlib
    from itertools import product

    from kseq.data import BatchStream

    found = []
    for batch_type, buckets in product(("pairs", "tokens"), ("auto", None)):
        stream = BatchStream(source, 30, batch_type, buckets, seed=7)
        for step in range(31, 36):
            inputs, targets = stream.batch(step)
            ids = inputs["encoder_inputs"].tobytes() + targets.tobytes()
            found.append(hashlib.sha256(ids).hexdigest())
    return found


CHILD = """
from __future__ import annotations

import sys

from kseq.data import ShardedExamples, from_pairs

SIZE = {size}
{make_texts}
{digests}
examples = from_pairs(*make_texts())
vocabs = examples.source_vocab, examples.target_vocab
print(digests(examples) + digests(ShardedExamples.open(sys.argv[1], *vocabs)))
print([name for name in ("tensorflow", "pandas", "keras") if name in sys.modules])
"""


def test_another_process_finds_the_same_batches_and_needs_no_tensorflow(
    examples: Examples, sharded: ShardedExamples
) -> None:
    code = CHILD.format(
        size=SIZE,
        make_texts=inspect.getsource(make_texts),
        digests=inspect.getsource(digests),
    )
    found, imported = run_child(code, sharded.folder, hash_seed=3).splitlines()
    assert found == str(digests(examples) + digests(sharded))
    assert imported == "[]"


# Validation.


@settings(max_examples=10)
@given(
    batch_size=st.integers(1, 50),
    buckets=st.sampled_from([None, "auto", 2, [(3, 3), (5, 5)]]),
    from_shards=st.booleans(),
)
def test_validation_reads_each_pair_once_in_one_order(
    examples: Examples,
    sharded: ShardedExamples,
    batch_size: int,
    buckets: object,
    from_shards: bool,
) -> None:
    source = sharded if from_shards else examples
    dataset = validation_dataset(source, batch_size, buckets)
    batches = list(dataset.as_numpy_iterator())
    assert len(batches) == int(dataset.cardinality())
    assert sorted(rows(batches)) == sorted(all_rows(examples))
    assert rows(batches) == rows(list(dataset.as_numpy_iterator()))
    if not from_shards:
        lengths = [(len(target), len(pair)) for pair, target in rows(batches)]
        assert lengths == sorted(lengths)


def test_validation_pads_to_the_first_bucket_that_is_long_enough(
    examples: Examples,
) -> None:
    buckets = [(4, 3), (6, 3), (9, 6)]
    for inputs, targets in validation_dataset(examples, 3, buckets):
        shape = inputs["encoder_inputs"].shape[1], targets.shape[1]
        source, target = (
            int(np.count_nonzero(ids, axis=1).max())
            for ids in (inputs["encoder_inputs"], targets)
        )
        fitting = [b for b in buckets if source <= b[0] and target <= b[1]]
        # Longer than all of them: trimmed.
        assert shape == (fitting[0] if fitting else (source, target))


# Strategies.


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
    either: Examples | ShardedExamples, workers: int, replicas: int, batch_size: int
) -> None:
    stream = BatchStream(either, batch_size, seed=3)
    whole = validation_dataset(either, batch_size).as_numpy_iterator()
    cases = [
        (lambda s: stream.dataset(4, s), [stream.batch(k) for k in range(4, 30)]),
        (lambda s: validation_dataset(either, batch_size, strategy=s), list(whole)),
    ]
    number = workers * replicas
    for make, batches in cases:
        for worker in range(workers):
            dataset = make(WorkerStrategy(worker, workers, replicas))
            elements = dataset.take(len(batches) * replicas).as_numpy_iterator()
            for k, element in enumerate(elements):
                replica = worker * replicas + k % replicas
                expected = rows([batches[k // replicas]])[replica::number]
                inputs, targets = element
                if expected:
                    assert rows([element]) == expected
                    assert targets[:, -1].any()
                else:
                    assert inputs["encoder_inputs"].tolist() == [[3]]
                    assert inputs["decoder_inputs"].tolist() == [[2]]
                    assert targets.tolist() == [[0]]
            assert k == len(batches) * replicas - 1


MIRRORED = """
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device] * 2)

    from kseq.data import BatchStream, from_pairs, validation_dataset

    strategy = tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())
    texts = ["a " * (i % 5) for i in range(11)]
    examples = from_pairs(texts, texts[::-1])
    stream = BatchStream(examples, batch_size=5, seed=1)


    def check(distributed, batches):
        steps = 0
        for element, (_, targets) in zip(distributed, batches):
            parts = strategy.experimental_local_results(element)
            for replica, (_, part) in enumerate(parts):
                own = [[x for x in row if x] for row in targets[replica::2].tolist()]
                found = [[x for x in row if x] for row in part.numpy().tolist()]
                assert found == (own or [[]]), (steps, replica, own, found)
            steps += 1
        return steps


    print(check(stream.dataset(2, strategy), [stream.batch(k) for k in range(2, 9)]))
    batches = list(validation_dataset(examples, 5).as_numpy_iterator())
    validation = validation_dataset(examples, 5, strategy=strategy)
    assert int(validation.cardinality) == 3
    print(check(validation, batches))
"""


def test_two_replicas_share_out_each_batch() -> None:
    assert run_child(MIRRORED).split() == ["7", "3"]


# Arguments.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "`batch_size` must be"),
        ({"batch_type": "rows"}, ValueError, "`batch_type` must be"),
        ({"seed": -1}, ValueError, "`seed` must be"),
        ({"shuffle": None}, TypeError, "`shuffle` must be"),
        ({"fixed_lengths": 1}, TypeError, "`fixed_lengths` must be"),
        ({"buckets": "none"}, ValueError, "'auto', None, .* Received: 'none'"),
        ({"buckets": 0}, ValueError, "`buckets` must be"),
        ({"buckets": 2.5}, TypeError, "`buckets` must be"),
        ({"buckets": [(2, 2)]}, ValueError, "long enough for every pair"),
        ({"examples": [("a", "b")]}, TypeError, "must be Examples or Sharded"),
    ],
)
def test_a_stream_checks_its_arguments(
    either: Examples | ShardedExamples,
    options: dict,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        BatchStream(**{"examples": either, **options})


def test_steps_and_epochs_are_checked(examples: Examples) -> None:
    stream = BatchStream(examples)
    calls = [
        (lambda: stream.batch(-1), "`step` must be"),
        (lambda: stream.position(-1), "`step` must be"),
        (lambda: stream.steps(-1), "`epoch` must be"),
        (lambda: stream.step_at(-0.5), "`epochs` must be"),
        (lambda: stream.dataset(-1), "`initial_step` must be"),
        (lambda: validation_dataset(examples, 0), "`batch_size` must be"),
        (lambda: validation_dataset(examples, 2, "all"), "`buckets` must be"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
    for call in (
        lambda: stream.dataset(strategy="mirrored"),
        lambda: validation_dataset(examples, 2, strategy="mirrored"),
    ):
        with pytest.raises(TypeError, match="`strategy` must be"):
            call()
