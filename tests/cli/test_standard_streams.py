"""Standard streams: UTF-8 in any locale; closed, full and broken streams."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

KSEQ = [sys.executable, "-m", "kseq"]
NO_UTF8 = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}


def shell(
    redirections: str, *arguments: object, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command with redirected streams."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *KSEQ, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def test_texts_and_names_are_utf8_in_a_locale_without_it(tmp_path: Path) -> None:
    (tmp_path / "文.txt").write_text("猫 の 猫\n", "utf-8")
    found = shell("", "vocab", "-i", "文.txt", "-o", "語.json", cwd=tmp_path, **NO_UTF8)
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("語.json: 6 tokens")
    assert "猫" in (tmp_path / "語.json").read_text("utf-8")
    found = shell("", "vocab", "-i", "無.txt", "-o", "a", cwd=tmp_path, **NO_UTF8)
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "kseq vocab: error: --input: there is no file '無.txt'.\n"


def test_input_is_utf8_in_a_locale_without_it(tmp_path: Path) -> None:
    (tmp_path / "target.txt").write_text("é\n", "utf-8")
    call = ("evaluate", "--hypotheses", "-", "-t", "target.txt", "--metrics", "per")
    call = (*call[:-1], "exact_match")
    found = shell("< target.txt", *call, cwd=tmp_path, **NO_UTF8)
    assert "exact_match  1.0000" in found.stdout
    (tmp_path / "latin.txt").write_bytes(b"\xe9\n")
    found = shell("< latin.txt", *call, cwd=tmp_path)
    assert found.stderr.startswith("kseq evaluate: error: <stdin>, line 1: not UTF-8")


@pytest.mark.parametrize(
    ("redirections", "status", "message"),
    [
        ("2>&-", 0, ""),
        ("<&- 2>&-", 0, ""),
        (">&-", 1, "standard output is closed"),
        ("<&- >&- 2>&-", 1, ""),
        ("> /dev/full", 1, "standard output cannot be written: No space left on"),
        ("> /dev/full 2>&1", 1, ""),
        ("2> /dev/full", 0, ""),
    ],
)
def test_a_failing_stream_is_one_line_of_error(
    tmp_path: Path, redirections: str, status: int, message: str
) -> None:
    call = ("data", "copy", "-o", "d", "--train-size", "3", "--dev-size", "1")
    found = shell(redirections, *call, cwd=tmp_path)
    assert found.returncode == status
    assert found.stderr.count("\n") == bool(message)
    assert message in found.stderr
    # What was to be written is there, and no other stream was written into it.
    assert (tmp_path / "d/train.source").read_text().count("\n") == 3
    if status == 0:
        assert found.stdout.startswith("train: 3 pairs in d/train.source")


@pytest.mark.parametrize("call", [("--help",), ("train", "--help-all"), ("nix",)])
def test_a_full_disk_is_reported_once(tmp_path: Path, call: tuple[str, ...]) -> None:
    found = shell("> /dev/full", *call, cwd=tmp_path)
    assert found.returncode in (1, 2)
    assert found.stderr.count("\n") == 1


def test_closed_input_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("a\n")
    call = ("evaluate", "--hypotheses", "-", "-t", "t", "--metrics", "exact_match")
    found = shell("<&-", *call, cwd=tmp_path)
    assert found.returncode == 1
    assert found.stderr == "kseq evaluate: error: standard input is closed\n"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_a_signal_ends_the_command_silently(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    (tmp_path / "target.txt").write_text("a\n")
    call = ("evaluate", "--hypotheses", "-", "-t", "target.txt")
    process = subprocess.Popen(
        [*KSEQ, *call, "--metrics", "exact_match"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Tests that run in the background ignore an interrupt, and so would the child.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    assert process.stdin is not None
    # More than a pipe holds: it is written when the command reads.
    process.stdin.write(b"a\n" * 100_000)
    process.send_signal(number)
    process.wait(timeout=300)  # with its input open: its end would be an error
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (status, b"", b"")
