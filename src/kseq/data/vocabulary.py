"""Vocabularies: the tokens of a side, their ids, and its tokenizer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from kseq.config.checks import check_boolean, check_integer, check_texts, stream_texts
from kseq.data import tokenizers, vocabulary_json
from kseq.data.corpora.lines import Path, check_files, read_lines
from kseq.data.token_frequencies import check_limits, frequent_tokens, read_files
from kseq.data.tokenizers import (
    CharacterTokenizer,
    Identifier,
    Tokenizer,
    UntrainedTokenizer,
)
from kseq.progress import progress
from kseq.special_tokens import (
    END,
    PAD,
    PAD_TOKEN,
    SPECIAL_TOKENS,
    START,
    UNK,
    UNK_TOKEN,
)

if TYPE_CHECKING:
    import keras

Ids = npt.NDArray[np.int32]


class Vocabulary:
    """Tokens, their ids, and the tokenizer that splits texts into tokens.

    The ids 0 to 3 belong to `<pad>`, `<unk>`, `<s>` and `</s>`. The ordinary tokens
    have the ids from 4 on, in the given order. A vocabulary is immutable.

    Args:
        tokens: iterable of str, the ordinary tokens in order, without the four special
            ones.
        tokenizer: an identifier as for `kseq.data.tokenizers.get`: `"whitespace"`
            (words, joined with one space), `"characters"` (every character is a token),
            `"spacy:de"`, `"moses:de"`, a dict, or a `Tokenizer`. Default:
            `"whitespace"`.
        width: int or None, the number of characters to which `encode` right-justifies
            texts with spaces. Requires the tokenizer `"characters"` and a space among
            the tokens. Spaces at the ends of texts are ignored, and decoded texts have
            none. An empty text stays empty. Default: None, no justification.

    Raises:
        ImportError: if a library that the tokenizer needs is missing.
        TypeError: if a token is not a string.
        ValueError: if the tokenizer is unknown; if a token is empty, repeated or
            special, or longer than one character with the tokenizer `"characters"`; or
            if `width` contradicts the other arguments.

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
        tokenizer: Identifier = "whitespace",
        width: int | None = None,
    ) -> None:
        self._tokenizer = tokenizers.get(tokenizer)
        characters = isinstance(self._tokenizer, CharacterTokenizer)
        ordinary = check_texts("tokens", tokens)
        self._ids = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
        for token in ordinary:
            if token in SPECIAL_TOKENS:
                raise ValueError(
                    f"`tokens` must not contain the special token {token!r}; leave it "
                    "out, the vocabulary adds all four itself."
                )
            if token in self._ids:
                raise ValueError(
                    f"`tokens` must not repeat a token. Received: {token!r} twice."
                )
            if not token:
                raise ValueError("`tokens` must not contain an empty string.")
            if characters and len(token) != 1:
                raise ValueError(
                    "`tokens` must be single characters when `tokenizer` is "
                    f"'characters'. Received: {token!r}; did you mean "
                    "tokenizer='whitespace'?"
                )
            self._ids[token] = len(self._ids)
        self._tokens = tuple(self._ids)
        self._width = None if width is None else check_integer("width", width, 1)
        if width is not None and not (characters and " " in self._ids):
            raise ValueError(
                "`width` needs tokenizer='characters' and a space among the tokens, to "
                f"justify texts with. Received: width={width}, tokenizer={tokenizer!r}."
            )

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        tokenizer: Identifier = "whitespace",
        min_frequency: int = 1,
        max_size: int | None = None,
        lower_case: bool = False,
        ties: str = "ascending",
    ) -> Self:
        """Builds a vocabulary from texts, the most frequent tokens first.

        Tokens of equal frequency are in alphabetical order, so the ids do not depend on
        the order of the texts. The texts are read one by one, and not held in memory.

        Args:
            texts: iterable of str.
            tokenizer: an identifier as for `kseq.data.tokenizers.train`: the names that
                the constructor takes; `"sentencepiece:8000"` or `"bpe:8000"`, which is
                first trained on the texts; a dict; or a `Tokenizer`. Default:
                `"whitespace"`.
            min_frequency: int, the minimum number of occurrences; rarer tokens are left
                out. Default: 1.
            max_size: int or None, the maximum number of ordinary tokens, not counting
                the four special ones. Default: None, no limit.
            lower_case: bool, whether the tokenizer lower-cases. Default: False, the
                tokenizer decides.
            ties: str, the alphabetical order of tokens of equal frequency:
                `"ascending"`, or `"descending"` as in Sockeye and SageMaker. Default:
                `"ascending"`.

        Returns:
            A `Vocabulary`.

        Raises:
            ImportError: if a library that the tokenizer needs is missing.
            TypeError: if `texts` is not a list of strings.
            ValueError: if `tokenizer`, `min_frequency`, `max_size` or `ties` is not
                valid, if `lower_case` contradicts `tokenizer`, or if a tokenizer must
                be trained and `texts` can be read only once.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary.build(["b a", "b c"]).tokens[4:]
            ('b', 'a', 'c')
            >>> Vocabulary.build(["b a", "b c"], ties="descending").tokens[4:]
            ('b', 'c', 'a')
            >>> Vocabulary.build(["ab ab abc"], tokenizer="bpe:6").encode(["abc ab"])
            array([[4, 5, 4, 3]], dtype=int32)
        """
        resolved = tokenizers.resolve(tokenizer, lower_case=lower_case)
        limits = check_limits(min_frequency, max_size, ties)
        stream = stream_texts("texts", texts)
        if isinstance(resolved, UntrainedTokenizer):
            if isinstance(texts, Iterator):
                raise ValueError(
                    "`texts` must be readable twice to train a tokenizer. Received: a "
                    f"{type(texts).__name__}; pass a list, use Vocabulary.from_files, "
                    "or train the tokenizer with kseq.data.tokenizers.train."
                )
            resolved = resolved.train(texts)
        total = len(texts) if isinstance(texts, Sized) else None
        with progress(stream, "counting tokens", total, unit="texts") as bar:
            return cls(frequent_tokens(bar, resolved, *limits), resolved)

    @classmethod
    def from_files(
        cls,
        paths: Path | Iterable[Path],
        tokenizer: Identifier = "whitespace",
        min_frequency: int = 1,
        max_size: int | None = None,
        lower_case: bool = False,
        ties: str = "ascending",
    ) -> Self:
        r"""Builds a vocabulary from text files with one text per line.

        The files are read line by line, and not held in memory; only SentencePiece
        holds them while it trains. A line ends with "\n" or "\r\n"; a byte order mark
        is dropped.

        Args:
            paths: path or iterable of paths, files in UTF-8, compressed with gzip if
                the name ends with `.gz`.
            tokenizer: as for `build`. Default: `"whitespace"`.
            min_frequency: int, as for `build`. Default: 1.
            max_size: int or None, as for `build`. Default: None.
            lower_case: bool, as for `build`. Default: False.
            ties: str, as for `build`. Default: `"ascending"`.

        Returns:
            A `Vocabulary`.

        Raises:
            ImportError: if a library that the tokenizer needs is missing.
            OSError: if a file cannot be read.
            TypeError: if an argument has the wrong type.
            ValueError: if a file is not in UTF-8 (the message names the line), if
                `paths` is empty, or as for `build`.

        Example:
            >>> from pathlib import Path
            >>> from kseq.data import Vocabulary
            >>> _ = Path("train.de").write_text("ein Hund\nein Mann\n")
            >>> Vocabulary.from_files("train.de", lower_case=True).tokens[4:]
            ('ein', 'hund', 'mann')
        """
        resolved = tokenizers.resolve(tokenizer, lower_case=lower_case)
        limits = check_limits(min_frequency, max_size, ties)
        files = check_files("paths", paths)
        if isinstance(resolved, UntrainedTokenizer):
            lines = (line for file in files for line in read_lines(file))
            resolved = resolved.train(lines)
        return cls(frequent_tokens(read_files(files), resolved, *limits), resolved)

    @property
    def tokens(self) -> tuple[str, ...]:
        """All tokens, the special ones first: `tokens[id]` is the token of an id."""
        return self._tokens

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return self._tokenizer

    @property
    def width(self) -> int | None:
        """The number of characters to which texts are right-justified, or None."""
        return self._width

    def __len__(self) -> int:
        """Returns the number of tokens, including the four special ones."""
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
        """Returns the id of a token; `vocab[token]` does the same.

        Args:
            token: str, an ordinary or a special token.

        Returns:
            int, its id.

        Raises:
            KeyError: if the vocabulary does not have the token.
        """
        try:
            return self._ids[token]
        except KeyError:
            raise KeyError(
                f"the vocabulary of {len(self)} tokens has no token {token!r}"
            ) from None

    __getitem__ = id

    def ids_to_tokens(self, ids: npt.ArrayLike) -> list[str]:
        """Returns the tokens of one row of ids, with `</s>`, such as for labels.

        Args:
            ids: integers of shape `(time,)`. The first padding ends the row.

        Returns:
            list of str, one token for each id before the padding.

        Raises:
            ValueError: if an id is out of range, or `ids` is not a single row.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary(["a", "b"]).ids_to_tokens([5, 4, 3, 0])
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
                f"`ids` must be in 0..{len(self) - 1}. Received: ids from {row.min()} "
                f"to {row.max()}."
            )
        length = int((row == PAD).argmax()) if (row == PAD).any() else len(row)
        return [self._tokens[i] for i in row[:length]]

    def encode(
        self,
        texts: Iterable[str],
        strict: bool = False,
        max_length: int | None = None,
        *,
        justify: bool = True,
    ) -> Ids:
        """Converts texts to rows of ids, each ended by `</s>` and padded on the right.

        A special token in a text (`<s>`, `<pad>`, ...) is treated as an unknown word,
        so a text cannot inject special tokens.

        Args:
            texts: iterable of str.
            strict: bool, whether an unknown token raises an error. Otherwise it becomes
                `<unk>`. Default: False.
            max_length: int or None, the maximum length of a row, including `</s>`;
                longer texts are truncated. Default: None, no limit.
            justify: bool, whether to justify texts if the vocabulary has a `width`. Use
                False for parts of a text, such as a prefix. Default: True.

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
        check_boolean("justify", justify)
        tokenize = self._justify if justify else self._tokenizer.tokenize
        if max_length is not None:
            max_length = check_integer("max_length", max_length, 1)
        limit = None if max_length is None else max_length - 1
        rows = []
        for text in progress(check_texts("texts", texts), "encoding", unit="texts"):
            row = []
            for token in tokenize(text)[:limit]:
                index = self._ids.get(token, UNK)
                if index < len(SPECIAL_TOKENS):
                    if strict:
                        raise ValueError(
                            "`texts` must only contain tokens of the vocabulary. "
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

    def _justify(self, text: str) -> list[str]:
        """Tokenizes a text, right-justified if the vocabulary has a width."""
        if self._width is None:
            return self._tokenizer.tokenize(text)
        tokens = self._tokenizer.tokenize(text.strip(" "))
        if not tokens:
            return tokens
        # Count the tokens, not the text: lower-casing may add a character.
        if len(tokens) > self._width:
            raise ValueError(
                f"A text must have at most {self._width} characters, the width of the "
                f"vocabulary. Received: {text!r} with {len(tokens)}."
            )
        return [" "] * (self._width - len(tokens)) + tokens

    def decode(self, ids: npt.ArrayLike) -> list[str]:
        """Converts rows of ids to texts.

        A row ends at its first `</s>` or padding. `<s>` is dropped, `<unk>` is kept.

        Args:
            ids: integers of shape `(batch, time)`; or of shape `(batch, n, time)`, as
                `generate` returns them, of which the first of the `n` hypotheses is
                decoded.

        Returns:
            list of `batch` strings.

        Raises:
            ValueError: if `ids` has another shape or dtype, or an id is out of range.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary(["a", "b"]).decode([[2, 4, 5, 3, 4], [5, 1, 0, 0, 0]])
            ['a b', 'b <unk>']
        """
        array = _as_id_array(ids)
        if array.ndim == 3:
            array = array[:, 0, :]  # (batch, time)
        outside = (array < 0) | (array >= len(self))
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise ValueError(
                f"`ids` must be in 0..{len(self) - 1}, the vocabulary's range. "
                f"Received: {array[row, column]} at row {row}, position {column}; "
                "were they made with another vocabulary?"
            )
        # With one more column, so that every row has an end.
        ends = np.ones((array.shape[0], array.shape[1] + 1), dtype=bool)
        ends[:, :-1] = (array == END) | (array == PAD)
        tokens, detokenize = self._tokens, self._tokenizer.detokenize
        texts = [
            detokenize([tokens[i] for i in row[:end] if i != START])
            for row, end in zip(
                array.tolist(), ends.argmax(axis=1).tolist(), strict=True
            )
        ]
        return texts if self._width is None else [text.strip(" ") for text in texts]

    def normalize_reference(self, text: str) -> str:
        """Converts a reference to the form of decoded texts, to compare both.

        Args:
            text: str.

        Returns:
            str, the result of `tokenizer.normalize_reference`, without spaces at its
            ends if the vocabulary has a `width`.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary(["4", " "], "characters", width=3).normalize_reference("  4")
            '4'
        """
        normalized = self._tokenizer.normalize_reference(text)
        return normalized if self._width is None else normalized.strip(" ")

    def to_string_lookup(self, inverse: bool = False) -> keras.layers.StringLookup:
        """Returns a Keras layer with the same ids, for a tf.data pipeline.

        The layer looks up tokens, not texts, and adds no `</s>`. Unlike `encode`, it
        maps `<s>` and `</s>` to their ids, so that a pipeline can add them.

        Args:
            inverse: bool, whether the layer maps ids to tokens. Default: False, tokens
                to ids.

        Returns:
            A `keras.layers.StringLookup`.

        Raises:
            TypeError: if `inverse` is not a boolean.

        Example:
            >>> from kseq.data import Vocabulary
            >>> vocab = Vocabulary(["a", "b"])
            >>> vocab.to_string_lookup()([["b", "a", "c", "</s>", "<pad>"]]).numpy()
            array([[5, 4, 1, 3, 0]])
        """
        check_boolean("inverse", inverse)
        import keras

        return keras.layers.StringLookup(
            vocabulary=list(self._tokens[START:]),
            mask_token=PAD_TOKEN,
            oov_token=UNK_TOKEN,
            num_oov_indices=1,
            invert=inverse,
        )

    def save(self, path: Path) -> None:
        """Writes the tokens and their ids as JSON in UTF-8.

        The file is written completely or not at all. It does not hold the tokenizer and
        the width; `kseq.data.vocabulary_files.save_vocabulary` writes them too.

        Args:
            path: str or path of the file; an existing file is replaced.

        Raises:
            OSError: if the file cannot be written.
            ValueError: if a token contains a surrogate pair as two characters, which
                JSON would read as one character.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary(["a"]).save("vocab.json")
            >>> Vocabulary.load("vocab.json").tokens
            ('<pad>', '<unk>', '<s>', '</s>', 'a')
        """
        vocabulary_json.write(path, self._ids)

    @classmethod
    def load(
        cls,
        path: Path,
        tokenizer: Identifier = "whitespace",
        width: int | None = None,
    ) -> Self:
        """Reads a vocabulary from a JSON file of tokens and ids.

        Args:
            path: str or path of the file.
            tokenizer: as in the constructor. Default: `"whitespace"`.
            width: int or None, as in the constructor. Default: None.

        Returns:
            A `Vocabulary`.

        Raises:
            ImportError: if a library that the tokenizer needs is missing.
            OSError: if the file cannot be read.
            ValueError: if it is not a vocabulary; the message names the file.
        """
        ready = tokenizers.get(tokenizer)
        tokens = vocabulary_json.read(path)
        try:
            return cls(tokens, ready, width)
        except (TypeError, ValueError) as error:
            name = os.fspath(path)
            raise ValueError(f"{name} is not a vocabulary: {error}") from error


def check_vocabulary(name: str, vocab: Any) -> None:
    """Raises an error unless `vocab` is a `Vocabulary`.

    Args:
        name: str, the argument's name in the caller's signature.
        vocab: any value.

    Raises:
        TypeError: if it is not a `Vocabulary`.
    """
    if not isinstance(vocab, Vocabulary):
        raise TypeError(
            f"`{name}` must be a Vocabulary. Received: {vocab!r} of type "
            f"{type(vocab).__name__}; make one with Vocabulary.build or "
            "Vocabulary.load."
        )


def _as_id_array(ids: npt.ArrayLike) -> npt.NDArray[np.integer[Any]]:
    """Returns `ids` as an integer array of two or three dimensions, or raises."""
    wanted = "`ids` must be integers of shape (batch, time) or (batch, n, time)."
    try:
        array = np.asarray(ids)
    except ValueError:
        raise ValueError(
            f"{wanted} Received: rows of unequal length; pad them with {PAD}."
        ) from None
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[1] == 0):
        hint = "; put a single row in a list" if array.ndim == 1 else ""
        raise ValueError(f"{wanted} Received: shape {array.shape}{hint}.")
    # An empty list of rows has the dtype float64.
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{wanted} Received: dtype {array.dtype}.")
    return array.astype(np.int64, copy=False)
