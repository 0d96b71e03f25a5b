"""A model exported in ONNX decodes like the translator, without kseq."""

import sys
from pathlib import Path
from typing import Any

import pytest
from export.translators import (
    ARCHITECTURES,
    LETTERS,
    TEXTS,
    WORDS,
    make,
    without_kseq,
)

from kseq import Ensemble, Translator
from kseq.export import export_onnx

DECODE = Path(__file__).parents[2] / "examples" / "onnx_decode.py"


@pytest.mark.parametrize("settings", ARCHITECTURES)
def test_onnx_decodes_the_same_tokens(tmp_path: Path, settings: dict[str, Any]) -> None:
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    translator = make(**settings)
    files = export_onnx(translator, tmp_path / "out")
    assert files == [
        "decoder.onnx",
        "encoder.onnx",
        "vocab.source.json",
        "vocab.target.json",
    ]
    texts = [text for text in TEXTS if text and text != "<s>"]
    code = f"""
        import json, runpy
        from contextlib import redirect_stdout
        from io import StringIO

        sys.modules["tensorflow"] = None
        sys.argv = {["x", str(tmp_path / "out"), "--characters", *texts]!r}
        with redirect_stdout(StringIO()) as out:
            runpy.run_path({str(DECODE)!r}, run_name="__main__")
        print(json.dumps(out.getvalue().splitlines()))
    """
    # All rows go on until the last has ended, so up to the longest of them.
    longest = 2 * (max(map(len, texts)) + 1) + 10
    assert without_kseq(code) == translator.translate(texts, max_length=longest)


def test_an_ensemble_is_refused(tmp_path: Path) -> None:
    ensemble = Translator(Ensemble([make().model]), LETTERS, WORDS)
    with pytest.raises(TypeError, match=r"with one model. Received: Ensemble"):
        export_onnx(ensemble, tmp_path / "x")


def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'kseq\[onnx\]'"):
        export_onnx(make(), tmp_path / "x")
