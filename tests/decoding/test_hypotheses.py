"""What decoding returns, and how batches of it are joined."""

import dataclasses

import numpy as np
import pytest

from kseq.decoding import Hypotheses


def hypotheses(tokens: list[list[list[int]]], score: float) -> Hypotheses:
    array = np.array(tokens, "int32")
    lengths = (array != 0).sum(axis=2)
    return Hypotheses(
        tokens=array,
        lengths=lengths,
        scores=np.full(lengths.shape, score),
        truncated=~(array == 3).any(axis=2),
    )


def test_batches_are_joined_in_order_and_padded_to_the_longest() -> None:
    one = hypotheses([[[5, 6, 3], [4, 3, 0]]], -1.0)
    two = hypotheses([[[7], [3]], [[3], [8]]], -2.0)
    both = Hypotheses.concatenate([one, two])
    assert both.tokens.tolist() == [
        [[5, 6, 3], [4, 3, 0]],
        [[7, 0, 0], [3, 0, 0]],
        [[3, 0, 0], [8, 0, 0]],
    ]
    assert both.lengths.tolist() == [[3, 2], [1, 1], [1, 1]]
    assert both.scores.tolist() == [[-1.0, -1.0], [-2.0, -2.0], [-2.0, -2.0]]
    assert both.truncated.tolist() == [[False, False], [True, False], [False, True]]
    assert (len(one), len(both)) == (1, 3)
    assert both.tokens.dtype == "int32"


def test_hypotheses_do_not_change() -> None:
    with pytest.raises(AttributeError, match="tokens"):
        hypotheses([[[3]]], 0.0).tokens = np.zeros(1)  # type: ignore[misc]


def test_attention_is_padded_to_the_longest_output_and_the_longest_source() -> None:
    draw = np.random.default_rng(0)
    one = dataclasses.replace(
        hypotheses([[[5, 6, 3]]], -1.0),
        attention=draw.random((1, 1, 3, 2)).astype("float32"),
    )
    two = dataclasses.replace(
        hypotheses([[[7, 3]], [[3, 0]]], -2.0),
        attention=draw.random((2, 1, 2, 4)).astype("float32"),
    )
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
