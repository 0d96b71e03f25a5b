"""Architectures: valid settings, and errors for invalid ones."""

import json
import math
from typing import Any

import keras
import numpy as np
import pytest

from kseq import Seq2SeqConfig
from kseq.layers import (
    AdditiveAttention,
    Attention,
    DotAttention,
    LocationSensitiveAttention,
)

SIZES: dict[str, Any] = {"source_vocab_size": 11, "target_vocab_size": 13}
FEATURES: dict[str, Any] = {
    "source_representation": "features",
    "source_feature_dim": 3,
    "target_vocab_size": 13,
}


@keras.saving.register_keras_serializable(package="test_config")
class OwnGRU(keras.layers.GRU):
    """A recurrent layer of a user."""


@keras.saving.register_keras_serializable(package="test_config")
class OwnAttention(AdditiveAttention):
    """An attention of a user."""


def config(**settings: Any) -> Seq2SeqConfig:
    return Seq2SeqConfig(**{**SIZES, **settings})


def gru(**settings: Any) -> keras.layers.Layer:
    return keras.layers.GRU(1, **settings)


# Settings, and parts of their error message: field, valid values, value.
VALUE_ERRORS = [
    ({"source_representation": "onehot"}, "`source_representation` 'one_hot' 'onehot'"),
    ({"target_representation": "features"}, "`target_representation` 'one_hot'"),
    ({"encoder_direction": "both"}, "`encoder_direction` 'bidirectional_first' 'both'"),
    ({"decoder_init": "first"}, "`decoder_init` 'mean' 'zeros' 'first'"),
    ({"decoder_init_projection": "no"}, "`decoder_init_projection` 'auto' 'no'"),
    ({"decoder_init_layers": "top"}, "`decoder_init_layers` 'all' 'first' 'top'"),
    ({"cell": "LSTM"}, "`cell` 'lstm' 'simple_rnn' 'LSTM' Keras layer"),
    ({"source_vocab_size": 0}, "`source_vocab_size` at least 5 special 0"),
    ({"target_vocab_size": 4}, "`target_vocab_size` at least 5 special 4"),
    ({"source_vocab_size": None}, "`source_vocab_size` required len(vocab)"),
    ({"embedding_dim": 0}, "`embedding_dim` at least 1 0"),
    ({"source_embedding_dim": 0}, "`source_embedding_dim` at least 1 0"),
    ({"target_embedding_dim": -1}, "`target_embedding_dim` at least 1 -1"),
    ({**FEATURES, "source_feature_dim": 0}, "`source_feature_dim` at least 1 0"),
    ({"units": -1}, "`units` at least 1 -1"),
    ({"encoder_units": 0}, "`encoder_units` at least 1 0"),
    ({"decoder_units": 0}, "`decoder_units` at least 1 0"),
    ({"layers": 0}, "`layers` at least 1 0"),
    ({"encoder_layers": 0}, "`encoder_layers` at least 1 0"),
    ({"decoder_layers": 0}, "`decoder_layers` at least 1 0"),
    (
        FEATURES,
        "`source_vocab_size` needs source_representation='embedding' 11 'features'",
    ),
    (
        {**FEATURES, "source_vocab_size": None, "source_feature_dim": None},
        "`source_feature_dim` required 'features'",
    ),
    ({"source_feature_dim": 3}, "`source_feature_dim` 'features' 3 'embedding'"),
    (
        {"units": 7, "encoder_direction": "bidirectional"},
        "`encoder_units` even 7 'bidirectional'",
    ),
    (
        {"encoder_units": 7, "encoder_direction": "bidirectional_first"},
        "`encoder_units` even 7 'bidirectional_first'",
    ),
    ({"encoder_residual_from": 2}, "`encoder_residual_from` between 2 layers 1 2"),
    (
        {"layers": 3, "decoder_residual_from": 1},
        "`decoder_residual_from` between 2 layers 3 1",
    ),
    ({"layers": 2, "dropout": 1.0}, "`dropout` [0, 1) 1.0"),
    ({"embedding_dropout": -0.1}, "`embedding_dropout` [0, 1) -0.1"),
    ({"recurrent_dropout": math.nan}, "`recurrent_dropout` [0, 1) nan"),
    ({"dropout": 0.1}, "`dropout` between layers 0.1 `recurrent_dropout`"),
    (
        {"decoder_layers": 2, "encoder_dropout": 0.1},
        "`encoder_dropout` between layers 0.1 `encoder_layers`",
    ),
    (
        {"encoder_layers": 2, "decoder_dropout": 0.1},
        "`decoder_dropout` between layers 0.1 `decoder_layers`",
    ),
    (
        {"source_representation": "one_hot", "source_embedding_dim": 4},
        "`source_embedding_dim` source_representation='embedding' 4",
    ),
    (
        {"target_representation": "one_hot", "target_embedding_dropout": 0.1},
        "`target_embedding_dropout` target_representation='embedding' 0.1",
    ),
    (
        {"source_representation": "one_hot", "embedding_dim": 4},
        "`embedding_dim` one side 4",
    ),
    (
        {"source_representation": "one_hot", "embedding_dropout": 0.1},
        "`embedding_dropout` one side 0.1",
    ),
    (
        {"source_representation": "one_hot", "embedding_initializer": "zeros"},
        "`embedding_initializer` one side 'zeros'",
    ),
    (
        {"decoder_init": "zeros", "decoder_init_projection": "dense"},
        "`decoder_init_projection` decoder_init='zeros' 'dense'",
    ),
    (
        {"decoder_init": "zeros", "decoder_init_layers": "first", "layers": 2},
        "`decoder_init_layers` decoder_init='zeros' 'first'",
    ),
    (
        {"decoder_init_layers": "first"},
        "`decoder_init_layers` `decoder_layers` >= 2 'first' one layer",
    ),
    (
        {"cell": "layer_norm_lstm", "encoder_units": 1},
        "`encoder_units` at least 2 'layer_norm_lstm' 1",
    ),
    (
        {"cell": "layer_norm_gru", "decoder_units": 1},
        "`decoder_units` at least 2 'layer_norm_gru' 1",
    ),
    (
        {
            "cell": "layer_norm_gru",
            "units": 2,
            "encoder_direction": "bidirectional_first",
        },
        "`encoder_units` at least 4 each direction 2",
    ),
    ({"cell": "gru", "forget_bias": 1.0}, "`forget_bias` cell='lstm' 1.0 'gru'"),
    ({"forget_bias": math.inf}, "`forget_bias` [-1e+38, 1e+38] inf"),
    ({"forget_bias": 1e39}, "`forget_bias` [-1e+38, 1e+38] float32 1e+39"),
    ({"initializer_scale": 1e39}, "`initializer_scale` (0, 1e+38] float32 1e+39"),
    (
        {"kernel_initializer": keras.initializers.STFT()},
        "`kernel_initializer` matrices any size STFT",
    ),
    (
        {"embedding_initializer": keras.initializers.Constant(np.ones(3))},
        "`embedding_initializer` matrices any size Constant",
    ),
    ({"cell": "simple_rnn", "fused": False}, "`fused` 'lstm' 'gru' 'simple_rnn'"),
    ({"initializer_scale": 0.0}, "`initializer_scale` (0, 1e+38] 0.0"),
    ({"initializer_scale": math.inf}, "`initializer_scale` (0, 1e+38] inf"),
    (
        {"initializer_scale": 0.1, "embedding_initializer": "glorot_uniform"},
        "`initializer_scale` 'uniform' 'orthogonal' 0.1",
    ),
    # The default embedding initializer is "uniform", but there is no embedding.
    (
        {"source_representation": "one_hot", "initializer_scale": 0.1},
        "`initializer_scale` 'uniform' 'orthogonal' 0.1",
    ),
    ({"kernel_initializer": "glorot"}, "`kernel_initializer` Keras 'glorot_uniform'"),
    ({"recurrent_initializer": {"a": 1}}, "`recurrent_initializer` Keras {'a': 1}"),
    ({"cell": {"a": 1}}, "`cell` recurrent units {'a': 1}"),
    ({"cell": {"class_name": "X", "config": {}}}, "`cell` registered 'X'"),
    ({"cell": "layer_norm"}, "`cell` 'layer_norm_lstm' 'layer_norm_gru' 'layer_norm'"),
    (
        {"cell": "layer_norm_gru", "forget_bias": 1.0},
        "`forget_bias` cell='lstm' 'layer_norm_lstm' 1.0 'layer_norm_gru'",
    ),
    ({"input_dropout": 1.0}, "`input_dropout` [0, 1) 1.0"),
    ({"encoder_input_dropout": -0.1}, "`encoder_input_dropout` [0, 1) -0.1"),
    ({"decoder_input_dropout": 1.5}, "`decoder_input_dropout` [0, 1) 1.5"),
    ({"hidden_dropout": math.nan}, "`hidden_dropout` [0, 1) nan"),
    ({"attention": "bahdanau"}, "`attention` 'additive' 'fixed' None 'bahdanau'"),
    ({"attention": "none"}, "`attention` 'dot' None kseq.layers.DotAttention() 'none'"),
    ({"attention": {"a": 1}}, "`attention` kseq.layers.Attention {'a': 1}"),
    (
        {"attention": {"class_name": "X", "config": {}}},
        "`attention` kseq.layers.Attention registered 'X'",
    ),
    (
        {"attention": keras.layers.Dense(1)},
        "`attention` kseq.layers.Attention 'Dense'",
    ),
    ({"attention": "additive", "attention_units": 0}, "`attention_units` at least 1 0"),
    (
        {"attention": "multi_head_dot", "attention_heads": 0},
        "`attention_heads` at least 1 0",
    ),
    (
        {"attention": "location", "attention_positions": 0},
        "`attention_positions` at least 1 0",
    ),
    (
        {"attention": "dot", "attention_output_units": -1},
        "`attention_output_units` at least 1 -1",
    ),
    (
        {"attention_units": 4},
        "`attention_units` 'dot' 'additive' 'coverage' 4 attention=None",
    ),
    ({"attention": "general", "attention_units": 4}, "`attention_units` 4 'general'"),
    (
        {"attention": "additive", "attention_heads": 2},
        "`attention_heads` attention='multi_head_dot' 2 'additive'",
    ),
    (
        {"attention": "dot", "attention_positions": 5},
        "`attention_positions` attention='location' 5 'dot'",
    ),
    (
        {"attention": AdditiveAttention(4), "attention_units": 4},
        "`attention_units` layer 4 AdditiveAttention",
    ),
    (
        {"attention_output_units": 4},
        "`attention_output_units` needs `attention` 4",
    ),
    ({"input_feeding": True}, "`input_feeding` needs `attention` True"),
    ({"context_gate": True}, "`context_gate` needs `attention` True"),
    (
        {"attention_in_upper_layers": True, "layers": 2},
        "`attention_in_upper_layers` needs `attention` True",
    ),
    (
        {"attention_previous_word": True},
        "`attention_previous_word` needs `attention` True",
    ),
    (
        {"attention": "general", "attention_in_upper_layers": True},
        "`attention_in_upper_layers` `decoder_layers` >= 2 True one layer",
    ),
    (
        {"attention": "multi_head_dot", "attention_units": 12},
        "`attention_units` multiple `attention_heads` 12 8",
    ),
    (
        {"attention": "multi_head_dot", "units": 12, "attention_heads": 5},
        "`attention_units` multiple `attention_heads` 12 5",
    ),
    ({"weight_tying": "target"}, "`weight_tying` 'none' 'target_softmax' 'target'"),
    ({"stabilizer": "both"}, "`stabilizer` 'none' 'shared' 'separate' 'both'"),
]
# Messages about several fields begin with the field that needs the others.
REFUSED_TOGETHER = [
    (
        {"attention": DotAttention(), "encoder_units": 8},
        "attention=DotAttention widths 256 8 `units` 'general'",
    ),
    (
        {"attention": DotAttention(scaled=True), "attention_previous_word": True},
        "attention=DotAttention widths 512 256 `units`",
    ),
    (
        {"attention": "dot", "encoder_units": 6, "decoder_units": 4},
        "attention='dot' 4 6 `attention_units` 'general'",
    ),
    (
        {
            "attention": "scaled_dot",
            "units": 6,
            "embedding_dim": 3,
            "attention_previous_word": True,
        },
        "attention='scaled_dot' 9 6 `attention_units` 'general'",
    ),
    (
        {"weight_tying": "target_softmax", "units": 6, "embedding_dim": 4},
        "weight_tying='target_softmax' `target_embedding_dim` 6 4",
    ),
    (
        {
            "weight_tying": "target_softmax",
            "units": 6,
            "embedding_dim": 6,
            "attention": "dot",
            "attention_output_units": 5,
        },
        "weight_tying='target_softmax' `target_embedding_dim` 5 6",
    ),
    (
        {"weight_tying": "target_softmax", "target_representation": "one_hot"},
        "weight_tying='target_softmax' `target_representation` 'embedding' 'one_hot'",
    ),
    (
        {"weight_tying": "source_target"},
        "weight_tying='source_target' `source_vocab_size` 13 11",
    ),
    (
        {
            "weight_tying": "source_target",
            "source_vocab_size": 13,
            "source_embedding_dim": 4,
            "target_embedding_dim": 6,
        },
        "weight_tying='source_target' `source_embedding_dim` 6 4",
    ),
    (
        {
            "weight_tying": "source_target",
            "source_vocab_size": 13,
            "source_representation": "one_hot",
            "target_representation": "embedding",
        },
        "weight_tying='source_target' `source_representation` 'embedding' 'one_hot'",
    ),
    (
        {
            "weight_tying": "all",
            "source_vocab_size": None,
            "source_representation": "features",
            "source_feature_dim": 3,
        },
        "weight_tying='all' `source_representation` 'embedding' 'features'",
    ),
    (
        {
            "weight_tying": "all",
            "source_vocab_size": 13,
            "units": 6,
            "embedding_dim": 4,
        },
        "weight_tying='all' `target_embedding_dim` 6 4",
    ),
    ({"weight_tying": "all"}, "weight_tying='all' `source_vocab_size` 13 11"),
]

TYPE_ERRORS = [
    ({"units": 8.0}, "`units` integer 8.0"),
    ({"units": True}, "`units` integer True"),
    ({"layers": "2"}, "`layers` integer '2'"),
    ({"source_vocab_size": "11"}, "`source_vocab_size` integer '11'"),
    ({"target_vocab_size": None}, "`target_vocab_size` integer None"),
    ({"layers": 2, "dropout": "a lot"}, "`dropout` number 'a lot'"),
    ({"embedding_dropout": False}, "`embedding_dropout` number False"),
    ({"reverse_source": 1}, "`reverse_source` True or False 1"),
    ({"encoder_direction": 2}, "`encoder_direction` 'forward' 2"),
    ({"decoder_init": None}, "`decoder_init` 'last' None"),
    ({"cell": keras.layers.Dense(1)}, "`cell` keras.layers.GRU(1) Dense"),
    ({"cell": keras.layers.GRUCell(1)}, "`cell` keras.layers.GRU(1) GRUCell"),
    ({"cell": keras.layers.GRU}, "`cell` keras.layers.GRU(1) gru.GRU"),
    ({"cell": 3}, "`cell` keras.layers.GRU(1) 3"),
    ({"kernel_initializer": 0.1}, "`kernel_initializer` Keras 0.1"),
    ({"kernel_initializer": keras.initializers.Zeros}, "`kernel_initializer` Zeros"),
    ({"input_dropout": "a lot"}, "`input_dropout` number 'a lot'"),
    ({"hidden_dropout": None}, "`hidden_dropout` number None"),
    ({"attention": 3}, "`attention` 'dot' kseq.layers.DotAttention() 3"),
    ({"attention": False}, "`attention` 'dot' kseq.layers.DotAttention() False"),
    ({"attention": DotAttention}, "`attention` 'dot' kseq.layers.DotAttention() class"),
    ({"attention": "additive", "attention_units": 4.0}, "`attention_units` integer 4"),
    ({"attention": "dot", "input_feeding": 1}, "`input_feeding` True or False 1"),
    ({"attention": "dot", "context_gate": None}, "`context_gate` True or False None"),
    ({"weight_tying": None}, "`weight_tying` 'none' None"),
    ({"stabilizer": True}, "`stabilizer` 'shared' True"),
]


def names(cases: list[tuple[dict[str, Any], str]]) -> list[str]:
    return [text.split()[0].strip("`") for _, text in cases]


@pytest.mark.parametrize(("settings", "parts"), VALUE_ERRORS, ids=names(VALUE_ERRORS))
def test_a_bad_value_is_refused_by_name(settings: dict[str, Any], parts: str) -> None:
    with pytest.raises(ValueError, match=r"^(`|Unknown)") as error:
        config(**settings)
    assert [part for part in parts.split() if part not in str(error.value)] == []


@pytest.mark.parametrize(("settings", "parts"), TYPE_ERRORS, ids=names(TYPE_ERRORS))
def test_a_wrong_type_is_refused_by_name(settings: dict[str, Any], parts: str) -> None:
    with pytest.raises(TypeError, match=r"^`") as error:
        config(**settings)
    assert [part for part in parts.split() if part not in str(error.value)] == []


@pytest.mark.parametrize(
    ("settings", "parts"), REFUSED_TOGETHER, ids=names(REFUSED_TOGETHER)
)
def test_invalid_combinations_are_refused_by_name(
    settings: dict[str, Any], parts: str
) -> None:
    with pytest.raises(ValueError, match=r"^(attention|weight_tying)=") as error:
        config(**settings)
    assert [part for part in parts.split() if part not in str(error.value)] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "layer_norm_lstm", "forget_bias": 0.0},
        {"cell": "layer_norm_gru", "recurrent_dropout": 0.1, "input_dropout": 0.1},
        {"hidden_dropout": 0.5},
        {"cell": "gru", "fused": False},
        {"attention": "dot"},
        {"attention": "dot", "encoder_units": 6, "attention_units": 4},
        {"attention": "general", "encoder_units": 6, "decoder_units": 4},
        {"attention": "scaled_dot", "attention_units": 4},
        {"attention": "additive", "attention_units": 4, "input_feeding": True},
        {"attention": "multi_head_dot", "attention_units": 10, "attention_heads": 5},
        {"attention": "location", "attention_positions": 1},
        {"attention": "location_sensitive", "attention_units": 4},
        {"attention": "coverage", "context_gate": True},
        {"attention": "fixed", "attention_output_units": 3},
        {
            "attention": "dot",
            "layers": 2,
            "attention_in_upper_layers": True,
            "attention_previous_word": True,
            "attention_units": 4,
        },
        # The query is as wide as the memory only with the word in it.
        {
            "attention": "dot",
            "encoder_units": 12,
            "decoder_units": 8,
            "embedding_dim": 4,
            "attention_previous_word": True,
        },
        {"attention": DotAttention(units=4), "input_feeding": True},
        {"attention": OwnAttention(4)},
        {"weight_tying": "target_softmax"},
        # What is tied is as wide as the last hidden layer, not as the decoder.
        {
            "weight_tying": "target_softmax",
            "attention": "dot",
            "units": 8,
            "attention_output_units": 5,
            "target_embedding_dim": 5,
        },
        {
            "weight_tying": "target_softmax",
            "source_representation": "one_hot",
            "target_representation": "embedding",
        },
        {"weight_tying": "source_target", "source_vocab_size": 13, "embedding_dim": 4},
        {"weight_tying": "all", "source_vocab_size": 13},
        {"stabilizer": "shared"},
        {"stabilizer": "separate", "source_representation": "one_hot"},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_valid_combinations_are_restored_from_json(
    settings: dict[str, Any],
) -> None:
    made = config(**settings)
    assert Seq2SeqConfig.from_json(made.to_json()) == made
    for name, value in settings.items():
        if not isinstance(value, Attention):
            assert getattr(made, name) == value


@pytest.mark.parametrize("setting", ["go_backwards", "stateful", "unroll"])
def test_a_cell_that_a_decoder_cannot_step_through_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=f"`cell`.*{setting}=False.*{setting}=True"):
        config(cell=gru(**{setting: True}))


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.RNN(keras.layers.LSTMCell(1)),
        keras.layers.ConvLSTM1D(1, 1),
    ],
    ids=["rnn", "conv"],
)
def test_a_cell_without_units_is_refused(layer: keras.layers.Layer) -> None:
    with pytest.raises(ValueError, match="`cell` must be a recurrent Keras layer"):
        config(cell=layer)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("recurrent_initializer", "zeros"),
        ("recurrent_dropout", 0.1),
        ("encoder_recurrent_dropout", 0.1),
        ("decoder_recurrent_dropout", 0.1),
        ("input_dropout", 0.1),
        ("encoder_input_dropout", 0.1),
        ("decoder_input_dropout", 0.1),
    ],
)
def test_settings_of_a_layer_given_as_cell_are_set_on_it(
    setting: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=f"`{setting}`.*on the layer.*{value}"):
        config(cell=gru(), **{setting: value})


def test_a_shared_setting_applies_to_both_sides() -> None:
    made = config(
        units=6,
        layers=3,
        dropout=0.1,
        recurrent_dropout=0.2,
        embedding_dropout=0.3,
        input_dropout=0.4,
        embedding_dim=5,
    )
    for side in (made.encoder, made.decoder):
        assert (side.units, side.layers, side.input_dim) == (6, 3, 5)
        assert side.dropout == 0.1
        assert side.recurrent_dropout == 0.2
        assert side.embedding_dropout == 0.3
        assert side.input_dropout == 0.4
    assert made.encoder.vocab_size == 11
    assert made.decoder.vocab_size == 13


@pytest.mark.parametrize(
    ("shared", "encoder", "decoder", "field"),
    [
        ("units", "encoder_units", "decoder_units", "units"),
        ("layers", "encoder_layers", "decoder_layers", "layers"),
        ("embedding_dim", "source_embedding_dim", "target_embedding_dim", "input_dim"),
    ],
)
def test_the_size_of_a_side_overrides_the_shared_one(
    shared: str, encoder: str, decoder: str, field: str
) -> None:
    made = config(**{shared: 4, encoder: 2})
    assert (getattr(made.encoder, field), getattr(made.decoder, field)) == (2, 4)
    made = config(**{shared: 4, decoder: 2})
    assert (getattr(made.encoder, field), getattr(made.decoder, field)) == (4, 2)


@pytest.mark.parametrize(
    ("shared", "encoder", "decoder", "field"),
    [
        ("dropout", "encoder_dropout", "decoder_dropout", "dropout"),
        (
            "recurrent_dropout",
            "encoder_recurrent_dropout",
            "decoder_recurrent_dropout",
            "recurrent_dropout",
        ),
        (
            "input_dropout",
            "encoder_input_dropout",
            "decoder_input_dropout",
            "input_dropout",
        ),
        (
            "embedding_dropout",
            "source_embedding_dropout",
            "target_embedding_dropout",
            "embedding_dropout",
        ),
    ],
)
def test_the_rate_of_a_side_overrides_the_shared_one_even_if_zero(
    shared: str, encoder: str, decoder: str, field: str
) -> None:
    made = config(layers=2, **{shared: 0.4, encoder: 0.0})
    assert (getattr(made.encoder, field), getattr(made.decoder, field)) == (0.0, 0.4)
    made = config(layers=2, **{shared: 0.4, decoder: 0.0})
    assert (getattr(made.encoder, field), getattr(made.decoder, field)) == (0.4, 0.0)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("embedding", None, "embedding"),
        ("one_hot", None, "one_hot"),
        ("one_hot", "embedding", "embedding"),
        ("embedding", "one_hot", "one_hot"),
    ],
)
def test_the_target_is_represented_as_the_source_by_default(
    source: str, target: str | None, expected: str
) -> None:
    made = config(source_representation=source, target_representation=target)
    assert made.decoder.representation == expected


def test_a_features_source_has_its_own_width_and_an_embedded_target() -> None:
    made = Seq2SeqConfig(**FEATURES, embedding_dim=5)
    assert (made.encoder.input_dim, made.encoder.vocab_size) == (3, 0)
    assert (made.decoder.representation, made.decoder.input_dim) == ("embedding", 5)


def test_a_one_hot_side_is_as_wide_as_its_vocabulary() -> None:
    made = config(source_representation="one_hot")
    assert (made.encoder.input_dim, made.decoder.input_dim) == (11, 13)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("forward", [False, False, False]),
        ("bidirectional_first", [True, False, False]),
        ("bidirectional", [True, True, True]),
    ],
)
def test_the_direction_selects_the_bidirectional_layers(
    direction: str, expected: list[bool]
) -> None:
    made = config(layers=3, encoder_direction=direction)
    assert [made.is_bidirectional(layer) for layer in range(3)] == expected


def test_json_keeps_every_field() -> None:
    made = config(
        target_representation="one_hot",
        source_embedding_dim=3,
        reverse_source=True,
        encoder_units=6,
        decoder_units=5,
        encoder_layers=3,
        decoder_layers=2,
        encoder_direction="bidirectional_first",
        encoder_residual_from=2,
        decoder_residual_from=2,
        source_embedding_dropout=0.1,
        encoder_dropout=0.2,
        decoder_dropout=0.3,
        encoder_recurrent_dropout=0.4,
        decoder_recurrent_dropout=0.5,
        encoder_input_dropout=0.1,
        decoder_input_dropout=0.2,
        hidden_dropout=0.3,
        attention="location",
        attention_positions=7,
        attention_output_units=4,
        input_feeding=True,
        context_gate=True,
        attention_in_upper_layers=True,
        attention_previous_word=True,
        stabilizer="separate",
        decoder_init="mean",
        decoder_init_projection="dense",
        decoder_init_layers="first",
        kernel_initializer="uniform",
        initializer_scale=0.08,
        forget_bias=2.0,
        fused=False,
    )
    text = made.to_json()
    assert Seq2SeqConfig.from_json(text) == made
    assert json.loads(text)["format_version"] == 1


@pytest.mark.parametrize(
    "cell", [gru(reset_after=False), OwnGRU(1, use_bias=False)], ids=["gru", "own"]
)
def test_json_keeps_keras_objects(cell: keras.layers.Layer) -> None:
    made = config(
        cell=cell,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.3, seed=1),
        embedding_initializer=keras.initializers.Constant(0.5),
    )
    again = Seq2SeqConfig.from_json(made.to_json())
    assert again == made
    assert again.cell["config"]["units"] == 1
    assert again.kernel_initializer["config"]["stddev"] == 0.3


@pytest.mark.parametrize(
    "attention",
    [
        LocationSensitiveAttention(5, filters=3, kernel_size=2, cumulative=True),
        OwnAttention(5, kernel_initializer=keras.initializers.Constant(0.5)),
    ],
    ids=["location", "own"],
)
def test_json_keeps_an_attention_with_its_own_settings(
    attention: Attention,
) -> None:
    made = config(attention=attention)
    again = Seq2SeqConfig.from_json(made.to_json())
    assert again == made
    layer = keras.saving.deserialize_keras_object(again.attention)
    assert type(layer) is type(attention)
    assert layer.get_config() == attention.get_config()
    assert config(attention=made.attention) == made  # a config stands for its object


def test_the_last_hidden_layer_is_as_wide_as_the_decoder_by_default() -> None:
    assert config(units=8).hidden_units == 8
    assert config(units=8, decoder_units=6).hidden_units == 6
    assert config(units=8, attention="dot", attention_output_units=5).hidden_units == 5


def test_replace_removes_and_changes_the_attention() -> None:
    made = config(attention=DotAttention(units=4), units=8)
    other = made.replace(attention="additive", attention_units=4)
    assert (other.attention, other.attention_units, other.units) == ("additive", 4, 8)
    assert made.replace(attention=None).attention is None
    assert made.replace(units=16).attention == made.attention
    with pytest.raises(ValueError, match=r"`attention_units`.*4 with attention=None"):
        other.replace(attention=None)


def test_an_unknown_field_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match=r"`encoder_layer`.*`encoder_layers`\?"):
        Seq2SeqConfig.from_dict({**SIZES, "encoder_layer": 2})


def test_an_unknown_field_is_refused_with_all_fields() -> None:
    with pytest.raises(ValueError, match=r"`zzz`\. The fields are: source_vocab_size"):
        Seq2SeqConfig.from_dict({**SIZES, "zzz": 2})


@pytest.mark.parametrize("version", [2, 99, "1", None])
def test_a_newer_format_is_refused(version: Any) -> None:
    values = {**config().to_dict(), "format_version": version}
    with pytest.raises(ValueError, match=f"version {version!r}.*newer kseq"):
        Seq2SeqConfig.from_dict(values)


def test_other_types_than_mappings_are_refused() -> None:
    with pytest.raises(TypeError, match=r"mapping.*Received: \[1, 2\]"):
        Seq2SeqConfig.from_json("[1, 2]")


def test_the_target_vocabulary_is_required() -> None:
    with pytest.raises(ValueError, match="`target_vocab_size` is required"):
        Seq2SeqConfig.from_dict({"source_vocab_size": 11})


def test_replace_changes_a_copy() -> None:
    made = config(units=8)
    changed = made.replace(units=16, cell="gru")
    assert (changed.units, changed.cell, changed.source_vocab_size) == (16, "gru", 11)
    assert (made.units, made.cell) == (8, "lstm")


def test_replace_checks_the_copy() -> None:
    made = config(units=8, encoder_direction="bidirectional")
    with pytest.raises(ValueError, match=r"even.*7"):
        made.replace(units=7)
    with pytest.raises(ValueError, match=r"`unit`.*`units`\?"):
        made.replace(unit=7)


def test_numpy_numbers_become_python_numbers() -> None:
    made = config(units=np.int64(8), layers=np.int32(2), dropout=np.float32(0.25))
    assert (type(made.units), type(made.layers), type(made.dropout)) == (
        int,
        int,
        float,
    )
    assert made == config(units=8, layers=2, dropout=0.25)
    assert Seq2SeqConfig.from_json(made.to_json()) == made


def test_an_integer_is_a_rate_too() -> None:
    assert config(forget_bias=2).forget_bias == 2.0


def test_a_config_is_immutable() -> None:
    with pytest.raises(AttributeError, match="units"):
        config().units = 3  # type: ignore[misc]
