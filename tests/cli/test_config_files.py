"""`--config` and `--print-config`: valid files and their errors."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kseq.cli.main import COMMANDS

from .conftest import Kseq, assert_one_line

CALLS = [[name] for name in COMMANDS if name != "data"]
CALLS += [["data", what] for what in ("copy", "addition", "multi30k", "prepare")]


@pytest.fixture
def options(kseq: Kseq, tmp_path: Path) -> Any:
    """Reads a configuration file; returns what the command makes of it."""

    def read(text: str, *call: str) -> dict[str, Any]:
        path = tmp_path / "config.yaml"
        path.write_text(text, "utf-8")
        found = kseq(*call, "--config", path, "--print-config")
        assert (found.status, found.err) == (0, "")
        return dict(yaml.safe_load(found.out))

    return read


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_printed_options_read_again_are_the_same(
    kseq: Kseq, tmp_path: Path, call: list[str]
) -> None:
    printed = kseq(*call, "--print-config")
    assert (printed.status, printed.err) == (0, "")
    path = tmp_path / "config.yaml"
    path.write_text(printed.out)
    assert kseq(*call, "--config", path, "--print-config").out == printed.out


@pytest.mark.parametrize(
    ("call", "flags"),
    [
        (
            "train",
            ["-s", "a", "null", "--table-header", "--units", "8", "--freeze", "*"],
        ),
        ("train", ["--preset", "sockeye-seqcopy", "--bidirectional", "-o", "1"]),
        ("train", ["--cell", '{"class_name": "GRU", "config": {"units": 1}}']),
        ("train", ["--learning-rate", "1e-5", "--teacher-forcing-ratio", "linear:9"]),
        ("translate", ["-m", "null", "-i", "~", "--avoid", "- a", "", "é", "7"]),
        ("evaluate", ["--source-column", "0", "--no-table-header", "--split", "dev"]),
    ],
)
def test_flags_printed_and_read_again_are_the_same(
    kseq: Kseq, tmp_path: Path, call: str, flags: list[str]
) -> None:
    printed = kseq(call, *flags, "--print-config").out
    path = tmp_path / "config.yaml"
    path.write_text(printed, "utf-8")
    assert kseq(call, "--config", path, "--print-config").out == printed


def test_one_value_is_a_list_of_one(options: Any) -> None:
    assert options("model: M\n", "translate")["model"] == ["M"]
    assert options("model: [M, N]\n", "translate")["model"] == ["M", "N"]


def test_a_value_is_converted_like_the_text_after_a_flag(options: Any) -> None:
    found = options(
        "beam_width: '3'\ninput: 1e3\nmodel: 07\navoid: [1, no]", "translate"
    )
    assert (found["beam_width"], found["input"]) == (3, "1e3")
    assert (found["model"], found["avoid"]) == (["07"], ["1", "no"])
    assert options("learning_rate: 1e-3", "train")["learning_rate"] == 0.001


def test_a_name_may_have_dashes_or_underscores(options: Any) -> None:
    assert options("batch-size: 3\nmax_length: 4", "translate")["batch_size"] == 3
    assert options("folder: here", "inspect")["folder"] == "here"
    assert options("output: here", "data", "copy")["output"] == "here"


def test_null_is_none_and_quoted_null_is_a_name(options: Any) -> None:
    found = options("input: 'null'\nbeam_width: null\nnbest:\navoid: ~", "translate")
    assert (found["input"], found["beam_width"]) == ("null", None)
    assert (found["nbest"], found["avoid"]) == (1, [])


def test_the_text_null_after_a_flag_is_a_file_name(
    kseq: Kseq, run_folder: Path
) -> None:
    found = kseq("translate", "-m", run_folder, "-i", "null")
    assert_one_line(found, 1, "--input: there is no file 'null'")


def test_null_replaces_the_value_of_a_preset(options: Any) -> None:
    chosen = options("preset: sockeye-seqcopy", "train")
    undone = options("preset: sockeye-seqcopy\nattention: null", "train")
    assert (chosen["attention"], undone["attention"]) == ("dot", None)


def test_a_flag_has_precedence_in_any_position(kseq: Kseq, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("beam_width: 3\nnbest: 2\n")
    for flags in (["--beam", "4", "--config", path], ["--config", path, "--beam", "4"]):
        found = yaml.safe_load(kseq("translate", *flags, "--print-config").out)
        assert (found["beam_width"], found["nbest"]) == (4, 2)


def test_an_empty_file_changes_nothing(options: Any) -> None:
    assert options("", "translate") == options("# nothing\n", "translate")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modell: M", "line 1: unknown option 'modell'. Did you mean 'model'?"),
        ("config: c", "line 1: unknown option 'config'"),
        (
            "beam_width: 3\nbeam_width: 4",
            "line 2: 'beam_width' is already set in line 1",
        ),
        (
            "batch-size: 3\nbatch_size: 4",
            "line 2: 'batch_size' is already set in line 1",
        ),
        (
            "beam_width: many",
            "line 1: 'beam_width' must be an integer. Received: 'many'.",
        ),
        (
            "beam_width: 3.5",
            "line 1: 'beam_width' must be an integer. Received: '3.5'.",
        ),
        (
            "beam_width: [1, 2]",
            "line 1: 'beam_width' must be one value. Received: [1, 2].",
        ),
        ("model: {a: b}", "line 1: 'model' must be a list of values."),
        ("sample: maybe", "line 1: 'sample' must be true or false. Received: \"may"),
        ("output: xml", "line 1: 'output' must be one of text, json, "),
        ("- beam", "must be a mapping from names of options to values"),
        ("beam", "must be a mapping from names of options to values"),
        ("beam_width: [1", "is not YAML"),
        ("\x00", "is not YAML"),
    ],
)
def test_an_error_in_a_file_names_its_line(
    kseq: Kseq, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert_one_line(kseq("translate", "--config", path), 2, str(path), message)


def test_a_missing_file_is_an_error(kseq: Kseq, tmp_path: Path) -> None:
    assert_one_line(kseq("score", "--config", "no.yaml"), 2, "--config", "no.yaml")
    assert_one_line(kseq("score", "--config", tmp_path), 2, "--config", "directory")
