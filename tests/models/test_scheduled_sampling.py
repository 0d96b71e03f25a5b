"""Training and evaluating on the model's own predictions."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseq import Seq2Seq, build_inference_models, build_seq2seq
from kseq.distribution import get_strategy
from kseq.losses import MaskedCrossentropy
from kseq.models import seq2seq
from kseq.models.scheduled_sampling import scheduled_sampling_logits
from kseq.teacher_forcing import LinearDecay, TeacherForcingSchedule

SIZES: dict[str, Any] = {
    "source_vocab_size": 11,
    "target_vocab_size": 12,
    "units": 8,
    "embedding_dim": 4,
}
FEED = {
    "encoder_inputs": np.array([[5, 6, 7, 10, 3], [9, 4, 3, 0, 0], [8, 3, 0, 0, 0]]),
    "decoder_inputs": np.array([[2, 5, 6, 4], [2, 7, 0, 0], [2, 9, 8, 0]]),
}
TARGETS = np.array([[5, 6, 4, 3], [7, 3, 0, 0], [9, 8, 3, 0]])
WIRINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one-hot": {"source_representation": "one_hot", "embedding_dim": 256},
    "attention": {"attention": "additive", "layers": 2, "cell": "gru"},
    "input-feeding": {"attention": "coverage", "input_feeding": True},
}
each_wiring = pytest.mark.parametrize("wiring", list(WIRINGS))


@keras.saving.register_keras_serializable(package="test_feeding")
class Steps(TeacherForcingSchedule):
    """A ratio from a list, the last one for ever; it notes what it is asked."""

    def __init__(self, ratios: list[float]) -> None:
        self.ratios = ratios
        self.asked: list[int] = []

    def __call__(self, step: Any) -> Any:
        if tf.executing_eagerly():
            self.asked.append(int(step))
        index = tf.minimum(tf.cast(step, "int32"), len(self.ratios) - 1)
        return tf.gather(tf.constant(self.ratios, "float32"), index)

    def get_config(self) -> dict[str, Any]:
        return {"ratios": self.ratios}


def make(**settings: Any) -> Seq2Seq:
    return build_seq2seq(**{**SIZES, **settings})


def drawn(seed: int = 0, **settings: Any) -> Seq2Seq:
    """A model whose weights, biases too, are large: differences show."""
    model = make(**settings)
    draw = np.random.default_rng(seed)
    model.set_weights([draw.normal(0, 0.5, w.shape) for w in model.get_weights()])
    return model


def copy_of(model: Seq2Seq) -> Seq2Seq:
    other = build_seq2seq(model.config)
    other.set_weights(model.get_weights())
    return other


def fitted(model: Seq2Seq, epochs: int = 1, rate: float = 0.5, **how: Any) -> Any:
    """The history of a training of a copy, and the copy.

    Without a graph, where the test is not about one: that takes a tenth of the time.
    """
    model = copy_of(model)
    how = {"run_eagerly": True, **how}
    model.compile(optimizer=keras.optimizers.SGD(rate), **how)
    return model.fit(FEED, TARGETS, epochs=epochs, verbose=0).history, model


def fed_back(
    model: Seq2Seq,
    feed: dict[str, np.ndarray],
    ratio: float = 0.0,
    coin: str = "token",
    training: bool = False,
) -> np.ndarray:
    return scheduled_sampling_logits(
        build_inference_models(model),
        model.graph.decoder,
        feed,
        ratio,
        coin,
        keras.random.SeedGenerator(1),
        training,
    ).numpy()


def loss_of(logits: Any, targets: np.ndarray = TARGETS) -> float:
    return float(MaskedCrossentropy()(targets, logits))


# A ratio of 1 is teacher forcing, one of 0 is greedy search.


def test_a_ratio_of_one_is_taken_for_all_steps_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("step by step")

    model = drawn(attention="dot")
    expected, trained = fitted(model, epochs=2)
    monkeypatch.setattr(seq2seq, "scheduled_sampling_logits", never)
    for ratio in (1.0, 1, np.float32(1)):
        found, again = fitted(model, epochs=2, teacher_forcing_ratio=ratio)
        assert found == expected
        for one, other in zip(again.get_weights(), trained.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(AssertionError, match="step by step"):
        fitted(model, teacher_forcing_ratio=0.99)


@each_wiring
def test_the_loop_with_the_truth_alone_trains_as_all_steps_at_once(
    wiring: str,
) -> None:
    model = drawn(**WIRINGS[wiring])
    expected, trained = fitted(model)
    found, looped = fitted(model, teacher_forcing_ratio=Steps([1.0]))
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert found["token_accuracy"] == expected["token_accuracy"]
    before = model.get_weights()
    for one, other, old in zip(
        looped.get_weights(), trained.get_weights(), before, strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert np.abs(one - old).max() > 0  # each weight learns


@each_wiring
def test_a_decoder_without_the_truth_reads_what_greedy_search_reads(
    wiring: str,
) -> None:
    model = drawn(seed=3, **WIRINGS[wiring])
    bias = model.get_layer("decoder_output").bias
    bias.assign(bias.numpy() - 1.5 * np.eye(12)[3])  # so that outputs are longer
    source, steps = FEED["encoder_inputs"], 7
    found = model.generate(source, max_length=steps)
    tokens = np.zeros((3, steps), "int32")
    tokens[:, : found.tokens.shape[2]] = found.tokens[:, 0]
    read = np.concatenate([np.full((3, 1), 2), tokens[:, :-1]], axis=1)
    # Of the truth only its first token is read, and how long it is.
    truth = np.full((3, steps), 4)
    truth[:, 0] = 2
    logits = fed_back(model, {"encoder_inputs": source, "decoder_inputs": truth})
    read = np.where(np.cumsum(read == 3, axis=1) > 0, 0, read)  # no longer after </s>
    expected = model({"encoder_inputs": source, "decoder_inputs": read}).numpy()
    inside = np.arange(steps) < found.lengths  # (batch, time)
    assert inside.sum() > 3
    assert (read[inside] != truth[inside]).any()
    np.testing.assert_allclose(logits[inside], expected[inside], atol=1e-5)


# The coin, on a decoder whose logits say which token it has read.

READ_TRUE, READ_OWN = 7, 5


def telling(**settings: Any) -> Seq2Seq:
    """A model without memory, whose own prediction always is the token 5."""
    model = drawn(cell="simple_rnn", decoder_init="zeros", **settings)
    cell = model.get_layer("decoder_simple_rnn_1").cell
    cell.recurrent_kernel.assign(np.zeros((8, 8)))
    bias = np.zeros(12)
    # <s> and padding are even more probable, but are never fed back.
    bias[READ_OWN], bias[2], bias[0] = 50.0, 99.0, 98.0
    model.get_layer("decoder_output").bias.assign(bias)
    return model


def said(model: Seq2Seq, token: int) -> np.ndarray:
    feed = {"encoder_inputs": np.array([[3]]), "decoder_inputs": np.array([[token]])}
    return model(feed).numpy()[0, 0]


def decisions(model: Seq2Seq, ratio: float, coin: str) -> np.ndarray:
    """Which steps after the first have read the truth, (64 rows, 30 steps)."""
    truth = np.full((64, 31), READ_TRUE)
    truth[:, 0] = 2
    feed = {"encoder_inputs": np.full((64, 1), 3), "decoder_inputs": truth}
    logits = fed_back(model, feed, ratio, coin)
    np.testing.assert_allclose(logits[:, 0], [said(model, 2)] * 64, atol=1e-4)
    true = np.isclose(logits[:, 1:], said(model, READ_TRUE), atol=1e-4).all(axis=-1)
    own = np.isclose(logits[:, 1:], said(model, READ_OWN), atol=1e-4).all(axis=-1)
    np.testing.assert_array_equal(true, ~own)
    return true


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9])
def test_a_token_is_true_with_the_probability_that_is_asked_for(ratio: float) -> None:
    true = decisions(telling(), ratio, "token")
    # 1920 draws: four standard deviations are less than 0.05.
    assert true.mean() == pytest.approx(ratio, abs=0.05)
    assert (true != true[:1]).any()
    assert (true != true[:, :1]).any()


def test_a_coin_for_the_batch_decides_once_for_each_step() -> None:
    true = decisions(telling(), 0.5, "batch")
    np.testing.assert_array_equal(true, np.tile(true[:1], (64, 1)))
    assert 5 < true[0].sum() < 25  # of 30; outside once in ten thousand seeds


@pytest.mark.parametrize("coin", ["batch", "token"])
@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_at_the_ends_no_coin_decides(coin: str, ratio: float) -> None:
    assert (decisions(telling(), ratio, coin) == bool(ratio)).all()


def test_after_a_rows_end_padding_is_read() -> None:
    model = telling()
    feed = {
        "encoder_inputs": np.full((2, 1), 3),
        "decoder_inputs": np.array([[2, 7, 7, 7], [2, 7, 0, 0]]),
    }
    logits = fed_back(model, feed, 0.0)
    own, padding = said(model, READ_OWN), said(model, 0)
    np.testing.assert_allclose(logits[0, 1:], [own] * 3, atol=1e-4)
    np.testing.assert_allclose(logits[1, 1:], [own, padding, padding], atol=1e-4)


@pytest.mark.parametrize("coin", ["batch", "token"])
def test_fit_throws_the_coin_that_compile_names(
    coin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    thrown: list[Any] = []
    real = seq2seq.scheduled_sampling_logits

    def noting(inference: Any, decoder: Any, x: Any, *rest: Any, **further: Any) -> Any:
        thrown.append((float(rest[0]), rest[1], rest[3]))
        return real(inference, decoder, x, *rest, **further)

    monkeypatch.setattr(seq2seq, "scheduled_sampling_logits", noting)
    fitted(drawn(), teacher_forcing_ratio=0.25, teacher_forcing_coin=coin)
    assert set(thrown) == {(0.25, coin, True)}


# Seeds and schedules.


@pytest.mark.parametrize("eager", [False, True])
def test_a_seed_decides_what_the_coins_show(eager: bool) -> None:
    model = drawn()

    def losses(seed: int) -> list[float]:
        other = copy_of(model)
        keras.utils.set_random_seed(seed)
        optimizer = keras.optimizers.SGD(0.0)
        other.compile(optimizer, teacher_forcing_ratio=0.5, run_eagerly=eager)
        return other.fit(FEED, TARGETS, epochs=6, verbose=0).history["loss"]

    first = losses(1)
    assert losses(1) == pytest.approx(first, rel=1e-6)
    assert losses(2) != pytest.approx(first, rel=1e-6)
    assert len(set(first)) > 1  # each update throws anew


def test_a_schedule_is_asked_at_each_update() -> None:
    model, schedule = drawn(), Steps([0.5])
    model.compile(teacher_forcing_ratio=schedule, run_eagerly=True)
    model.fit(FEED, TARGETS, batch_size=2, epochs=2, verbose=0)
    assert schedule.asked == [0, 1, 2, 3]
    model.evaluate(FEED, TARGETS, verbose=0)
    assert schedule.asked == [0, 1, 2, 3]
    model.fit(FEED, TARGETS, verbose=0)
    assert schedule.asked[4:] == [4]


def test_a_graph_follows_its_schedule_update_by_update() -> None:
    model = drawn()
    schedule = Steps([1.0, 1.0, 0.0, 1.0])
    history, _ = fitted(
        model, 5, rate=0.0, teacher_forcing_ratio=schedule, run_eagerly=False
    )
    true, own = loss_of(model(FEED)), loss_of(fed_back(model, FEED))
    assert abs(true - own) > 1e-3
    expected = [true, true, own, true, true]
    assert history["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_reloaded_training_goes_on_with_its_schedule(tmp_path: Path) -> None:
    model = drawn()
    model.compile(
        optimizer=keras.optimizers.SGD(0.1),
        teacher_forcing_ratio=Steps([1.0, 0.0, 1.0, 0.0]),
        teacher_forcing_coin="batch",
        free_running_evaluation=True,
    )
    model.fit(FEED, TARGETS, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.get_compile_config() == model.get_compile_config()
    histories = [
        each.fit(
            FEED, TARGETS, epochs=2, validation_data=(FEED, TARGETS), verbose=0
        ).history
        for each in (model, again)
    ]
    assert histories[0] == histories[1]


@pytest.mark.parametrize("ratio", [0.5, LinearDecay(10, end=0.25)])
def test_a_file_keeps_how_the_decoder_is_fed(ratio: Any, tmp_path: Path) -> None:
    model = make()
    how = {
        "teacher_forcing_ratio": ratio,
        "teacher_forcing_coin": "batch",
        "free_running_evaluation": True,
    }
    model.compile(**how)
    model.train_on_batch(FEED, TARGETS)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    config = again.get_compile_config()
    assert {name: config[name] for name in how} == {
        name: keras.saving.serialize_keras_object(value) for name, value in how.items()
    }
    other = make()
    other.load_weights(tmp_path / "model.keras")  # by one that feeds no predictions
    np.testing.assert_array_equal(other(FEED), model(FEED))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher_forcing_ratio": 1.1}, r"`teacher_forcing_ratio` .*\[0, 1\].* 1\.1"),
        ({"teacher_forcing_ratio": -0.1}, r"`teacher_forcing_ratio` .*-0\.1"),
        ({"teacher_forcing_ratio": np.nan}, r"`teacher_forcing_ratio` .*nan"),
        ({"teacher_forcing_ratio": None}, r"`teacher_forcing_ratio` .*None"),
        ({"teacher_forcing_ratio": "half"}, r"`teacher_forcing_ratio` .*'half'"),
        ({"teacher_forcing_coin": "row"}, r"`teacher_forcing_coin` .*'batch'.*'row'"),
        ({"teacher_forcing_coin": None}, r"`teacher_forcing_coin` .*'token'.*None"),
        ({"free_running_evaluation": 1}, r"`free_running_evaluation` .*1"),
    ],
)
def test_other_ways_of_feeding_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make().compile(**settings)


# Evaluation on the model's own predictions.


@each_wiring
def test_free_running_evaluation_feeds_predictions_in_evaluation_alone(
    wiring: str,
) -> None:
    model = drawn(**WIRINGS[wiring])
    inference = build_inference_models(model)
    encoded = inference.encoder(FEED["encoder_inputs"])
    token, states = keras.ops.full((3,), 2, dtype="int32"), encoded["states"]
    logits = []
    for _ in range(4):
        step = inference.decoder_step({**encoded, "token": token, "states": states})
        logits.append(step["logits"].numpy())
        allowed = np.where(np.isin(np.arange(12), (0, 2)), -np.inf, logits[-1])
        token = keras.ops.array(allowed.argmax(axis=-1), dtype="int32")
        states = step["states"]
    expected = loss_of(np.stack(logits, axis=1))
    forced = loss_of(model(FEED))
    assert expected != pytest.approx(forced, rel=1e-3)

    optimizer = keras.optimizers.SGD(0.0)
    model.compile(optimizer, free_running_evaluation=True, run_eagerly=True)
    history = model.fit(
        FEED, TARGETS, validation_data=(FEED, TARGETS), verbose=0
    ).history
    assert history["loss"] == pytest.approx([forced], rel=1e-5)
    assert history["val_loss"] == pytest.approx([expected], rel=1e-5)
    np.testing.assert_allclose(model.predict(FEED, verbose=0), model(FEED), atol=1e-5)


def test_free_running_evaluation_does_not_change_what_is_learned() -> None:
    model = drawn()
    expected, trained = fitted(model, epochs=2)
    found, other = fitted(model, epochs=2, free_running_evaluation=True)
    assert found == expected
    for one, another in zip(other.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)


def test_its_sequence_accuracy_is_the_share_of_outputs_that_are_right() -> None:
    model = drawn(attention="dot")
    bias = model.get_layer("decoder_output").bias
    bias.assign(np.where(np.isin(np.arange(12), (0, 2)), -99.0, bias.numpy()))
    # The targets are what the model says itself, but for one in four.
    source = np.array([[4, 9, 3], [6, 3, 0], [10, 8, 3], [5, 5, 3]])
    found = model.generate(source, max_length=6)
    targets = found.tokens[:, 0].copy()
    targets[2, 0] = 4 if targets[2, 0] != 4 else 5
    # A decoder that read this would do otherwise than one that reads its own output.
    read = np.where(targets != 0, 9, 0)
    read[:, 0] = 2
    model.compile(weighted_metrics=["sequence_accuracy"], free_running_evaluation=True)
    feed = {"encoder_inputs": source, "decoder_inputs": read}
    assert model.evaluate(feed, targets, batch_size=3, verbose=0)[1] == 0.75


def test_both_work_under_a_strategy() -> None:
    schedule = Steps([0.0, 1.0])
    how: dict[str, Any] = {
        "teacher_forcing_ratio": schedule,
        "free_running_evaluation": True,
        "weighted_metrics": ["sequence_accuracy"],
    }
    model = drawn(attention="dot")
    with get_strategy("one_device").scope():
        other = copy_of(model)
        other.compile(optimizer=keras.optimizers.SGD(0.5), **how)
    model.compile(optimizer=keras.optimizers.SGD(0.5), **how)
    histories = [
        each.fit(
            FEED, TARGETS, epochs=2, validation_data=(FEED, TARGETS), verbose=0
        ).history
        for each in (model, other)
    ]
    assert set(histories[0]) == {
        *("loss", "val_loss", "sequence_accuracy", "val_sequence_accuracy")
    }
    for name, values in histories[0].items():
        assert histories[1][name] == pytest.approx(values, rel=1e-5), name


# In other surroundings.


@pytest.mark.parametrize(
    "cell",
    [
        "lstm",
        "layer_norm_gru",
        "simple_rnn",
    ],
)
def test_dropout_acts_in_training_on_predictions_too(cell: str) -> None:
    model = drawn(
        cell=cell,
        input_dropout=0.4,
        recurrent_dropout=0.4,
        hidden_dropout=0.4,
        embedding_dropout=0.4,
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.0),
        teacher_forcing_ratio=Steps([0.0]),
        free_running_evaluation=True,
    )
    history = model.fit(
        FEED, TARGETS, epochs=2, validation_data=(FEED, TARGETS), verbose=0
    ).history
    still = loss_of(fed_back(model, FEED))
    assert history["val_loss"] == pytest.approx([still] * 2, rel=1e-5)
    assert all(abs(loss - still) > 1e-3 for loss in history["loss"])
    assert history["loss"][0] != history["loss"][1]


@pytest.mark.parametrize("name", ["input_dropout", "recurrent_dropout"])
def test_a_sequence_has_one_mask_for_all_its_steps(name: str) -> None:
    """The logits are the states of units that are alone: what was dropped shows."""
    model = make(
        cell="simple_rnn",
        target_vocab_size=8,
        embedding_dim=8,
        decoder_init="zeros",
        **{f"decoder_{name}": 0.5},
    )
    cell = model.get_layer("decoder_simple_rnn_1").cell
    cell.kernel.assign(np.eye(8))
    cell.recurrent_kernel.assign(np.eye(8))
    cell.bias.assign(np.full(8, 0.1))
    model.get_layer("decoder_output").kernel.assign(np.eye(8))
    # Token 5 is a vector of a half everywhere, the others are of zeros.
    vectors = np.zeros((8, 8))
    vectors[5] = 0.5
    model.get_layer("decoder_embedding").embeddings.assign(vectors)
    token = 5 if name == "input_dropout" else 4
    feed = {
        "encoder_inputs": np.full((20, 1), 3),
        "decoder_inputs": np.full((20, 6), token),
    }
    inference = build_inference_models(model)
    seed = keras.random.SeedGenerator(1)
    masks = []
    for training in (False, True, True):
        states = scheduled_sampling_logits(
            inference, model.graph.decoder, feed, 1.0, "token", seed, training
        ).numpy()
        before = np.arctanh(states) - 0.1
        if name == "input_dropout":
            before[:, 1:] -= states[:, :-1]
            factor = before / 0.5
        else:
            factor = before[:, 1:] / states[:, :-1]
        factor = np.round(factor, 1) + 0.0
        np.testing.assert_array_equal(factor, factor[:, :1] + np.zeros_like(factor))
        masks.append(factor[:, 0])
    assert set(np.unique(masks[0])) == {1.0}
    assert set(np.unique(masks[1])) == {0.0, 2.0}
    assert 0.5 < masks[1].mean() < 1.5
    assert (masks[1] != masks[1][:1]).any()
    assert (masks[1] != masks[2]).any()


def test_half_precision_trains_on_predictions() -> None:
    model = build_seq2seq(
        **SIZES, attention="coverage", input_dropout=0.1, dtype="mixed_float16"
    )
    model.compile(teacher_forcing_ratio=0.5, free_running_evaluation=True)
    losses = [model.train_on_batch(FEED, TARGETS)[0] for _ in range(2)]
    assert np.isfinite([*losses, model.test_on_batch(FEED, TARGETS)[0]]).all()


def test_more_padding_changes_nothing() -> None:
    model = drawn(attention="additive")
    wide = {name: np.pad(ids, ((0, 0), (0, 2))) for name, ids in FEED.items()}
    found, expected = fed_back(model, wide), fed_back(model, FEED)
    inside = TARGETS != 0
    np.testing.assert_allclose(found[:, :4][inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_float_ids_are_refused_here_too(method: str) -> None:
    model = make()
    model.compile(teacher_forcing_ratio=0.5, free_running_evaluation=True)
    wrong = {**FEED, "decoder_inputs": FEED["decoder_inputs"].astype("float32")}
    with pytest.raises(ValueError, match="`decoder_inputs` must have an integer dtype"):
        getattr(model, method)(wrong, TARGETS, verbose=0)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([[2, 0, 7, 5], [2, 5, 0, 0]], "`decoder_inputs` has padding before a real"),
        ([[2, 99, 7, 5], [2, 5, 0, 0]], "`decoder_inputs` must hold token ids in 0.."),
    ],
)
def test_what_is_fed_is_checked_also_where_it_is_not_read(
    tokens: list[list[int]], message: str
) -> None:
    model = build_seq2seq(source_vocab_size=11, target_vocab_size=11, units=8)
    model.compile(free_running_evaluation=True, run_eagerly=True)
    inputs = {
        "encoder_inputs": np.array([[5, 3], [6, 3]]),
        "decoder_inputs": np.array(tokens),
    }
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.evaluate(inputs, np.full((2, 4), 3), verbose=0)
