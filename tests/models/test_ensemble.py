"""Several models that decode as one."""

from typing import Any

import numpy as np
import pytest

from kseq import Ensemble, Seq2Seq, build_seq2seq, score
from kseq.decoding import BeamSearch

SIZES: dict[str, Any] = {"source_vocab_size": 11, "target_vocab_size": 9}
SOURCE = np.array([[5, 6, 7, 3], [8, 3, 0, 0], [4, 9, 3, 0]])


def make(seed: int, **settings: Any) -> Seq2Seq:
    model = build_seq2seq(**{**SIZES, "units": 8, **settings})
    draw = np.random.default_rng(seed)
    model.set_weights([draw.normal(0, 0.6, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def models() -> list[Seq2Seq]:
    return [
        make(0, attention="general"),
        make(1, cell="gru", units=6, attention="coverage", input_feeding=True),
        make(2, attention="dot", encoder_layers=2, reverse_source=True),
    ]


def test_an_ensemble_of_one_model_is_the_model(models: list[Seq2Seq]) -> None:
    for averaging in ("linear", "log_linear"):
        found = Ensemble(models[:1], averaging).generate(SOURCE, "beam", max_length=5)
        expected = models[0].generate(SOURCE, "beam", max_length=5)
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_an_ensemble_of_a_model_with_itself_is_the_model(models: list[Seq2Seq]) -> None:
    for averaging in ("linear", "log_linear"):
        ensemble = Ensemble([models[0], models[0]], averaging)
        found = ensemble.generate(SOURCE, max_length=5)
        expected = models[0].generate(SOURCE, max_length=5)
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize("averaging", ["linear", "log_linear"])
def test_its_scores_are_those_of_the_averaged_distributions(
    models: list[Seq2Seq], averaging: str
) -> None:
    ensemble = Ensemble(models, averaging)
    found = ensemble.generate(SOURCE, BeamSearch(beam_width=4, n=3), max_length=4)
    assert (found.lengths > 0).all()
    forced = score(ensemble, SOURCE, found.tokens)
    np.testing.assert_allclose(found.log_probs, forced, atol=1e-5)
    for row, hypothesis in ((0, 0), (2, 1)):
        tokens = found.tokens[row, hypothesis, : found.lengths[row, hypothesis]]
        probs = []
        for model in models:
            given = np.array([[2, *tokens[:-1]]])
            feed = {"encoder_inputs": SOURCE[[row]], "decoder_inputs": given}
            logits = np.asarray(model(feed), "float64")[0]
            probs.append(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
        if averaging == "linear":
            mean = np.mean(probs, axis=0)
        else:
            mean = np.exp(np.mean(np.log(probs), axis=0))
            mean /= mean.sum(-1, keepdims=True)
        expected = np.log(mean[np.arange(len(tokens)), tokens]).sum()
        np.testing.assert_allclose(found.scores[row, hypothesis], expected, atol=1e-4)


def test_its_attention_is_the_mean_of_its_members(models: list[Seq2Seq]) -> None:
    ensemble = Ensemble([models[0], models[2]])
    found = ensemble.generate(SOURCE, max_length=1, return_attention=True)
    parts = [
        model.generate(SOURCE, max_length=1, return_attention=True).attention
        for model in ensemble.models
    ]
    assert found.attention is not None
    np.testing.assert_allclose(found.attention, np.mean(parts, axis=0), atol=1e-5)


def test_attention_needs_members_that_all_have_it(models: list[Seq2Seq]) -> None:
    ensemble = Ensemble([models[0], make(3)])
    assert ensemble.generate(SOURCE, max_length=3).tokens.shape == (3, 1, 3)
    with pytest.raises(ValueError, match="`return_attention` needs a model"):
        ensemble.generate(SOURCE, return_attention=True)


def test_members_must_read_and_write_the_same(models: list[Seq2Seq]) -> None:
    other = make(0, target_vocab_size=10)
    with pytest.raises(ValueError, match=r"same `target_vocab_size`.*\[9, 10\]"):
        Ensemble([models[0], other])
    with pytest.raises(ValueError, match=r"same `source_vocab_size`.*\[11, 12\]"):
        Ensemble([models[0], make(0, source_vocab_size=12)])
    with pytest.raises(ValueError, match="at least one model"):
        Ensemble([])
    with pytest.raises(TypeError, match="of type str"):
        Ensemble(["model.keras"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"'linear', 'log_linear'.*'mean'"):
        Ensemble(models, averaging="mean")
