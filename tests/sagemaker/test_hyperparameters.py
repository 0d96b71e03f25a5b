"""SageMaker's hyperparameters: each has an effect or raises an error."""

from typing import Any

import pytest

from kseq import Seq2SeqConfig
from kseq.sagemaker.hyperparameters import HYPERPARAMETERS, Job, read_hyperparameters


def job(**given: str) -> Job:
    found = read_hyperparameters(given)
    Seq2SeqConfig(source_vocab_size=9, target_vocab_size=9, **found.model)
    return found


# For each of the recurrent ones: values, and what they make of a job.
EFFECTS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "max_seq_len_source": ({}, {"max_source_length": 7}),
    "max_seq_len_target": ({}, {"max_target_length": 7}),
    "batch_size": ({}, {"batch_size": 7}),
    "bucketing_enabled": (
        {"bucketing_enabled": "false"},
        {"bucket_width": None, "buckets": 0},
    ),
    "bucket_width": ({}, {"bucket_width": 7, "buckets": None}),
    "num_layers_encoder": (
        {},
        {"encoder_layers": 7, "encoder_direction": "bidirectional_first"},
    ),
    "num_layers_decoder": (
        {},
        {"decoder_layers": 7, "attention_in_upper_layers": True},
    ),
    "num_embed_source": ({}, {"source_embedding_dim": 7}),
    "num_embed_target": ({}, {"target_embedding_dim": 7}),
    "embed_dropout_source": (
        {"embed_dropout_source": "0.25"},
        {"source_embedding_dropout": 0.25},
    ),
    "embed_dropout_target": (
        {"embed_dropout_target": "0.25"},
        {"target_embedding_dropout": 0.25},
    ),
    "rnn_num_hidden": ({"rnn_num_hidden": "8"}, {"units": 8, "attention_units": 8}),
    "rnn_cell_type": ({"rnn_cell_type": "gru"}, {"cell": "gru"}),
    "rnn_decoder_state_init": (
        {"rnn_decoder_state_init": "avg"},
        {"decoder_init": "mean"},
    ),
    "rnn_residual_connections": (
        {
            "rnn_residual_connections": "true",
            "num_layers_encoder": "3",
            "num_layers_decoder": "2",
        },
        {"encoder_residual_from": 2, "decoder_residual_from": 2},
    ),
    "rnn_first_residual_layer": (
        {
            "rnn_residual_connections": "true",
            "num_layers_encoder": "3",
            "rnn_first_residual_layer": "3",
        },
        {"encoder_residual_from": 3, "decoder_residual_from": None},
    ),
    "rnn_decoder_hidden_dropout": (
        {"rnn_decoder_hidden_dropout": "0.25"},
        {"hidden_dropout": 0.25},
    ),
    "rnn_attention_type": (
        {"rnn_attention_type": "bilinear"},
        {"attention": "general", "attention_units": None},
    ),
    "rnn_attention_num_hidden": ({}, {"attention": "additive", "attention_units": 7}),
    "rnn_attention_in_upper_layers": (
        {"rnn_attention_in_upper_layers": "false", "num_layers_decoder": "2"},
        {"attention_in_upper_layers": False},
    ),
    "optimizer_type": ({"optimizer_type": "rmsprop"}, {"optimizer": "rmsprop"}),
    "learning_rate": ({"learning_rate": "0.25"}, {"learning_rate": 0.25}),
    "weight_decay": ({"weight_decay": "0.25"}, {"weight_decay": 0.25}),
    "momentum": (
        {"momentum": "0.25", "optimizer_type": "sgd"},
        {"momentum": 0.25, "optimizer": "sgd"},
    ),
    "clip_gradient": (
        {"clip_gradient": "-1"},
        {"clipvalue": None, "global_clipnorm": 0.0},
    ),
    "weight_init_type": (
        {"weight_init_type": "uniform", "weight_init_scale": "0.25"},
        {
            "kernel_initializer": "uniform",
            "embedding_initializer": "uniform",
            "initializer_scale": 0.25,
        },
    ),
    "weight_init_scale": (
        {"weight_init_scale": "3"},
        {
            "kernel_initializer": {
                "class_name": "VarianceScaling",
                "config": {"scale": 1.0, "mode": "fan_in", "distribution": "uniform"},
            }
        },
    ),
    "xavier_factor_type": (
        {"weight_init_scale": "3", "xavier_factor_type": "avg"},
        {
            "kernel_initializer": {
                "class_name": "VarianceScaling",
                "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform"},
            }
        },
    ),
    "lr_scheduler_type": (
        {
            "lr_scheduler_type": "fixed_rate_inv_sqrt_t",
            "checkpoint_frequency_num_batches": "50",
        },
        {"schedule": "inverse_sqrt", "half_life": 500, "plateau_factor": None},
    ),
    "plateau_reduce_lr_factor": (
        {"plateau_reduce_lr_factor": "0.25"},
        {"plateau_factor": 0.25},
    ),
    "plateau_reduce_lr_threshold": ({}, {"plateau_patience": 7}),
    "fixed_rate_lr_half_life": (
        {
            "fixed_rate_lr_half_life": "7",
            "lr_scheduler_type": "fixed_rate_inv_t",
            "checkpoint_frequency_num_batches": "50",
        },
        {"schedule": "inverse_time", "half_life": 350},
    ),
    "training_metric": (
        {"training_metric": "accuracy"},
        {"training_metric": "accuracy"},
    ),
    "optimized_metric": (
        {"optimized_metric": "bleu"},
        {
            "optimized_metric": "bleu",
            "metrics": ("perplexity", "token_accuracy", "bleu"),
            "decode_pairs": None,
            "beam_width": 5,
        },
    ),
    "checkpoint_frequency_num_batches": ({}, {"checkpoint_updates": 7}),
    "checkpoint_threshold": ({}, {"max_checkpoints_not_improved": 7}),
    "min_num_epochs": ({}, {"min_epochs": 7}),
    "max_num_epochs": ({}, {"max_epochs": 7}),
    "max_num_batches": ({}, {"max_updates": 7}),
    "bleu_sample_size": (
        {},
        {"decode_pairs": 7, "metrics": ("perplexity", "token_accuracy", "bleu")},
    ),
    "beam_size": (
        {"beam_size": "7", "bleu_sample_size": "-1"},
        {"beam": 7, "beam_width": 7, "decode_pairs": None},
    ),
}
# Of one choice, or of two of which one is refused.
NO_CHOICE = {"encoder_type": "rnn", "decoder_type": "rnn", "loss_type": "cross-entropy"}
CNN = [name for name in HYPERPARAMETERS if name.startswith("cnn_")]


def everything(found: Job) -> dict[str, Any]:
    return {
        "source_embedding_dropout": None,
        "attention_units": None,
        "encoder_residual_from": None,
        "decoder_residual_from": None,
        **found.model,
        **vars(found.settings),
        "max_source_length": found.max_source_length,
        "max_target_length": found.max_target_length,
        "beam": found.beam_width,
        "training_metric": found.training_metric,
    }


def test_all_49_hyperparameters_are_known() -> None:
    assert len(HYPERPARAMETERS) == 49
    assert set(HYPERPARAMETERS) == {*EFFECTS, *NO_CHOICE, *CNN}
    assert len(CNN) == 5


@pytest.mark.parametrize("name", EFFECTS)
def test_each_hyperparameter_has_its_effect(name: str) -> None:
    given, effect = EFFECTS[name]
    given = given or {name: "7"}
    assert name in given
    with_it = everything(job(**given))
    assert {key: with_it[key] for key in effect} == effect
    others = {key: value for key, value in given.items() if key != name}
    try:
        without = everything(job(**others))
    except ValueError:
        return  # its default does not go with the others
    assert any(without[key] != value for key, value in effect.items())


def test_the_defaults_are_those_of_the_algorithm() -> None:
    found = everything(job())
    expected = {
        "max_source_length": 100,
        "max_target_length": 100,
        "batch_size": 64,
        "bucket_width": 10,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "source_embedding_dim": 512,
        "target_embedding_dim": 512,
        "units": 1024,
        "attention_units": 1024,
        "attention": "additive",
        "cell": "lstm",
        "decoder_init": "last",
        "hidden_dropout": 0.0,
        "optimizer": "adam",
        "learning_rate": 0.0003,
        "weight_decay": None,
        "clipvalue": 1.0,
        "schedule": "plateau",
        "plateau_factor": 0.5,
        "plateau_patience": 3,
        "optimized_metric": "perplexity",
        "metrics": ("perplexity", "token_accuracy"),
        "checkpoint_updates": 1000,
        "max_checkpoints_not_improved": 3,
        "min_epochs": 0,
        "max_epochs": None,
        "max_updates": None,
        "beam": 5,
        "training_metric": "perplexity",
    }
    assert {key: found[key] for key in expected} == expected
    given = {name: str(each.default).lower() for name, each in HYPERPARAMETERS.items()}
    for name in (
        *CNN,
        "momentum",
        "fixed_rate_lr_half_life",
        "rnn_first_residual_layer",
    ):
        del given[name]  # without effect, so refused even as they are
    assert job(**given) == job()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        *(
            ({name: "3"}, f"`{name}` must be left out: .* convolutional")
            for name in CNN
        ),
        ({"encoder_type": "cnn"}, "`encoder_type` must be rnn"),
        ({"decoder_type": "cnn"}, "`decoder_type` must be rnn"),
        ({"loss_type": "ctc"}, "one of 'cross-entropy'. Received: 'ctc'"),
        ({"batchsize": "3"}, "Unknown hyperparameter `batchsize`. .* `batch_size`"),
        ({"batch_size": "many"}, "must be an integer. Received: 'many'"),
        ({"batch_size": "0"}, "an integer of at least 1. Received: '0'"),
        ({"batch_size": 3}, "must be a string. Received: 3"),
        ({"batch_size": "1.5"}, "must be an integer"),
        ({"learning_rate": "nan"}, "a number of at least 0"),
        ({"learning_rate": "-1"}, "a number of at least 0"),
        ({"embed_dropout_source": "2"}, r"in \[0, 1\]. Received: '2'"),
        ({"bucketing_enabled": "yes"}, "must be true or false. Received: 'yes'"),
        ({"rnn_cell_type": "rnn"}, "one of 'lstm', 'gru'. Received: 'rnn'"),
        ({"rnn_first_residual_layer": "1"}, "at least 2"),
        ({"max_num_batches": "0"}, "-1 or at least 1"),
        ({"momentum": "0.9"}, "unless `optimizer_type` is sgd"),
        ({"bucket_width": "5", "bucketing_enabled": "false"}, "unless .* is true"),
        (
            {"rnn_first_residual_layer": "2"},
            "unless `rnn_residual_connections` is true",
        ),
        ({"rnn_residual_connections": "true"}, "must be false with 1 layers"),
        (
            {"rnn_attention_num_hidden": "8", "rnn_attention_type": "fixed"},
            "is mlp or dot. Received: '8' with 'fixed'",
        ),
        (
            {"xavier_factor_type": "in", "weight_init_type": "uniform"},
            "unless .* is xavier",
        ),
        ({"fixed_rate_lr_half_life": "3"}, "fixed_rate_inv_t or fixed_rate_inv_sqrt_t"),
        (
            {
                "plateau_reduce_lr_factor": "0.5",
                "lr_scheduler_type": "fixed_rate_inv_t",
            },
            "unless .* is plateau_reduce",
        ),
    ],
)
def test_invalid_values_and_values_without_effect_are_refused(
    given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        read_hyperparameters(given)
