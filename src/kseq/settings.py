"""The choices of a training run, validated once: its data, and how it trains."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from kseq.checks import nearest_name

__all__ = ["DataSettings", "TrainingSettings", "higher_is_better"]

# Nothing of these enters an update: they may change when a run is resumed.
MAY_DIFFER = (
    "device",
    "keep_checkpoints",
    "log_every",
    "max_checkpoints_not_improved",
    "max_epochs",
    "max_seconds",
    "max_updates",
    "min_epochs",
    "min_updates",
    "show",
    "show_every",
    "show_sources",
)

# Of these a resumed run compares the content, not the path. The data, read each time:
DATA_FILES = (
    "source",
    "target",
    "validation_source",
    "validation_target",
    "table",
    "validation_table",
    "ctf",
    "validation_ctf",
    "source_symbols",
    "target_symbols",
    "data",
    "prepared",
)
# And what is read only when a run begins.
START_FILES = (
    "source_vocab",
    "target_vocab",
    "parameters",
    "source_embeddings",
    "target_embeddings",
)

MODEL_METRICS = ("loss", "perplexity", "accuracy", "sequence_accuracy")
TEXT_METRICS = ("bleu", "chrf", "ter", "exact_match", "wer", "per")
METRICS = (*MODEL_METRICS, "free_running_perplexity", *TEXT_METRICS)
_HIGHER_IS_BETTER = ("accuracy", "sequence_accuracy", "bleu", "chrf", "exact_match")


def higher_is_better(metric: str) -> bool:
    """Returns whether a high value of a metric is a good one.

    Args:
        metric: A name in `METRICS`.

    Raises:
        ValueError: If it is unknown.

    Example:
        >>> from kseq.settings import higher_is_better
        >>> higher_is_better("bleu"), higher_is_better("wer")
        (True, False)
    """
    return _check_choice("metric", metric, METRICS) in _HIGHER_IS_BETTER


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Every choice of a training run.

    An instance is immutable and valid. An update is one step of the optimizer.

    Args:
        batch_size: Number of pairs in a batch. With `batch_type` "tokens": maximum
            number of target tokens in a batch, including padding. Default 64.
        batch_type: `"pairs"` (default) or `"tokens"`.
        buckets: Number of length buckets, chosen from the data; 0 mixes all lengths.
            Default 8, without `bucket_width`.
        bucket_width: Width in tokens of evenly spaced buckets, as in Sockeye (see
            `kseq.data.even_buckets`). Replaces `buckets`. Default: `buckets` decides.
        optimizer: `"adam"` (default), `"adamw"`, `"nadam"`, `"sgd"`, `"rmsprop"`,
            `"adagrad"` or `"adadelta"`.
        learning_rate: Learning rate. Default 0.001.
        schedule: Learning rate schedule. `"plateau"` (default) lowers the learning rate
            when the optimized metric does not improve; `"constant"`,
            `"inverse_time"`, `"inverse_sqrt"`, `"step"` and `"cosine"` depend on the
            number of updates.
        plateau_factor: Factor of the learning rate in `"plateau"`. Default 0.5.
        plateau_patience: Number of checkpoints without improvement before `"plateau"`
            lowers the learning rate. Default 2.
        half_life: Number of updates until `"inverse_time"` or `"inverse_sqrt"` has
            halved the learning rate.
        decay_steps: For `"cosine"`: number of updates until the end of the decay. For
            `"step"`: number of updates between decays.
        decay_rate: Factor of the learning rate at each decay of `"step"`.
        end_learning_rate: Learning rate at the end of `"cosine"`. Default 0.
        warmup_steps: Number of updates over which the learning rate rises linearly.
            Default 0.
        momentum: Momentum of `"sgd"` and `"rmsprop"`. Default: none.
        nesterov: Use Nesterov momentum in `"sgd"`. Default False.
        unit_gain: Weight new gradients by 1 - momentum in `"sgd"`, as CNTK does.
            Default False.
        beta_1: Decay rate of the first moment in `"adam"`, `"adamw"` and `"nadam"`.
            Default: Keras's, 0.9.
        beta_2: Decay rate of the second moment in the same optimizers. Default:
            Keras's, 0.999.
        epsilon: Epsilon of all optimizers but `"sgd"`. Default: Keras's.
        rho: Decay rate in `"rmsprop"` and `"adadelta"`. Default: Keras's.
        weight_decay: Weight decay. Default: none.
        clip_norm: Maximum global gradient norm; 0 does not clip. Default: 1, or 0 where
            another way of clipping is chosen or `gradient` is "sum".
        clip_value: Maximum absolute value of a gradient element. Default: no clipping.
        clip_per_token: Maximum absolute value of a gradient element for each target
            token of the batch, as in CNTK. Needs `gradient` "sum". Default: no
            clipping.
        gradient: Reduction of the loss over the tokens of a batch: `"mean"` (default),
            or `"sum"`, for which the learning rate is per token, as in CNTK.
        accumulation_steps: Number of batches whose gradients make one update.
            Default 1.
        label_smoothing: Share of the target distribution that is spread over the
            vocabulary, in [0, 1). Default 0.
        teacher_forcing_ratio: Probability that the decoder reads the true token, in
            [0, 1], or a schedule over the updates: `"linear:UPDATES[:END]"`,
            `"exponential:BASE[:END]"`, `"inverse_sigmoid:K[:END]"` (see
            `kseq.schedules`). Default 1.
        teacher_forcing_coin: Draw for each `"token"` (default) or each `"batch"`.
        metrics: Metrics on the validation data at each checkpoint, one or more of
            `"loss"`, `"perplexity"`, `"accuracy"` (of tokens), `"sequence_accuracy"`,
            `"free_running_perplexity"`, and of decoded texts `"bleu"`, `"chrf"`,
            `"ter"`, `"exact_match"`, `"wer"`, `"per"` (see `kseq.evaluation`).
            Default: perplexity and accuracy.
        optimized_metric: Metric that selects the best checkpoint, one of `metrics`.
            Default: the first.
        decode_pairs: Number of validation pairs to decode, from the first. Default:
            all.
        decode_beam: Beam width for decoding validation pairs; 1 is greedy search.
            Default 1.
        length_deviations: Maximum output length in standard deviations above the mean
            ratio of target to source length of the training data, here and wherever
            the model is used (see `kseq.decoding.LengthRatio`). Default: an output has
            at most 2 * source length + 10 tokens.
        validation_batch_size: Number of pairs in a validation batch. Default 256.
        checkpoint_updates: Number of updates between checkpoints. Default 1000, without
            `checkpoint_epochs`.
        checkpoint_epochs: Number of epochs between checkpoints. Replaces
            `checkpoint_updates`. Default: `checkpoint_updates` decides.
        log_every: Number of updates between progress lines in the log; 0 logs
            checkpoints only. Default 100.
        keep_checkpoints: Number of most recent checkpoints to keep, besides the best; 0
            keeps all. Default 10.
        max_checkpoints_not_improved: Number of checkpoints without improvement before
            training ends; 0 never ends it. Default 8.
        min_improvement: Minimum improvement of the optimized metric, in its own units,
            for early stopping and for `"plateau"`. The best checkpoint does not depend
            on it. Default 0.0001.
        min_epochs: Minimum number of epochs before early stopping. Default 0.
        min_updates: Minimum number of updates before early stopping. Default 0.
        max_epochs: Maximum number of epochs. Default: no limit.
        max_updates: Maximum number of updates. Default: no limit.
        max_seconds: Maximum training time in seconds, across all resumed runs. Default:
            no limit.
        show: Number of validation pairs to show with their outputs at each checkpoint.
            Default 3.
        show_sources: Further source texts to show with their outputs. Default: none.
        show_every: Number of updates between showings of `show_sources`. Default: at
            checkpoints only.
        parameters: File or folder of a model to start from. Default: none.
        partial_parameters: Load only the layers of `parameters` that fit. Default
            False: all must fit.
        source_embeddings: File of pretrained embeddings of source tokens. Default:
            none.
        target_embeddings: File of pretrained embeddings of target tokens. Default:
            none.
        freeze: Names of layers, or patterns of names, that are not trained. Default:
            none.
        seed: Seed of weights, batches and dropout. Default 0.
        dtype: Dtype policy: `"float32"` (default), `"mixed_float16"` or
            `"mixed_bfloat16"`.
        jit_compile: Compile the training step with XLA, once for each batch shape.
            Default False.
        device: `"auto"` (default), `"cpu"` or `"gpu"`.
        strategy: `"one_device"` (default), `"mirrored"` or `"multi_worker"`; see
            `kseq.distribution`.

    Raises:
        ValueError: If a value is out of range, unknown, or would have no effect.
        TypeError: If it has the wrong type.

    Example:
        >>> from kseq import TrainingSettings
        >>> settings = TrainingSettings(metrics=["bleu", "perplexity"])
        >>> settings.optimized_metric
        'bleu'
        >>> TrainingSettings.from_dict(settings.to_dict()) == settings
        True
    """

    batch_size: int = 64
    batch_type: Literal["pairs", "tokens"] = "pairs"
    buckets: int | None = None
    bucket_width: int | None = None
    optimizer: Literal[
        "adam", "adamw", "nadam", "sgd", "rmsprop", "adagrad", "adadelta"
    ] = "adam"
    learning_rate: float = 0.001
    schedule: Literal[
        "plateau", "constant", "inverse_time", "inverse_sqrt", "step", "cosine"
    ] = "plateau"
    plateau_factor: float | None = None
    plateau_patience: int | None = None
    half_life: float | None = None
    decay_steps: int | None = None
    decay_rate: float | None = None
    end_learning_rate: float | None = None
    warmup_steps: int = 0
    momentum: float | None = None
    nesterov: bool = False
    unit_gain: bool = False
    beta_1: float | None = None
    beta_2: float | None = None
    epsilon: float | None = None
    rho: float | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    clip_per_token: float | None = None
    gradient: Literal["mean", "sum"] = "mean"
    accumulation_steps: int = 1
    label_smoothing: float = 0.0
    teacher_forcing_ratio: float | str = 1.0
    teacher_forcing_coin: Literal["token", "batch"] = "token"
    metrics: tuple[str, ...] = ("perplexity", "accuracy")
    optimized_metric: str | None = None
    decode_pairs: int | None = None
    decode_beam: int = 1
    length_deviations: float | None = None
    validation_batch_size: int = 256
    checkpoint_updates: int | None = None
    checkpoint_epochs: int | None = None
    log_every: int = 100
    keep_checkpoints: int = 10
    max_checkpoints_not_improved: int = 8
    min_improvement: float = 0.0001
    min_epochs: int = 0
    min_updates: int = 0
    max_epochs: int | None = None
    max_updates: int | None = None
    max_seconds: float | None = None
    show: int = 3
    show_sources: tuple[str, ...] = ()
    show_every: int | None = None
    parameters: str | None = None
    partial_parameters: bool = False
    source_embeddings: str | None = None
    target_embeddings: str | None = None
    freeze: tuple[str, ...] = ()
    seed: int = 0
    dtype: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    jit_compile: bool = False
    device: Literal["auto", "cpu", "gpu"] = "auto"
    strategy: Literal["one_device", "mirrored", "multi_worker"] = "one_device"

    def __post_init__(self) -> None:
        _check_types(self)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                bounds = f"at least {low}" if high == _ANY else f"in [{low}, {high}]"
                raise ValueError(f"`{name}` must be {bounds}. Received: {value}.")
        for name in self.metrics:
            _check_choice("metrics", name, METRICS)
        if not self.metrics:
            raise ValueError("`metrics` must name one metric at least. Received: none.")
        self._choose("buckets", 8, "bucket_width")
        self._choose("checkpoint_updates", 1000, "checkpoint_epochs")
        if self.clip_norm is None:
            other = self.clip_value or self.clip_per_token or self.gradient == "sum"
            object.__setattr__(self, "clip_norm", 0.0 if other else 1.0)
        if self.optimized_metric is None:
            object.__setattr__(self, "optimized_metric", self.metrics[0])
        _check_choice("optimized_metric", self.optimized_metric, self.metrics)
        self._check_pairs()

    def _choose(self, name: str, default: int, other: str) -> None:
        """Gives a setting its default, unless the other one replaces it."""
        value, replacement = getattr(self, name), getattr(self, other)
        if value is None and replacement is None:
            object.__setattr__(self, name, default)
        elif value is not None and replacement is not None:
            raise ValueError(
                f"`{other}` replaces `{name}`: pass one of them. Received: "
                f"{replacement} and {value}."
            )

    def _check_pairs(self) -> None:
        """Refuses what would have no effect."""
        text = set(self.metrics) & set(TEXT_METRICS)
        free = self.teacher_forcing_ratio == 1
        needs: dict[str, tuple[bool, str]] = {
            "plateau_factor": (self.schedule == "plateau", "schedule='plateau'"),
            "plateau_patience": (self.schedule == "plateau", "schedule='plateau'"),
            "half_life": (
                self.schedule in ("inverse_time", "inverse_sqrt"),
                "schedule='inverse_time' or 'inverse_sqrt'",
            ),
            "decay_steps": (
                self.schedule in ("step", "cosine"),
                "schedule='step' or 'cosine'",
            ),
            "decay_rate": (self.schedule == "step", "schedule='step'"),
            "end_learning_rate": (self.schedule == "cosine", "schedule='cosine'"),
            "clip_per_token": (self.gradient == "sum", "gradient='sum'"),
            "decode_pairs": (bool(text), f"one of {', '.join(TEXT_METRICS)}"),
            "show_every": (bool(self.show_sources), "`show_sources`"),
        }
        for name, (effective, need) in needs.items():
            if getattr(self, name) is not None and not effective:
                raise ValueError(
                    f"`{name}` needs {need}. Received: {getattr(self, name)!r}."
                )
        if self.decode_beam != 1 and not text:
            raise ValueError(
                f"`decode_beam` needs one of {', '.join(TEXT_METRICS)} in `metrics`. "
                f"Received: {self.decode_beam}."
            )
        if self.teacher_forcing_coin != "token" and free:
            raise ValueError(
                "`teacher_forcing_coin` needs a `teacher_forcing_ratio` below 1. "
                f"Received: {self.teacher_forcing_coin!r}."
            )
        if self.partial_parameters and self.parameters is None:
            raise ValueError("`partial_parameters` needs `parameters`.")
        lacks = {
            "inverse_time": ("half_life",),
            "inverse_sqrt": ("half_life",),
            "step": ("decay_steps", "decay_rate"),
            "cosine": ("decay_steps",),
        }
        for name in lacks.get(self.schedule, ()):
            if getattr(self, name) is None:
                raise ValueError(f"schedule={self.schedule!r} needs `{name}`.")

    def to_dict(self) -> dict[str, Any]:
        """Returns every setting, as JSON and YAML can hold it."""
        return _to_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingSettings":
        """Makes settings from what `to_dict` returns.

        Args:
            values: Names and values.

        Raises:
            ValueError: If a name is unknown.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                hint = nearest_name(name, known)
                raise ValueError(
                    f"Unknown training setting `{name}`.{hint} The settings are: "
                    f"{', '.join(known)}."
                )
        return cls(**values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The data of a training run, and how they are tokenized.

    Specify the training data with one of: parallel text (`source` and `target`),
    `table`, `ctf`, `corpus`, or `prepared`, a folder of `kseq data prepare`. Specify
    the validation data in the same way.

    Args:
        source: Files of source texts, one text a line, also `.gz`.
        target: Files of target texts, one for each source.
        validation_source: Files of source texts to validate on.
        validation_target: Files of target texts to validate on.
        table: File of a CSV or TSV table with sources and targets in columns.
        validation_table: File of a table to validate on.
        source_column: Name of the source column, or its index from 0 in a table without
            a header. Default: `"source"`, or 0.
        target_column: Name or index of the target column. Default: `"target"`, or 1.
        table_header: Whether the first row of a table names the columns. Default True.
        ctf: File in CNTK's text format.
        validation_ctf: File in CNTK's text format to validate on.
        source_symbols: File with the source symbols of a CTF file, one a line.
        target_symbols: File with the target symbols of a CTF file. Default: the source
            symbols.
        symbols_vocab: Make the vocabularies from `source_symbols` and
            `target_symbols`, with all symbols (see `kseq.data.ctf_vocabulary`).
            Default False: from the training data.
        corpus: Public corpus, `"cmudict"` or `"multi30k"`. It is downloaded, or read
            from `data`.
        data: Folder with the files of `corpus`. Default: they are downloaded.
        source_language: Source language of `"multi30k"`, `"de"` (default) or `"en"`.
        target_language: Target language of `"multi30k"`, `"en"` (default) or `"de"`.
        prepared: Folder of `kseq data prepare`, for corpora larger than memory. The
            validation data come from files.
        tokenizer: Tokenizer of both sides: `"whitespace"` (default), `"characters"`,
            `"spacy:LANGUAGE"`, `"moses:LANGUAGE"`, `"sentencepiece:SIZE"` or
            `"bpe:SIZE"`. (The default of `"cmudict"` is characters and whitespace.)
        source_tokenizer: Tokenizer of the sources. Default: `tokenizer`.
        target_tokenizer: Tokenizer of the targets. Default: `tokenizer`.
        lower_case: Convert texts to lower case. Default False.
        source_vocab: File of the source vocabulary, JSON. Default: built from the
            training data.
        target_vocab: File of the target vocabulary, JSON. Default: built from the
            training data.
        shared_vocab: Build one vocabulary for both sides. Default False.
        min_frequency: Minimum number of occurrences of a token in the training data.
            Default 1.
        max_vocab_size: Maximum number of tokens in a vocabulary, without the special
            ones. Default: no limit.
        max_source_length: Maximum number of source tokens. Default 100.
        max_target_length: Maximum number of target tokens. Default 100.
        overlong: Longer training pairs: `"drop"` (default) or `"truncate"`.
        on_invalid: Lines that are not UTF-8: `"error"` (default) or `"skip"`.

    Raises:
        ValueError: If a value is out of range or unknown, or the data are missing,
            or specified twice.
        TypeError: If a value has the wrong type.

    Example:
        >>> from kseq.settings import DataSettings
        >>> DataSettings(source=["train.de"], target=["train.en"]).kind
        'parallel'
    """

    source: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    validation_source: tuple[str, ...] = ()
    validation_target: tuple[str, ...] = ()
    table: str | None = None
    validation_table: str | None = None
    source_column: str | None = None
    target_column: str | None = None
    table_header: bool = True
    ctf: str | None = None
    validation_ctf: str | None = None
    source_symbols: str | None = None
    target_symbols: str | None = None
    symbols_vocab: bool = False
    corpus: Literal["cmudict", "multi30k"] | None = None
    data: str | None = None
    source_language: str | None = None
    target_language: str | None = None
    prepared: str | None = None
    tokenizer: str | None = None
    source_tokenizer: str | None = None
    target_tokenizer: str | None = None
    lower_case: bool = False
    source_vocab: str | None = None
    target_vocab: str | None = None
    shared_vocab: bool = False
    min_frequency: int = 1
    max_vocab_size: int | None = None
    max_source_length: int = 100
    max_target_length: int = 100
    overlong: Literal["drop", "truncate"] = "drop"
    on_invalid: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        _check_types(self)
        for name in (
            "min_frequency",
            "max_vocab_size",
            "max_source_length",
            "max_target_length",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1. Received: {value}.")
        self._check_pairs()

    @property
    def kind(self) -> str:
        """Which data it is: parallel, table, ctf, corpus or prepared."""
        return self._kind("")

    @property
    def validation_kind(self) -> str:
        """Which data it is validated on: parallel, table, ctf or corpus."""
        return self._kind("validation_")

    def _kind(self, prefix: str) -> str:
        told = {
            "parallel": getattr(self, f"{prefix}source")
            or getattr(self, f"{prefix}target"),
            "table": getattr(self, f"{prefix}table"),
            "ctf": getattr(self, f"{prefix}ctf"),
        }
        kinds = [kind for kind, value in told.items() if value]
        if not prefix:
            kinds += [k for k in ("corpus", "prepared") if getattr(self, k)]
        elif not kinds and self.corpus:
            kinds = ["corpus"]
        if len(kinds) != 1:
            choices = [f"`{prefix}source` and `{prefix}target`"]
            choices += [f"`{prefix}table`", f"`{prefix}ctf`", "`corpus`"]
            choices += [] if prefix else ["`prepared`"]
            raise ValueError(
                f"The {'validation' if prefix else 'training'} data must be given by "
                f"one of {', '.join(choices)}. Received: {', '.join(kinds) or 'none'}."
            )
        return kinds[0]

    def _check_pairs(self) -> None:
        """Refuses what would have no effect, and halves."""
        for prefix in ("", "validation_"):
            sides = [getattr(self, f"{prefix}{side}") for side in ("source", "target")]
            if bool(sides[0]) != bool(sides[1]):
                raise ValueError(
                    f"`{prefix}source` and `{prefix}target` go together. Received one "
                    "of them."
                )
        tables = self.table or self.validation_table
        ctfs = self.ctf or self.validation_ctf
        needs = {
            "source_column": (tables, "`table`"),
            "target_column": (tables, "`table`"),
            "source_symbols": (ctfs, "`ctf`"),
            "target_symbols": (ctfs, "`ctf`"),
            "data": (self.corpus, "`corpus`"),
            "source_language": (self.corpus == "multi30k", "corpus='multi30k'"),
            "target_language": (self.corpus == "multi30k", "corpus='multi30k'"),
        }
        for name, (effective, need) in needs.items():
            if getattr(self, name) is not None and not effective:
                raise ValueError(
                    f"`{name}` needs {need}. Received: {getattr(self, name)!r}."
                )
        if not self.table_header and not tables:
            raise ValueError("`table_header` needs `table`. Received: False.")
        if ctfs and not self.source_symbols:
            raise ValueError("`ctf` needs `source_symbols`, the symbols by index.")
        if self.symbols_vocab and not self.ctf:
            raise ValueError("`symbols_vocab` needs `ctf`. Received: True.")
        self._check_vocabularies()

    def _check_vocabularies(self) -> None:
        """Refuses choices of tokens where these are given already."""
        given = [
            field.name
            for field in dataclasses.fields(self)
            if field.name in _OF_TEXTS and getattr(self, field.name) != field.default
        ]
        if self.prepared and given:
            raise ValueError(
                f"`{given[0]}` must be left out with `prepared`, whose texts are ids "
                f"already. Received: {getattr(self, given[0])!r}."
            )
        for name in _OF_VOCABULARIES:
            if self.symbols_vocab and name in given:
                raise ValueError(
                    f"`{name}` must be left out with `symbols_vocab`, whose symbols "
                    f"are the tokens. Received: {getattr(self, name)!r}."
                )
        for name in ("min_frequency", "max_vocab_size"):
            if self.source_vocab and self.target_vocab and name in given:
                raise ValueError(
                    f"`{name}` must be left out where both vocabularies are given. "
                    f"Received: {getattr(self, name)}."
                )
        if self.on_invalid != "error" and not self.source + self.validation_source:
            raise ValueError(
                "`on_invalid` needs `source` and `target`, lines of text. Received: "
                f"{self.on_invalid!r}."
            )
        if self.shared_vocab and (self.source_vocab or self.target_vocab):
            raise ValueError(
                "`shared_vocab` must be False where a vocabulary is given; to share "
                "it, give it as both `source_vocab` and `target_vocab`."
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns every setting, as JSON and YAML can hold it."""
        return _to_dict(self)


# Settings that have no effect with `symbols_vocab`.
_OF_VOCABULARIES = (
    "tokenizer",
    "source_tokenizer",
    "target_tokenizer",
    "lower_case",
    "source_vocab",
    "target_vocab",
    "shared_vocab",
    "min_frequency",
    "max_vocab_size",
)
# Settings that have no effect with `prepared`.
_OF_TEXTS = (
    *_OF_VOCABULARIES,
    "max_source_length",
    "max_target_length",
    "overlong",
)
_ANY = float("inf")
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        (
            "batch_size",
            "bucket_width",
            "accumulation_steps",
            "validation_batch_size",
            "checkpoint_epochs",
            "checkpoint_updates",
            "plateau_patience",
            "decay_steps",
            "decode_pairs",
            "decode_beam",
            "max_epochs",
            "max_updates",
            "show_every",
        ),
        (1, _ANY),
    ),
    **dict.fromkeys(
        (
            "buckets",
            "log_every",
            "warmup_steps",
            "keep_checkpoints",
            "max_checkpoints_not_improved",
            "min_improvement",
            "min_epochs",
            "min_updates",
            "max_seconds",
            "show",
            "seed",
            "learning_rate",
            "clip_norm",
            "clip_value",
            "clip_per_token",
            "weight_decay",
            "length_deviations",
            "half_life",
            "end_learning_rate",
        ),
        (0, _ANY),
    ),
    "plateau_factor": (1e-6, 1),
}


def _check_types(settings: Any) -> None:
    """Gives every field the type of its annotation, or raises."""
    for name, kind in typing.get_type_hints(type(settings)).items():
        object.__setattr__(settings, name, _as(name, kind, getattr(settings, name)))


def _to_dict(settings: Any) -> dict[str, Any]:
    found = dataclasses.asdict(settings)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}


def _as(name: str, kind: Any, value: Any) -> Any:
    """Returns a value as the type of its field, or raises an error that names both."""
    is_union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    options = typing.get_args(kind) if is_union else (kind,)
    for option in options:
        if typing.get_origin(option) is Literal:
            if value is not None:
                return _check_choice(name, value, typing.get_args(option))
            continue
        if option is type(None) and value is None:
            return None
        if typing.get_origin(option) is tuple:
            if isinstance(value, list | tuple) and all(
                isinstance(item, str) for item in value
            ):
                return tuple(value)
        elif option is float:
            # Not a boolean, which is a number to Python.
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
        elif option is int:
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        elif isinstance(value, option):
            return value
    wanted = " or ".join(_TYPES.get(option, "a list of strings") for option in options)
    raise TypeError(f"`{name}` must be {wanted}. Received: {value!r}.")


_TYPES = {
    int: "an integer",
    float: "a number",
    str: "a string",
    bool: "True or False",
    type(None): "None",
}


def _check_choice(name: str, value: Any, choices: Any) -> Any:
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. "
            f"Received: {value!r}."
        )
    return value
