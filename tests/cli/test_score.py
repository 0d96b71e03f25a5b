"""`kseq score`: one log-probability per line."""

import json
from pathlib import Path

import pytest

from kseq import Translator

from .conftest import Kseq, assert_one_line


def test_the_scores_equal_those_of_the_model_in_order(
    kseq: Kseq, run_folder: Path, texts: Path
) -> None:
    source, target = texts / "dev.source", texts / "dev.target"
    found = kseq("score", "-m", run_folder, "-s", source, "-t", target)
    assert (found.status, found.err) == (0, "")
    sources, targets = (path.read_text().splitlines() for path in (source, target))
    wanted = Translator.load(run_folder).score(sources, targets)
    assert [float(line) for line in found.out.splitlines()] == pytest.approx(wanted)


def test_json_has_the_log_probability_of_each_token(
    kseq: Kseq, run_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "s").write_text("0 1\n\n2\n")
    (tmp_path / "t").write_text("0 7 1\n2\n\n")
    call = ("score", "-m", run_folder, "-s", tmp_path / "s", "-t", tmp_path / "t")
    rows = [json.loads(line) for line in kseq(*call, "--json").out.splitlines()]
    assert [[token["token"] for token in row["tokens"]] for row in rows] == [
        ["0", "<unk>", "1", "</s>"],
        ["2", "</s>"],
        ["</s>"],
    ]
    totals = [sum(token["log_prob"] for token in row["tokens"]) for row in rows]
    assert [row["score"] for row in rows] == pytest.approx(totals)
    means = [float(line) for line in kseq(*call, "--normalize").out.splitlines()]
    assert means == pytest.approx(
        [total / len(row["tokens"]) for total, row in zip(totals, rows, strict=True)],
        abs=1e-6,
    )


def test_tokens_that_are_line_breaks_stay_on_one_line(
    kseq: Kseq, breaking_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "s").write_text("ab\n")
    (tmp_path / "t").write_text("\x85\u2028\n")
    call = ("score", "-m", breaking_folder, "-s", tmp_path / "s", "-t", tmp_path / "t")
    (line,) = kseq(*call, "--json").out.splitlines()
    tokens = [token["token"] for token in json.loads(line)["tokens"]]
    assert tokens == ["\x85", "\u2028", "</s>"]


def test_several_models_score_as_an_ensemble(
    kseq: Kseq, run_folder: Path, other_folder: Path, texts: Path
) -> None:
    data = ("-s", texts / "dev.source", "-t", texts / "dev.target")

    def scores(*options: object) -> list[float]:
        lines = kseq("score", *data, "-m", *options).out.splitlines()
        return [float(line) for line in lines]

    alone = [scores(folder) for folder in (run_folder, other_folder)]
    both = scores(run_folder, other_folder)
    geometric = scores(run_folder, other_folder, "--averaging", "log_linear")
    assert both != geometric
    for row in zip(*alone, both, strict=True):
        assert row[2] >= min(row[:2]) - 1e-5
    assert scores(run_folder, "-c", 1) != alone[0]


def test_errors_are_one_line(
    kseq: Kseq, run_folder: Path, texts: Path, tmp_path: Path
) -> None:
    data = ("-s", texts / "dev.source", "-t", texts / "dev.target")
    assert_one_line(kseq("score", *data), 2, "-m FOLDER")
    assert_one_line(kseq("score", "-m", run_folder, *data[:2]), 2, "-t FILE")
    assert_one_line(kseq("score", "-m", "nix", *data), 1, "'nix'")
    assert_one_line(kseq("score", "-m", run_folder, *data, "-c", 9), 1, "1, 2, 3")
    call = ("score", "-m", run_folder, "-s", texts / "dev.source", "-t")
    assert_one_line(kseq(*call, tmp_path / "nix"), 1, "nix")
    assert_one_line(kseq(*call, texts / "train.target"), 1, "train.target", "12", "60")
    single = ("--averaging", "linear")
    assert_one_line(kseq("score", "-m", run_folder, *data, *single), 2, "--averaging")
    assert_one_line(
        kseq("score", "-m", run_folder, *data, "--batch-size", 0), 2, "--batch-size"
    )
