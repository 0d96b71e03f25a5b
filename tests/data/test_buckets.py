import hypothesis.strategies as st
import numpy as np
import pytest
from data.lengths import padding, pairs_of_lengths, sides, skewed
from hypothesis import given

from kseq.data import choose_buckets, even_buckets


def test_enough_buckets_leave_no_padding() -> None:
    assert choose_buckets([2, 5, 9, 5], [3, 5, 9, 5]) == ((2, 3), (5, 5), (9, 9))


@given(pairs=pairs_of_lengths, count=st.integers(1, 6))
def test_buckets_increase_and_fit_every_pair(pairs: list, count: int) -> None:
    source, target = sides(pairs)
    buckets = choose_buckets(source, target, count)
    assert 1 <= len(buckets) <= count
    assert buckets[-1] == (source.max(), target.max())
    for side in zip(*buckets, strict=True):
        assert list(side) == sorted(side)
    assert len(set(buckets)) == len(buckets)
    assert buckets == choose_buckets(source[::-1], target[::-1], count)


@given(pairs=pairs_of_lengths, width=st.integers(1, 12))
def test_even_buckets_increase_by_their_width_and_fit_every_pair(
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
    # The longer side, by the mean ratio, has steps of the whole width until its end.
    longer = 0 if np.mean(target / source) <= 1 else 1
    inner = bounds[1:-1, longer] < bounds[-1, longer]
    assert (steps[:-1, longer][inner] == width).all()


def tokens_in_buckets(source: np.ndarray, target: np.ndarray, buckets: list) -> int:
    return sum(
        next(a + b for a, b in buckets if s <= a and t <= b)
        for s, t in zip(source, target, strict=True)
    )


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=12)
)
def test_no_other_two_buckets_need_fewer_tokens(pairs: list) -> None:
    source, target = sides(pairs)
    found = tokens_in_buckets(source, target, choose_buckets(source, target, 2))
    last = (int(source.max()), int(target.max()))
    others = [[(s, t), last] for s in range(1, 5) for t in range(1, 5)]
    assert found <= min(tokens_in_buckets(source, target, other) for other in others)


def test_buckets_save_most_of_the_padding_of_skewed_lengths() -> None:
    source, target = skewed(5000)
    buckets = choose_buckets(source, target)
    assert len(buckets) == 8
    assert padding(source, target, buckets=buckets) < 0.25
    assert padding(source, target) > 0.5


def test_buckets_fit_a_tail_of_thousands_of_tokens() -> None:
    source, target = skewed(5000, longest=60)
    source[7], target[11] = 9000, 7000
    buckets = choose_buckets(source, target)
    assert buckets[-1] == (9000, 7000)
    assert padding(source, target, buckets=buckets) < 0.75


def test_choosing_buckets_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="`count` must be"):
        choose_buckets([2], [2], 0)
    with pytest.raises(ValueError, match="`source_lengths` must be"):
        choose_buckets([0], [2])
