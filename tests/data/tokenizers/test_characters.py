from data.tokenizers.texts import any_text
from hypothesis import given

from kseq.data import CharacterTokenizer


def test_each_character_is_a_token_after_lower_casing() -> None:
    tokens = CharacterTokenizer(lower_case=True).tokenize("\u0130x")
    assert tokens == ["i", "\u0307", "x"]


@given(any_text)
def test_characters_restore_any_text(text: str) -> None:
    tokenizer = CharacterTokenizer()
    assert tokenizer.detokenize(tokenizer.tokenize(text)) == text
