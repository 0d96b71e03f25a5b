"""Tokenizers cut and join, are made by name, and are trained where that is needed."""

import copy
import json
import logging
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from kseq.data import (
    CharacterTokenizer,
    MosesTokenizer,
    SentencePieceTokenizer,
    SpacyTokenizer,
    Tokenizer,
    WhitespaceTokenizer,
    tokenizers,
)

TEXTS = [
    "The cat sat on the mat.",
    "The dog sat on the log, didn't it?",
    "A cat and a dog: that's all!",
] * 4
SIZE = 40
IDENTIFIERS: list[Any] = [
    "whitespace",
    "characters",
    "spacy:en",
    "moses:en",
    {"name": "moses", "language": "en", "escape": True},
    f"sentencepiece:{SIZE}",
    f"bpe:{SIZE}",
]
# Anything that Python can hold, lone surrogates too.
anything = st.text(st.characters(), max_size=20)


@pytest.fixture(scope="module")
def ready() -> dict[tuple[str, bool], Tokenizer]:
    """A tokenizer for each identifier, with and without lower-casing."""
    return {
        (str(identifier), lower_case): tokenizers.train(identifier, TEXTS, lower_case)
        for identifier in IDENTIFIERS
        for lower_case in (False, True)
    }


every_tokenizer = pytest.mark.parametrize(
    "identifier", [str(name) for name in IDENTIFIERS]
)
either_case = pytest.mark.parametrize("lower_case", [False, True])


@given(anything)
def test_words_are_joined_by_one_space(text: str) -> None:
    tokenizer = WhitespaceTokenizer()
    assert tokenizer.join(tokenizer.cut(text)) == " ".join(text.split())


@given(anything)
def test_characters_lose_nothing(text: str) -> None:
    tokenizer = CharacterTokenizer()
    assert tokenizer.join(tokenizer.cut(text)) == text


@given(st.lists(anything.filter(lambda word: word.split() == [word]), max_size=5))
def test_words_are_cut_where_they_were_joined(words: list[str]) -> None:
    tokenizer = WhitespaceTokenizer()
    assert tokenizer.cut(tokenizer.join(words)) == words


@every_tokenizer
@either_case
@given(text=anything)
def test_any_text_can_be_cut_and_joined(
    ready: Any, identifier: str, lower_case: bool, text: str
) -> None:
    tokenizer = ready[identifier, lower_case]
    tokens = tokenizer.cut(text)
    assert all(isinstance(token, str) and token for token in tokens)
    assert isinstance(tokenizer.join(tokens), str)


@every_tokenizer
def test_lower_case_lowers_every_token(ready: Any, identifier: str) -> None:
    kept = " ".join(ready[identifier, False].cut("The Cat"))
    lowered = " ".join(ready[identifier, True].cut("The Cat"))
    assert kept != kept.lower()
    assert lowered == lowered.lower()
    assert ready[identifier, True].lower_case is True
    assert ready[identifier, False].lower_case is False


@every_tokenizer
def test_nothing_is_normalised(ready: Any, identifier: str) -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    tokenizer = tokenizers.train(
        f"{identifier.split(':')[0]}:{SIZE}"
        if identifier.startswith(("bpe", "sentencepiece"))
        else ready[identifier, False],
        [*TEXTS, composed, decomposed, "\u00bd"],
    )
    for text in (composed, decomposed, "\u00bd"):
        # Moses cuts the accent off, but keeps it.
        assert tokenizer.join(tokenizer.cut(text)).replace(" ", "") == text


@every_tokenizer
@either_case
def test_config_and_assets_make_the_same_tokenizer(
    ready: Any, identifier: str, lower_case: bool
) -> None:
    tokenizer = ready[identifier, lower_case]
    config = json.loads(json.dumps(tokenizer.get_config()))
    for again in (
        tokenizers.get(config, tokenizer.assets),
        pickle.loads(pickle.dumps(tokenizer)),
        copy.deepcopy(tokenizer),
    ):
        assert again is not tokenizer
        assert again == tokenizer
        assert hash(again) == hash(tokenizer)
        assert again.cut(TEXTS[1]) == tokenizer.cut(TEXTS[1])
        assert repr(again) == repr(tokenizer)


def test_tokenizers_that_differ_are_not_equal(ready: Any) -> None:
    made = [*ready.values(), MosesTokenizer("de"), SpacyTokenizer("de")]
    for first, tokenizer in enumerate(made):
        assert [other for other in made if other == tokenizer] == [made[first]]
    assert tokenizers.get("whitespace") != "whitespace"
    assert len(set(made)) == len(made)


@every_tokenizer
def test_threads_may_share_a_tokenizer(ready: Any, identifier: str) -> None:
    tokenizer = tokenizers.get(
        ready[identifier, False].get_config(), ready[identifier, False].assets
    )
    texts = [f"The cat {i} sat, {i * i} mats." for i in range(200)]
    expected = [ready[identifier, False].cut(text) for text in texts]
    found: list[Any] = [None] * 4

    def work(place: int) -> None:
        found[place] = [tokenizer.cut(text) for text in texts]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


@every_tokenizer
def test_unk_stays_a_token_when_joined(ready: Any, identifier: str) -> None:
    tokenizer = ready[identifier, False]
    assert "<unk>" in tokenizer.join([*tokenizer.cut("The cat"), "<unk>"])


def test_lower_casing_may_add_a_character_and_each_is_a_token() -> None:
    tokens = CharacterTokenizer(lower_case=True).cut("\u0130x")
    assert tokens == ["i", "\u0307", "x"]


def test_spacy_gives_no_white_space_and_joins_by_one_space() -> None:
    tokenizer = SpacyTokenizer("de")
    tokens = tokenizer.cut("  Er geht,\n\t aber\u00a0nicht z.B. allein! ")
    assert tokens == ["Er", "geht", ",", "aber", "nicht", "z.B.", "allein", "!"]
    assert tokenizer.join(tokens) == "Er geht , aber nicht z.B. allein !"


def test_rules_see_the_case_before_it_is_lowered() -> None:
    text = "Dr. Roe met Mr. Poe."
    for cls in (SpacyTokenizer, MosesTokenizer):
        lowered = cls("en", lower_case=True).cut(text)
        assert lowered == [token.lower() for token in cls("en").cut(text)]
        assert "mr." in lowered


def test_spacy_knows_a_language_by_one_code() -> None:
    assert SpacyTokenizer("ger") == SpacyTokenizer("de")


@pytest.mark.parametrize("language", ["quatsch", "", "de:x", "../de"])
def test_a_language_that_spacy_lacks_is_refused_with_a_way_out(language: str) -> None:
    with pytest.raises(ValueError, match=r"de, .* fr, .*'xx' .*moses:LANGUAGE") as it:
        SpacyTokenizer(language)
    assert repr(language) in str(it.value)


def test_a_language_that_needs_another_library_says_which(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pythainlp", None)
    monkeypatch.setitem(sys.modules, "pythainlp.tokenize", None)
    with pytest.raises(ImportError, match=r"'th'.*PyThaiNLP"):
        SpacyTokenizer("th")


def test_moses_detokenizes() -> None:
    tokenizer = MosesTokenizer("en")
    text = 'He said: "Don\'t go, Mr. Smith" & left (today).'
    tokens = tokenizer.cut(text)
    assert tokens[:6] == ["He", "said", ":", '"', "Don", "'t"]
    assert tokenizer.join(tokens) == text


def test_moses_escapes_only_where_asked() -> None:
    text = "a & b's"
    assert MosesTokenizer("en").cut(text) == ["a", "&", "b", "'s"]
    escaping = MosesTokenizer("en", escape=True)
    assert escaping.cut(text) == ["a", "&amp;", "b", "&apos;s"]
    assert escaping.join(escaping.cut(text)) == text


@pytest.mark.parametrize("language", ["german", "DE", "", "d", "de:x"])
def test_moses_refuses_what_is_no_code_of_a_language(language: str) -> None:
    with pytest.raises(ValueError, match="two or three lower-case letters"):
        MosesTokenizer(language)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_pieces_join_to_the_text_they_were_cut_from(kind: str) -> None:
    tokenizer = SentencePieceTokenizer.train(TEXTS, SIZE, kind)
    for text in TEXTS:
        tokens = tokenizer.cut(text)
        assert set(tokens) <= set(tokenizer.pieces)
        assert tokenizer.join(tokens) == text
    assert 20 < len(tokenizer.pieces) == len(set(tokenizer.pieces)) <= SIZE
    assert len(tokenizer.cut(TEXTS[0])) < len(TEXTS[0])


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_same_texts_give_the_same_model(kind: str) -> None:
    model = SentencePieceTokenizer.train(TEXTS, SIZE, kind).model
    assert SentencePieceTokenizer.train(iter(TEXTS), SIZE, kind).model == model
    assert SentencePieceTokenizer.train(TEXTS, SIZE - 14, kind).model != model


def test_white_space_of_any_kind_is_one_space_to_pieces() -> None:
    tokenizer = SentencePieceTokenizer.train(TEXTS, SIZE)
    tokens = tokenizer.cut("\tThe\u00a0 cat\n")
    assert tokens == tokenizer.cut("The cat")
    assert tokenizer.join(tokens) == "The cat"
    assert tokenizer.cut(" \n") == []


def test_what_has_no_piece_is_unknown() -> None:
    tokenizer = SentencePieceTokenizer.train(TEXTS, SIZE)
    assert tokenizer.cut("\u8a9e\u65e5")[-1] == "<unk>"
    assert tokenizer.join(["▁", "a", "<unk>", "▁"]) == "a<unk> "


def test_rare_characters_may_be_left_out() -> None:
    texts = [*["ab ba"] * 1000, "z"]
    assert "z" in "".join(SentencePieceTokenizer.train(texts, 9).pieces)
    tokenizer = SentencePieceTokenizer.train(texts, 9, character_coverage=0.999)
    assert "z" not in "".join(tokenizer.pieces)
    assert "<unk>" in tokenizer.cut("z")


def test_a_small_corpus_gives_fewer_pieces_than_asked_for() -> None:
    for kind in ("unigram", "bpe"):
        pieces = SentencePieceTokenizer.train(["ab ab"], 1000, kind).pieces
        assert {"a", "b", "▁"} <= set(pieces)
        assert len(pieces) < 10


def test_a_long_text_is_learned_from_too() -> None:
    words = [f"ab{i % 7}" for i in range(5_000)]
    for kind in ("unigram", "bpe"):
        whole = SentencePieceTokenizer.train([" ".join(words)], 20, kind)
        assert whole.pieces == SentencePieceTokenizer.train(words, 20, kind).pieces


@pytest.mark.parametrize(
    ("texts", "arguments", "error", "message"),
    [
        ([], {}, ValueError, "`texts` must hold a text that is not empty"),
        (["", " \n"], {}, ValueError, "`texts` must hold a text that is not empty"),
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
def test_bad_training_is_refused_by_name(
    texts: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SentencePieceTokenizer.train(texts, **{"size": 9, **arguments})


def test_a_size_that_is_just_enough_will_do() -> None:
    assert set(SentencePieceTokenizer.train(["abc"], 4).pieces) == {"▁", "a", "b", "c"}


def test_an_error_of_the_texts_comes_out_as_it_is() -> None:
    def texts() -> Iterator[str]:
        yield "a b"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        SentencePieceTokenizer.train(texts(), 9)


def test_training_is_silent_unless_debugging(
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
def test_what_is_no_model_is_refused(model: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="`model` must be"):
        SentencePieceTokenizer(model)


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
        ({"name": "words"}, ValueError, f"{CHOICES}.*must be registered"),
        ({"language": "de"}, ValueError, CHOICES),
        (None, TypeError, f"{CHOICES}.*None of type NoneType"),
        (WhitespaceTokenizer, TypeError, CHOICES),
        ("spacy", ValueError, "needs a language: 'spacy:LANGUAGE'"),
        ("moses:", ValueError, "needs a language: 'moses:LANGUAGE'"),
        ("bpe", ValueError, "needs a size: 'bpe:SIZE'"),
        ("sentencepiece", ValueError, "needs a size: 'sentencepiece:SIZE'"),
        ("bpe:many", ValueError, "a size in figures, as in 'bpe:8000'"),
        ("bpe:-5", ValueError, "a size in figures"),
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
def test_what_names_no_tokenizer_is_refused(
    identifier: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        tokenizers.get(identifier)


@pytest.mark.parametrize(
    "identifier",
    ["bpe:8000", "sentencepiece:8000", {"name": "bpe", "size": 8000}],
)
def test_an_untrained_tokenizer_is_refused_with_the_way_out(identifier: Any) -> None:
    with pytest.raises(ValueError, match=r"trained .* first.*tokenizers\.train"):
        tokenizers.get(identifier)


def test_superfluous_assets_are_refused() -> None:
    for identifier in ("whitespace", "bpe:9", WhitespaceTokenizer()):
        with pytest.raises(ValueError, match=r"assets.*Received: \['model'\]"):
            tokenizers.get(identifier, {"model": b""})


def test_texts_are_read_once_where_needed_and_else_not_at_all() -> None:
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


def test_the_case_of_a_name_is_chosen_beside_it() -> None:
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
def test_a_case_that_contradicts_a_tokenizer_is_refused(identifier: Any) -> None:
    with pytest.raises(ValueError, match="`lower_case` must agree"):
        tokenizers.train(identifier, TEXTS, lower_case=True)


@pytest.mark.parametrize(
    ("library", "make"),
    [
        ("spacy", lambda: SpacyTokenizer("de")),
        ("sacremoses", lambda: MosesTokenizer("de")),
        ("sentencepiece", lambda: SentencePieceTokenizer(b"model")),
        ("sentencepiece", lambda: SentencePieceTokenizer.train(["a"], 9)),
    ],
)
def test_a_missing_library_gives_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, library: str, make: Any
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"pip install 'kseq\[text\]'$") as error:
        make()
    assert "\n" not in str(error.value)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> type[Tokenizer]:
    """A tokenizer of a user's, known for the time of a test."""
    monkeypatch.setattr(tokenizers, "_TOKENIZERS", dict(tokenizers._TOKENIZERS))

    class Separated(Tokenizer):
        name = "separated"
        argument = "separator"

        def __init__(self, separator: str, *, lower_case: bool = False) -> None:
            super().__init__(lower_case=lower_case)
            self.separator = separator

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "separator": self.separator}

        def cut(self, text: str) -> list[str]:
            return text.split(self.separator)

        def join(self, tokens: Any) -> str:
            return self.separator.join(tokens)

    return Separated


def test_a_registered_tokenizer_is_known_by_its_name(own: Any) -> None:
    with pytest.raises(ValueError, match="Received: 'separated'"):
        tokenizers.get("separated:,")
    assert tokenizers.register(own) is own
    assert tokenizers.get("separated:,") == own(",")
    assert tokenizers.get(own(";").get_config()).cut("a;b") == ["a", "b"]
    with pytest.raises(ValueError, match="'separated:SEPARATOR'"):
        tokenizers.get("words")
    tokenizers.register(own)


def test_a_bad_registration_is_refused(own: Any) -> None:
    for name in ("whitespace", "bpe", "a:b"):
        own.name = name
        with pytest.raises(ValueError, match=f"`name` must .*Received: '{name}'"):
            tokenizers.register(own)
    for cls in (dict, Tokenizer, 3):
        with pytest.raises(TypeError, match="derived from Tokenizer"):
            tokenizers.register(cls)  # type: ignore[type-var]


def test_assets_are_named_without_a_tokenizer() -> None:
    assert tokenizers.asset_names({"name": "sentencepiece"}) == ("model",)
    assert tokenizers.asset_names("whitespace") == ()
    with pytest.raises(ValueError, match="Received: 'words'"):
        tokenizers.asset_names("words")


def test_a_reference_takes_the_form_of_outputs() -> None:
    text = "Don't wait, Mr. Smith!"
    assert WhitespaceTokenizer().as_joined(text) == text
    assert MosesTokenizer("en", lower_case=True).as_joined(text) == text.lower()
    spacy = SpacyTokenizer("en", lower_case=True)
    assert spacy.as_joined(text) == "do n't wait , mr. smith !"
