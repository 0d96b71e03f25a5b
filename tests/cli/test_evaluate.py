"""`kseq evaluate`: models, ensembles and given outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from kseq import Translator, perplexity
from kseq.evaluation import evaluate_texts

from .conftest import BREAKS, Kseq, assert_one_line


@pytest.fixture
def dev(texts: Path) -> tuple[object, ...]:
    return "-s", texts / "dev.source", "-t", texts / "dev.target"


def test_the_metrics_equal_those_of_training(
    kseq: Kseq, run_folder: Path, dev: tuple[object, ...]
) -> None:
    frame = pd.read_csv(run_folder / "metrics.csv").set_index("checkpoint")
    for number in (1, 2, 3):
        metrics = ("--metrics", "perplexity", "loss", "exact_match", "--json")
        result = kseq("evaluate", "-m", run_folder, "-c", number, *dev, *metrics)
        found = json.loads(result.out)
        assert (found["pairs"], found["sources"]) == (12, len(set(_sources(dev))))
        for name, value in found["metrics"].items():
            assert value == pytest.approx(frame.loc[number, f"valid_{name}"], rel=1e-5)


def _sources(dev: tuple[object, ...]) -> list[str]:
    return Path(str(dev[1])).read_text().splitlines()


def test_the_text_output_has_the_default_metrics_with_signatures(
    kseq: Kseq, run_folder: Path, dev: tuple[object, ...]
) -> None:
    result = kseq("evaluate", "-m", run_folder, *dev)
    names = [line.split()[0] for line in result.out.splitlines()]
    metrics = ["exact_match", "bleu", "chrf", "perplexity"]
    assert names == ["pairs", "sources", *metrics]
    (bleu,) = [line for line in result.out.splitlines() if line.startswith("bleu")]
    assert "tok:13a" in bleu
    assert "12 pairs; none left out" in result.err


def test_each_metric_of_the_model_is_computed(
    kseq: Kseq, run_folder: Path, dev: tuple[object, ...]
) -> None:
    names = ("token_accuracy", "sequence_accuracy", "free_running_perplexity", "per")
    call = ("evaluate", "-m", run_folder, *dev, "--json", "--metrics", *names)
    found = json.loads(kseq(*call).out)
    assert list(found["metrics"]) == list(names)
    translator = Translator.load(run_folder)
    ids = translator.source_vocab.encode(_sources(dev))
    wanted = perplexity(translator.model, ids, ids, free_running=True)
    assert found["metrics"]["free_running_perplexity"] == pytest.approx(wanted)
    assert 0 < found["metrics"]["token_accuracy"] <= 1


def test_written_outputs_have_the_same_metrics(
    kseq: Kseq, run_folder: Path, dev: tuple[object, ...], tmp_path: Path
) -> None:
    file = tmp_path / "new" / "outputs"
    options = ("--beam", 2, "--batch-size", 5, "--outputs", file, "--json")
    metrics = ("--metrics", "exact_match", "chrf")
    first = kseq("evaluate", "-m", run_folder, *dev, *options, *metrics)
    outputs = file.read_text().split("\n")[:-1]
    sources = _sources(dev)
    assert outputs == Translator.load(run_folder).translate(
        sources, {"class_name": "beam", "config": {"beam_width": 2}}
    )
    again = kseq("evaluate", "--hypotheses", file, *dev, *metrics, "--json")
    found, same = json.loads(first.out), json.loads(again.out)
    assert found["metrics"] == same["metrics"]
    assert found["pairs"] == same["pairs"] == len(outputs) == len(sources)


def test_rows_with_the_same_source_are_merged(kseq: Kseq, tmp_path: Path) -> None:
    for name, text in (
        ("s", "READ\nDOG\nREAD\n"),
        ("t", "R IY D\nD AO G\nR EH D\n"),
        ("h", "R EH D\nD AA G\nR EH D\n"),
    ):
        (tmp_path / name).write_text(text)
    call = ("evaluate", "--hypotheses", tmp_path / "h", "-t", tmp_path / "t")
    options = ("--metrics", "exact_match", "--json")
    by_row = json.loads(kseq(*call, *options).out)
    by_source = json.loads(kseq(*call, "-s", tmp_path / "s", *options).out)
    assert by_row["metrics"]["exact_match"] == pytest.approx(1 / 3)
    assert by_source["metrics"]["exact_match"] == 0.5
    assert (by_source["pairs"], by_source["sources"]) == (3, 2)


def test_lower_case_and_tokenizer_are_applied(kseq: Kseq, tmp_path: Path) -> None:
    (tmp_path / "h").write_text("a Dog, there it is\n")
    (tmp_path / "t").write_text("A dog , there it is\n")
    call = ("evaluate", "--hypotheses", tmp_path / "h", "-t", tmp_path / "t", "--json")
    options = ("--lower-case", "--tokenize", "none", "--metrics", "bleu")
    found = json.loads(kseq(*call, *options).out)
    wanted = evaluate_texts(
        ["a Dog, there it is"],
        ["A dog , there it is"],
        "bleu",
        tokenize="none",
        lower_case=True,
    )
    assert found["metrics"] == wanted
    assert "case:lc" in found["signatures"]["bleu"]


def test_pairs_with_an_empty_side_are_dropped_with_a_message(
    kseq: Kseq, tmp_path: Path
) -> None:
    (tmp_path / "h").write_text("a\nb\n\n")
    (tmp_path / "t").write_text("a\n\nc\n")
    call = ("evaluate", "--hypotheses", tmp_path / "h", "-t", tmp_path / "t", "--json")
    result = kseq(*call, "--metrics", "exact_match")
    assert "dropped 1 of 3 pairs" in result.err
    found = json.loads(result.out)
    assert (found["pairs"], found["metrics"]) == (2, {"exact_match": 0.5})


def test_several_models_are_evaluated_as_an_ensemble(
    kseq: Kseq, run_folder: Path, other_folder: Path, dev: tuple[object, ...]
) -> None:
    metrics = ("--metrics", "perplexity", "exact_match", "--json")

    def measure(*folders: Path) -> float:
        result = kseq("evaluate", "-m", *folders, *dev, *metrics)
        return float(json.loads(result.out)["metrics"]["perplexity"])

    worst = max(measure(run_folder), measure(other_folder))
    assert measure(run_folder, other_folder) < worst


def test_a_table_is_read(kseq: Kseq, run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n0 1\t0 1\n2\t2\n")
    table = ("--table", tmp_path / "pairs.tsv", "--metrics", "loss", "--json")
    assert json.loads(kseq("evaluate", "-m", run_folder, *table).out)["pairs"] == 2


def test_outputs_with_line_breaks_are_one_line_each(
    kseq: Kseq, breaking_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text('source,target\nab,"\n\n"\na,"\n"\n')
    table = ("--table", tmp_path / "x.csv", "--metrics", "exact_match", "--json")
    written = ("--outputs", tmp_path / "out")
    assert kseq("evaluate", "-m", breaking_folder, *table, *written).status == 1
    (tmp_path / "x.csv").write_text('source,target\nab,"\n\nx"\na,"x\u2028"\n')
    assert kseq("evaluate", "-m", breaking_folder, *table, *written).status == 0
    lines = (tmp_path / "out").read_text().splitlines()
    assert (len(lines), set("".join(lines)) & set(BREAKS)) == (2, set())
    (tmp_path / "h").write_text("x\\u2028\n")
    (tmp_path / "t").write_text("x\u2028\n")
    given = ("--hypotheses", tmp_path / "h", "-t", tmp_path / "t", "--json")
    found = json.loads(kseq("evaluate", *given, "--metrics", "exact_match").out)
    assert found["metrics"] == {"exact_match": 1.0}


def test_errors_are_one_line(
    kseq: Kseq,
    run_folder: Path,
    other_folder: Path,
    dev: tuple[object, ...],
    tmp_path: Path,
) -> None:
    call = ("evaluate", "-m", run_folder, *dev)
    assert_one_line(kseq("evaluate", *dev), 2, "-m FOLDER", "--hypotheses")
    assert_one_line(kseq("evaluate", "-m", run_folder), 2, "-s FILE", "--corpus")
    assert_one_line(kseq("evaluate", "-m", "nix", *dev), 1, "'nix'")
    assert_one_line(kseq(*call, "-c", 9), 1, "no checkpoint 9")
    assert_one_line(kseq(*call, "--metrics", "bleurt"), 2, "bleurt", "chrf")
    assert_one_line(kseq(*call, "--split", "dev"), 2, "--corpus")
    assert_one_line(kseq(*call, "--averaging", "linear"), 2, "--averaging")
    assert_one_line(kseq(*call, "--beam", 0), 2, "--beam-width")
    assert_one_line(kseq(*call, "--metrics", "loss", "--beam", 2), 2, "--beam-width")
    assert_one_line(kseq(*call, "--metrics", "loss", "--lower-case"), 2, "--lower-case")
    assert_one_line(kseq(*call, "--metrics", "ter", "--tokenize", "none"), 2, "bleu")
    assert_one_line(kseq(*call, "--frobnicate"), 2, "--frobnicate")
    missing = ("evaluate", "-m", run_folder, "-s", "nix", *dev[2:])
    assert_one_line(kseq(*missing), 1, "'nix'")
    both = ("evaluate", "-m", run_folder, other_folder, *dev)
    assert_one_line(kseq(*both, "--metrics", "token_accuracy"), 2, "token_accuracy")
    assert_one_line(kseq(*both, "-c", 1), 2, "-c")
    given = ("evaluate", "--hypotheses", dev[1], *dev[2:])
    assert_one_line(kseq(*given, "-m", run_folder), 2, "not both")
    assert_one_line(kseq(*given, "--metrics", "perplexity"), 2, "perplexity")
    assert_one_line(kseq(*given, "--beam", 3), 2, "--beam-width", "-m")
    assert_one_line(kseq(*given, "--on-invalid", "skip"), 2, "--on-invalid", "-m")
    assert_one_line(kseq(*given[:3]), 2, "-t FILE")
    (tmp_path / "short").write_text("a\n")
    short = ("evaluate", "--hypotheses", tmp_path / "short", *dev[2:])
    assert_one_line(kseq(*short), 1, "short", "12", "1")


def test_outputs_from_a_pipe_are_evaluated_without_tensorflow(texts: Path) -> None:
    script = (
        "import sys; from kseq.cli import main; "
        "status = main(sys.argv[1:]); "
        "print('tensorflow' in sys.modules, 'keras' in sys.modules, status)"
    )
    arguments = ["evaluate", "--hypotheses", "-", "-t", str(texts / "dev.target")]
    with open(texts / "dev.source", "rb") as outputs:
        found = subprocess.run(
            [sys.executable, "-c", script, *arguments, "--metrics", "exact_match"],
            stdin=outputs,
            capture_output=True,
            text=True,
            check=True,
            env=os.environ,
        )
    assert found.stdout.splitlines()[-2:] == ["exact_match  1.0000", "False False 0"]
