"""Vocabularies: tokens <-> ids, JSON on disk."""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from kseq.config.checks import check_boolean, check_integer, check_texts, stream_texts
from kseq.data import tokenizers
from kseq.data.corpora.corpus import Reading
from kseq.data.corpora.lines import Path, check_files, decoded, read_lines
from kseq.data.tokenizers import (
    CharacterTokenizer,
    Identifier,
    Tokenizer,
    UntrainedTokenizer,
)
from kseq.progress import progress
from kseq.storage.atomic_files import whole_file

if TYPE_CHECKING:
    import keras

PAD = 0
UNK = 1
START = 2
END = 3

PAD_TOKEN = "<pad>"
UNK_TOKEN = "<unk>"
START_TOKEN = "<s>"
END_TOKEN = "</s>"

SPECIAL_TOKENS = (PAD_TOKEN, UNK_TOKEN, START_TOKEN, END_TOKEN)
# What a folder calls the vocabulary of a side.
VOCAB_FILE = "vocab.{side}.json"

Ids = npt.NDArray[np.int32]


class Vocabulary:
    """Tokens and their ids, and how a text is cut into tokens.

    The ids 0 to 3 belong to `<pad>`, `<unk>`, `<s>` and `</s>`; the ordinary tokens
    follow from 4 in the order given. A vocabulary never changes.

    Args:
        tokens: iterable of str, the ordinary tokens in order, without the four
            special ones.
        tokenizer: what `kseq.data.tokenizers.get` takes: `"whitespace"` (words, joined
            back by one space), `"characters"` (every character is a token, joined back
            by nothing), `"spacy:de"`, `"moses:de"`, a dict, or a `Tokenizer`. Defaults
            to `"whitespace"`.
        width: int or None, for characters only: texts are right-justified with spaces
            to this number of characters. Spaces at the ends of a text are ignored, and
            decoded texts have none. An empty text stays empty. A space must be among
            the tokens. Defaults to None, no justification.

    Raises:
        ImportError: if a library that the tokenizer needs is missing.
        TypeError: if a token is not a string.
        ValueError: if there is no such tokenizer; if a token is empty, repeated or
            special, or is longer than one character where the tokenizer cuts into
            characters; or if `width` does not go with the rest.

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
                    f"`tokens` must not hold the special token {token!r}; leave it "
                    "out, the vocabulary adds all four by itself."
                )
            if token in self._ids:
                raise ValueError(
                    f"`tokens` must not repeat a token. Received: {token!r} twice."
                )
            if not token:
                raise ValueError("`tokens` must not hold an empty string.")
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
        """Builds the vocabulary of some texts, by falling frequency.

        Tokens of one frequency stand in alphabetical order, so the ids depend on
        nothing but the texts. The texts are read one by one and never held.

        Args:
            texts: iterable of str.
            tokenizer: what `kseq.data.tokenizers.train` takes: the names of the
                constructor; `"sentencepiece:8000"` or `"bpe:8000"`, which is trained
                on the texts first; a dict; or a `Tokenizer`. Defaults to
                `"whitespace"`.
            min_frequency: int, tokens seen less often are left out. Defaults to 1.
            max_size: int or None, the most ordinary tokens kept; the four special
                ones are not counted. Defaults to None, no limit.
            lower_case: bool, whether the tokenizer lower-cases. Defaults to False, as
                `tokenizer` says.
            ties: str, the alphabetical order of tokens of one frequency:
                `"ascending"`, or `"descending"`, as Sockeye and SageMaker have it.
                Defaults to `"ascending"`.

        Returns:
            A `Vocabulary`.

        Raises:
            ImportError: if a library that the tokenizer needs is missing.
            TypeError: if `texts` is not a list of strings.
            ValueError: if `tokenizer`, `min_frequency`, `max_size` or `ties` is none,
                if `lower_case` contradicts `tokenizer`, or if a tokenizer must be
                trained and `texts` can be read only once.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary.build(["b a", "b c"]).tokens[4:]
            ('b', 'a', 'c')
            >>> Vocabulary.build(["b a", "b c"], ties="descending").tokens[4:]
            ('b', 'c', 'a')
            >>> Vocabulary.build(["ab ab abc"], tokenizer="bpe:6").encode(["abc ab"])
            array([[4, 5, 4, 3]], dtype=int32)
        """
        found = tokenizers.resolve(tokenizer, lower_case=lower_case)
        limits = _check_limits(min_frequency, max_size, ties)
        stream = stream_texts("texts", texts)
        if isinstance(found, UntrainedTokenizer):
            if isinstance(texts, Iterator):
                raise ValueError(
                    "`texts` must be readable twice where a tokenizer is to be "
                    f"trained. Received: a {type(texts).__name__}; pass a list, use "
                    "Vocabulary.from_files, or train the tokenizer by "
                    "kseq.data.tokenizers.train."
                )
            found = found.train(texts)
        total = len(texts) if isinstance(texts, Sized) else None
        with progress(stream, "counting tokens", total, unit="texts") as bar:
            return cls(_frequent_tokens(bar, found, *limits), found)

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
        r"""Builds the vocabulary of text files, a text a line.

        The files are read line by line and never held (but SentencePiece holds them
        while it is trained). A line ends with "\n" or "\r\n"; a byte order mark is
        left out.

        Args:
            paths: str or path, or an iterable of them: files in UTF-8, compressed
                with gzip where the name ends with `.gz`.
            tokenizer: as for `build`. Defaults to `"whitespace"`.
            min_frequency: int, as for `build`. Defaults to 1.
            max_size: int or None, as for `build`. Defaults to None.
            lower_case: bool, as for `build`. Defaults to False.
            ties: str, as for `build`. Defaults to `"ascending"`.

        Returns:
            A `Vocabulary`.

        Raises:
            ImportError: if a library that the tokenizer needs is missing.
            OSError: if a file cannot be read.
            TypeError: if an argument has the wrong type.
            ValueError: if a file is not in UTF-8 (the message names the line), if
                there is none, or as for `build`.

        Example:
            >>> from pathlib import Path
            >>> from kseq.data import Vocabulary
            >>> _ = Path("train.de").write_text("ein Hund\nein Mann\n")
            >>> Vocabulary.from_files("train.de", lower_case=True).tokens[4:]
            ('ein', 'hund', 'mann')
        """
        found = tokenizers.resolve(tokenizer, lower_case=lower_case)
        limits = _check_limits(min_frequency, max_size, ties)
        files = check_files("paths", paths)
        if isinstance(found, UntrainedTokenizer):
            found = found.train(line for file in files for line in read_lines(file))
        return cls(_frequent_tokens(_texts_of(files), found, *limits), found)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every token, special ones first: `tokens[id]` is the token of an id."""
        return self._tokens

    @property
    def tokenizer(self) -> Tokenizer:
        """What cuts texts into tokens and joins them."""
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
        *,
        justify: bool = True,
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
            justify: bool, whether to justify texts if the vocabulary has a `width`.
                Use False for parts of a text, such as a prefix. Defaults to True.

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
        cut = self._cut if check_boolean("justify", justify) else self._tokenizer.cut
        if max_length is not None:
            max_length = check_integer("max_length", max_length, 1)
        limit = None if max_length is None else max_length - 1
        rows = []
        for text in progress(check_texts("texts", texts), "encoding", unit="texts"):
            row = []
            for token in cut(text)[:limit]:
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

    def _cut(self, text: str) -> list[str]:
        """Cuts a text, and fills it up to the width where there is one."""
        if self._width is None:
            return self._tokenizer.cut(text)
        tokens = self._tokenizer.cut(text.strip(" "))
        if not tokens:
            return tokens
        # Counted once they are cut: lower-casing may add a character.
        if len(tokens) > self._width:
            raise ValueError(
                f"A text must have at most {self._width} characters, the width of the "
                f"vocabulary. Received: {text!r} with {len(tokens)}."
            )
        return [" "] * (self._width - len(tokens)) + tokens

    def decode(self, ids: npt.ArrayLike) -> list[str]:
        """Turns rows of ids back into texts.

        A row ends at its first `</s>` or padding; `<s>` is left out, `<unk>` stays.

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
        # One column more than the array has, so that every row has an end.
        ends = np.ones((array.shape[0], array.shape[1] + 1), dtype=bool)
        ends[:, :-1] = (array == END) | (array == PAD)
        tokens, join = self._tokens, self._tokenizer.join
        texts = [
            join([tokens[i] for i in row[:end] if i != START])
            for row, end in zip(
                array.tolist(), ends.argmax(axis=1).tolist(), strict=True
            )
        ]
        return texts if self._width is None else [text.strip(" ") for text in texts]

    def as_joined(self, text: str) -> str:
        """Returns a reference in the form that decoded texts have.

        Args:
            text: str.

        Returns:
            str: what `tokenizer.as_joined` returns, stripped of spaces where the
            vocabulary has a `width`.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary(["4", " "], "characters", width=3).as_joined("  4")
            '4'
        """
        joined = self._tokenizer.as_joined(text)
        return joined if self._width is None else joined.strip(" ")

    def to_string_lookup(self, inverse: bool = False) -> keras.layers.StringLookup:
        """Returns a Keras layer with exactly these ids, for a tf.data pipeline.

        It looks up tokens, not texts, and adds no `</s>`. Unlike `encode`, it gives
        `<s>` and `</s>` their ids, so that a pipeline can add them.

        Args:
            inverse: bool, whether it turns ids into tokens. Defaults to False, tokens
                into ids.

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
        """Writes the vocabulary as JSON, token -> id, in UTF-8.

        The file appears whole or not at all. The tokenizer and the width are not
        stored in it; `save_side` stores them too.

        Args:
            path: str or path, the file to write; an older one is replaced.

        Raises:
            OSError: if the file cannot be written.
            ValueError: if a token holds the two halves of a surrogate pair as
                characters of their own, which JSON would read as one character.

        Example:
            >>> from kseq.data import Vocabulary
            >>> Vocabulary(["a"]).save("vocab.json")
            >>> Vocabulary.load("vocab.json").tokens
            ('<pad>', '<unk>', '<s>', '</s>', 'a')
        """
        text = json.dumps(self._ids, ensure_ascii=False, indent=0) + "\n"
        if pair := re.search("[\ud800-\udbff][\udc00-\udfff]", text):
            raise ValueError(
                "A token with a surrogate pair as two characters cannot be saved: "
                f"{pair[0]!r}. Decode the texts anew, as UTF-16."
            )
        with whole_file(path) as temporary:
            # A lone surrogate, all that UTF-8 lacks, becomes its escape in JSON.
            temporary.write_bytes(text.encode("utf-8", "backslashreplace"))

    @classmethod
    def load(
        cls,
        path: Path,
        tokenizer: Identifier = "whitespace",
        width: int | None = None,
    ) -> Self:
        """Reads a vocabulary from a JSON file, token -> id.

        Args:
            path: str or path, the file to read.
            tokenizer: as in the constructor. Defaults to `"whitespace"`.
            width: int or None, as in the constructor. Defaults to None.

        Returns:
            A `Vocabulary`.

        Raises:
            ImportError: if a library that the tokenizer needs is missing.
            OSError: if the file cannot be read.
            ValueError: if it is not a vocabulary; the message names the file.
        """
        found = tokenizers.get(tokenizer)
        name = os.fspath(path)
        with open(path, "rb") as file:
            data = file.read()
        try:
            pairs = json.loads(data.decode("utf-8"), object_pairs_hook=_Pairs)
        except ValueError as error:
            raise ValueError(f"{name} is not a JSON file in UTF-8: {error}.") from error
        try:
            return cls(_ordinary_tokens(pairs), found, width)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} is not a vocabulary: {error}") from error


def check_vocabulary(name: str, vocab: Any) -> None:
    """Raises unless `vocab` is a `Vocabulary`.

    Args:
        name: str, the argument's name in the caller's signature.
        vocab: anything.

    Raises:
        TypeError: if it is something else.
    """
    if not isinstance(vocab, Vocabulary):
        raise TypeError(
            f"`{name}` must be a Vocabulary. Received: {vocab!r} of type "
            f"{type(vocab).__name__}; make one with Vocabulary.build or "
            "Vocabulary.load."
        )


def save_side(folder: Path, side: str, vocab: Vocabulary) -> dict[str, Any]:
    """Writes a side's vocabulary and its tokenizer's files into a folder.

    They are `vocab.SIDE.json` and, where the tokenizer has assets, `tokenizer.SIDE.*`
    (`tokenizer.source.model` for SentencePiece). Each appears whole or not at all.

    Args:
        folder: str or path, a folder that exists.
        side: str, `"source"` or `"target"`.
        vocab: `Vocabulary`.

    Returns:
        dict that JSON can hold, `tokenizer` and `width`: what `load_side` needs.

    Raises:
        OSError: if a file cannot be written.
        ValueError: if the tokenizer is one of your own that is not registered.

    Example:
        >>> from kseq.data.vocabulary import Vocabulary, load_side, save_side
        >>> vocab = Vocabulary(["a", "b"], tokenizer="characters")
        >>> config = save_side(".", "source", vocab)
        >>> config
        {'tokenizer': {'name': 'characters', 'lower_case': False}, 'width': None}
        >>> load_side(".", "source", config) == vocab
        True
    """
    folder = pathlib.Path(folder)
    config = vocab.tokenizer.get_config()
    # What could not be loaded is not saved.
    tokenizers.asset_names(config)
    vocab.save(folder / VOCAB_FILE.format(side=side))
    for name, data in vocab.tokenizer.assets.items():
        with whole_file(_asset_file(folder, side, name)) as temporary:
            temporary.write_bytes(data)
    return {"tokenizer": config, "width": vocab.width}


def load_side(folder: Path, side: str, config: Mapping[str, Any]) -> Vocabulary:
    """Reads what `save_side` has written.

    Args:
        folder: str or path.
        side: str, `"source"` or `"target"`.
        config: dict, what `save_side` has returned. A `tokenizer` that is a string, as
            in folders of kseq's first version, will do.

    Returns:
        A `Vocabulary`.

    Raises:
        FileNotFoundError: if a file is missing; the message names it.
        ImportError: if a library that the tokenizer needs is missing.
        ValueError: if the vocabulary or the tokenizer is not to be read.
    """
    folder = pathlib.Path(folder)
    if not isinstance(config, Mapping) or not {"tokenizer"} <= set(config) <= {
        "tokenizer",
        "width",
    }:
        raise ValueError(
            f"The configuration of the {side} in '{folder}' must have a tokenizer and "
            f"a width. Received: {config!r}."
        )
    try:
        names = tokenizers.asset_names(config["tokenizer"])
        assets = {name: _asset_file(folder, side, name) for name in names}
        missing = [file.name for file in assets.values() if not file.is_file()]
        if missing:
            raise FileNotFoundError(
                f"'{folder}' lacks {', '.join(missing)}, a part of the {side}'s "
                "tokenizer."
            )
        tokenizer = tokenizers.get(
            config["tokenizer"],
            {name: file.read_bytes() for name, file in assets.items()},
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The tokenizer of the {side} in '{folder}' cannot be read: {error}"
        ) from error
    path = folder / VOCAB_FILE.format(side=side)
    if not path.is_file():
        raise FileNotFoundError(f"'{folder}' lacks {path.name}.")
    return Vocabulary.load(path, tokenizer, config.get("width"))


def _asset_file(folder: pathlib.Path, side: str, name: str) -> pathlib.Path:
    return folder / f"tokenizer.{side}.{name}"


def _check_limits(
    min_frequency: Any, max_size: Any, ties: Any
) -> tuple[int, int | None, bool]:
    """Returns the limits of a vocabulary that is built, checked."""
    if ties not in ("ascending", "descending"):
        raise ValueError(
            f"`ties` must be 'ascending' or 'descending'. Received: {ties!r}."
        )
    return (
        check_integer("min_frequency", min_frequency, 1),
        None if max_size is None else check_integer("max_size", max_size, 1),
        ties == "descending",
    )


def _frequent_tokens(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    min_frequency: int,
    max_size: int | None,
    descending: bool,
) -> list[str]:
    """Returns the ordinary tokens of some texts, the most frequent first."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenizer.cut(text))
    for special in SPECIAL_TOKENS:
        # A word of a text that looks like a control token stays unknown.
        counts.pop(special, None)
    kept = [token for token, count in counts.items() if count >= min_frequency]
    kept.sort(reverse=descending)
    kept.sort(key=lambda token: -counts[token])
    return kept[:max_size]


def _texts_of(files: Iterable[str]) -> Iterator[str]:
    """Reads the lines of files, under one progress bar."""
    reading = Reading(files)
    try:
        for file in files:
            for number, line in enumerate(reading.lines(file), 1):
                yield decoded(line, file, number)
    finally:
        reading.close()


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
