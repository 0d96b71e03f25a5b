"""What decoding returns, and how batches of it are joined and taken apart."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from kseq.decoding import Hypotheses


def hypotheses(tokens: list[list[list[int]]], score: float) -> Hypotheses:
    array = np.array(tokens, "int32")
    lengths = (array != 0).sum(axis=2)
    shares = score / np.maximum(lengths, 1)
    return Hypotheses(
        tokens=array,
        lengths=lengths,
        scores=np.full(lengths.shape, score),
        truncated=~(array == 3).any(axis=2),
        log_probs=np.where(array != 0, shares[..., None], 0.0).astype("float32"),
    )


def with_attention(found: Hypotheses, source_length: int) -> Hypotheses:
    draw = np.random.default_rng(0)
    shape = *found.tokens.shape, source_length
    return dataclasses.replace(found, attention=draw.random(shape).astype("float32"))


def test_batches_are_joined_in_order_and_padded_to_the_longest() -> None:
    one = hypotheses([[[5, 6, 3], [4, 3, 0]]], -1.5)
    two = hypotheses([[[7], [3]], [[3], [8]]], -2.0)
    both = Hypotheses.concatenate([one, two])
    assert both.tokens.tolist() == [
        [[5, 6, 3], [4, 3, 0]],
        [[7, 0, 0], [3, 0, 0]],
        [[3, 0, 0], [8, 0, 0]],
    ]
    assert both.lengths.tolist() == [[3, 2], [1, 1], [1, 1]]
    assert both.scores.tolist() == [[-1.5, -1.5], [-2.0, -2.0], [-2.0, -2.0]]
    assert both.truncated.tolist() == [[False, False], [True, False], [False, True]]
    assert both.log_probs.tolist() == [
        [[-0.5, -0.5, -0.5], [-0.75, -0.75, 0.0]],
        [[-2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]],
        [[-2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]],
    ]
    assert (len(one), len(both)) == (1, 3)
    assert both.tokens.dtype == "int32"
    assert both.log_probs.dtype == "float32"


def test_hypotheses_do_not_change() -> None:
    with pytest.raises(AttributeError, match="tokens"):
        hypotheses([[[3]]], 0.0).tokens = np.zeros(1)  # type: ignore[misc]


def test_attention_is_padded_to_the_longest_output_and_the_longest_source() -> None:
    one = with_attention(hypotheses([[[5, 6, 3]]], -1.0), 2)
    two = with_attention(hypotheses([[[7, 3]], [[3, 0]]], -2.0), 4)
    both = Hypotheses.concatenate([one, two])
    assert both.attention is not None
    assert both.attention.shape == (3, 1, 3, 4)
    assert both.attention.dtype == "float32"
    np.testing.assert_array_equal(both.attention[:1, :, :, :2], one.attention)
    np.testing.assert_array_equal(both.attention[1:, :, :2], two.attention)
    assert not both.attention[:1, :, :, 2:].any()
    assert not both.attention[1:, :, 2:].any()


def test_without_attention_there_is_none_to_join() -> None:
    one = hypotheses([[[5, 3]]], -1.0)
    assert one.attention is None
    assert Hypotheses.concatenate([one, one]).attention is None


@pytest.mark.parametrize(
    "rows",
    [
        slice(1, 3),
        slice(None, None, -1),
        slice(0, 0),
        [2, 0, 2],
        np.array([1]),
        np.array([True, False, True]),
    ],
    ids=str,
)
@pytest.mark.parametrize("attention", [False, True])
def test_some_sources_are_taken_with_all_that_belongs_to_them(
    rows: Any, attention: bool
) -> None:
    found = hypotheses([[[5, 3], [6, 7]], [[3, 0], [8, 3]], [[4, 4], [3, 0]]], -1.0)
    found = with_attention(found, 3) if attention else found
    taken = found[rows]
    assert isinstance(taken, Hypotheses)
    assert len(taken) == len(found.tokens[rows])
    for field in dataclasses.fields(Hypotheses):
        value = getattr(found, field.name)
        expected = None if value is None else value[rows]
        np.testing.assert_array_equal(getattr(taken, field.name), expected)


def test_parts_joined_again_are_the_whole() -> None:
    found = with_attention(hypotheses([[[5, 3]], [[3, 0]], [[4, 4]]], -1.0), 3)
    again = Hypotheses.concatenate([found[:1], found[1:]])
    for field in dataclasses.fields(Hypotheses):
        np.testing.assert_array_equal(
            getattr(again, field.name), getattr(found, field.name)
        )
