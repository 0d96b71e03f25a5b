"""Tokens separated by white space."""

from collections.abc import Iterable

from kseq.data.tokenizers.base import Tokenizer


class WhitespaceTokenizer(Tokenizer):
    """Splits at white space of any kind and length, and joins with one space.

    Args:
        lower_case: bool, whether to lower-case the tokens. Default: False.

    Example:
        >>> from kseq.data import WhitespaceTokenizer
        >>> WhitespaceTokenizer(lower_case=True).tokenize("Guten  Tag, Welt!")
        ['guten', 'tag,', 'welt!']
    """

    name = "whitespace"

    def tokenize(self, text: str) -> list[str]:
        return (text.lower() if self.lower_case else text).split()

    def detokenize(self, tokens: Iterable[str]) -> str:
        return " ".join(tokens)
