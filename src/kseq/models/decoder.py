"""The decoder, for whole sequences and for one step."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from kseq.config.architecture import Seq2SeqConfig
from kseq.layers import MaskedMean, OneHot, TokenIds, ZeroState
from kseq.models.decoder_core import DecoderCore, InputFeedingLoop
from kseq.models.recurrent_stack import (
    as_config,
    initializer,
    input_layers,
    stabilizers,
    state_names,
    state_sizes,
)

INPUT = "decoder_inputs"


class Decoder:
    """The layers of a decoder and their wiring.

    It is not a layer. Called on Keras tensors, it adds its layers to a functional graph
    one by one, each under its own name. Tokens (batch, time) give the graph of a whole
    target, tokens (batch,) the graph of a single step.

    Args:
        config: A `Seq2SeqConfig`.
        dtype: Dtype or dtype policy of the layers. Default: Keras's global policy.
        encoder: The encoder, if the config shares layers with it. Default None: all
            layers are new.

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

    def __init__(
        self,
        config: Seq2SeqConfig,
        dtype: Any = None,
        encoder: keras.Model | None = None,
    ) -> None:
        self.config = config
        side = config.decoder
        dtype = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        self._dtype = dtype
        shared = {} if encoder is None else {each.name: each for each in encoder.layers}
        # Rows without a target may fill a batch: they are not in the loss.
        self.ids = TokenIds(
            side.vocab_size,
            INPUT,
            padded_right=True,
            empty_rows=True,
            name="decoder_ids",
        )
        self._inputs = input_layers(config, side, "decoder", dtype, shared)
        shared |= {layer.name: layer for layer in self._inputs}
        self.core = DecoderCore(config, dtype)
        self._loop = (
            InputFeedingLoop(
                config.to_dict(), self.core, name="decoder_loop", dtype=dtype
            )
            if config.input_feeding
            else None
        )
        # Layers between encoder and decoder, made for the first memory.
        self._between: dict[str, keras.layers.Layer] = {}
        self._before_output = stabilizers(config, "output", dtype, shared)
        self._tied = None
        if config.weight_tying in ("target_softmax", "all"):
            self._tied = self._inputs[0]
        else:
            self._output = keras.layers.Dense(
                side.vocab_size,
                kernel_initializer=initializer(config, "kernel_initializer"),
                name="decoder_output",
                dtype=dtype,
            )
        # The softmax of float16 logits overflows.
        self._logits = (
            None
            if dtype.compute_dtype in ("float32", "float64")
            else keras.layers.Activation("linear", dtype="float32", name="logits")
        )

    @property
    def state_sizes(self) -> list[int | None]:
        """The widths of the states, in the order of their names.

        None stands for a state with the source's length.
        """
        return self.core.state_sizes

    @property
    def state_names(self) -> list[str]:
        """Names of the states, such as `state_1_h`.

        The order is: recurrent layers; with input feeding the attentional hidden layer;
        the state of an attention that uses previous weights.
        """
        return self.core.state_names

    def attention_keys(self, memory: Any) -> Any:
        """Computes the attention's keys of a memory, once for a source.

        Args:
            memory: Float (batch, source_length, encoder_units).

        Returns:
            A tensor, or None if the attention uses the memory itself.
        """
        if self.core.attention is None:
            return None
        name, attention = "decoder_attention_keys", self.core.attention
        if name not in self._between:
            layer = attention.keys_layer(memory.shape[-1], name=name)
            if layer is None:
                return None
            self._between[name] = layer
        return self._between[name](memory)

    def _once(
        self, name: str, make: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Returns the layer with a name; it is the same in every graph."""
        if name not in self._between:
            self._between[name] = make(*args, name=name, **kwargs)
        return self._between[name]

    def initial_states(
        self, memory: Any, memory_mask: Any, encoder_states: Sequence[Any]
    ) -> list[Any]:
        """Computes the decoder's initial states from the encoder's outputs.

        Args:
            memory: Float (batch, source_length, encoder_units).
            memory_mask: Bool (batch, source_length).
            encoder_states: Floats (batch, encoder_units), the encoder's final states
                layer by layer.

        Returns:
            List of floats (batch, width), in the order of `state_names`.
        """
        config = self.config
        self._check_encoded(memory, encoder_states)
        mean = None
        if config.decoder_init == "mean":
            mean = self._once("decoder_init_mean", MaskedMean)(memory, mask=memory_mask)
        per_layer = len(encoder_states) // config.encoder.layers
        top = encoder_states[-per_layer:]
        aligned = config.encoder.layers == config.decoder.layers
        states: list[Any] = []
        for index, layer in enumerate(self.core.recurrent):
            sizes = state_sizes(layer)
            for kind, (name, size) in enumerate(
                zip(state_names(layer), sizes, strict=True)
            ):
                name = f"decoder_init_{index + 1}_{name}"
                only_first = config.decoder_init_layers == "first"
                if config.decoder_init == "zeros" or (only_first and index > 0):
                    zeros = self._once(name, ZeroState, size, dtype=self._dtype)
                    states.append(zeros(memory))  # (batch, decoder_units)
                    continue
                if mean is not None:
                    state = mean
                elif aligned and not only_first:
                    state = encoder_states[index * per_layer + kind]
                else:
                    state = top[kind]
                if config.decoder_init_projection == "dense" or state.shape[-1] != size:
                    state = self._once(
                        name,
                        keras.layers.Dense,
                        size,
                        activation="tanh",
                        kernel_initializer=initializer(config, "kernel_initializer"),
                        dtype=self._dtype,
                    )(state)
                states.append(state)  # (batch, decoder_units)
        return states + self.core.further_states(memory)

    def _check_encoded(self, memory: Any, encoder_states: Sequence[Any]) -> None:
        """Raises ValueError if the encoder's widths do not fit the configuration."""
        side = self.config.encoder
        kinds = len(state_names(self.core.recurrent[0]))
        expected = [side.units] * (kinds * side.layers)
        found = [state.shape[-1] for state in encoder_states]
        if memory.shape[-1] != side.units or found != expected:
            raise ValueError(
                "The encoder must fit the decoder's configuration: a memory of "
                f"{side.units} units and states of {expected}. Received: a memory of "
                f"{memory.shape[-1]} units and states of {found}."
            )

    def __call__(
        self,
        tokens: Any,
        states: Sequence[Any],
        memory: Any = None,
        memory_mask: Any = None,
        attention_keys: Any = None,
    ) -> dict[str, Any]:
        """Computes the logits of a whole target under teacher forcing, or of one step.

        Args:
            tokens: int32 ids the decoder reads: (batch, time), or (batch,) for a step.
            states: List of floats (batch, width), the state before the first token.
            memory: Float (batch, source_length, encoder_units), for attention.
            memory_mask: Bool (batch, source_length).
            attention_keys: Output of `attention_keys`.

        Returns:
            Dict of `logits`, float (batch, time, vocab) or (batch, vocab), `states`,
            the states after the last token, and with attention `attention`, its
            weights (batch, [time,] source_length).
        """
        widths = [state.shape[-1] for state in states]
        expected = self.state_sizes
        fits = len(widths) == len(expected) and all(
            want in (None, width) for width, want in zip(widths, expected, strict=True)
        )
        if not fits:
            raise ValueError(
                f"`states` must have the widths {expected}, as `initial_states` "
                f"returns them. Received: {widths}."
            )
        if self.core.attention is not None and memory is None:
            raise ValueError(
                "`memory` and `memory_mask` of the encoder must be given to a decoder "
                "with attention. Received: None."
            )
        x = self.embed(self.ids(tokens))
        run = self.core
        if self._loop is not None and len(x.shape) == 3:
            run = self._loop
        x, after, weights = run(x, list(states), memory, memory_mask, attention_keys)
        attention = {} if weights is None else {"attention": weights}
        return {"logits": self.project(x), "states": after, **attention}

    @property
    def embeds_one_hot(self) -> bool:
        """Whether the recurrent layers read one-hot vectors of the ids."""
        return len(self._inputs) == 1 and isinstance(self._inputs[0], OneHot)

    def embed(self, ids: Any) -> Any:
        """Returns the inputs of the recurrent layers.

        Args:
            ids: int32 ids of any shape.

        Returns:
            Float (..., input_dim).
        """
        x = ids
        for layer in self._inputs:
            x = layer(x)
        return x

    def project(self, hidden: Any) -> Any:
        """Returns the logits of hidden vectors.

        Args:
            hidden: Float (batch, [time,] hidden_units).

        Returns:
            Float (batch, [time,] vocab).
        """
        for layer in self._before_output:
            hidden = layer(hidden)
        if self._tied is not None:
            logits = self._tied(hidden, reverse=True)
        else:
            logits = self._output(hidden)
        return logits if self._logits is None else self._logits(logits)


def build_decoder(
    config: Seq2SeqConfig | None = None,
    *,
    encoder: keras.Model | None = None,
    dtype: Any = None,
    **settings: Any,
) -> Decoder:
    """Builds the decoder: its layers, ready to be called on Keras tensors.

    Args:
        config: A `Seq2SeqConfig`. Default None: made of the keyword arguments.
        encoder: The encoder of `build_encoder`. Needed if both sides share a layer:
            `weight_tying` is `"source_target"` or `"all"`, or `stabilizer` is
            `"shared"`. Default None.
        dtype: Dtype or dtype policy of the layers. Default: Keras's global policy.
        **settings: Fields of `Seq2SeqConfig`.

    Returns:
        A `Decoder`. Called on tokens and states, it returns logits and states.

    Raises:
        ValueError: If a setting is invalid, or the encoder is needed and missing.

    Example:
        >>> from kseq import build_decoder
        >>> decoder = build_decoder(source_vocab_size=11, target_vocab_size=13, units=8)
        >>> decoder.state_names, decoder.state_sizes
        (['state_1_h', 'state_1_c'], [8, 8])
    """
    config = as_config(config, settings)
    names = set() if encoder is None else {layer.name for layer in encoder.layers}
    for name, value, layer in (
        ("weight_tying", config.weight_tying, "shared_embedding"),
        ("stabilizer", config.stabilizer, "shared_stabilizer"),
    ):
        if value in ("source_target", "all", "shared") and layer not in names:
            raise ValueError(
                f"`encoder` must be an encoder built with {name}={value!r}, whose "
                "layer the decoder shares: build_decoder(config, encoder=encoder). "
                f"Received: {'None' if encoder is None else repr(encoder.name)}."
            )
    return Decoder(config, dtype, encoder)
