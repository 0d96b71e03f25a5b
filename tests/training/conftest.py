"""Fixtures of the tests of training runs."""

from collections.abc import Iterator
from typing import Any

import pytest
import tensorflow as tf

from kseq import Seq2Seq
from kseq.training.validation import Validation


@pytest.fixture(scope="module")
def eagerly() -> Iterator[None]:
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """Validation metrics of each checkpoint; nothing is trained."""
    values: dict[str, list[float]] = {"perplexity": []}
    logs = dict.fromkeys(
        ("loss", "perplexity", "token_accuracy", "sequence_accuracy"), 1.0
    )

    def fit(model: Any, data: Any, callbacks: Any, **keywords: Any) -> None:
        (callback,) = callbacks
        callback.set_model(model)
        model.stop_training = False
        for epoch in range(keywords["epochs"]):
            callback.on_epoch_begin(epoch)
            for step in range(keywords["steps_per_epoch"]):
                callback.on_train_batch_begin(step)
                callback.on_train_batch_end(step, logs)
                if model.stop_training:
                    break
            callback.on_epoch_end(epoch, logs)
            if model.stop_training:
                return

    def measure(self: Validation, *rest: Any) -> Any:
        count = getattr(self, "count", 0)
        self.count = count + 1  # type: ignore[attr-defined]
        metrics = {name: each[count] for name, each in values.items()}
        return {"loss": 1.0, "perplexity": 2.0, **metrics}, []

    monkeypatch.setattr(Seq2Seq, "fit", fit)
    monkeypatch.setattr(Validation, "measure", measure)
    return values
