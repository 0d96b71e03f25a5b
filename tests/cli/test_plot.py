"""`kseq plot`: plots of runs and of attention weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kseq import Translator, plotting

from .conftest import Kseq, assert_one_line

pytest.importorskip("matplotlib")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the drawing functions have returned."""
    found: list[Any] = []
    for name in ("training_curves", "attention_map"):
        real = getattr(plotting, name)

        def keep(*arguments: Any, _real: Any = real, **options: Any) -> Any:
            found.append(_real(*arguments, **options))
            return found[-1]

        monkeypatch.setattr(plotting, name, keep)
    return found


def test_each_metric_has_a_panel_with_all_runs(
    kseq: Kseq, run_folder: Path, other_folder: Path, drawn: list[Any], tmp_path: Path
) -> None:
    picture = tmp_path / "new" / "curves.png"
    result = kseq("plot", run_folder, other_folder, "-o", picture)
    assert (result.status, result.out) == (0, "")
    assert picture.read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
    assert [ax.get_title() for ax in figure.axes] == ["perplexity", "exact_match"]
    # Of each: training, validation and the best checkpoint.
    assert len(figure.axes[0].lines) == 6
    assert len(figure.axes[1].lines) == 4
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        str(run_folder),
        str(other_folder),
        "validation",
        "training",
        "best checkpoint",
    ]


def test_the_curves_equal_the_metrics_of_the_run(
    kseq: Kseq, run_folder: Path, drawn: list[Any], tmp_path: Path
) -> None:
    kseq("plot", run_folder, "-o", tmp_path / "c.svg", "--metrics", "perplexity")
    training, validation, best = drawn[0].axes[0].lines
    frame = pd.read_csv(run_folder / "metrics.csv")
    assert list(validation.get_ydata()) == list(frame["valid_perplexity"])
    assert list(training.get_ydata()) == list(frame["train_perplexity"])
    assert list(validation.get_xdata()) == list(frame["updates"])
    row = frame.loc[frame["valid_perplexity"].idxmin()]
    assert list(best.get_xdata()) == [row["updates"]]


def test_the_attention_weights_equal_those_of_greedy_search(
    kseq: Kseq, run_folder: Path, drawn: list[Any], tmp_path: Path
) -> None:
    call = ("plot", run_folder, "--attention", "2 0 1", "-o", tmp_path / "a.png")
    assert kseq(*call, "-c", 2).status == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    (ax,) = drawn
    translator = Translator.load(run_folder, checkpoint=2)
    found = translator.n_best(["2 0 1"], return_attention=True)[0][0]
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["2", "0", "1", "</s>"]
    targets = [label.get_text() for label in ax.get_yticklabels()]
    assert targets[: len(found.tokens)] == found.tokens
    np.testing.assert_allclose(ax.images[0].get_array(), found.attention)


def test_errors_are_one_line(
    kseq: Kseq, run_folder: Path, other_folder: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "p.png"
    call = ("plot", run_folder, "-o", picture)
    assert_one_line(kseq("plot", "-o", picture), 2, "FOLDER is required")
    assert_one_line(kseq("plot", run_folder), 2, "-o FILE is required")
    assert_one_line(kseq("plot", run_folder, "-o", "p.txt"), 2, "p.txt", ".svg")
    assert_one_line(kseq("plot", "nix", "-o", picture), 1, "'nix'")
    assert_one_line(kseq(*call, "--metrics", "ter"), 2, "ter", "exact_match")
    assert_one_line(kseq(*call, "-c", 1), 2, "--attention")
    attend = (*call, "--attention")
    assert_one_line(kseq(*attend, " "), 2, "--attention", "empty")
    assert_one_line(kseq(*attend, "0", "--metrics", "loss"), 2, "--metrics")
    assert_one_line(kseq(*attend, "0", "-c", 9), 1, "no checkpoint 9")
    both = ("plot", run_folder, other_folder, "-o", picture, "--attention", "0")
    assert_one_line(kseq(*both), 2, "one model")
    assert_one_line(kseq("plot", other_folder, *attend[2:], "0"), 1, "no attention")
    assert not picture.exists()
