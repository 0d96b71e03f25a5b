"""`kseq.score`: the model's log-probabilities of given targets."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kseq import (
    Ensemble,
    Seq2Seq,
    build_inference_models,
    build_seq2seq,
    perplexity,
    score,
)

SOURCE = np.array([[5, 6, 7, 3], [8, 3, 0, 0], [4, 9, 3, 0]])
TARGET = np.array([[4, 3, 0, 0], [6, 7, 8, 3], [5, 5, 0, 0]])


def make(**settings: Any) -> Seq2Seq:
    sizes = {"source_vocab_size": 11, "target_vocab_size": 9, "units": 8}
    return build_seq2seq(**{**sizes, **settings})


@pytest.fixture(scope="module")
def model() -> Seq2Seq:
    return make(attention="general")


def test_it_is_the_log_softmax_of_the_training_model(model: Seq2Seq) -> None:
    found = score(model, SOURCE, TARGET)
    given = np.array([[2, 4, 0, 0], [2, 6, 7, 8], [2, 5, 0, 0]])
    logits = np.asarray(
        model({"encoder_inputs": SOURCE, "decoder_inputs": given}), "float64"
    )
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = np.take_along_axis(log_probs, TARGET[..., None], axis=2)[..., 0]
    assert found.dtype == "float64"
    np.testing.assert_allclose(found, np.where(TARGET == 0, 0, expected), atol=1e-5)


def test_the_batch_size_and_more_padding_change_nothing(model: Seq2Seq) -> None:
    expected = score(model, SOURCE, TARGET)
    for batch_size in (1, 2, np.int64(5)):
        found = score(model, SOURCE, TARGET, batch_size=batch_size)  # type: ignore
        np.testing.assert_allclose(found, expected, atol=1e-5)
    wide = score(
        model, np.pad(SOURCE, [(0, 0), (0, 3)]), np.pad(TARGET, [(0, 0), (0, 2)])
    )
    np.testing.assert_allclose(wide[:, :4], expected, atol=1e-5)
    assert not wide[:, 4:].any()


def test_several_targets_of_a_source_are_scored_in_their_places(model: Seq2Seq) -> None:
    several = np.stack([TARGET, TARGET[::-1]], axis=1)
    found = score(model, SOURCE, several)
    assert found.shape == several.shape
    np.testing.assert_allclose(found[:, 0], score(model, SOURCE, TARGET), atol=1e-5)
    np.testing.assert_allclose(
        found[:, 1], score(model, SOURCE, TARGET[::-1]), atol=1e-5
    )


def test_a_padding_row_scores_nothing_and_no_rows_give_none(model: Seq2Seq) -> None:
    empty = score(model, SOURCE, np.zeros((3, 2), int))
    assert empty.shape == (3, 2)
    assert not empty.any()
    none = score(model, np.zeros((0, 4), int), np.zeros((0, 5), int))
    assert none.shape == (0, 5)


def test_vectors_are_scored_as_sources() -> None:
    model = make(
        source_vocab_size=None, source_representation="features", source_feature_dim=3
    )
    source = np.ones((3, 2, 3), "float32")
    assert score(model, source, TARGET).shape == TARGET.shape


def test_what_training_changes_shows(model: Seq2Seq) -> None:
    before = score(model, SOURCE, TARGET)
    bias = model.get_layer("decoder_output").bias
    kept = bias.numpy()
    bias.assign(kept + np.eye(9)[4])
    assert score(model, SOURCE, TARGET)[0, 0] > before[0, 0]
    bias.assign(kept)
    np.testing.assert_allclose(score(model, SOURCE, TARGET), before, atol=1e-6)


def test_a_model_that_is_gone_is_not_kept() -> None:
    model = make()
    score(model, SOURCE, TARGET)
    score(model, SOURCE, TARGET, free_running=True)
    held = weakref.ref(model)
    del model
    gc.collect()
    assert held() is None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([[4, 3], [4, 3]], r"shape \(3, \[n,\] time\).*\(2, 2\)"),
        (np.zeros((3, 0), int), r"shape \(3, 0\)"),
        (TARGET.astype(float), "dtype float64"),
        (np.where(TARGET == 8, 9, TARGET), r"0\.\.8.*\[6, 7, 9, 3\] in row 1"),
        (np.where(TARGET == 8, -1, TARGET), r"\[6, 7, -1, 3\] in row 1"),
        (np.where(TARGET == 7, 3, TARGET), r"only padding.*row 1"),
        (np.where(TARGET == 7, 0, TARGET), r"only padding.*row 1"),
    ],
)
def test_targets_that_are_none_are_refused(
    model: Seq2Seq, target: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        score(model, SOURCE, target)


def test_only_a_model_has_scores() -> None:
    with pytest.raises(TypeError, match=r"kseq\.Seq2Seq or a kseq\.Ensemble.*str"):
        score("model.keras", SOURCE, TARGET)  # type: ignore[arg-type]


# Perplexity.


def test_perplexity_counts_every_token_once(model: Seq2Seq) -> None:
    log_probs = score(model, SOURCE, TARGET)
    tokens = (TARGET != 0).sum()
    assert perplexity(model, SOURCE, TARGET) == pytest.approx(
        np.exp(-log_probs.sum() / tokens), rel=1e-6
    )
    wide = np.pad(TARGET, [(0, 0), (0, 2)])
    assert perplexity(model, SOURCE, wide, batch_size=1) == pytest.approx(
        perplexity(model, SOURCE, TARGET), rel=1e-5
    )


def test_a_model_that_guesses_has_the_perplexity_of_its_vocabulary() -> None:
    model = make()
    for weight in model.get_layer("decoder_output").weights:
        weight.assign(np.zeros(weight.shape))
    assert perplexity(model, SOURCE, TARGET) == pytest.approx(9, rel=1e-5)
    assert perplexity(model, SOURCE, TARGET, free_running=True) == pytest.approx(
        9, rel=1e-5
    )


@pytest.mark.parametrize(
    "settings",
    [{"attention": "general"}, {"attention": "coverage", "input_feeding": True}, {}],
)
def test_running_freely_it_reads_its_own_most_probable_tokens(settings: Any) -> None:
    model = make(**settings)
    inference = build_inference_models(model)
    expected = np.zeros(TARGET.shape)
    for row, (source, target) in enumerate(zip(SOURCE, TARGET, strict=True)):
        source = source[source != 0][None]
        encoded = inference.encoder(source)
        token, states = tf.constant([2]), encoded["states"]
        for time, wanted in enumerate(target[target != 0]):
            outputs = inference.decoder_step(
                {**encoded, "token": token, "states": states}
            )
            logits, states = np.asarray(outputs["logits"], float)[0], outputs["states"]
            expected[row, time] = logits[wanted] - np.log(np.exp(logits).sum())
            logits[[0, 2]] = -np.inf  # neither is ever put out
            token = tf.constant([logits.argmax()])
    found = score(model, SOURCE, TARGET, free_running=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Had it read the target, it would have been another figure.
    assert not np.allclose(found, score(model, SOURCE, TARGET), atol=1e-5)
    assert perplexity(model, SOURCE, TARGET, free_running=True) == pytest.approx(
        np.exp(-expected.sum() / (TARGET != 0).sum()), rel=1e-5
    )


def test_no_dropout_acts_on_it() -> None:
    dropped = make(embedding_dropout=0.5, recurrent_dropout=0.5)
    found = [score(dropped, SOURCE, TARGET, free_running=True) for _ in range(2)]
    np.testing.assert_array_equal(*found)


def test_several_models_are_not_run_freely(model: Seq2Seq) -> None:
    several = Ensemble([model, model])
    assert perplexity(several, SOURCE, TARGET) == pytest.approx(
        perplexity(model, SOURCE, TARGET), rel=1e-5
    )
    with pytest.raises(TypeError, match="`free_running` must be False for an ensemble"):
        perplexity(several, SOURCE, TARGET, free_running=True)


def test_no_tokens_have_no_perplexity(model: Seq2Seq) -> None:
    with pytest.raises(ValueError, match="`target` must hold a token"):
        perplexity(model, SOURCE, np.zeros((3, 2), int))
