"""Fixtures of sweeps: examples, and replacements of the training."""

from typing import Any

import keras
import pytest
from tuning.trials import Epochs

from kseq import Seq2Seq, Seq2SeqConfig
from kseq.data import AdditionTask, Examples


@pytest.fixture(scope="module")
def data() -> tuple[Examples, Examples]:
    train, valid = AdditionTask(digits=1).split(train_size=40, valid_size=10, seed=0)
    return train, valid


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[Seq2SeqConfig]:
    """Replaces training: the score of a model is its units; 6 units raise an error."""
    fitted: list[Seq2SeqConfig] = []

    def fit(self: Seq2Seq, *_: Any, **settings: Any) -> keras.callbacks.History:
        fitted.append(self.config)
        if self.config.units == 6:
            raise RuntimeError("six is unlucky")
        first, last = settings["initial_epoch"], settings["epochs"]
        score = float(self.config.units)
        history = keras.callbacks.History()
        history.history = {"val_sequence_accuracy": [score] * (last - first)}
        for callback in settings["callbacks"]:
            callback.set_model(self)
            callback.on_epoch_end(last - 1, {"val_sequence_accuracy": score})
        return history

    monkeypatch.setattr(Seq2Seq, "fit", fit)
    monkeypatch.setattr(Examples, "dataset", lambda *_, **__: None)
    # keras-tuner collects garbage after each trial, which takes most of the time.
    monkeypatch.setattr("gc.collect", lambda *_: 0)
    return fitted


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch, quick: Any) -> Epochs:
    """Replaces training by accuracy and loss after each epoch, by units."""
    script: Epochs = {}

    def fit(self: Seq2Seq, *_: Any, **settings: Any) -> keras.callbacks.History:
        self.stop_training = False
        history = keras.callbacks.History()
        for callback in (callbacks := [*settings["callbacks"], history]):
            callback.set_model(self)
        history.on_train_begin()
        scripted = script[self.config.units]
        for epoch in range(settings["initial_epoch"], settings["epochs"]):
            if self.stop_training:
                break
            accuracy, loss = scripted[min(epoch, len(scripted) - 1)]
            logs = {"val_sequence_accuracy": accuracy, "val_loss": loss}
            for callback in callbacks:
                callback.on_epoch_end(epoch, logs)
        return history

    monkeypatch.setattr(Seq2Seq, "fit", fit)
    return script
