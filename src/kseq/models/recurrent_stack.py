"""Layers that encoders and decoders share."""

from collections.abc import Callable
from typing import Any

import keras

from kseq.config.architecture import Seq2SeqConfig, SideConfig
from kseq.layers import (
    AdditiveAttention,
    Attention,
    CoverageAttention,
    DotAttention,
    FixedAttention,
    ForgetBias,
    FusedGRU,
    FusedLSTM,
    GeneralAttention,
    LayerNormGRU,
    LayerNormLSTM,
    LocationAttention,
    LocationSensitiveAttention,
    MultiHeadDotAttention,
    OneHot,
    Stabilizer,
)


def initializer(config: Seq2SeqConfig, field: str) -> keras.initializers.Initializer:
    """Makes a new initializer: one object gives the same values every time."""
    name = getattr(config, field)
    if name == "uniform" and config.initializer_scale is not None:
        scale = config.initializer_scale
        return keras.initializers.RandomUniform(-scale, scale)
    return keras.initializers.get(name)


def cell_name(config: Seq2SeqConfig) -> str:
    """Returns the name of the cell in names of layers."""
    if isinstance(config.cell, str):
        return config.cell
    return config.cell["class_name"].lower()


def recurrent_layer(
    config: Seq2SeqConfig, side: SideConfig, units: int, name: str, dtype: Any
) -> keras.layers.RNN:
    """Makes a recurrent layer that returns its sequence and its states."""
    options: dict[str, Any] = {
        "units": units,
        "return_sequences": True,
        "return_state": True,
        "name": name,
        "dtype": dtype,
    }
    if isinstance(config.cell, dict):
        pattern = keras.saving.deserialize_keras_object(config.cell)
        layer = type(pattern).from_config({**pattern.get_config(), **options})
    else:
        options |= {
            "kernel_initializer": initializer(config, "kernel_initializer"),
            "recurrent_initializer": initializer(config, "recurrent_initializer"),
            "dropout": side.input_dropout,
            "recurrent_dropout": side.recurrent_dropout,
        }
        if config.forget_bias is not None:
            options["bias_initializer"] = ForgetBias(config.forget_bias)
            options["unit_forget_bias"] = False
        makers = {
            "lstm": FusedLSTM if config.fused else keras.layers.LSTM,
            "gru": FusedGRU if config.fused else keras.layers.GRU,
            "simple_rnn": keras.layers.SimpleRNN,
            "layer_norm_lstm": LayerNormLSTM,
            "layer_norm_gru": LayerNormGRU,
        }
        layer = makers[config.cell](**options)
    # Keras gives all cells one name, and a one-step model has several cells.
    layer.cell.name = f"{name}_cell"
    return layer


def state_sizes(layer: keras.layers.RNN) -> list[int]:
    """Returns the widths of a recurrent layer's states."""
    sizes = layer.cell.state_size
    return list(sizes) if isinstance(sizes, list | tuple) else [sizes]


def state_names(layer: keras.layers.RNN) -> list[str]:
    """Returns the usual names of a recurrent layer's states: h, then c."""
    return ["h", "c", *map(str, range(2, len(state_sizes(layer))))][
        : len(state_sizes(layer))
    ]


def attention_layer(config: Seq2SeqConfig, name: str, dtype: Any) -> Attention | None:
    """Makes the attention of a config, or None."""
    if config.attention is None:
        return None
    if isinstance(config.attention, dict):
        pattern = keras.saving.deserialize_keras_object(config.attention)
        # A pattern, like a cell: only its name and dtype are those of the model.
        options = {"name": name, "dtype": dtype}
        return type(pattern).from_config({**pattern.get_config(), **options})
    options = {"name": name, "dtype": dtype}
    if config.attention != "fixed":
        options["kernel_initializer"] = initializer(config, "kernel_initializer")
    units = config.attention_units
    width = config.decoder.units if units is None else units
    heads, positions = config.attention_heads, config.attention_positions
    makers: dict[str, Callable[[], Attention]] = {
        "dot": lambda: DotAttention(units=units, **options),
        "scaled_dot": lambda: DotAttention(scaled=True, units=units, **options),
        "general": lambda: GeneralAttention(**options),
        "additive": lambda: AdditiveAttention(width, **options),
        "multi_head_dot": lambda: MultiHeadDotAttention(
            width, 8 if heads is None else heads, **options
        ),
        "location": lambda: LocationAttention(
            100 if positions is None else positions, **options
        ),
        "location_sensitive": lambda: LocationSensitiveAttention(width, **options),
        "coverage": lambda: CoverageAttention(width, **options),
        "fixed": lambda: FixedAttention(**options),
    }
    return makers[config.attention]()


def input_layers(
    config: Seq2SeqConfig,
    side: SideConfig,
    name: str,
    dtype: Any,
    shared: dict[str, keras.layers.Layer] | None = None,
) -> list[keras.layers.Layer]:
    """Makes the layers between ids and recurrent layers.

    These are a one-hot layer or an embedding, dropout and a stabilizer. A layer that is
    in `shared`, by its name, is used instead of a new one.
    """
    shared = shared or {}
    layers: list[keras.layers.Layer] = []
    if side.representation == "one_hot":
        layers.append(OneHot(side.vocab_size, name=f"{name}_one_hot", dtype=dtype))
    elif side.representation == "embedding":
        tied = config.weight_tying
        own = "shared" if tied in ("source_target", "all") else name
        projects = tied == "all" or (tied == "target_softmax" and name == "decoder")
        maker = keras.layers.ReversibleEmbedding if projects else keras.layers.Embedding
        layers.append(
            shared.get(f"{own}_embedding")
            or maker(
                side.vocab_size,
                side.input_dim,
                embeddings_initializer=initializer(config, "embedding_initializer"),
                name=f"{own}_embedding",
                dtype=dtype,
            )
        )
        if side.embedding_dropout:
            layers.append(
                keras.layers.Dropout(
                    side.embedding_dropout,
                    name=f"{name}_embedding_dropout",
                    dtype=dtype,
                )
            )
    return layers + stabilizers(config, name, dtype, shared)


def stabilizers(
    config: Seq2SeqConfig,
    position: str,
    dtype: Any,
    shared: dict[str, keras.layers.Layer],
) -> list[keras.layers.Layer]:
    """Makes the stabilizer at a position, or returns the shared one."""
    if config.stabilizer == "none":
        return []
    own = "shared" if config.stabilizer == "shared" else position
    name = f"{own}_stabilizer"
    return [shared.get(name) or Stabilizer(name=name, dtype=dtype)]


class Stack:
    """Residual connections and dropout between the recurrent layers of a side."""

    def __init__(self, side: SideConfig, name: str, dtype: Any) -> None:
        self.additions: dict[int, keras.layers.Layer] = {}
        self.dropouts: dict[int, keras.layers.Layer] = {}
        for index in range(side.layers):
            if side.residual_from is not None and index + 1 >= side.residual_from:
                self.additions[index] = keras.layers.Add(
                    name=f"{name}_residual_{index + 1}", dtype=dtype
                )
            if side.dropout and index + 1 < side.layers:
                self.dropouts[index] = keras.layers.Dropout(
                    side.dropout, name=f"{name}_dropout_{index + 1}", dtype=dtype
                )

    def after(self, index: int, inputs: Any, outputs: Any, call: Any = None) -> Any:
        """Returns the inputs of the layer above a recurrent layer.

        Args:
            index: Index of the recurrent layer, from 0.
            inputs: Its inputs.
            outputs: Its outputs.
            call: Calls a layer on its inputs. Default: `layer(inputs)`.
        """
        call = call or (lambda layer, x: layer(x))
        if index in self.additions:
            outputs = call(self.additions[index], [outputs, inputs])
        if index in self.dropouts:
            outputs = call(self.dropouts[index], outputs)
        return outputs


def as_config(config: Seq2SeqConfig | None, settings: dict[str, Any]) -> Seq2SeqConfig:
    """Returns a config, given as such or as keyword arguments."""
    if config is None:
        return Seq2SeqConfig.from_dict(settings)
    if not isinstance(config, Seq2SeqConfig):
        raise TypeError(
            "`config` must be a kseq.Seq2SeqConfig; give single settings as keyword "
            f"arguments. Received: {config!r}."
        )
    if settings:
        raise ValueError(
            "Give a config or keyword arguments, not both: use config.replace("
            f"{', '.join(f'{key}=...' for key in settings)}) instead."
        )
    return config
