"""Masks and the mean under a mask."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kseq.layers import FeatureMask, MaskedMean, PaddingMask


def test_padding_is_the_id_zero() -> None:
    mask = PaddingMask()(np.array([[5, 1, 0], [3, 0, 0]]))
    assert mask.numpy().tolist() == [[True, True, False], [True, False, False]]


def test_a_step_of_features_is_real_if_any_component_is_not_zero() -> None:
    steps = np.array([[[0.0, -1.0], [0.5, 0.0], [0.0, 0.0]]])
    assert FeatureMask()(steps).numpy().tolist() == [[True, True, False]]


def test_a_small_feature_is_no_padding_in_half_precision() -> None:
    steps = np.array([[[1e-10, 0.0], [0.0, 0.0]]], "float32")
    layer = FeatureMask(dtype="mixed_float16")
    assert layer(steps).numpy().tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([[[1.0], [0.0]], [[0.0], [0.0]]], "`mine` has a row of padding only"),
        ([[[0.0], [1.0]]], "`mine` has padding before a real step.*on the right"),
        ([[[1.0], [0.0], [1.0]]], "`mine` has padding before a real step"),
    ],
)
def test_features_not_padded_on_the_right_are_refused(steps: Any, message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        FeatureMask("mine")(np.array(steps))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_a_masked_mean_is_that_of_the_real_steps(lengths: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(len(lengths), 4, 3))
    mask = np.arange(4) < np.array(lengths)[:, None]
    found = MaskedMean()(values.astype("float32"), mask=mask)
    for row, length in enumerate(lengths):
        expected = values[row, :length].mean(axis=0) if length else np.zeros(3)
        np.testing.assert_allclose(found[row], expected, atol=1e-6)


def test_what_stands_at_the_padding_cannot_spoil_a_mean() -> None:
    values = np.array([[[1.0], [3.0], [np.inf], [np.nan]]], "float32")
    mask = np.array([[True, True, False, False]])
    assert MaskedMean()(values, mask=mask).numpy().tolist() == [[2.0]]


def test_the_padding_has_no_part_in_the_gradient_of_a_mean() -> None:
    values = tf.constant([[[1.0], [3.0], [5.0]]])
    with tf.GradientTape() as tape:
        tape.watch(values)
        mean = MaskedMean()(values, mask=tf.constant([[True, True, False]]))
    assert tape.gradient(mean, values).numpy().ravel().tolist() == [0.5, 0.5, 0.0]
