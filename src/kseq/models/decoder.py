"""The decoder: one definition, for whole sequences and for one step."""

from collections.abc import Sequence
from typing import Any

import keras

from kseq.config import Seq2SeqConfig
from kseq.layers import MaskedMean, TokenIds, ZeroState
from kseq.models.recurrent import (
    Stack,
    as_config,
    cell_name,
    initializer,
    input_layers,
    recurrent_layer,
    state_names,
    state_sizes,
)

INPUT = "decoder_inputs"


class Decoder:
    """The layers of a decoder and how they are wired.

    Not a layer itself: called on Keras tensors, it adds its layers to the graph one by
    one, each by its name. The same call makes the graph over a whole target (tokens
    (batch, time)) and that of a single step (tokens (batch,)).

    Args:
        config: A `Seq2SeqConfig`.
        dtype: Dtype or dtype policy of the layers. Default: Keras's global policy.

    Example:
        >>> import keras
        >>> from kseq import build_decoder
        >>> decoder = build_decoder(source_vocab_size=11, target_vocab_size=13, units=8)
        >>> tokens = keras.Input((None,), dtype="int32")
        >>> states = [keras.Input((8,)), keras.Input((8,))]
        >>> decoder(tokens, states)["logits"].shape
        (None, None, 13)
        >>> decoder(keras.Input((), dtype="int32"), states)["logits"].shape
        (None, 13)
    """

    def __init__(self, config: Seq2SeqConfig, dtype: Any = None) -> None:
        self.config = config
        side = config.decoder
        self._dtype = dtype
        # A row without a target has no part in the loss: one may fill up a batch.
        self._ids = TokenIds(
            side.vocab_size,
            INPUT,
            padded_right=True,
            empty_rows=True,
            name="decoder_ids",
        )
        self._inputs = input_layers(config, side, "decoder", dtype)
        self._recurrent = [
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
        self._output = keras.layers.Dense(
            side.vocab_size,
            kernel_initializer=initializer(config, "kernel_initializer"),
            name="decoder_output",
            dtype=dtype,
        )
        # The softmax of float16 logits overflows, and float32 ones cost little.
        self._logits = (
            None
            if self._output.compute_dtype in ("float32", "float64")
            else keras.layers.Activation("linear", dtype="float32", name="logits")
        )

    @property
    def state_sizes(self) -> list[int]:
        """The widths of the states, layer by layer, of an LSTM h and c."""
        return [size for layer in self._recurrent for size in state_sizes(layer)]

    @property
    def state_names(self) -> list[str]:
        """Names of the states, such as `state_1_h`."""
        return [
            f"state_{index + 1}_{name}"
            for index, layer in enumerate(self._recurrent)
            for name in state_names(layer)
        ]

    def initial_states(
        self, memory: Any, memory_mask: Any, encoder_states: Sequence[Any]
    ) -> list[Any]:
        """Makes the decoder's initial states from what the encoder gives.

        Args:
            memory: Float (batch, source_length, encoder_units).
            memory_mask: Bool (batch, source_length).
            encoder_states: Floats (batch, encoder_units), the encoder's final states
                layer by layer.

        Returns:
            List of floats (batch, decoder_units), layer by layer.
        """
        config = self.config
        mean = None
        if config.decoder_init == "mean":
            mean = MaskedMean(name="decoder_init_mean")(memory, mask=memory_mask)
        per_layer = len(encoder_states) // config.encoder.layers
        top = encoder_states[-per_layer:]
        aligned = config.encoder.layers == config.decoder.layers
        states: list[Any] = []
        for index, layer in enumerate(self._recurrent):
            sizes = state_sizes(layer)
            for kind, (name, size) in enumerate(
                zip(state_names(layer), sizes, strict=True)
            ):
                name = f"decoder_init_{index + 1}_{name}"
                only_first = config.decoder_init_layers == "first"
                if config.decoder_init == "zeros" or (only_first and index > 0):
                    zeros = ZeroState(size, name=name, dtype=self._dtype)
                    states.append(zeros(memory))  # (batch, decoder_units)
                    continue
                if mean is not None:
                    state = mean
                elif aligned and not only_first:
                    state = encoder_states[index * per_layer + kind]
                else:
                    state = top[kind]
                if config.decoder_init_projection == "dense" or state.shape[-1] != size:
                    state = keras.layers.Dense(
                        size,
                        activation="tanh",
                        kernel_initializer=initializer(config, "kernel_initializer"),
                        name=name,
                        dtype=self._dtype,
                    )(state)
                states.append(state)  # (batch, decoder_units)
        return states

    def __call__(
        self,
        tokens: Any,
        states: Sequence[Any],
        memory: Any = None,
        memory_mask: Any = None,
    ) -> dict[str, Any]:
        """Decodes a whole target under teacher forcing, or one step of it.

        Args:
            tokens: int32 ids the decoder reads: (batch, time), or (batch,) for a step.
            states: List of floats (batch, decoder_units), the state before the first
                token.
            memory: Float (batch, source_length, encoder_units); a decoder without
                attention does not look at it.
            memory_mask: Bool (batch, source_length).

        Returns:
            Dict of `logits`, float (batch, time, vocab) or (batch, vocab), and
            `states`, the states after the last token.
        """
        x = self._ids(tokens)
        for layer in self._inputs:
            x = layer(x)  # (batch, [time,] input_dim)
        remaining = list(states)
        after: list[Any] = []
        for index, layer in enumerate(self._recurrent):
            count = len(state_sizes(layer))
            before, remaining = remaining[:count], remaining[count:]
            if len(x.shape) == 3:
                # Padding is on the right: what comes after it counts nowhere, so the
                # layer needs no mask, which would cost time.
                outputs, *new = layer(x, initial_state=before)
            else:
                outputs, new = layer.cell(x, before)
            after += new if isinstance(new, list | tuple) else [new]
            x = self._stack.after(index, x, outputs)  # (batch, [time,] units)
        logits = self._output(x)  # (batch, [time,] vocab)
        if self._logits is not None:
            logits = self._logits(logits)
        return {"logits": logits, "states": after}


def build_decoder(
    config: Seq2SeqConfig | None = None, *, dtype: Any = None, **settings: Any
) -> Decoder:
    """Builds the decoder: its layers, ready to be called on Keras tensors.

    Args:
        config: A `Seq2SeqConfig`. Or give its fields as keyword arguments.
        dtype: Dtype or dtype policy of the layers. Default: Keras's global policy.
        **settings: Fields of `Seq2SeqConfig`.

    Returns:
        A `Decoder`. Called on tokens and states it gives logits and states.

    Raises:
        ValueError: If a setting is invalid.

    Example:
        >>> from kseq import build_decoder
        >>> decoder = build_decoder(source_vocab_size=11, target_vocab_size=13, units=8)
        >>> decoder.state_names, decoder.state_sizes
        (['state_1_h', 'state_1_c'], [8, 8])
    """
    return Decoder(as_config(config, settings), dtype)
