"""The tokenizer and detokenizer of the Moses toolkit."""

import re
from collections.abc import Iterable
from typing import Any

from kseq.config.checks import check_boolean
from kseq.data.tokenizers.base import Tokenizer, import_library


class MosesTokenizer(Tokenizer):
    """Tokenizes with the rules of the Moses toolkit, and joins with its detokenizer.

    The rules see the text in its original case; the tokens are lower-cased afterwards.
    A language without its own rules gets the general ones, with English abbreviations.
    Control characters are dropped, and a combining accent becomes a token of its own:
    compose accented letters first (NFC).

    Args:
        language: str, the code of a language, two or three lower-case letters.
        escape: bool, whether `& | < > ' " [ ]` become entities such as `&amp;` in
            tokens, and characters again in detokenized texts. Default: False.
        lower_case: bool, whether to lower-case the tokens. Default: False.

    Raises:
        ImportError: if sacremoses is missing.
        TypeError: if an argument has the wrong type.
        ValueError: if `language` is not such a code.

    Example:
        >>> from kseq.data import MosesTokenizer
        >>> tokenizer = MosesTokenizer("en")
        >>> tokenizer.tokenize("Don't wait, Mr. Smith!")
        ['Don', "'t", 'wait', ',', 'Mr.', 'Smith', '!']
        >>> tokenizer.detokenize(["Don", "'t", "wait", ",", "Mr.", "Smith", "!"])
        "Don't wait, Mr. Smith!"

    Reference:
        [sacremoses](https://github.com/hplt-project/sacremoses), after the scripts of
        Koehn et al., 2007, "Moses: Open Source Toolkit for Statistical Machine
        Translation".
    """

    name = "moses"
    argument = "language"

    def __init__(
        self, language: str, *, escape: bool = False, lower_case: bool = False
    ) -> None:
        super().__init__(lower_case=lower_case)
        if not isinstance(language, str):
            raise TypeError(f"`language` must be a string. Received: {language!r}.")
        # sacremoses treats any other string as a language without rules.
        if not re.fullmatch("[a-z]{2,3}", language):
            raise ValueError(
                "`language` must be a code of two or three lower-case letters, such as "
                f"'de'. Received: {language!r}."
            )
        self._language = language
        self._escape = check_boolean("escape", escape)
        sacremoses = import_library("sacremoses", "sacremoses", "MosesTokenizer")
        self._tokenizer = sacremoses.MosesTokenizer(lang=language)
        self._detokenizer = sacremoses.MosesDetokenizer(lang=language)

    @property
    def language(self) -> str:
        """The code of the language."""
        return self._language

    @property
    def escape(self) -> bool:
        """Whether tokens hold entities in place of special characters."""
        return self._escape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "language": self.language,
            "escape": self.escape,
        }

    def tokenize(self, text: str) -> list[str]:
        tokens: list[str] = self._tokenizer.tokenize(text, escape=self.escape)
        return [token.lower() for token in tokens] if self.lower_case else tokens

    def detokenize(self, tokens: Iterable[str]) -> str:
        return str(self._detokenizer.detokenize(list(tokens), unescape=self.escape))
