"""The settings of a training run, as one validated dataclass."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, Literal

from kseq.config.checks import check_choice
from kseq.config.fields import (
    as_plain_dict,
    check_fields,
    check_names,
    choices,
    field,
)

# These settings do not change an update, and may differ when a run is resumed.
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

MODEL_METRICS = ("loss", "perplexity", "token_accuracy", "sequence_accuracy")
TEXT_METRICS = ("bleu", "chrf", "ter", "exact_match", "wer", "per")
METRICS = (*MODEL_METRICS, "free_running_perplexity", *TEXT_METRICS)
_HIGHER_IS_BETTER = (
    "token_accuracy",
    "sequence_accuracy",
    "bleu",
    "chrf",
    "exact_match",
)

_count = functools.partial(field, minimum=1)
_count_or_0 = functools.partial(field, minimum=0)
_share = functools.partial(field, minimum=0, below=1)
_PLATEAU = {"schedule": ("plateau",)}
_TEXT = {"metrics": TEXT_METRICS}


def higher_is_better(metric: str) -> bool:
    """Returns whether higher values of a metric are better.

    Args:
        metric: Name in `METRICS`.

    Raises:
        ValueError: If the name is unknown.

    Example:
        >>> from kseq.config.training import higher_is_better
        >>> higher_is_better("bleu"), higher_is_better("wer")
        (True, False)
    """
    return check_choice("metric", metric, METRICS) in _HIGHER_IS_BETTER


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Every choice of a training run.

    An instance is immutable and valid. An update is one step of the optimizer.

    Args:
        batch_size: Number of pairs in a batch. With `batch_type` "tokens": maximum
            number of target tokens in a batch, including padding. Default: 64.
        batch_type: `"pairs"` (default) or `"tokens"`.
        buckets: Number of length buckets, chosen from the data; 0 mixes all lengths.
            Default: 8, without `bucket_width`.
        bucket_width: Width in tokens of evenly spaced buckets, as in Sockeye (see
            `kseq.data.even_buckets`). Replaces `buckets`. Default: `buckets` decides.
        optimizer: `"adam"` (default), `"adamw"`, `"nadam"`, `"sgd"`, `"rmsprop"`,
            `"adagrad"` or `"adadelta"`.
        learning_rate: Learning rate. Default: 0.001.
        schedule: Learning rate schedule. `"plateau"` (default) lowers the learning rate
            when the optimized metric does not improve; `"constant"`,
            `"inverse_time"`, `"inverse_sqrt"`, `"step"` and `"cosine"` depend on the
            number of updates.
        plateau_factor: Factor of the learning rate in `"plateau"`. Default: 0.5.
        plateau_patience: Number of checkpoints without improvement before `"plateau"`
            lowers the learning rate. Default: 2.
        half_life: Number of updates until `"inverse_time"` or `"inverse_sqrt"` has
            halved the learning rate.
        decay_steps: For `"cosine"`: number of updates until the end of the decay. For
            `"step"`: number of updates between decays.
        decay_rate: Factor of the learning rate at each decay of `"step"`.
        end_learning_rate: Learning rate at the end of `"cosine"`. Default: 0.
        warmup_steps: Number of updates over which the learning rate rises linearly.
            Default: 0.
        momentum: Momentum of `"sgd"` and `"rmsprop"`. Default: none.
        nesterov: Use Nesterov momentum in `"sgd"`. Default: False.
        unit_gain: Weight new gradients by 1 - momentum in `"sgd"`, as CNTK does.
            Default: False.
        beta_1: Decay rate of the first moment in `"adam"`, `"adamw"` and `"nadam"`.
            Default: Keras's, 0.9.
        beta_2: Decay rate of the second moment in the same optimizers. Default:
            Keras's, 0.999.
        epsilon: Epsilon of all optimizers but `"sgd"`. Default: Keras's.
        rho: Decay rate in `"rmsprop"` and `"adadelta"`. Default: Keras's.
        weight_decay: Weight decay. Default: none.
        global_clipnorm: Maximum global gradient norm; 0 does not clip. Default: 1, or 0
            where another way of clipping is chosen or `gradient` is "sum".
        clipvalue: Maximum absolute value of a gradient element. Default: no clipping.
        clipvalue_per_token: Maximum absolute value of a gradient element for each
            target token of the batch, as in CNTK. Needs `gradient` "sum". Default: no
            clipping.
        gradient: Reduction of the loss over the tokens of a batch: `"mean"` (default),
            or `"sum"`, for which the learning rate is per token, as in CNTK.
        accumulation_steps: Number of batches whose gradients make one update.
            Default: 1.
        label_smoothing: Share of the target distribution that is spread over the
            vocabulary, in [0, 1). Default: 0.
        teacher_forcing_ratio: Probability that the decoder reads the true token, in
            [0, 1], or a schedule over the updates: `"linear:UPDATES[:END]"`,
            `"exponential:BASE[:END]"`, `"inverse_sigmoid:K[:END]"` (see
            `kseq.teacher_forcing`). Default: 1.
        teacher_forcing_coin: Draw for each `"token"` (default) or each `"batch"`.
        metrics: Metrics on the validation data at each checkpoint, one or more of
            `"loss"`, `"perplexity"`, `"token_accuracy"`, `"sequence_accuracy"`,
            `"free_running_perplexity"`, and of decoded texts `"bleu"`, `"chrf"`,
            `"ter"`, `"exact_match"`, `"wer"`, `"per"` (see `kseq.evaluation`).
            Default: perplexity and token
            accuracy.
        optimized_metric: Metric that selects the best checkpoint, one of `metrics`.
            Default: the first.
        decode_pairs: Number of validation pairs to decode, from the first. Default:
            all.
        beam_width: Beam width for decoding validation pairs; 1 is greedy search.
            Default: 1.
        length_deviations: Maximum output length in standard deviations above the mean
            ratio of target to source length of the training data, here and wherever
            the model is used (see `kseq.decoding.LengthRatio`). Default: an output has
            at most 2 * source length + 10 tokens.
        validation_batch_size: Number of pairs in a validation batch. Default: 256.
        checkpoint_updates: Number of updates between checkpoints. Default: 1000,
            without `checkpoint_epochs`.
        checkpoint_epochs: Number of epochs between checkpoints. Replaces
            `checkpoint_updates`. Default: `checkpoint_updates` decides.
        log_every: Number of updates between progress lines in the log; 0 logs
            checkpoints only. Default: 100.
        keep_checkpoints: Number of most recent checkpoints to keep, besides the best; 0
            keeps all. Default: 10.
        max_checkpoints_not_improved: Number of checkpoints without improvement before
            training ends; 0 never ends it. Default: 8.
        min_improvement: Minimum improvement of the optimized metric, in its own units,
            for early stopping and for `"plateau"`. The best checkpoint does not depend
            on it. Default: 0.0001.
        min_epochs: Minimum number of epochs before early stopping. Default: 0.
        min_updates: Minimum number of updates before early stopping. Default: 0.
        max_epochs: Maximum number of epochs. Default: no limit.
        max_updates: Maximum number of updates. Default: no limit.
        max_seconds: Maximum training time in seconds, across all resumed runs. Default:
            no limit.
        show: Number of validation pairs to show with their outputs at each checkpoint.
            Default: 3.
        show_sources: Further source texts to show with their outputs. Default: none.
        show_every: Number of updates between showings of `show_sources`. Default: at
            checkpoints only.
        parameters: File or folder of a model to start from. Default: none.
        partial_parameters: Load only the layers of `parameters` that fit. Default:
            False: all must fit.
        source_embeddings: File of pretrained embeddings of source tokens. Default:
            none.
        target_embeddings: File of pretrained embeddings of target tokens. Default:
            none.
        freeze: Names of layers, or patterns of names, that are not trained. Default:
            none.
        seed: Seed of weights, batches and dropout. Default: 0.
        dtype: Dtype policy: `"float32"` (default), `"mixed_float16"` or
            `"mixed_bfloat16"`.
        jit_compile: Compile the training step with XLA, once for each batch shape.
            Default: False.
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

    batch_size: int = _count(64)
    batch_type: Literal["pairs", "tokens"] = "pairs"
    buckets: int | None = _count_or_0(None)
    bucket_width: int | None = _count(None)
    optimizer: Literal[
        "adam", "adamw", "nadam", "sgd", "rmsprop", "adagrad", "adadelta"
    ] = "adam"
    learning_rate: float = field(0.001, above=0)
    schedule: Literal[
        "plateau", "constant", "inverse_time", "inverse_sqrt", "step", "cosine"
    ] = "plateau"
    plateau_factor: float | None = field(None, minimum=1e-6, maximum=1, needs=_PLATEAU)
    plateau_patience: int | None = _count(None, needs=_PLATEAU)
    half_life: float | None = field(
        None,
        above=0,
        needs={"schedule": ("inverse_time", "inverse_sqrt")},
        required=True,
    )
    decay_steps: int | None = _count(
        None, needs={"schedule": ("step", "cosine")}, required=True
    )
    decay_rate: float | None = field(
        None, above=0, below=1, needs={"schedule": ("step",)}, required=True
    )
    end_learning_rate: float | None = field(
        None, minimum=0, needs={"schedule": ("cosine",)}
    )
    warmup_steps: int = _count_or_0(0)
    momentum: float | None = _share(None)
    nesterov: bool = False
    unit_gain: bool = False
    beta_1: float | None = _share(None)
    beta_2: float | None = _share(None)
    epsilon: float | None = field(None, above=0)
    rho: float | None = _share(None)
    weight_decay: float | None = field(None, minimum=0)
    global_clipnorm: float | None = field(None, minimum=0)
    clipvalue: float | None = field(None, above=0)
    clipvalue_per_token: float | None = field(
        None, above=0, needs={"gradient": ("sum",)}
    )
    gradient: Literal["mean", "sum"] = "mean"
    accumulation_steps: int = _count(1)
    label_smoothing: float = _share(0.0)
    teacher_forcing_ratio: float | str = field(1.0, minimum=0, maximum=1)
    teacher_forcing_coin: Literal["token", "batch"] = "token"
    metrics: tuple[str, ...] = ("perplexity", "token_accuracy")
    optimized_metric: str | None = None
    decode_pairs: int | None = _count(None, needs=_TEXT)
    beam_width: int = _count(1, needs=_TEXT)
    length_deviations: float | None = field(None, minimum=0)
    validation_batch_size: int = _count(256)
    checkpoint_updates: int | None = _count(None)
    checkpoint_epochs: int | None = _count(None)
    log_every: int = _count_or_0(100)
    keep_checkpoints: int = _count_or_0(10)
    max_checkpoints_not_improved: int = _count_or_0(8)
    min_improvement: float = field(0.0001, minimum=0)
    min_epochs: int = _count_or_0(0)
    min_updates: int = _count_or_0(0)
    max_epochs: int | None = _count(None)
    max_updates: int | None = _count(None)
    max_seconds: float | None = field(None, minimum=0, maximum=math.inf)
    show: int = _count_or_0(3)
    show_sources: tuple[str, ...] = ()
    show_every: int | None = _count(None, needs="show_sources")
    parameters: str | None = None
    partial_parameters: bool = field(False, needs="parameters")
    source_embeddings: str | None = None
    target_embeddings: str | None = None
    freeze: tuple[str, ...] = ()
    seed: int = _count_or_0(0)
    dtype: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    jit_compile: bool = False
    device: Literal["auto", "cpu", "gpu"] = "auto"
    strategy: Literal["one_device", "mirrored", "multi_worker"] = "one_device"

    def __post_init__(self) -> None:
        check_fields(self)
        for name in self.metrics:
            check_choice("metrics", name, METRICS)
        if not self.metrics:
            raise ValueError("`metrics` must name at least one metric. Received: none.")
        self._set_default("buckets", 8, "bucket_width")
        self._set_default("checkpoint_updates", 1000, "checkpoint_epochs")
        if self.global_clipnorm is None:
            other = self.clipvalue or self.clipvalue_per_token or self.gradient == "sum"
            object.__setattr__(self, "global_clipnorm", 0.0 if other else 1.0)
        if self.optimized_metric is None:
            object.__setattr__(self, "optimized_metric", self.metrics[0])
        check_choice("optimized_metric", self.optimized_metric, self.metrics)
        if self.teacher_forcing_coin != "token" and self.teacher_forcing_ratio == 1:
            raise ValueError(
                "`teacher_forcing_coin` needs a `teacher_forcing_ratio` below 1. "
                f"Received: {self.teacher_forcing_coin!r}."
            )

    def _set_default(self, name: str, default: int, other: str) -> None:
        """Sets the default of a setting, unless the other setting replaces it."""
        value, replacement = getattr(self, name), getattr(self, other)
        if value is None and replacement is None:
            object.__setattr__(self, name, default)
        elif value is not None and replacement is not None:
            raise ValueError(
                f"`{other}` replaces `{name}`: pass one of them. Received: "
                f"{replacement} and {value}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns every setting as a value that JSON and YAML can hold."""
        return as_plain_dict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingSettings":
        """Makes settings from the dict of `to_dict`.

        Args:
            values: Names of settings and values.

        Raises:
            ValueError: If a name is unknown or a value is invalid.
        """
        check_names(cls, values, "setting")
        return cls(**values)


SCHEDULES = choices(TrainingSettings, "schedule")
