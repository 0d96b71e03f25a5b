"""Texts are tokenized in an exported graph as in Python."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from export.translators import RUN_ALL, make, without_kseq

from kseq import Translator, build_seq2seq
from kseq.data import Vocabulary
from kseq.export import export_saved_model


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
