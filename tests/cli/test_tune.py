"""`kseq tune`: a sweep from files, and the folder of its best model."""

import json
from pathlib import Path

import pandas as pd
import pytest

from kseq import Translator
from kseq.cli.tune import read_space

from .conftest import Kseq, assert_one_line

pytest.importorskip("matplotlib")


def test_a_sweep_resumes_and_its_best_model_translates(
    kseq: Kseq, texts: Path, tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("units: [4, 6]\nembedding_dim: 4\n")
    folder = tmp_path / "sweeps" / "units"
    call = (
        *("tune", "-s", texts / "train.source", "-t", texts / "train.target"),
        *("-vs", texts / "dev.source", "-vt", texts / "dev.target", "-o", folder),
        *("--space", space, "--tuner", "grid", "--objective", "perplexity"),
        *("--max-epochs", 1, "--batch-size", 60, "--quiet", "--json"),
    )
    first = kseq(*call, "--plot", tmp_path / "sweep.png")
    assert first.status == 0, first.err
    found = json.loads(first.out)
    assert sorted(trial["units"] for trial in found["trials"]) == [4, 6]
    scores = [trial["score"] for trial in found["trials"]]
    assert scores == sorted(scores)
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    # The parser of pandas may be off by the last bit; Python's is not.
    table = pd.read_csv(folder / "results.csv", converters={"score": float})
    assert list(table["score"]) == scores
    best = Translator.load(found["best"])
    assert best.model.config.units == found["trials"][0]["units"]
    assert len(best.translate(["0 1"])) == 1
    # Its trials are not run again.
    times = [
        path.stat().st_mtime_ns for path in sorted(folder.glob("trial_*/run.json"))
    ]
    assert json.loads(kseq(*call).out) == found
    after = [
        path.stat().st_mtime_ns for path in sorted(folder.glob("trial_*/run.json"))
    ]
    assert times == after
    assert_one_line(kseq("inspect", folder), 1, str(folder / "best"))


def test_a_search_space_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "units: [64, 128]\n"
        "layers: {low: 1, high: 3}\n"
        "dropout: {low: 0, high: 0.4, step: 0.1, when: {layers: [2, 3]}}\n"
        "learning_rate: {low: 1e-4, high: 1e-2, log: true}\n"
        "label_smoothing: [1e-1, 0.0]\n"
        "cell: gru\n"
    )
    linear = {"sampling": "linear"}
    assert read_space(str(path)) == {
        "units": [64, 128],
        "layers": {"type": "int", "low": 1, "high": 3, **linear},
        "dropout": {
            "type": "float",
            "low": 0,
            "high": 0.4,
            "step": 0.1,
            "when": {"layers": [2, 3]},
            **linear,
        },
        "learning_rate": {
            "type": "float",
            "low": 1e-4,
            "high": 1e-2,
            "sampling": "log",
        },
        "label_smoothing": [0.1, 0.0],
        "cell": "gru",
    }


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("units: {low: 3}", "`units`"),
        ("units: {low: 3, high: 4, steps: 1}", "steps"),
        ("[1, 2]", "mapping"),
        ("a: [", "not YAML"),
        ("!!python/object:os.system x", "not YAML"),
    ],
)
def test_an_invalid_search_space_is_named(
    kseq: Kseq, texts: Path, tmp_path: Path, text: str, word: str
) -> None:
    (tmp_path / "space.yaml").write_text(text)
    data = [
        *("-s", texts / "dev.source", "-t", texts / "dev.target"),
        *("-vs", texts / "dev.source", "-vt", texts / "dev.target"),
    ]
    call = ("tune", *data, "-o", tmp_path / "x", "--space", tmp_path / "space.yaml")
    assert_one_line(kseq(*call), 1, "space.yaml", word)
    assert not (tmp_path / "x").exists()


def test_errors_are_one_line(kseq: Kseq, texts: Path, tmp_path: Path) -> None:
    data = ("-s", texts / "dev.source", "-t", texts / "dev.target")
    out = ("-o", tmp_path / "x")
    assert_one_line(kseq("tune", *data), 2, "-o FOLDER")
    assert_one_line(kseq("tune", *out), 2, "-s FILE")
    assert_one_line(kseq("tune", *data, *out), 2, "validation")
    whole = (*data, "-vs", data[1], "-vt", data[3], *out)
    assert_one_line(kseq("tune", *whole, "--space", "nix"), 1, "nix")
