"""The hypermodel: its models, metrics and objective."""

from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest
from tuning.trials import hyperparameters

import kseq.config.architecture
from kseq import Seq2Seq
from kseq.data import Examples
from kseq.tuning import (
    Seq2SeqHyperModel,
    results,
)
from kseq.tuning.hypermodel import _comparable
from kseq.tuning.objectives import EpochObjective


def test_our_objectives_have_a_direction_and_others_need_one(data: Any) -> None:
    directions = {
        name: Seq2SeqHyperModel(data, {}, objective=f"val_{name}").objective.direction
        for name in ("loss", "perplexity", "token_accuracy", "sequence_accuracy")
    }
    assert list(directions.values()) == ["min", "min", "max", "max"]
    own = keras_tuner.Objective("val_bleu", "max")
    assert Seq2SeqHyperModel(data, {}, objective=own).objective is own
    with pytest.raises(ValueError, match=r"'val_acuracy'. Did you mean"):
        Seq2SeqHyperModel(data, {}, objective="val_acuracy")


def test_the_model_reports_the_objective_and_further_metrics(data: Any) -> None:
    own = kseq.metrics.TokenAccuracy(name="own")
    hypermodel = Seq2SeqHyperModel(
        data,
        {"units": 4},
        objective="val_perplexity",
        metrics=["sequence_accuracy", own],
    )
    assert isinstance(hypermodel.build(hyperparameters(hypermodel)), Seq2Seq)
    metrics = hypermodel._new_metrics()
    names = [metric.name for metric in metrics]
    assert names == ["token_accuracy", "perplexity", "sequence_accuracy", "own"]
    assert own not in metrics  # a pattern: each trial counts for itself


def test_data_of_two_vocabularies_are_refused(data: Any) -> None:
    train = data[0]
    shorter = kseq.data.Vocabulary(train.target_vocab.tokens[4:-1])
    ids = np.minimum(train.target, len(shorter) - 1)
    valid = Examples(train.source, ids, train.source_vocab, shorter)
    with pytest.raises(ValueError, match="the same target_vocab in both parts"):
        Seq2SeqHyperModel((train, valid))
    with pytest.raises(TypeError, match="`data` must be two"):
        Seq2SeqHyperModel(train)  # type: ignore[arg-type]


def test_each_execution_of_a_trial_has_its_own_initial_weights(data: Any) -> None:
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]}, max_epochs=1)
    hp = hyperparameters(hypermodel)

    def weights() -> Any:
        return hypermodel.build(hp).get_layer("decoder_output").kernel.numpy()

    first = weights()
    np.testing.assert_array_equal(weights(), first)
    refused = Seq2SeqHyperModel(data, {"units": [7]}, encoder_direction="bidirectional")
    with pytest.raises(keras_tuner.errors.FailedTrialError, match="must be even"):
        hypermodel.fit(hp, refused.build(hyperparameters(refused)))
    assert not np.array_equal(weights(), first)


def test_a_metric_that_is_not_reported_is_named(data: Any, quick: Any) -> None:
    own = keras_tuner.Objective("val_bleu", "max")
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]}, objective=own, max_epochs=1)
    hp = hyperparameters(hypermodel)
    with pytest.raises(keras_tuner.errors.FatalValueError, match="'val_bleu'"):
        hypermodel.fit(hp, hypermodel.build(hp))


def test_a_further_metric_may_be_nan(data: Any) -> None:
    objective = EpochObjective(keras_tuner.Objective("val_own", "max"), 16)
    history = {"val_own": [0.1], "val_loss": [2.0], "val_other": [float("nan")]}
    assert list(_comparable(history, objective)) == ["val_own", "val_loss"]


def test_a_tuner_of_keras_tuner_takes_our_objectives_by_name(
    data: Any, tmp_path: Path
) -> None:
    # The hypermodel has another objective, and its model another metric.
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]}, max_epochs=1)

    def tuner(name: str) -> Any:
        return keras_tuner.RandomSearch(
            hypermodel,
            objective=f"val_{name}",
            max_trials=1,
            directory=tmp_path,
            project_name=name,
        )

    for name in ("token_accuracy", "sequence_accuracy", "perplexity", "loss"):
        direction = "max" if name.endswith("accuracy") else "min"
        expected = keras_tuner.Objective(f"val_{name}", direction)
        assert tuner(name).oracle.objective == expected
    sweep = tuner("perplexity")
    sweep.search(verbose=0)
    table = results(sweep)
    assert table.attrs["objective"] == "val_perplexity"
    model = sweep.get_best_models()[0]
    scored = model.evaluate(data[1].dataset(10), verbose=0, return_dict=True)
    assert table["score"][0] == pytest.approx(np.exp(scored["loss"]), rel=1e-5)


def test_a_tuner_without_an_objective_is_refused(data: Any, tmp_path: Path) -> None:
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]}, max_epochs=1)
    tuner = keras_tuner.RandomSearch(hypermodel, max_trials=1, directory=tmp_path)
    with pytest.raises(
        keras_tuner.errors.FatalValueError, match=r"objective=hypermodel\.objective"
    ):
        tuner.search(verbose=0)


@pytest.mark.parametrize(
    "objective", [["val_loss"], {"name": "val_loss", "direction": "min"}, "loss"]
)
def test_an_objective_of_another_kind_is_refused(data: Any, objective: Any) -> None:
    with pytest.raises(ValueError, match="`objective` must be one of 'val_loss'"):
        Seq2SeqHyperModel(data, {}, objective=objective)


def test_data_given_to_the_tuner_are_refused(data: Any, tmp_path: Path) -> None:
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]})
    tuner = keras_tuner.RandomSearch(
        hypermodel, objective=hypermodel.objective, max_trials=1, directory=tmp_path
    )
    with pytest.raises(keras_tuner.errors.FatalTypeError, match="validation_data"):
        tuner.search(validation_data=data[1], verbose=0)
