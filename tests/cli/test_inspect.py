"""`kseq inspect`: each kind of folder, in each state, without TensorFlow."""

import json
import shutil
from pathlib import Path

import pytest

import kseq as package
from kseq.cli.inspect import inspect_folder

from .conftest import CHECKPOINT_UPDATES, UPDATES, Kseq, assert_one_line


def test_a_run_is_described(kseq: Kseq, run_folder: Path, texts: Path) -> None:
    found = json.loads(kseq("inspect", run_folder, "--json").out)
    assert found["kind"] == "training"
    assert found["kseq_version"] == package.__version__
    assert found["architecture"] == {"embedding_dim": 8, "units": 8, "attention": "dot"}
    assert found["training"]["learning_rate"] == 0.02
    assert found["data"]["source"] == [str(texts / "train.source")]
    assert found["checkpoints"] == [1, 2, 3]
    perplexities = [row["valid_perplexity"] for row in found["history"]]
    assert found["best_by"] == "perplexity"
    assert found["best_checkpoint"] == 1 + perplexities.index(min(perplexities))
    updates = [row["updates"] for row in found["history"]]
    assert updates == list(range(CHECKPOINT_UPDATES, UPDATES + 1, CHECKPOINT_UPDATES))
    vocab = found["vocabularies"]["source"]
    assert vocab["size"] == 7
    assert sorted(vocab["first_tokens"]) == ["0", "1", "2"]


def test_the_parameters_are_those_of_the_model(run_folder: Path) -> None:
    model = package.load_model(run_folder)
    found = inspect_folder(str(run_folder))["parameters"]
    assert found["total"] == model.count_params()
    layers = {layer.name: layer.count_params() for layer in model.layers}
    assert found["layers"] == {name: n for name, n in layers.items() if n}


def test_the_text_output_marks_the_best_checkpoint(
    kseq: Kseq, run_folder: Path
) -> None:
    best = inspect_folder(str(run_folder))["best_checkpoint"]
    lines = kseq("inspect", run_folder).out.splitlines()
    (marked,) = [line.split() for line in lines if line.startswith("  *")]
    assert marked[1] == str(best)
    assert f"  kseq translate -m {run_folder} < FILE" in lines


def test_all_shows_every_setting(kseq: Kseq, run_folder: Path) -> None:
    found = json.loads(kseq("inspect", run_folder, "--json", "--all").out)
    assert found["architecture"]["cell"] == "lstm"
    assert found["training"]["optimizer"] == "adam"
    assert "source_vocab_size" not in found["architecture"]


def test_a_saved_translator_is_described(
    kseq: Kseq, run_folder: Path, tmp_path: Path
) -> None:
    package.Translator.load(run_folder).save(tmp_path / "saved")
    found = json.loads(kseq("inspect", tmp_path / "saved", "--json").out)
    assert found["kind"] == "model"
    assert found["history"] == []
    assert found["checkpoints"] == []
    assert found["parameters"] == inspect_folder(str(run_folder))["parameters"]
    assert kseq("inspect", tmp_path / "saved").status == 0


def test_a_run_is_described_before_its_first_checkpoint(
    kseq: Kseq, run_folder: Path, tmp_path: Path
) -> None:
    young = tmp_path / "young"
    shutil.copytree(run_folder, young)
    for name in ("metrics.csv", "model.keras"):
        (young / name).unlink()
    shutil.rmtree(young / "checkpoints")
    result = kseq("inspect", young)
    assert (result.status, result.err) == (0, "")
    assert "no checkpoint yet" in result.out
    assert "kseq translate" not in result.out
    # Earlier still, its data are being read.
    (young / "config.json").unlink()
    found = json.loads(kseq("inspect", young, "--json").out)
    assert found["architecture"]["units"] == 8
    assert found["vocabularies"] == {}


def test_a_removed_checkpoint_is_marked(
    kseq: Kseq, run_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run/checkpoints/00001.keras").unlink()
    result = kseq("inspect", tmp_path / "run")
    assert [line for line in result.out.splitlines() if line.endswith("removed")]


@pytest.mark.parametrize("name", ["nix", "empty", "sweep"])
def test_another_folder_is_refused(kseq: Kseq, tmp_path: Path, name: str) -> None:
    for made in ("empty", "sweep"):
        (tmp_path / made).mkdir()
    (tmp_path / "sweep/sweep.json").write_text("{}")
    word = {"sweep": "best"}.get(name, name)
    assert_one_line(kseq("inspect", tmp_path / name), 1, name, word)


def test_a_damaged_file_is_named(kseq: Kseq, run_folder: Path, tmp_path: Path) -> None:
    for name in ("model.keras", "vocab.source.json"):
        broken = tmp_path / name
        shutil.copytree(run_folder, broken)
        (broken / name).write_bytes(b"{")
        assert_one_line(kseq("inspect", broken), 1, str(broken / name))


def test_a_wrong_flag_is_named(kseq: Kseq, run_folder: Path) -> None:
    assert_one_line(kseq("inspect", run_folder, "--everything"), 2, "--everything")
    assert_one_line(kseq("inspect"), 2, "FOLDER is required")
