"""Every architectural choice of a model, in one validated, serializable place."""

import dataclasses
import json
import numbers
from collections.abc import Mapping
from typing import Any

from kseq.config.checks import nearest_name

FORMAT_VERSION = 1

CELLS = ("lstm", "gru", "simple_rnn", "layer_norm_lstm", "layer_norm_gru")
# The cells with layer normalization: their names, and the classes of their layers.
_NORMALIZED = ("layer_norm_lstm", "layer_norm_gru", "LayerNormLSTM", "LayerNormGRU")
# float32 ends at 3.4e38, and an interval [-s, s] is 2 s wide.
_LARGEST = 1e38
DIRECTIONS = ("forward", "bidirectional_first", "bidirectional")
SOURCE_REPRESENTATIONS = ("embedding", "one_hot", "features")
TARGET_REPRESENTATIONS = ("embedding", "one_hot")
# The attention kinds by name, and which of the settings of attention each heeds.
ATTENTIONS: dict[str, tuple[str, ...]] = {
    "dot": ("attention_units",),
    "scaled_dot": ("attention_units",),
    "general": (),
    "additive": ("attention_units",),
    "multi_head_dot": ("attention_units", "attention_heads"),
    "location": ("attention_positions",),
    "location_sensitive": ("attention_units",),
    "coverage": ("attention_units",),
    "fixed": (),
}
WEIGHT_TYINGS = ("none", "target_softmax", "source_target", "all")
STABILIZERS = ("none", "shared", "separate")
DECODER_INITS = ("last", "mean", "zeros")
DECODER_INIT_LAYERS = ("all", "first")
DECODER_INIT_PROJECTIONS = ("auto", "dense")
INITIALIZERS = ("kernel_initializer", "recurrent_initializer", "embedding_initializer")


@dataclasses.dataclass(frozen=True)
class Side:
    """The settings of the encoder or of the decoder, every default resolved."""

    vocab_size: int  # 0 where the input is vectors
    representation: str
    input_dim: int
    units: int
    layers: int
    dropout: float
    recurrent_dropout: float
    embedding_dropout: float
    residual_from: int | None
    input_dropout: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig:
    """Every architectural choice of a sequence-to-sequence model.

    An instance is immutable and valid: all checks run when it is made. Settings that
    stand for both sides (`units`, `layers`, ...) are overridden by the same setting
    with `encoder_` or `decoder_` (or `source_`, `target_`) before it.

    Args:
        source_vocab_size: Number of source token ids, the special ones `<pad>` 0,
            `<unk>` 1, `<s>` 2 and `</s>` 3 included. Left out for `"features"`.
        target_vocab_size: Number of target token ids, special ones included.
        source_representation: `"embedding"` (default), `"one_hot"` (ids in, one-hot
            vectors made inside the graph) or `"features"` (float vectors in).
        target_representation: `"embedding"` or `"one_hot"`. Default: the same as the
            source's, and `"embedding"` where that is `"features"`.
        source_feature_dim: Width of the vectors of a `"features"` source.
        embedding_dim: Width of both embeddings. Default 256.
        source_embedding_dim: Width of the source embedding alone.
        target_embedding_dim: Width of the target embedding alone.
        reverse_source: Feed the real tokens of each row in reverse; a final `</s>`
            stays last and padding stays on the right (Sutskever et al., 2014).
            Default False.
        cell: `"lstm"` (default), `"gru"`, `"simple_rnn"`, `"layer_norm_lstm"`,
            `"layer_norm_gru"` (Ba et al., 2016), or a recurrent Keras layer
            such as `keras.layers.GRU(1, reset_after=False)`, taken as a pattern:
            its own settings hold, its units are replaced.
        fused: Make LSTMs and GRUs by kseq's `FusedLSTM` and `FusedGRU`, which compute
            what Keras's layers do, in less time on a CPU. Default True; False makes
            Keras's own.
        units: Width of every recurrent layer. Default 256. Of a bidirectional layer it
            is the whole output width, half for each direction (as in Sockeye, unlike
            `keras.layers.Bidirectional`).
        encoder_units: Width of the encoder's layers alone.
        decoder_units: Width of the decoder's layers alone.
        layers: Recurrent layers on each side. Default 1.
        encoder_layers: Recurrent layers of the encoder alone.
        decoder_layers: Recurrent layers of the decoder alone.
        encoder_direction: `"forward"` (default), `"bidirectional_first"` (the first
            layer in both directions, those above forward) or `"bidirectional"`.
        encoder_residual_from: Number of the first encoder layer, counted from 1, whose
            input is added to its output; 2 or more. Default None: no layer's.
        decoder_residual_from: The same for the decoder.
        embedding_dropout: Dropout rate on both embeddings. Default 0.
        source_embedding_dropout: Dropout rate on the source embedding alone.
        target_embedding_dropout: Dropout rate on the target embedding alone.
        dropout: Dropout rate between recurrent layers. Default 0.
        encoder_dropout: Dropout rate between the encoder's layers alone.
        decoder_dropout: Dropout rate between the decoder's layers alone.
        recurrent_dropout: Dropout rate on the recurrent state, one mask for all steps
            of a sequence (Gal and Ghahramani, 2016). Default 0.
        encoder_recurrent_dropout: The same for the encoder alone.
        decoder_recurrent_dropout: The same for the decoder alone.
        input_dropout: Dropout rate on the input of every recurrent layer, one mask for
            all steps of a sequence (Gal and Ghahramani, 2016). Default 0.
        encoder_input_dropout: The same for the encoder alone.
        decoder_input_dropout: The same for the decoder alone.
        hidden_dropout: Dropout rate on the decoder's last hidden layer, before the
            output (and before it is fed to the next step). Default 0.
        attention: Where the decoder looks in the source: `"dot"`, `"scaled_dot"`,
            `"general"`, `"additive"`, `"multi_head_dot"`, `"location"`,
            `"location_sensitive"`, `"coverage"`, `"fixed"`, or a layer such as
            `kseq.layers.AdditiveAttention(64)`. The context c goes with the top
            recurrent layer's output h through an attentional hidden layer,
            tanh(W [h; c]), to the output (Luong et al., 2015). Default None: no
            attention.
        attention_units: Width that query and memory are projected to. Default: for
            `"dot"` and `"scaled_dot"` no projection, which needs encoder and decoder of
            one width; for the other kinds `decoder_units`.
        attention_heads: Heads of `"multi_head_dot"`. Default 8.
        attention_positions: Source positions `"location"` can look at. Default 100.
        attention_output_units: Width of the attentional hidden layer. Default: the
            decoder's units.
        input_feeding: Feed the attentional hidden layer of the step before to the first
            recurrent layer, beside the token (Luong et al., 2015). The decoder then
            trains step by step, not on all target steps at once. Default False.
        context_gate: Weigh h and c in the attentional hidden layer by a learned gate
            (Tu et al., 2017). Default False.
        attention_in_upper_layers: Attend with the first decoder layer's output and feed
            the context to all the layers above, beside the output of the layer below.
            Default False: attend with the top layer's.
        attention_previous_word: Put the input token's vector into the query too.
            Default False.
        weight_tying: Which matrices are one: `"none"` (default), `"target_softmax"`
            (target embedding and output projection, which then has no bias),
            `"source_target"` (both embeddings) or `"all"` (Press and Wolf, 2017).
        stabilizer: Multiply the encoder's input, the decoder's input and what enters
            the output by a learned positive number: `"none"` (default), `"shared"`, one
            number for the three as in CNTK's grapheme-to-phoneme example, or
            `"separate"` ones (Ghahremani and Droppo, 2016).
        decoder_init: Where the decoder's initial state comes from: `"last"` (default),
            the encoder's final state, of each direction its own; `"mean"`, the mean of
            the memory over the real steps; `"zeros"`, which keeps the source from a
            decoder that has no other way to it. With as many layers on both sides
            `"last"` goes layer by layer. With unequal numbers of layers, or where
            `decoder_init_layers` is `"first"`, it takes the state of the encoder's top
            layer.
        decoder_init_projection: `"auto"` (default) passes the state on unchanged where
            the widths agree and through a dense tanh layer, one for each decoder layer
            and state, where they do not; `"dense"` always uses the dense layers.
        decoder_init_layers: Decoder layers that start from that state: `"all"`
            (default), or only the `"first"`, as in CNTK's grapheme-to-phoneme example.
            The others start from zeros.
        kernel_initializer: Initializer of all kernels: a Keras name, config or object.
            Default `"glorot_uniform"`.
        recurrent_initializer: Initializer of the recurrent kernels. Default
            `"orthogonal"`.
        embedding_initializer: Initializer of the embeddings. Default `"uniform"`.
        initializer_scale: Bound `s` of the interval [-s, s] of every initializer above
            that is named `"uniform"`. Default None: Keras's 0.05.
        forget_bias: Initial bias of an LSTM's forget gate. Default None: 1.0.

    Raises:
        ValueError: Where a value is out of range, an unknown choice, or would have no
            effect; the message names the field, the value and the valid choices.
        TypeError: Where a value has the wrong type.

    Example:
        >>> from kseq import Seq2SeqConfig
        >>> config = Seq2SeqConfig(source_vocab_size=11, target_vocab_size=13, units=8)
        >>> config.encoder.units, config.decoder.units
        (8, 8)
        >>> Seq2SeqConfig.from_json(config.to_json()) == config
        True
        >>> config.replace(decoder_units=16).decoder.units
        16
    """

    source_vocab_size: int | None = None
    target_vocab_size: int
    source_representation: str = "embedding"
    target_representation: str | None = None
    source_feature_dim: int | None = None
    embedding_dim: int = 256
    source_embedding_dim: int | None = None
    target_embedding_dim: int | None = None
    reverse_source: bool = False
    cell: Any = "lstm"
    fused: bool = True
    units: int = 256
    encoder_units: int | None = None
    decoder_units: int | None = None
    layers: int = 1
    encoder_layers: int | None = None
    decoder_layers: int | None = None
    encoder_direction: str = "forward"
    encoder_residual_from: int | None = None
    decoder_residual_from: int | None = None
    embedding_dropout: float = 0.0
    source_embedding_dropout: float | None = None
    target_embedding_dropout: float | None = None
    dropout: float = 0.0
    encoder_dropout: float | None = None
    decoder_dropout: float | None = None
    recurrent_dropout: float = 0.0
    encoder_recurrent_dropout: float | None = None
    decoder_recurrent_dropout: float | None = None
    input_dropout: float = 0.0
    encoder_input_dropout: float | None = None
    decoder_input_dropout: float | None = None
    hidden_dropout: float = 0.0
    attention: Any = None
    attention_units: int | None = None
    attention_heads: int | None = None
    attention_positions: int | None = None
    attention_output_units: int | None = None
    input_feeding: bool = False
    context_gate: bool = False
    attention_in_upper_layers: bool = False
    attention_previous_word: bool = False
    weight_tying: str = "none"
    stabilizer: str = "none"
    decoder_init: str = "last"
    decoder_init_projection: str = "auto"
    decoder_init_layers: str = "all"
    kernel_initializer: Any = "glorot_uniform"
    recurrent_initializer: Any = "orthogonal"
    embedding_initializer: Any = "uniform"
    initializer_scale: float | None = None
    forget_bias: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _plain(field.name, field.type, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        self._check_choices()
        self._check_sizes()
        self._check_rates()
        self._check_pairs()
        for name in INITIALIZERS:
            _check_initializer(name, getattr(self, name))
        if isinstance(self.cell, dict):
            _check_cell(self.cell)
        if isinstance(self.attention, dict):
            self._check_attention_layer(self.attention)

    @property
    def encoder(self) -> Side:
        """The encoder's settings, with the shared ones filled in."""
        return Side(
            vocab_size=self.source_vocab_size or 0,
            representation=self.source_representation,
            input_dim=self._input_dim("source"),
            units=_first(self.encoder_units, self.units),
            layers=_first(self.encoder_layers, self.layers),
            dropout=_first(self.encoder_dropout, self.dropout),
            recurrent_dropout=_first(
                self.encoder_recurrent_dropout, self.recurrent_dropout
            ),
            embedding_dropout=_first(
                self.source_embedding_dropout, self.embedding_dropout
            ),
            residual_from=self.encoder_residual_from,
            input_dropout=_first(self.encoder_input_dropout, self.input_dropout),
        )

    @property
    def decoder(self) -> Side:
        """The decoder's settings, with the shared ones filled in."""
        return Side(
            vocab_size=self.target_vocab_size,
            representation=self._target_representation,
            input_dim=self._input_dim("target"),
            units=_first(self.decoder_units, self.units),
            layers=_first(self.decoder_layers, self.layers),
            dropout=_first(self.decoder_dropout, self.dropout),
            recurrent_dropout=_first(
                self.decoder_recurrent_dropout, self.recurrent_dropout
            ),
            embedding_dropout=_first(
                self.target_embedding_dropout, self.embedding_dropout
            ),
            residual_from=self.decoder_residual_from,
            input_dropout=_first(self.decoder_input_dropout, self.input_dropout),
        )

    @property
    def hidden_units(self) -> int:
        """The width of what enters the output: the decoder's last hidden layer."""
        return _first(self.attention_output_units, self.decoder_units, self.units)

    def is_bidirectional(self, layer: int) -> bool:
        """Whether encoder layer `layer`, counted from 0, runs in both directions."""
        return self.encoder_direction == "bidirectional" or (
            self.encoder_direction == "bidirectional_first" and layer == 0
        )

    def replace(self, **changes: Any) -> "Seq2SeqConfig":
        """Returns a copy with some fields changed, validated anew.

        Args:
            **changes: Fields and their new values.
        """
        return Seq2SeqConfig.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Returns every field, and the version of the format."""
        fields = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        return {"format_version": FORMAT_VERSION, **fields}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Seq2SeqConfig":
        """Makes a config from what `to_dict` returns, or from plain keyword arguments.

        Args:
            values: Field names and values; `format_version` may be left out.

        Raises:
            ValueError: If a field is unknown or the format is newer than this version.
        """
        if not isinstance(values, Mapping):
            raise TypeError(
                "A configuration must be a mapping of field names to values. "
                f"Received: {values!r}."
            )
        fields = dict(values)
        version = fields.pop("format_version", FORMAT_VERSION)
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise ValueError(
                f"This configuration has format version {version!r}, but this kseq "
                f"reads versions up to {FORMAT_VERSION}. Install a newer kseq."
            )
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                hint = nearest_name(name, known)
                raise ValueError(
                    f"Unknown configuration field `{name}`.{hint} "
                    f"The fields are: {', '.join(known)}."
                )
        if "target_vocab_size" not in fields:
            raise ValueError(
                "`target_vocab_size` is required: the number of target token ids, the "
                "four special ones included, `len(vocab)` of a `kseq.data.Vocabulary`."
            )
        return cls(**fields)

    def to_json(self) -> str:
        """Returns the configuration as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Seq2SeqConfig":
        """Makes a configuration from what `to_json` returns.

        Args:
            text: JSON text.
        """
        return cls.from_dict(json.loads(text))

    @property
    def _target_representation(self) -> str:
        if self.target_representation is not None:
            return self.target_representation
        source = self.source_representation
        return "embedding" if source == "features" else source

    def _input_dim(self, side: str) -> int:
        if side == "source" and self.source_representation == "features":
            return self.source_feature_dim or 0
        representation = (
            self.source_representation
            if side == "source"
            else self._target_representation
        )
        if representation == "one_hot":
            return getattr(self, f"{side}_vocab_size") or 0
        return _first(getattr(self, f"{side}_embedding_dim"), self.embedding_dim)

    def _check_choices(self) -> None:
        choices: dict[str, tuple[str, ...]] = {
            "source_representation": SOURCE_REPRESENTATIONS,
            "encoder_direction": DIRECTIONS,
            "decoder_init": DECODER_INITS,
            "decoder_init_projection": DECODER_INIT_PROJECTIONS,
            "decoder_init_layers": DECODER_INIT_LAYERS,
            "weight_tying": WEIGHT_TYINGS,
            "stabilizer": STABILIZERS,
        }
        if self.target_representation is not None:
            choices["target_representation"] = TARGET_REPRESENTATIONS
        if not isinstance(self.cell, dict):
            choices["cell"] = CELLS
        if self.attention is not None and not isinstance(self.attention, dict):
            choices["attention"] = tuple(ATTENTIONS)
        objects = {
            "cell": ", or a recurrent Keras layer",
            "attention": ", None, or a layer such as kseq.layers.DotAttention()",
        }
        for name, valid in choices.items():
            value = getattr(self, name)
            if value not in valid:
                raise ValueError(
                    f"`{name}` must be one of {', '.join(map(repr, valid))}"
                    f"{objects.get(name, '')}. Received: {value!r}."
                )

    def _check_sizes(self) -> None:
        for name in (
            "embedding_dim",
            "source_embedding_dim",
            "target_embedding_dim",
            "source_feature_dim",
            "units",
            "encoder_units",
            "decoder_units",
            "layers",
            "encoder_layers",
            "decoder_layers",
            "attention_units",
            "attention_heads",
            "attention_positions",
            "attention_output_units",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be >= 1. Received: {value}.")
        for name in ("source_vocab_size", "target_vocab_size"):
            value = getattr(self, name)
            if value is not None and value < 5:
                raise ValueError(
                    f"`{name}` must be >= 5: the four special tokens <pad>, <unk>, <s>,"
                    f" </s> and at least one other. Received: {value}."
                )
        if self.source_representation == "features":
            if self.source_vocab_size is not None:
                raise ValueError(
                    "`source_vocab_size` must be left out where source_representation="
                    f"'features'. Received: {self.source_vocab_size}. "
                    "Give `source_feature_dim`, the width of the vectors."
                )
            if self.source_feature_dim is None:
                raise ValueError(
                    "`source_feature_dim`, the width of the source's vectors, is "
                    "required where source_representation='features'."
                )
        elif self.source_vocab_size is None:
            raise ValueError(
                "`source_vocab_size` is required: the number of source token ids, the "
                "four special ones included, `len(vocab)` of a `kseq.data.Vocabulary`."
            )
        elif self.source_feature_dim is not None:
            raise ValueError(
                "`source_feature_dim` is only for source_representation='features'. "
                f"Received: {self.source_feature_dim} with "
                f"source_representation={self.source_representation!r}."
            )
        units = self.encoder.units
        if units % 2 and self.encoder_direction != "forward":
            raise ValueError(
                "`encoder_units` must be even where a layer is bidirectional, half of "
                f"it for each direction. Received: {units} with encoder_direction="
                f"{self.encoder_direction!r}."
            )
        self._check_normalized()
        for side in ("encoder", "decoder"):
            first = getattr(self, f"{side}_residual_from")
            layers = getattr(self, side).layers
            if first is not None and not 2 <= first <= layers:
                raise ValueError(
                    f"`{side}_residual_from` must be between 2 and the number of "
                    f"layers of the {side}, {layers}. Received: {first}."
                )

    def _check_normalized(self) -> None:
        """Refuses a layer that would normalize a single value."""
        name = self.cell if isinstance(self.cell, str) else self.cell.get("class_name")
        if name not in _NORMALIZED:
            return
        forward = self.encoder_direction == "forward"
        for side, least in (("encoder", 2 if forward else 4), ("decoder", 2)):
            units = getattr(self, side).units
            if units < least:
                raise ValueError(
                    f"`{side}_units` must be >= {least} with cell={name!r}"
                    f"{', 2 for each direction' if least == 4 else ''}: normalizing a "
                    f"single value always gives 0. Received: {units}."
                )

    def _check_rates(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            is_rate = field.name.endswith("dropout") and value is not None
            if is_rate and not 0 <= value < 1:
                raise ValueError(
                    f"`{field.name}` must be in [0, 1). Received: {value}."
                )
        scale = self.initializer_scale
        if scale is not None and not 0 < scale <= _LARGEST:
            raise ValueError(
                f"`initializer_scale` must be > 0, finite and at most {_LARGEST}, "
                f"since weights are float32. Received: {scale}."
            )
        bias = self.forget_bias
        if bias is not None and not abs(bias) <= _LARGEST:
            raise ValueError(
                f"`forget_bias` must be finite and at most {_LARGEST} in size, since "
                f"weights are float32. Received: {bias}."
            )

    def _check_pairs(self) -> None:
        """Refuses settings that would have no effect beside the others."""
        sides = {"encoder": self.encoder, "decoder": self.decoder}
        useless = [name for name, side in sides.items() if side.layers == 1]
        for name in useless:
            if getattr(self, f"{name}_dropout"):
                raise ValueError(
                    f"`{name}_dropout` acts between layers, but the {name} has one. "
                    f"Received: {getattr(self, f'{name}_dropout')}. Set more "
                    f"`{name}_layers`, or `recurrent_dropout` or `embedding_dropout`."
                )
        if self.dropout and len(useless) == len(sides):
            raise ValueError(
                "`dropout` acts between layers, but encoder and decoder have one each. "
                f"Received: {self.dropout}. Set more `layers`, or `recurrent_dropout` "
                "or `embedding_dropout`."
            )
        embedded = {
            "source": self.source_representation == "embedding",
            "target": self._target_representation == "embedding",
        }
        for side, is_embedded in embedded.items():
            for name in (f"{side}_embedding_dropout", f"{side}_embedding_dim"):
                if getattr(self, name) and not is_embedded:
                    raise ValueError(
                        f"`{name}` needs {side}_representation='embedding'. Received: "
                        f"{getattr(self, name)} without a {side} embedding."
                    )
        for name in ("embedding_dim", "embedding_dropout", "embedding_initializer"):
            value = getattr(self, name)
            if value != _default(name) and not any(embedded.values()):
                raise ValueError(
                    f"`{name}` needs an embedding on one side at least. "
                    f"Received: {value!r} without one."
                )
        if self.decoder_init == "zeros":
            for name in ("decoder_init_projection", "decoder_init_layers"):
                if getattr(self, name) != _default(name):
                    raise ValueError(
                        f"`{name}` has nothing to act on where decoder_init='zeros'. "
                        f"Received: {getattr(self, name)!r}."
                    )
        if self.decoder_init_layers == "first" and self.decoder.layers == 1:
            raise ValueError(
                "`decoder_init_layers` is 'first', but the decoder has one layer only. "
                "Use 'all'."
            )
        self._check_attention_settings()
        self._check_weight_tying()
        if self.forget_bias is not None and self.cell not in (
            "lstm",
            "layer_norm_lstm",
        ):
            raise ValueError(
                "`forget_bias` is only for cell='lstm' and cell='layer_norm_lstm'. "
                f"Received: {self.forget_bias} with cell={self.cell!r}."
            )
        if not self.fused and self.cell not in ("lstm", "gru"):
            raise ValueError(
                "`fused` is only for cell='lstm' and cell='gru'; of the others there "
                f"is no fused one. Received: {self.fused} with cell={self.cell!r}."
            )
        acting = {"kernel_initializer"}
        if isinstance(self.cell, str):
            acting.add("recurrent_initializer")
        if any(embedded.values()):
            acting.add("embedding_initializer")
        initializers = [getattr(self, name) for name in sorted(acting)]
        if self.initializer_scale is not None and "uniform" not in initializers:
            raise ValueError(
                "`initializer_scale` acts on initializers named 'uniform'; there is "
                f"none among {initializers}. Received: {self.initializer_scale}."
            )
        if isinstance(self.cell, dict):
            for name in (
                "recurrent_initializer",
                "recurrent_dropout",
                "encoder_recurrent_dropout",
                "decoder_recurrent_dropout",
                "input_dropout",
                "encoder_input_dropout",
                "decoder_input_dropout",
            ):
                value = getattr(self, name)
                if value != _default(name):
                    raise ValueError(
                        f"`{name}` must be set on the layer given as `cell` itself. "
                        f"Received: {value!r} beside that layer."
                    )

    def _check_attention_settings(self) -> None:
        """Refuses settings of attention that are in vain or do not go together."""
        kind = self.attention
        heeded = ATTENTIONS.get(kind, ()) if isinstance(kind, str) else ()
        for name in ("attention_units", "attention_heads", "attention_positions"):
            if getattr(self, name) is not None and name not in heeded:
                kinds = [repr(k) for k, names in ATTENTIONS.items() if name in names]
                raise ValueError(
                    f"`{name}` is only for attention={' or '.join(kinds)} (set it on a "
                    "layer given as `attention` itself). Received: "
                    f"{getattr(self, name)} with attention={kind!r}."
                )
        for name in (
            "attention_output_units",
            "input_feeding",
            "context_gate",
            "attention_in_upper_layers",
            "attention_previous_word",
        ):
            if getattr(self, name) and kind is None:
                raise ValueError(
                    f"`{name}` needs an attention. Received: {getattr(self, name)} "
                    "with attention=None."
                )
        decoder = self.decoder
        if self.attention_in_upper_layers and decoder.layers == 1:
            raise ValueError(
                "`attention_in_upper_layers` needs `decoder_layers` >= 2. Received: 1."
            )
        if kind == "multi_head_dot":
            units = _first(self.attention_units, decoder.units)
            heads = _first(self.attention_heads, 8)
            if units % heads:
                raise ValueError(
                    "`attention_units` (by default the decoder's units) must be a "
                    f"multiple of `attention_heads`. Received: {units} and {heads}."
                )
        if kind in ("dot", "scaled_dot") and self.attention_units is None:
            self._check_dot_widths(repr(kind), "`attention_units`")

    def _check_dot_widths(self, kind: str, setting: str) -> None:
        """Checks that the query and the memory of a dot product have the same width."""
        query = self.decoder.units
        if self.attention_previous_word:
            query += self.decoder.input_dim
        if query != self.encoder.units:
            raise ValueError(
                f"attention={kind} needs a query as wide as the encoder's "
                f"output. Received: widths {query} and {self.encoder.units}. Set "
                f"{setting} to project both, or take 'general'."
            )

    def _check_attention_layer(self, attention: dict[str, Any]) -> None:
        """Checks a serialized attention layer."""
        from kseq.layers import Attention, DotAttention

        wanted = "`attention` must be a kseq.layers.Attention layer or its config."
        layer = _deserialize(attention, wanted)
        if not isinstance(layer, Attention):
            raise ValueError(f"{wanted} Received: {attention!r}.")
        if isinstance(layer, DotAttention) and layer.units is None:
            self._check_dot_widths(type(layer).__name__, "its `units`")

    def _check_weight_tying(self) -> None:
        tying = self.weight_tying
        wanted = []
        if tying in ("target_softmax", "all"):
            wanted += [
                ("target_representation", self._target_representation, "embedding"),
                (
                    "target_embedding_dim",
                    self._input_dim("target"),
                    self.hidden_units,
                ),
            ]
        if tying in ("source_target", "all"):
            wanted += [
                ("source_representation", self.source_representation, "embedding"),
                ("target_representation", self._target_representation, "embedding"),
                ("source_vocab_size", self.source_vocab_size, self.target_vocab_size),
                (
                    "source_embedding_dim",
                    self._input_dim("source"),
                    self._input_dim("target"),
                ),
            ]
        for name, value, needed in wanted:
            if value != needed:
                raise ValueError(
                    f"weight_tying={tying!r} needs `{name}` {needed!r}, so that the "
                    f"tied matrices have one shape. Received: {value!r}."
                )


def _default(name: str) -> Any:
    return Seq2SeqConfig.__dataclass_fields__[name].default


def _check_initializer(name: str, value: Any) -> None:
    # Keras takes seconds to import; the usual names need no such check.
    if value in ("glorot_uniform", "orthogonal", "uniform"):
        return
    from keras import initializers

    try:
        made = initializers.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{name}` must be the name, config or object of a Keras initializer, such "
            f"as 'glorot_uniform', 'uniform' or 'orthogonal'. Received: {value!r}."
        ) from error
    try:
        made((5, 7))
    except Exception as error:  # an initializer may raise anything
        raise ValueError(
            f"`{name}` must be an initializer of matrices of any size, such as "
            f"'glorot_uniform', 'uniform' or 'orthogonal'. Received: {value!r}."
        ) from error


def _deserialize(layer: dict[str, Any], wanted: str) -> Any:
    """Returns a layer from its config, or raises an error that begins with `wanted`."""
    from keras import saving

    try:
        return saving.deserialize_keras_object(layer)
    except Exception as error:  # a user's own class may raise anything
        raise ValueError(
            f"{wanted} Received: {layer!r}, which Keras cannot deserialize. "
            "A class of your own must be registered and imported first."
        ) from error


def _check_cell(cell: dict[str, Any]) -> None:
    """Checks a serialized recurrent layer, and that it can be a pattern for others."""
    from keras import layers

    wanted = "`cell` must be a recurrent Keras layer with `units`, or its config."
    layer = _deserialize(cell, wanted)
    if not isinstance(layer, layers.RNN) or "units" not in layer.get_config():
        raise ValueError(f"{wanted} Received: {cell!r}.")
    for setting in ("go_backwards", "stateful", "unroll"):
        if getattr(layer, setting):
            raise ValueError(
                f"`cell` must be a layer with {setting}=False. Received: "
                f"{type(layer).__name__} with {setting}=True."
            )


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _plain(name: str, kind: Any, value: Any) -> Any:
    """Checks a field's type; returns it as a plain Python number, string or dict."""
    kinds = str(kind) if not isinstance(kind, type) else kind.__name__
    if value is None and "None" in kinds:
        return None
    if kinds.startswith("bool"):
        if not isinstance(value, bool):
            raise TypeError(f"`{name}` must be True or False. Received: {value!r}.")
        return value
    if kinds.startswith("int"):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(f"`{name}` must be an integer. Received: {value!r}.")
        return int(value)
    if kinds.startswith("float"):
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError(f"`{name}` must be a number. Received: {value!r}.")
        return float(value)
    if kinds.startswith("str"):
        if not isinstance(value, str):
            raise TypeError(f"`{name}` must be a string. Received: {value!r}.")
        return value
    if isinstance(value, str | dict):
        return value
    if name == "cell" and not (hasattr(value, "get_config") and hasattr(value, "cell")):
        raise TypeError(
            "`cell` must be a name or a recurrent Keras layer such as "
            f"keras.layers.GRU(1). Received: {value!r}."
        )
    if value is None and name == "attention":
        return None
    if not hasattr(value, "get_config") or isinstance(value, type):
        raise TypeError(
            f"`{name}` must be a name, a config or a Keras object. Received: {value!r}."
        )
    from keras.saving import serialize_keras_object  # seconds; only for objects

    return serialize_keras_object(value)
