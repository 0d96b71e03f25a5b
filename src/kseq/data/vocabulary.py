"""Vocabularies: tokens <-> ids, JSON on disk."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from kseq.checks import check_boolean, check_integer, check_texts
from kseq.files import whole_file

PAD = 0
UNK = 1
START = 2
END = 3

PAD_TOKEN = "<pad>"
UNK_TOKEN = "<unk>"
START_TOKEN = "<s>"
END_TOKEN = "</s>"

SPECIAL_TOKENS = (PAD_TOKEN, UNK_TOKEN, START_TOKEN, END_TOKEN)
TOKENIZERS = ("whitespace", "characters")

Ids = npt.NDArray[np.int32]


class Vocabulary:
    """Tokens and their ids, and how a text is cut into tokens.

    The ids 0 to 3 belong to `<pad>`, `<unk>`, `<s>` and `</s>`; the ordinary tokens
    follow from 4 in the order given. A vocabulary never changes.

    Args:
        tokens: iterable of str, the ordinary tokens in order, without the four
            special ones.
        tokenizer: str, `"whitespace"` (words, joined back by one space) or
            `"characters"` (every character is a token, joined back by nothing).
            Defaults to `"whitespace"`.
        width: int or None, for characters only: texts are right-justified with spaces
            to so many characters before they are cut, and decoded texts are stripped
            of spaces. A space must be among the tokens. Defaults to None, texts as
            they are.

    Raises:
        TypeError: if a token is not a string.
        ValueError: if a token is empty, repeated or special, or is longer than one
            character where the tokenizer cuts into characters, or if `width` does not
            go with the rest.

    Example:
        >>> from kseq.data import Vocabulary
        >>> vocab = Vocabulary(["a", "b"])
        >>> vocab.encode(["b a", "a c a"])
        array([[5, 4, 3, 0],
               [4, 1, 4, 3]], dtype=int32)
        >>> vocab.decode([[5, 4, 3, 0]])
        ['b a']
    """

    def __init__(
        self,
        tokens: Iterable[str],
        tokenizer: str = "whitespace",
        width: int | None = None,
    ) -> None:
        self._tokenizer = _check_tokenizer("tokenizer", tokenizer)
        ordinary = check_texts("tokens", tokens)
        self._ids = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
        for token in ordinary:
            if token in SPECIAL_TOKENS:
                raise ValueError(
                    f"`tokens` must not hold the special token {token!r}; leave it "
                    "out, the vocabulary adds all four by itself."
                )
            if token in self._ids:
                raise ValueError(
                    f"`tokens` must not repeat a token. Received: {token!r} twice."
                )
            if not token:
                raise ValueError("`tokens` must not hold an empty string.")
            if tokenizer == "characters" and len(token) != 1:
                raise ValueError(
                    "`tokens` must be single characters when `tokenizer` is "
                    f"'characters'. Received: {token!r}; did you mean "
                    "tokenizer='whitespace'?"
                )
            self._ids[token] = len(self._ids)
        self._tokens = tuple(self._ids)
        self._width = None if width is None else check_integer("width", width, 1)
        if width is not None and (tokenizer != "characters" or " " not in self._ids):
            raise ValueError(
                "`width` needs tokenizer='characters' and a space among the tokens, to "
                f"justify texts with. Received: width={width}, tokenizer={tokenizer!r}."
            )

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        tokenizer: str = "whitespace",
        min_frequency: int = 1,
        max_size: int | None = None,
    ) -> Self:
        """Builds the vocabulary of some texts, by falling frequency.

        Tokens of one frequency stand in alphabetical order, so the ids depend on
        nothing but the texts.

        Args:
            texts: iterable of str.
            tokenizer: str, `"whitespace"` or `"characters"`. Defaults to
                `"whitespace"`.
            min_frequency: int, tokens seen less often are left out. Defaults to 1.
            max_size: int or None, the most ordinary tokens kept; the four special
                ones are not counted. Defaults to None, no limit.

        Returns:
            A `Vocabulary`.

        Raises:
            TypeError: if `texts` is not a list of strings.
            ValueError: if `tokenizer`, `min_frequency` or `max_size` is out of range.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary.build(["b a", "b c"]).tokens[4:]
            ('b', 'a', 'c')
        """
        _check_tokenizer("tokenizer", tokenizer)
        min_frequency = check_integer("min_frequency", min_frequency, 1)
        if max_size is not None:
            max_size = check_integer("max_size", max_size, 1)
        counts: Counter[str] = Counter()
        for text in check_texts("texts", texts):
            counts.update(_cut(text, tokenizer))
        for special in SPECIAL_TOKENS:
            # A word of a text that looks like a control token stays unknown.
            counts.pop(special, None)
        kept = [token for token, count in counts.items() if count >= min_frequency]
        kept.sort(key=lambda token: (-counts[token], token))
        return cls(kept[:max_size], tokenizer)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every token, special ones first: `tokens[id]` is the token of an id."""
        return self._tokens

    @property
    def tokenizer(self) -> str:
        """How a text is cut: `"whitespace"` or `"characters"`."""
        return self._tokenizer

    @property
    def width(self) -> int | None:
        """The characters that texts are right-justified to; None: as they are."""
        return self._width

    def __len__(self) -> int:
        """Returns the number of tokens, the four special ones included."""
        return len(self._tokens)

    def __contains__(self, token: object) -> bool:
        """Returns whether a token is in the vocabulary."""
        return token in self._ids

    def __iter__(self) -> Iterator[str]:
        """Iterates over all tokens in the order of their ids."""
        return iter(self._tokens)

    def __eq__(self, other: object) -> bool:
        """Returns whether both have the same tokens, ids, tokenizer and width."""
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        """Returns a hash that agrees with `==`."""
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[Any, ...]:
        return self._tokens, self._tokenizer, self._width

    def __repr__(self) -> str:
        """Returns a short description."""
        return f"<Vocabulary of {len(self)} tokens, tokenizer={self._tokenizer!r}>"

    def id(self, token: str) -> int:
        """Returns the id of a token; `vocab[token]` is the same.

        Args:
            token: str, an ordinary or a special token.

        Returns:
            int, its id.

        Raises:
            KeyError: if the vocabulary has no such token.
        """
        try:
            return self._ids[token]
        except KeyError:
            raise KeyError(
                f"the vocabulary of {len(self)} tokens has no token {token!r}"
            ) from None

    __getitem__ = id

    def names(self, ids: npt.ArrayLike) -> list[str]:
        """Returns the tokens of one row of ids, `</s>` too, for labels in a picture.

        Args:
            ids: integers of shape `(time,)`; padding ends them.

        Returns:
            list of str, a token for each id before the padding.

        Raises:
            ValueError: if an id is out of range, or the ids are more than one row.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary(["a", "b"]).names([5, 4, 3, 0])
            ['b', 'a', '</s>']
        """
        shape = np.shape(ids)
        if len(shape) != 1:
            raise ValueError(
                f"`ids` must be one row, of shape (time,). Received: shape {shape}."
            )
        (row,) = _as_id_array(np.asarray(ids)[None])
        if row.size and not 0 <= row.min() <= row.max() < len(self):
            raise ValueError(
                f"`ids` must lie in 0..{len(self) - 1}. Received ids from {row.min()} "
                f"to {row.max()}."
            )
        length = int((row == PAD).argmax()) if (row == PAD).any() else len(row)
        return [self._tokens[i] for i in row[:length]]

    def encode(
        self,
        texts: Iterable[str],
        strict: bool = False,
        max_length: int | None = None,
    ) -> Ids:
        """Turns texts into rows of ids, each ended by `</s>`, padded on the right.

        A control token that stands in a text as a word (`<s>`, `<pad>`, ...) is a
        word unlike any other and becomes `<unk>`; a text cannot forge one.

        Args:
            texts: iterable of str.
            strict: bool, whether an unknown token is an error rather than `<unk>`.
                Defaults to False.
            max_length: int or None, the longest row allowed, `</s>` included; longer
                texts are cut. Defaults to None, no limit.

        Returns:
            int32 array of shape `(batch, longest)`.

        Raises:
            TypeError: if `texts` is not a list of strings.
            ValueError: if a token is unknown and `strict` is True, if a text is longer
                than the vocabulary's `width`, or if `max_length` is below 1.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary(["a", "b"], tokenizer="characters").encode(["ab", "b"])
            array([[4, 5, 3],
                   [5, 3, 0]], dtype=int32)
        """
        check_boolean("strict", strict)
        if max_length is not None:
            max_length = check_integer("max_length", max_length, 1)
        limit = None if max_length is None else max_length - 1
        rows = []
        for text in check_texts("texts", texts):
            row = []
            for token in _cut(self._justified(text), self._tokenizer)[:limit]:
                index = self._ids.get(token, UNK)
                if index < len(SPECIAL_TOKENS):
                    if strict:
                        raise ValueError(
                            f"`texts` must hold tokens of the vocabulary alone. "
                            f"Received: {token!r} in {text!r}; leave it out or pass "
                            f"strict=False to read it as {UNK_TOKEN}."
                        )
                    index = UNK
                row.append(index)
            row.append(END)
            rows.append(row)
        ids = np.full((len(rows), max(map(len, rows), default=0)), PAD, np.int32)
        for padded, row in zip(ids, rows, strict=True):
            padded[: len(row)] = row
        return ids

    def _justified(self, text: str) -> str:
        if self._width is None:
            return text
        if len(text) > self._width:
            raise ValueError(
                f"`texts` must be of at most {self._width} characters, the width of "
                f"this vocabulary. Received: {text!r}, {len(text)} characters."
            )
        return text.rjust(self._width)

    def decode(self, ids: npt.ArrayLike) -> list[str]:
        """Turns rows of ids back into texts.

        A row ends at its first `</s>` or padding; `<s>` is left out.

        Args:
            ids: integers of shape `(batch, time)`, or `(batch, n, time)` as decoding
                returns them: then the first of the `n` hypotheses is read.

        Returns:
            list of `batch` strings.

        Raises:
            ValueError: if `ids` has another shape or dtype, or holds an id that the
                vocabulary does not have.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary(["a", "b"]).decode([[2, 4, 5, 3, 4], [5, 1, 0, 0, 0]])
            ['a b', 'b <unk>']
        """
        array = _as_id_array(ids)
        if array.ndim == 3:
            array = array[:, 0, :]  # (batch, time)
        bad = (array < 0) | (array >= len(self))
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(
                f"`ids` must lie in 0..{len(self) - 1}, the vocabulary's range. "
                f"Received: {array[row, column]} at row {row}, position {column}; "
                "was it made with another vocabulary?"
            )
        glue = " " if self._tokenizer == "whitespace" else ""
        # One column more than the array has, so that every row has an end.
        ends = np.ones((array.shape[0], array.shape[1] + 1), dtype=bool)
        ends[:, :-1] = (array == END) | (array == PAD)
        tokens = self._tokens
        texts = [
            glue.join([tokens[i] for i in row[:end] if i != START])
            for row, end in zip(
                array.tolist(), ends.argmax(axis=1).tolist(), strict=True
            )
        ]
        return texts if self._width is None else [text.strip(" ") for text in texts]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the vocabulary as JSON, token -> id, in UTF-8.

        The file appears whole or not at all. The tokenizer and the width are not
        stored in it.

        Args:
            path: str or path, the file to write; an older one is replaced.

        Raises:
            OSError: if the file cannot be written.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary(["a"]).save("vocab.json")
            >>> Vocabulary.load("vocab.json").tokens
            ('<pad>', '<unk>', '<s>', '</s>', 'a')
        """
        text = json.dumps(self._ids, ensure_ascii=False, indent=0) + "\n"
        with whole_file(path) as temporary:
            temporary.write_bytes(text.encode("utf-8"))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        tokenizer: str = "whitespace",
        width: int | None = None,
    ) -> Self:
        """Reads a vocabulary from a JSON file, token -> id.

        Args:
            path: str or path, the file to read.
            tokenizer: str, `"whitespace"` or `"characters"`. Defaults to
                `"whitespace"`.
            width: int or None, as in the constructor. Defaults to None.

        Returns:
            A `Vocabulary`.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it is not a vocabulary; the message names the file.
        """
        _check_tokenizer("tokenizer", tokenizer)
        name = os.fspath(path)
        with open(path, "rb") as file:
            data = file.read()
        try:
            pairs = json.loads(data.decode("utf-8"), object_pairs_hook=_Pairs)
        except ValueError as error:
            raise ValueError(f"{name} is not a JSON file in UTF-8: {error}.") from error
        try:
            return cls(_ordinary_tokens(pairs), tokenizer, width)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} is not a vocabulary: {error}") from error


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as read: it keeps the repeated keys that a dict would drop."""


def _ordinary_tokens(pairs: Any) -> list[str]:
    """Returns the ordinary tokens of a vocabulary file's pairs, in the order of ids."""
    if not isinstance(pairs, _Pairs):
        raise ValueError("it must hold one JSON object, token -> id.")
    by_id: dict[int, str] = {}
    seen = set()
    for token, index in pairs:
        if isinstance(index, bool) or not isinstance(index, int):
            raise ValueError(f"the id of {token!r} must be an integer, not {index!r}.")
        if token in seen:
            raise ValueError(f"the token {token!r} stands in it twice.")
        if index in by_id:
            raise ValueError(
                f"the tokens {by_id[index]!r} and {token!r} share the id {index}."
            )
        seen.add(token)
        by_id[index] = token
    for index, token in enumerate(SPECIAL_TOKENS):
        if by_id.get(index) != token:
            raise ValueError(
                f"the id {index} must belong to {token!r}, not to {by_id.get(index)!r}."
            )
    for index in range(len(by_id)):
        if index not in by_id:
            raise ValueError(
                f"its ids must run from 0 to {len(by_id) - 1} without a gap; "
                f"{index} is missing."
            )
    return [by_id[index] for index in range(len(SPECIAL_TOKENS), len(by_id))]


def _check_tokenizer(name: str, tokenizer: Any) -> str:
    """Returns the tokenizer's name, or raises an error that lists the choices."""
    if tokenizer not in TOKENIZERS:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, TOKENIZERS))}. "
            f"Received: {tokenizer!r}."
        )
    return str(tokenizer)


def _cut(text: str, tokenizer: str) -> list[str]:
    """Cuts a text into tokens."""
    return text.split() if tokenizer == "whitespace" else list(text)


def _as_id_array(ids: npt.ArrayLike) -> npt.NDArray[np.integer[Any]]:
    """Returns `ids` as an integer array of two or three dimensions, or raises."""
    wanted = "`ids` must be integers of shape (batch, time) or (batch, n, time)."
    try:
        array = np.asarray(ids)
    except ValueError:
        raise ValueError(
            f"{wanted} Received rows of unequal length; pad them with {PAD}."
        ) from None
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[1] == 0):
        hint = "; put a single row in a list" if array.ndim == 1 else ""
        raise ValueError(f"{wanted} Received: shape {array.shape}{hint}.")
    # An empty list of rows has no dtype of its own.
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{wanted} Received: dtype {array.dtype}.")
    return array.astype(np.int64, copy=False)
