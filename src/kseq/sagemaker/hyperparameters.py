"""Translates the hyperparameters of Amazon SageMaker's seq2seq to settings of kseq.

All 49 hyperparameters are known. Their values are strings, and their defaults are those
of the built-in algorithm. A hyperparameter without effect raises an error, and so do
those of convolutional models. docs/serving.md has the table of equivalents.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from kseq.config.checks import check_choice, nearest_name
from kseq.config.training import TrainingSettings


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
    """The valid values of a hyperparameter.

    Attributes:
        default: The default value.
        kind: `int`, `float`, `bool` or `str`.
        choices: The valid values of a `str`.
        low: Minimum of a number.
        high: Maximum of a number.
    """

    default: Any
    kind: type
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf


def _integer(default: int | None, low: int = 1) -> Hyperparameter:
    return Hyperparameter(default, int, low=low)


def _number(
    default: float | None, low: float = -math.inf, high: float = math.inf
) -> Hyperparameter:
    return Hyperparameter(default, float, low=low, high=high)


def _boolean(default: bool) -> Hyperparameter:
    return Hyperparameter(default, bool)


def _choice(*choices: str) -> Hyperparameter:
    return Hyperparameter(choices[0], str, choices)


# SageMaker's names of metrics, and kseq's.
METRIC_NAMES = {
    "perplexity": "perplexity",
    "accuracy": "token_accuracy",
    "bleu": "bleu",
}
HYPERPARAMETERS: dict[str, Hyperparameter] = {
    "max_seq_len_source": _integer(100),
    "max_seq_len_target": _integer(100),
    "batch_size": _integer(64),
    "bucketing_enabled": _boolean(True),
    "bucket_width": _integer(10),
    "encoder_type": _choice("rnn", "cnn"),
    "decoder_type": _choice("rnn", "cnn"),
    "num_layers_encoder": _integer(1),
    "num_layers_decoder": _integer(1),
    "num_embed_source": _integer(512),
    "num_embed_target": _integer(512),
    "embed_dropout_source": _number(0.0, 0, 1),
    "embed_dropout_target": _number(0.0, 0, 1),
    "rnn_num_hidden": _integer(1024),
    "rnn_cell_type": _choice("lstm", "gru"),
    "rnn_decoder_state_init": _choice("last", "avg", "zero"),
    "rnn_residual_connections": _boolean(False),
    "rnn_first_residual_layer": _integer(2, 2),
    "rnn_decoder_hidden_dropout": _number(0.0, 0, 1),
    "rnn_attention_type": _choice("mlp", "dot", "fixed", "bilinear"),
    "rnn_attention_num_hidden": _integer(None),
    "rnn_attention_in_upper_layers": _boolean(True),
    "cnn_kernel_width_encoder": _integer(3),
    "cnn_kernel_width_decoder": _integer(5),
    "cnn_num_hidden": _integer(512),
    "cnn_activation_type": _choice("glu", "relu", "linear", "sigmoid", "tanh"),
    "cnn_hidden_dropout": _number(0.0, 0, 1),
    "optimizer_type": _choice("adam", "sgd", "rmsprop"),
    "learning_rate": _number(0.0003, 0),
    "weight_decay": _number(0.0, 0),
    "momentum": _number(None, 0, 1),
    "clip_gradient": _number(1.0),  # no clipping if negative or 0
    "loss_type": _choice("cross-entropy"),
    "weight_init_type": _choice("xavier", "uniform"),
    "weight_init_scale": _number(2.34, 0),
    "xavier_factor_type": _choice("in", "out", "avg"),
    "lr_scheduler_type": _choice(
        "plateau_reduce", "fixed_rate_inv_t", "fixed_rate_inv_sqrt_t"
    ),
    "plateau_reduce_lr_factor": _number(0.5, 1e-6, 1),
    "plateau_reduce_lr_threshold": _integer(3),
    "fixed_rate_lr_half_life": _integer(10),  # in checkpoints
    "training_metric": _choice("perplexity", "accuracy"),
    "optimized_metric": _choice("perplexity", "accuracy", "bleu"),
    "checkpoint_frequency_num_batches": _integer(1000),
    "checkpoint_threshold": _integer(3),
    "min_num_epochs": _integer(0, 0),
    "max_num_epochs": _integer(None),
    "max_num_batches": _integer(-1, -1),  # -1: no limit
    "bleu_sample_size": _integer(0, -1),  # -1: all; 0: all if BLEU is optimized
    "beam_size": _integer(5),
}
_ATTENTION = {"mlp": "additive", "dot": "dot", "fixed": "fixed", "bilinear": "general"}
_INIT = {"last": "last", "avg": "mean", "zero": "zeros"}
_SCHEDULE = {
    "plateau_reduce": "plateau",
    "fixed_rate_inv_t": "inverse_time",
    "fixed_rate_inv_sqrt_t": "inverse_sqrt",
}
# Hyperparameters that have an effect only with some values of another.
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
    """The settings of a training job.

    Attributes:
        model: Fields of `Seq2SeqConfig`, without the vocabulary sizes.
        settings: `TrainingSettings`.
        max_source_length: Maximum number of source tokens.
        max_target_length: Maximum number of target tokens.
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
    """Converts the hyperparameters of SageMaker to a job.

    Args:
        given: Mapping from names to values, both strings.

    Returns:
        The `Job`.

    Raises:
        ValueError: If a hyperparameter is unknown, not valid, without effect, or not
            supported by kseq.

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
                f"{nearest_name(name, HYPERPARAMETERS)} Hyperparameters are "
                f"{', '.join(HYPERPARAMETERS)}."
            )
        if name.startswith("cnn_"):
            raise ValueError(
                f"`{name}` must be left out: it belongs to convolutional models, which "
                "kseq does not have."
            )
        values[name] = _convert(name, text)
    _check(values, given)
    return Job(
        _build_model_config(values),
        _build_training_settings(values),
        values["max_seq_len_source"],
        values["max_seq_len_target"],
        values["beam_size"],
        values["training_metric"],
    )


def _convert(name: str, text: Any) -> Any:
    """Converts a string to the value of a hyperparameter."""
    hyperparameter = HYPERPARAMETERS[name]
    if not isinstance(text, str):
        raise ValueError(f"`{name}` must be a string. Received: {text!r}.")
    word = text.strip()
    if hyperparameter.default is None and word.lower() == "none":
        return None
    if hyperparameter.kind is str:
        return check_choice(name, word, hyperparameter.choices)
    if hyperparameter.kind is bool:
        if word.lower() not in ("true", "false"):
            raise ValueError(f"`{name}` must be true or false. Received: {text!r}.")
        return word.lower() == "true"
    noun = "an integer" if hyperparameter.kind is int else "a number"
    low, high = hyperparameter.low, hyperparameter.high
    try:
        value = hyperparameter.kind(word)
    except ValueError:
        raise ValueError(f"`{name}` must be {noun}. Received: {text!r}.") from None
    if not (low <= value <= high and math.isfinite(value)):
        if math.isfinite(high):
            noun += f" in [{low}, {high}]"
        elif math.isfinite(low):
            noun += f" of at least {low}"
        else:
            noun = "a finite number"
        raise ValueError(f"`{name}` must be {noun}. Received: {text!r}.")
    return value


def _check(values: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Checks that each hyperparameter is supported and has an effect."""
    for name in ("encoder_type", "decoder_type"):
        if values[name] == "cnn":
            raise ValueError(
                f"`{name}` must be rnn: kseq has no convolutional models. Received: "
                "'cnn'."
            )
    for name, (other, valid) in _NEEDS.items():
        if name in given and values[name] is not None and values[other] not in valid:
            listed = " or ".join(str(each).lower() for each in valid)
            raise ValueError(
                f"`{name}` must be left out unless `{other}` is {listed}. Received: "
                f"{given[name]!r} with {str(values[other]).lower()!r}."
            )
    if values["max_num_batches"] == 0:
        raise ValueError("`max_num_batches` must be -1 or at least 1. Received: '0'.")
    layers = max(values["num_layers_encoder"], values["num_layers_decoder"])
    first = values["rnn_first_residual_layer"]
    if values["rnn_residual_connections"] and layers < first:
        raise ValueError(
            f"`rnn_residual_connections` must be false with {layers} layers, since the "
            f"first residual layer is {first}. Received: 'true'."
        )


def _build_model_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the architecture of Sockeye, on which SageMaker's is built."""
    kind = values["rnn_attention_type"]
    units = values["rnn_attention_num_hidden"] or values["rnn_num_hidden"]
    first = values["rnn_first_residual_layer"]
    residual = values["rnn_residual_connections"]
    config = {
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
        **_build_initializers(values),
    }
    if values["num_layers_encoder"] == 1:
        config["encoder_direction"] = "bidirectional"
    if kind in ("mlp", "dot"):
        config["attention_units"] = units
    for side in ("encoder", "decoder"):
        if residual and values[f"num_layers_{side}"] >= first:
            config[f"{side}_residual_from"] = first
    return config


def _build_initializers(values: Mapping[str, Any]) -> dict[str, Any]:
    scale = values["weight_init_scale"]
    if values["weight_init_type"] == "uniform":
        return {
            "kernel_initializer": "uniform",
            "embedding_initializer": "uniform",
            "initializer_scale": scale,
        }
    # Uniform in [-b, b]: b^2 is magnitude / fan in MXNet, and 3 scale / fan in Keras.
    initializer = {
        "class_name": "VarianceScaling",
        "config": {
            "scale": scale / 3,
            "mode": f"fan_{values['xavier_factor_type']}",
            "distribution": "uniform",
        },
    }
    return {"kernel_initializer": initializer, "embedding_initializer": initializer}


def _build_training_settings(values: Mapping[str, Any]) -> TrainingSettings:
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
        schedule_options = {
            "plateau_factor": values["plateau_reduce_lr_factor"],
            "plateau_patience": values["plateau_reduce_lr_threshold"],
        }
    else:
        checkpoints = values["fixed_rate_lr_half_life"]
        updates = values["checkpoint_frequency_num_batches"]
        schedule_options = {"half_life": checkpoints * updates}
    clip = values["clip_gradient"]
    max_updates = values["max_num_batches"]
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
        **schedule_options,
        metrics=tuple(metrics),
        optimized_metric=METRIC_NAMES[optimized],
        **decoding,
        checkpoint_updates=values["checkpoint_frequency_num_batches"],
        max_checkpoints_not_improved=values["checkpoint_threshold"],
        min_epochs=values["min_num_epochs"],
        max_epochs=values["max_num_epochs"],
        max_updates=max_updates if max_updates >= 0 else None,
    )
