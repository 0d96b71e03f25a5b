"""The whole model: its layers, and the inputs that it accepts."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from models.small_model import FEATURES, ROWS, SIZES, data, feed, make

from kseq import Seq2SeqConfig, build_decoder, build_encoder, build_seq2seq

# How it looks.


def test_the_summary_shows_every_layer_by_name() -> None:
    lines: list[str] = []
    make(reverse_source=True, decoder_units=6).summary(
        print_fn=lambda line, **_: lines.append(line), line_length=160
    )
    text = "\n".join(lines)
    for name, kind in [
        ("encoder_reversal", "ReverseSequence"),
        ("encoder_embedding", "Embedding"),
        ("encoder_lstm_1", "FusedLSTM"),
        ("decoder_init_1_h", "Dense"),
        ("decoder_embedding", "Embedding"),
        ("decoder_lstm_1", "FusedLSTM"),
        ("decoder_output", "Dense"),
    ]:
        assert f"{name} ({kind})" in text


def test_it_is_a_functional_keras_model_that_knows_its_config() -> None:
    config = Seq2SeqConfig(**SIZES)
    model = build_seq2seq(config, name="adder")
    assert isinstance(model, keras.Model)
    assert model.config is config
    assert model.name == "adder"
    assert set(model.input) == {"encoder_inputs", "decoder_inputs"}
    assert model.output_shape == (None, None, 12)


@pytest.mark.parametrize("build", [build_seq2seq, build_decoder, build_encoder])
def test_builders_take_a_config_or_keywords_but_not_both(
    build: Callable[..., Any],
) -> None:
    config = Seq2SeqConfig(**SIZES)
    build(config)
    build(**SIZES)
    with pytest.raises(ValueError, match=r"not both.*replace\(units=\.\.\.\)"):
        build(config, units=6)
    with pytest.raises(TypeError, match=r"`config` .*Seq2SeqConfig.*\{'units': 6\}"):
        build({"units": 6})
    with pytest.raises(ValueError, match=r"`unit`.*Did you mean `units`\?"):
        build(**SIZES, unit=6)


# What it takes.

BAD_INPUTS = [
    ({"encoder_inputs": np.ones((7, 3), "float32")}, "`encoder_inputs`.*int.*float32"),
    ({"decoder_inputs": np.ones((7, 3))}, "`decoder_inputs` .*integer.*float64"),
    ({"encoder_inputs": np.ones((7, 3), bool)}, "`encoder_inputs` .*integer.*bool"),
    ({"encoder_inputs": np.ones(7, int)}, r"`encoder_inputs`.*\(batch, time\).*\(7,\)"),
    ({"decoder_inputs": np.ones((7, 3, 1), int)}, r"`decoder_inputs`.*\(batch, time\)"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_INPUTS)
def test_inputs_of_another_dtype_or_rank_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()(feed(**changes))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((7, 4, 3), int), "`encoder_inputs` .*float.*int64"),
        (np.ones((7, 4)), r"`encoder_inputs` .*\(batch, time, dim\).*\(7, 4\)"),
        (np.ones((7, 4, 2)), r"(?s)encoder_inputs.*3.*\(7, 4, 2\)"),
    ],
)
def test_features_of_another_dtype_or_shape_are_refused(
    vectors: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(**FEATURES)(feed(encoder_inputs=vectors))


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_float_ids_are_refused_in_training_too(method: str) -> None:
    inputs, targets = data()
    model = make()
    model.compile()
    wrong = {**inputs, "encoder_inputs": inputs["encoder_inputs"].astype("float32")}
    with pytest.raises(ValueError, match="`encoder_inputs` must have an integer dtype"):
        getattr(model, method)(wrong, targets, verbose=0)


@pytest.mark.parametrize("how", ["missing", "more", "three"])
def test_inputs_are_a_dict_of_both(how: str) -> None:
    inputs = feed()
    if how == "missing":
        del inputs["decoder_inputs"]
    wrong = {
        "missing": inputs,
        "more": {**inputs, "mask": inputs["encoder_inputs"]},
        "three": [*inputs.values(), inputs["encoder_inputs"]],
    }[how]
    message = "dict of 'encoder_inputs' and 'decoder_inputs', or a list.*Received"
    with pytest.raises(ValueError, match=message):
        make()(wrong)


@pytest.mark.parametrize(
    ("representation", "name", "bad", "highest"),
    [
        ("embedding", "encoder_inputs", 11, 10),
        ("one_hot", "encoder_inputs", -1, 10),
        ("embedding", "decoder_inputs", -3, 11),
        ("one_hot", "decoder_inputs", 12, 11),
    ],
)
def test_ids_out_of_range_stop_a_training_by_name(
    representation: str, name: str, bad: int, highest: int
) -> None:
    settings = {"source_representation": representation}
    if representation == "one_hot":
        settings["embedding_dim"] = 256
    model = make(**settings)
    model.compile()
    inputs, targets = data()
    inputs[name][0, 0] = bad
    message = rf"(?s)`{name}` must hold token ids in 0\.\.{highest}\. .*{bad}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.fit(inputs, targets, verbose=0)


def test_targets_out_of_range_stop_a_training() -> None:
    model = make()
    model.compile()
    inputs, targets = data()
    targets[0, 0] = 12
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"(?s)targets must.*12"):
        model.fit(inputs, targets, verbose=0)


def test_targets_of_another_length_are_refused() -> None:
    model = make()
    model.compile()
    inputs, targets = data()
    with pytest.raises(ValueError, match=r"Targets must be ids of shape .* 7\)"):
        model.fit(inputs, np.pad(targets, ((0, 0), (0, 1))), verbose=0)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0, 0, 0, 0, 0], "`encoder_inputs` has a row of padding only"),
        ([0, 0, 5, 6, 3], "`encoder_inputs` has padding before a real step"),
    ],
    ids=["padding only", "left padding"],
)
@pytest.mark.parametrize("features", [False, True])
def test_padding_must_be_on_the_right_of_something(
    row: list[int], message: str, features: bool
) -> None:
    inputs, targets = data()
    inputs["encoder_inputs"][2] = row
    if features:
        ids = inputs["encoder_inputs"]
        inputs["encoder_inputs"] = (np.eye(11)[ids] * (ids != 0)[..., None])[..., 1:4]
        inputs["encoder_inputs"] += (ids != 0)[..., None]
    model = make(**(FEATURES if features else {}))
    model.compile()
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.evaluate(inputs, targets, verbose=0)


def test_padding_of_the_decoder_inputs_must_be_on_the_right() -> None:
    inputs, targets = data()
    inputs["decoder_inputs"][1] = [0, 0, *inputs["decoder_inputs"][1][:-2]]
    model = make()
    model.compile()
    message = "`decoder_inputs` has padding before a real step"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.evaluate(inputs, targets, verbose=0)


def test_the_global_policy_does_not_reach_a_model_with_its_own() -> None:
    inputs, _ = data()
    settings = {"reverse_source": True, "decoder_init": "mean", "layers": 2}
    model = make(**settings)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        other = make(**settings, dtype="float32")
        other.set_weights(model.get_weights())
        np.testing.assert_array_equal(other(inputs), model(inputs))
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "general", "input_feeding": True},
        {"attention": "coverage", "input_feeding": True, "cell": "gru"},
        {"attention": "multi_head_dot", "cell": "layer_norm_lstm", "layers": 2},
        {"attention": "dot", "input_feeding": True, "recurrent_dropout": 0.5},
    ],
)
def test_a_batch_known_to_be_empty_gives_empty_logits(settings: dict[str, Any]) -> None:
    model = make(**settings)
    inputs = {name: ids[:0] for name, ids in data()[0].items()}
    assert model(inputs).shape == (0, 6, 12)
    specs = {name: tf.TensorSpec(ids.shape, "int32") for name, ids in inputs.items()}
    graph = tf.function(lambda x: model(x, training=True), input_signature=[specs])
    assert graph(inputs).shape == (0, 6, 12)


@pytest.mark.parametrize("name", ["encoder_inputs", "decoder_inputs"])
def test_inputs_without_a_step_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` .* time of 1 or more.*7, 0"):
        make()(feed(**{name: np.zeros((ROWS, 0), "int32")}))
