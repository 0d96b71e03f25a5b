"""`kseq translate`: one line per text, in order and without delay."""

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.conftest import BREAKS, Kseq, assert_one_line

from kseq import Translator
from kseq.cli import main
from kseq.decoding import BeamSearch, Sampling

LINES = ["0 1", "", "2 1 0", "2"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


@pytest.fixture(scope="module")
def translator(run_folder: Path) -> Translator:
    return Translator.load(run_folder)


# What comes out.


@pytest.mark.parametrize("output", ["text", "scores", "alignments", "json"])
def test_outputs_that_are_line_breaks_stay_on_one_line(
    kseq: Kseq, breaking_folder: Path, tmp_path: Path, output: str
) -> None:
    (tmp_path / "in.txt").write_text("ab\na\nbbb\n")
    flags = ("--sample", "--min-length", 30, "--max-length", 30, "--suppress-unknown")
    call = ("translate", "-m", breaking_folder, "-i", tmp_path / "in.txt")
    found = kseq(*call, *flags, "--nbest", 2, "--output", output)
    assert (found.status, found.err) == (0, "")
    lines = found.out.splitlines()
    assert found.out == "".join(f"{line}\n" for line in lines)
    assert len(lines) == (3 if output == "json" else 6)
    translator = Translator.load(breaking_folder)
    search = Sampling(n=2, min_length=30, suppress_unknown=True)
    expected = [
        row.text
        for rows in translator.n_best(["ab", "a", "bbb"], search, max_length=30)
        for row in rows
    ]
    assert set("".join(expected)) == set(BREAKS)
    if output == "json":
        outputs = [row for line in lines for row in json.loads(line)["outputs"]]
        assert [row["text"] for row in outputs] == expected
        return
    column = {"text": 0, "scores": 1, "alignments": 0}[output]
    texts = [line.split("\t")[column] for line in lines]
    assert [text.encode().decode("unicode_escape") for text in texts] == expected


def test_each_line_has_its_output_and_an_empty_line_an_empty_one(
    kseq: Kseq, run_folder: Path, source: Path, translator: Translator
) -> None:
    found = kseq("translate", "-m", run_folder, "-i", source)
    assert (found.status, found.err) == (0, "")
    wanted = translator.translate(LINES, BeamSearch(5))
    assert found.out == "".join(f"{line}\n" for line in wanted)
    assert wanted[1] == ""


@pytest.mark.parametrize(
    ("flags", "search"),
    [
        (["--beam", "1"], "greedy"),
        (["--beam", "2", "--length-penalty-alpha", "0"], BeamSearch(2)),
        (["--sample", "--seed", "3", "--top-k", "2"], Sampling(seed=3, top_k=2)),
        (["--avoid", "0 1", "9"], BeamSearch(5, forbidden=[[4, 5]])),
    ],
)
def test_the_flags_choose_the_search(
    kseq: Kseq,
    run_folder: Path,
    source: Path,
    translator: Translator,
    flags: Any,
    search: Any,
) -> None:
    if isinstance(search, BeamSearch):
        # The command's default divides scores by lengths.
        alpha = 0.0 if "--length-penalty-alpha" in flags else 1.0
        config = {**search.get_config(), "length_penalty_alpha": alpha}
        if "--avoid" in flags:
            ids = translator.target_vocab.encode(["0 1"])[0]
            config["forbidden"] = [[int(token) for token in ids[:2]]]
        search = BeamSearch(**config)
    found = kseq("translate", "-m", run_folder, "-i", source, *flags)
    assert found.status == 0
    assert found.out.split("\n")[:-1] == translator.translate(LINES, search)


def test_a_checkpoint_may_be_chosen(kseq: Kseq, run_folder: Path, source: Path) -> None:
    found = kseq("translate", "-m", run_folder, "-c", "1", "-i", source)
    wanted = Translator.load(run_folder, checkpoint=1).translate(LINES, BeamSearch(5))
    assert found.out.split("\n")[:-1] == wanted


def test_several_models_decode_together(
    kseq: Kseq, run_folder: Path, other_folder: Path, source: Path
) -> None:
    both = [run_folder, other_folder]
    found = kseq("translate", "-m", *both, "-i", source, "--beam", "1")
    assert found.out.split("\n")[:-1] == Translator.load(both).translate(LINES)


def test_nbest_prints_each_output_on_its_own_line(
    kseq: Kseq, run_folder: Path, source: Path
) -> None:
    argv = ("translate", "-m", run_folder, "-i", source, "--nbest", "3")
    found = kseq(*argv, "--output", "scores")
    rows = [line.split("\t") for line in found.out.splitlines()]
    assert len(rows) == 3 * len(LINES)
    assert rows[3:6] == [["", ""]] * 3
    for k in (0, 2, 3):
        scores = [float(score) for score, _ in rows[3 * k : 3 * k + 3]]
        assert all(score < 0 for score in scores)
        assert len({text for _, text in rows[3 * k : 3 * k + 3]}) == 3


def test_json_has_all_fields(kseq: Kseq, run_folder: Path, source: Path) -> None:
    argv = ("translate", "-m", run_folder, "-i", source, "--output", "json")
    found = [json.loads(line) for line in kseq(*argv, "--nbest", "2").out.splitlines()]
    assert [row["source"] for row in found] == LINES
    assert found[1]["outputs"] == []
    row = found[2]
    assert row["source_tokens"] == ["2", "1", "0", "</s>"]
    assert len(row["outputs"]) == 2
    for output in row["outputs"]:
        assert output["text"] == " ".join(output["tokens"])
        assert math.isclose(output["score"], sum(output["log_probs"]), rel_tol=1e-4)
        weights = np.array(output["attention"])
        assert weights.shape == (len(output["log_probs"]), 4)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-4)


def test_without_attention_json_has_none(
    kseq: Kseq, other_folder: Path, source: Path
) -> None:
    argv = ("translate", "-m", other_folder, "-i", source, "--output", "json")
    found = [json.loads(line) for line in kseq(*argv).out.splitlines()]
    assert "attention" not in found[0]["outputs"][0]


def test_alignments_follow_the_attention_weights(
    kseq: Kseq, run_folder: Path, source: Path
) -> None:
    argv = ("translate", "-m", run_folder, "-i", source, "--output")
    rows = [line.split("\t") for line in kseq(*argv, "alignments").out.split("\n")[:-1]]
    objects = [json.loads(line) for line in kseq(*argv, "json").out.splitlines()]
    assert rows[1] == ["", ""]
    for row, found in zip(rows, objects, strict=True):
        for output in found["outputs"]:
            assert row[0] == output["text"]
            places = [pair.split("-") for pair in row[1].split()]
            assert [int(target) for target, _ in places] == [
                *range(len(output["tokens"]))
            ]
            for (_, place), weights in zip(places, output["attention"], strict=False):
                # Not to </s>, which is no token of the text.
                assert int(place) == int(np.argmax(weights[:-1]))


# Mistakes.


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--temperature", "2"], "--temperature needs --sample"),
        (["--top-k", "2"], "--top-k needs --sample"),
        (["--top-p", "0.5"], "--top-p needs --sample"),
        (["--seed", "2"], "--seed needs --sample"),
        (["--sample", "--beam", "3"], "--beam-width"),
        (["--sample", "--coverage-penalty", "1"], "--coverage-penalty"),
        (["--beam", "2", "--nbest", "3"], "--nbest must be at most --beam-width, 2"),
        (["--beam", "0"], "--beam-width must be at least 1"),
        (["--nbest", "0"], "--nbest must be at least 1"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--max-length", "0"], "--max-length must be at least 1"),
        (["--averaging", "log_linear"], "--averaging needs several models"),
        (["--beam", "1", "--length-penalty-alpha", "0.5"], "--length-penalty-alpha"),
        (["--output", "xml"], "output"),
        (["--beams", "3"], "--beams"),
    ],
)
def test_flags_without_an_effect_are_refused(
    kseq: Kseq, run_folder: Path, source: Path, flags: Any, word: str
) -> None:
    found = kseq("translate", "-m", run_folder, "-i", source, *flags)
    assert_one_line(found, 2, word)


def test_a_model_is_required(kseq: Kseq) -> None:
    assert_one_line(kseq("translate"), 2, "-m FOLDER is required")


def test_a_checkpoint_of_several_models_is_refused(
    kseq: Kseq, run_folder: Path, other_folder: Path, source: Path
) -> None:
    both = (run_folder, other_folder)
    found = kseq("translate", "-m", *both, "-c", "1", "-i", source)
    assert_one_line(found, 2, "-c needs a single model")


def test_there_are_no_alignments_without_attention(
    kseq: Kseq, other_folder: Path, source: Path
) -> None:
    argv = ("translate", "-m", other_folder, "-i", source, "--output", "alignments")
    assert_one_line(kseq(*argv), 1, "no attention")


def test_a_missing_checkpoint_lists_the_existing_ones(
    kseq: Kseq, run_folder: Path, source: Path
) -> None:
    found = kseq("translate", "-m", run_folder, "-c", "7", "-i", source)
    assert_one_line(found, 1, "no checkpoint 7. Its checkpoints: 1, 2, 3")


@pytest.mark.parametrize("name", ["model.keras", "config.json", "vocab.source.json"])
def test_a_damaged_folder_is_named(
    kseq: Kseq, run_folder: Path, tmp_path: Path, source: Path, name: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(run_folder, folder)
    path = folder / name
    path.write_bytes(path.read_bytes()[:-100])
    found = kseq("translate", "-m", folder, "-i", source)
    assert_one_line(found, 1, name)
    path.unlink()
    assert_one_line(kseq("translate", "-m", folder, "-i", source), 1, name)


def test_a_missing_file_is_named(kseq: Kseq, run_folder: Path) -> None:
    assert_one_line(kseq("translate", "-m", run_folder, "-i", "no.txt"), 1, "no.txt")


def test_lines_before_an_invalid_one_are_decoded(
    kseq: Kseq, run_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "source.txt"
    path.write_bytes(b"0 1\n2\n\xff\n1\n")
    found = kseq("translate", "-m", run_folder, "-i", path)
    assert found.status == 1
    assert len(found.out.splitlines()) == 2
    assert "source.txt, line 3: not UTF-8" in found.err


# Pipes.


def test_a_closed_pipe_ends_the_command_silently(
    run_folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["translate", "-m", str(run_folder), "-i", str(source)]) == 141
    assert capfd.readouterr().err == ""


def start(*arguments: str) -> subprocess.Popen[str]:
    # As at a terminal: the tests' own setting would let TensorFlow's notices through.
    environment = dict(os.environ)
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.Popen(
        [sys.executable, "-m", "kseq", "translate", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        env=environment,
    )


def test_a_line_is_decoded_before_the_next_arrives(
    run_folder: Path, translator: Translator
) -> None:
    with start("-m", str(run_folder), "--beam", "1") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in LINES:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            assert answer == f"{translator.translate([line])[0]}\n"
        process.stdin.write("\udcff\n")
        _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    message = "<stdin>, line 5: not UTF-8, byte 1 of the line is 0xff."
    assert err == f"kseq translate: error: {message}\n"


def test_a_failure_does_not_wait_for_the_input(tmp_path: Path) -> None:
    # Python must end although a thread still waits for stdin.
    with start("-m", str(tmp_path / "missing")) as process:
        assert process.stderr is not None
        assert process.wait(timeout=300) == 1
        err = process.stderr.read()
    assert len(err.splitlines()) == 1
    assert "missing' is not a model folder" in err


def test_lines_are_read_in_chunks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from kseq.cli.translate import _LineReader

    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{k}\n" for k in range(100)))
    chunks = list(_LineReader(str(path)).chunks(7))
    assert [line for chunk in chunks for line in chunk] == [str(k) for k in range(100)]
    assert max(map(len, chunks)) <= 7


def test_a_last_line_without_a_line_end_is_decoded(
    kseq: Kseq, run_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "source.txt"
    path.write_text("0 1\n2")
    found = kseq("translate", "-m", run_folder, "-i", path, "--beam", "1")
    assert found.out.count("\n") == 2
