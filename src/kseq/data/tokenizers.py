"""Tokenizers: how a text is cut into tokens, and how tokens make a text again."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import importlib
import inspect
import io
import json
import logging
import pkgutil
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, ClassVar, TypeVar

from kseq.config.checks import check_boolean, check_integer, check_number, stream_texts
from kseq.progress import announced, progress

Assets = Mapping[str, bytes]
# A text that holds half of a surrogate pair is no Unicode text, and C++ refuses it.
_SURROGATES = re.compile("[\ud800-\udfff]")
# The longest line that SentencePiece learns from, in bytes; it skips longer ones.
_LONGEST_LINE = 1 << 24
_WORDS_AT_ONCE = 100
# Training on fewer texts takes no time worth a line on the screen.
_MANY_TEXTS = 20_000


class Tokenizer(abc.ABC):
    """Cuts texts into tokens and joins tokens to texts.

    Two tokenizers of one class, config and assets are equal. A tokenizer never changes,
    can be pickled, and can be used by several threads at once.

    A tokenizer of your own derives from this class, gives `name`, `cut` and `join`,
    and extends `get_config` by the arguments of its constructor; `register` makes it
    known to `get`, so that what was saved with it can be loaded.

    Args:
        lower_case: bool, whether tokens are lower-cased. Defaults to False.

    Raises:
        TypeError: if `lower_case` is not a boolean.

    Example:
        >>> from kseq.data import tokenizers
        >>> @tokenizers.register
        ... class Commas(tokenizers.Tokenizer):
        ...     name = "commas"
        ...
        ...     def cut(self, text):
        ...         return [token for token in text.split(",") if token]
        ...
        ...     def join(self, tokens):
        ...         return ",".join(tokens)
        >>> tokenizers.get("commas").cut("a,b")
        ['a', 'b']
    """

    #: What `get` knows the tokenizer by.
    name: ClassVar[str]
    #: The constructor's argument that follows the name and a colon, if there is one.
    argument: ClassVar[str | None] = None
    #: The constructor's arguments that are bytes, which a config cannot hold.
    asset_names: ClassVar[tuple[str, ...]] = ()
    #: Whether `join` gives a text back as it was, but for case and white space.
    restores: ClassVar[bool] = True

    def __init__(self, *, lower_case: bool = False) -> None:
        self._lower_case = check_boolean("lower_case", lower_case)

    @abc.abstractmethod
    def cut(self, text: str) -> list[str]:
        """Cuts a text into tokens, and lower-cases them where asked to.

        Args:
            text: str.

        Returns:
            list of str, none of them empty.
        """

    @abc.abstractmethod
    def join(self, tokens: Iterable[str]) -> str:
        """Joins tokens to a text.

        Args:
            tokens: iterable of str; `<unk>` may be among them and stays as it is.

        Returns:
            str.
        """

    def as_joined(self, text: str) -> str:
        """Returns a reference in the form that joined outputs have.

        Args:
            text: str.

        Returns:
            str: the text itself, in lower case where tokens are; of a tokenizer that
            does not restore texts, its tokens, joined.
        """
        if self.restores:
            return text.lower() if self.lower_case else text
        return self.join(self.cut(text))

    @property
    def lower_case(self) -> bool:
        """Whether tokens are lower-cased."""
        return self._lower_case

    @property
    def assets(self) -> dict[str, bytes]:
        """The arguments of the constructor that are bytes, by name."""
        return {name: getattr(self, name) for name in self.asset_names}

    def get_config(self) -> dict[str, Any]:
        """Returns what `get` makes the tokenizer from, together with `assets`.

        Returns:
            dict that JSON can hold: `name` and the arguments of the constructor.
        """
        return {"name": self.name, "lower_case": self.lower_case}

    def __eq__(self, other: object) -> bool:
        """Returns whether both are of one class, config and assets."""
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return type(self) is type(other) and self._identity == other._identity

    def __hash__(self) -> int:
        """Returns a hash that agrees with `==`."""
        return hash(self._identity)

    def __repr__(self) -> str:
        """Returns the class and its arguments."""
        arguments = _arguments(self)
        if not self.lower_case:
            arguments.pop("lower_case", None)
        shown = [f"{key}={value!r}" for key, value in arguments.items()]
        shown += [f"{key}=<{len(data)} bytes>" for key, data in self.assets.items()]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> Any:
        """Pickles config and assets: what is made of them may not be picklable."""
        return _restore, (type(self), _arguments(self), self.assets)

    @property
    def _identity(self) -> tuple[Any, ...]:
        config = json.dumps(self.get_config(), sort_keys=True)
        return config, tuple(sorted(self.assets.items()))


class WhitespaceTokenizer(Tokenizer):
    """Cuts at white space, of any kind and length; joins by one space.

    Args:
        lower_case: bool, whether tokens are lower-cased. Defaults to False.

    Example:
        >>> from kseq.data import WhitespaceTokenizer
        >>> WhitespaceTokenizer(lower_case=True).cut("Guten  Tag, Welt!")
        ['guten', 'tag,', 'welt!']
    """

    name = "whitespace"

    def cut(self, text: str) -> list[str]:
        return (text.lower() if self.lower_case else text).split()

    def join(self, tokens: Iterable[str]) -> str:
        return " ".join(tokens)


class CharacterTokenizer(Tokenizer):
    """Makes a token of every character, white space too; joins by nothing.

    A character is a Unicode code point, and nothing is normalised: a letter that is
    followed by a combining accent is two tokens. The text is lower-cased before it is
    cut, so every token is one character also where lower-casing adds one ("İ" becomes
    "i" and a combining dot).

    Args:
        lower_case: bool, whether texts are lower-cased. Defaults to False.

    Example:
        >>> from kseq.data import CharacterTokenizer
        >>> CharacterTokenizer().cut("a b")
        ['a', ' ', 'b']
    """

    name = "characters"

    def cut(self, text: str) -> list[str]:
        return list(text.lower() if self.lower_case else text)

    def join(self, tokens: Iterable[str]) -> str:
        return "".join(tokens)


class SpacyTokenizer(Tokenizer):
    """Cuts by the rules that spaCy has for a language; joins by one space.

    The rules alone are used, so nothing is ever downloaded; they are those of the spaCy
    that is installed. They see the text in its own case, and the tokens are then
    lower-cased. White space is no token.

    Joined text stays tokenized (`"Hello , world !"`): where a space stood is lost, and
    spaCy has no way back. Compare it with references cut by the same tokenizer, and say
    so with the score; where outputs must read as ordinary text, use `MosesTokenizer` or
    `SentencePieceTokenizer`.

    Args:
        language: str, spaCy's code of a language, such as `"de"`, or `"xx"` for rules
            common to many.
        lower_case: bool, whether tokens are lower-cased. Defaults to False.

    Raises:
        ImportError: if spaCy is missing, or a library that it needs for the language.
        ValueError: if spaCy lacks the language.

    Example:
        >>> from kseq.data import SpacyTokenizer
        >>> tokenizer = SpacyTokenizer("en")
        >>> tokenizer.cut("Don't wait, Mr. Smith!")
        ['Do', "n't", 'wait', ',', 'Mr.', 'Smith', '!']
        >>> tokenizer.join(["wait", ",", "Mr."])
        'wait , Mr.'

    Reference:
        [spaCy's tokenizer](https://spacy.io/usage/linguistic-features#tokenization).
    """

    name = "spacy"
    restores = False
    argument = "language"

    def __init__(self, language: str, *, lower_case: bool = False) -> None:
        super().__init__(lower_case=lower_case)
        if not isinstance(language, str):
            raise TypeError(f"`language` must be a string. Received: {language!r}.")
        spacy = _library("spacy", "spaCy", "SpacyTokenizer")
        try:
            blank = spacy.blank(language)
        except ImportError as error:
            known = _spacy_languages()
            if language in known:
                reason = " ".join(str(error).split())
                raise ImportError(
                    f"spaCy needs another library to cut {language!r}: {reason}"
                ) from error
            raise ValueError(
                f"`language` must be one that spaCy has: {', '.join(known)}. "
                f"Received: {language!r}; 'xx' has rules common to many languages, and "
                "'moses:LANGUAGE' and 'sentencepiece:SIZE' cut any."
            ) from error
        # spaCy knows "de" as "ger" and "deu", too.
        self._language = str(blank.lang)
        self._rules = blank.tokenizer
        # The rules remember the words they have seen.
        self._lock = threading.Lock()

    @property
    def language(self) -> str:
        """The language's code."""
        return self._language

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "language": self.language}

    def cut(self, text: str) -> list[str]:
        with self._lock:
            found = self._rules(_without_surrogates(text))
            tokens = [token.text for token in found if not token.is_space]
        return [token.lower() for token in tokens] if self.lower_case else tokens

    def join(self, tokens: Iterable[str]) -> str:
        return " ".join(tokens)


class MosesTokenizer(Tokenizer):
    """Cuts by the rules of the Moses toolkit; joins by its detokenizer.

    The rules see the text in its own case, and the tokens are then lower-cased. For a
    language without rules of its own the general ones serve, with the abbreviations of
    English. Control characters are dropped, and a combining accent is cut from its
    letter: where accents are characters of their own, compose them first (NFC).

    Args:
        language: str, the code of a language, two or three lower-case letters.
        escape: bool, whether `& | < > ' " [ ]` become entities such as `&amp;` in
            tokens, and characters again when joined. Defaults to False.
        lower_case: bool, whether tokens are lower-cased. Defaults to False.

    Raises:
        ImportError: if sacremoses is missing.
        TypeError: if an argument has the wrong type.
        ValueError: if `language` is no such code.

    Example:
        >>> from kseq.data import MosesTokenizer
        >>> tokenizer = MosesTokenizer("en")
        >>> tokenizer.cut("Don't wait, Mr. Smith!")
        ['Don', "'t", 'wait', ',', 'Mr.', 'Smith', '!']
        >>> tokenizer.join(["Don", "'t", "wait", ",", "Mr.", "Smith", "!"])
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
        # Moses itself would take any other string for a language without rules.
        if not re.fullmatch("[a-z]{2,3}", language):
            raise ValueError(
                "`language` must be a code of two or three lower-case letters, such as "
                f"'de'. Received: {language!r}."
            )
        self._language = language
        self._escape = check_boolean("escape", escape)
        sacremoses = _library("sacremoses", "sacremoses", "MosesTokenizer")
        self._cutter = sacremoses.MosesTokenizer(lang=language)
        self._joiner = sacremoses.MosesDetokenizer(lang=language)

    @property
    def language(self) -> str:
        """The language's code."""
        return self._language

    @property
    def escape(self) -> bool:
        """Whether tokens hold entities for certain characters."""
        return self._escape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "language": self.language,
            "escape": self.escape,
        }

    def cut(self, text: str) -> list[str]:
        tokens: list[str] = self._cutter.tokenize(text, escape=self.escape)
        return [token.lower() for token in tokens] if self.lower_case else tokens

    def join(self, tokens: Iterable[str]) -> str:
        return str(self._joiner.detokenize(list(tokens), unescape=self.escape))


class SentencePieceTokenizer(Tokenizer):
    """Cuts words into pieces, by a SentencePiece model; joins them without loss.

    White space of any kind and length counts as one space, which is written `▁` in a
    piece. What the model has no piece for becomes `<unk>`. Texts are lower-cased
    before they are cut.

    Args:
        model: bytes, the content of a SentencePiece `.model` file; `train` makes one.
        lower_case: bool, whether texts are lower-cased. Defaults to False.

    Raises:
        ImportError: if sentencepiece is missing.
        TypeError: if an argument has the wrong type.
        ValueError: if `model` is no SentencePiece model.

    Example:
        >>> from kseq.data import SentencePieceTokenizer
        >>> texts = ["low lower lowest", "new newer newest"]
        >>> tokenizer = SentencePieceTokenizer.train(texts, size=18, kind="bpe")
        >>> tokenizer.cut("newest low")
        ['▁ne', 'west', '▁low']
        >>> tokenizer.join(["▁ne", "west", "▁low"])
        'newest low'

    Reference:
        [Kudo and Richardson, 2018](https://arxiv.org/abs/1808.06226).
    """

    name = "sentencepiece"
    asset_names = ("model",)

    def __init__(self, model: bytes, *, lower_case: bool = False) -> None:
        super().__init__(lower_case=lower_case)
        if not isinstance(model, bytes):
            raise TypeError(
                "`model` must be bytes, the content of a SentencePiece model, such as "
                "pathlib.Path('m.model').read_bytes(). Received: "
                f"{type(model).__name__}."
            )
        library = _library("sentencepiece", "sentencepiece", "SentencePieceTokenizer")
        self._model = model
        try:
            self._processor = library.SentencePieceProcessor(model_proto=model)
            size = self._processor.get_piece_size()
        except RuntimeError as error:
            raise ValueError(
                "`model` must be the content of a SentencePiece model. Received: "
                f"{len(model)} bytes that are none."
            ) from error
        if not size:
            raise ValueError(
                "`model` must be a SentencePiece model. Received: one without a piece."
            )
        self._by_id = tuple(
            "<unk>"
            if self._processor.is_unknown(index)
            else self._processor.id_to_piece(index)
            for index in range(size)
        )

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        size: int,
        kind: str = "unigram",
        *,
        character_coverage: float = 1.0,
        lower_case: bool = False,
    ) -> SentencePieceTokenizer:
        """Learns the pieces of some texts.

        The same texts in the same order give the same model: one thread does it, and
        nothing is drawn. All texts stay in memory meanwhile. Nothing is normalised
        but white space. SentencePiece's own log is shown where Python's logger `kseq`
        is set to DEBUG.

        Args:
            texts: iterable of str, read once.
            size: int, the number of pieces wanted, at most; texts that have not so
                many to learn give fewer.
            kind: str, `"unigram"` (a language model of pieces) or `"bpe"` (byte pair
                encoding: pairs of pieces merged by frequency). Defaults to
                `"unigram"`.
            character_coverage: float in (0, 1], the part of the characters seen that
                get a piece; the rarest beyond it become `<unk>`. For scripts with
                thousands of characters 0.9995 is usual. Defaults to 1.0.
            lower_case: bool, whether texts are lower-cased. Defaults to False.

        Returns:
            A `SentencePieceTokenizer`.

        Raises:
            ImportError: if sentencepiece is missing.
            TypeError: if an argument has the wrong type.
            ValueError: if `size` is below the number of characters that need a piece,
                if `texts` hold nothing, or if an argument is out of range.
        """
        wanted = UntrainedTokenizer(kind, size, character_coverage, lower_case)
        library = _library("sentencepiece", "sentencepiece", "SentencePieceTokenizer")
        raised: list[BaseException] = []
        bars = contextlib.ExitStack()
        stream = progress(
            stream_texts("texts", texts),
            "reading texts for a tokenizer",
            total=len(texts) if isinstance(texts, Sized) else None,
            unit="texts",
        )

        def lines() -> Iterator[str]:
            count = 0
            try:
                for text in stream:
                    count += 1
                    words = _spaced(text, lower_case).split(" ")
                    # No piece reaches beyond a word, so a text may come in parts; the
                    # time a long one takes would grow with the square of its length.
                    for start in range(0, len(words), _WORDS_AT_ONCE):
                        yield " ".join(words[start : start + _WORDS_AT_ONCE])
            # SentencePiece would make a RuntimeError of whatever is raised here.
            except BaseException as error:
                raised.append(error)
                raise
            if count > _MANY_TEXTS:
                # What follows may take minutes, and does not say how far it is.
                learning = f"learning {size} pieces from {count} texts"
                bars.enter_context(announced(learning))

        verbose = logging.getLogger("kseq").isEnabledFor(logging.DEBUG)
        model = io.BytesIO()
        try:
            with bars:
                library.SentencePieceTrainer.train(
                    sentence_iterator=lines(),
                    model_writer=model,
                    model_type=wanted.kind,
                    # `<unk>` comes on top; the vocabulary adds the other three.
                    vocab_size=wanted.size + 1,
                    hard_vocab_limit=False,
                    unk_id=0,
                    bos_id=-1,
                    eos_id=-1,
                    pad_id=-1,
                    character_coverage=wanted.character_coverage,
                    normalization_rule_name="identity",
                    max_sentence_length=_LONGEST_LINE,
                    num_threads=1,
                    minloglevel=0 if verbose else 2,
                )
        except RuntimeError as error:
            if raised:
                raise raised[0] from None
            raise _training_error(error, wanted) from error
        return cls(model.getvalue(), lower_case=lower_case)

    @property
    def model(self) -> bytes:
        """The content of the model's file."""
        return self._model

    @property
    def pieces(self) -> tuple[str, ...]:
        """All that `cut` may give but `<unk>`, in the order of the model.

        A vocabulary built from texts has the pieces that these were cut into;
        `Vocabulary(tokenizer.pieces, tokenizer)` has all.
        """
        processor = self._processor
        return tuple(
            piece
            for index, piece in enumerate(self._by_id)
            if not (
                processor.is_unknown(index)
                or processor.is_control(index)
                or processor.is_unused(index)
            )
        )

    def cut(self, text: str) -> list[str]:
        ids = self._processor.encode(_spaced(text, self.lower_case))
        return [self._by_id[index] for index in ids]

    def join(self, tokens: Iterable[str]) -> str:
        pieces: list[str] = []
        for token in tokens:
            # Whole, it is what SentencePiece shows as " ⁇ ".
            pieces += ["<", "unk>"] if token == "<unk>" else [token]
        return str(self._processor.decode(pieces))


@dataclasses.dataclass(frozen=True)
class UntrainedTokenizer:
    """A tokenizer that has still to learn its pieces.

    Args:
        kind: str, `"unigram"` or `"bpe"`.
        size: int, the number of pieces wanted, at most.
        character_coverage: float in (0, 1], the part of the characters seen that get a
            piece. Defaults to 1.0.
        lower_case: bool, whether texts are lower-cased. Defaults to False.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is out of range.

    Example:
        >>> from kseq.data import tokenizers
        >>> untrained = tokenizers.resolve("bpe:8")
        >>> untrained.size
        8
        >>> untrained.train(["a b ab"]).cut("abb")
        ['▁ab', 'b']
    """

    kind: str
    size: int
    character_coverage: float = 1.0
    lower_case: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("unigram", "bpe"):
            raise ValueError(
                f"`kind` must be 'unigram' or 'bpe'. Received: {self.kind!r}."
            )
        check_integer("size", self.size, 1)
        coverage = check_number("character_coverage", self.character_coverage)
        if not 0 < coverage <= 1:
            raise ValueError(
                "`character_coverage` must be above 0 and at most 1. Received: "
                f"{self.character_coverage}."
            )
        check_boolean("lower_case", self.lower_case)

    def train(self, texts: Iterable[str]) -> SentencePieceTokenizer:
        """Learns the pieces; see `SentencePieceTokenizer.train`.

        Args:
            texts: iterable of str, read once.

        Returns:
            A `SentencePieceTokenizer`.
        """
        return SentencePieceTokenizer.train(
            texts,
            self.size,
            self.kind,
            character_coverage=self.character_coverage,
            lower_case=self.lower_case,
        )


Identifier = str | Mapping[str, Any] | Tokenizer | UntrainedTokenizer

_TOKENIZERS: dict[str, type[Tokenizer]] = {
    cls.name: cls
    for cls in (
        WhitespaceTokenizer,
        CharacterTokenizer,
        SpacyTokenizer,
        MosesTokenizer,
        SentencePieceTokenizer,
    )
}
# The names of what is trained first, and how it is trained.
_TRAINED = {"sentencepiece": "unigram", "bpe": "bpe"}

_T = TypeVar("_T", bound=Tokenizer)


def register(cls: type[_T]) -> type[_T]:
    """Makes a tokenizer of your own known by its `name`; a class decorator.

    Args:
        cls: class, derived from `Tokenizer`, with a `name`.

    Returns:
        The class.

    Raises:
        TypeError: if it is no such class.
        ValueError: if a tokenizer of kseq has the name.
    """
    name = getattr(cls, "name", None)
    if not (isinstance(cls, type) and issubclass(cls, Tokenizer)) or not name:
        raise TypeError(
            "`cls` must be a class derived from Tokenizer, with a `name`. Received: "
            f"{cls!r}."
        )
    own = _TOKENIZERS.get(name)
    # A module that is read again, as in a notebook, may register its classes again.
    if name in _TRAINED or (own is not None and own.__module__ == __name__):
        raise ValueError(
            f"`name` must not be that of one of kseq's tokenizers. Received: {name!r}."
        )
    if ":" in name:
        raise ValueError(f"`name` must hold no colon. Received: {name!r}.")
    _TOKENIZERS[name] = cls
    return cls


def get(identifier: Identifier, assets: Assets | None = None) -> Tokenizer:
    """Returns a tokenizer by its name, its config or itself.

    Args:
        identifier: `"whitespace"`; `"characters"`; `"spacy:de"` or `"moses:de"`, with
            the code of a language; a dict of `name` and the arguments of the
            tokenizer's constructor, such as
            `{"name": "moses", "language": "de", "lower_case": True}`; or a `Tokenizer`.
        assets: dict of bytes or None, what a config cannot hold: `Tokenizer.assets`.
            Defaults to None.

    Returns:
        A `Tokenizer`.

    Raises:
        ImportError: if a library is missing.
        TypeError: if an argument has the wrong type.
        ValueError: if there is no such tokenizer, or if it must be trained first.

    Example:
        >>> from kseq.data import tokenizers
        >>> tokenizers.get("moses:de").cut("Guten Tag, z.B. Welt!")
        ['Guten', 'Tag', ',', 'z.B.', 'Welt', '!']
        >>> tokenizer = tokenizers.get({"name": "characters", "lower_case": True})
        >>> tokenizers.get(tokenizer.get_config(), tokenizer.assets) == tokenizer
        True
    """
    found = resolve(identifier, assets)
    if isinstance(found, UntrainedTokenizer):
        raise ValueError(
            f"`tokenizer` {identifier!r} must be trained on texts first. Use "
            "kseq.data.tokenizers.train(identifier, texts), or let Vocabulary.build, "
            "Vocabulary.from_files or from_pairs do it."
        )
    return found


def train(
    identifier: Identifier, texts: Iterable[str], lower_case: bool = False
) -> Tokenizer:
    """Returns a tokenizer that is ready, trained on texts where that is needed.

    Args:
        identifier: what `get` takes; or `"sentencepiece:8000"` or `"bpe:8000"`, with
            the number of pieces to learn; or a dict such as `{"name": "bpe", "size":
            8000, "character_coverage": 0.9995}`.
        texts: iterable of str, read once where the tokenizer must be trained, and
            else not at all.
        lower_case: bool, whether the tokenizer lower-cases. Defaults to False, as the
            identifier says.

    Returns:
        A `Tokenizer`.

    Raises:
        ImportError: if a library is missing.
        TypeError: if an argument has the wrong type.
        ValueError: if there is no such tokenizer, if `lower_case` is True and the
            tokenizer given does not lower-case, or if the texts do not suffice.

    Example:
        >>> from kseq.data import tokenizers
        >>> tokenizers.train("bpe:6", ["a b ab"], lower_case=True).cut("AB")
        ['▁ab']
        >>> tokenizers.train("whitespace", []).cut("a b")
        ['a', 'b']
    """
    found = resolve(identifier, lower_case=lower_case)
    return found.train(texts) if isinstance(found, UntrainedTokenizer) else found


def resolve(
    identifier: Identifier, assets: Assets | None = None, lower_case: bool = False
) -> Tokenizer | UntrainedTokenizer:
    """Returns what an identifier names: a tokenizer, or one that must be trained.

    Args:
        identifier: what `get` or `train` takes, or an `UntrainedTokenizer`.
        assets: dict of bytes or None, as for `get`. Defaults to None.
        lower_case: bool, as for `train`. Defaults to False.

    Returns:
        A `Tokenizer`, or an `UntrainedTokenizer`.

    Raises:
        ImportError: if a library is missing.
        TypeError: if an argument has the wrong type.
        ValueError: if there is no such tokenizer, or if `lower_case` contradicts it.
    """
    check_boolean("lower_case", lower_case)
    given = dict(assets or {})
    if isinstance(identifier, Tokenizer | UntrainedTokenizer):
        if given:
            raise ValueError(
                "`assets` must be left out where a tokenizer is given. Received: "
                f"{sorted(given)}."
            )
        if lower_case and not identifier.lower_case:
            raise _contradiction(identifier)
        return identifier
    config = _as_config(identifier)
    if lower_case and config.setdefault("lower_case", True) is not True:
        raise _contradiction(identifier)
    name = config.pop("name")
    if name in _TRAINED and (name not in _TOKENIZERS or "size" in config):
        maker: Any = UntrainedTokenizer
        names: tuple[str, ...] = ()
        fixed: dict[str, Any] = {"kind": _TRAINED[name]}
    else:
        maker, names, fixed = _TOKENIZERS[name], _TOKENIZERS[name].asset_names, {}
    # Bytes come as assets, never in a config; and the name decides on the kind.
    possible = set(inspect.signature(maker).parameters) - set(names) - set(fixed)
    if unknown := sorted(set(config) - possible):
        raise ValueError(
            f"`tokenizer` {name!r} takes the arguments {sorted(possible)}. Received: "
            f"{unknown} as well, in {identifier!r}."
        )
    if set(given) != set(names):
        raise ValueError(
            f"`tokenizer` {identifier!r} needs the assets {list(names)}. Received: "
            f"{sorted(given)}.{_way_to_train(name)}"
        )
    required = [
        key
        for key, parameter in inspect.signature(maker).parameters.items()
        if parameter.default is parameter.empty and key in possible
    ]
    if missing := [key for key in required if key not in config]:
        raise ValueError(
            f"`tokenizer` {name!r} needs the arguments {required}. Received: "
            f"{identifier!r} without {missing}."
        )
    found: Tokenizer | UntrainedTokenizer = maker(**config, **given, **fixed)
    return found


def asset_names(identifier: str | Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the assets that `get` needs for a tokenizer.

    Args:
        identifier: str or dict, a tokenizer's name or config.

    Returns:
        tuple of str, empty for most.

    Raises:
        TypeError: if `identifier` is of another type.
        ValueError: if there is no such tokenizer.

    Example:
        >>> from kseq.data import tokenizers
        >>> tokenizers.asset_names({"name": "sentencepiece"})
        ('model',)
    """
    cls = _TOKENIZERS.get(_as_config(identifier)["name"])
    return () if cls is None else cls.asset_names


def _as_config(identifier: Any) -> dict[str, Any]:
    """Returns the config that a name or a dict stands for; its name is a known one."""
    if isinstance(identifier, str):
        name, colon, value = identifier.partition(":")
        argument = _argument(name)
        if argument is None and colon:
            raise ValueError(f"{_choices()} Received: {identifier!r}.")
        if argument is not None and not value:
            raise ValueError(
                f"`tokenizer` {name!r} needs a {argument}: "
                f"'{name}:{argument.upper()}'. Received: {identifier!r}."
            )
        if argument != "size":
            return (
                {"name": name} if argument is None else {"name": name, argument: value}
            )
        if not (value.isascii() and value.isdecimal()):
            raise ValueError(
                f"`tokenizer` {name!r} needs a size in figures, as in '{name}:8000'. "
                f"Received: {identifier!r}."
            )
        return {"name": name, "size": int(value)}
    if not isinstance(identifier, Mapping):
        raise TypeError(
            f"{_choices()} Received: {identifier!r} of type "
            f"{type(identifier).__name__}."
        )
    config = dict(identifier)
    _argument(config.get("name"), identifier)
    return config


def _argument(name: Any, identifier: Any = None) -> str | None:
    """Returns what follows the colon after a name, or raises if there is no such."""
    if isinstance(name, str) and name in _TRAINED:
        return "size"
    if isinstance(name, str) and name in _TOKENIZERS:
        return _TOKENIZERS[name].argument
    received = name if identifier is None else identifier
    raise ValueError(
        f"{_choices()} Received: {received!r}; a tokenizer of your own must be "
        "registered first, by kseq.data.tokenizers.register."
    )


def _choices() -> str:
    names = [
        name if cls.argument is None else f"{name}:{cls.argument.upper()}"
        for name, cls in _TOKENIZERS.items()
        if name not in _TRAINED
    ]
    names += [f"{name}:SIZE" for name in _TRAINED]
    return (
        f"`tokenizer` must be one of {', '.join(map(repr, names))}, a dict of `name` "
        "and arguments, or a Tokenizer."
    )


def _way_to_train(name: str) -> str:
    if name not in _TRAINED:
        return ""
    return f" To train one, name it with a size, such as '{name}:8000'."


def _contradiction(identifier: Any) -> ValueError:
    return ValueError(
        "`lower_case` must agree with the tokenizer. Received: lower_case=True with "
        f"{identifier!r}, which keeps the case."
    )


def _arguments(tokenizer: Tokenizer) -> dict[str, Any]:
    config = tokenizer.get_config()
    return {key: value for key, value in config.items() if key != "name"}


def _restore(cls: type[Tokenizer], config: dict[str, Any], assets: Assets) -> Tokenizer:
    return cls(**{**config, **assets})


def _library(module: str, name: str, user: str) -> Any:
    """Imports an optional library, or says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ImportError(
            f"{user} needs {name}, which is not installed: pip install 'kseq[text]'"
        ) from error


def _spacy_languages() -> list[str]:
    import spacy.lang

    return sorted(
        module.name
        for module in pkgutil.iter_modules(spacy.lang.__path__)
        if module.ispkg
    )


def _without_surrogates(text: str) -> str:
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _spaced(text: str, lower_case: bool) -> str:
    """Returns what SentencePiece is to see of a text."""
    text = " ".join(_without_surrogates(text).split())
    return text.lower() if lower_case else text


def _training_error(error: RuntimeError, wanted: UntrainedTokenizer) -> Exception:
    """Returns SentencePiece's error in the words of our arguments."""
    message = str(error)
    if "sentences_.empty()" in message:
        return ValueError(
            "`texts` must hold a text that is not empty, to train a tokenizer on. "
            "Received: none."
        )
    too_small = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if too_small:
        return ValueError(
            f"`size` must be at least {int(too_small[1]) - 1}, a piece for each "
            f"character of the texts. Received: {wanted.size}; raise it, or lower "
            "`character_coverage` to leave out the rarest characters."
        )
    return RuntimeError(f"SentencePiece could not train a tokenizer: {message}")
