"""Reversal of the real tokens of each row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq.layers import ReversalMask, ReverseSequence


@st.composite
def padded(draw: st.DrawFn) -> np.ndarray:
    rows = draw(
        st.lists(st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=4)
    )
    width = max(*map(len, rows), 1) + draw(st.integers(0, 2))
    return np.array([row + [0] * (width - len(row)) for row in rows])


def reversed_by_hand(row: list[int]) -> list[int]:
    real = [token for token in row if token != 0]
    end = real[-1:] if real[-1:] == [3] else []
    body = real[: len(real) - len(end)]
    return body[::-1] + end + [0] * (len(row) - len(real))


@given(padded())
def test_a_final_end_stays_last_and_padding_on_the_right(ids: np.ndarray) -> None:
    mask = ReversalMask()(ids, mask=ids != 0)
    found = ReverseSequence()(ids, mask=mask)
    assert found.numpy().tolist() == [reversed_by_hand(row) for row in ids.tolist()]


@given(padded(), st.integers(0, 3))
def test_twice_reversed_is_unchanged(ids: np.ndarray, dim: int) -> None:
    values = np.random.default_rng(0).normal(size=(*ids.shape, dim)) if dim else ids
    layer = ReverseSequence()
    again = layer(layer(values, mask=ids != 0), mask=ids != 0)
    np.testing.assert_array_equal(again, values)


def test_vectors_are_reversed_as_their_ids_are() -> None:
    ids = np.array([[7, 8, 9, 3], [5, 3, 0, 0]])
    vectors = np.stack([ids, -ids], axis=-1).astype("float32")
    found = ReverseSequence()(vectors, mask=ids != 0).numpy()
    assert found[..., 0].astype(int).tolist() == [[3, 9, 8, 7], [3, 5, 0, 0]]
    np.testing.assert_array_equal(found[..., 1], -found[..., 0])


@pytest.mark.parametrize("dtype", ["int32", "int64", "float16", "float64"])
def test_the_dtype_is_kept(dtype: Any) -> None:
    values = np.array([[1, 2, 0]], dtype)
    assert ReverseSequence()(values, mask=values != 0).dtype == dtype


def test_the_id_that_stays_may_be_another() -> None:
    ids = np.array([[7, 3, 9, 0]])
    mask = ReversalMask(end_id=9)(ids, mask=ids != 0)
    assert mask.numpy().tolist() == [[True, True, False, False]]


def test_an_end_inside_a_row_is_a_token_like_the_others() -> None:
    ids = np.array([[7, 3, 8, 0]])
    mask = ReversalMask()(ids, mask=ids != 0)
    assert mask.numpy().tolist() == [[True, True, True, False]]
