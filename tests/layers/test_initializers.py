"""The bias of an LSTM with a chosen forget gate."""

import keras
import numpy as np
import pytest

from kseq.layers import ForgetBias


def test_it_is_keras_s_own_forget_bias_where_that_is_one() -> None:
    own = keras.layers.LSTM(3, bias_initializer=ForgetBias(1.0), unit_forget_bias=False)
    keras_s = keras.layers.LSTM(3)
    for layer in (own, keras_s):
        layer.build((None, None, 2))
    np.testing.assert_array_equal(own.cell.bias, keras_s.cell.bias)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_only_the_forget_gate_is_filled(dtype: str) -> None:
    bias = ForgetBias(2.5)((8,), dtype=dtype)
    assert keras.backend.standardize_dtype(bias.dtype) == dtype
    assert np.array(bias).tolist() == [0, 0, 2.5, 2.5, 0, 0, 0, 0]


@pytest.mark.parametrize("shape", [(6,), (4, 4)])
def test_what_is_no_bias_of_an_lstm_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"4 \* units.*Received: shape="):
        ForgetBias()(shape)


def test_it_survives_its_config() -> None:
    config = keras.initializers.serialize(ForgetBias(2.5))
    assert keras.initializers.deserialize(config).value == 2.5
