import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from data.tokenizers.texts import SIZE, TEXTS

from kseq.data import SentencePieceTokenizer


def test_white_space_of_any_kind_counts_as_one_space() -> None:
    tokenizer = SentencePieceTokenizer.train(TEXTS, SIZE)
    tokens = tokenizer.tokenize("\tThe\u00a0 cat\n")
    assert tokens == tokenizer.tokenize("The cat")
    assert tokenizer.detokenize(tokens) == "The cat"
    assert tokenizer.tokenize(" \n") == []


def test_characters_without_a_piece_are_unknown() -> None:
    tokenizer = SentencePieceTokenizer.train(TEXTS, SIZE)
    assert tokenizer.tokenize("\u8a9e\u65e5")[-1] == "<unk>"
    assert tokenizer.detokenize(["▁", "a", "<unk>", "▁"]) == "a<unk> "


def test_character_coverage_leaves_out_rare_characters() -> None:
    texts = [*["ab ba"] * 1000, "z"]
    assert "z" in "".join(SentencePieceTokenizer.train(texts, 9).pieces)
    tokenizer = SentencePieceTokenizer.train(texts, 9, character_coverage=0.999)
    assert "z" not in "".join(tokenizer.pieces)
    assert "<unk>" in tokenizer.tokenize("z")


def test_the_smallest_size_is_one_piece_for_each_character() -> None:
    assert set(SentencePieceTokenizer.train(["abc"], 4).pieces) == {"▁", "a", "b", "c"}


def test_a_small_corpus_gives_fewer_pieces_than_size() -> None:
    for kind in ("unigram", "bpe"):
        pieces = SentencePieceTokenizer.train(["ab ab"], 1000, kind).pieces
        assert {"a", "b", "▁"} <= set(pieces)
        assert len(pieces) < 10


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_detokenizing_restores_the_text(kind: str) -> None:
    tokenizer = SentencePieceTokenizer.train(TEXTS, SIZE, kind)
    for text in TEXTS:
        tokens = tokenizer.tokenize(text)
        assert set(tokens) <= set(tokenizer.pieces)
        assert tokenizer.detokenize(tokens) == text
    assert 20 < len(tokenizer.pieces) == len(set(tokenizer.pieces)) <= SIZE
    assert len(tokenizer.tokenize(TEXTS[0])) < len(TEXTS[0])


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_same_texts_give_the_same_model(kind: str) -> None:
    model = SentencePieceTokenizer.train(TEXTS, SIZE, kind).model
    assert SentencePieceTokenizer.train(iter(TEXTS), SIZE, kind).model == model
    assert SentencePieceTokenizer.train(TEXTS, SIZE - 14, kind).model != model


def test_training_reads_long_texts() -> None:
    words = [f"ab{i % 7}" for i in range(5_000)]
    for kind in ("unigram", "bpe"):
        whole = SentencePieceTokenizer.train([" ".join(words)], 20, kind)
        assert whole.pieces == SentencePieceTokenizer.train(words, 20, kind).pieces


@pytest.mark.parametrize(
    ("texts", "arguments", "error", "message"),
    [
        ([], {}, ValueError, "`texts` must hold at least one text that is not empty"),
        (
            ["", " \n"],
            {},
            ValueError,
            "`texts` must hold at least one text that is not empty",
        ),
        (["abc"], {"size": 3}, ValueError, r"`size` must be at least 4.*Received: 3"),
        (["abc"], {"size": 0}, ValueError, r"`size` must be .* Received: 0"),
        (["abc"], {"kind": "word"}, ValueError, r"`kind` .*Received: 'word'"),
        (["abc"], {"character_coverage": 1.1}, ValueError, r"at most 1.*1\.1"),
        (["abc"], {"character_coverage": 0}, ValueError, "above 0.*Received: 0"),
        (["abc"], {"lower_case": 1}, TypeError, "`lower_case` must be True or False"),
        ("abc", {}, TypeError, r"`texts` must be .*put it in a list: \['abc'\]"),
        (["abc", None], {}, TypeError, "`texts` must hold only strings.*at index 1"),
        (3, {}, TypeError, "`texts` must be a list.*type int"),
    ],
)
def test_training_checks_its_arguments(
    texts: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SentencePieceTokenizer.train(texts, **{"size": 9, **arguments})


def test_an_error_of_the_texts_is_raised_unchanged() -> None:
    def texts() -> Iterator[str]:
        yield "a b"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        SentencePieceTokenizer.train(texts(), 9)


def test_training_logs_only_at_level_debug(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    SentencePieceTokenizer.train(TEXTS, SIZE)
    assert capfd.readouterr() == ("", "")
    with caplog.at_level(logging.DEBUG, "kseq"):
        SentencePieceTokenizer.train(TEXTS, SIZE)
    assert "vocab_size" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("model", "error"),
    [
        (b"", ValueError),
        (b"junk", ValueError),
        ("m.model", TypeError),
        (Path("m"), TypeError),
    ],
)
def test_an_invalid_model_raises_an_error(model: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="`model` must be"):
        SentencePieceTokenizer(model)
