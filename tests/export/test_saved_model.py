"""A SavedModel gives the results of the translator, without kseq."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export.translators import (
    ARCHITECTURES,
    LETTERS,
    RUN_ALL,
    TEXTS,
    WORDS,
    make,
    without_kseq,
)

from kseq import Ensemble, Translator
from kseq.cli.main import main
from kseq.data import Vocabulary
from kseq.decoding import BeamSearch, LengthRatio
from kseq.export import export_saved_model


@pytest.mark.parametrize(
    ("ratio", "architectures"),
    [(None, ARCHITECTURES[:2]), (LengthRatio(1.5, 0.25), ARCHITECTURES[2:])],
    ids=["256 steps", "length ratio"],
)
def test_a_saved_model_has_the_outputs_and_scores_of_the_translator(
    tmp_path: Path, ratio: LengthRatio | None, architectures: list[dict[str, Any]]
) -> None:
    given, translators = [], []
    for k, settings in enumerate(architectures):
        translator = make(**settings)
        translator.length_ratio = ratio
        folder = tmp_path / str(k)
        export_saved_model(translator, folder, beam_width=3)
        ids = LETTERS.encode([text for text in TEXTS if text]).tolist()
        greedy = translator.translate(TEXTS)
        feeds: dict[str, Any] = {
            "text_greedy": {"texts": TEXTS},
            "text_beam": {"texts": TEXTS},
            "text_score": {"texts": TEXTS, "outputs": greedy},
            "ids_greedy": {"source": ids},
            "ids_beam": {"source": ids},
        }
        if "attention" in settings:
            feeds["ids_beam_attention"] = {"source": ids}
        given.append([str(folder), feeds])
        translators.append(translator)
    for translator, found in zip(
        translators, without_kseq(RUN_ALL, json.dumps(given)), strict=True
    ):
        greedy = translator.translate(TEXTS)
        assert [row[0] for row in found["text_greedy"]["texts"]] == greedy
        np.testing.assert_allclose(
            found["text_score"]["scores"], translator.score(TEXTS, greedy), atol=1e-4
        )
        best = translator.n_best(TEXTS, BeamSearch(beam_width=3, n=3))
        texts, scores = (found["text_beam"][name] for name in ("texts", "scores"))
        for outputs, row, row_scores in zip(best, texts, scores, strict=True):
            expected = [each.text for each in outputs]
            assert row == expected + [""] * (3 - len(expected))
            if outputs:
                np.testing.assert_allclose(
                    row_scores[: len(outputs)],
                    [each.score for each in outputs],
                    atol=1e-4,
                )
            else:
                assert row_scores == [0.0, -np.inf, -np.inf]
        filled = [text for text in TEXTS if text]
        expected_ids = translator.model.generate(
            LETTERS.encode(filled),
            BeamSearch(beam_width=3, n=3),
            max_length=ratio,
            return_attention="ids_beam_attention" in found,
        )
        assert found["ids_beam"]["tokens"] == expected_ids.tokens.tolist()
        assert found["ids_beam"]["lengths"] == expected_ids.lengths.tolist()
        if "ids_beam_attention" in found:
            np.testing.assert_allclose(
                found["ids_beam_attention"]["attention"],
                expected_ids.attention,
                atol=1e-5,
            )
        else:
            assert not any("attention" in name for name in found[""])


def test_other_tokenizers_and_ensembles_have_signatures_of_ids(tmp_path: Path) -> None:
    first = make()
    ensemble = Ensemble([first.model, make(2).model])
    source = Vocabulary(["a", "b"], tokenizer="moses:en")
    assert not any(
        name.startswith("text")
        for name in export_saved_model(make(source=source), tmp_path / "moses")
    )
    translator = Translator(ensemble, LETTERS, WORDS)
    export_saved_model(translator, tmp_path / "both", beam_width=2)
    feeds = {"text_beam": {"texts": TEXTS}}
    (found,) = without_kseq(RUN_ALL, json.dumps([[str(tmp_path / "both"), feeds]]))
    expected = translator.translate(TEXTS, BeamSearch(beam_width=2, n=2))
    assert [row[0] for row in found["text_beam"]["texts"]] == expected


def test_cudnn_is_in_no_graph_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = make(encoder_direction="bidirectional", layers=2)
    recurrent = [
        layer
        for layer in translator.model._flatten_layers()
        if hasattr(layer, "use_cudnn")
    ]
    assert len(recurrent) >= 5  # both directions of the first, and the layers above
    seen: list[Any] = []
    monkeypatch.setattr(
        "tensorflow.saved_model.save",
        lambda *_: seen.extend(layer.use_cudnn for layer in recurrent),
    )
    export_saved_model(translator, tmp_path / "out")
    assert seen == [False] * len(recurrent)
    assert {layer.use_cudnn for layer in recurrent} == {"auto"}


def test_what_cannot_be_exported_is_told(tmp_path: Path) -> None:
    translator = make()
    with pytest.raises(TypeError, match=r"must be a Translator. Received: Seq2Seq"):
        export_saved_model(translator.model, tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`beam_width` must be at least 2"):
        export_saved_model(translator, tmp_path / "x", beam_width=1)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes.txt").touch()
    with pytest.raises(FileExistsError, match="there"):
        export_saved_model(translator, tmp_path / "there")


def test_the_export_command_names_missing_and_wrong_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    make().save(tmp_path / "model")
    model = ["export", "-m", str(tmp_path / "model")]
    out = ["-o", str(tmp_path / "new")]
    for flags, status, words in (
        ([*model, *out], 2, "--format savedmodel|onnx is required"),
        ([*model, "--format", "onnx"], 2, "-o FOLDER is required"),
        (["export", *out, "--format", "onnx"], 2, "-m FOLDER is required"),
        ([*model, *out, "--format", "onnx", "--beam", "3"], 2, "--beam-width"),
        ([*model, *out, "--format", "onnx"], 1, "kseq[onnx]"),
        (
            [*model, *out, "--format", "savedmodel", "--beam", "1"],
            2,
            "--beam-width must be",
        ),
    ):
        assert main(flags) == status
        assert words in capsys.readouterr().err
    assert main([*model, *out, "--format", "savedmodel", "--beam", "2"]) == 0
    assert "text_beam" in capsys.readouterr().out.split()
