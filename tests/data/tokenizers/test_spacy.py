import sys

import pytest

from kseq.data import SpacyTokenizer


def test_white_space_is_no_token_and_tokens_are_joined_by_one_space() -> None:
    tokenizer = SpacyTokenizer("de")
    tokens = tokenizer.tokenize("  Er geht,\n\t aber\u00a0nicht z.B. allein! ")
    assert tokens == ["Er", "geht", ",", "aber", "nicht", "z.B.", "allein", "!"]
    assert tokenizer.detokenize(tokens) == "Er geht , aber nicht z.B. allein !"


def test_other_codes_of_a_language_make_the_same_tokenizer() -> None:
    assert SpacyTokenizer("ger") == SpacyTokenizer("de")


@pytest.mark.parametrize("language", ["quatsch", "", "de:x", "../de"])
def test_an_unknown_language_raises_an_error_with_alternatives(language: str) -> None:
    with pytest.raises(ValueError, match=r"de, .* fr, .*'xx' .*moses:LANGUAGE") as it:
        SpacyTokenizer(language)
    assert repr(language) in str(it.value)


def test_a_language_that_needs_another_library_raises_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pythainlp", None)
    monkeypatch.setitem(sys.modules, "pythainlp.tokenize", None)
    with pytest.raises(ImportError, match=r"'th'.*PyThaiNLP"):
        SpacyTokenizer("th")
