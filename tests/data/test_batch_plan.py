import time

import hypothesis.strategies as st
import numpy as np
import pytest
from data.lengths import pairs_of_lengths, sides, skewed
from hypothesis import given

from kseq.data import choose_buckets, plan_batches
from kseq.data.batches import epoch_order


def test_without_shuffling_batches_go_from_short_to_long() -> None:
    plan = plan_batches(
        [9, 2, 9, 2, 2],
        [9, 2, 9, 2, 2],
        batch_size=2,
        buckets=[(2, 2), (9, 9)],
        shuffle=False,
    )
    assert [batch.tolist() for batch in plan] == [[1, 3], [4, 0], [2]]


def test_remaining_pairs_too_many_for_the_next_bucket_make_a_batch() -> None:
    # Three pairs of length 2 remain, and a batch of 12 tokens has one pair of length 9.
    lengths = [2] * 9 + [9, 9]
    plan = plan_batches(
        lengths,
        lengths,
        batch_size=12,
        batch_type="tokens",
        buckets=[(2, 2), (9, 9)],
        shuffle=False,
    )
    assert [len(batch) for batch in plan] == [6, 3, 1, 1]


def test_remaining_pairs_do_not_move_to_an_empty_bucket() -> None:
    plan = plan_batches(
        [2, 2, 2], [2, 2, 2], batch_size=2, buckets=[(2, 2), (9, 9)], shuffle=False
    )
    assert [batch.tolist() for batch in plan] == [[0, 1], [2]]


def test_a_target_longer_than_the_batch_size_is_a_batch() -> None:
    plan = plan_batches(
        [1, 1, 1], [3, 99, 3], batch_size=6, batch_type="tokens", shuffle=False
    )
    assert [batch.tolist() for batch in plan] == [[0], [1], [2]]


@given(
    pairs=pairs_of_lengths,
    count=st.integers(0, 5),
    batch_size=st.integers(1, 40),
    batch_type=st.sampled_from(["pairs", "tokens"]),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 5),
)
def test_an_epoch_has_each_pair_once_in_batches_within_size_and_bucket(
    pairs: list,
    count: int,
    batch_size: int,
    batch_type: str,
    shuffle: bool,
    seed: int,
    epoch: int,
) -> None:
    source, target = sides(pairs)
    buckets = choose_buckets(source, target, count) if count else None
    options = {"batch_size": batch_size, "batch_type": batch_type, "buckets": buckets}
    options |= {"shuffle": shuffle, "seed": seed}
    plan = plan_batches(source, target, epoch=epoch, **options)
    assert all(batch.dtype == np.int64 for batch in plan)
    assert sorted(np.concatenate(plan)) == list(range(len(pairs)))
    again = plan_batches(source, target, epoch=epoch, **options)
    assert [batch.tolist() for batch in plan] == [batch.tolist() for batch in again]
    for batch in plan:
        if batch_type == "pairs":
            assert 1 <= len(batch) <= batch_size
        else:
            padded = len(batch) * target[batch].max()
            assert padded <= batch_size or len(batch) == 1
    if batch_type == "pairs":
        assert len(plan) == -(-len(pairs) // batch_size)
        assert sum(len(batch) < batch_size for batch in plan) <= 1
    if buckets:
        following = plan_batches(source, target, epoch=epoch + 1, **options)
        assert len(plan) == len(following)


@given(pairs=pairs_of_lengths, batch_size=st.integers(1, 20))
def test_a_batch_has_pairs_of_its_bucket_and_remaining_ones_of_shorter_buckets(
    pairs: list, batch_size: int
) -> None:
    source, target = sides(pairs)
    buckets = choose_buckets(source, target, 4)
    plan = plan_batches(source, target, batch_size=batch_size, buckets=buckets)
    bucket = np.array(
        [
            next(i for i, (a, b) in enumerate(buckets) if s <= a and t <= b)
            for s, t in pairs
        ]
    )
    mixed = [batch for batch in plan if len(set(bucket[batch])) > 1]
    # At most one batch per boundary is mixed.
    assert len(mixed) < len(buckets)


def test_order_depends_only_on_seed_and_epoch() -> None:
    source, target = skewed(300)
    buckets = choose_buckets(source, target, 3)

    def plan(seed: int, epoch: int) -> list:
        batches = plan_batches(
            source, target, batch_size=10, buckets=buckets, seed=seed, epoch=epoch
        )
        return [batch.tolist() for batch in batches]

    assert plan(1, 2) == plan(1, 2)
    # Both the batches and their pairs change.
    for other in (plan(1, 3), plan(2, 2)):
        assert plan(1, 2) != other
        assert sorted(map(sorted, plan(1, 2))) != sorted(map(sorted, other))
    # Long and short batches alternate.
    widths = [int(target[batch].max()) for batch in plan(1, 2)]
    assert widths != sorted(widths)


def test_without_buckets_batches_follow_epoch_order() -> None:
    source, target = skewed(25)
    plan = plan_batches(source, target, batch_size=7, seed=3, epoch=4)
    assert [len(batch) for batch in plan] == [7, 7, 7, 4]
    assert np.concatenate(plan).tolist() == epoch_order(25, seed=3, epoch=4).tolist()


@pytest.mark.parametrize("batch_type", ["pairs", "tokens"])
@pytest.mark.parametrize("bucketed", [True, False])
def test_a_million_pairs_are_planned_quickly(batch_type: str, bucketed: bool) -> None:
    source, target = skewed(1_000_000)
    buckets = choose_buckets(source, target) if bucketed else None
    began = time.process_time()
    plan = plan_batches(
        source,
        target,
        batch_size=2000 if batch_type == "tokens" else 64,
        batch_type=batch_type,
        buckets=buckets,
    )
    # A loop over pairs would take longer on any machine.
    assert time.process_time() - began < 2
    assert sum(map(len, plan)) == 1_000_000


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "`batch_size` must be"),
        ({"batch_size": 2.0}, TypeError, "`batch_size` must be"),
        ({"batch_type": "words"}, ValueError, "'pairs', 'tokens'. Received: 'words'"),
        ({"shuffle": 1}, TypeError, "`shuffle` must be"),
        ({"seed": -1}, ValueError, "`seed` must be"),
        ({"epoch": -1}, ValueError, "`epoch` must be"),
        ({"buckets": []}, ValueError, "`buckets` must be"),
        ({"buckets": [8, 9]}, ValueError, "`buckets` must be"),
        ({"buckets": [(8,), (9, 9)]}, ValueError, "`buckets` must be"),
        ({"buckets": [(9, 9), (8, 10)]}, ValueError, "`buckets` must be"),
        ({"buckets": [(9, 9), (9, 9)]}, ValueError, "`buckets` must be"),
        ({"buckets": [(0, 9)]}, ValueError, "`buckets` must be"),
        ({"buckets": [(9.5, 9)]}, ValueError, "`buckets` must be"),
        ({"buckets": [(9, 2)]}, ValueError, "pair 1 has 2 source and 3 target"),
        ({"source_lengths": [2]}, ValueError, "Received: 1 and 2"),
        ({"source_lengths": []}, ValueError, "`source_lengths` must be"),
        ({"source_lengths": [[2, 3]]}, ValueError, "`source_lengths` must be"),
        ({"target_lengths": [2, 0]}, ValueError, "0 at index 1"),
        ({"target_lengths": [2.0, 1.0]}, ValueError, "`target_lengths` must be"),
    ],
)
def test_planning_checks_its_arguments(
    options: dict, error: type[Exception], message: str
) -> None:
    arguments = {"source_lengths": [2, 2], "target_lengths": [2, 3], "batch_size": 4}
    with pytest.raises(error, match=message):
        plan_batches(**{**arguments, **options})
