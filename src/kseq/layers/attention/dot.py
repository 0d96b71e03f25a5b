"""Attention by dot products of queries and keys."""

from typing import Any

import keras
from keras import ops

from kseq.layers.attention.base import (
    AttentionWithKernels,
    ProjectedAttention,
    apply_to_rows,
    at_least_one,
    times_transposed,
)
from kseq.layers.linear import Linear


@keras.saving.register_keras_serializable(package="kseq")
class DotAttention(AttentionWithKernels):
    """Attention by dot products of the query and the memory vectors.

    Args:
        scaled: Divide the scores by the square root of the vectors' width. Default
            False.
        units: Width to which query and memory are projected, without bias. Default
            None: no projection, which needs query and memory of one width.
        kernel_initializer: Initializer of the projections. Default
            `"glorot_uniform"`.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import DotAttention
        >>> memory = np.array([[[9.0, 0.0], [0.0, 9.0], [0.0, 0.0]]], dtype="float32")
        >>> query = np.array([[0.0, 9.0]], dtype="float32")
        >>> context, weights = DotAttention()(query, memory)
        >>> weights.numpy().round(3).tolist(), context.numpy().round(3).tolist()
        ([[0.0, 1.0, 0.0]], [[0.0, 9.0]])

    Reference:
        Luong et al., 2015, "Effective Approaches to Attention-based Neural Machine
        Translation"; Vaswani et al., 2017, "Attention Is All You Need" (scaled).
    """

    def __init__(
        self,
        scaled: bool = False,
        units: int | None = None,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(kernel_initializer, **kwargs)
        self.scaled = scaled
        self.units = None if units is None else at_least_one("units", units)
        self.query_layer: keras.layers.Layer | None = None

    def keys_layer(self, memory_dim: int, name: str | None = None) -> Any:
        return None if self.units is None else self._dense(self.units, name)

    def build_scores(self, query_dim: int, memory_dim: int) -> None:
        if self.units is not None:
            self.query_layer = self._dense(self.units)
            self.query_layer.build((None, None, query_dim))
        elif query_dim != memory_dim:
            raise ValueError(
                "The dot product needs a query and a memory of one width. Received: "
                f"widths {query_dim} and {memory_dim}. Give `units`, to project both."
            )

    def project_query(self, query: Any) -> Any:
        return (
            query
            if self.query_layer is None
            else apply_to_rows(self.query_layer, query)
        )

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        if self.scaled:
            query = query * keys.shape[-1] ** -0.5
        return ops.matmul(query, ops.transpose(keys, (0, 2, 1)))

    def dot_keys(self, memory: Any, keys: Any) -> Any:
        scale = keys.shape[-1] ** -0.5 if self.scaled else 1.0
        if self.query_layer is not None:
            keys = times_transposed(keys, self.query_layer)
        return None if keys is None else keys * ops.cast(scale, keys.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scaled": self.scaled, "units": self.units}


@keras.saving.register_keras_serializable(package="kseq")
class GeneralAttention(AttentionWithKernels):
    """Attention by a bilinear form: the query times a matrix times each memory vector.

    Args:
        kernel_initializer: Initializer of the matrix. Default `"glorot_uniform"`.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import GeneralAttention
        >>> query, memory = np.ones((2, 5), "float32"), np.ones((2, 4, 3), "float32")
        >>> mask = np.array([[True, True, True, True], [True, True, False, False]])
        >>> context, weights = GeneralAttention()(query, memory, mask)
        >>> weights.numpy().round(2).tolist()
        [[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]]

    Reference:
        Luong et al., 2015, "Effective Approaches to Attention-based Neural Machine
        Translation"; Sockeye's "bilinear".
    """

    def build_scores(self, query_dim: int, memory_dim: int) -> None:
        self.query_layer = self._dense(memory_dim)
        self.query_layer.build((None, None, query_dim))

    def project_query(self, query: Any) -> Any:
        return apply_to_rows(self.query_layer, query)  # (batch, time, memory_dim)

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        return ops.matmul(query, ops.transpose(memory, (0, 2, 1)))

    def dot_keys(self, memory: Any, keys: Any) -> Any:
        return times_transposed(memory, self.query_layer)


@keras.saving.register_keras_serializable(package="kseq")
class MultiHeadDotAttention(ProjectedAttention):
    """Several scaled dot attentions in parallel, each with its own projections.

    It returns the mean weights of the heads.

    Args:
        units: Width of all heads together, and of the context.
        heads: Number of heads, a divisor of `units`. Default 8.
        kernel_initializer: Initializer of the projections. Default
            `"glorot_uniform"`.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import MultiHeadDotAttention
        >>> query, memory = np.ones((2, 5), "float32"), np.ones((2, 4, 3), "float32")
        >>> context, weights = MultiHeadDotAttention(8, heads=2)(query, memory)
        >>> context.shape, weights.shape
        (TensorShape([2, 8]), TensorShape([2, 4]))

    Reference:
        Vaswani et al., 2017, "Attention Is All You Need"; Sockeye's "mhdot".
    """

    def __init__(
        self,
        units: int,
        heads: int = 8,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, kernel_initializer, **kwargs)
        self.heads = at_least_one("heads", heads)
        if units % heads:
            raise ValueError(
                "`units` must be a multiple of `heads`. Received: "
                f"units={units}, heads={heads}."
            )

    def keys_layer(self, memory_dim: int, name: str | None = None) -> Any:
        return self._dense(2 * self.units, name=name)  # keys and values

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        query = self._split(query) * (self.units // self.heads) ** -0.5
        keys = self._split(keys[..., : self.units])
        # (batch, heads, time, source_length)
        return ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2)))

    def context(self, linear: Linear, weights: Any, memory: Any, keys: Any) -> Any:
        values = self._split(keys[..., self.units :])
        heads = ops.matmul(weights, values)  # (batch, heads, time, units / heads)
        heads = ops.transpose(heads, (0, 2, 1, 3))
        shape = ops.shape(heads)
        joined = ops.reshape(heads, (*shape[:2], self.units))
        return apply_to_rows(self.output_layer, joined)

    def context_dim(self, memory_dim: int) -> int:
        return self.units

    def build_scores(self, query_dim: int, memory_dim: int) -> None:
        super().build_scores(query_dim, memory_dim)
        self.output_layer = self._dense(self.units)
        self.output_layer.build((None, None, self.units))

    def _split(self, x: Any) -> Any:
        """Splits the last axis: (batch, heads, time, units / heads)."""
        shape = ops.shape(x)
        x = ops.reshape(x, (*shape[:2], self.heads, self.units // self.heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads}
