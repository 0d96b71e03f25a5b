"""Runs the examples; long ones with little data."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kseq import Translator

EXAMPLES = Path(__file__).parents[1] / "examples"
ARGUMENTS: dict[str, list[str]] = {
    "addition.py": ["--digits=1", "--train-size=40", "--test-size=6", "--units=8"],
    "copy_task.py": ["--train-size=64", "--dev-size=8", "--epochs=1"],
    "g2p.py": ["--data=.", "--any-files", "--units=8", "--epochs=2", "--batch-size=4"],
    "g2p_page.py": [],  # run by serving/test_server.py
    "inference_models.py": [],
    "notebook_protocol.py": ["--epochs=1"],
    "onnx_decode.py": [],  # run by test_onnx.py
    "own_data.py": [],
    "reverse_task.py": ["--train-size=64", "--dev-size=8", "--epochs=1"],
    "sweep_addition.py": [
        "--digits=1",
        "--train-size=40",
        "--valid-size=10",
        "--units=8",
        "--epochs=1",
    ],
}


def run(name: str, folder: Path, *arguments: str) -> str:
    process = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", str(EXAMPLES / name), *arguments],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return process.stdout


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(ARGUMENTS)


def test_the_demo_prints_plain_lines_and_ends_with_sums_and_a_command(
    tmp_path: Path,
) -> None:
    printed = run("addition.py", tmp_path, *ARGUMENTS["addition.py"], "--epochs=6")
    # No control characters in a log.
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", printed)
    lines = printed.splitlines()
    assert max(map(len, lines[:-1])) <= 88
    assert sum(line.startswith("epoch ") for line in lines) == 6
    *unseen, accuracy, own, command = lines[-9:]
    shown = {}
    for line in unseen:
        match = re.fullmatch(r"  (\d\+\d) = (.*)  ([✓✗])", line)
        assert match is not None
        text, answer, mark = match.groups()
        right = answer == str(sum(map(int, text.split("+"))))
        assert mark == ("✓" if right else "✗")
        shown[text] = answer
    assert re.fullmatch(r"whole-sum accuracy: [01]\.\d{4}", accuracy)
    assert own == "try your own sum:"
    assert re.fullmatch(r"  echo \d\+\d \| \S*kseq translate -m adder", command)
    assert (tmp_path / "addition.png").stat().st_size > 1000
    # The saved model gives the printed answer.
    translator = Translator.load(tmp_path / "adder")
    text = command.split()[1]
    assert translator.translate([text]) == [shown[text]]


def test_the_copier_prints_its_accuracy_and_draws_its_attention(
    tmp_path: Path,
) -> None:
    lines = run("copy_task.py", tmp_path, *ARGUMENTS["copy_task.py"]).splitlines()
    assert re.fullmatch(r"whole-sequence accuracy: [01]\.\d{4}", lines[-1])
    assert re.fullmatch(r"development perplexity: \d+\.\d{4}", lines[-2])
    assert (tmp_path / "copier/model.keras").is_file()
    assert (tmp_path / "attention.png").stat().st_size > 1000


def test_the_reverser_prints_its_bleu(tmp_path: Path) -> None:
    lines = run("reverse_task.py", tmp_path, *ARGUMENTS["reverse_task.py"]).splitlines()
    assert re.fullmatch(r"BLEU: \d+\.\d", lines[-1])
    assert (tmp_path / "reverser/model.keras").is_file()
    assert (tmp_path / "attention.png").stat().st_size > 1000


def test_the_pronouncers_print_their_error_rates_and_can_be_resumed(
    tmp_path: Path,
) -> None:
    train = "AB  AE B\nBA  B AA\nBA(2)  B AE\nABBA  AE B AH\nBAB  B AE B\nA  AH\n"
    (tmp_path / "cmudict-0.7b.train-dev-20-21").write_text(train)
    (tmp_path / "cmudict-0.7b.train-dev-1-21").write_text("BABA  B AA B AH\n")
    arguments = ARGUMENTS["g2p.py"]
    lines = run("g2p.py", tmp_path, *arguments, "--members=1").splitlines()
    assert lines[0].startswith("6 pairs; none left out; 6 letters, 8 phonemes")
    rates = r"greedy: WER [01]\.\d{4}, PER \d\.\d{4}\nbeam 5: WER [01]\.\d{4}, PER .*"
    assert re.fullmatch(rates, "\n".join(lines[-3:-1]))
    finished = (tmp_path / "g2p-0/metrics.csv").read_bytes()
    lines = run("g2p.py", tmp_path, *arguments, "--resume").splitlines()
    assert re.fullmatch(rates, "\n".join(lines[-3:-1]))
    assert (tmp_path / "g2p-0/metrics.csv").read_bytes() == finished
    assert (tmp_path / "g2p-1/metrics.csv").is_file()


def test_a_plain_loop_decodes_the_same_tokens_as_generate(tmp_path: Path) -> None:
    lines = run("inference_models.py", tmp_path).splitlines()[-4:]
    for line in lines:
        source, target = re.findall(r"'([\d ]+)'", line)
        assert source.split()[::-1] == target.split()


def test_own_data_give_a_saved_translator(tmp_path: Path) -> None:
    printed = run("own_data.py", tmp_path)
    assert printed.splitlines()[-1] == "['cats', 'cities', 'foxes']"
    assert (tmp_path / "plurals/config.json").is_file()


@pytest.mark.slow
def test_the_notebook_protocol_prints_a_row_for_each_model(tmp_path: Path) -> None:
    lines = run("notebook_protocol.py", tmp_path, "--epochs=1").splitlines()
    assert sum(line.startswith(("| one_hot", "| embedding")) for line in lines) == 8


@pytest.mark.slow
def test_the_demo_reaches_its_accuracy_in_time(tmp_path: Path) -> None:
    printed = run("addition.py", tmp_path)
    seconds = re.search(r"training steps took (\d+) s", printed)
    assert seconds is not None
    assert int(seconds[1]) <= 180
    accuracy = re.search(r"whole-sum accuracy: (\S+)", printed)
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.99


def test_the_sweep_writes_a_table_a_plot_and_its_best_model(tmp_path: Path) -> None:
    printed = run("sweep_addition.py", tmp_path, *ARGUMENTS["sweep_addition.py"])
    assert "reverse_source" in printed
    rows = (tmp_path / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + 2
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "sweeps/addition/best/model.keras").is_file()
