"""Attention: where in the source a decoder looks."""

from collections.abc import Callable
from typing import Any, ClassVar

import keras
import tensorflow as tf
from keras import ops

from kseq.layers.time_steps import unstack_steps


class Attention(keras.layers.Layer):
    """Base class of the attention layers: scores, a masked softmax, a weighted mean.

    A subclass computes `scores`. One that depends on the weights of earlier steps sets
    `uses_previous_weights`, takes its state through `score` and changes it in
    `advance`.

    Call arguments:
        query: Float (batch, query_dim) or, for all steps of a target at once, (batch,
            time, query_dim).
        memory: Float (batch, source_length, memory_dim).
        mask: Boolean (batch, source_length), True at the real steps of the source.
            Default None: all.
        keys: What `keys_layer` makes of the memory, where that is done once for many
            steps. Default None: made here, by a layer that the first call makes: a
            layer that was given keys in its first call must be given them in each.
        state: Float (batch, source_length), only for a layer that looks back: what
            `initial_state` returns, or the state after the step before. Default None:
            the initial one.

    Returns:
        A tuple of the contexts, (batch, [time,] context_dim), and the weights, (batch,
        [time,] source_length), which are 0 at padding and have the sum 1 (0 for a row
        of padding only); and, where the layer looks back, the state after the last
        step.

    Raises:
        ValueError: If `keys` is missing after a first call with keys, or `state` is
            given to a layer that does not look back.
    """

    uses_previous_weights: ClassVar[bool] = False

    supports_masking = True  # it takes its mask explicitly and passes none on

    def __init__(self, **kwargs: Any) -> None:
        # The weights and the state stay in float32 where the rest is in float16.
        super().__init__(autocast=False, **kwargs)
        self.memory_layer: keras.layers.Layer | None = None
        self._needs_keys = False

    @property
    def weights_dtype(self) -> str:
        """Dtype of the weights and of the state: float32, or float64."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    def keys_layer(self, memory_dim: int, name: str | None = None) -> Any:
        """Returns a layer for what of the memory the scores need at every step.

        A decoder may call it once for a source and give its output as `keys` to each
        step. It is new at each call; a layer that was not given keys has one of its
        own.

        Args:
            memory_dim: Width of the memory.
            name: Name of the layer.

        Returns:
            A layer from (batch, source_length, memory_dim) to keys, or None where the
            scores need the memory as it is.
        """
        return None

    def initial_state(self, memory: Any) -> Any:
        """Returns the state before the first step, zeros (batch, source_length).

        Args:
            memory: Float (batch, source_length, memory_dim).
        """
        # These operations become a part of a functional graph by themselves.
        return ops.cast(ops.zeros_like(memory[..., 0]), self.weights_dtype)

    def project_query(self, query: Any) -> Any:
        """Returns what of the queries the scores need; once for all steps.

        Args:
            query: Float (batch, time, query_dim).
        """
        return query

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        """Returns scores before the softmax, (batch, [heads,] time, source_length).

        Args:
            query: What `project_query` returns, (batch, time, dim).
            memory: Float (batch, source_length, memory_dim).
            mask: Boolean (batch, source_length).
            keys: What the layer of `keys_layer` returns, or the memory.
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

    def context(self, weights: Any, memory: Any, keys: Any) -> Any:
        """Returns the contexts, (batch, time, context_dim).

        Args:
            weights: Float (batch, [heads,] time, source_length).
            memory: Float (batch, source_length, memory_dim).
            keys: What the layer of `keys_layer` returns, or the memory.
        """
        return ops.matmul(weights, memory)

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
                keys = flat(self.memory_layer, memory)
        keys = ops.cast(keys, self.compute_dtype)
        query = self.project_query(query)
        if not self.uses_previous_weights:
            context, weights = self.attend(query, memory, mask, keys, None)
            after: tuple[Any, ...] = ()
        else:
            if state is None:
                state = self.initial_state(memory)
            if single:
                context, weights = self.attend(query, memory, mask, keys, state)
                after = (self._advance(state, weights[:, 0]),)
            else:
                context, weights, state = self._loop(query, memory, mask, keys, state)
                after = (state,)
        if single:
            context, weights = context[:, 0], weights[:, 0]
        return (context, weights, *after)

    def folded_keys(self, memory: Any, keys: Any) -> Any:
        """Returns keys whose dot products with bare queries are the scores.

        A search projects the keys of a source once instead of every query.

        Args:
            memory: Float (batch, source_length, memory_dim).
            keys: What the layer of `keys_layer` returns, or the memory.

        Returns:
            Float (batch, source_length, query_dim), or None where the scores are not
            such a product.
        """
        return None

    def attend(
        self, query: Any, memory: Any, mask: Any, keys: Any, state: Any
    ) -> tuple[Any, Any]:
        """Attends with projected queries.

        Args:
            query: What `project_query` returns, (batch, time, dim).
            memory: Float (batch, source_length, memory_dim).
            mask: Boolean (batch, source_length).
            keys: What the layer of `keys_layer` returns, or the memory.
            state: As `score` takes it.

        Returns:
            The contexts (batch, time, context_dim); the weights (batch, time,
            source_length).
        """
        scores = self.score(query, memory, mask, keys, state)
        weights = self.weigh(scores, mask)  # (batch, [heads,] time, source_length)
        context = self.context(ops.cast(weights, memory.dtype), memory, keys)
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
                "given them in its first: it has no layer to make its own. "
                "Received: None. Give the output of `keys_layer`, or make a new layer."
            )
        if state is not None and not self.uses_previous_weights:
            raise ValueError(
                f"`state` must be None for {type(self).__name__}, which does not look "
                f"back at earlier weights. Received: a state of shape {state.shape}."
            )

    def _advance(self, state: Any, weights: Any) -> Any:
        return ops.cast(self.advance(state, weights), state.dtype)

    def _loop(
        self, query: Any, memory: Any, mask: Any, keys: Any, state: Any
    ) -> tuple[Any, Any, Any]:
        """Attends step by step, since each step needs the weights before it."""
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
        # No step needs the context of another: all are made at once.
        if has_heads:
            states = tf.transpose(states.stack(), [1, 0, 2])  # (batch, time, source)
            return *self.attend(query, memory, mask, keys, states), state
        weights = tf.transpose(weights.stack(), [1, 0, 2])
        context = self.context(ops.cast(weights, memory.dtype), memory, keys)
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


def masked_softmax(scores: Any, mask: Any) -> Any:
    """Returns the softmax over the last axis of what a mask lets through.

    Args:
        scores: Float (..., source_length).
        mask: Boolean, True where a score counts; its shape broadcasts to the scores'.

    Returns:
        Weights of the scores' shape and dtype: exactly 0 where masked, and all 0 where
        everything is.
    """
    scores = ops.where(mask, scores, -1e9)
    # Where a whole row is masked the softmax would be even; its weights must be 0.
    # (TensorFlow's: that of Keras warns of a source of one token.)
    return ops.where(mask, tf.nn.softmax(scores, axis=-1), 0.0)


def flat(layer: keras.layers.Dense, x: Any) -> Any:
    """Applies a dense layer to a tensor of any rank as to one of rank 2.

    Keras takes another way for ranks above 2, whose gradient XLA cannot compile inside
    of a loop.

    Args:
        layer: A dense layer.
        x: Float (..., dim).

    Returns:
        Float (..., units).
    """
    return _by_rows(layer, x, layer.units)


def _by_rows(function: Callable[[Any], Any], x: Any, width: int) -> Any:
    """Applies a function of float (rows, dim), to (rows, width), to (..., dim)."""
    shape = tf.concat([tf.shape(x)[:-1], [width]], axis=0)
    y = tf.reshape(function(tf.reshape(x, [-1, x.shape[-1]])), shape)
    return tf.ensure_shape(y, [*x.shape[:-1], width])


def _bare_kernel(layer: keras.layers.Layer, dtype: str) -> Any:
    """Returns the kernel of a dense layer, if to call it is to multiply with that.

    Weights of LoRA are in the kernel. A layer with a bias, an activation or another
    dtype does more, and so does a quantized one, which rounds its inputs.

    Args:
        layer: The layer.
        dtype: Dtype of what it is multiplied with.

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


def _times_transposed(x: Any, layer: keras.layers.Layer) -> Any:
    """Multiplies with the transposed kernel of a dense layer.

    Args:
        x: Float (batch, time, units).
        layer: From (..., dim) to (..., units).

    Returns:
        Float (batch, time, dim), or None where the layer does more than multiply.
    """
    kernel = _bare_kernel(layer, keras.backend.standardize_dtype(x.dtype))
    return None if kernel is None else ops.matmul(x, ops.transpose(kernel))


class _WithKernels(Attention):
    """An attention with kernels, and one initializer for all of them."""

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


class _Projected(_WithKernels):
    """An attention whose scores are made of projections to a common width."""

    def __init__(
        self, units: int, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(kernel_initializer, **kwargs)
        self.units = _at_least_one("units", units)

    def keys_layer(self, memory_dim: int, name: str | None = None) -> Any:
        return self._dense(self.units, name)

    def build_scores(self, query_dim: int, memory_dim: int) -> None:
        self.query_layer = self._dense(self.units, use_bias=True)
        self.query_layer.build((None, None, query_dim))

    def project_query(self, query: Any) -> Any:
        return flat(self.query_layer, query)  # (batch, time, units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package="kseq")
class DotAttention(_WithKernels):
    """Attention by the dot product of the query and each memory vector.

    Args:
        scaled: Divide the scores by the square root of the vectors' width. Default
            False.
        units: Project query and memory to this width first, without bias. Default
            None: as they are, which needs them to be of one width.
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
        self.units = None if units is None else _at_least_one("units", units)
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
        return query if self.query_layer is None else flat(self.query_layer, query)

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        if self.scaled:
            query = query * keys.shape[-1] ** -0.5
        return ops.matmul(query, ops.transpose(keys, (0, 2, 1)))

    def folded_keys(self, memory: Any, keys: Any) -> Any:
        scale = keys.shape[-1] ** -0.5 if self.scaled else 1.0
        if self.query_layer is not None:
            keys = _times_transposed(keys, self.query_layer)
        return None if keys is None else keys * ops.cast(scale, keys.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scaled": self.scaled, "units": self.units}


@keras.saving.register_keras_serializable(package="kseq")
class GeneralAttention(_WithKernels):
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
        return flat(self.query_layer, query)  # (batch, time, memory_dim)

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        return ops.matmul(query, ops.transpose(memory, (0, 2, 1)))

    def folded_keys(self, memory: Any, keys: Any) -> Any:
        return _times_transposed(memory, self.query_layer)


@keras.saving.register_keras_serializable(package="kseq")
class AdditiveAttention(_Projected):
    """Attention by a small network: v tanh(W query + U memory + b).

    For all steps of a target at once it takes memory for (batch, time, source_length,
    units) numbers.

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
        return ops.squeeze(flat(self.score_layer, ops.tanh(hidden)), -1)

    def _features(self, state: Any) -> Any:
        """Returns what states (batch, time, source_length) add, (..., units)."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kseq")
class LocationSensitiveAttention(AdditiveAttention):
    """Additive attention that also sees where it looked at the step before.

    The weights of the step before (or the sum of all before) go through a convolution
    over the source's positions, and its features F into v tanh(W query + U memory + F
    + b).

    Args:
        units: Width of the hidden layer.
        filters: Number of filters of the convolution. Default 16.
        kernel_size: Width of each, in positions. Default 15.
        cumulative: Look at the sum of all earlier weights instead of the last ones.
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
        self.filters = _at_least_one("filters", filters)
        self.kernel_size = _at_least_one("kernel_size", kernel_size)
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
        # A convolution of one channel is a product of its windows, and so faster.
        left = (self.kernel_size - 1) // 2
        padded = ops.pad(state, [[0, 0], [0, 0], [left, self.kernel_size - 1 - left]])
        places = tf.range(tf.shape(state)[2])[:, None] + tf.range(self.kernel_size)
        windows = tf.gather(padded, places, axis=2)  # (batch, time, source, kernel)
        windows = ops.cast(windows, self.compute_dtype)
        kernel = ops.cast(self.convolution_kernel, self.compute_dtype)
        found = _by_rows(lambda x: ops.matmul(x, kernel), windows, self.filters)
        return flat(self.location_layer, found)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "cumulative": self.cumulative,
        }


@keras.saving.register_keras_serializable(package="kseq")
class CoverageAttention(AdditiveAttention):
    """Additive attention that sees how much each position has been looked at so far.

    The sum C of all earlier weights enters v tanh(W query + U memory + c C + b).

    Args:
        units: Width of the hidden layer.
        kernel_initializer: Initializer of all kernels. Default `"glorot_uniform"`.

    Example:
        >>> import numpy as np
        >>> from kseq.layers import CoverageAttention
        >>> query, memory = np.ones((1, 6, 5), "float32"), np.ones((1, 4, 3), "float32")
        >>> context, weights, coverage = CoverageAttention(8)(query, memory)
        >>> coverage.numpy().round(3).tolist()  # six steps, four like positions
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
        return flat(self.coverage_layer, state[..., None])


@keras.saving.register_keras_serializable(package="kseq")
class MultiHeadDotAttention(_Projected):
    """Several scaled dot attentions side by side, each over projections of its own.

    The weights it returns are the mean over the heads.

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
        self.heads = _at_least_one("heads", heads)
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

    def context(self, weights: Any, memory: Any, keys: Any) -> Any:
        values = self._split(keys[..., self.units :])
        heads = ops.matmul(weights, values)  # (batch, heads, time, units / heads)
        heads = ops.transpose(heads, (0, 2, 1, 3))
        shape = ops.shape(heads)
        joined = ops.reshape(heads, (*shape[:2], self.units))
        return flat(self.output_layer, joined)

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


@keras.saving.register_keras_serializable(package="kseq")
class LocationAttention(_WithKernels):
    """Attention to positions, by the query alone: softmax(W query).

    Args:
        positions: Number of source positions it can look at; one further right never
            gets any weight.
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
        self.positions = _at_least_one("positions", positions)

    def build_scores(self, query_dim: int, memory_dim: int) -> None:
        self.query_layer = self._dense(self.positions)
        self.query_layer.build((None, None, query_dim))

    def project_query(self, query: Any) -> Any:
        return flat(self.query_layer, query)  # (batch, time, positions)

    def score(self, query: Any, memory: Any, mask: Any, keys: Any, state: Any) -> Any:
        length = ops.shape(memory)[1]
        # Far below any score; the softmax gives it 0.
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
    """Attention that always looks at the last real step of the source.

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


ATTENTIONS: dict[str, type[Attention]] = {
    "dot": DotAttention,
    "scaled_dot": DotAttention,
    "general": GeneralAttention,
    "additive": AdditiveAttention,
    "multi_head_dot": MultiHeadDotAttention,
    "location": LocationAttention,
    "location_sensitive": LocationSensitiveAttention,
    "coverage": CoverageAttention,
    "fixed": FixedAttention,
}


@keras.saving.register_keras_serializable(package="kseq")
class AttentionalHidden(keras.layers.Layer):
    """The layer between attention and output: tanh(W [h; context] + b).

    Args:
        units: Width of the output.
        gate: Weigh the two by a learned gate z: tanh(z * (W h) + (1 - z) * (U context)
            + b), with z = sigmoid(V [h; context] + d). Default False.
        kernel_initializer: Initializer of the kernels. Default `"glorot_uniform"`.

    Call arguments:
        hidden: Float (batch, [time,] dim), the output of the recurrent layers.
        context: Float (batch, [time,] context_dim), what was attended to.

    Returns:
        Float (batch, [time,] units).

    Example:
        >>> import numpy as np
        >>> from kseq.layers import AttentionalHidden
        >>> hidden, context = np.ones((2, 4), "float32"), np.ones((2, 3), "float32")
        >>> AttentionalHidden(5, gate=True)(hidden, context).shape
        TensorShape([2, 5])

    Reference:
        Luong et al., 2015, "Effective Approaches to Attention-based Neural Machine
        Translation"; Tu et al., 2017, "Context Gates for Neural Machine Translation".
    """

    supports_masking = True

    def __init__(
        self,
        units: int,
        gate: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = _at_least_one("units", units)
        self.gate = gate
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, hidden_shape: Any, context_shape: Any) -> None:
        widths = hidden_shape[-1], context_shape[-1]
        self.kernel = self._weight("kernel", (sum(widths), self.units))
        self.bias = self.add_weight(
            shape=(self.units,), initializer="zeros", name="bias"
        )
        if self.gate:
            self.gate_kernel = self._weight("gate_kernel", (sum(widths), self.units))
            self.gate_bias = self.add_weight(
                shape=(self.units,), initializer="zeros", name="gate_bias"
            )
        self.built = True

    def _weight(self, name: str, shape: tuple[int, int]) -> keras.Variable:
        return self.add_weight(
            shape=shape, initializer=another(self.kernel_initializer), name=name
        )

    def call(self, hidden: Any, context: Any) -> Any:
        both = ops.concatenate([hidden, context], axis=-1)
        if not self.gate:
            return ops.tanh(ops.matmul(both, self.kernel) + self.bias)
        gate = ops.sigmoid(ops.matmul(both, self.gate_kernel) + self.gate_bias)
        kernel = ops.convert_to_tensor(self.kernel)
        width = hidden.shape[-1]
        from_hidden = ops.matmul(hidden, kernel[:width])  # (batch, [time,] units)
        from_context = ops.matmul(context, kernel[width:])
        return ops.tanh(gate * from_hidden + (1 - gate) * from_context + self.bias)

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_spec(self, hidden: Any, context: Any) -> keras.KerasTensor:
        return keras.KerasTensor(
            (*hidden.shape[:-1], self.units), dtype=self.compute_dtype
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "gate": self.gate,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def another(
    initializer: keras.initializers.Initializer,
) -> keras.initializers.Initializer:
    """Returns a like initializer: one object used twice gives the same values twice.

    Args:
        initializer: A Keras initializer.
    """
    return type(initializer).from_config(initializer.get_config())


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"`{name}` must be >= 1. Received: {value}.")
    return value
