"""Token ids as they enter a model: checked, then one-hot."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kseq.layers import OneHot, TokenIds


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint8"])
@pytest.mark.parametrize("ids", [[[4, 9, 0]], [4, 9], [[[4]]], [[]]])
def test_good_ids_pass_as_int32(ids: Any, dtype: str) -> None:
    found = TokenIds(10)(np.array(ids, dtype))
    assert found.dtype == "int32"
    assert found.numpy().tolist() == ids


@pytest.mark.parametrize(("bad", "low", "high"), [(-1, -1, 4), (10, 4, 10)])
def test_ids_out_of_range_are_named(bad: int, low: int, high: int) -> None:
    message = rf"(?s)`mine` must hold token ids in 0\.\.9.* from'\n{low}\n.*\n{high}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        TokenIds(10, "mine")(np.array([[4, bad]]))


@pytest.mark.parametrize(
    ("dtype", "bad"), [("int64", 2**32 + 5), ("uint32", 2**32 - 1), ("uint64", 2**63)]
)
def test_no_id_wraps_around(dtype: str, bad: int) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`mine`.*0\.\.9"):
        TokenIds(10, "mine")(np.array([[4, bad]], dtype))


def test_ids_are_integers() -> None:
    with pytest.raises(TypeError, match=r"`mine` must be integers.*float32"):
        TokenIds(10, "mine")(np.array([[4.5]]))


def test_ids_out_of_range_are_named_in_a_graph() -> None:
    layer = TokenIds(10, "mine")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`mine`.*0\.\.9"):
        tf.function(lambda ids: layer(ids))(tf.constant([[10]]))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[4, 0], [0, 0]], "`mine` has a row of padding only"),
        ([[0, 4]], "`mine` has padding before a real step.*on the right"),
        ([[4, 0, 4]], "`mine` has padding before a real step"),
    ],
)
def test_padding_is_checked_where_asked_for(ids: Any, message: str) -> None:
    TokenIds(10, "mine")(np.array(ids))
    TokenIds(10, "mine", padded_right=True)(np.array([[4, 5], [4, 0]]))
    TokenIds(10, "mine", padded_right=True)(np.array([[4, 0, 0, 0]]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        TokenIds(10, "mine", padded_right=True)(np.array(ids))


@pytest.mark.parametrize("ids", [[[2, 0], [3, 1]], [2, 0]])
def test_one_hot_vectors_have_a_one_at_the_id(ids: Any) -> None:
    found = OneHot(4)(np.array(ids))
    np.testing.assert_array_equal(found, np.eye(4)[np.array(ids)])


def test_one_hot_vectors_have_the_layers_dtype() -> None:
    assert OneHot(4, dtype="mixed_float16")(np.array([[2]])).dtype == "float16"


def test_rows_of_padding_only_may_be_allowed() -> None:
    layer = TokenIds(10, "mine", padded_right=True, empty_rows=True)
    layer = TokenIds.from_config(layer.get_config())
    assert layer(np.array([[4, 5], [0, 0]])).numpy().tolist() == [[4, 5], [0, 0]]
    with pytest.raises(tf.errors.InvalidArgumentError, match="padding before a real"):
        layer(np.array([[0, 5], [0, 0]]))
