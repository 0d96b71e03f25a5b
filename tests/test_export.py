"""Exported models give what the translator gives, where there is no kseq."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kseq import Ensemble, Translator, build_seq2seq
from kseq.cli.main import main
from kseq.data import Vocabulary
from kseq.decoding import BeamSearch, LengthRatio
from kseq.export import export_onnx, export_saved_model

LETTERS = Vocabulary(list("abcdefgäλ"), tokenizer="characters")
WORDS = Vocabulary([f"S{k}" for k in range(6)] + ["größer"])
TEXTS = ["abc", "", "gfedcba", "zäλz", "a", "<s>"]
DECODE = Path(__file__).parents[1] / "examples" / "onnx_decode.py"


def make(seed: int = 1, source: Vocabulary = LETTERS, **settings: Any) -> Translator:
    keras.utils.set_random_seed(seed)
    model = build_seq2seq(
        **{
            "source_vocab_size": len(source),
            "target_vocab_size": len(WORDS),
            "units": 8,
            "embedding_dim": 4,
            "kernel_initializer": "uniform",
            "initializer_scale": 1.5,
            **settings,
        }
    )
    return Translator(model, source, WORDS)


def without_kseq(code: str, *arguments: object) -> Any:
    """Runs code in a new process, where kseq cannot be imported, and reads its JSON."""
    code = "import sys\nsys.modules['kseq'] = None\n" + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


RUN_ALL = """
    import json
    import tensorflow as tf

    given = json.loads(sys.argv[1])
    found = []
    for folder, feeds in given:
        signatures = tf.saved_model.load(folder).signatures
        outputs = {"": sorted(signatures)}
        for name, feed in feeds.items():
            run = signatures[name]
            dtypes = run.structured_input_signature[1]
            feed = {k: tf.constant(v, dtypes[k].dtype) for k, v in feed.items()}
            outputs[name] = {k: v.numpy() for k, v in run(**feed).items()}
        found.append(outputs)

    def plain(value):
        return value.decode() if isinstance(value, bytes) else value.tolist()

    print(json.dumps(found, default=plain))
"""

ARCHITECTURES: list[dict[str, Any]] = [
    {},
    {"attention": "additive", "encoder_direction": "bidirectional", "cell": "gru"},
    {"attention": "location_sensitive", "input_feeding": True, "layers": 2},
    {
        "source_representation": "one_hot",
        "target_representation": "embedding",
        "reverse_source": True,
        "attention": "dot",
    },
]


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
            attention="ids_beam_attention" in found,
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


def test_white_space_and_lower_case_are_as_in_python(tmp_path: Path) -> None:
    source = Vocabulary(["a", "b", "ä"], {"name": "whitespace", "lower_case": True})
    translator = make(source=source, attention="dot")
    texts = [" A\tb ", "a\u3000B\u00a0Ä", "a\x1cb\x85ä", "\u2003", "A\u200bb a"]
    assert [len(row[row > 0]) for row in source.encode(texts)] == [3, 4, 4, 1, 3]
    export_saved_model(translator, tmp_path / "out", beam_width=2)
    feeds = {"text_greedy": {"texts": texts}}
    (found,) = without_kseq(RUN_ALL, json.dumps([[str(tmp_path / "out"), feeds]]))
    assert [row[0] for row in found["text_greedy"]["texts"]] == translator.translate(
        texts
    )


def test_texts_are_justified_as_in_python(tmp_path: Path) -> None:
    vocabs = [Vocabulary(list("0123456789+ "), "characters", n) for n in (7, 4)]
    keras.utils.set_random_seed(2)
    model = build_seq2seq(
        source_vocab_size=len(vocabs[0]),
        target_vocab_size=len(vocabs[1]),
        units=8,
        kernel_initializer="uniform",
        initializer_scale=1.5,
    )
    translator = Translator(model, *vocabs)
    texts = ["325+78", " 325+78", "9+1", "", "  ", "1  + 2", "3+x "]
    outputs = ["403", " 403", "10", "", " ", "  3", "x"]
    export_saved_model(translator, tmp_path / "out", beam_width=2)
    feeds = {
        "text_greedy": {"texts": texts},
        "text_score": {"texts": texts, "outputs": outputs},
    }
    (found,) = without_kseq(RUN_ALL, json.dumps([[str(tmp_path / "out"), feeds]]))
    expected = translator.translate(texts)
    assert [row[0] for row in found["text_greedy"]["texts"]] == expected
    assert [bool(text) for text in expected[3:5]] == [False, False]
    np.testing.assert_allclose(
        found["text_score"]["scores"], translator.score(texts, outputs), atol=1e-4
    )
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 7 characters"):
        loaded.signatures["text_greedy"](texts=tf.constant(["1000+100"]))


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


def test_what_cannot_be_exported_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = make()
    with pytest.raises(TypeError, match=r"must be a Translator. Received: Seq2Seq"):
        export_saved_model(translator.model, tmp_path / "x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`beam` must be at least 2"):
        export_saved_model(translator, tmp_path / "x", beam_width=1)
    ensemble = Translator(Ensemble([translator.model]), LETTERS, WORDS)
    with pytest.raises(TypeError, match=r"of one model. Received: Ensemble"):
        export_onnx(ensemble, tmp_path / "x")
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'kseq\[onnx\]'"):
        export_onnx(translator, tmp_path / "x")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes.txt").touch()
    with pytest.raises(FileExistsError, match="there"):
        export_saved_model(translator, tmp_path / "there")
    translator.save(tmp_path / "model")
    model = ["export", "-m", str(tmp_path / "model")]
    out = ["-o", str(tmp_path / "new")]
    for flags, status, words in (
        ([*model, *out], 2, "--format is required"),
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
