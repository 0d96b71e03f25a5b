"""Sweeps in one process."""

import re
import warnings
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pandas as pd
import pytest

from kseq import Translator
from kseq.tuning import (
    Float,
    results,
    search,
)

SPACE = {"units": [4, 6, 8], "reverse_source": [False, True]}


def test_a_sweep_ends_with_a_model_that_decodes(data: Any, tmp_path: Path) -> None:
    sweep = search(
        data,
        {"units": [4, 8], "learning_rate": Float(1e-3, 1e-1, sampling="log")},
        objective="val_perplexity",
        max_trials=2,
        max_epochs=2,
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
            max_epochs=1,
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
        max_epochs=3,
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
def test_hyperband_continues_with_the_weights_and_the_optimizer_state(
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
        max_epochs=3,
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
    sweep = search(
        data, space, tuner="grid", directory=tmp_path, max_epochs=1, verbose=1
    )
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


def test_a_first_combination_that_is_invalid_does_not_end_the_sweep(
    data: Any, tmp_path: Path, quick: Any
) -> None:
    space = {"units": [7, 8], "encoder_direction": "bidirectional"}
    sweep = search(
        data, space, tuner="grid", directory=tmp_path, max_epochs=1, verbose=0
    )
    assert sweep.best_config.units == 8


def test_a_sweep_ends_with_a_warning_after_consecutive_failures(
    data: Any, tmp_path: Path, quick: list[Any]
) -> None:
    space = {"units": [4, 6], "batch_size": [1, 2, 3, 4]}

    def run(limit: int) -> Any:
        return search(
            data,
            space,
            tuner="grid",
            directory=tmp_path,
            max_epochs=1,
            max_consecutive_failed_trials=limit,
            verbose=0,
        )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        sweep = run(3)
    assert len(caught) == 1
    assert re.search("3 consecutive trials failed.*is unlucky", str(caught[0].message))
    assert sweep.best_config.units == 4
    assert sweep.results()["status"].tolist() == ["COMPLETED"] * 4 + ["FAILED"] * 3
    assert len(run(99).results()) == 8


def test_a_sweep_without_success_raises_the_last_error(
    data: Any, tmp_path: Path, quick: Any
) -> None:
    with pytest.raises(
        RuntimeError, match=r"No trial of the sweep succeeded.*six is unlucky"
    ):
        search(data, {"units": [6]}, tuner="grid", directory=tmp_path, verbose=0)
    assert results(tmp_path / "sweep")["status"].tolist() == ["FAILED"]


def test_nothing_is_printed_with_verbose_0(
    data: Any, tmp_path: Path, quick: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        search(data, SPACE, tuner="grid", directory=tmp_path, max_epochs=1, verbose=0)
    assert "".join(capfd.readouterr()) == ""


def test_hyperband_sets_the_numbers_of_trials_and_epochs(data: Any) -> None:
    with pytest.raises(ValueError, match=r"`max_trials` .*Received: 4"):
        search(data, SPACE, tuner="hyperband", max_trials=4)
    with pytest.raises(ValueError, match="`max_epochs` must be a single number"):
        search(data, {"max_epochs": [1, 2]}, tuner="hyperband")


def test_an_unknown_tuner_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"`tuner` must be one of 'random'.*'best'"):
        search(data, SPACE, tuner="best")


def test_without_scikit_learn_the_error_names_the_packages(
    data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'kseq\[bayesian\]'"):
        search(data, SPACE, tuner="bayesian")


def test_a_finished_sweep_trains_nothing_again(
    data: Any, tmp_path: Path, quick: list[Any]
) -> None:
    settings: dict[str, Any] = {"directory": tmp_path, "max_epochs": 1, "verbose": 0}
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
    search(data, {"units": [4]}, max_epochs=1, **settings)
    for message, changed in {
        "another `space`": lambda: search(
            data, {"units": [8]}, max_epochs=1, **settings
        ),
        "another `settings`": lambda: search(
            data, {"units": [4]}, max_epochs=2, **settings
        ),
        "another `data`": lambda: search(
            data[::-1], {"units": [4]}, max_epochs=1, **settings
        ),
    }.items():
        with pytest.raises(ValueError, match=message):
            changed()
    anew = search(data, {"units": [8]}, max_epochs=1, overwrite=True, **settings)
    assert anew.results()["units"].tolist() == [8]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").touch()
    with pytest.raises(ValueError, match="is not the folder of a sweep"):
        search(data, SPACE, project_name="mine", overwrite=True, **settings)
    assert (tmp_path / "mine/thesis.txt").exists()
