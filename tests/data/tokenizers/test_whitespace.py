import hypothesis.strategies as st
from data.tokenizers.texts import any_text
from hypothesis import given

from kseq.data import WhitespaceTokenizer


@given(any_text)
def test_words_are_joined_by_one_space(text: str) -> None:
    tokenizer = WhitespaceTokenizer()
    assert tokenizer.detokenize(tokenizer.tokenize(text)) == " ".join(text.split())


@given(st.lists(any_text.filter(lambda word: word.split() == [word]), max_size=5))
def test_joined_words_are_tokenized_back(words: list[str]) -> None:
    tokenizer = WhitespaceTokenizer()
    assert tokenizer.tokenize(tokenizer.detokenize(words)) == words
