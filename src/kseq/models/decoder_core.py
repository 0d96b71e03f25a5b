"""The wiring of a decoder: recurrent layers, attention and attentional hidden layer.

One definition is used for a whole target at once, for a single step, and for the loop
over steps of input feeding.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from kseq.config.architecture import Seq2SeqConfig
from kseq.layers import Attention, AttentionalHidden, ZeroState
from kseq.layers.time_steps import unstack_steps
from kseq.models.recurrent_stack import (
    Stack,
    attention_layer,
    cell_name,
    initializer,
    recurrent_layer,
    state_names,
    state_sizes,
)


class LayerByLayer:
    """Runs a decoder layer by layer, each on its inputs."""

    def call(self, layer: keras.layers.Layer, *args: Any) -> Any:
        """Calls a layer."""
        return layer(*args)

    def join(self, layer: keras.layers.Concatenate, parts: list[Any]) -> Any:
        """Joins values along their last axis."""
        return layer(parts)

    def attend(
        self,
        layer: Attention,
        query: Any,
        memory: Any,
        memory_mask: Any,
        keys: Any,
        state: Any,
    ) -> tuple[Any, ...]:
        """Calls an attention layer."""
        return layer(query, memory, memory_mask, keys=keys, state=state)

    def recurrent(
        self, layer: keras.layers.RNN, inputs: Any, states: list[Any]
    ) -> tuple[Any, list[Any]]:
        """Runs a recurrent layer over (batch, time, dim), or its cell over a step."""
        if len(inputs.shape) == 3:
            # Padding is on the right, and its outputs are not used: no mask is needed.
            outputs, *after = layer(inputs, initial_state=states)
            return outputs, after
        if inputs.shape[0] == 0:  # Keras's cells fail on a batch known to be empty
            outputs, *after = layer(inputs[:, None], initial_state=states)
            return outputs[:, 0], after
        outputs, after = layer.cell(inputs, states)
        return outputs, list(after) if isinstance(after, list | tuple) else [after]


class DecoderCore:
    """Maps the decoder's input vectors to its last hidden layer.

    It is not a layer. It calls its layers one by one, so that each is a part of a
    functional graph, under its own name.

    Args:
        config: A `Seq2SeqConfig`.
        dtype: Dtype or dtype policy of the layers.
    """

    def __init__(self, config: Seq2SeqConfig, dtype: Any) -> None:
        side = config.decoder
        self.config = config
        self._dtype = dtype
        self.recurrent = [
            recurrent_layer(
                config,
                side,
                side.units,
                f"decoder_{cell_name(config)}_{index + 1}",
                dtype,
            )
            for index in range(side.layers)
        ]
        self._stack = Stack(side, "decoder", dtype)
        self.attention = attention_layer(config, "decoder_attention", dtype)
        self._hidden = None
        self._join: dict[str, keras.layers.Layer] = {}
        if self.attention is not None:
            self._hidden = AttentionalHidden(
                config.hidden_units,
                gate=config.context_gate,
                kernel_initializer=initializer(config, "kernel_initializer"),
                name="decoder_attentional_hidden",
                dtype=dtype,
            )
        if config.input_feeding:
            self._join["input"] = self._concatenation("decoder_input_feeding")
        if config.attention_previous_word:
            self._join["query"] = self._concatenation("decoder_query")
        if config.attention_in_upper_layers:
            for index in range(1, side.layers):
                self._join[str(index)] = self._concatenation(
                    f"decoder_context_{index + 1}"
                )
        self._dropout = (
            keras.layers.Dropout(
                config.hidden_dropout, name="decoder_hidden_dropout", dtype=dtype
            )
            if config.hidden_dropout
            else None
        )

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """All of its layers, in the order of the data."""
        found: list[Any] = []
        for index, layer in enumerate(self.recurrent):
            found += [layer, self._stack.additions.get(index)]
            found.append(self._stack.dropouts.get(index))
        found += [self.attention, self._hidden, self._dropout, *self._join.values()]
        return [layer for layer in found if layer is not None]

    @property
    def uses_previous_weights(self) -> bool:
        """Whether its attention has a state."""
        return self.attention is not None and self.attention.uses_previous_weights

    @property
    def state_names(self) -> list[str]:
        """Names of the states, such as `state_1_h`."""
        names = [
            f"state_{index + 1}_{name}"
            for index, layer in enumerate(self.recurrent)
            for name in state_names(layer)
        ]
        names += ["state_hidden"] if self.config.input_feeding else []
        return names + (["state_attention"] if self.uses_previous_weights else [])

    @property
    def state_sizes(self) -> list[int | None]:
        """Widths of the states; None for a state with the source's length."""
        sizes: list[int | None] = [
            size for layer in self.recurrent for size in state_sizes(layer)
        ]
        sizes += [self.config.hidden_units] if self.config.input_feeding else []
        return sizes + ([None] if self.uses_previous_weights else [])

    def further_states(self, memory: Any) -> list[Any]:
        """Returns the initial states other than those of the recurrent layers.

        Args:
            memory: Float (batch, source_length, encoder_units).
        """
        states = []
        if self.config.input_feeding:
            zeros = ZeroState(
                self.config.hidden_units, name="decoder_init_hidden", dtype=self._dtype
            )
            states.append(zeros(memory))  # (batch, hidden_units)
        if self.attention is not None and self.attention.uses_previous_weights:
            states.append(self.attention.initial_state(memory))
        return states

    def __call__(
        self,
        x: Any,
        states: Sequence[Any],
        memory: Any,
        memory_mask: Any,
        keys: Any,
        run: Any = None,
    ) -> tuple[Any, list[Any], Any]:
        """Runs over one step, or without input feeding over a whole target.

        Args:
            x: Float (batch, time, dim), or (batch, dim) for a step.
            states: List of floats (batch, width), in the order of `state_names`.
            memory: Float (batch, source_length, encoder_units).
            memory_mask: Bool (batch, source_length).
            keys: Keys of the attention, computed once for a source, or None.
            run: Runs the layers. Default: a `LayerByLayer`.

        Returns:
            The last hidden layer (batch, [time,] hidden_units); the states after the
            last step; the attention weights (batch, [time,] source_length), or None.
        """
        run = run or LayerByLayer()
        remaining, word = list(states), x
        after: list[Any] = []
        further = remaining[sum(len(state_sizes(each)) for each in self.recurrent) :]
        if "input" in self._join:
            x = run.join(self._join["input"], [x, further[0]])
        attends_at = (
            0 if self.config.attention_in_upper_layers else len(self.recurrent) - 1
        )
        context, weights, attention_states = None, None, []
        for index, layer in enumerate(self.recurrent):
            count = len(state_sizes(layer))
            before, remaining = remaining[:count], remaining[count:]
            inputs = x
            if str(index) in self._join:
                inputs = run.join(self._join[str(index)], [x, context])
            outputs, new = run.recurrent(layer, inputs, before)
            after += new
            if self.attention is not None and index == attends_at:
                query = outputs
                if "query" in self._join:
                    query = run.join(self._join["query"], [outputs, word])
                context, weights, *attention_states = run.attend(
                    self.attention,
                    query,
                    memory,
                    memory_mask,
                    keys,
                    further[-1] if self.uses_previous_weights else None,
                )
            x = self._stack.after(index, x, outputs, run.call)  # (batch, [time,] units)
        if self._hidden is not None:
            x = run.call(self._hidden, x, context)  # (batch, [time,] hidden_units)
        if self._dropout is not None:
            x = run.call(self._dropout, x)
        if self.config.input_feeding:
            after.append(x)
        return x, after + attention_states, weights

    def input_widths(self, input_dim: int) -> list[int]:
        """Returns the width of the inputs of each recurrent layer.

        Args:
            input_dim: Width of the decoder's input vectors.
        """
        config = self.config
        widths = [input_dim] + [config.decoder.units] * (len(self.recurrent) - 1)
        if config.input_feeding:
            widths[0] += config.hidden_units
        if config.attention_in_upper_layers and self.attention is not None:
            context = self.attention.context_dim(config.encoder.units)
            widths[1:] = [width + context for width in widths[1:]]
        return widths

    @contextlib.contextmanager
    def one_mask_a_sequence(
        self, batch: Any, input_dim: int, training: bool
    ) -> Iterator[None]:
        """Draws the variational dropout masks before a loop, and deletes them after it.

        A cell draws its masks at its first step and keeps them, which is impossible
        inside of the body of a loop.

        Args:
            batch: Number of rows.
            input_dim: Width of the decoder's input vectors.
            training: Whether dropout acts.
        """
        cells = [layer.cell for layer in self.recurrent]
        cells = [cell for cell in cells if hasattr(cell, "reset_dropout_mask")]
        for cell in cells:  # Keras's SimpleRNNCell draws while a graph is built, too
            cell.reset_dropout_mask()
            cell.reset_recurrent_dropout_mask()
        dtype = self.recurrent[0].compute_dtype
        widths = self.input_widths(input_dim)
        for layer, width in zip(self.recurrent, widths, strict=True):
            if training and layer.cell in cells:
                # Returns None if the rate is 0.
                layer.cell.get_dropout_mask(tf.ones([batch, width], dtype))
                layer.cell.get_recurrent_dropout_mask(
                    tf.ones([batch, self.config.decoder.units], dtype)
                )
        try:
            yield
        finally:
            for cell in cells:
                cell.reset_dropout_mask()
                cell.reset_recurrent_dropout_mask()

    def _concatenation(self, name: str) -> keras.layers.Concatenate:
        return keras.layers.Concatenate(axis=-1, name=name, dtype=self._dtype)


@keras.saving.register_keras_serializable(package="kseq")
class InputFeedingLoop(keras.layers.Layer):
    """Runs a decoder with input feeding over a whole target, step by step.

    Args:
        config: The model's configuration, as `Seq2SeqConfig.to_dict` returns it.
        core: The `DecoderCore` whose layers it runs. Default: one made from `config`.

    Call arguments:
        x: Float (batch, time, dim), the decoder's input vectors.
        states: List of floats (batch, width).
        memory: Float (batch, source_length, encoder_units).
        memory_mask: Bool (batch, source_length).
        keys: Keys of the attention, computed once for a source, or None.

    Returns:
        As `DecoderCore`.
    """

    supports_masking = True

    def __init__(
        self, config: dict[str, Any], core: DecoderCore | None = None, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self._config = Seq2SeqConfig.from_dict(config)
        self.core = core or DecoderCore(self._config, self.dtype_policy)
        self._parts = self.core.layers  # a list of layers, for Keras to find

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The layers it runs; `summary(expand_nested=True)` lists them."""
        return self.core.layers

    def build(
        self,
        x_shape: Any,
        states_shape: Any,
        memory_shape: Any,
        memory_mask_shape: Any,
        keys_shape: Any = None,
    ) -> None:
        """Builds the layers, by one step on tensors without values."""
        widths = self.core.input_widths(x_shape[-1])
        for layer, width in zip(self.core.recurrent, widths, strict=True):
            layer.build((None, None, width))  # the step builds its cell only

        def tensor(shape: Any, dtype: str | None = None) -> keras.KerasTensor:
            return keras.KerasTensor((None, *shape), dtype=dtype or self.compute_dtype)

        self.core(
            tensor(x_shape[2:]),
            [tensor(shape[1:]) for shape in states_shape],
            tensor((None, *memory_shape[2:])),
            tensor((None,), "bool"),
            None if keys_shape is None else tensor((None, *keys_shape[2:])),
        )
        self.built = True

    def call(
        self,
        x: Any,
        states: Sequence[Any],
        memory: Any,
        memory_mask: Any,
        keys: Any = None,
        training: bool = False,
    ) -> tuple[Any, list[Any], Any]:
        steps = tf.shape(x)[1]
        vectors = unstack_steps(tf.transpose(x, [1, 0, 2]))
        rows = memory.shape[0]

        def body(time: Any, states: Any, hiddens: Any, all_weights: Any) -> Any:
            hidden, states, weights = self.core(
                vectors.read(time), states, memory, memory_mask, keys
            )
            return (
                time + 1,
                states,
                hiddens.write(time, hidden),
                all_weights.write(time, weights),
            )

        def array(dtype: str, width: int | None) -> tf.TensorArray:
            return tf.TensorArray(dtype, steps, element_shape=[rows, width])

        attention = self.core.attention
        assert attention is not None  # input feeding needs an attention
        with self.core.one_mask_a_sequence(tf.shape(x)[0], x.shape[-1], bool(training)):
            _, after, hiddens, all_weights = tf.while_loop(
                lambda time, *_: time < steps,
                body,
                (
                    tf.constant(0),
                    list(states),
                    array(self.compute_dtype, self._config.hidden_units),
                    array(attention.weights_dtype, memory.shape[1]),
                ),
                maximum_iterations=steps,
            )
        return (
            tf.transpose(hiddens.stack(), [1, 0, 2]),  # (batch, time, hidden_units)
            after,
            tf.transpose(all_weights.stack(), [1, 0, 2]),  # (batch, time, source)
        )

    def compute_mask(self, *args: Any, **kwargs: Any) -> None:
        return None

    def compute_output_spec(
        self,
        x: Any,
        states: Sequence[Any],
        memory: Any,
        memory_mask: Any,
        keys: Any = None,
        training: bool = False,
    ) -> tuple[Any, list[Any], Any]:
        attention = self.core.attention
        assert attention is not None
        steps = x.shape[:2]
        return (
            keras.KerasTensor(
                (*steps, self._config.hidden_units), dtype=self.compute_dtype
            ),
            [keras.KerasTensor(state.shape, dtype=state.dtype) for state in states],
            keras.KerasTensor((*steps, memory.shape[1]), dtype=attention.weights_dtype),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "config": self._config.to_dict()}
