"""What Keras and Python do with any model works on every architecture.

Each row of the table in docs/guarantees.md is a test. All are run before a decode and
after one: nothing that was compiled for it stays behind.
"""

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from laws.architectures import batch

import kseq
from kseq.data import Vocabulary

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "lstm": {},
    "bidirectional-gru": {
        "cell": "gru",
        "layers": 2,
        "encoder_direction": "bidirectional",
        "attention": "additive",
    },
    "input-feeding": {"attention": "general", "input_feeding": True},
    "tied": {
        "attention": "dot",
        "weight_tying": "all",
        "attention_units": 6,
        "embedding_dim": 8,
    },
    "layer-norm": {"cell": "layer_norm_lstm", "attention": "location_sensitive"},
}
SIZES: dict[str, Any] = {
    "source_vocab_size": 9,
    "target_vocab_size": 9,
    "units": 8,
    "embedding_dim": 6,
}
ROW = {"source_representation": "embedding"}
INPUTS, TARGETS = batch(ROW)
INPUTS = {name: tf.constant(np.minimum(ids, 8)) for name, ids in INPUTS.items()}
SOURCE = INPUTS["encoder_inputs"].numpy()


# Keras has tf.data compile its functions all the same, and TensorFlow warns of that.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the:UserWarning")


@pytest.fixture(autouse=True)
def without_compiling(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs all but the tests named so without compiling, which takes most time."""
    tf.config.run_functions_eagerly("compiled" not in request.node.name)
    yield
    tf.config.run_functions_eagerly(False)


def build(name: str) -> kseq.Seq2Seq:
    model = kseq.build_seq2seq(**{**SIZES, **ARCHITECTURES[name]})
    draw = np.random.default_rng(0)
    model.set_weights([draw.normal(0, 0.4, w.shape) for w in model.get_weights()])
    return model


def decode(model: Any) -> Any:
    return model.generate(SOURCE, max_length=3)


def dense_layers(model: kseq.Seq2Seq) -> list[Any]:
    return [
        each for each in model._flatten_layers() if isinstance(each, keras.layers.Dense)
    ]


def check_is_one(model: kseq.Seq2Seq) -> None:
    """Checks that training model, one-step decoder and search are one model."""
    logits = model(INPUTS)
    inference = kseq.build_inference_models(model)
    encoded = dict(inference.encoder(INPUTS["encoder_inputs"]))
    for time in range(logits.shape[1]):
        token = INPUTS["decoder_inputs"][:, time]
        step = inference.decoder_step({**encoded, "token": token})
        real = token.numpy() != 0
        np.testing.assert_allclose(
            step["logits"].numpy()[real], logits.numpy()[:, time][real], atol=1e-5
        )
        encoded["states"] = step["states"]
    found = decode(model)
    forced = kseq.score(model, SOURCE, found.tokens).sum(axis=-1)
    np.testing.assert_allclose(found.scores, forced, atol=1e-5)


def check_are_alike(model: kseq.Seq2Seq, other: kseq.Seq2Seq) -> None:
    assert type(other) is kseq.Seq2Seq
    np.testing.assert_array_equal(other(INPUTS), model(INPUTS))
    one, same = decode(model), decode(other)
    np.testing.assert_array_equal(one.tokens, same.tokens)
    np.testing.assert_allclose(one.scores, same.scores, atol=1e-6)


QUICK = [("input-feeding", True), ("tied", False), ("layer-norm", True)]
each_architecture = pytest.mark.parametrize(
    ("name", "decoded"),
    [
        pytest.param(
            *case,
            id=f"{case[0]}-{'after' if case[1] else 'before'}",
            marks=() if case in QUICK else pytest.mark.slow,
        )
        for case in itertools.product(ARCHITECTURES, [False, True])
    ],
)
before_and_after = pytest.mark.parametrize("decoded", [False, True])


def model_of(name: str, decoded: bool) -> kseq.Seq2Seq:
    model = build(name)
    if decoded:
        decode(model)
    return model


@each_architecture
def test_save_and_load(name: str, decoded: bool, tmp_path: Path) -> None:
    model = model_of(name, decoded)
    model.save(tmp_path / "model.keras")
    check_are_alike(model, kseq.load_model(tmp_path / "model.keras"))


@each_architecture
def test_pickle_deepcopy_and_clone(name: str, decoded: bool) -> None:
    model = model_of(name, decoded)
    for other in (_pickled(model), copy.deepcopy(model)):
        assert type(other) is kseq.Seq2Seq
        np.testing.assert_array_equal(other(INPUTS), model(INPUTS))
    clone = keras.models.clone_model(model)
    assert np.abs(clone(INPUTS) - model(INPUTS)).max() > 0
    clone.set_weights(model.get_weights())
    check_are_alike(model, clone)


@each_architecture
def test_set_weights(name: str, decoded: bool) -> None:
    model = model_of(name, decoded)
    model.set_weights([0.5 * each for each in model.get_weights()])
    check_is_one(model)


@each_architecture
@pytest.mark.parametrize(
    "change",
    [
        "int4",
        "lora+int8",
        *[
            pytest.param(change, marks=pytest.mark.slow)
            for change in ("lora", "int8", "float8")
        ],
    ],
)
def test_lora_and_quantized(
    name: str, decoded: bool, change: str, tmp_path: Path
) -> None:
    model = model_of(name, decoded)
    before = model(INPUTS)
    if "lora" in change:
        for layer in [*dense_layers(model), model.get_layer(_embedding(model))]:
            layer.enable_lora(2)
            second = getattr(layer, "lora_kernel_b", None)
            second = layer.lora_embeddings_b if second is None else second
            second.assign(0.3 * keras.ops.ones_like(second))
    if change != "lora":
        model.quantize(change.removeprefix("lora+"))
    assert np.abs(model(INPUTS) - before).max() > 1e-4
    check_is_one(model)
    model.save(tmp_path / "model.keras")
    check_are_alike(model, kseq.load_model(tmp_path / "model.keras"))


def _embedding(model: kseq.Seq2Seq) -> str:
    names = [each.name for each in model.layers if "embedding" in each.name]
    return names[-1]


@each_architecture
def test_freeze_at_any_depth(name: str, decoded: bool) -> None:
    model = model_of(name, decoded)
    layers = model._flatten_layers(include_self=False)
    frozen = [each for each in layers if each._trainable_variables][1::2]
    for layer in frozen:
        layer.trainable = False
    kept = {id(v): v.numpy() for each in frozen for v in each.variables}
    model.compile(keras.optimizers.SGD(1.0))
    model.fit(INPUTS, TARGETS, verbose=0)
    for variable in model.weights:
        if id(variable) in kept:
            np.testing.assert_array_equal(variable, kept[id(variable)])
    assert len(model.trainable_variables) < len(model.weights)
    again = copy.deepcopy(model)
    assert len(again.trainable_variables) == len(model.trainable_variables)
    check_are_alike(model, again)


@each_architecture
def test_custom_training_loop(name: str, decoded: bool) -> None:
    model = model_of(name, decoded)
    loss, optimizer = kseq.losses.MaskedCrossentropy(), keras.optimizers.Adam(0.05)
    values = []
    for _ in range(3):
        with tf.GradientTape() as tape:
            value = loss(TARGETS, model(INPUTS, training=True))
        values.append(float(value))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
    assert values[2] < values[0]
    check_is_one(model)


@each_architecture
def test_sub_model(name: str, decoded: bool, tmp_path: Path) -> None:
    model = model_of(name, decoded)
    part = keras.Model(
        model.input["encoder_inputs"], model.get_layer("encoder_memory").output
    )
    memory = kseq.build_inference_models(model).encoder(SOURCE)["memory"]
    np.testing.assert_allclose(part(SOURCE), memory, atol=1e-6)
    part.save(tmp_path / "part.keras")
    again = keras.saving.load_model(tmp_path / "part.keras")
    np.testing.assert_allclose(again(SOURCE), memory, atol=1e-6)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_mixed_precision(name: str, tmp_path: Path) -> None:
    settings = {**SIZES, **ARCHITECTURES[name]}
    model = kseq.build_seq2seq(**settings, dtype="mixed_bfloat16")
    model.compile()
    model.fit(INPUTS, TARGETS, verbose=0)
    model.save(tmp_path / "model.keras")
    check_are_alike(model, kseq.load_model(tmp_path / "model.keras"))


def test_compiled_searches_follow_quantization_and_lora() -> None:
    model = model_of("input-feeding", decoded=True)
    kseq.score(model, SOURCE, decode(model).tokens)
    for layer in dense_layers(model):
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(0.3 * keras.ops.ones_like(layer.lora_kernel_b))
    check_is_one(model)
    model.quantize("int8")
    check_is_one(model)


def test_export_compiled(tmp_path: Path) -> None:
    model = model_of("input-feeding", decoded=True)
    model.quantize("int8")
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "exported")
    np.testing.assert_allclose(loaded.serve(INPUTS), model(INPUTS), atol=1e-5)


@before_and_after
def test_what_holds_models_is_pickled_and_copied(decoded: bool) -> None:
    model = model_of("input-feeding", decoded)
    vocab = Vocabulary(list("abcde"))
    texts = ["a b", "c"]
    held = [
        (kseq.Translator(model, vocab, vocab), lambda each: each.translate(texts)),
        (
            kseq.Ensemble([model, build("lstm")], "log_linear"),
            lambda each: decode(each).scores.round(5).tolist(),
        ),
        (
            kseq.build_inference_models(model),
            lambda each: decode(each).scores.round(5).tolist(),
        ),
    ]
    for value, use in held:
        expected = use(value) if decoded else None
        for copied in (copy.copy, copy.deepcopy, _pickled):
            other = copied(value)
            assert type(other) is type(value)
            assert use(other) == (expected if decoded else use(value))
    assert copy.copy(held[0][0]).model is model


def _pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


PLAIN: list[Callable[[], Any]] = [
    lambda: Vocabulary(["a", "b"], tokenizer="characters"),
    lambda: kseq.decoding.LengthRatio(1.0, 0.2),
    lambda: kseq.Seq2SeqConfig(source_vocab_size=9, target_vocab_size=9, cell="gru"),
]


@pytest.mark.parametrize("make", PLAIN)
def test_what_is_equal_by_its_settings_stays_so(make: Callable[[], Any]) -> None:
    value = make()
    for copied in (copy.copy, copy.deepcopy, _pickled):
        assert copied(value) == value
