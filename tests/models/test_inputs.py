"""What a model is fed: pairs, one-hot arrays of Keras's examples, weights."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseq import Seq2Seq, build_seq2seq
from kseq.data import Examples

SYMBOLS = [*"01234+"]
# Number 0 is a symbol, and one that rows begin and end with.
X = np.array([[0, 5, 0], [1, 5, 0], [2, 5, 1], [0, 5, 4]])
Y = np.array([[0, 0, 0], [0, 1, 0], [3, 0, 2], [4, 4, 0]])
W: dict[str, Any] = {"verbose": 0}


def one_hot(numbers: np.ndarray, dtype: Any = "float64") -> np.ndarray:
    return np.eye(6, dtype=dtype)[numbers]


def make(**settings: Any) -> Seq2Seq:
    sizes = {"source_vocab_size": 10, "target_vocab_size": 10, "units": 16}
    return build_seq2seq(**{**sizes, "source_representation": "one_hot", **settings})


IDS = {
    "encoder_inputs": (X + 4).astype("int32"),
    "decoder_inputs": np.concatenate([np.full((4, 1), 2), Y[:, :-1] + 4], 1),
}
TARGETS = Y + 4


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8", bool])
def test_one_hot_vectors_are_the_ids_after_the_special_ones(dtype: Any) -> None:
    model = make(attention="dot", reverse_source=True)
    found = model.predict([one_hot(X, dtype), one_hot(Y[:, :-1], dtype)], **W)
    assert found.shape == (4, 2, 10)
    np.testing.assert_allclose(found, model(IDS)[:, 1:], atol=1e-6)


def test_a_step_of_zeros_is_padding() -> None:
    source, read = one_hot(X), one_hot(Y[:, :-1])
    source[0, 2], read[0, 1] = 0, 0
    ids = {name: array.copy() for name, array in IDS.items()}
    ids["encoder_inputs"][0, 2], ids["decoder_inputs"][0, 2] = 0, 0
    model = make(attention="dot")
    found, expected = model((source, read)), model(ids)[:, 1:]
    np.testing.assert_allclose(found[0, :1], expected[0, :1], atol=1e-6)
    np.testing.assert_allclose(found[1:], expected[1:], atol=1e-6)


def test_the_arrays_of_the_addition_notebook_train_as_they_are() -> None:
    model = make()
    model.compile(keras.optimizers.Adam(0.05), "categorical_crossentropy", ["accuracy"])
    x, y = one_hot(X), one_hot(Y)
    before = model.evaluate([x, y[:, :-1]], y[:, 1:], **W)[0]
    model.fit([x, y[:, :-1]], y[:, 1:], epochs=40, **W)
    loss, accuracy = model.evaluate([x, y[:, :-1]], y[:, 1:], **W)
    assert accuracy == 1.0
    assert loss < before / 4
    found = model.generate(x, prefix=y[:, :1], max_length=3).tokens[:, 0]
    np.testing.assert_array_equal(found, TARGETS)


@pytest.mark.parametrize(
    "targets",
    [one_hot(Y[:, 1:], bool), np.eye(10)[Y[:, 1:] + 4], TARGETS[:, 1:], [Y[:, 1:] + 4]],
    ids=["symbols", "all tokens", "ids", "list"],
)
def test_targets_are_ids_or_one_hot(targets: Any) -> None:
    model = make()
    model.compile()
    x = [one_hot(X), one_hot(Y[:, :-1])]
    expected = model.evaluate(x, TARGETS[:, 1:], **W)
    assert model.evaluate(x, targets, **W) == pytest.approx(expected)


def test_the_given_character_is_given_without_teacher_forcing_too() -> None:
    """Of two targets, the first step's logits know the first character only."""
    model = make()
    x, y = one_hot(X[:1]).repeat(2, 0), one_hot(Y[[0, 3], :-1])
    free = model.free_running_logits([x, y])
    forced = model([x, y])
    assert free.shape == forced.shape
    np.testing.assert_allclose(free[:, 0], forced[:, 0], atol=1e-6)


def test_converted_arrays_are_learned_from_their_first_character_on() -> None:
    examples = Examples.from_arrays(one_hot(X), one_hot(Y), SYMBOLS)
    model = make()
    model.compile(keras.optimizers.Adam(0.05))
    model.fit(*examples.arrays(), epochs=40, **W)
    found = model.generate(examples.source)
    assert examples.target_vocab.decode(found.tokens[:, 0]) == [
        "000",
        "010",
        "302",
        "440",
    ]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (
            np.eye(10)[X],
            one_hot(Y[:, 1:]),
            r"`encoder_inputs`.*10 symbols.*of 14.*from_arr",
        ),
        (X.astype(float), one_hot(Y[:, 1:]), "`encoder_inputs`.*integer.*from_arrays"),
        (X[0], one_hot(Y[:, 1:]), "`encoder_inputs` must have the shape.*from_arrays"),
        (
            one_hot(X),
            one_hot(Y[:, 1:])[..., :3],
            r"`y` must be ids.*\(4, 2, 3\).*from_arr",
        ),
        (one_hot(X), Y[:, 1:] / 2, "`y` must have an integer dtype.*from_arrays"),
        (one_hot(X), None, "needs targets"),
        (one_hot(X), (one_hot(Y), one_hot(Y)), "needs targets.*2 arrays"),
    ],
)
def test_arrays_that_no_model_reads_are_refused(x: Any, y: Any, message: str) -> None:
    model = make()
    model.compile()
    with pytest.raises(ValueError, match=message):
        model.train_on_batch([x, one_hot(Y[:, :-1])], y)


def test_symbol_0_as_an_id_is_refused_with_the_way_out() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="from_arrays"):
        make()([np.array([[4, 0, 5]]), np.array([[2, 4, 5]])])


@pytest.mark.parametrize("where", ["encoder_inputs", "decoder_inputs", "y"])
def test_no_id_wraps_around(where: str) -> None:
    data = {**{name: ids.astype("int64") for name, ids in IDS.items()}, "y": TARGETS}
    data[where] = data[where].copy()
    data[where][0, 1] += 2**32
    y = data.pop("y")
    model = make()
    model.compile()
    for fit in (
        lambda: model.train_on_batch(data, y),
        lambda: model.fit(tf.data.Dataset.from_tensors((data, y)), verbose=0),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match="must hold token ids"):
            fit()


@pytest.mark.parametrize("value", [0.5, np.nan, 2.0])
def test_vectors_that_are_not_one_hot_are_refused(value: float) -> None:
    vectors = one_hot(X)
    vectors[1, 1, 5] = value
    model = make()
    message = "must contain one-hot vectors"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model([vectors, one_hot(Y)])
    with pytest.raises(ValueError, match=f"`source` {message}.*row 1, step 1"):
        model.generate(vectors)


def test_data_of_another_rank_follow_each_other() -> None:
    model = make()
    model.compile(keras.optimizers.SGD(0.0))
    rows = np.array([1.0, 2.0, 0.0, 1.0])
    tokens = np.repeat(rows[:, None], 3, 1)
    expected = model.evaluate(IDS, TARGETS, sample_weight=rows, **W)
    assert model.evaluate(IDS, TARGETS, sample_weight=tokens, **W) == expected
    assert model.train_on_batch(IDS, TARGETS, rows) == pytest.approx(expected)
    assert model.train_on_batch(IDS, TARGETS, tokens) == pytest.approx(expected)
    assert model.train_on_batch(IDS, TARGETS, tokens[:, :1]) == pytest.approx(expected)
    for weights in (rows, tokens):
        data = tf.data.Dataset.from_tensors((IDS, TARGETS, weights))
        history = model.fit(data, **W).history
        assert history["loss"] == pytest.approx(expected[:1])
    ids = model.predict(IDS, **W)
    pair = [one_hot(X, "int32"), one_hot(Y[:, :-1], "int32")]
    np.testing.assert_allclose(model.predict(pair, **W), ids[:, 1:], atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 2), (4, 3, 1)])
def test_weights_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    model = make()
    model.compile()
    with pytest.raises(ValueError, match="`sample_weight` must have the shape"):
        model.train_on_batch(IDS, TARGETS, np.ones(shape))


@pytest.mark.parametrize("as_dataset", [False, True])
def test_class_weights_are_weights_of_target_tokens(as_dataset: bool) -> None:
    model = make()
    model.compile(keras.optimizers.SGD(0.0))
    table = np.ones(10)
    table[[4, 5]] = 0.0, 3.0
    expected = model.evaluate(IDS, TARGETS, sample_weight=table[TARGETS], **W)
    data = (IDS, TARGETS)
    if as_dataset:
        data = (tf.data.Dataset.from_tensors(data),)
    plain = model.evaluate(IDS, TARGETS, **W)
    for class_weight, figures in (
        ({4: 0.0, 5: 3.0}, expected),
        (None, plain),
        ({0: 0.0, 1: 7.0}, plain),
    ):
        history = model.fit(*data, class_weight=class_weight, **W).history
        found = [history["loss"][0], history["token_accuracy"][0]]
        assert found == pytest.approx(figures, rel=1e-5)


def test_class_weights_multiply_those_of_samples() -> None:
    model = make()
    model.compile(keras.optimizers.SGD(0.0))
    rows = np.array([1.0, 2.0, 0.0, 1.0])
    weights = rows[:, None] * np.where(TARGETS == 4, 0.5, 1.0)
    expected = model.evaluate(IDS, TARGETS, sample_weight=weights, **W)
    found = model.train_on_batch(IDS, TARGETS, rows, class_weight={4: 0.5})
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bad", [{10: 1.0}, {"a": 1.0}, {3: -1.0}, {3: np.nan}, [1.0]])
def test_class_weights_that_are_none_are_refused(bad: Any) -> None:
    model = make()
    model.compile()
    with pytest.raises((TypeError, ValueError), match="class_weight"):
        model.fit(IDS, TARGETS, class_weight=bad)
