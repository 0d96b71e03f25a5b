"""What decoding returns, and how batches of it are joined."""

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
