"""`kseq vocab`: a vocabulary for `kseq train`."""

import json
from pathlib import Path

import pytest

from kseq.data import Vocabulary

from .conftest import Kseq, assert_one_line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.de"
    path.write_text("Ein Hund\nein Mann\nein Hund\n")
    return path


def test_the_vocabulary_is_built_from_the_files(
    kseq: Kseq, file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new" / "vocab.json"
    result = kseq("vocab", "-i", file, file, "-o", output, "--max-size", 2)
    assert result.status == 0
    assert Vocabulary.load(output).tokens[4:] == ("Hund", "ein")
    assert "6 tokens" in result.out
    assert "66.67% of the 12 tokens" in result.out
    assert f"--source-vocab {output}" in result.err


def test_the_report_as_json(kseq: Kseq, file: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.json"
    options = ("--lower-case", "--min-frequency", 2, "--json")
    found = json.loads(kseq("vocab", "-i", file, "-o", output, *options).out)
    assert found == {
        "file": str(output),
        "size": 6,
        "tokens": 6,
        "distinct": 3,
        "covered": 5 / 6,
    }


def test_the_tokenizer_is_used(kseq: Kseq, file: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.json"
    kseq("vocab", "-i", file, "-o", output, "--tokenizer", "characters")
    assert "H" in Vocabulary.load(output, "characters")


def test_train_accepts_the_vocabulary(kseq: Kseq, texts: Path, tmp_path: Path) -> None:
    output, data = tmp_path / "v.json", texts / "train.source"
    kseq("vocab", "-i", data, "-o", output, "--max-size", 2)
    result = kseq(
        *("train", "-s", data, "-t", texts / "train.target", "--source-vocab", output),
        *("-vs", texts / "dev.source", "-vt", texts / "dev.target", "--quiet"),
        *("-o", tmp_path / "run", "--encoder-direction", "forward", "--units", 8),
        *("--embedding-dim", 8, "--checkpoint-updates", 1, "--max-updates", 1),
    )
    assert result.status == 0, result.err
    assert (tmp_path / "run/vocab.source.json").read_bytes() == output.read_bytes()


def test_a_trained_tokenizer_is_refused(kseq: Kseq, file: Path, tmp_path: Path) -> None:
    options = ("-o", tmp_path / "v.json", "--tokenizer", "bpe:9")
    result = kseq("vocab", "-i", file, *options)
    assert_one_line(result, 2, "--tokenizer", "'bpe:9'", "kseq train")
    assert not (tmp_path / "v.json").exists()


def test_errors_are_one_line(kseq: Kseq, file: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.json"
    assert_one_line(kseq("vocab", "-o", output), 2, "-i FILE")
    assert_one_line(kseq("vocab", "-i", file), 2, "-o FILE")
    assert_one_line(kseq("vocab", "-i", tmp_path / "nix", "-o", output), 1, "nix")
    assert_one_line(kseq("vocab", "-i", file, "-o", tmp_path), 1, str(tmp_path))
    wrong = ("--tokenizer", "klingon")
    assert_one_line(kseq("vocab", "-i", file, "-o", output, *wrong), 2, "klingon")
    output.write_text("mine")
    assert_one_line(kseq("vocab", "-i", file, "-o", output), 1, "--overwrite")
    assert output.read_text() == "mine"
    assert kseq("vocab", "-i", file, "-o", output, "--overwrite").status == 0
