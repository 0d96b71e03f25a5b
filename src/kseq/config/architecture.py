"""The architecture of a model, as one validated and serializable dataclass."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, Literal

from kseq.config import keras_objects
from kseq.config.fields import check_fields, check_names, declare, field

FORMAT_VERSION = 1

CELLS = ("lstm", "gru", "simple_rnn", "layer_norm_lstm", "layer_norm_gru")
# The classes of the layers with layer normalization have the same limits.
_LAYER_NORM = ("layer_norm_lstm", "layer_norm_gru", "LayerNormLSTM", "LayerNormGRU")
ATTENTIONS = (
    "dot",
    "scaled_dot",
    "general",
    "additive",
    "multi_head_dot",
    "location",
    "location_sensitive",
    "coverage",
    "fixed",
)
# float32 ends at 3.4e38, and an interval [-s, s] is 2 s wide.
_LARGEST = 1e38

_size = functools.partial(field, minimum=1)
_rate = functools.partial(field, minimum=0, below=1)
_number_of_ids = functools.partial(
    declare,
    minimum=5,
    note="the number of token ids, including the four special ones <pad>, <unk>, <s>, "
    "</s>: `len(vocab)` of a `kseq.data.Vocabulary`",
)
_EMBEDDING_OR_ONE_HOT = {"source_representation": ("embedding", "one_hot")}
_NAMED_CELL = {"cell": CELLS}
_FROM_ENCODER = {"decoder_init": ("last", "mean")}


@dataclasses.dataclass(frozen=True)
class SideConfig:
    """The settings of the encoder or of the decoder, without defaults to fill in."""

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
    """The architecture of a sequence-to-sequence model.

    An instance is immutable and valid: the constructor checks all fields. Some settings
    apply to both sides, such as `units` and `layers`. The same setting with the prefix
    `encoder_` or `decoder_` (`source_` or `target_` for embeddings) overrides it for
    one side.

    Args:
        source_vocab_size: Number of source token ids, including the special ones
            `<pad>` 0, `<unk>` 1, `<s>` 2 and `</s>` 3. Only for sources of ids.
        target_vocab_size: Number of target token ids, including the special ones.
        source_representation: `"embedding"` (default); `"one_hot"`, for which the model
            converts ids to one-hot vectors; or `"features"`, sources of float vectors.
        target_representation: `"embedding"` or `"one_hot"`. Default: that of the
            source; `"embedding"` for `"features"`.
        source_feature_dim: Width of the vectors of a `"features"` source.
        embedding_dim: Width of both embeddings. Default: 256.
        source_embedding_dim: Width of the source embedding.
        target_embedding_dim: Width of the target embedding.
        reverse_source: Reverse the tokens of each source; a final `</s>` stays last,
            and padding stays on the right (Sutskever et al., 2014). Default: False.
        cell: `"lstm"` (default), `"gru"`, `"simple_rnn"`, `"layer_norm_lstm"`,
            `"layer_norm_gru"` (Ba et al., 2016), or a recurrent Keras layer such as
            `keras.layers.GRU(1, reset_after=False)`. The model copies the settings of
            such a layer, except its units.
        fused: Use `FusedLSTM` and `FusedGRU` of kseq, which have the same results as
            Keras's layers and are faster on a CPU; False uses Keras's. Default: True.
        units: Width of every recurrent layer. Default: 256. For a bidirectional layer
            it is the whole output width, half for each direction (as in Sockeye, unlike
            `keras.layers.Bidirectional`).
        encoder_units: Width of the encoder's layers.
        decoder_units: Width of the decoder's layers.
        layers: Number of recurrent layers on each side. Default: 1.
        encoder_layers: Number of recurrent layers of the encoder.
        decoder_layers: Number of recurrent layers of the decoder.
        encoder_direction: `"forward"` (default), `"bidirectional"`, or
            `"bidirectional_first"`, where only the first layer runs in both directions.
        encoder_residual_from: Number of the first encoder layer with a residual
            connection, from 1; 2 or more. Default: no residual connections.
        decoder_residual_from: The same for the decoder.
        embedding_dropout: Dropout rate of both embeddings. Default: 0.
        source_embedding_dropout: Dropout rate of the source embedding.
        target_embedding_dropout: Dropout rate of the target embedding.
        dropout: Dropout rate between recurrent layers. Default: 0.
        encoder_dropout: Dropout rate between the encoder's layers.
        decoder_dropout: Dropout rate between the decoder's layers.
        recurrent_dropout: Dropout rate of the recurrent state, with one mask for all
            steps of a sequence (Gal and Ghahramani, 2016). Default: 0.
        encoder_recurrent_dropout: The same for the encoder.
        decoder_recurrent_dropout: The same for the decoder.
        input_dropout: Dropout rate of the input of every recurrent layer, with one mask
            for all steps of a sequence (Gal and Ghahramani, 2016). Default: 0.
        encoder_input_dropout: The same for the encoder.
        decoder_input_dropout: The same for the decoder.
        hidden_dropout: Dropout rate of the decoder's last hidden layer, before the
            output layer and before input feeding. Default: 0.
        attention: Attention of the decoder over the source: `"dot"`, `"scaled_dot"`,
            `"general"`, `"additive"`, `"multi_head_dot"`, `"location"`,
            `"location_sensitive"`, `"coverage"`, `"fixed"`, or a layer such as
            `kseq.layers.AdditiveAttention(64)`. The attentional hidden layer
            tanh(W [h; c]) combines the context c and the output h of the top recurrent
            layer (Luong et al., 2015). Default: no attention.
        attention_units: Width of the projections of query and memory. Default: no
            projection for `"dot"` and `"scaled_dot"`, which need an encoder and a
            decoder of equal width; `decoder_units` for the other kinds.
        attention_heads: Number of heads of `"multi_head_dot"`. Default: 8.
        attention_positions: Number of source positions of `"location"`. Default: 100.
        attention_output_units: Width of the attentional hidden layer. Default: the
            decoder's units.
        input_feeding: Feed the attentional hidden layer of the previous step to the
            first recurrent layer, together with the token (Luong et al., 2015). The
            decoder then trains step by step. Default: False.
        context_gate: Weight h and c in the attentional hidden layer with a learned gate
            (Tu et al., 2017). Default: False.
        attention_in_upper_layers: Use the output of the first decoder layer as the
            query, and feed the context to all layers above it. Default: False, the
            output of the top layer is the query.
        attention_previous_word: Add the vector of the input token to the query.
            Default: False.
        weight_tying: Matrices that are shared: `"none"` (default), `"target_softmax"`
            (target embedding and output layer, which then has no bias),
            `"source_target"` (both embeddings) or `"all"` (Press and Wolf, 2017).
        stabilizer: Multiply the inputs of the encoder, the decoder and the output layer
            by a learned positive number: `"none"` (default), `"shared"` (one number, as
            in CNTK's grapheme-to-phoneme example) or `"separate"` (three numbers;
            Ghahremani and Droppo, 2016).
        decoder_init: Initial state of the decoder: `"last"` (default), the final state
            of the encoder, of each direction; `"mean"`, the mean of the memory over the
            tokens; or `"zeros"`. With `"last"`, each decoder layer starts from the
            encoder layer of the same number. If the numbers of layers differ, or with
            `decoder_init_layers` `"first"`, it starts from the top encoder layer.
        decoder_init_projection: `"auto"` (default) copies a state of the right width
            and projects others through a dense tanh layer; `"dense"` projects all
            states. Each decoder layer and state has its own dense layer.
        decoder_init_layers: Decoder layers with that initial state: `"all"` (default),
            or `"first"`, as in CNTK's grapheme-to-phoneme example. Other layers start
            from zeros.
        kernel_initializer: Initializer of all kernels: a Keras name, config or object.
            Default: `"glorot_uniform"`.
        recurrent_initializer: Initializer of the recurrent kernels. Default:
            `"orthogonal"`.
        embedding_initializer: Initializer of the embeddings. Default: `"uniform"`.
        initializer_scale: Bound `s` of the interval [-s, s] of every initializer with
            the name `"uniform"`. Default: Keras's, 0.05.
        forget_bias: Initial bias of an LSTM's forget gate. Default: 1.0.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a value is out of range, unknown, or has no effect.

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

    source_vocab_size: int | None = dataclasses.field(
        default=None,
        metadata=_number_of_ids(needs=_EMBEDDING_OR_ONE_HOT, required=True),
    )
    target_vocab_size: int = dataclasses.field(metadata=_number_of_ids())
    source_representation: Literal["embedding", "one_hot", "features"] = "embedding"
    target_representation: Literal["embedding", "one_hot"] | None = None
    source_feature_dim: int | None = _size(
        None, needs={"source_representation": ("features",)}, required=True
    )
    embedding_dim: int = _size(256)
    source_embedding_dim: int | None = _size(None)
    target_embedding_dim: int | None = _size(None)
    reverse_source: bool = False
    cell: Any = field(
        "lstm", choices=CELLS, objects=keras_objects.CELL, attribute="cell"
    )
    fused: bool = field(True, needs={"cell": ("lstm", "gru")})
    units: int = _size(256)
    encoder_units: int | None = _size(None)
    decoder_units: int | None = _size(None)
    layers: int = _size(1)
    encoder_layers: int | None = _size(None)
    decoder_layers: int | None = _size(None)
    encoder_direction: Literal["forward", "bidirectional_first", "bidirectional"] = (
        "forward"
    )
    encoder_residual_from: int | None = None
    decoder_residual_from: int | None = None
    embedding_dropout: float = _rate(0.0)
    source_embedding_dropout: float | None = _rate(None)
    target_embedding_dropout: float | None = _rate(None)
    dropout: float = _rate(0.0)
    encoder_dropout: float | None = _rate(None)
    decoder_dropout: float | None = _rate(None)
    recurrent_dropout: float = _rate(0.0, needs=_NAMED_CELL)
    encoder_recurrent_dropout: float | None = _rate(None, needs=_NAMED_CELL)
    decoder_recurrent_dropout: float | None = _rate(None, needs=_NAMED_CELL)
    input_dropout: float = _rate(0.0, needs=_NAMED_CELL)
    encoder_input_dropout: float | None = _rate(None, needs=_NAMED_CELL)
    decoder_input_dropout: float | None = _rate(None, needs=_NAMED_CELL)
    hidden_dropout: float = _rate(0.0)
    attention: Any = field(None, choices=ATTENTIONS, objects=keras_objects.ATTENTION)
    attention_units: int | None = _size(
        None,
        needs={
            "attention": (
                "dot",
                "scaled_dot",
                "additive",
                "multi_head_dot",
                "location_sensitive",
                "coverage",
            )
        },
    )
    attention_heads: int | None = _size(None, needs={"attention": ("multi_head_dot",)})
    attention_positions: int | None = _size(None, needs={"attention": ("location",)})
    attention_output_units: int | None = _size(None, needs="attention")
    input_feeding: bool = field(False, needs="attention")
    context_gate: bool = field(False, needs="attention")
    attention_in_upper_layers: bool = field(False, needs="attention")
    attention_previous_word: bool = field(False, needs="attention")
    weight_tying: Literal["none", "target_softmax", "source_target", "all"] = "none"
    stabilizer: Literal["none", "shared", "separate"] = "none"
    decoder_init: Literal["last", "mean", "zeros"] = "last"
    decoder_init_projection: Literal["auto", "dense"] = field(
        "auto", needs=_FROM_ENCODER
    )
    decoder_init_layers: Literal["all", "first"] = field("all", needs=_FROM_ENCODER)
    kernel_initializer: Any = field("glorot_uniform", objects=keras_objects.INITIALIZER)
    recurrent_initializer: Any = field(
        "orthogonal", objects=keras_objects.INITIALIZER, needs=_NAMED_CELL
    )
    embedding_initializer: Any = field("uniform", objects=keras_objects.INITIALIZER)
    initializer_scale: float | None = field(
        None, above=0, maximum=_LARGEST, note="weights are float32"
    )
    forget_bias: float | None = field(
        None,
        minimum=-_LARGEST,
        maximum=_LARGEST,
        note="weights are float32",
        needs={"cell": ("lstm", "layer_norm_lstm")},
    )

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_layers()
        self._check_embeddings()
        self._check_initializers()
        self._check_attention()
        self._check_weight_tying()
        if isinstance(self.cell, dict):
            keras_objects.check_cell(self.cell)

    @property
    def encoder(self) -> SideConfig:
        """The encoder's settings, including the shared ones."""
        return self._side("encoder", "source")

    @property
    def decoder(self) -> SideConfig:
        """The decoder's settings, including the shared ones."""
        return self._side("decoder", "target")

    @property
    def hidden_units(self) -> int:
        """Width of the decoder's last hidden layer, the input of the output layer."""
        return self.attention_output_units or self.decoder_units or self.units

    def is_bidirectional(self, layer: int) -> bool:
        """Returns whether an encoder layer runs in both directions.

        Args:
            layer: Index of the layer, from 0.
        """
        return self.encoder_direction == "bidirectional" or (
            self.encoder_direction == "bidirectional_first" and layer == 0
        )

    def replace(self, **changes: Any) -> "Seq2SeqConfig":
        """Returns a validated copy with other values of some fields.

        Args:
            **changes: Names of fields and their new values.
        """
        return Seq2SeqConfig.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """Returns every field, and `format_version`."""
        fields = {
            each.name: getattr(self, each.name) for each in dataclasses.fields(self)
        }
        return {"format_version": FORMAT_VERSION, **fields}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Seq2SeqConfig":
        """Makes a configuration from the dict of `to_dict`, or from keyword arguments.

        Args:
            values: Names of fields and values; `format_version` is optional.

        Raises:
            ValueError: If a field is unknown or invalid, or if a newer version of kseq
                wrote the configuration.
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
        check_names(cls, fields, "field")
        if "target_vocab_size" not in fields:
            note = _number_of_ids()["limits"]["note"]
            raise ValueError(f"`target_vocab_size` is required ({note}).")
        return cls(**fields)

    def to_json(self) -> str:
        """Returns the configuration as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Seq2SeqConfig":
        """Makes a configuration from the text of `to_json`.

        Args:
            text: JSON text.
        """
        return cls.from_dict(json.loads(text))

    def _side(self, stack: str, tokens: str) -> SideConfig:
        """Returns the settings of one side.

        Args:
            stack: `"encoder"` or `"decoder"`.
            tokens: `"source"` or `"target"`.
        """

        def own(prefix: str, name: str) -> Any:
            value = getattr(self, f"{prefix}_{name}")
            return getattr(self, name) if value is None else value

        names = ("units", "layers", "dropout", "recurrent_dropout", "input_dropout")
        vocab_size = getattr(self, f"{tokens}_vocab_size") or 0
        representation = self._representation(tokens)
        input_dims = {
            "embedding": own(tokens, "embedding_dim"),
            "one_hot": vocab_size,
            "features": self.source_feature_dim or 0,
        }
        return SideConfig(
            vocab_size=vocab_size,
            representation=representation,
            input_dim=input_dims[representation],
            embedding_dropout=own(tokens, "embedding_dropout"),
            residual_from=getattr(self, f"{stack}_residual_from"),
            **{name: own(stack, name) for name in names},
        )

    def _representation(self, tokens: str) -> str:
        if tokens == "target" and self.target_representation is not None:
            return self.target_representation
        source = self.source_representation
        return "embedding" if (tokens, source) == ("target", "features") else source

    def _check_layers(self) -> None:
        """Checks the numbers of layers and their units."""
        forward = self.encoder_direction == "forward"
        units = self.encoder.units
        if units % 2 and not forward:
            raise ValueError(
                "`encoder_units` must be even where a layer is bidirectional, half of "
                f"it for each direction. Received: {units} with encoder_direction="
                f"{self.encoder_direction!r}."
            )
        cell = self.cell if isinstance(self.cell, str) else self.cell.get("class_name")
        for stack in ("encoder", "decoder"):
            side = getattr(self, stack)
            minimum = 4 if stack == "encoder" and not forward else 2
            if cell in _LAYER_NORM and side.units < minimum:
                raise ValueError(
                    f"`{stack}_units` must be an integer of at least {minimum} with "
                    f"cell={cell!r}{', 2 for each direction' if minimum == 4 else ''}: "
                    "normalizing a single value always gives 0. Received: "
                    f"{side.units}."
                )
            first = side.residual_from
            if first is not None and not 2 <= first <= side.layers:
                raise ValueError(
                    f"`{stack}_residual_from` must be between 2 and the number of "
                    f"layers of the {stack}, {side.layers}. Received: {first}."
                )
            rate = getattr(self, f"{stack}_dropout")
            if rate and side.layers == 1:
                raise ValueError(
                    f"`{stack}_dropout` acts between layers, but the {stack} has one. "
                    f"Received: {rate}. Set more `{stack}_layers`, or "
                    "`recurrent_dropout` or `embedding_dropout`."
                )
        if self.dropout and self.encoder.layers == self.decoder.layers == 1:
            raise ValueError(
                "`dropout` acts between layers, but encoder and decoder have one each. "
                f"Received: {self.dropout}. Set more `layers`, or `recurrent_dropout` "
                "or `embedding_dropout`."
            )
        for name in ("decoder_init_layers", "attention_in_upper_layers"):
            value = getattr(self, name)
            if value in ("first", True) and self.decoder.layers == 1:
                raise ValueError(
                    f"`{name}` needs `decoder_layers` >= 2. Received: {value!r} with "
                    "one layer."
                )

    def _check_embeddings(self) -> None:
        """Refuses settings of embeddings that do not exist."""
        for tokens in ("source", "target"):
            for name in (f"{tokens}_embedding_dropout", f"{tokens}_embedding_dim"):
                if getattr(self, name) and self._representation(tokens) != "embedding":
                    raise ValueError(
                        f"`{name}` needs {tokens}_representation='embedding'. "
                        f"Received: {getattr(self, name)} without a {tokens} embedding."
                    )
        if self._has_embedding():
            return
        for name in ("embedding_dim", "embedding_dropout", "embedding_initializer"):
            value = getattr(self, name)
            if value != self.__dataclass_fields__[name].default:
                raise ValueError(
                    f"`{name}` needs an embedding on at least one side. "
                    f"Received: {value!r} without one."
                )

    def _has_embedding(self) -> bool:
        return "embedding" in map(self._representation, ("source", "target"))

    def _check_initializers(self) -> None:
        """Checks the initializers, and that the scale applies to one of them."""
        # All initializers that have an effect on this model.
        used = [self.kernel_initializer]
        used += [self.recurrent_initializer] if isinstance(self.cell, str) else []
        used += [self.embedding_initializer] if self._has_embedding() else []
        if self.initializer_scale is not None and "uniform" not in used:
            raise ValueError(
                "`initializer_scale` needs an initializer named 'uniform'. Received: "
                f"{self.initializer_scale} with the initializers {used}."
            )
        for name in ("kernel", "recurrent", "embedding"):
            name = f"{name}_initializer"
            keras_objects.check_initializer(name, getattr(self, name))

    def _check_attention(self) -> None:
        """Checks the widths of the attention."""
        attention = self.attention
        if isinstance(attention, dict):
            layer = keras_objects.attention_layer(attention)
            if keras_objects.is_plain_dot(layer):
                self._check_dot_widths(type(layer).__name__, "its `units`")
        elif attention == "multi_head_dot":
            units = self.attention_units or self.decoder.units
            heads = self.attention_heads or 8
            if units % heads:
                raise ValueError(
                    "`attention_units` (by default the decoder's units) must be a "
                    f"multiple of `attention_heads`. Received: {units} and {heads}."
                )
        elif attention in ("dot", "scaled_dot") and self.attention_units is None:
            self._check_dot_widths(repr(attention), "`attention_units`")

    def _check_dot_widths(self, attention: str, setting: str) -> None:
        """Checks that the query and the memory of a dot product have the same width."""
        query = self.decoder.units
        if self.attention_previous_word:
            query += self.decoder.input_dim
        if query != self.encoder.units:
            raise ValueError(
                f"attention={attention} needs a query as wide as the encoder's "
                f"output. Received: widths {query} and {self.encoder.units}. Set "
                f"{setting} to project both, or use attention='general'."
            )

    def _check_weight_tying(self) -> None:
        """Checks that tied matrices have the same shape."""
        tying, encoder, decoder = self.weight_tying, self.encoder, self.decoder
        equal: list[tuple[str, Any, Any]] = []
        if tying in ("target_softmax", "all"):
            equal += [
                ("target_representation", decoder.representation, "embedding"),
                ("target_embedding_dim", decoder.input_dim, self.hidden_units),
            ]
        if tying in ("source_target", "all"):
            equal += [
                ("source_representation", encoder.representation, "embedding"),
                ("target_representation", decoder.representation, "embedding"),
                ("source_vocab_size", encoder.vocab_size, decoder.vocab_size),
                ("source_embedding_dim", encoder.input_dim, decoder.input_dim),
            ]
        for name, value, needed in equal:
            if value != needed:
                raise ValueError(
                    f"weight_tying={tying!r} needs `{name}` {needed!r}, because tied "
                    f"matrices have the same shape. Received: {value!r}."
                )
