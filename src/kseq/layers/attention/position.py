"""Attention to source positions that does not depend on the memory."""

from typing import Any

import keras
from keras import ops

from kseq.layers.attention.base import (
    Attention,
    AttentionWithKernels,
    apply_to_rows,
    at_least_one,
)


@keras.saving.register_keras_serializable(package="kseq")
class LocationAttention(AttentionWithKernels):
    """Attention to positions that depends only on the query: softmax(W query).

    Args:
        positions: Number of source positions, from the left, that can get weight.
        kernel_initializer: Initializer of the matrix. Default `"glorot_uniform"`.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import LocationAttention
        >>> query, memory = np.zeros((1, 5), "float32"), np.ones((1, 4, 3), "float32")
        >>> context, weights = LocationAttention(positions=2)(query, memory)
        >>> weights.numpy().tolist()
        [[0.5, 0.5, 0.0, 0.0]]

    Reference:
        Luong et al., 2015, "Effective Approaches to Attention-based Neural Machine
        Translation" (location-based).
    """

    def __init__(
        self, positions: int, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(kernel_initializer, **kwargs)
        self.positions = at_least_one("positions", positions)

    def build_scores(self, query_dim: int, memory_dim: int) -> None:
        self.query_layer = self._dense(self.positions)
        self.query_layer.build((None, None, query_dim))

    def project_query(self, query: Any) -> Any:
        return apply_to_rows(self.query_layer, query)  # (batch, time, positions)

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        length = ops.shape(memory)[1]
        # Far below any score: the softmax gives 0.
        far = ops.full(
            (*ops.shape(query)[:2], ops.maximum(length - self.positions, 0)),
            -3e4,
            dtype=query.dtype,
        )
        return ops.concatenate([query, far], axis=-1)[..., :length]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "positions": self.positions,
        }


@keras.saving.register_keras_serializable(package="kseq")
class FixedAttention(Attention):
    """Attention with all weight on the last real step of the source.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import FixedAttention
        >>> query, memory = np.zeros((1, 5), "float32"), np.ones((1, 4, 3), "float32")
        >>> mask = np.array([[True, True, False, False]])
        >>> context, weights = FixedAttention()(query, memory, mask)
        >>> weights.numpy().tolist()
        [[0.0, 1.0, 0.0, 0.0]]

    Reference:
        Sutskever et al., 2014, "Sequence to Sequence Learning with Neural Networks";
        Sockeye's "fixed".
    """

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        lengths = ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True)
        steps = ops.arange(ops.shape(mask)[1], dtype="int32")[None]
        last = ops.where(ops.equal(steps, lengths - 1), 0.0, -1e9)  # (batch, source)
        return ops.repeat(last[:, None], ops.shape(query)[1], axis=1)
