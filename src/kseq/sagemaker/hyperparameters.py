"""The hyperparameters of Amazon SageMaker's seq2seq, as settings of kseq.

All of its 49 names are known. They are strings, and have the defaults of the built-in
algorithm. One that would have no effect is refused, as is what belongs to convolutional
models.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from kseq.config.checks import check_choice, nearest_name
from kseq.config.training import TrainingSettings

_ANY = math.inf


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """What a hyperparameter may be.

    Attributes:
        default: Its value where it is not given.
        kind: `int`, `float`, `bool` or `str`.
        choices: What a `str` may be.
        low: The least that a number may be.
        high: The most.
        meaning: What it is in kseq, for the table in the documentation.
    """

    default: Any
    kind: type
    meaning: str
    choices: tuple[str, ...] = ()
    low: float = -_ANY
    high: float = _ANY


def _count(default: Any, meaning: str, low: int = 1) -> Hyperparameter:
    return Hyperparameter(default, int, meaning, low=low)


def _rate(meaning: str) -> Hyperparameter:
    return Hyperparameter(0.0, float, meaning, low=0, high=1)


def _choice(meaning: str, *choices: str) -> Hyperparameter:
    return Hyperparameter(choices[0], str, meaning, choices)


# SageMaker's names of metrics, and kseq's.
METRIC_NAMES = {
    "perplexity": "perplexity",
    "accuracy": "token_accuracy",
    "bleu": "bleu",
}

_CNN = "of convolutional models only: refused"

HYPERPARAMETERS: dict[str, Hyperparameter] = {
    "max_seq_len_source": _count(100, "`max_source_length`; longer ones are cut"),
    "max_seq_len_target": _count(100, "`max_target_length`; longer ones are cut"),
    "batch_size": _count(64, "`batch_size`"),
    "bucketing_enabled": Hyperparameter(True, bool, "`bucket_width`, or `buckets` 0"),
    "bucket_width": _count(10, "`bucket_width`"),
    "encoder_type": _choice("`rnn`; `cnn` is refused", "rnn", "cnn"),
    "decoder_type": _choice("`rnn`; `cnn` is refused", "rnn", "cnn"),
    "num_layers_encoder": _count(1, "`encoder_layers`, the first in both directions"),
    "num_layers_decoder": _count(1, "`decoder_layers`"),
    "num_embed_source": _count(512, "`source_embedding_dim`"),
    "num_embed_target": _count(512, "`target_embedding_dim`"),
    "embed_dropout_source": _rate("`source_embedding_dropout`"),
    "embed_dropout_target": _rate("`target_embedding_dropout`"),
    "rnn_num_hidden": _count(1024, "`units`"),
    "rnn_cell_type": _choice("`cell`", "lstm", "gru"),
    "rnn_decoder_state_init": _choice(
        "`decoder_init`: `last`, `mean` or `zeros`", "last", "avg", "zero"
    ),
    "rnn_residual_connections": Hyperparameter(
        False, bool, "`encoder_residual_from`, `decoder_residual_from`"
    ),
    "rnn_first_residual_layer": _count(2, "their value", 2),
    "rnn_decoder_hidden_dropout": _rate("`hidden_dropout`"),
    "rnn_attention_type": _choice(
        "`attention`: `additive`, `dot`, `fixed` or `general`",
        "mlp",
        "dot",
        "fixed",
        "bilinear",
    ),
    "rnn_attention_num_hidden": _count(None, "`attention_units`"),
    "rnn_attention_in_upper_layers": Hyperparameter(
        True, bool, "`attention_in_upper_layers`, of two decoder layers or more"
    ),
    "cnn_kernel_width_encoder": _count(3, _CNN),
    "cnn_kernel_width_decoder": _count(5, _CNN),
    "cnn_num_hidden": _count(512, _CNN),
    "cnn_activation_type": _choice(_CNN, "glu", "relu", "linear", "sigmoid", "tanh"),
    "cnn_hidden_dropout": _rate(_CNN),
    "optimizer_type": _choice("`optimizer`", "adam", "sgd", "rmsprop"),
    "learning_rate": Hyperparameter(0.0003, float, "`learning_rate`", low=0),
    "weight_decay": Hyperparameter(0.0, float, "`weight_decay`", low=0),
    "momentum": Hyperparameter(None, float, "`momentum`, of `sgd`", low=0, high=1),
    "clip_gradient": Hyperparameter(1.0, float, "`clipvalue`; negative or 0: none"),
    "loss_type": _choice("the only one there is", "cross-entropy"),
    "weight_init_type": _choice("`kernel_initializer`", "xavier", "uniform"),
    "weight_init_scale": Hyperparameter(
        2.34, float, "magnitude of `xavier`; bound of `uniform`", low=0
    ),
    "xavier_factor_type": _choice("fan of `xavier`", "in", "out", "avg"),
    "lr_scheduler_type": _choice(
        "`schedule`: `plateau`, `inverse_time` or `inverse_sqrt`",
        "plateau_reduce",
        "fixed_rate_inv_t",
        "fixed_rate_inv_sqrt_t",
    ),
    "plateau_reduce_lr_factor": Hyperparameter(
        0.5, float, "`plateau_factor`", low=1e-6, high=1
    ),
    "plateau_reduce_lr_threshold": _count(3, "`plateau_patience`"),
    "fixed_rate_lr_half_life": _count(10, "`half_life`, in checkpoints"),
    "training_metric": _choice(
        "metric of the training data that is printed", "perplexity", "accuracy"
    ),
    "optimized_metric": _choice("`optimized_metric`", "perplexity", "accuracy", "bleu"),
    "checkpoint_frequency_num_batches": _count(1000, "`checkpoint_updates`"),
    "checkpoint_threshold": _count(3, "`max_checkpoints_not_improved`"),
    "min_num_epochs": _count(0, "`min_epochs`", 0),
    "max_num_epochs": _count(None, "`max_epochs`; `none`: no limit"),
    "max_num_batches": _count(-1, "`max_updates`; -1: no limit", -1),
    "bleu_sample_size": _count(
        0,
        "`decode_pairs`; -1: all; 0: none, or all where BLEU is `optimized_metric`",
        -1,
    ),
    "beam_size": _count(5, "`beam_width`, and the beam of the endpoint"),
}
_ATTENTION = {"mlp": "additive", "dot": "dot", "fixed": "fixed", "bilinear": "general"}
_INIT = {"last": "last", "avg": "mean", "zero": "zeros"}
_SCHEDULE = {
    "plateau_reduce": "plateau",
    "fixed_rate_inv_t": "inverse_time",
    "fixed_rate_inv_sqrt_t": "inverse_sqrt",
}
# What has an effect with some values of another only.
_NEEDS = {
    "bucket_width": ("bucketing_enabled", (True,)),
    "rnn_first_residual_layer": ("rnn_residual_connections", (True,)),
    "rnn_attention_num_hidden": ("rnn_attention_type", ("mlp", "dot")),
    "momentum": ("optimizer_type", ("sgd",)),
    "xavier_factor_type": ("weight_init_type", ("xavier",)),
    "plateau_reduce_lr_factor": ("lr_scheduler_type", ("plateau_reduce",)),
    "plateau_reduce_lr_threshold": ("lr_scheduler_type", ("plateau_reduce",)),
    "fixed_rate_lr_half_life": (
        "lr_scheduler_type",
        ("fixed_rate_inv_t", "fixed_rate_inv_sqrt_t"),
    ),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """What a training job is to do.

    Attributes:
        model: Fields of `Seq2SeqConfig`, without the sizes of the vocabularies.
        settings: `TrainingSettings`.
        max_source_length: Most tokens of a source.
        max_target_length: Most tokens of a target.
        beam_width: Beam width of the endpoint.
        training_metric: `"perplexity"` or `"accuracy"`.
    """

    model: dict[str, Any]
    settings: TrainingSettings
    max_source_length: int
    max_target_length: int
    beam_width: int
    training_metric: str


def read_hyperparameters(given: Mapping[str, str]) -> Job:
    """Reads hyperparameters as SageMaker gives them.

    Args:
        given: Names and values, both strings.

    Returns:
        The `Job`.

    Raises:
        ValueError: If one is unknown or malformed, would have no effect, or is not to
            be had in kseq.

    Example:
        >>> from kseq.sagemaker.hyperparameters import read_hyperparameters
        >>> job = read_hyperparameters({"rnn_num_hidden": "512", "beam_size": "4"})
        >>> job.model["units"], job.beam_width
        (512, 4)

    Reference:
        [Sequence-to-sequence hyperparameters](https://docs.aws.amazon.com/sagemaker/latest/dg/seq-2-seq-hyperparameters.html)
    """
    values = {name: each.default for name, each in HYPERPARAMETERS.items()}
    for name, text in given.items():
        if name not in HYPERPARAMETERS:
            raise ValueError(
                f"Unknown hyperparameter `{name}`."
                f"{nearest_name(name, HYPERPARAMETERS)} They are: "
                f"{', '.join(HYPERPARAMETERS)}."
            )
        if name.startswith("cnn_"):
            raise ValueError(
                f"`{name}` belongs to convolutional models, which kseq does not have: "
                "its encoders and decoders are recurrent. Leave it out."
            )
        values[name] = _value(name, text)
    _check(values, given)
    return Job(
        _model(values),
        _settings(values),
        values["max_seq_len_source"],
        values["max_seq_len_target"],
        values["beam_size"],
        values["training_metric"],
    )


def _value(name: str, text: Any) -> Any:
    """Returns the value that a string stands for."""
    known = HYPERPARAMETERS[name]
    if not isinstance(text, str):
        raise ValueError(f"`{name}` must be a string. Received: {text!r}.")
    word = text.strip()
    if known.default is None and word.lower() == "none":
        return None
    if known.kind is str:
        return check_choice(name, word, known.choices)
    if known.kind is bool:
        if word.lower() not in ("true", "false"):
            raise ValueError(f"`{name}` must be true or false. Received: {text!r}.")
        return word.lower() == "true"
    noun = "an integer" if known.kind is int else "a number"
    try:
        value = known.kind(word)
    except ValueError:
        raise ValueError(f"`{name}` must be {noun}. Received: {text!r}.") from None
    if not (known.low <= value <= known.high and math.isfinite(value)):
        bounds = f"at least {known.low}" if known.high == _ANY else ""
        bounds = bounds or f"in [{known.low}, {known.high}]"
        raise ValueError(f"`{name}` must be {noun} {bounds}. Received: {text!r}.")
    return value


def _check(values: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Refuses what kseq has not, and what would have no effect."""
    for name in ("encoder_type", "decoder_type"):
        if values[name] == "cnn":
            raise ValueError(
                f"`{name}` must be rnn: kseq has no convolutional models. Received: "
                "'cnn'."
            )
    for name, (other, wanted) in _NEEDS.items():
        if name in given and values[name] is not None and values[other] not in wanted:
            shown = " or ".join(str(each).lower() for each in wanted)
            raise ValueError(
                f"`{name}` has an effect where `{other}` is {shown} only. Received: "
                f"{given[name]!r} with {str(values[other]).lower()!r}."
            )
    if values["max_num_batches"] == 0:
        raise ValueError("`max_num_batches` must be -1 or at least 1. Received: '0'.")
    layers = max(values["num_layers_encoder"], values["num_layers_decoder"])
    first = values["rnn_first_residual_layer"]
    if values["rnn_residual_connections"] and layers < first:
        raise ValueError(
            f"`rnn_residual_connections` begin at layer {first}, of {layers}: none is "
            "there."
        )


def _model(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the architecture: that of Sockeye, which SageMaker's is built on."""
    kind = values["rnn_attention_type"]
    units = values["rnn_attention_num_hidden"] or values["rnn_num_hidden"]
    first = values["rnn_first_residual_layer"]
    residual = values["rnn_residual_connections"]
    found = {
        "source_embedding_dim": values["num_embed_source"],
        "target_embedding_dim": values["num_embed_target"],
        "source_embedding_dropout": values["embed_dropout_source"],
        "target_embedding_dropout": values["embed_dropout_target"],
        "encoder_direction": "bidirectional_first",
        "cell": values["rnn_cell_type"],
        "units": values["rnn_num_hidden"],
        "encoder_layers": values["num_layers_encoder"],
        "decoder_layers": values["num_layers_decoder"],
        "decoder_init": _INIT[values["rnn_decoder_state_init"]],
        "hidden_dropout": values["rnn_decoder_hidden_dropout"],
        "attention": _ATTENTION[kind],
        "input_feeding": True,
        "attention_in_upper_layers": (
            values["rnn_attention_in_upper_layers"] and values["num_layers_decoder"] > 1
        ),
        **_initializers(values),
    }
    if values["num_layers_encoder"] == 1:
        found["encoder_direction"] = "bidirectional"
    if kind in ("mlp", "dot"):
        found["attention_units"] = units
    for side in ("encoder", "decoder"):
        if residual and values[f"num_layers_{side}"] >= first:
            found[f"{side}_residual_from"] = first
    return found


def _initializers(values: Mapping[str, Any]) -> dict[str, Any]:
    scale = values["weight_init_scale"]
    if values["weight_init_type"] == "uniform":
        return {
            "kernel_initializer": "uniform",
            "embedding_initializer": "uniform",
            "initializer_scale": scale,
        }
    # Both draw from [-b, b]: MXNet's with b^2 = magnitude / fan, Keras's 3 scale / fan.
    initializer = {
        "class_name": "VarianceScaling",
        "config": {
            "scale": scale / 3,
            "mode": f"fan_{values['xavier_factor_type']}",
            "distribution": "uniform",
        },
    }
    return {"kernel_initializer": initializer, "embedding_initializer": initializer}


def _settings(values: Mapping[str, Any]) -> TrainingSettings:
    """Returns how the model trains."""
    optimized = values["optimized_metric"]
    sample = values["bleu_sample_size"]
    metrics = ["perplexity", "token_accuracy"]
    decoding: dict[str, Any] = {}
    if optimized == "bleu" or sample:
        metrics.append("bleu")
        decoding = {
            "decode_pairs": sample if sample > 0 else None,
            "beam_width": values["beam_size"],
        }
    schedule = _SCHEDULE[values["lr_scheduler_type"]]
    if schedule == "plateau":
        rates = {
            "plateau_factor": values["plateau_reduce_lr_factor"],
            "plateau_patience": values["plateau_reduce_lr_threshold"],
        }
    else:
        checkpoints = values["fixed_rate_lr_half_life"]
        rates = {"half_life": checkpoints * values["checkpoint_frequency_num_batches"]}
    clip = values["clip_gradient"]
    updates = values["max_num_batches"]
    return TrainingSettings(
        batch_size=values["batch_size"],
        buckets=None if values["bucketing_enabled"] else 0,
        bucket_width=values["bucket_width"] if values["bucketing_enabled"] else None,
        optimizer=values["optimizer_type"],
        learning_rate=values["learning_rate"],
        weight_decay=values["weight_decay"] or None,
        momentum=values["momentum"],
        global_clipnorm=0,
        clipvalue=clip if clip > 0 else None,
        schedule=schedule,  # type: ignore[arg-type]
        **rates,
        metrics=tuple(metrics),
        optimized_metric=METRIC_NAMES[optimized],
        **decoding,
        checkpoint_updates=values["checkpoint_frequency_num_batches"],
        max_checkpoints_not_improved=values["checkpoint_threshold"],
        min_epochs=values["min_num_epochs"],
        max_epochs=values["max_num_epochs"],
        max_updates=updates if updates >= 0 else None,
    )
