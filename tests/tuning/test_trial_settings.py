"""Training settings of trials."""

import dataclasses
from typing import Any

import keras
import pytest
from tuning.trials import hyperparameters

from kseq.teacher_forcing import LinearDecay
from kseq.tuning import (
    Boolean,
    Choice,
    Float,
    Seq2SeqHyperModel,
)
from kseq.tuning.trial_settings import TrialSettings


def test_training_settings_reach_the_model_and_its_optimizer(data: Any) -> None:
    space = {
        "learning_rate": Float(1e-3, 1e-1, sampling="log"),
        "optimizer": ["adam", "sgd"],
        "label_smoothing": [0.0, 0.1],
        "units": 4,
    }
    hypermodel = Seq2SeqHyperModel(data, space, global_clipnorm=2.0)
    hp = hyperparameters(
        hypermodel, optimizer="sgd", learning_rate=0.01, label_smoothing=0.1
    )
    model = hypermodel.build(hp)
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert model.optimizer.global_clipnorm == 2.0
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert model.loss.label_smoothing == 0.1
    assert model.config.units == 4


def test_attention_and_teacher_forcing_can_be_tuned(data: Any) -> None:
    falling = LinearDecay(100)
    space = {
        "attention": [None, "dot", "additive"],
        "input_feeding": Boolean(when={"attention": ["dot", "additive"]}),
        "teacher_forcing_ratio": Choice({"all": 1.0, "falling": falling}),
        "teacher_forcing_coin": ["token", "batch"],
        "units": 4,
    }
    hypermodel = Seq2SeqHyperModel(data, space)
    first = hypermodel.build(hyperparameters(hypermodel))
    assert (first.config.attention, first.config.input_feeding) == (None, False)
    assert first.get_compile_config()["teacher_forcing_ratio"] == 1.0
    hp = hyperparameters(
        hypermodel,
        attention="dot",
        input_feeding=True,
        teacher_forcing_ratio="falling",
        teacher_forcing_coin="batch",
    )
    model = hypermodel.build(hp)
    assert (model.config.attention, model.config.input_feeding) == ("dot", True)
    compiled = model.get_compile_config()
    assert compiled["teacher_forcing_coin"] == "batch"
    ratio = keras.saving.deserialize_keras_object(compiled["teacher_forcing_ratio"])
    assert isinstance(ratio, LinearDecay)
    assert ratio.steps == 100


def test_a_teacher_forcing_ratio_may_be_a_range(data: Any) -> None:
    hypermodel = Seq2SeqHyperModel(data, {"teacher_forcing_ratio": Float(0.25, 0.75)})
    model = hypermodel.build(hyperparameters(hypermodel, teacher_forcing_ratio=0.5))
    assert model.get_compile_config()["teacher_forcing_ratio"] == 0.5


def test_each_trial_has_its_own_optimizer(data: Any) -> None:
    pattern = keras.optimizers.Adam(0.01, clipnorm=3.0)
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]}, optimizer=pattern)
    models = [hypermodel.build(hyperparameters(hypermodel)) for _ in range(2)]
    assert models[0].optimizer is not models[1].optimizer
    assert {model.optimizer.clipnorm for model in models} == {3.0}


def test_every_training_setting_is_documented() -> None:
    documented = Seq2SeqHyperModel.__doc__ or ""
    for field in dataclasses.fields(TrialSettings):
        assert f"`{field.name}`" in documented
