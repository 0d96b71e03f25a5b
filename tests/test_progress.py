"""Progress: a bar on a terminal, lines in a file, nothing if disabled."""

import io
import re
import sys
from typing import Any

import pytest

from kseq import build_seq2seq
from kseq import progress as module
from kseq.data import from_pairs
from kseq.progress import announced, displayed, progress, silent

CONTROL = re.compile(r"[\r\x08\x1b]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _file(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Replaces stderr by a file, with a line at each step."""
    file = io.StringIO()
    monkeypatch.setattr(module, "_LINE_INTERVAL", 0)
    monkeypatch.setattr(sys, "stderr", file)
    return file


def test_a_file_gets_lines_without_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = _file(monkeypatch)
    assert list(progress([7, 8], "decoding", unit="batches")) == [7, 8]
    with progress(None, "reading", unit="bytes") as bar:
        bar.update(1500)
    assert stderr.getvalue().splitlines() == [
        "decoding: 1 of 2 batches, 0 s",
        "reading: 1,500 bytes, 0 s",
    ]


def test_short_work_prints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    list(progress(range(1000), "decoding"))
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_progress_can_be_disabled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = _file(monkeypatch)
    with silent(), announced("learning"):
        list(progress([1, 2], "decoding"))
    with silent(False), announced("learning pieces"):
        pass
    assert stderr.getvalue() == "learning pieces\n"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BAR_DELAY", 0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(progress([7, 8], "decoding")) == [7, 8]
    assert "decoding:   0%" in sys.stderr.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("stream", [None, io.StringIO(), Terminal()])
def test_kerass_bar_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, stream: Any
) -> None:
    monkeypatch.delenv("PYCHARM_HOSTED", raising=False)
    monkeypatch.setattr(sys, "stdout", stream)
    is_terminal = isinstance(stream, Terminal)
    found = [displayed(verbose) for verbose in ("auto", 1, 0, 2)]
    assert found == (["auto", 1, 0, 2] if is_terminal else [2, 2, 0, 2])


def test_fit_evaluate_and_predict_write_lines_into_a_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = ["a b", "b a", "a a", "b b"]
    examples = from_pairs(texts, texts)
    size = len(examples.source_vocab)
    model = build_seq2seq(source_vocab_size=size, target_vocab_size=size, units=4)
    model.compile(run_eagerly=True)
    x, y = examples.arrays()
    model.fit(x, y, batch_size=2, epochs=2, verbose=1)
    model.evaluate(x, y)
    model.predict(x)
    out = capsys.readouterr().out
    assert out.count("Epoch") == 2
    assert len(out.splitlines()) == 6
    assert not CONTROL.search(out)
