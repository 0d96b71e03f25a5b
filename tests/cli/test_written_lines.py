"""Outputs of commands: a text is one line, also with line breaks in it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kseq.cli.evaluate import _write_outputs
from kseq.cli.translate import _format_outputs

# Where Python's `str.splitlines` ends a line.
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
OUTPUT = SimpleNamespace(
    text=f"a{BREAKS}b",
    score=-1.0,
    tokens=list(BREAKS),
    log_probs=[-1.0],
    truncated=False,
    attention=np.ones((1, 2)),
)


@pytest.mark.parametrize("kind", ["text", "scores", "alignments", "json"])
def test_an_output_with_line_breaks_is_one_line(kind: str) -> None:
    vocab = SimpleNamespace(
        encode=lambda texts: [[4]], ids_to_tokens=lambda ids: ["\u2028"]
    )
    translator = SimpleNamespace(source_vocab=vocab)
    arguments = SimpleNamespace(output=kind, nbest=1)
    shown = _format_outputs("x", [OUTPUT], arguments, translator)
    (line,) = shown.splitlines()
    assert shown == f"{line}\n"
    if kind == "json":
        found: Any = json.loads(line)
        assert found["outputs"][0]["text"] == OUTPUT.text
        assert found["source_tokens"] == ["\u2028"]
        return
    text = line.split("\t")[kind == "scores"]
    assert text.encode().decode("unicode_escape") == OUTPUT.text


def test_written_outputs_are_a_line_for_each_pair(tmp_path: Path) -> None:
    _write_outputs(str(tmp_path / "new" / "out"), [OUTPUT.text, "", "c"])
    lines = (tmp_path / "new" / "out").read_text().splitlines()
    assert len(lines) == 3
    assert lines[1:] == ["", "c"]
