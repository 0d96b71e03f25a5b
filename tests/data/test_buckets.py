import time
import tracemalloc
from collections.abc import Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from kseq.data import (
    LengthCounts,
    Vocabulary,
    choose_buckets,
    encode_pairs,
    even_buckets,
    plan_batches,
)
from kseq.data.batches import epoch_order

WORDS = Vocabulary(["a", "b", "c"])

lengths = st.lists(
    st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=60
)
texts = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)


def sides(pairs: list) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array(pairs).T)


def skewed(size: int, longest: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Lengths as of sentences: many short ones, a long tail, sides alike."""
    rng = np.random.default_rng(0)
    source = np.exp(rng.normal(2.5, 0.6, size))
    target = source * np.exp(rng.normal(0.2, 0.2, size))
    source, target = (np.clip(x, 1, longest).astype(int) + 1 for x in (source, target))
    return source, target


def padding(source: np.ndarray, target: np.ndarray, **options: object) -> float:
    plan = plan_batches(source, target, batch_size=32, **options)
    room = sum(len(b) * (source[b].max() + target[b].max()) for b in plan)
    return 1 - (source.sum() + target.sum()) / room


# Encoding within limits.


@given(
    pairs=st.lists(st.tuples(texts, texts), min_size=1, max_size=20),
    limits=st.tuples(*[st.none() | st.integers(1, 12)] * 2),
)
def test_exactly_the_pairs_within_the_limits_are_kept(
    pairs: list, limits: tuple
) -> None:
    def fits(pair: tuple[str, str]) -> bool:
        return all(
            limit is None or len(text.split()) <= limit
            for text, limit in zip(pair, limits, strict=True)
        )

    kept = [pair for pair in pairs if fits(pair)]
    options = {"max_source_length": limits[0], "max_target_length": limits[1]}
    if not kept:
        with pytest.raises(ValueError, match=f"each of the {len(pairs)} has a longer"):
            encode_pairs(pairs, WORDS, WORDS, **options)
        return
    examples, counts = encode_pairs(pairs, WORDS, WORDS, **options)
    for side, ids in enumerate((examples.source, examples.target)):
        np.testing.assert_array_equal(ids, WORDS.encode([pair[side] for pair in kept]))
    assert counts == LengthCounts(
        pairs=len(pairs),
        dropped=len(pairs) - len(kept),
        truncated=0,
        longest_source=max(len(source.split()) for source, _ in pairs),
        longest_target=max(len(target.split()) for _, target in pairs),
    )
    assert counts.kept == len(examples)


@given(
    pairs=st.lists(st.tuples(texts, texts), min_size=1, max_size=20),
    limits=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_truncation_keeps_every_pair_and_its_first_tokens(
    pairs: list, limits: tuple
) -> None:
    examples, counts = encode_pairs(
        pairs,
        WORDS,
        WORDS,
        max_source_length=limits[0],
        max_target_length=limits[1],
        overlong="truncate",
    )
    for side, ids in enumerate((examples.source, examples.target)):
        cut = [" ".join(pair[side].split()[: limits[side]]) for pair in pairs]
        np.testing.assert_array_equal(ids, WORDS.encode(cut))
    assert counts.truncated == sum(
        any(len(pair[side].split()) > limits[side] for side in (0, 1)) for pair in pairs
    )
    assert counts.dropped == 0


def test_pairs_of_many_chunks_stay_in_order() -> None:
    pairs = [("a " * (i % 7), "b " * (i % 5)) for i in range(3000)]
    examples, counts = encode_pairs(iter(pairs), WORDS, WORDS, max_source_length=5)
    kept = [pair for i, pair in enumerate(pairs) if i % 7 <= 5]
    np.testing.assert_array_equal(examples.source, WORDS.encode([s for s, _ in kept]))
    np.testing.assert_array_equal(examples.target, WORDS.encode([t for _, t in kept]))
    assert counts.pairs == 3000


def test_a_huge_line_that_is_dropped_costs_its_own_length_only() -> None:
    huge = "a " * 200_000

    def pairs() -> Iterator[tuple[str, str]]:
        for number in range(1000):
            yield (huge if number == 500 else "a b"), "b"

    tracemalloc.start()
    try:
        examples, counts = encode_pairs(pairs(), WORDS, WORDS, max_source_length=10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(examples) == 999
    assert counts.longest_source == 200_000
    # A thousand rows as long as it would take 800 MB.
    assert peak < 80e6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"pairs": []}, ValueError, "at least one pair"),
        ({"pairs": 3}, TypeError, "`pairs` must be an iterable"),
        ({"pairs": ["ab"]}, TypeError, "'ab' of type str at index 0"),
        ({"pairs": [("a", "b"), ("a",)]}, TypeError, "at index 1"),
        ({"pairs": [("a", 1)]}, TypeError, "at index 0"),
        ({"source_vocab": None}, TypeError, "`source_vocab` must be a Vocabulary"),
        ({"target_vocab": ["a"]}, TypeError, "`target_vocab` must be a Vocabulary"),
        ({"max_source_length": 0}, ValueError, "`max_source_length` must be"),
        ({"max_target_length": 2.5}, TypeError, "`max_target_length` must be"),
        ({"overlong": "cut"}, ValueError, "'drop', 'truncate'. Received: 'cut'"),
    ],
)
def test_encoding_checks_its_arguments(
    options: dict, error: type[Exception], message: str
) -> None:
    arguments = {"pairs": [("a", "b")], "source_vocab": WORDS, "target_vocab": WORDS}
    with pytest.raises(error, match=message):
        encode_pairs(**{**arguments, **options})


# Buckets.


@given(pairs=lengths, count=st.integers(1, 6))
def test_buckets_rise_and_hold_every_pair(pairs: list, count: int) -> None:
    source, target = sides(pairs)
    buckets = choose_buckets(source, target, count)
    assert 1 <= len(buckets) <= count
    assert buckets[-1] == (source.max(), target.max())
    for side in zip(*buckets, strict=True):
        assert list(side) == sorted(side)
    assert len(set(buckets)) == len(buckets)
    assert buckets == choose_buckets(source[::-1], target[::-1], count)


@given(pairs=lengths, width=st.integers(1, 12))
def test_even_buckets_rise_by_their_width_and_hold_every_pair(
    pairs: list, width: int
) -> None:
    source, target = sides(pairs)
    buckets = even_buckets(source, target, width)
    assert buckets[-1] == (source.max(), target.max())
    assert len(set(buckets)) == len(buckets)
    bounds = np.array([(0, 0), *buckets])
    steps = np.diff(bounds, axis=0)
    assert steps.min() >= 0
    assert steps.max() <= width
    # The longer side, by the mean ratio, has the whole width wherever it goes on.
    longer = 0 if np.mean(target / source) <= 1 else 1
    inner = bounds[1:-1, longer] < bounds[-1, longer]
    assert (steps[:-1, longer][inner] == width).all()


def fixed_tokens(source: np.ndarray, target: np.ndarray, buckets: list) -> int:
    return sum(
        next(a + b for a, b in buckets if s <= a and t <= b)
        for s, t in zip(source, target, strict=True)
    )


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=12)
)
def test_no_other_two_buckets_need_fewer_tokens(pairs: list) -> None:
    source, target = sides(pairs)
    found = fixed_tokens(source, target, choose_buckets(source, target, 2))
    last = (int(source.max()), int(target.max()))
    others = [[(s, t), last] for s in range(1, 5) for t in range(1, 5)]
    assert found <= min(fixed_tokens(source, target, other) for other in others)


def test_enough_buckets_leave_no_padding() -> None:
    assert choose_buckets([2, 5, 9, 5], [3, 5, 9, 5]) == ((2, 3), (5, 5), (9, 9))


def test_buckets_save_most_of_the_padding_of_skewed_lengths() -> None:
    source, target = skewed(5000)
    buckets = choose_buckets(source, target)
    assert len(buckets) == 8
    assert padding(source, target, buckets=buckets) < 0.25
    assert padding(source, target) > 0.5


def test_a_tail_of_thousands_of_tokens_is_bucketed_too() -> None:
    source, target = skewed(5000, longest=60)
    source[7], target[11] = 9000, 7000
    buckets = choose_buckets(source, target)
    assert buckets[-1] == (9000, 7000)
    assert padding(source, target, buckets=buckets) < 0.75


# Plans.


@given(
    pairs=lengths,
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


@given(pairs=lengths, batch_size=st.integers(1, 20))
def test_a_batch_has_pairs_of_its_bucket_and_leftovers_of_shorter_ones(
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
    # At each boundary one batch at most is mixed.
    assert len(mixed) < len(buckets)


def test_order_changes_with_the_seed_and_the_epoch_alone() -> None:
    source, target = skewed(300)
    buckets = choose_buckets(source, target, 3)

    def plan(seed: int, epoch: int) -> list:
        batches = plan_batches(
            source, target, batch_size=10, buckets=buckets, seed=seed, epoch=epoch
        )
        return [batch.tolist() for batch in batches]

    assert plan(1, 2) == plan(1, 2)
    # Both the batches and what is in them.
    for other in (plan(1, 3), plan(2, 2)):
        assert plan(1, 2) != other
        assert sorted(map(sorted, plan(1, 2))) != sorted(map(sorted, other))
    # Long and short batches come in turn.
    widths = [int(target[batch].max()) for batch in plan(1, 2)]
    assert widths != sorted(widths)


def test_without_shuffling_batches_go_from_short_to_long_in_the_order_given() -> None:
    plan = plan_batches(
        [9, 2, 9, 2, 2],
        [9, 2, 9, 2, 2],
        batch_size=2,
        buckets=[(2, 2), (9, 9)],
        shuffle=False,
    )
    assert [batch.tolist() for batch in plan] == [[1, 3], [4, 0], [2]]


def test_leftovers_that_no_longer_batch_could_hold_stay_together() -> None:
    # Three of length 2 are left over, and a batch of 12 tokens has one of length 9.
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


def test_empty_buckets_take_no_leftovers() -> None:
    plan = plan_batches(
        [2, 2, 2], [2, 2, 2], batch_size=2, buckets=[(2, 2), (9, 9)], shuffle=False
    )
    assert [batch.tolist() for batch in plan] == [[0, 1], [2]]


def test_without_buckets_the_batches_are_those_of_the_epochs_order() -> None:
    source, target = skewed(25)
    plan = plan_batches(source, target, batch_size=7, seed=3, epoch=4)
    assert [len(batch) for batch in plan] == [7, 7, 7, 4]
    assert np.concatenate(plan).tolist() == epoch_order(25, seed=3, epoch=4).tolist()


def test_a_target_longer_than_a_batch_of_tokens_is_a_batch() -> None:
    plan = plan_batches(
        [1, 1, 1], [3, 99, 3], batch_size=6, batch_type="tokens", shuffle=False
    )
    assert [batch.tolist() for batch in plan] == [[0], [1], [2]]


@pytest.mark.parametrize("batch_type", ["pairs", "tokens"])
@pytest.mark.parametrize("bucketed", [True, False])
def test_a_million_pairs_are_planned_in_a_moment(
    batch_type: str, bucketed: bool
) -> None:
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


def test_choosing_buckets_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="`count` must be"):
        choose_buckets([2], [2], 0)
    with pytest.raises(ValueError, match="`source_lengths` must be"):
        choose_buckets([0], [2])
