from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from data.tokenizers.texts import SIZE, TEXTS

from kseq.data import (
    CharacterTokenizer,
    MosesTokenizer,
    SentencePieceTokenizer,
    SpacyTokenizer,
    Tokenizer,
    WhitespaceTokenizer,
    tokenizers,
)
from kseq.data.tokenizers import registry


def test_names_and_dicts_make_tokenizers() -> None:
    assert tokenizers.get("whitespace") == WhitespaceTokenizer()
    assert tokenizers.get(np.str_("characters")) == CharacterTokenizer()
    assert tokenizers.get("spacy:de") == SpacyTokenizer("de")
    assert tokenizers.get("moses:de") == MosesTokenizer("de")
    config = {"name": "moses", "language": "de", "lower_case": True}
    assert tokenizers.get(config) == MosesTokenizer("de", lower_case=True)
    assert config == {"name": "moses", "language": "de", "lower_case": True}
    tokenizer = MosesTokenizer("de")
    assert tokenizers.get(tokenizer) is tokenizer


CHOICES = (
    r"'whitespace', 'characters', 'spacy:LANGUAGE', 'moses:LANGUAGE', .*"
    r"'sentencepiece:SIZE', 'bpe:SIZE'"
)


@pytest.mark.parametrize(
    ("identifier", "error", "message"),
    [
        ("words", ValueError, f"{CHOICES}.*Received: 'words'"),
        ("", ValueError, CHOICES),
        ("Whitespace", ValueError, CHOICES),
        ("whitespace:", ValueError, CHOICES),
        ("characters:2", ValueError, CHOICES),
        ({}, ValueError, CHOICES),
        ({"name": "words"}, ValueError, f"{CHOICES}.*register your own"),
        ({"language": "de"}, ValueError, CHOICES),
        (None, TypeError, f"{CHOICES}.*None of type NoneType"),
        (WhitespaceTokenizer, TypeError, CHOICES),
        ("spacy", ValueError, "needs a language: 'spacy:LANGUAGE'"),
        ("moses:", ValueError, "needs a language: 'moses:LANGUAGE'"),
        ("bpe", ValueError, "needs a size: 'bpe:SIZE'"),
        ("sentencepiece", ValueError, "needs a size: 'sentencepiece:SIZE'"),
        ("bpe:many", ValueError, "a size in digits, as in 'bpe:8000'"),
        ("bpe:-5", ValueError, "a size in digits"),
        ("bpe:0", ValueError, "`size` must be an integer of at least 1"),
        ({"name": "moses"}, ValueError, r"needs the arguments \['language'\]"),
        ({"name": "bpe"}, ValueError, r"needs the arguments \['size'\]"),
        (
            {"name": "moses", "language": "de", "lang": "de"},
            ValueError,
            r"\['escape', 'language', 'lower_case'\]. Received: \['lang'\] as well",
        ),
        ({"name": "bpe", "size": 9, "kind": "bpe"}, ValueError, r"\['kind'\] as well"),
        ({"name": "sentencepiece", "model": "x"}, ValueError, r"\['model'\] as well"),
        ({"name": "sentencepiece"}, ValueError, r"\['model'\].*'sentencepiece:8000'"),
        ({"name": "whitespace", "lower_case": 1}, TypeError, "`lower_case`"),
        ({"name": "moses", "language": 3}, TypeError, "`language` must be a string"),
        ({"name": "spacy", "language": 3}, TypeError, "`language` must be a string"),
    ],
)
def test_an_invalid_identifier_raises_an_error(
    identifier: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tokenizers.get(identifier)


@pytest.mark.parametrize(
    "identifier",
    ["bpe:8000", "sentencepiece:8000", {"name": "bpe", "size": 8000}],
)
def test_get_of_an_untrained_tokenizer_raises_an_error(identifier: Any) -> None:
    with pytest.raises(ValueError, match=r"trained .* first.*tokenizers\.train"):
        tokenizers.get(identifier)


def test_unexpected_assets_raise_an_error() -> None:
    for identifier in ("whitespace", "bpe:9", WhitespaceTokenizer()):
        with pytest.raises(ValueError, match=r"assets.*Received: \['model'\]"):
            tokenizers.get(identifier, {"model": b""})


def test_train_reads_the_texts_once_and_only_if_needed() -> None:
    read: list[str] = []

    def texts() -> Iterator[str]:
        for text in TEXTS:
            read.append(text)
            yield text

    assert tokenizers.train("characters", texts()) == CharacterTokenizer()
    assert read == []
    trained = tokenizers.train(f"bpe:{SIZE}", texts())
    assert read == TEXTS
    assert trained == SentencePieceTokenizer.train(TEXTS, SIZE, "bpe")


def test_train_takes_lower_case_separately() -> None:
    lowering = tokenizers.train("moses:de", [], lower_case=True)
    assert lowering == MosesTokenizer("de", lower_case=True)
    config = {"name": "whitespace"}
    assert tokenizers.train(config, [], lower_case=True).lower_case
    assert config == {"name": "whitespace"}
    assert tokenizers.train(lowering, []) is lowering
    assert tokenizers.train(lowering, [], lower_case=True) is lowering


@pytest.mark.parametrize(
    "identifier",
    [
        WhitespaceTokenizer(),
        {"name": "whitespace", "lower_case": False},
        tokenizers.UntrainedTokenizer("bpe", 9),
    ],
)
def test_lower_case_that_contradicts_the_tokenizer_raises_an_error(
    identifier: Any,
) -> None:
    with pytest.raises(ValueError, match="`lower_case` must agree"):
        tokenizers.train(identifier, TEXTS, lower_case=True)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> type[Tokenizer]:
    """A tokenizer of a user's, known for the time of a test."""
    monkeypatch.setattr(registry, "_TOKENIZERS", dict(registry._TOKENIZERS))

    class Separated(Tokenizer):
        name = "separated"
        argument = "separator"

        def __init__(self, separator: str, *, lower_case: bool = False) -> None:
            super().__init__(lower_case=lower_case)
            self.separator = separator

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "separator": self.separator}

        def tokenize(self, text: str) -> list[str]:
            return text.split(self.separator)

        def detokenize(self, tokens: Any) -> str:
            return self.separator.join(tokens)

    return Separated


def test_get_finds_a_registered_tokenizer(own: Any) -> None:
    with pytest.raises(ValueError, match="Received: 'separated'"):
        tokenizers.get("separated:,")
    assert tokenizers.register(own) is own
    assert tokenizers.get("separated:,") == own(",")
    assert tokenizers.get(own(";").get_config()).tokenize("a;b") == ["a", "b"]
    with pytest.raises(ValueError, match="'separated:SEPARATOR'"):
        tokenizers.get("words")
    tokenizers.register(own)


def test_register_checks_its_argument(own: Any) -> None:
    for name in ("whitespace", "bpe", "a:b"):
        own.name = name
        with pytest.raises(ValueError, match=f"`name` must .*Received: '{name}'"):
            tokenizers.register(own)
    for cls in (dict, Tokenizer, 3):
        with pytest.raises(TypeError, match="derived from Tokenizer"):
            tokenizers.register(cls)  # type: ignore[type-var]


def test_asset_names_need_no_tokenizer() -> None:
    assert tokenizers.asset_names({"name": "sentencepiece"}) == ("model",)
    assert tokenizers.asset_names("whitespace") == ()
    with pytest.raises(ValueError, match="Received: 'words'"):
        tokenizers.asset_names("words")
