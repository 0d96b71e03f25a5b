"""Compiling, training and evaluating a model."""

import gc
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from models.small_model import FEATURES, ROWS, SIZES, data, make
from tensorflow.python.framework.func_graph import FuncGraph

from kseq import Seq2Seq, build_seq2seq
from kseq.losses import MaskedCrossentropy
from kseq.metrics import Perplexity, TokenAccuracy
from kseq.training.optimizers import Adam


def test_compile_has_defaults_that_fit_sequences() -> None:
    model = make()
    model.compile()
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert isinstance(model.loss, MaskedCrossentropy)
    history = model.fit(*data(), verbose=0).history
    assert set(history) == {"loss", "token_accuracy"}


def test_metrics_are_taken_by_name_and_as_objects() -> None:
    model = make()
    model.compile(metrics=["perplexity", "sequence_accuracy"])
    inputs, targets = data()
    assert set(model.evaluate(inputs, targets, verbose=0, return_dict=True)) == {
        "loss",
        "perplexity",
        "sequence_accuracy",
    }
    model.compile(
        metrics=[TokenAccuracy(name="plain")],
        weighted_metrics=["token_accuracy", Perplexity(name="weighted")],
    )
    found = model.evaluate(
        inputs, targets, sample_weight=np.arange(7.0), verbose=0, return_dict=True
    )
    assert set(found) == {"loss", "plain", "token_accuracy", "weighted"}


def test_no_metrics_may_be_asked_for() -> None:
    model = make()
    model.compile(metrics=[])
    assert set(model.fit(*data(), verbose=0).history) == {"loss"}


def test_a_loss_of_ones_own_is_trained_on() -> None:
    def distance(y_true: Any, y_pred: Any) -> Any:
        return tf.reduce_mean(tf.square(y_pred - 1.0))

    model = make()
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss=distance)
    inputs, targets = data()
    losses = model.fit(inputs, targets, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    logits = model.predict(inputs, verbose=0)
    assert model.evaluate(inputs, targets, verbose=0)[0] == pytest.approx(
        float(np.mean((logits - 1) ** 2)), rel=1e-4
    )


@pytest.mark.parametrize("jit", [False, True])
def test_a_model_learns_seven_pairs_by_heart(jit: bool) -> None:
    model = make(units=16)
    model.compile(
        optimizer=keras.optimizers.Adam(0.05),
        weighted_metrics=["sequence_accuracy"],
        jit_compile=jit,
    )
    inputs, targets = data()
    model.fit(inputs, targets, epochs=60, verbose=0)
    assert model.evaluate(inputs, targets, verbose=0)[1] == 1.0


def token_means(
    model: Seq2Seq, inputs: Any, targets: Any, weights: Any
) -> dict[str, float]:
    """Loss and metrics over all tokens at once, by numpy."""
    logits = model.predict(inputs, verbose=0).astype("float64")
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    losses = -np.take_along_axis(log_probs, targets[..., None], axis=-1)[..., 0]
    right = logits.argmax(axis=-1) == targets
    mask = (targets != 0) * np.asarray(weights)[:, None]
    loss = float((losses * mask).sum() / mask.sum())
    return {
        "loss": loss,
        "perplexity": float(np.exp(loss)),
        "token_accuracy": float((right * mask).sum() / mask.sum()),
        "sequence_accuracy": float(
            ((right | (targets == 0)).all(axis=1) * weights).sum() / np.sum(weights)
        ),
    }


@pytest.mark.parametrize(
    "weights",
    [np.ones(ROWS), np.array([2.0, 0.5, 0.0, 3.0, 1.0, 0.0, 0.25])],
    ids=["unweighted", "weighted"],
)
@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_fit_displays_the_token_means_of_the_epoch(
    weights: np.ndarray, steps_per_execution: int
) -> None:
    """Also over batches of unequal token counts, in training and in validation."""
    model = make()
    model.compile(
        optimizer=keras.optimizers.SGD(0.0),  # so that the epoch has one model
        weighted_metrics=["token_accuracy", "sequence_accuracy", "perplexity"],
        steps_per_execution=steps_per_execution,
    )
    # Make it right now and then, or the accuracies would say little.
    model.get_layer("decoder_output").bias.assign(np.eye(12)[3] * 4)
    inputs, targets = data()
    # Batches of 2, 2, 2 and 1 rows, of 11, 8, 3 and 1 tokens.
    history = model.fit(
        inputs,
        targets,
        sample_weight=weights,
        batch_size=2,
        shuffle=False,
        validation_data=(inputs, targets, weights),
        validation_batch_size=3,
        epochs=2,
        verbose=0,
    ).history
    expected = token_means(model, inputs, targets, weights)
    assert 0 < expected["token_accuracy"] < 1
    assert 0 < expected["sequence_accuracy"] < 1
    for name, value in expected.items():
        assert history[name] == pytest.approx([value] * 2, rel=1e-5), name
        assert history[f"val_{name}"] == pytest.approx([value] * 2, rel=1e-5), name
    found = model.evaluate(
        inputs,
        targets,
        sample_weight=weights,
        batch_size=3,
        verbose=0,
        return_dict=True,
    )
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_dataset_of_batches_of_unequal_lengths_is_displayed_exactly() -> None:
    inputs, targets = data()

    def batches() -> Iterator[Any]:
        for start in range(0, ROWS, 2):
            rows = slice(start, start + 2)
            longest = int((targets[rows] != 0).sum(axis=1).max())
            yield (
                {
                    "encoder_inputs": inputs["encoder_inputs"][rows],
                    "decoder_inputs": inputs["decoder_inputs"][rows, :longest],
                },
                targets[rows, :longest],
            )

    ids = tf.TensorSpec([None, None], "int32")
    dataset = tf.data.Dataset.from_generator(
        batches, output_signature=(dict.fromkeys(inputs, ids), ids)
    )
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(4))
    model = make()
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns of its own default, shuffle=True
        history = model.fit(dataset, validation_data=dataset, verbose=0).history
    expected = token_means(model, inputs, targets, np.ones(ROWS))
    for name in ("loss", "token_accuracy"):
        assert history[name] == pytest.approx([expected[name]], rel=1e-5)
        assert history[f"val_{name}"] == pytest.approx([expected[name]], rel=1e-5)


def test_arrays_are_shuffled_unless_told_otherwise() -> None:
    inputs, targets = data()

    def trained(**options: Any) -> list[np.ndarray]:
        keras.utils.set_random_seed(1)
        model = make()
        model.compile(optimizer=keras.optimizers.SGD(1.0))
        model.fit(inputs, targets, batch_size=1, verbose=0, **options)
        return model.get_weights()

    def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
        return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

    assert same(trained(), trained(shuffle=True))
    assert not same(trained(), trained(shuffle=False))


def test_the_default_accuracy_heeds_weights() -> None:
    model = make()
    model.compile()
    model.get_layer("decoder_output").bias.assign(np.eye(12)[3] * 4)
    inputs, targets = data()
    weights = np.array([2.0, 0.5, 0.0, 3.0, 1.0, 0.0, 0.25])
    found = model.evaluate(inputs, targets, sample_weight=weights, verbose=0)
    expected = token_means(model, inputs, targets, weights)
    assert found == pytest.approx([expected["loss"], expected["token_accuracy"]])


def test_weights_of_tokens_are_heeded_in_fit() -> None:
    model = make()
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    inputs, targets = data()
    weights = np.zeros(targets.shape)
    weights[:, 0] = 1.0
    losses = model.fit(
        inputs, targets, sample_weight=weights, batch_size=2, shuffle=False, verbose=0
    ).history["loss"]
    first = {**inputs, "decoder_inputs": inputs["decoder_inputs"][:, :1]}
    expected = token_means(model, first, targets[:, :1], np.ones(ROWS))["loss"]
    assert losses == pytest.approx([expected], rel=1e-5)


def test_fit_takes_numpy_arrays_and_a_validation_split() -> None:
    model = make()
    model.compile()
    inputs, targets = data()
    history = model.fit(
        inputs, targets, batch_size=2, epochs=2, validation_split=0.3, verbose=0
    ).history
    assert len(history["val_token_accuracy"]) == 2
    assert np.isfinite(history["val_loss"]).all()


def test_a_features_source_trains() -> None:
    inputs, targets = data()
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(ROWS, 5, 3)).astype("float32")
    vectors *= (inputs["encoder_inputs"] != 0)[..., None]
    model = make(**FEATURES)
    model.compile(optimizer=keras.optimizers.Adam(0.05))
    losses = model.fit(
        {**inputs, "encoder_inputs": vectors}, targets, epochs=20, verbose=0
    ).history["loss"]
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("given_by", ["argument", "global policy"])
def test_mixed_precision_trains_and_gives_float32_logits(given_by: str) -> None:
    options: dict[str, Any] = {}
    if given_by == "argument":
        options["dtype"] = "mixed_float16"
    else:
        keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build_seq2seq(**SIZES, **options, decoder_init="mean")
        model.compile(optimizer=keras.optimizers.Adam(0.05))
    finally:
        keras.config.set_dtype_policy("float32")
    # Without scaling, small gradients vanish in float16.
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    inputs, targets = data()
    losses = model.fit(inputs, targets, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    assert model(inputs).dtype == "float32"
    assert {v.dtype for v in model.weights} == {"float32"}
    assert model.get_layer("decoder_lstm_1").compute_dtype == "float16"
    assert model.generate(inputs["encoder_inputs"]).scores.dtype == "float64"


def test_a_frozen_model_is_evaluated_by_fit() -> None:
    model = make()
    model.trainable = False
    model.compile()
    before = [weight.copy() for weight in model.get_weights()]
    model.fit(*data(), verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# What the optimizer is given.


def moves(dtype: str = "float32", **compiled: Any) -> list[np.ndarray]:
    """What one step of gradient descent at a rate of 1 takes off the weights."""
    keras.utils.set_random_seed(0)
    model = make(dtype=dtype, attention="dot")
    compiled = {"optimizer": keras.optimizers.SGD(1.0), **compiled}
    compiled["run_eagerly"] = True  # quicker for a single step
    model.compile(**compiled)
    before = model.get_weights()
    model.fit(*data(), batch_size=ROWS, verbose=0, shuffle=False)
    pairs = zip(before, model.get_weights(), strict=True)
    return [old - new for old, new in pairs]


TOKENS = int((data()[1] != 0).sum())


def test_the_gradient_of_the_sum_is_one_for_each_token() -> None:
    # A rate for each token moves the weights as the same rate times the batch's tokens.
    of_sum = moves(optimizer=keras.optimizers.SGD(0.01), gradient="sum")
    of_mean = moves(optimizer=keras.optimizers.SGD(0.01 * TOKENS))
    assert max(np.abs(each).max() for each in of_mean) > 0.01
    for one, other in zip(of_sum, of_mean, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_tokens_of_no_weight_do_not_count() -> None:
    inputs, target = data()
    weights = np.ones(target.shape)
    weights[0] = 0

    def moved(**compiled: Any) -> np.ndarray:
        keras.utils.set_random_seed(0)
        model = make()
        model.compile(**compiled)
        before = model.get_layer("decoder_output").get_weights()[1]
        model.fit(inputs, target, sample_weight=weights, batch_size=ROWS, verbose=0)
        return before - model.get_layer("decoder_output").get_weights()[1]

    rate = 0.01 * int((target[1:] != 0).sum())
    np.testing.assert_allclose(
        moved(optimizer=keras.optimizers.SGD(0.01), gradient="sum"),
        moved(optimizer=keras.optimizers.SGD(rate)),
        rtol=1e-4,
    )


@pytest.mark.parametrize("gradient", ["mean", "sum"])
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_the_gradient_is_cut_at_a_limit_for_each_token(
    gradient: str, dtype: str
) -> None:
    limit, tokens = 0.004, TOKENS if gradient == "sum" else 1
    whole = moves(dtype)
    cut = moves(dtype, gradient=gradient, clipvalue_per_token=limit)
    size = np.concatenate([each.ravel() for each in whole])
    assert (np.abs(size) > 2 * limit).any()
    assert ((np.abs(size) < limit / 2) & (size != 0)).any()
    for one, other in zip(cut, whole, strict=True):
        wanted = tokens * np.clip(other, -limit, limit)
        np.testing.assert_allclose(one, wanted, rtol=1e-3, atol=2e-6 * tokens)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"gradient": "max"}, ValueError, r"`gradient` must be one of 'mean', 'sum'"),
        (
            {"clipvalue_per_token": 0},
            ValueError,
            "`clipvalue_per_token` must be above 0",
        ),
        ({"clipvalue_per_token": -1.0}, ValueError, "`clipvalue_per_token`"),
        ({"clipvalue_per_token": "2"}, TypeError, "`clipvalue_per_token`"),
    ],
)
def test_other_gradients_are_refused(given: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        make().compile(**given)


def test_a_file_keeps_what_the_optimizer_is_given(tmp_path: Path) -> None:
    model = make()
    model.compile(gradient="sum", clipvalue_per_token=0.5)
    model.fit(*data(), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    config = again.get_compile_config()
    assert (config["gradient"], config["clipvalue_per_token"]) == ("sum", 0.5)


@pytest.mark.parametrize("options", [{}, {"global_clipnorm": 0.01}], ids=str)
def test_an_optimizer_of_keras_gets_one_gradient_for_a_token_that_occurs_again(
    options: dict[str, float],
) -> None:
    x, y = data()
    weights = []
    for cls in (keras.optimizers.Adam, Adam):
        keras.utils.set_random_seed(0)
        model = make()
        model.compile(cls(0.1, **options))
        model.fit(x, y, epochs=2, batch_size=ROWS, verbose=0)
        weights.append(model.get_weights())
    for stock, exact in zip(*weights, strict=True):
        np.testing.assert_allclose(stock, exact, atol=1e-6)


def test_graphs_and_models_die_with_the_last_reference() -> None:
    inputs, targets = data()

    def fitted() -> weakref.ref[Any]:
        model = make()
        model.compile()
        model.fit(inputs, targets, verbose=0)
        return weakref.ref(model)

    def graphs() -> int:
        gc.collect()
        return sum(isinstance(each, FuncGraph) for each in gc.get_objects())

    before = graphs()
    model = fitted()
    assert graphs() == before
    assert model() is None


# The arguments of `compile`.


def test_xla_is_used_where_it_is_asked_for_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on a GPU, where Keras's own default turns it on."""
    gpu = tf.config.PhysicalDevice("gpu", "GPU")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [gpu])
    model = make()
    assert not model.jit_compile  # `predict` needs no compile
    for options in ({}, {"jit_compile": "auto"}, {"jit_compile": False}):
        model.compile(**options)
        assert not model.jit_compile
    model.save(tmp_path / "model.keras")
    assert not keras.saving.load_model(tmp_path / "model.keras").jit_compile
    model.compile(jit_compile=True)
    assert model.jit_compile


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": None}, "`optimizer`.*None"),
        ({"jit_compile": "yes"}, "`jit_compile` must be True, False or 'auto'.*'yes'"),
        ({"steps_per_execution": 0}, "`steps_per_execution`.*0"),
        ({"loss_weights": {"x": 2.0}}, "`loss_weights`.*'decoder_output'.*'x'"),
        ({"metrics": "accuracy"}, "`metrics` must be a list.*'accuracy'"),
        ({"loss": "mse"}, "`loss` must be.*'mse'"),
        ({"weighted_metrics": ["mse"]}, "metric must be.*'mse'"),
    ],
)
def test_arguments_of_compile_that_mean_nothing_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make().compile(**options)


def test_the_names_of_keras_are_the_default_loss_and_accuracy() -> None:
    model = make()
    inputs, targets = data()
    model.compile()
    expected = model.evaluate(inputs, targets, verbose=0)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    found = model.evaluate(inputs, targets, verbose=0, return_dict=True)
    assert list(found.values()) == pytest.approx(expected[::-1])
    assert set(found) == {"accuracy", "loss"}


def test_a_loss_that_is_not_scaled_is_not_after_loading(tmp_path: Path) -> None:
    model = build_seq2seq(**SIZES, dtype="mixed_float16")
    model.compile(auto_scale_loss=False)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer, keras.optimizers.Adam)


def test_a_validation_split_is_a_share() -> None:
    model = make()
    model.compile()
    with pytest.raises(ValueError, match=r"`validation_split`.*\[0, 1\).*1\.5"):
        model.fit(*data(), validation_split=1.5)


@pytest.mark.parametrize("method", ["fit", "train_on_batch"])
def test_a_step_is_traced_once(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    traced: list[int] = []
    model = make()
    step = Seq2Seq.train_step

    def counted(self: Seq2Seq, data: Any) -> Any:
        traced.append(1)
        return step(self, data)

    monkeypatch.setattr(Seq2Seq, "train_step", counted)
    model.compile()
    for _ in range(2):
        getattr(model, method)(*data())
    assert len(traced) == 1
