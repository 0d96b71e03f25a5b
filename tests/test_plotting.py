"""Plots of training and attention."""

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from kseq.plotting import attention_map, learning_curve, sweep, training_curves

HISTORY = {
    "loss": [3.0, 2.0, 1.0, 0.5],
    "token_accuracy": [0.1, 0.2, 0.3, 0.4],
    "learning_rate": [0.1] * 4,
    "val_loss": [3.5, 2.5, 1.5, 1.0],
    "val_token_accuracy": [0.1, 0.15, 0.2, 0.25],
}

pytest.importorskip("matplotlib")


def test_metrics_are_drawn_with_their_validation() -> None:
    ax = learning_curve(HISTORY)
    training, validation = ax.lines
    assert (training.get_label(), training.get_linestyle()) == ("token_accuracy", "--")
    assert (validation.get_label(), validation.get_linestyle()) == (
        "val_token_accuracy",
        "-",
    )
    assert list(training.get_ydata()) == HISTORY["token_accuracy"]
    assert list(validation.get_ydata()) == HISTORY["val_token_accuracy"]
    assert list(training.get_xdata()) == list(validation.get_xdata()) == [1, 2, 3, 4]
    assert training.get_color() == validation.get_color()
    assert ax.get_xlabel() == "epoch"


def test_the_loss_is_drawn_on_request_or_where_there_is_nothing_else() -> None:
    for ax in (
        learning_curve(HISTORY, metrics=["loss"]),
        learning_curve({key: HISTORY[key] for key in ("loss", "val_loss")}),
    ):
        assert [line.get_label() for line in ax.lines] == ["loss", "val_loss"]


def test_a_keras_history_is_taken_as_it_is() -> None:
    history = keras.callbacks.History()
    history.history = {"loss": [2.0, 1.0]}
    assert len(learning_curve(history).lines) == 1


@pytest.mark.parametrize(("epochs", "every"), [(4, 2), (5, 2), (6, 3), (3, 1)])
def test_validation_every_few_epochs_stands_at_its_epochs(
    epochs: int, every: int
) -> None:
    validated = range(every, epochs + 1, every)
    history = {"loss": [1.0] * epochs, "val_loss": [1.0] * len(validated)}
    ax = learning_curve(history)
    assert list(ax.lines[1].get_xdata()) == list(validated)


def visible_ticks(ax: Any) -> list[float]:
    low, high = ax.get_xlim()
    return [tick for tick in ax.get_xticks() if low <= tick <= high]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 30, 1000])
def test_epochs_and_updates_are_labelled_by_whole_numbers(count: int) -> None:
    numbers = list(range(1, count + 1))
    epochs = learning_curve({"loss": [1.0] * count})
    frame = pd.DataFrame(
        {"checkpoint": numbers, "updates": numbers, "valid_bleu": [1.0] * count}
    )
    (updates,) = training_curves({"one": frame}).axes
    axes = [epochs, updates]
    if count > 4:  # fewer are columns
        table = pd.DataFrame({"score": [0.5] * count, "layers": numbers})
        axes += sweep(table, ["layers"]).axes
    for ax in axes:
        ax.figure.canvas.draw()
        ticks = visible_ticks(ax)
        assert ticks == [round(tick) for tick in ticks]
        assert 1 <= len(ticks) <= 7
        if count <= 5:
            assert ticks == numbers


def test_a_single_epoch_can_be_seen() -> None:
    ax = learning_curve({"loss": [1.0], "val_loss": [2.0]})
    assert [line.get_marker() for line in ax.lines] == [".", "."]
    assert learning_curve({"loss": [1.0] * 99}).lines[0].get_marker() in ("", "None")


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`metrics` .*'token_accuracy'.*'bleu'"):
        learning_curve(HISTORY, metrics=["bleu"])


def test_a_picture_can_be_saved_into_axes_of_ones_own(tmp_path: Path) -> None:
    ax = learning_curve(HISTORY)
    assert learning_curve(HISTORY, metrics=["loss"], ax=ax) is ax
    assert len(ax.lines) == 4
    ax.figure.savefig(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'kseq\[plot\]'"):
        learning_curve(HISTORY)


def sweep_table() -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "trial": ["0", "1", "2", "3", "4", "5", "6"],
            "status": ["COMPLETED"] * 6 + ["FAILED"],
            "score": [0.1, 0.5, 0.9, 0.3, 0.2, 0.4, None],
            "units": [64, 64, 128, 64, 128, 128, 256],
            "learning_rate": [1e-4, 1e-3, 2e-3, 1e-2, 5e-3, 7e-3, 1.0],
            "cell": ["lstm", "gru", "lstm", "gru", "gru", "lstm", "gru"],
            "forget_bias": [1.0, None, 2.0, None, None, 1.0, None],
            "layers": [1] * 7,
            "tuner/epochs": [1, 2, 3, 4, 5, 6, 7],
            "seconds": [1.0] * 7,
            "reason": [None] * 6 + ["unlucky"],
        }
    )
    table.attrs.update(objective="val_token_accuracy", direction="max")
    table.attrs.update(log=["learning_rate"])
    return table


def test_a_sweep_is_drawn_against_each_hyperparameter_that_differs() -> None:
    figure = sweep(sweep_table())
    panels = {ax.get_xlabel(): ax for ax in figure.axes}
    assert list(panels) == ["units", "learning_rate", "cell", "forget_bias"]
    assert figure.axes[0].get_ylabel() == "val_token_accuracy"
    assert [panels[name].get_xscale() for name in ("units", "learning_rate")] == [
        "linear",
        "log",
    ]
    points = panels["learning_rate"].collections[0].get_offsets()
    assert np.asarray(points)[:, 1].tolist() == [0.1, 0.5, 0.9, 0.3, 0.2, 0.4]
    assert [t.get_text() for t in panels["cell"].get_xticklabels()] == ["gru", "lstm"]
    # Failed trials, and those without a value, are left out.
    assert [t.get_text() for t in panels["units"].get_xticklabels()] == ["64", "128"]
    assert len(np.asarray(panels["forget_bias"].collections[0].get_offsets())) == 3
    star = np.asarray(panels["learning_rate"].collections[-1].get_offsets())
    assert star.tolist() == [[2e-3, 0.9]]


def test_a_sweep_read_from_csv_can_be_drawn(tmp_path: Path) -> None:
    sweep_table().to_csv(tmp_path / "results.csv", index=False)
    read = pd.read_csv(tmp_path / "results.csv")
    figure = sweep(read, log=["learning_rate"], path=tmp_path / "sweep.png")
    assert len(figure.axes) == 4
    assert figure.axes[1].get_xscale() == "log"
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_the_least_score_is_marked_where_less_is_better() -> None:
    table = sweep_table()
    table.attrs["direction"] = "min"
    (ax,) = sweep(table, ["learning_rate"]).axes
    assert np.asarray(ax.collections[-1].get_offsets()).tolist() == [[1e-4, 0.1]]


def test_a_sweep_without_a_column_to_plot_is_refused() -> None:
    table = sweep_table()
    with pytest.raises(ValueError, match=r"`hyperparameters`.*'depth'"):
        sweep(table, ["depth"])
    with pytest.raises(ValueError, match="a hyperparameter that differs"):
        sweep(table[:1])
    with pytest.raises(ValueError, match="a trial with a score"):
        sweep(table[6:])


def texts(labels: list[Any]) -> list[str]:
    return [label.get_text() for label in labels]


def test_an_attention_map_has_a_cell_for_each_pair_of_tokens() -> None:
    weights = np.array([[0.1, 0.2, 0.7], [0.0, 1.0, 0.0]])
    ax = attention_map(["c", "b", "a"], ["x", "y"], weights)
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), weights)
    assert texts(ax.get_xticklabels()) == ["c", "b", "a"]
    assert texts(ax.get_yticklabels()) == ["x", "y"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("source", "target")
    # Read from the top down, the source above.
    assert ax.yaxis_inverted()
    assert ax.xaxis.get_ticks_position() == "top"
    _, scale = ax.figure.axes
    assert scale.get_ylabel() == "attention weight"


def test_all_attention_maps_have_the_same_scale() -> None:
    for weights in ([[0.1, 0.2]], [[0.0, 1.0]]):
        (image,) = attention_map(["a", "b"], ["x"], weights).images
        assert image.get_clim() == (0, 1)


def test_token_labels_do_not_overlap() -> None:
    source = [f"{'long' * (k % 4)}{k}" for k in range(30)]
    target = [f"{k}{'long' * (k % 3)}" for k in range(30)]
    ax = attention_map(source, target, np.eye(30))
    ax.figure.canvas.draw()
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    for above, below in pairwise(boxes):
        assert below.y1 <= above.y0
    # Turned labels: their lines are farther apart than the letters are high.
    cell = ax.get_window_extent().width / 30
    height = ax.get_yticklabels()[0].get_window_extent().height
    rotation = np.deg2rad(ax.get_xticklabels()[0].get_rotation())
    assert cell * np.sin(rotation) >= height
    picture = ax.figure.bbox
    for label in [*ax.get_xticklabels(), *ax.get_yticklabels()]:
        box = label.get_window_extent()
        assert picture.x0 <= box.x0 <= box.x1 <= picture.x1
        assert picture.y0 <= box.y0 <= box.y1 <= picture.y1


def test_invisible_characters_of_tokens_are_made_visible() -> None:
    source = ["Straße", "Ελλάδα", "$x$", "a b", "</s>"]
    ax = attention_map(source, ["", " ", " y  ", "\n", "\xa0"], np.eye(5))
    assert texts(ax.get_xticklabels()) == source
    assert texts(ax.get_yticklabels()) == ["∅", "␣", "␣y␣␣", r"\n", r"\xa0"]
    assert not any(label.get_parse_math() for label in ax.get_xticklabels())
    # Every sign of these is in the font that comes with matplotlib.
    ax.figure.canvas.draw()


def test_an_attention_map_uses_given_axes_and_can_be_saved(tmp_path: Path) -> None:
    ax = learning_curve({"loss": [1.0]}).figure.add_subplot(2, 1, 2)
    path = tmp_path / "map.png"
    assert attention_map(["a"], ["x", "y"], [[1], [0.5]], ax=ax, path=path) is ax
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("source", "target", "weights", "error", "message"),
    [
        ("ab", ["x"], [[0, 1]], TypeError, "`source` must be a list .*'ab'"),
        (["a"], [7], [[1]], TypeError, r"`target` must be a list .*\[7\]"),
        ([], ["x"], [[]], ValueError, "`source` must have at least one token"),
        (["a"], [], [], ValueError, "`target` must have at least one token"),
        (["a", "b"], ["x"], [[0], [1]], ValueError, r"\(1, 2\).*\(2, 1\)"),
        (["a", "b"], ["x"], [0, 1], ValueError, r"\(1, 2\).*\(2,\)"),
        (["a", "b"], ["x"], [[0, 1.5]], ValueError, "from 0 to 1.*1.5"),
        (["a", "b"], ["x"], [[-0.5, 1]], ValueError, "from 0 to 1.*-0.5"),
        (["a", "b"], ["x"], [[0, np.nan]], ValueError, "from 0 to 1.*nan"),
    ],
)
def test_invalid_arguments_of_an_attention_map_are_refused(
    source: Any, target: Any, weights: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        attention_map(source, target, weights)


def history(**columns: list[float]) -> pd.DataFrame:
    rows = range(1, 1 + len(next(iter(columns.values()))))
    return pd.DataFrame(
        {"checkpoint": rows, "updates": [10 * k for k in rows], **columns}
    )


def test_a_metric_of_one_run_is_plotted_for_that_run_only() -> None:
    runs = {
        "a": history(valid_loss=[2.0, 1.0], valid_bleu=[1.0, 30.0]),
        "b": history(valid_loss=[2.0, 1.5]),
    }
    (ax,) = training_curves(runs, best={"a": 2, "b": 1}).axes
    assert ax.get_title() == "bleu"
    curve, best = ax.lines
    assert list(curve.get_ydata()) == [1.0, 30.0]
    assert list(best.get_ydata()) == [30.0]
    assert ax.get_yscale() == "log"


def test_values_of_zero_are_plotted_on_a_linear_axis() -> None:
    frame = history(valid_bleu=[0.0, 30.0], valid_per=[np.nan, 0.5])
    axes = training_curves({"a": frame}).axes
    assert [ax.get_yscale() for ax in axes] == ["linear", "linear"]


def test_curves_need_a_run_and_a_known_metric() -> None:
    with pytest.raises(ValueError, match=r"`runs` .*none"):
        training_curves({})
    with pytest.raises(ValueError, match=r"`metrics` .*'bleu'.*'ter'"):
        training_curves({"a": history(valid_bleu=[1.0])}, ["ter"])
