"""One token for each character."""

from collections.abc import Iterable

from kseq.data.tokenizers.base import Tokenizer


class CharacterTokenizer(Tokenizer):
    """Makes every character a token, white space included, and joins without spaces.

    A character is a Unicode code point, and nothing is normalized: a letter followed by
    a combining accent gives two tokens. Lower-casing comes before splitting, so every
    token is a single character even where lower-casing adds one ("İ" becomes "i" and a
    combining dot).

    Args:
        lower_case: bool, whether to lower-case the texts. Default: False.

    Example:
        >>> from kseq.data import CharacterTokenizer
        >>> CharacterTokenizer().tokenize("a b")
        ['a', ' ', 'b']
    """

    name = "characters"

    def tokenize(self, text: str) -> list[str]:
        return list(text.lower() if self.lower_case else text)

    def detokenize(self, tokens: Iterable[str]) -> str:
        return "".join(tokens)
