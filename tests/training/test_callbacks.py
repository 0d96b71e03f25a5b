"""Callbacks: outputs for some examples, and the times of training steps."""

import dataclasses
import time
from typing import Any

import keras
import numpy as np
import pytest

from kseq import Seq2Seq, build_seq2seq
from kseq.data import Examples, from_pairs
from kseq.training import ShowExamples, StepTimes


@pytest.fixture
def examples() -> Examples:
    return from_pairs(["ab", "ba", "b"], ["x y", "y x", "y"], "characters")


@pytest.fixture
def model(examples: Examples) -> Seq2Seq:
    model = build_seq2seq(
        source_vocab_size=len(examples.source_vocab),
        target_vocab_size=len(examples.target_vocab),
        units=8,
        embedding_dim=4,
    )
    model.compile()
    return model


@pytest.mark.parametrize(
    ("every", "epochs", "expected"),
    [
        (1, 3, [1, 2, 3]),
        (2, 5, [1, 2, 4, 5]),
        (10, 4, [1, 4]),
        (np.int64(3), 3, [1, 3]),
    ],
)
def test_examples_are_printed_every_few_epochs_and_at_both_ends(
    examples: Examples,
    model: Seq2Seq,
    capsys: pytest.CaptureFixture[str],
    every: int,
    epochs: int,
    expected: list[int],
) -> None:
    callback = ShowExamples(examples, every)
    callback.set_params({"epochs": epochs})
    callback.set_model(model)
    seen = []
    callback.on_train_begin()
    for epoch in range(epochs):
        callback.on_epoch_end(epoch)
        if capsys.readouterr().out:
            seen.append(epoch + 1)
    callback.on_train_end()
    if capsys.readouterr().out:
        seen.append(epochs)
    assert seen == expected


def test_the_last_epoch_is_printed_once_after_early_stopping(
    examples: Examples, model: Seq2Seq, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.stop_training = epoch == 1

    model.compile()
    callbacks = [ShowExamples(examples[:1], every=10), Stop()]
    model.fit(*examples.arrays(), epochs=9, verbose=0, callbacks=callbacks)
    assert capsys.readouterr().out.count("source") == 2


def test_examples_are_printed_with_reference_and_hypothesis(
    examples: Examples, model: Seq2Seq, capsys: pytest.CaptureFixture[str]
) -> None:
    model.fit(*examples.arrays(), verbose=0, callbacks=[ShowExamples(examples)])
    lines = capsys.readouterr().out.splitlines()
    found = examples.target_vocab.decode(model.generate(examples.source).tokens)
    texts = zip(["ab", "ba", "b"], ["x y", "y x", "y"], found, strict=True)
    assert [line.removesuffix("  (wrong)") for line in lines] == [
        "",
        *(f"  source {s!r}  reference {r!r}  hypothesis {h!r}" for s, r, h in texts),
    ]


def test_only_a_wrong_hypothesis_is_marked(
    examples: Examples, model: Seq2Seq, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = ShowExamples(examples)
    callback.set_model(model)
    tokens = examples.target[:, None].copy()
    tokens[1:, 0, 0] = 3  # the others say nothing
    found = dataclasses.replace(model.generate(examples.source), tokens=tokens)
    monkeypatch.setattr(model, "generate", lambda source: found)
    marked = [line.endswith("  (wrong)") for line in callback.lines()]
    assert marked == [False, True, True]


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_every_is_a_number_of_epochs(examples: Examples, every: Any) -> None:
    with pytest.raises(
        (TypeError, ValueError), match=f"`every` must be .*at least 1.*{every!r}"
    ):
        ShowExamples(examples, every)


def test_examples_of_another_type_are_refused() -> None:
    with pytest.raises(TypeError, match=r"`examples` must be .*Examples.*\['ab'\]"):
        ShowExamples(["ab"])  # type: ignore[arg-type]


def test_each_training_step_is_timed_alone() -> None:
    times = StepTimes()
    for seconds in (0.02, 0.05):
        times.on_train_batch_begin(0)
        time.sleep(seconds)
        times.on_train_batch_end(0)
        time.sleep(0.03)
    assert times.times[0] == pytest.approx(0.02, abs=0.015)
    assert times.times[1] == pytest.approx(0.05, abs=0.015)
    assert times.total == pytest.approx(sum(times.times))


def test_every_training_step_is_timed(examples: Examples, model: Seq2Seq) -> None:
    times = StepTimes()
    model.fit(
        *examples.arrays(),
        batch_size=2,
        epochs=3,
        verbose=0,
        validation_split=0.34,
        callbacks=[times],
    )
    assert len(times.times) == 3
