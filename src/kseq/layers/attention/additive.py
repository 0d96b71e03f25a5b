"""Additive attention, also with features of earlier weights."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kseq.layers.attention.base import (
    ProjectedAttention,
    another,
    apply_to_rows,
    at_least_one,
    by_rows,
)


@keras.saving.register_keras_serializable(package="kseq")
class AdditiveAttention(ProjectedAttention):
    """Attention by a small network: v tanh(W query + U memory + b).

    For a whole target it needs memory for (batch, time, source_length, units) numbers.

    Args:
        units: Width of the network's hidden layer.
        kernel_initializer: Initializer of its kernels. Default `"glorot_uniform"`.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import AdditiveAttention
        >>> query, memory = np.ones((2, 7, 5), "float32"), np.ones((2, 4, 3), "float32")
        >>> context, weights = AdditiveAttention(8)(query, memory)
        >>> context.shape, weights.shape
        (TensorShape([2, 7, 3]), TensorShape([2, 7, 4]))

    Reference:
        Bahdanau et al., 2015, "Neural Machine Translation by Jointly Learning to Align
        and Translate"; Sockeye's "mlp".
    """

    def build_scores(self, query_dim: int, memory_dim: int) -> None:
        super().build_scores(query_dim, memory_dim)
        self.score_layer = self._dense(1)
        self.score_layer.build((None, None, None, self.units))

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        hidden = query[:, :, None] + keys[:, None]  # (batch, time, source, units)
        if state is not None:
            if len(state.shape) == 2:
                state = state[:, None]
            hidden = hidden + self._features(state)
        return ops.squeeze(apply_to_rows(self.score_layer, ops.tanh(hidden)), -1)

    def _features(self, state: Any) -> Any:
        """Returns features of states (batch, time, source_length), (..., units)."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kseq")
class LocationSensitiveAttention(AdditiveAttention):
    """Additive attention that depends on the weights of the previous step.

    A convolution over the source's positions turns the previous weights, or their sum,
    into features F. The scores are v tanh(W query + U memory + F + b).

    Args:
        units: Width of the hidden layer.
        filters: Number of filters of the convolution. Default 16.
        kernel_size: Width of each filter, in positions. Default 15.
        cumulative: Use the sum of all previous weights instead of the last weights.
            Default False.
        kernel_initializer: Initializer of all kernels. Default `"glorot_uniform"`.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import LocationSensitiveAttention
        >>> query, memory = np.ones((2, 5), "float32"), np.ones((2, 4, 3), "float32")
        >>> attention = LocationSensitiveAttention(8, filters=4, kernel_size=3)
        >>> context, weights, state = attention(query, memory)
        >>> context, weights, state = attention(query, memory, state=state)
        >>> weights.shape, state.shape
        (TensorShape([2, 4]), TensorShape([2, 4]))

    Reference:
        Chorowski et al., 2015, "Attention-Based Models for Speech Recognition"; Shen
        et al., 2018, "Natural TTS Synthesis by Conditioning WaveNet on Mel Spectrogram
        Predictions" (cumulative).
    """

    uses_previous_weights = True

    def __init__(
        self,
        units: int,
        filters: int = 16,
        kernel_size: int = 15,
        cumulative: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, kernel_initializer, **kwargs)
        self.filters = at_least_one("filters", filters)
        self.kernel_size = at_least_one("kernel_size", kernel_size)
        self.cumulative = cumulative

    def build_scores(self, query_dim: int, memory_dim: int) -> None:
        super().build_scores(query_dim, memory_dim)
        self.convolution_kernel = self.add_weight(
            shape=(self.kernel_size, self.filters),
            initializer=another(self.kernel_initializer),
            name="convolution_kernel",
        )
        self.location_layer = self._dense(self.units)
        self.location_layer.build((None, None, self.filters))

    def advance(self, state: Any, weights: Any) -> Any:
        return state + weights if self.cumulative else weights

    def _features(self, state: Any) -> Any:
        # For one channel a product of windows is faster than a convolution.
        left = (self.kernel_size - 1) // 2
        padded = ops.pad(state, [[0, 0], [0, 0], [left, self.kernel_size - 1 - left]])
        positions = tf.range(tf.shape(state)[2])[:, None] + tf.range(self.kernel_size)
        windows = tf.gather(padded, positions, axis=2)  # (batch, time, source, kernel)
        windows = ops.cast(windows, self.compute_dtype)
        kernel = ops.cast(self.convolution_kernel, self.compute_dtype)
        features = by_rows(lambda x: ops.matmul(x, kernel), windows, self.filters)
        return apply_to_rows(self.location_layer, features)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "cumulative": self.cumulative,
        }


@keras.saving.register_keras_serializable(package="kseq")
class CoverageAttention(AdditiveAttention):
    """Additive attention that depends on the sum of the previous weights.

    With the sum C of the previous weights the scores are v tanh(W query + U memory + c
    C + b).

    Args:
        units: Width of the hidden layer.
        kernel_initializer: Initializer of all kernels. Default `"glorot_uniform"`.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import CoverageAttention
        >>> query, memory = np.ones((1, 6, 5), "float32"), np.ones((1, 4, 3), "float32")
        >>> context, weights, coverage = CoverageAttention(8)(query, memory)
        >>> coverage.numpy().round(3).tolist()  # six steps, four equal positions
        [[1.5, 1.5, 1.5, 1.5]]

    Reference:
        Tu et al., 2016, "Modeling Coverage for Neural Machine Translation" (the
        linguistic kind, without fertility); Sockeye's "coverage" of type "count".
    """

    uses_previous_weights = True

    def build_scores(self, query_dim: int, memory_dim: int) -> None:
        super().build_scores(query_dim, memory_dim)
        self.coverage_layer = self._dense(self.units)
        self.coverage_layer.build((None, None, 1))

    def advance(self, state: Any, weights: Any) -> Any:
        return state + weights

    def _features(self, state: Any) -> Any:
        return apply_to_rows(self.coverage_layer, state[..., None])
