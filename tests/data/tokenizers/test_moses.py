import pytest

from kseq.data import MosesTokenizer


def test_detokenizing_restores_the_text() -> None:
    tokenizer = MosesTokenizer("en")
    text = 'He said: "Don\'t go, Mr. Smith" & left (today).'
    tokens = tokenizer.tokenize(text)
    assert tokens[:6] == ["He", "said", ":", '"', "Don", "'t"]
    assert tokenizer.detokenize(tokens) == text


def test_special_characters_are_escaped_only_with_escape() -> None:
    text = "a & b's"
    assert MosesTokenizer("en").tokenize(text) == ["a", "&", "b", "'s"]
    escaping = MosesTokenizer("en", escape=True)
    assert escaping.tokenize(text) == ["a", "&amp;", "b", "&apos;s"]
    assert escaping.detokenize(escaping.tokenize(text)) == text


@pytest.mark.parametrize("language", ["german", "DE", "", "d", "de:x"])
def test_an_invalid_language_code_raises_an_error(language: str) -> None:
    with pytest.raises(ValueError, match="two or three lower-case letters"):
        MosesTokenizer(language)
