import tracemalloc
from collections.abc import Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from kseq.data import LengthCounts, Vocabulary, encode_pairs

WORDS = Vocabulary(["a", "b", "c"])

texts = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)


def test_a_pair_over_a_limit_is_dropped_or_truncated() -> None:
    pairs = [("a b", "b"), ("a a a a", "b b"), ("b", "a a")]
    examples, counts = encode_pairs(pairs, WORDS, WORDS, max_source_length=3)
    assert examples.source_texts() == ["a b", "b"]
    assert examples.target_texts() == ["b", "a a"]
    assert counts == LengthCounts(3, 1, 0, longest_source=4, longest_target=2)
    options = {"max_source_length": 3, "overlong": "truncate"}
    examples, counts = encode_pairs(pairs, WORDS, WORDS, **options)
    assert examples.source_texts() == ["a b", "a a a", "b"]
    assert counts == LengthCounts(3, 0, 1, longest_source=4, longest_target=2)


@given(
    pairs=st.lists(st.tuples(texts, texts), min_size=1, max_size=20),
    limits=st.tuples(*[st.none() | st.integers(1, 12)] * 2),
)
def test_only_pairs_within_the_limits_remain(pairs: list, limits: tuple) -> None:
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
    assert counts.remaining == len(examples)


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
        truncated = [" ".join(pair[side].split()[: limits[side]]) for pair in pairs]
        np.testing.assert_array_equal(ids, WORDS.encode(truncated))
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


def test_a_dropped_line_only_takes_the_memory_of_its_own_length() -> None:
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
    # A thousand rows of this length would take 800 MB.
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
