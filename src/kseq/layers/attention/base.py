"""The base classes of attention layers, and what they share."""

from collections.abc import Callable
from typing import Any, ClassVar

import keras
import tensorflow as tf
from keras import ops

from kseq.layers.linear import Linear
from kseq.layers.time_steps import unstack_steps


class Attention(keras.layers.Layer):
    """Base class of attention layers: scores, a masked softmax, a weighted mean.

    A subclass computes `scores`. One that depends on the weights of earlier steps sets
    `uses_previous_weights`, takes its state through `score` and changes it in
    `advance`.

    Call arguments:
        query: Float (batch, query_dim) or, for all steps of a target at once, (batch,
            time, query_dim).
        memory: Float (batch, source_length, memory_dim).
        mask: Boolean (batch, source_length), True at the real steps of the source.
            Default None: all.
        keys: Output of the layer of `keys_layer`, computed once for many steps.
            Default None: computed in each call. A layer that gets keys in its first
            call must get them in every call.
        state: Float (batch, source_length), only with `uses_previous_weights`: the
            initial state, or the state after the previous step. Default None: the
            initial state.

    Returns:
        A tuple of the contexts, (batch, [time,] context_dim), and the weights, (batch,
        [time,] source_length), which are 0 at padding and sum to 1 (to 0 for a row of
        padding only); and, with `uses_previous_weights`, the state after the last step.

    Raises:
        ValueError: If `keys` is missing after a first call with keys, or `state` is
            given to a layer without `uses_previous_weights`.
    """

    uses_previous_weights: ClassVar[bool] = False

    supports_masking = True  # its mask is an argument

    def __init__(self, **kwargs: Any) -> None:
        # In half precision the weights and the state stay in float32.
        super().__init__(autocast=False, **kwargs)
        self.memory_layer: keras.layers.Layer | None = None
        self._needs_keys = False

    @property
    def weights_dtype(self) -> str:
        """Dtype of the weights and of the state: float32, or float64."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    def keys_layer(self, memory_dim: int, name: str | None = None) -> Any:
        """Returns a new layer that computes the keys of a memory.

        A decoder may call it once for a source, and pass its output as `keys` to each
        step. Without `keys` the attention calls a layer of its own.

        Args:
            memory_dim: Width of the memory.
            name: Name of the layer.

        Returns:
            A layer from (batch, source_length, memory_dim) to keys, or None if the
            scores use the memory itself.
        """
        return None

    def initial_state(self, memory: Any) -> Any:
        """Returns the state before the first step, zeros (batch, source_length).

        Args:
            memory: Float (batch, source_length, memory_dim).
        """
        # Keras adds these operations to a functional graph.
        return ops.cast(ops.zeros_like(memory[..., 0]), self.weights_dtype)

    def project_query(self, query: Any) -> Any:
        """Projects queries, for the scores.

        Args:
            query: Float (batch, time, query_dim).
        """
        return query

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        """Returns the scores before the softmax, (batch, [heads,] time, source_length).

        Args:
            query: Output of `project_query`, (batch, time, dim).
            memory: Float (batch, source_length, memory_dim).
            mask: Boolean (batch, source_length).
            keys: Output of the layer of `keys_layer`, or the memory.
            state: None, or float (batch, source_length), with a `time` of 1, or a
                state for each query, (batch, time, source_length).
        """
        raise NotImplementedError

    def advance(self, state: Any, weights: Any) -> Any:
        """Returns the state after a step.

        Args:
            state: Float (batch, source_length).
            weights: Float (batch, source_length), the weights of the step.
        """
        raise NotImplementedError

    def context(self, linear: Linear, weights: Any, memory: Any, keys: Any) -> Any:
        """Returns the contexts, (batch, time, context_dim).

        Args:
            linear: A `Linear`; `linear.average` is the weighted mean of a memory, which
                a search may multiply with a kernel once for each source.
            weights: Float (batch, [heads,] time, source_length).
            memory: Float (batch, source_length, memory_dim).
            keys: Output of the layer of `keys_layer`, or the memory.
        """
        return linear.average(weights, memory)

    def context_dim(self, memory_dim: int) -> int:
        """Returns the width of the contexts.

        Args:
            memory_dim: Width of the memory.
        """
        return memory_dim

    def build(
        self,
        query_shape: Any,
        memory_shape: Any,
        mask_shape: Any = None,
        keys_shape: Any = None,
        state_shape: Any = None,
    ) -> None:
        """Makes the layer's weights."""
        layer = self.keys_layer(memory_shape[-1], name="keys")
        self._needs_keys = layer is not None and keys_shape is not None
        if layer is not None and keys_shape is None:
            self.memory_layer = layer
            layer.build(memory_shape)
        self.build_scores(query_shape[-1], memory_shape[-1])
        self.built = True

    def build_scores(self, query_dim: int, memory_dim: int) -> None:
        """Makes the weights of the scores.

        Args:
            query_dim: Width of the queries.
            memory_dim: Width of the memory.
        """

    def call(
        self,
        query: Any,
        memory: Any,
        mask: Any = None,
        keys: Any = None,
        state: Any = None,
    ) -> tuple[Any, ...]:
        """Attends; see the class."""
        self._check_arguments(keys, state)
        query = ops.cast(query, self.compute_dtype)
        memory = ops.cast(memory, self.compute_dtype)
        single = len(query.shape) == 2
        if single:
            query = query[:, None]  # (batch, 1, query_dim)
        if mask is None:
            mask = ops.ones(ops.shape(memory)[:2], dtype="bool")
        if keys is None:
            keys = memory
            if self.memory_layer is not None:
                keys = apply_to_rows(self.memory_layer, memory)
        keys = ops.cast(keys, self.compute_dtype)
        query = self.project_query(query)
        if self.uses_previous_weights and state is None:
            state = self.initial_state(memory)
        if state is None or single:
            scores = self.score(query, memory, mask, keys, state)
            context, weights = self._attend(Linear(), scores, memory, mask, keys)
            after = [] if state is None else [self._advance(state, weights[:, 0])]
        else:
            context, weights, *after = self._loop(query, memory, mask, keys, state)
        if single:
            context, weights = context[:, 0], weights[:, 0]
        return (context, weights, *after)

    def dot_keys(self, memory: Any, keys: Any) -> Any:
        """Returns keys whose dot products with queries are the scores.

        A search projects the keys of a source once instead of every query.

        Args:
            memory: Float (batch, source_length, memory_dim).
            keys: Output of the layer of `keys_layer`, or the memory.

        Returns:
            Float (batch, source_length, query_dim), or None where the scores are not
            such a product.
        """
        return None

    def step(
        self,
        linear: Linear,
        query: Any,
        memory: Any,
        mask: Any,
        keys: Any,
        state: Any = None,
        dot_keys: Any = None,
    ) -> tuple[Any, ...]:
        """Attends with one query for each hypothesis of each source.

        Args:
            linear: A `Linear`, for the contexts.
            query: Float (batch, hypotheses, query_dim).
            memory: Float (batch, source_length, memory_dim).
            mask: Boolean (batch, source_length).
            keys: Output of the layer of `keys_layer`, or the memory.
            state: Float (batch, hypotheses, source_length), or None.
            dot_keys: What `dot_keys` returns; the scores are then dot products with
                them. Default: the scores of `score`.

        Returns:
            The contexts, a value (batch, hypotheses, context_dim); the weights (batch,
            hypotheses, source_length); and the state after the step, if there is one.
        """
        if dot_keys is None:
            scores = self.score(self.project_query(query), memory, mask, keys, state)
        else:
            scores = tf.matmul(query, dot_keys, transpose_b=True)
        context, weights = self._attend(linear, scores, memory, mask, keys)
        after = () if state is None else (self._advance(state, weights),)
        return context, weights, *after

    def _attend(
        self, linear: Linear, scores: Any, memory: Any, mask: Any, keys: Any
    ) -> tuple[Any, Any]:
        """Returns contexts and weights, (batch, time, source_length), of scores."""
        weights = self.weigh(scores, mask)  # (batch, [heads,] time, source_length)
        context = self.context(linear, ops.cast(weights, memory.dtype), memory, keys)
        if len(weights.shape) == 4:
            weights = ops.mean(weights, axis=1)
        return context, weights

    def weigh(self, scores: Any, mask: Any) -> Any:
        """Returns the weights of scores.

        Args:
            scores: Float (batch, [heads,] time, source_length).
            mask: Boolean (batch, source_length).
        """
        mask = mask[:, None] if len(scores.shape) == 3 else mask[:, None, None]
        return masked_softmax(ops.cast(scores, self.weights_dtype), mask)

    def _check_arguments(self, keys: Any, state: Any) -> None:
        if keys is None and self._needs_keys:
            raise ValueError(
                "`keys` must be given in every call of an attention layer that was "
                "given them in its first: it has no layer for keys. Received: None. "
                "Give the output of `keys_layer`, or make a new layer."
            )
        if state is not None and not self.uses_previous_weights:
            raise ValueError(
                f"`state` must be None for {type(self).__name__}, which does not use "
                f"previous weights. Received: a state of shape {state.shape}."
            )

    def _advance(self, state: Any, weights: Any) -> Any:
        return ops.cast(self.advance(state, weights), state.dtype)

    def _loop(
        self, query: Any, memory: Any, mask: Any, keys: Any, state: Any
    ) -> tuple[Any, Any, Any]:
        """Attends step by step: each step needs the previous weights."""
        steps = tf.shape(query)[1]
        queries = unstack_steps(tf.transpose(query, [1, 0, 2]))

        states, weights = (
            tf.TensorArray(self.weights_dtype, steps, element_shape=memory.shape[:2])
            for _ in range(2)
        )
        has_heads = False

        def body(time: Any, state: Any, states: Any, all_weights: Any) -> Any:
            nonlocal has_heads
            scores = self.score(queries.read(time)[:, None], memory, mask, keys, state)
            weights = self.weigh(scores, mask)[..., 0, :]  # (batch, [heads,] source)
            has_heads = len(weights.shape) == 3
            weights = ops.mean(weights, axis=1) if has_heads else weights
            states = states.write(time, ops.cast(state, self.weights_dtype))
            all_weights = all_weights.write(time, weights)
            return time + 1, self._advance(state, weights), states, all_weights

        _, state, states, weights = tf.while_loop(
            lambda time, *_: time < steps,
            body,
            (tf.constant(0), state, states, weights),
            maximum_iterations=steps,
        )
        # The contexts do not depend on each other: compute all at once.
        if has_heads:
            states = tf.transpose(states.stack(), [1, 0, 2])  # (batch, time, source)
            scores = self.score(query, memory, mask, keys, states)
            return *self._attend(Linear(), scores, memory, mask, keys), state
        weights = tf.transpose(weights.stack(), [1, 0, 2])
        weights_of_memory = ops.cast(weights, memory.dtype)
        context = self.context(Linear(), weights_of_memory, memory, keys)
        return context, weights, state

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_spec(
        self,
        query: Any,
        memory: Any,
        mask: Any = None,
        keys: Any = None,
        state: Any = None,
    ) -> tuple[keras.KerasTensor, ...]:
        self._check_arguments(keys, state)
        batch, source_length, memory_dim = memory.shape
        steps = query.shape[:-1]  # (batch, [time])
        dtype = self.compute_dtype
        context = keras.KerasTensor((*steps, self.context_dim(memory_dim)), dtype=dtype)
        weights = keras.KerasTensor((*steps, source_length), dtype=self.weights_dtype)
        if not self.uses_previous_weights:
            return context, weights
        after = keras.KerasTensor((batch, source_length), dtype=self.weights_dtype)
        return context, weights, after


class AttentionWithKernels(Attention):
    """An attention with kernels that share an initializer."""

    def __init__(
        self, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def _dense(
        self, units: int, name: str | None = None, use_bias: bool = False
    ) -> keras.layers.Dense:
        return keras.layers.Dense(
            units,
            use_bias=use_bias,
            kernel_initializer=another(self.kernel_initializer),
            name=name,
            dtype=self.dtype_policy,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


class ProjectedAttention(AttentionWithKernels):
    """An attention that projects queries and memory to a common width."""

    def __init__(
        self, units: int, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(kernel_initializer, **kwargs)
        self.units = at_least_one("units", units)

    def keys_layer(self, memory_dim: int, name: str | None = None) -> Any:
        return self._dense(self.units, name)

    def build_scores(self, query_dim: int, memory_dim: int) -> None:
        self.query_layer = self._dense(self.units, use_bias=True)
        self.query_layer.build((None, None, query_dim))

    def project_query(self, query: Any) -> Any:
        return apply_to_rows(self.query_layer, query)  # (batch, time, units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def masked_softmax(scores: Any, mask: Any) -> Any:
    """Returns the masked softmax over the last axis.

    Args:
        scores: Float (..., source_length).
        mask: Boolean, True at the scores to use; it broadcasts to `scores`.

    Returns:
        Weights of the shape and dtype of `scores`: exactly 0 where masked.
    """
    scores = ops.where(mask, scores, -1e9)
    # Without `where` the weights of a fully masked row would be equal instead of 0.
    # (Keras's softmax warns about a source of one token.)
    return ops.where(mask, tf.nn.softmax(scores, axis=-1), 0.0)


def apply_to_rows(layer: keras.layers.Dense, x: Any) -> Any:
    """Applies a dense layer to a tensor of any rank, as rows.

    For ranks above 2 Keras uses an operation whose gradient XLA cannot compile in a
    loop.

    Args:
        layer: A dense layer.
        x: Float (..., dim).

    Returns:
        Float (..., units).
    """
    return by_rows(layer, x, layer.units)


def by_rows(function: Callable[[Any], Any], x: Any, width: int) -> Any:
    """Applies a function of float (rows, dim), to (rows, width), to (..., dim)."""
    shape = tf.concat([tf.shape(x)[:-1], [width]], axis=0)
    y = tf.reshape(function(tf.reshape(x, [-1, x.shape[-1]])), shape)
    return tf.ensure_shape(y, [*x.shape[:-1], width])


def _bare_kernel(layer: keras.layers.Layer, dtype: str) -> Any:
    """Returns the kernel of a dense layer that only multiplies.

    The kernel includes the weights of LoRA. A layer with a bias, an activation or
    another dtype does more, and a quantized layer rounds its inputs.

    Args:
        layer: The layer.
        dtype: Dtype of the values it is multiplied with.

    Returns:
        Float (dim, units), or None.
    """
    is_bare = (
        type(layer) is keras.layers.Dense
        and layer.bias is None
        and layer.activation is keras.activations.linear
        and layer.quantization_mode is None
        and layer.compute_dtype == dtype
    )
    return ops.cast(layer.kernel, dtype) if is_bare else None


def times_transposed(x: Any, layer: keras.layers.Layer) -> Any:
    """Multiplies with the transposed kernel of a dense layer.

    Args:
        x: Float (batch, time, units).
        layer: From (..., dim) to (..., units).

    Returns:
        Float (batch, time, dim), or None if the layer does more than multiply.
    """
    kernel = _bare_kernel(layer, keras.backend.standardize_dtype(x.dtype))
    return None if kernel is None else ops.matmul(x, ops.transpose(kernel))


def another(
    initializer: keras.initializers.Initializer,
) -> keras.initializers.Initializer:
    """Returns a copy of an initializer: one object gives the same values every time.

    Args:
        initializer: A Keras initializer.
    """
    return type(initializer).from_config(initializer.get_config())


def at_least_one(name: str, value: int) -> int:
    """Returns an argument, or raises ValueError if it is below 1."""
    if value < 1:
        raise ValueError(f"`{name}` must be >= 1. Received: {value}.")
    return value
