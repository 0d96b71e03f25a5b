"""Validation metrics, and the pairs that they are computed on."""

from typing import Any

import keras
import numpy as np
import pytest

from kseq import Seq2Seq, TrainingSettings, build_seq2seq, perplexity
from kseq.config.training import METRICS, TEXT_METRICS, higher_is_better
from kseq.data import Examples, Vocabulary, encode_pairs, from_pairs
from kseq.decoding import LengthRatio
from kseq.training.validation import Validation

SOURCES = ["a b", "b", "a b", "b b a"]
TARGETS = ["x", "y y", "Y", "x y"]


@pytest.fixture(scope="module")
def examples() -> Examples:
    return from_pairs(SOURCES, ["x", "y y", "y", "x y"])


@pytest.fixture(scope="module")
def model(examples: Examples) -> Seq2Seq:
    keras.utils.set_random_seed(0)
    found = build_seq2seq(
        source_vocab_size=len(examples.source_vocab),
        target_vocab_size=len(examples.target_vocab),
        units=8,
        embedding_dim=4,
        cell="simple_rnn",
    )
    found.compile(
        weighted_metrics=["perplexity", "token_accuracy", "sequence_accuracy"]
    )
    return found


def measure(
    model: Seq2Seq,
    examples: Examples,
    length_ratio: LengthRatio | None = None,
    **settings: Any,
) -> tuple[dict[str, float], list[str]]:
    chosen = TrainingSettings(**settings)
    validation = Validation(examples, (SOURCES, TARGETS), chosen, length_ratio)
    return validation.measure(model)


def test_every_metric_is_computed(model: Seq2Seq, examples: Examples) -> None:
    found, outputs = measure(model, examples, metrics=METRICS)
    assert set(found) == set(METRICS)
    assert len(outputs) == 3  # the source that stands there twice once
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]), rel=1e-5)
    target = examples.target_vocab.encode(TARGETS)
    wanted = perplexity(model, examples.source, target, free_running=True)
    assert found["free_running_perplexity"] == pytest.approx(wanted, rel=1e-5)


def test_the_loss_is_always_computed_without_decoding(
    model: Seq2Seq, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("nothing is to be decoded")

    monkeypatch.setattr(Seq2Seq, "generate", decode)
    found, outputs = measure(model, examples, metrics=["token_accuracy"])
    assert set(found) == {"loss", "perplexity", "token_accuracy"}
    assert outputs == []


def test_references_are_stripped_like_justified_outputs() -> None:
    vocabs = [Vocabulary(list("0123+ "), "characters", n) for n in (3, 2)]
    examples = encode_pairs([("1+2", " 3")], *vocabs)[0]
    settings = TrainingSettings(metrics=["exact_match"])
    assert Validation(examples, (["1+2"], [" 3"]), settings).references == [["3"]]


def test_an_output_may_match_any_reference(
    model: Seq2Seq, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = examples.target_vocab.encode(["y", "y y", "x"])
    answer = model.generate(examples.source_vocab.encode(["a b", "b", "b b a"]))

    def generate(self: Any, source: Any, *rest: Any, **keywords: Any) -> Any:
        assert len(source) == 3
        import dataclasses

        return dataclasses.replace(answer, tokens=said[:, None])

    monkeypatch.setattr(Seq2Seq, "generate", generate)
    found, outputs = measure(model, examples, metrics=["exact_match"])
    assert outputs == ["y", "y y", "x"]
    # Against "Y" as it is written: the vocabulary knows no capital.
    assert found["exact_match"] == pytest.approx(1 / 3)


def test_decode_pairs_limits_the_decoded_pairs(
    model: Seq2Seq, examples: Examples
) -> None:
    _, outputs = measure(model, examples, metrics=["bleu"], decode_pairs=2)
    assert len(outputs) == 2


def test_the_length_ratio_limits_outputs(model: Seq2Seq, examples: Examples) -> None:
    model.get_layer("decoder_output").bias.assign([0, 0, 0, -9, 5, 0])
    try:
        _, short = measure(
            model, examples, LengthRatio(1.0, 0.0, 0.0), metrics=["exact_match"]
        )
        _, long = measure(model, examples, metrics=["exact_match"])
    finally:
        model.get_layer("decoder_output").bias.assign(np.zeros(6))
    assert len(short[0].split()) < len(long[0].split()) == 2 * 3 + 10


@pytest.mark.parametrize("given", [([], []), (["a"], []), (["a"], ["x", "y"])])
def test_validation_needs_as_many_targets_as_sources(
    examples: Examples, given: Any
) -> None:
    with pytest.raises(ValueError, match="`validation` must hold as many source texts"):
        Validation(examples, given, TrainingSettings())


def test_the_direction_of_every_metric_is_known() -> None:
    high = {name for name in METRICS if higher_is_better(name)}
    assert high == {
        "token_accuracy",
        "sequence_accuracy",
        "bleu",
        "chrf",
        "exact_match",
    }
    assert set(TEXT_METRICS) - high == {"ter", "wer", "per"}
