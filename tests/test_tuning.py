"""Sweeps: what is tried, what is kept, what is reported."""

import dataclasses
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pandas as pd
import pytest

import kseq.config.architecture
from kseq import Seq2Seq, Seq2SeqConfig, Translator
from kseq.data import AdditionTask, Examples
from kseq.teacher_forcing import LinearDecay
from kseq.tuning import (
    Boolean,
    Choice,
    Float,
    Int,
    Seq2SeqHyperModel,
    default_space,
    durable,
    results,
    search,
)
from kseq.tuning.hypermodel import _judged
from kseq.tuning.objectives import EpochObjective
from kseq.tuning.reports import reason_of
from kseq.tuning.space import Training

SCRIPT = Path(__file__).with_name("tuning_child.py")
SPACE = {"units": [4, 6, 8], "reverse_source": [False, True]}


@pytest.fixture(scope="module")
def data() -> tuple[Examples, Examples]:
    train, valid = AdditionTask(digits=1).split(train_size=40, valid_size=10, seed=0)
    return train, valid


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[Seq2SeqConfig]:
    """Fits without training: a model's score is its units; 6 units fail to train."""
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
    # Between its trials keras-tuner collects garbage, twice; it takes most of the time.
    monkeypatch.setattr("gc.collect", lambda *_: 0)
    return fitted


Epochs = dict[int, list[tuple[float, float]]]


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch, quick: Any) -> Epochs:
    """Accuracy and loss after each epoch, by units, in place of training."""
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


def hyperparameters(hypermodel: Any, **values: Any) -> Any:
    """The hyperparameters of a trial with these values."""
    hp = keras_tuner.HyperParameters()
    hp.values.update(values)
    hypermodel.declare_hyperparameters(hp)
    return hp


# The space


def test_every_field_of_the_configuration_can_be_tuned(data: Any) -> None:
    fields = {field.name for field in dataclasses.fields(Seq2SeqConfig)}
    for name in fields - {"source_vocab_size", "target_vocab_size"}:
        default = Seq2SeqConfig.__dataclass_fields__[name].default
        hypermodel = Seq2SeqHyperModel(data, {name: [default]})
        hp = hyperparameters(hypermodel)
        assert getattr(hypermodel.config(hp), name) == default


def test_a_field_that_comes_later_can_be_tuned(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Later(Seq2SeqConfig):
        attention: str = "none"

    monkeypatch.setattr(kseq.config.architecture, "Seq2SeqConfig", Later)
    hypermodel = Seq2SeqHyperModel(data, {"attention": ["none", "dot"]})
    hp = hyperparameters(hypermodel, attention="dot")
    assert hypermodel.config(hp).attention == "dot"  # type: ignore[attr-defined]


def test_training_settings_reach_the_model_and_its_training(data: Any) -> None:
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


def test_a_ratio_may_be_a_range(data: Any) -> None:
    hypermodel = Seq2SeqHyperModel(data, {"teacher_forcing_ratio": Float(0.25, 0.75)})
    model = hypermodel.build(hyperparameters(hypermodel, teacher_forcing_ratio=0.5))
    assert model.get_compile_config()["teacher_forcing_ratio"] == 0.5


def test_each_trial_gets_an_optimizer_of_its_own_from_a_pattern(data: Any) -> None:
    pattern = keras.optimizers.Adam(0.01, clipnorm=3.0)
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]}, optimizer=pattern)
    models = [hypermodel.build(hyperparameters(hypermodel)) for _ in range(2)]
    assert models[0].optimizer is not models[1].optimizer
    assert {model.optimizer.clipnorm for model in models} == {3.0}


def test_values_of_any_kind_can_be_chosen(data: Any) -> None:
    gru = keras.layers.GRU(1, reset_after=False)
    space = {
        "cell": Choice({"lstm": "lstm", "classic": gru}),
        "encoder_units": [None, 6],
        "dropout": [0, 0.25],
        "layers": 2,
        "reverse_source": [True, False],
    }
    hypermodel = Seq2SeqHyperModel(data, space)
    first = hypermodel.values(hyperparameters(hypermodel))
    assert first["encoder_units"] is None
    assert first["reverse_source"] is True
    hp = hyperparameters(hypermodel, cell="classic", encoder_units="6", dropout=0.25)
    config = hypermodel.config(hp)
    assert (config.encoder_units, config.dropout) == (6, 0.25)
    assert isinstance(config.cell, dict)
    assert config.cell["config"]["reset_after"] is False


def test_plain_mappings_stand_for_ranges(data: Any) -> None:
    space = {
        "units": {"type": "int", "low": 4, "high": 16, "step": 2, "sampling": "log"},
        "learning_rate": {"type": "float", "low": 0.001, "high": 0.1},
        "layers": {"type": "choice", "values": [1, 2]},
        "reverse_source": {"type": "boolean", "when": {"layers": 2}},
    }
    same = {
        "units": Int(4, 16, step=2, sampling="log"),
        "learning_rate": Float(0.001, 0.1),
        "layers": Choice([1, 2]),
        "reverse_source": Boolean(when={"layers": [2]}),
    }
    spaces = [
        hyperparameters(Seq2SeqHyperModel(data, each)).get_config()
        for each in (space, same)
    ]
    assert spaces[0] == spaces[1]
    assert len(spaces[0]["space"]) == 4


def test_a_condition_leaves_a_field_at_its_default(data: Any) -> None:
    space = {
        # Declared before their parents, and one on two at once.
        "recurrent_dropout": Choice([0.3], when={"cell": "gru", "dropout": [0.2]}),
        "dropout": Choice([0.2], when={"layers": [2]}),
        "layers": [1, 2],
        "cell": ["lstm", "gru"],
    }
    hypermodel = Seq2SeqHyperModel(data, space)
    seen = {}
    for layers, cell in itertools.product([1, 2], ["lstm", "gru"]):
        hp = hyperparameters(hypermodel, layers=layers, cell=cell)
        config = hypermodel.config(hp)
        seen[layers, cell] = (config.dropout, config.recurrent_dropout)
    assert seen == {
        (1, "lstm"): (0.0, 0.0),
        (1, "gru"): (0.0, 0.0),
        (2, "lstm"): (0.2, 0.0),
        (2, "gru"): (0.2, 0.3),
    }


def test_the_default_space_makes_way_for_settings(data: Any) -> None:
    assert set(Seq2SeqHyperModel(data)._tuned) == set(default_space())
    one = Seq2SeqHyperModel(data, layers=1, units=8)
    assert {"layers", "units", "dropout"}.isdisjoint(one._tuned)
    two = Seq2SeqHyperModel(data, layers=2)
    assert two._tuned["dropout"].when is None


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        ({"unit": [4]}, {}, "Unknown setting `unit`. Did you mean `units`"),
        ({"units": []}, {}, "`units`: `values` must hold at least one"),
        ({"units": [4, 4]}, {}, "`values` must differ. Received 4 twice"),
        (
            {"units": "48"},
            {"batch_sizes": 3},
            "`batch_sizes`. Did you mean `batch_size`",
        ),
        ({"units": [4]}, {"units": 8}, "`units` must be given once. Received: 8"),
        ({"source_vocab_size": [9]}, {}, "`source_vocab_size` must be left out"),
        ({"units": [4]}, {"batch_size": 0}, "`batch_size` must be an integer >= 1"),
        ({"units": [4]}, {"optimizer": "adm"}, "`optimizer` must be .*'adm'"),
        ({"units": [4]}, {"label_smoothing": 1.5}, "`label_smoothing` .*1.5"),
        (
            {"units": [4]},
            {"teacher_forcing_ratio": 1.5},
            "`teacher_forcing_ratio` .*1.5",
        ),
        (
            {"units": [4]},
            {"teacher_forcing_coin": "row"},
            "`teacher_forcing_coin` .*'batch'.*'row'",
        ),
        (
            {"units": [4]},
            {"teacher_forcing": 0.5},
            "Unknown setting `teacher_forcing`",
        ),
        (
            {"dropout": Choice([0.1], when={"layer": 2}), "layers": [1, 2]},
            {},
            "`when` of `dropout` .*'layer'. Did you mean `layers`",
        ),
        (
            {"dropout": Choice([0.1], when={"layers": 3}), "layers": [1, 2]},
            {},
            "`when` of `dropout` must give values that `layers` can have. Received: 3",
        ),
        (
            {"dropout": Choice([0.1], when={"layers": 2})},
            {"layers": 1},
            "`when` of `dropout` must be able to hold",
        ),
        (
            {
                "layers": Choice([1], when={"units": 4}),
                "units": Choice([4], when={"layers": 1}),
            },
            {},
            "circle",
        ),
        (
            {"units": {"type": "int", "low": 8, "high": 4}},
            {},
            "`low` must be <= `high`",
        ),
        (
            {"units": {"type": "float", "low": 0, "high": 1, "sampling": "log"}},
            {},
            "`low` must be > 0",
        ),
    ],
)
def test_a_mistaken_space_is_refused_at_once(
    data: Any, space: Any, settings: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Seq2SeqHyperModel(data, space, **settings)


@pytest.mark.parametrize("make", [lambda: Int(1, 2.5), lambda: Choice("lstm")])  # type: ignore[arg-type]
def test_ranges_of_a_wrong_type_are_refused(make: Any) -> None:
    with pytest.raises(TypeError, match=r"Received: (2.5|'lstm')"):
        make()


def test_the_objective_knows_its_direction_or_must_be_told(data: Any) -> None:
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


# A sweep


def test_a_sweep_ends_with_a_model_that_decodes(data: Any, tmp_path: Path) -> None:
    sweep = search(
        data,
        {"units": [4, 8], "learning_rate": Float(1e-3, 1e-1, sampling="log")},
        objective="val_perplexity",
        max_trials=2,
        epochs=2,
        directory=tmp_path,
        verbose=0,
    )
    table = sweep.results()
    assert table["status"].tolist() == ["COMPLETED"] * 2
    assert table["score"].is_monotonic_increasing
    assert table["score"].gt(1).all()
    assert table["seconds"].gt(0).all()
    model = sweep.best_model
    assert model.count_params() == table["parameters"][0]
    assert model.config == sweep.best_config
    assert (
        model.config.units == table["units"][0] == sweep.best_hyperparameters["units"]
    )
    # The weights are those of the best epoch: they give the score again.
    scored = model.evaluate(data[1].dataset(10), verbose=0, return_dict=True)
    assert scored["perplexity"] == pytest.approx(table["score"][0], rel=1e-5)
    sources = data[1].source[:4]
    tokens = model.generate(sources, max_length=4).tokens
    loaded = Translator.load(tmp_path / "sweep/best")
    again = loaded.model.generate(sources, max_length=4).tokens
    np.testing.assert_array_equal(tokens, again)


def test_a_trial_depends_on_the_seed_and_its_hyperparameters_alone(
    data: Any, tmp_path: Path
) -> None:
    def scores(name: str, seed: int, tuner: str, **settings: Any) -> dict[int, float]:
        table = search(
            data,
            {"units": [4, 8]},
            tuner=tuner,
            objective="val_perplexity",
            epochs=1,
            seed=seed,
            directory=tmp_path,
            project_name=name,
            verbose=0,
            **settings,
        ).results()
        return dict(zip(table["units"], table["score"], strict=True))

    grid = scores("grid", 0, "grid")
    keras.utils.set_random_seed(99)  # what happened before does not matter
    assert scores("random", 0, "random", max_trials=2) == grid
    other = scores("other", 1, "grid")
    assert all(other[units] != grid[units] for units in grid)


def test_executions_of_a_trial_begin_with_weights_of_their_own(data: Any) -> None:
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]}, epochs=1)
    hp = hyperparameters(hypermodel)

    def weights() -> Any:
        return hypermodel.build(hp).get_layer("decoder_output").kernel.numpy()

    first = weights()
    np.testing.assert_array_equal(weights(), first)
    refused = Seq2SeqHyperModel(data, {"units": [0]})
    with pytest.raises(keras_tuner.errors.FailedTrialError, match="`units` must be"):
        hypermodel.fit(hp, refused.build(hyperparameters(refused)))
    assert not np.array_equal(weights(), first)


# A Gaussian process over six points warns that there are too few.
@pytest.mark.filterwarnings("ignore::UserWarning:sklearn")
@pytest.mark.filterwarnings("ignore:The optimal value found")
@pytest.mark.parametrize("tuner", ["random", "grid", "hyperband", "bayesian", "own"])
def test_every_tuner_finds_the_best(
    data: Any, tmp_path: Path, quick: Any, tuner: str
) -> None:
    class Own(keras_tuner.RandomSearch):  # type: ignore[misc]
        ended = 0

        def on_trial_end(self, trial: Any) -> None:
            Own.ended += 1
            super().on_trial_end(trial)

    settings: dict[str, Any] = (
        {} if tuner in ("grid", "hyperband") else {"max_trials": 5}
    )
    if tuner == "bayesian":
        settings["tuner_settings"] = {"num_initial_points": 2}
    sweep = search(
        data,
        SPACE,
        tuner=Own if tuner == "own" else tuner,
        epochs=3,
        directory=tmp_path,
        verbose=0,
        **settings,
    )
    table = sweep.results()
    assert table["score"].max() == sweep.best_model.config.units
    assert set(table["status"]) <= {"COMPLETED", "FAILED"}
    if tuner != "hyperband":
        assert len(table) == (6 if tuner == "grid" else 5)
    if tuner == "own":
        assert Own.ended == 5


@pytest.mark.slow
def test_hyperband_goes_on_with_weights_and_the_optimizers_state(
    data: Any, tmp_path: Path
) -> None:
    class Begin(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: Any = None) -> None:
            first = self.params["epochs"]
            begun.append((first, int(self.model.optimizer.iterations)))

        def __deepcopy__(self, memo: Any) -> "Begin":
            return Begin()

    begun: list[tuple[int, int]] = []
    search(
        data,
        {"units": [4, 8], "layers": [1, 2]},
        tuner="hyperband",
        objective="val_perplexity",
        batch_size=40,
        epochs=3,
        callbacks=[Begin()],
        directory=tmp_path,
        verbose=0,
    )
    # Of the trials of three epochs, those that continue one of one epoch have its step.
    assert (3, 1) in begun
    assert (3, 0) in begun


def test_failed_trials_are_kept_with_their_reason(
    data: Any, tmp_path: Path, quick: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"units": [4, 6, 7], "encoder_direction": ["forward", "bidirectional"]}
    sweep = search(data, space, tuner="grid", directory=tmp_path, epochs=1, verbose=1)
    table = sweep.results().set_index(["units", "encoder_direction"])
    assert table["status"].value_counts().to_dict() == {"COMPLETED": 3, "FAILED": 3}
    assert table.index[0][0] == 7
    assert table["reason"][7, "bidirectional"].startswith(
        "`encoder_units` must be even"
    )
    assert table["reason"][6, "forward"] == "RuntimeError: six is unlucky"
    assert pd.isna(table["reason"][4, "forward"])
    printed = capsys.readouterr().out
    assert "failed: `encoder_units` must be even" in printed
    assert "Traceback" not in printed


def test_a_first_combination_that_is_refused_ends_nothing(
    data: Any, tmp_path: Path, quick: Any
) -> None:
    space = {"units": [7, 8], "encoder_direction": "bidirectional"}
    sweep = search(data, space, tuner="grid", directory=tmp_path, epochs=1, verbose=0)
    assert sweep.best_config.units == 8


def test_a_sweep_ends_after_many_failures_in_a_row_and_says_so(
    data: Any, tmp_path: Path, quick: list[Any]
) -> None:
    space = {"units": [4, 6], "batch_size": [1, 2, 3, 4]}

    def run(limit: int) -> Any:
        return search(
            data,
            space,
            tuner="grid",
            directory=tmp_path,
            epochs=1,
            max_consecutive_failed_trials=limit,
            verbose=0,
        )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        sweep = run(3)
    assert len(caught) == 1
    assert re.search("3 trials in a row failed.*is unlucky", str(caught[0].message))
    assert sweep.best_config.units == 4
    assert sweep.results()["status"].tolist() == ["COMPLETED"] * 4 + ["FAILED"] * 3
    assert len(run(99).results()) == 8


def test_a_sweep_without_any_success_raises_its_last_reason(
    data: Any, tmp_path: Path, quick: Any
) -> None:
    with pytest.raises(RuntimeError, match=r"no trial that succeeded.*six is unlucky"):
        search(data, {"units": [6]}, tuner="grid", directory=tmp_path, verbose=0)
    assert results(tmp_path / "sweep")["status"].tolist() == ["FAILED"]


def test_a_metric_that_is_not_reported_is_named(data: Any, quick: Any) -> None:
    own = keras_tuner.Objective("val_bleu", "max")
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]}, objective=own, epochs=1)
    hp = hyperparameters(hypermodel)
    with pytest.raises(keras_tuner.errors.FatalValueError, match="'val_bleu'"):
        hypermodel.fit(hp, hypermodel.build(hp))


# What is best


def test_a_diverged_trial_fails_and_the_sweep_goes_on(
    data: Any, tmp_path: Path
) -> None:
    sweep = search(
        data,
        {"learning_rate": [1e6, 1e-4]},
        tuner="grid",
        units=4,
        epochs=1,
        directory=tmp_path,
        verbose=0,
    )
    table = sweep.results()
    assert table["status"].tolist() == ["COMPLETED", "FAILED"]
    assert table["learning_rate"].tolist() == [1e-4, 1e6]
    assert re.fullmatch(
        r"The training diverged: val_loss is [\d.e+]+; guessing among 16 tokens gives "
        r"2\.773\.",
        table["reason"][1],
    )
    assert sweep.best_hyperparameters["learning_rate"] == 1e-4


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 1e6, 3.5])
def test_a_loss_that_is_worse_than_guessing_is_no_result(
    data: Any, tmp_path: Path, epochs: Epochs, loss: float
) -> None:
    epochs.update({4: [(0.5, loss)], 8: [(0.0, 2.7)]})
    sweep = search(
        data, {"units": [4, 8]}, tuner="grid", directory=tmp_path, epochs=2, verbose=0
    )
    assert sweep.best_config.units == 8
    reason = sweep.results()["reason"][1]
    assert reason.startswith(f"The training diverged: val_loss is {loss:.4g};")


def test_of_equal_trials_the_one_with_the_lower_loss_is_the_best(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    epochs.update({4: [(0.0, 2.7)], 6: [(0.0, 2.5)], 8: [(0.0, 2.6)]})
    for _ in range(2):  # the second time from the folder
        sweep = search(
            data,
            {"units": [4, 6, 8]},
            tuner="grid",
            directory=tmp_path,
            epochs=1,
            verbose=0,
        )
        assert sweep.results()["units"].tolist() == [6, 8, 4]
        assert sweep.best_config.units == 6
        ranked = sweep.tuner.oracle.get_best_trials(3)
        assert [t.hyperparameters.get("units") for t in ranked] == [6, 8, 4]


def test_of_equal_epochs_the_one_with_the_lower_loss_is_the_best(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    diverged, nan = (0.9, 1e6), (0.9, float("nan"))
    epochs[4] = [diverged, (0.1, 2.7), (0.1, 2.5), (0.1, 2.6), diverged]
    epochs[8] = [(0.1, 2.7), nan, (0.2, 1.0)]
    table = search(
        data, {"units": [4, 8]}, tuner="grid", directory=tmp_path, epochs=5, verbose=0
    ).results()
    assert table["units"].tolist() == [4, 8]
    # What comes after nan is not trained any more.
    assert table["best_epoch"].tolist() == [3, 1]
    assert table["score"].tolist() == [0.1, 0.1]


def test_the_checkpoint_is_of_the_best_epoch(
    data: Any, tmp_path: Path, epochs: Epochs, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Seq2Seq, "save_weights", lambda *_: saved.append(seen[-1]))
    monkeypatch.setattr(Seq2Seq, "load_weights", lambda *_: None)
    seen: list[int] = []
    epochs[4] = [(0.9, 1e6), (0.1, 2.7), (0.1, 2.5), (0.1, 2.6), (0.2, 1e6)]
    search(
        data,
        {"units": [4]},
        tuner="grid",
        directory=tmp_path,
        epochs=5,
        callbacks=[Note(seen)],
        verbose=0,
    )
    assert saved == [1, 2]


class Note(keras.callbacks.Callback):
    """Notes the epoch; a trial's copy notes in the same list."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen

    def __deepcopy__(self, memo: Any) -> "Note":
        return Note(self.seen)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen.append(epoch)


def test_diverged_trials_in_a_row_do_not_end_a_sweep(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    epochs.update({units: [(0.0, 1e6)] for units in (4, 5, 6, 7)})
    epochs[8] = [(0.0, 2.0)]
    sweep = search(
        data,
        {"units": [4, 5, 6, 7, 8]},
        tuner="grid",
        max_consecutive_failed_trials=2,
        directory=tmp_path,
        epochs=1,
        verbose=0,
    )
    assert sweep.best_config.units == 8


def test_a_sweep_whose_trials_all_diverge_says_so(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    epochs.update({4: [(0.0, 1e6)], 8: [(0.0, 1e7)]})
    with pytest.raises(
        RuntimeError,
        match=r"no trial that succeeded, and 2 that failed; .* The last one: The "
        r"training diverged: val_loss is 1e\+07; guessing",
    ):
        search(
            data,
            {"units": [4, 8]},
            tuner="grid",
            directory=tmp_path,
            epochs=1,
            verbose=0,
        )


def test_hyperband_promotes_the_best_where_others_have_failed(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    # Three trials of one epoch, of which one goes on; keras-tuner waits for a third.
    epochs.update({4: [(0.0, 2.6)], 6: [(0.0, 1e6)], 8: [(0.0, 2.5)]})
    table = search(
        data,
        {"units": [4, 6, 8]},
        tuner="hyperband",
        directory=tmp_path,
        epochs=3,
        verbose=0,
    ).results()
    promoted = table[table["tuner/round"] == 1]
    assert promoted["units"].tolist() == [8]


def test_a_trial_fails_if_one_of_its_executions_diverges(
    data: Any, tmp_path: Path, epochs: Epochs, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, seen = Seq2Seq.fit, []

    def second_diverges(self: Seq2Seq, *args: Any, **settings: Any) -> Any:
        seen.append(self.config.units)
        epochs[4] = [(0.5, 1e6 if seen.count(4) == 2 else 2.0)]
        return fit(self, *args, **settings)

    monkeypatch.setattr(Seq2Seq, "fit", second_diverges)
    epochs[8] = [(0.1, 2.0)]
    sweep = search(
        data,
        {"units": [4, 8]},
        tuner="grid",
        directory=tmp_path,
        epochs=1,
        verbose=0,
        tuner_settings={"executions_per_trial": 2},
    )
    assert sweep.results()["status"].tolist() == ["COMPLETED", "FAILED"]
    assert sweep.best_config.units == 8


def test_a_further_metric_may_be_nan(data: Any) -> None:
    objective = EpochObjective(keras_tuner.Objective("val_own", "max"), 16)
    history = {"val_own": [0.1], "val_loss": [2.0], "val_other": [float("nan")]}
    assert list(_judged(history, objective)) == ["val_own", "val_loss"]


def test_an_objective_that_is_no_number_fails_the_trial(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    epochs.update({4: [(float("nan"), 2.0)], 8: [(float("nan"), 2.0), (0.1, 2.0)]})
    table = search(
        data, {"units": [4, 8]}, tuner="grid", directory=tmp_path, epochs=2, verbose=0
    ).results()
    assert table["best_epoch"].tolist() == [2, pd.NA]
    assert table["reason"][1] == (
        "`objective` must be finite. Received: val_sequence_accuracy is nan in every "
        "epoch."
    )


def test_a_tuner_of_keras_tuner_takes_our_objectives_by_name(
    data: Any, tmp_path: Path
) -> None:
    # The hypermodel has another objective, and its model another metric.
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]}, epochs=1)

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
    found = tuner("perplexity")
    found.search(verbose=0)
    table = results(found)
    assert table.attrs["objective"] == "val_perplexity"
    model = found.get_best_models()[0]
    scored = model.evaluate(data[1].dataset(10), verbose=0, return_dict=True)
    assert table["score"][0] == pytest.approx(np.exp(scored["loss"]), rel=1e-5)


def test_a_tuner_without_an_objective_is_refused(data: Any, tmp_path: Path) -> None:
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]}, epochs=1)
    tuner = keras_tuner.RandomSearch(hypermodel, max_trials=1, directory=tmp_path)
    with pytest.raises(
        keras_tuner.errors.FatalValueError, match=r"objective=hypermodel\.objective"
    ):
        tuner.search(verbose=0)


def test_a_tuner_of_several_objectives_leaves_diverged_epochs_out(
    data: Any, tmp_path: Path, epochs: Epochs
) -> None:
    epochs.update({4: [(0.9, 1e6), (0.2, 2.0)], 8: [(0.9, 1e6)]})
    hypermodel = Seq2SeqHyperModel(data, {"units": [4, 8]}, epochs=2)
    tuner = keras_tuner.GridSearch(
        hypermodel,
        objective=["val_sequence_accuracy", "val_loss"],
        directory=tmp_path,
    )
    tuner.search(verbose=0)
    table = results(tuner)
    assert table["status"].tolist() == ["COMPLETED", "FAILED"]
    assert table["score"][0] == pytest.approx(2.0 - 0.2)


@pytest.mark.parametrize(
    "objective", [["val_loss"], {"name": "val_loss", "direction": "min"}, "loss"]
)
def test_an_objective_of_another_kind_is_refused(data: Any, objective: Any) -> None:
    with pytest.raises(ValueError, match="`objective` must be one of 'val_loss'"):
        Seq2SeqHyperModel(data, {}, objective=objective)


def test_nothing_is_printed_on_request(
    data: Any, tmp_path: Path, quick: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        search(data, SPACE, tuner="grid", directory=tmp_path, epochs=1, verbose=0)
    assert "".join(capfd.readouterr()) == ""


def test_data_given_to_the_tuner_are_refused(data: Any, tmp_path: Path) -> None:
    hypermodel = Seq2SeqHyperModel(data, {"units": [4]})
    tuner = keras_tuner.RandomSearch(
        hypermodel, objective=hypermodel.objective, max_trials=1, directory=tmp_path
    )
    with pytest.raises(keras_tuner.errors.FatalTypeError, match="validation_data"):
        tuner.search(validation_data=data[1], verbose=0)


def test_hyperband_decides_the_number_of_trials_and_of_epochs(data: Any) -> None:
    with pytest.raises(ValueError, match=r"`max_trials` .*Received: 4"):
        search(data, SPACE, tuner="hyperband", max_trials=4)
    with pytest.raises(ValueError, match="`epochs` must be a single number"):
        search(data, {"epochs": [1, 2]}, tuner="hyperband")


def test_an_unknown_tuner_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"`tuner` must be one of 'random'.*'best'"):
        search(data, SPACE, tuner="best")


def test_without_scikit_learn_the_error_says_what_to_install(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'kseq\[bayesian\]'"):
        search(data, SPACE, tuner="bayesian")


# Kept across processes


def test_a_finished_sweep_trains_nothing_again(
    data: Any, tmp_path: Path, quick: list[Any]
) -> None:
    settings: dict[str, Any] = {"directory": tmp_path, "epochs": 1, "verbose": 0}
    first = search(data, SPACE, max_trials=3, **settings).results()
    assert len(quick) == 3
    again = search(data, SPACE, max_trials=3, **settings)
    assert len(quick) == 3
    pd.testing.assert_frame_equal(again.results(), first)
    assert again.best_model.config.units == first["units"][0]
    more = search(data, SPACE, max_trials=5, **settings).results()
    assert len(quick) == len(more) == 5


def test_another_sweep_in_the_same_folder_is_refused(
    data: Any, tmp_path: Path, quick: Any
) -> None:
    settings: dict[str, Any] = {"directory": tmp_path, "tuner": "grid", "verbose": 0}
    search(data, {"units": [4]}, epochs=1, **settings)
    for message, changed in {
        "another `space`": lambda: search(data, {"units": [8]}, epochs=1, **settings),
        "another `settings`": lambda: search(
            data, {"units": [4]}, epochs=2, **settings
        ),
        "another `data`": lambda: search(
            data[::-1], {"units": [4]}, epochs=1, **settings
        ),
    }.items():
        with pytest.raises(ValueError, match=message):
            changed()
    anew = search(data, {"units": [8]}, epochs=1, overwrite=True, **settings)
    assert anew.results()["units"].tolist() == [8]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    with pytest.raises(ValueError, match="something else than a sweep"):
        search(data, SPACE, project_name="mine", overwrite=True, **settings)
    assert (tmp_path / "mine/thesis.txt").exists()


class Killed(BaseException):
    """As good as SIGKILL: nobody catches it."""


class Light(keras_tuner.HyperModel):  # type: ignore[misc]
    """A space with a condition, a failure, and models that cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.fitted = 0

    def build(self, hp: Any) -> Any:
        units = hp.Choice("units", [1, 2])
        hp.Boolean("reverse")
        with hp.conditional_scope("reverse", [True]):
            hp.Choice("depth", [1, 2])
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(units)])

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> float:
        self.fitted += 1
        for callback in kwargs["callbacks"]:
            callback.set_model(model)
            callback.on_epoch_end(0, {"score": 1.0})
        if hp.values.get("depth") == 2:
            raise ValueError("too deep")
        return float(hp.values["units"] + hp.values["reverse"])


LIGHT_TUNERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "random": (keras_tuner.RandomSearch, {"max_trials": 3}),
    "grid": (keras_tuner.GridSearch, {}),
    "hyperband": (keras_tuner.Hyperband, {"max_epochs": 2, "factor": 2}),
}


def light_sweep(
    monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str, kill_at: int | None = None
) -> tuple[Any, int, int]:
    """Runs a sweep, up to its n-th write; returns trials, fits and writes."""
    writes = itertools.count()
    written = durable.write_json

    def write(path: Path, value: Any) -> None:
        if next(writes) == kill_at:
            raise Killed
        written(path, value)

    hypermodel = Light()
    tuner_class, settings = LIGHT_TUNERS[kind]
    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_json", write)
        patch.setattr("gc.collect", lambda *_: 0)
        tuner = durable.durable(tuner_class)(
            hypermodel,
            objective=keras_tuner.Objective("score", "max"),
            seed=3,
            directory=str(folder),
            project_name="light",
            max_consecutive_failed_trials=99,
            **settings,
        )
        tuner.search(verbose=0)
    trials = {
        name: (trial.status, trial.score, trial.hyperparameters.values)
        for name, trial in tuner.oracle.trials.items()
    }
    return trials, hypermodel.fitted, next(writes)


@pytest.mark.parametrize(
    ("kind", "every"),
    [
        ("grid", 9),
        pytest.param("random", 1, marks=pytest.mark.slow),
        pytest.param("grid", 1, marks=pytest.mark.slow),
        pytest.param("hyperband", 1, marks=pytest.mark.slow),
    ],
)
def test_a_sweep_killed_at_any_write_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, every: int
) -> None:
    whole, fitted, writes = light_sweep(monkeypatch, tmp_path / "whole", kind)
    assert fitted == len(whole)
    for kill_at in range(0, writes, every):
        folder = tmp_path / str(kill_at)
        with pytest.raises(Killed):
            light_sweep(monkeypatch, folder, kind, kill_at)
        kept = [
            json.loads(path.read_text())["status"]
            for path in folder.glob("light/trial_*/trial.json")
        ]
        finished = sum(status in ("COMPLETED", "FAILED") for status in kept)
        trials, fitted, _ = light_sweep(monkeypatch, folder, kind)
        assert trials == whole
        assert fitted == len(whole) - finished


def environment(**variables: object) -> dict[str, str]:
    inherited = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**inherited, **{name: str(value) for name, value in variables.items()}}


def start(folder: Path, **variables: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", str(SCRIPT), str(folder)],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-4000:]
    return out


def kill_when_held(process: "subprocess.Popen[str]", folder: Path) -> None:
    end = time.monotonic() + 300
    while not (folder / "held").exists():
        assert process.poll() is None, process.communicate()[1][-4000:]
        assert time.monotonic() < end
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_sweep_killed_in_a_trial_goes_on_in_another_process(tmp_path: Path) -> None:
    kill_when_held(start(tmp_path, HOLD=2), tmp_path)
    cut = results(tmp_path / "sweep")
    assert cut["status"].tolist() == ["COMPLETED", "RUNNING"]
    out = finish(start(tmp_path))
    assert out.startswith("trained 3\n")
    table = results(tmp_path / "sweep").set_index("trial")
    assert table["status"].tolist() == ["COMPLETED"] * 4
    assert table["score"][cut["trial"][0]] == cut["score"][0]
    assert table["reason"][cut["trial"][1]] == "interrupted, finished later"
    assert table["reason"].notna().sum() == 1


# Several processes


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def team(folder: Path, *workers: dict[str, object]) -> list["subprocess.Popen[str]"]:
    """Starts a chief and workers."""
    address = {
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": free_port(),
    }
    members = [{"KERASTUNER_TUNER_ID": "chief"}] + [
        {"KERASTUNER_TUNER_ID": f"worker{n}", **each} for n, each in enumerate(workers)
    ]
    return [start(folder, **address, **member) for member in members]


def test_a_worker_killed_in_a_trial_leaves_the_sweep_to_the_others(
    tmp_path: Path,
) -> None:
    chief, doomed, other = team(tmp_path, {"HOLD": 1}, {"PAUSE": 1})
    kill_when_held(doomed, tmp_path)
    told = finish(chief)
    assert told.startswith("trained 0\n")
    assert finish(other).startswith("trained 4\n")
    table = results(tmp_path / "sweep")
    assert table["status"].tolist() == ["COMPLETED"] * 4
    assert table["reason"].dropna().tolist() == ["lost with 'worker0', finished later"]
    assert Translator.load(tmp_path / "sweep/best").model.config.units in (4, 6, 8)


@pytest.mark.slow
def test_a_chief_and_two_workers_find_what_one_process_finds(tmp_path: Path) -> None:
    processes = team(tmp_path / "team", {"PAUSE": 1}, {"PAUSE": 1})
    printed = [finish(process) for process in processes]
    trained = [int(text.split()[1]) for text in printed]
    assert trained[0] == 0
    assert sorted(trained[1:]) in ([1, 3], [2, 2])
    alone = finish(start(tmp_path / "alone"))
    tables = [results(tmp_path / name / "sweep") for name in ("team", "alone")]
    keys = ["units", "reverse_source", "score", "parameters"]
    found, wanted = (table[keys].sort_values(keys[:2]) for table in tables)
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), wanted.reset_index(drop=True)
    )
    assert alone.startswith("trained 4\n")
    # A team that starts again has nothing to train.
    again = [finish(process) for process in team(tmp_path / "team", {})]
    assert [text.split()[1] for text in again] == ["0", "0"]


@pytest.mark.slow
def test_a_sweep_begun_alone_is_finished_by_a_team(tmp_path: Path) -> None:
    kill_when_held(start(tmp_path, HOLD=2), tmp_path)
    chief, worker = team(tmp_path, {})
    finish(chief)
    assert finish(worker).startswith("trained 3\n")
    assert results(tmp_path / "sweep")["status"].tolist() == ["COMPLETED"] * 4


@pytest.mark.slow
def test_a_chief_that_is_killed_can_be_started_again(tmp_path: Path) -> None:
    port = free_port()
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    chief = start(tmp_path, KERASTUNER_TUNER_ID="chief", **address)
    worker = start(tmp_path, KERASTUNER_TUNER_ID="worker0", PAUSE=2, **address)
    folder = tmp_path / "sweep"
    end = time.monotonic() + 300
    while not list(folder.glob("trial_*/checkpoint.weights.h5")):
        assert time.monotonic() < end
        time.sleep(0.1)
    chief.kill()
    chief.communicate()
    finish(start(tmp_path, KERASTUNER_TUNER_ID="chief", **address))
    # Not even the trial that was running has to be run again.
    assert finish(worker).startswith("trained 4\n")
    table = results(folder)
    assert table["status"].tolist() == ["COMPLETED"] * 4


def test_a_worker_without_a_chief_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(free_port()))
    with pytest.raises(RuntimeError, match="No chief has answered"):
        durable._await_chief(0.2)


def test_a_trial_that_loses_worker_after_worker_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuner = durable.durable(keras_tuner.GridSearch)(
        Light(),
        objective=keras_tuner.Objective("score", "max"),
        directory=str(tmp_path),
        project_name="light",
    )
    oracle = tuner.oracle
    oracle.verbose = 0
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for attempt in range(3):
        trial = oracle.create_trial(f"worker{attempt}")
        assert trial.trial_id == "0000"
        now[0] += 9
        oracle.get_trial("0000")  # a sign of life
        now[0] += 9
        oracle.give_up_lost(10)
        assert trial.status == "RUNNING"
        now[0] += 9
        oracle.give_up_lost(10)
    assert not oracle.ongoing_trials
    assert not oracle.tuner_ids
    table = results(tmp_path / "light")
    assert table["status"].tolist() == ["FAILED"]
    assert table["reason"][0].endswith("Its workers were lost 3 times.")
    # One that was only slow comes too late, and does no harm.
    late = oracle.get_trial("0000")
    oracle.end_trial(late)
    assert oracle.end_order == ["0000"]
    assert oracle.create_trial("worker9").trial_id == "0001"


# Reports


def test_results_come_from_the_folder_alone(
    data: Any, tmp_path: Path, quick: Any
) -> None:
    space = {
        "units": [4, 6, 8],
        "learning_rate": Float(1e-3, 1e-1, step=10.0, sampling="log"),
        "layers": 1,
        "cell": ["lstm", "gru"],
        "forget_bias": Choice([2.0], when={"cell": "lstm"}),
    }
    sweep = search(data, space, tuner="grid", directory=tmp_path, epochs=1, verbose=0)
    table = results(str(tmp_path / "sweep"))
    assert list(table.columns) == [
        "trial",
        "status",
        "score",
        "units",
        "learning_rate",
        "cell",
        "forget_bias",
        "seconds",
        "parameters",
        "best_epoch",
        "reason",
    ]
    assert len(table) == 3 * 3 * 2
    assert table["score"].tolist()[:12] == [8.0] * 6 + [4.0] * 6
    assert table["status"].tolist()[12:] == ["FAILED"] * 6
    assert (table["forget_bias"].isna() == (table["cell"] == "gru")).all()
    assert table.attrs["log"] == ["learning_rate"]
    assert table.attrs["objective"] == "val_sequence_accuracy"
    assert table.attrs["direction"] == "max"
    for same in (sweep.results(), results(sweep), results(sweep.tuner)):
        pd.testing.assert_frame_equal(same, table)
    table.to_csv(tmp_path / "results.csv", index=False)
    assert len(pd.read_csv(tmp_path / "results.csv")) == 18


def test_the_least_score_comes_first_where_less_is_better(tmp_path: Path) -> None:
    for number, score in enumerate([3.0, 1.0, 2.0]):
        folder = tmp_path / f"trial_{number}"
        folder.mkdir()
        trial = {
            "trial_id": str(number),
            "hyperparameters": {"space": [], "values": {"units": number}},
            "score": score,
            "best_step": 0,
            "status": "COMPLETED",
            "message": None,
        }
        (folder / "trial.json").write_text(json.dumps(trial))
        (folder / "run.json").write_text(
            json.dumps({"objective": "val_loss", "direction": "min"})
        )
    assert results(tmp_path)["trial"].tolist() == ["1", "2", "0"]


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/oracle.json").touch()
    with pytest.raises(FileNotFoundError, match=r"no sweep .*holds the sweeps mine"):
        results(tmp_path)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "Traceback (most recent call last):\n  File\nValueError: no\n",
            "ValueError: no",
        ),
        (
            "Traceback (most recent call last):\n  File\nValueError: a\n\nThe above\n\n"
            "Traceback (most recent call last):\n  File\n"
            "keras_tuner.src.errors.FailedTrialError: b",
            "b",
        ),
        (
            "Traceback (most recent call last):\n  File\n"
            "tensorflow.errors_impl.InvalidArgumentError: Graph execution error:\n\n"
            "Detected at node x defined at (most recent call last):\n"
            "<stack traces unavailable>\nids out of range\n\t [[{{node x}}]]",
            "InvalidArgumentError: Graph execution error: ids out of range",
        ),
        ("Its workers were lost.", "Its workers were lost."),
    ],
)
def test_a_reason_is_the_end_of_a_traceback(message: str, reason: str) -> None:
    assert reason_of(message) == reason


def test_training_settings_have_the_documented_defaults() -> None:
    documented = Seq2SeqHyperModel.__doc__ or ""
    for field in dataclasses.fields(Training):
        assert f"`{field.name}`" in documented
