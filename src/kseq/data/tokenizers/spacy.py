"""The rule-based tokenizers of spaCy."""

import pkgutil
import threading
from collections.abc import Iterable
from typing import Any

from kseq.data.tokenizers.base import Tokenizer, import_library, replace_surrogates


class SpacyTokenizer(Tokenizer):
    """Tokenizes with spaCy's rules for a language, and joins with one space.

    Only the rules of the installed spaCy are used, so nothing is downloaded. They see
    the text in its original case; the tokens are lower-cased afterwards. White space
    gives no tokens.

    `detokenize` leaves the text tokenized (`"Hello , world !"`), because spaCy has no
    detokenizer. Compare such outputs with references that were tokenized in the same
    way, and report this with the score. Where outputs must read as ordinary text, use
    `MosesTokenizer` or `SentencePieceTokenizer`.

    Args:
        language: str, spaCy's code of a language, such as `"de"`, or `"xx"` for rules
            that many languages share.
        lower_case: bool, whether to lower-case the tokens. Default: False.

    Raises:
        ImportError: if spaCy is missing, or a library that it needs for the language.
        ValueError: if spaCy lacks the language.

    Example:
        >>> from kseq.data import SpacyTokenizer
        >>> tokenizer = SpacyTokenizer("en")
        >>> tokenizer.tokenize("Don't wait, Mr. Smith!")
        ['Do', "n't", 'wait', ',', 'Mr.', 'Smith', '!']
        >>> tokenizer.detokenize(["wait", ",", "Mr."])
        'wait , Mr.'

    Reference:
        [spaCy's tokenizer](https://spacy.io/usage/linguistic-features#tokenization).
    """

    name = "spacy"
    reversible = False
    argument = "language"

    def __init__(self, language: str, *, lower_case: bool = False) -> None:
        super().__init__(lower_case=lower_case)
        if not isinstance(language, str):
            raise TypeError(f"`language` must be a string. Received: {language!r}.")
        spacy = import_library("spacy", "spaCy", "SpacyTokenizer")
        try:
            blank = spacy.blank(language)
        except ImportError as error:
            languages = _spacy_languages()
            if language in languages:
                reason = " ".join(str(error).split())
                raise ImportError(
                    f"spaCy needs another library to tokenize {language!r}: {reason}"
                ) from error
            raise ValueError(
                f"`language` must be one of spaCy's: {', '.join(languages)}. "
                f"Received: {language!r}; 'xx' has rules that many languages share, "
                "and 'moses:LANGUAGE' and 'sentencepiece:SIZE' tokenize any language."
            ) from error
        # spaCy also accepts "ger" and "deu" for "de".
        self._language = str(blank.lang)
        self._rules = blank.tokenizer
        # The rules cache the words they have seen.
        self._lock = threading.Lock()

    @property
    def language(self) -> str:
        """The code of the language."""
        return self._language

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "language": self.language}

    def tokenize(self, text: str) -> list[str]:
        with self._lock:
            document = self._rules(replace_surrogates(text))
            tokens = [token.text for token in document if not token.is_space]
        return [token.lower() for token in tokens] if self.lower_case else tokens

    def detokenize(self, tokens: Iterable[str]) -> str:
        return " ".join(tokens)


def _spacy_languages() -> list[str]:
    import spacy.lang

    return sorted(
        module.name
        for module in pkgutil.iter_modules(spacy.lang.__path__)
        if module.ispkg
    )
