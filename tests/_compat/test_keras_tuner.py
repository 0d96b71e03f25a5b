"""Each test fails when keras-tuner no longer needs an entry of kseq._compat."""

import inspect
from pathlib import Path
from typing import Any

import keras_tuner
import pytest
from keras_tuner.src import config
from keras_tuner.src.distribute import oracle_chief
from keras_tuner.src.engine import base_tuner, conditions, metrics_tracking

from kseq._compat import keras_tuner as compat


class Hypermodel(keras_tuner.HyperModel):  # type: ignore[misc]
    """A space of four combinations."""

    def build(self, hp: Any) -> None:
        hp.Choice("units", [1, 2])
        hp.Choice("layers", [1, 2])


def grid_search(folder: Path) -> Any:
    return keras_tuner.GridSearch(
        Hypermodel(),
        objective=keras_tuner.Objective("score", "max"),
        directory=str(folder),
        project_name="sweep",
    )


def test_several_conditions_hold_at_once() -> None:
    parents = [compat.Parent("cell", ["lstm"]), compat.Parent("layers", [2])]
    for layers, units in ((1, None), (2, 8)):
        hp = keras_tuner.HyperParameters()
        hp.Choice("cell", ["lstm", "gru"])
        hp.values["layers"] = layers
        hp.Choice("layers", [1, 2])
        with compat.conditional_scope(hp, parents):
            assert hp.Choice("units", [8, 16]) == units
        assert hp._conditions == []


def test_a_conditional_scope_has_one_parent() -> None:
    hp = keras_tuner.HyperParameters()
    hp.Choice("cell", ["lstm", "gru"])
    hp.Choice("layers", [1, 2])
    with (
        hp.conditional_scope("cell", ["gru"]),
        pytest.raises(ValueError, match="layers"),
        hp.conditional_scope("layers", [2]),
    ):
        pass


def test_directions_of_other_metrics_are_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    infer = inspect.unwrap(metrics_tracking.infer_metric_direction)
    assert infer("val_perplexity") is None
    monkeypatch.setattr(metrics_tracking, "infer_metric_direction", infer)
    compat.add_metric_directions({"perplexity": "min", "token_accuracy": "max"})
    assert metrics_tracking.infer_metric_direction("val_perplexity") == "min"
    assert metrics_tracking.infer_metric_direction("token_accuracy") == "max"
    assert metrics_tracking.infer_metric_direction("val_loss") == "min"


def test_debugging_output_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    parent = conditions.Parent("layers", [2])
    with compat.quiet():
        parent.to_proto()
        assert not config.DEBUG
    assert capsys.readouterr().out == ""
    parent.to_proto()
    assert capsys.readouterr().out == "2\n"
    assert config.DEBUG


def test_objectives_and_callbacks_are_private() -> None:
    for name in ("DefaultObjective", "MultiObjective", "SaveBestEpoch", "Parent"):
        assert not hasattr(keras_tuner, name)


def test_the_roles_of_processes_are_private() -> None:
    assert not hasattr(keras_tuner, "distribute")
    # The chief waits until all workers, also killed ones, have asked for a trial.
    assert "timeout" not in inspect.getsource(oracle_chief.start_server)


def test_tuners_create_their_oracles() -> None:
    parameters = inspect.signature(keras_tuner.GridSearch).parameters
    assert "oracle" not in parameters
    assert "oracle" in inspect.signature(base_tuner.BaseTuner).parameters


def test_an_object_gets_a_base_class() -> None:
    class Base:
        def name(self) -> str:
            return f"base of {super().name()}"  # type: ignore[misc]

    class Kind:
        def name(self) -> str:
            return "kind"

    instance: Any = Kind()
    compat.add_base_class(instance, Base)
    assert isinstance(instance, Kind)
    assert instance.name() == "base of kind"


def test_a_grid_search_does_not_save_its_position(tmp_path: Path) -> None:
    oracle = grid_search(tmp_path).oracle
    for _ in range(2):
        trial = oracle.create_trial("tuner")
        oracle.update_trial(trial.trial_id, {"score": 1.0})
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    oracle.save()
    restored = grid_search(tmp_path).oracle
    restored.reload()
    assert restored._populate_next == []
    compat.restore_grid_order(restored)
    assert restored._populate_next == ["0000", "0001"]
