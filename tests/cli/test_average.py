"""`kseq average`: the choice of checkpoints and the new folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kseq import Translator, load_model
from kseq.storage.model_folder import ModelFolder

from .conftest import Kseq, assert_one_line


@pytest.fixture
def measured(run_folder: Path, tmp_path: Path) -> Path:
    """A training whose checkpoints 1 and 3 match best, 2 and 3 by perplexity."""
    folder = tmp_path / "measured"
    shutil.copytree(run_folder, folder)
    frame = pd.read_csv(folder / "metrics.csv")
    frame["valid_perplexity"] = [3.0, 2.0, 1.5]
    frame["valid_exact_match"] = [0.9, 0.1, 0.5]
    frame.to_csv(folder / "metrics.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("options", "chosen", "metric"),
    [
        (("-n", 2), [2, 3], "perplexity"),
        (("-n", 2, "--metric", "exact_match"), [1, 3], "exact_match"),
        (("-n", 1, "--choose", "last"), [3], None),
        (("--choose", "best"), [1, 2, 3], "perplexity"),
        (("-c", 3, 1), [1, 3], None),
    ],
)
def test_the_right_checkpoints_are_averaged(
    kseq: Kseq,
    measured: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    chosen: list[int],
    metric: str | None,
) -> None:
    output = tmp_path / "mean"
    found = json.loads(
        kseq("average", "-m", measured, "-o", output, "--json", *options).out
    )
    assert (found["checkpoints"], found["metric"]) == (chosen, metric)
    members = [load_model(ModelFolder(measured).checkpoint(n)) for n in chosen]
    for mean, *weights in zip(
        load_model(output).get_weights(),
        *(member.get_weights() for member in members),
        strict=True,
    ):
        np.testing.assert_allclose(mean, np.mean(weights, axis=0), rtol=1e-6, atol=1e-7)


def test_the_new_folder_translates(
    kseq: Kseq, run_folder: Path, tmp_path: Path
) -> None:
    result = kseq("average", "-m", run_folder, "-o", tmp_path / "mean", "-c", 2)
    assert result.out == f"{tmp_path / 'mean'}: mean of checkpoints 2\n"
    mean = Translator.load(tmp_path / "mean")
    one = Translator.load(run_folder, checkpoint=2)
    texts = ["0 1 2", "2 2"]
    assert mean.n_best(texts) == one.n_best(texts)
    assert mean.source_vocab == one.source_vocab


def test_the_new_folder_names_its_checkpoints(
    kseq: Kseq, run_folder: Path, tmp_path: Path
) -> None:
    kseq("average", "-m", run_folder, "-o", tmp_path / "mean", "-c", 1, 2)
    found = json.loads(kseq("inspect", tmp_path / "mean", "--json").out)
    assert found["averaged"] == {"training": str(run_folder), "checkpoints": [1, 2]}
    assert found["kind"] == "model"


def test_a_tokenizer_is_copied(kseq: Kseq, run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run/tokenizer.source.model").write_bytes(b"pieces")
    kseq("average", "-m", tmp_path / "run", "-o", tmp_path / "mean", "-n", 2)
    assert (tmp_path / "mean/tokenizer.source.model").read_bytes() == b"pieces"


def test_an_existing_folder_is_replaced_only_with_overwrite(
    kseq: Kseq, run_folder: Path, tmp_path: Path
) -> None:
    call = ("average", "-m", run_folder, "-n", 1, "-o")
    assert kseq(*call, tmp_path / "mean").status == 0
    assert_one_line(kseq(*call, tmp_path / "mean"), 1, "--overwrite")
    assert kseq(*call, tmp_path / "mean", "--overwrite").status == 0
    assert_one_line(kseq(*call, run_folder, "--overwrite"), 1, "training")
    assert (run_folder / "metrics.csv").exists()


def test_errors_are_one_line(kseq: Kseq, run_folder: Path, tmp_path: Path) -> None:
    call = ("average", "-m", run_folder, "-o", tmp_path / "new")
    assert_one_line(kseq("average", "-o", "x"), 2, "-m FOLDER")
    assert_one_line(kseq("average", "-m", run_folder), 2, "-o FOLDER")
    assert_one_line(kseq("average", "-m", "nix", "-o", "x"), 1, "'nix'")
    assert_one_line(kseq(*call, "-c", 9), 1, "no checkpoint 9", "1, 2, 3")
    assert_one_line(kseq(*call, "-n", 0), 2, "--number", "0")
    assert_one_line(kseq(*call, "--metric", "chrf"), 2, "--metric", "chrf")
    assert_one_line(kseq(*call, "--choose", "any"), 2, "choose")
    assert_one_line(kseq(*call, "-c", 1, "-n", 2), 2, "--number")
    assert_one_line(
        kseq(*call, "--choose", "last", "--metric", "perplexity"), 2, "--metric"
    )
    kseq(*call)
    again = ("average", "-m", tmp_path / "new", "-o", tmp_path / "newer")
    assert_one_line(kseq(*again), 1, "no checkpoints")
    assert not (tmp_path / "newer").exists()


def test_a_run_without_metrics_suggests_choose_last(
    kseq: Kseq, measured: Path, tmp_path: Path
) -> None:
    (measured / "metrics.csv").unlink()
    call = ("average", "-m", measured, "-o", tmp_path / "mean")
    assert_one_line(kseq(*call), 1, "--choose last")
    assert kseq(*call, "--choose", "last").status == 0
