"""What is compiled from a model follows every change of its layers."""

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseq import Ensemble, Seq2Seq, build_inference_models, build_seq2seq, score
from kseq.models.compiled_functions import CompiledCache, describe

SOURCE = np.array([[5, 6, 7, 3], [8, 4, 3, 0]])
TARGET = np.array([[5, 6, 3], [7, 3, 0]])
SCALAR = tf.TensorSpec((), "float32")
READ = np.array([[2, 5, 6], [2, 7, 0]])
FEED = {"encoder_inputs": SOURCE, "decoder_inputs": READ}


def make(**settings: Any) -> Seq2Seq:
    sizes = {"source_vocab_size": 9, "target_vocab_size": 9, "units": 8}
    model = build_seq2seq(**{**sizes, **settings})
    draw = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(draw.normal(0, 0.7, variable.shape))
    return model


def forced(model: Seq2Seq) -> np.ndarray:
    """Log-probabilities by the layers as they are now, called one by one."""
    logits = keras.ops.convert_to_numpy(model(FEED, training=False))
    log_probs = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    gained = np.take_along_axis(log_probs, TARGET[..., None], 2)[..., 0]
    return np.where(TARGET == 0, 0.0, gained)


def generated(decoder: Any) -> np.ndarray:
    """Log-probabilities of the first two tokens of `TARGET`, forced by a prefix."""
    prefix = np.where(TARGET == 3, 0, TARGET)[:1]
    return decoder.generate(SOURCE[:1], prefix=prefix, max_length=2).log_probs[:, 0]


def lora(model: Seq2Seq, name: str = "decoder_output") -> None:
    layer, draw = model.get_layer(name), np.random.default_rng(1)
    layer.enable_lora(2)
    for variable in layer.trainable_variables:
        if "lora" in variable.name:
            variable.assign(draw.normal(0, 0.7, variable.shape))


def another_weight(model: Seq2Seq) -> None:
    layer = model.get_layer("decoder_output")
    layer._tracker.unlock()
    layer.bias = keras.Variable(np.linspace(-2, 2, 9), name="bias")


CHANGES: dict[str, tuple[dict[str, Any], Callable[[Seq2Seq], Any]]] = {
    "lora_output": ({}, lambda model: lora(model, "decoder_output")),
    "lora_embedding": ({}, lambda model: lora(model, "decoder_embedding")),
    "quantized": (
        {"attention": "general"},
        lambda model: model.get_layer("decoder_output").quantize("int8"),
    ),
    "weight": ({}, another_weight),
    "no_bias": (
        {},
        lambda model: setattr(model.get_layer("decoder_output"), "bias", None),
    ),
    "activation": (
        {},
        lambda model: setattr(
            model.get_layer("decoder_output"), "activation", keras.activations.relu
        ),
    ),
    "activation_of_a_cell": (
        {"cell": "gru"},
        lambda model: setattr(
            model.get_layer("decoder_gru_1").cell, "activation", keras.activations.relu
        ),
    ),
    "activation_in_a_loop": (
        {"attention": "general", "input_feeding": True},
        lambda model: setattr(
            model.graph.decoder.core.recurrent[0].cell,
            "activation",
            keras.activations.relu,
        ),
    ),
    "encoder": (
        {},
        lambda model: setattr(
            model.get_layer("encoder_lstm_1").cell, "activation", keras.ops.sin
        ),
    ),
    "scaled": (
        {"attention": "dot", "units": 16},
        lambda model: setattr(model.get_layer("decoder_attention"), "scaled", True),
    ),
    "policy": (
        {},
        lambda model: setattr(
            model.get_layer("decoder_output"), "dtype_policy", "bfloat16"
        ),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_layer_is_noticed(change: str) -> None:
    settings, apply = CHANGES[change]
    model = make(**settings)
    first = model.compiled_cache.get("f", object)
    before = forced(model)
    assert model.compiled_cache.get("f", object) is first
    apply(model)
    assert np.abs(forced(model) - before).max() > 1e-4
    assert model.compiled_cache.get("f", object) is not first


@pytest.mark.parametrize("kind", ["model", "ensemble", "inference models"])
def test_a_changed_layer_shows_in_the_next_decode(kind: str) -> None:
    model = make()
    decoder: Any = model
    if kind == "ensemble":
        decoder = Ensemble([model, model])
    elif kind != "model":
        decoder = build_inference_models(model)
    before = generated(decoder)
    lora(model)
    expected = forced(model)[:1, :2]
    assert np.abs(expected - before).max() > 0.1
    np.testing.assert_allclose(generated(decoder), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["model", "ensemble"])
def test_a_changed_layer_shows_in_the_next_scores(kind: str) -> None:
    model = make()
    scored = model if kind == "model" else Ensemble([model, model])
    before = score(scored, SOURCE, TARGET)
    lora(model)
    expected = forced(model)
    assert np.abs(expected - before).max() > 0.1
    np.testing.assert_allclose(score(scored, SOURCE, TARGET), expected, atol=1e-5)


def test_an_ensemble_follows_its_own_attributes() -> None:
    models = [make(), make(cell="gru")]
    ensemble = Ensemble(models)
    first = ensemble.compiled_cache.get("f", object)
    assert ensemble.compiled_cache.get("f", object) is first
    ensemble.averaging = "log_linear"
    second = ensemble.compiled_cache.get("f", object)
    ensemble.models[0] = models[1]
    third = ensemble.compiled_cache.get("f", object)
    assert len({first, second, third}) == 3


def test_a_free_run_and_scheduled_sampling_follow_a_changed_layer() -> None:
    model = make()
    options = {"teacher_forcing_ratio": 0.5, "free_running_evaluation": True}
    model.compile("adam", **options)
    model.evaluate(FEED, TARGET, verbose=0)
    before = score(model, SOURCE, TARGET, free_running=True)
    lora(model, "decoder_output")
    after = score(model, SOURCE, TARGET, free_running=True)
    assert np.abs(after - before).max() > 1e-3
    model.compile("adam", **options)
    loss = model.evaluate(FEED, TARGET, verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(-after.sum() / 5, abs=1e-5)


def test_ordinary_use_between_two_decodes_traces_nothing(tmp_path: Any) -> None:
    model = make(attention="dot", input_feeding=True, recurrent_dropout=0.1)
    model.compile("adam", teacher_forcing_ratio=0.5)
    model.generate(SOURCE)
    searches = model._generator()
    model.fit(FEED, TARGET, verbose=0)
    assert model._generator() is searches
    model.set_weights(model.get_weights())
    model.get_layer("decoder_output").trainable = False
    model.compile("sgd")
    model(FEED, training=True)
    build_inference_models(model)
    model.summary(print_fn=lambda *args, **kwargs: None)
    model.save(tmp_path / "model.keras")
    model.load_weights(tmp_path / "model.keras")
    model.generate(SOURCE)
    assert model._generator() is searches
    (function,) = searches._compiled.values()
    assert function.experimental_get_tracing_count() == 1


class Counting(keras.layers.Layer):
    """Notes at each call what it was called on, and how often."""

    calls = 0

    def call(self, x: Any) -> Any:
        self.calls += 1
        self.last = x
        return x * self.factor() if hasattr(self, "options") else x

    def factor(self) -> float:
        return self.options["factor"]


def test_what_a_layer_notes_while_it_is_traced_is_no_change() -> None:
    layer = Counting()
    cache = CompiledCache(layer)
    function = cache.get("f", lambda: cache.compile(layer, [SCALAR]))
    function(1.0)
    assert cache.get("f", lambda: None) is function


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.options.update({"factor": 3.0}),
        lambda layer: layer.options.update({"more": 3.0}),
        lambda layer: setattr(layer, "options", {"factor": 3.0}),
        lambda layer: setattr(layer, "call", lambda x: 3 * x),
        lambda layer: setattr(type(layer), "factor", lambda self: 3.0),
    ],
)
def test_any_attribute_counts(
    change: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Counting, "factor", Counting.factor)
    layer = Counting()
    layer.options = {"factor": 2.0}
    cache = CompiledCache(layer)
    first = cache.get("f", object)
    layer.options = {"factor": 2.0}  # what equals the old is no change
    layer.trainable = False
    assert cache.get("f", object) is first
    change(layer)
    assert cache.get("f", object) is not first


def test_what_was_compiled_before_a_change_is_freed() -> None:
    model = make()
    model.generate(SOURCE)
    old = weakref.ref(next(iter(model._generator()._compiled.values())))
    model.get_layer("decoder_output").activation = keras.activations.relu
    model.generate(SOURCE)
    gc.collect()
    assert old() is None


def test_a_copy_begins_with_nothing_compiled() -> None:
    cache = CompiledCache([1, 2])
    cache.get("lock", threading.Lock)
    assert copy.deepcopy(cache).get("lock", list) == []


def adding(k: int) -> Callable[[int], int]:
    return lambda x: x + k


def test_a_description_tells_values_apart() -> None:
    different = [
        1,
        1.0,
        True,
        -0.0,
        0.0,
        "1",
        b"1",
        None,
        [1],
        (1,),
        {1: 2},
        np.ones(1),
    ]
    described = [describe(value) for value in different]
    assert len(set(described)) == len(different)
    assert describe(np.ones(1)) == describe(np.ones(1))
    assert describe(float("nan")) == describe(float("nan"))
    assert describe(lambda x: x) != describe(lambda x: -x)
    first, same, other = (describe(adding(k)) for k in (1, 1, 2))
    assert first == same != other
