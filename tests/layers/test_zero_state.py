"""Initial states of zeros."""

import keras
import numpy as np
import pytest

from kseq.layers import ZeroState


@pytest.mark.parametrize(
    ("policy", "dtype"), [("float32", "float32"), ("mixed_float16", "float16")]
)
def test_a_state_has_a_row_for_each_of_the_reference(policy: str, dtype: str) -> None:
    state = ZeroState(5, dtype=policy)(np.ones((3, 4, 2), "float32"))
    assert keras.backend.standardize_dtype(state.dtype) == dtype
    assert state.numpy().tolist() == [[0.0] * 5] * 3
