"""Every architectural choice of a model, in one validated, serializable place."""

import dataclasses
import difflib
import json
import math
import numbers
from collections.abc import Mapping
from typing import Any

FORMAT_VERSION = 1

CELLS = ("lstm", "gru", "simple_rnn")
DIRECTIONS = ("forward", "bidirectional_first", "bidirectional")
SOURCE_REPRESENTATIONS = ("embedding", "one_hot", "features")
TARGET_REPRESENTATIONS = ("embedding", "one_hot")
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
        cell: `"lstm"` (default), `"gru"`, `"simple_rnn"`, or a recurrent Keras layer
            such as `keras.layers.GRU(1, reset_after=False)`, taken as a pattern:
            its own settings hold, its units are replaced.
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
        decoder_init: Where the decoder's initial state comes from: `"last"` (default),
            the encoder's final state, of each direction its own; `"mean"`, the mean of
            the memory over the real steps; `"zeros"`, which keeps the source from a
            decoder that has no other way to it. With as many layers on both
            sides `"last"` goes layer by layer, else every decoder layer starts from
            the encoder's top layer.
        decoder_init_projection: `"auto"` (default) passes the state on unchanged where
            the widths agree and through a dense tanh layer, one for each decoder layer
            and state, where they do not; `"dense"` always uses the dense layers.
        decoder_init_layers: `"all"` (default) decoder layers, or only the `"first"`,
            the others starting from zeros (as in CNTK's grapheme-to-phoneme example).
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
        )

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
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f" Did you mean `{near[0]}`?" if near else ""
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
        }
        if self.target_representation is not None:
            choices["target_representation"] = TARGET_REPRESENTATIONS
        if not isinstance(self.cell, dict):
            choices["cell"] = CELLS
        for name, valid in choices.items():
            value = getattr(self, name)
            if value not in valid:
                also = ", or a recurrent Keras layer" if name == "cell" else ""
                raise ValueError(
                    f"`{name}` must be one of {', '.join(map(repr, valid))}{also}. "
                    f"Received: {value!r}."
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
        for side in ("encoder", "decoder"):
            first = getattr(self, f"{side}_residual_from")
            layers = getattr(self, side).layers
            if first is not None and not 2 <= first <= layers:
                raise ValueError(
                    f"`{side}_residual_from` must be between 2 and the number of "
                    f"layers of the {side}, {layers}. Received: {first}."
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
        if scale is not None and not 0 < scale < math.inf:
            raise ValueError(
                f"`initializer_scale` must be > 0 and finite. Received: {scale}."
            )
        if self.forget_bias is not None and not math.isfinite(self.forget_bias):
            raise ValueError(
                f"`forget_bias` must be finite. Received: {self.forget_bias}."
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
        if self.forget_bias is not None and self.cell != "lstm":
            raise ValueError(
                "`forget_bias` is only for cell='lstm'. "
                f"Received: {self.forget_bias} with cell={self.cell!r}."
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
            ):
                value = getattr(self, name)
                if value != _default(name):
                    raise ValueError(
                        f"`{name}` must be set on the layer given as `cell` itself. "
                        f"Received: {value!r} beside that layer."
                    )


def _default(name: str) -> Any:
    return Seq2SeqConfig.__dataclass_fields__[name].default


def _check_initializer(name: str, value: Any) -> None:
    # Keras takes seconds to import; the usual names need no such check.
    if value in ("glorot_uniform", "orthogonal", "uniform"):
        return
    from keras import initializers

    try:
        initializers.get(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`{name}` must be the name, config or object of a Keras initializer, such "
            f"as 'glorot_uniform', 'uniform' or 'orthogonal'. Received: {value!r}."
        ) from error


def _check_cell(cell: dict[str, Any]) -> None:
    """Checks a serialized recurrent layer, and that it can be a pattern for others."""
    from keras import layers, saving

    wanted = "`cell` must be a recurrent Keras layer with `units`, or its config."
    try:
        layer = saving.deserialize_keras_object(cell)
    except Exception as error:  # a user's own class may raise anything
        raise ValueError(
            f"{wanted} Received: {cell!r}, which Keras cannot make a layer of; a class "
            "of your own must be registered and imported before."
        ) from error
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
    if not hasattr(value, "get_config") or isinstance(value, type):
        raise TypeError(
            f"`{name}` must be a name, a config or a Keras object. Received: {value!r}."
        )
    from keras.saving import serialize_keras_object  # seconds; only for objects

    return serialize_keras_object(value)
