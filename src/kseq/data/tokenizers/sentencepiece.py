"""Subword tokenizers: SentencePiece models, and how to train them."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import re
from collections.abc import Iterable, Iterator, Sized

from kseq.config.checks import check_boolean, check_integer, check_number, stream_texts
from kseq.data.tokenizers.base import Tokenizer, import_library, replace_surrogates
from kseq.progress import announced, progress
from kseq.special_tokens import UNK_TOKEN

# In bytes; SentencePiece skips longer lines.
_MAX_LINE_LENGTH = 1 << 24
_WORDS_PER_LINE = 100
# Training on fewer texts is too quick to announce.
_ANNOUNCE_ABOVE = 20_000


class SentencePieceTokenizer(Tokenizer):
    """Splits words into the pieces of a SentencePiece model, and joins them losslessly.

    White space of any kind and length counts as one space, which is `▁` in a piece.
    Characters without a piece become `<unk>`. Texts are lower-cased before they are
    split.

    Args:
        model: bytes, the content of a SentencePiece `.model` file. `train` makes one.
        lower_case: bool, whether to lower-case the texts. Default: False.

    Raises:
        ImportError: if sentencepiece is missing.
        TypeError: if an argument has the wrong type.
        ValueError: if `model` is not a SentencePiece model.

    Example:
        >>> from kseq.data import SentencePieceTokenizer
        >>> texts = ["low lower lowest", "new newer newest"]
        >>> tokenizer = SentencePieceTokenizer.train(texts, size=18, kind="bpe")
        >>> tokenizer.tokenize("newest low")
        ['▁ne', 'west', '▁low']
        >>> tokenizer.detokenize(["▁ne", "west", "▁low"])
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
        library = import_library(
            "sentencepiece", "sentencepiece", "SentencePieceTokenizer"
        )
        self._model = model
        try:
            self._processor = library.SentencePieceProcessor(model_proto=model)
            size = self._processor.get_piece_size()
        except RuntimeError as error:
            raise ValueError(
                "`model` must be the content of a SentencePiece model. Received: "
                f"{len(model)} bytes of something else."
            ) from error
        if not size:
            raise ValueError(
                "`model` must be a SentencePiece model with pieces. Received: one "
                "without."
            )
        self._pieces_by_id = tuple(
            UNK_TOKEN
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
        """Trains a tokenizer: learns the pieces from texts.

        Training is deterministic: the same texts in the same order give the same model.
        All texts are in memory during training. Only white space is normalized.
        SentencePiece's own log is shown if the level of Python's logger `kseq` is
        DEBUG.

        Args:
            texts: iterable of str, read once.
            size: int, the maximum number of pieces. Few texts may give fewer pieces.
            kind: str, `"unigram"` (a language model of pieces) or `"bpe"` (byte pair
                encoding: pairs of pieces merged by frequency). Default: `"unigram"`.
            character_coverage: float in (0, 1], the fraction of the characters in
                `texts` that get a piece. Characters beyond it, the rarest, become
                `<unk>`. Use 0.9995 for scripts with thousands of characters.
                Default: 1.0.
            lower_case: bool, whether to lower-case the texts. Default: False.

        Returns:
            A `SentencePieceTokenizer`.

        Raises:
            ImportError: if sentencepiece is missing.
            TypeError: if an argument has the wrong type.
            ValueError: if `size` is below the number of characters that need a piece,
                if all `texts` are empty, or if an argument is out of range.
        """
        untrained = UntrainedTokenizer(kind, size, character_coverage, lower_case)
        library = import_library(
            "sentencepiece", "sentencepiece", "SentencePieceTokenizer"
        )
        errors: list[BaseException] = []
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
                    words = _normalize(text, lower_case).split(" ")
                    # No piece spans two words, so a text may come in parts. The time
                    # for a long line grows with the square of its length.
                    for start in range(0, len(words), _WORDS_PER_LINE):
                        yield " ".join(words[start : start + _WORDS_PER_LINE])
            # SentencePiece turns every exception here into a RuntimeError.
            except BaseException as error:
                errors.append(error)
                raise
            if count > _ANNOUNCE_ABOVE:
                # Training may take minutes, and SentencePiece reports no progress.
                learning = f"learning {size} pieces from {count} texts"
                bars.enter_context(announced(learning))

        verbose = logging.getLogger("kseq").isEnabledFor(logging.DEBUG)
        model = io.BytesIO()
        try:
            with bars:
                library.SentencePieceTrainer.train(
                    sentence_iterator=lines(),
                    model_writer=model,
                    model_type=untrained.kind,
                    # One more for `<unk>`; the vocabulary adds the other three.
                    vocab_size=untrained.size + 1,
                    hard_vocab_limit=False,
                    unk_id=0,
                    bos_id=-1,
                    eos_id=-1,
                    pad_id=-1,
                    character_coverage=untrained.character_coverage,
                    normalization_rule_name="identity",
                    max_sentence_length=_MAX_LINE_LENGTH,
                    num_threads=1,
                    minloglevel=0 if verbose else 2,
                )
        except RuntimeError as error:
            if errors:
                raise errors[0] from None
            raise _translate_error(error, untrained) from error
        return cls(model.getvalue(), lower_case=lower_case)

    @property
    def model(self) -> bytes:
        """The content of the model's file."""
        return self._model

    @property
    def pieces(self) -> tuple[str, ...]:
        """All tokens that `tokenize` can return except `<unk>`, in the model's order.

        `Vocabulary.build` only adds the pieces that occur in its texts;
        `Vocabulary(tokenizer.pieces, tokenizer)` has all pieces.
        """
        processor = self._processor
        return tuple(
            piece
            for index, piece in enumerate(self._pieces_by_id)
            if not (
                processor.is_unknown(index)
                or processor.is_control(index)
                or processor.is_unused(index)
            )
        )

    def tokenize(self, text: str) -> list[str]:
        ids = self._processor.encode(_normalize(text, self.lower_case))
        return [self._pieces_by_id[index] for index in ids]

    def detokenize(self, tokens: Iterable[str]) -> str:
        pieces: list[str] = []
        for token in tokens:
            # SentencePiece would decode the whole token as " ⁇ ".
            pieces += ["<", "unk>"] if token == UNK_TOKEN else [token]
        return str(self._processor.decode(pieces))


@dataclasses.dataclass(frozen=True)
class UntrainedTokenizer:
    """The settings of a SentencePiece tokenizer that is not trained yet.

    Args:
        kind: str, `"unigram"` or `"bpe"`.
        size: int, the maximum number of pieces.
        character_coverage: float in (0, 1], the fraction of the characters in the
            training texts that get a piece. Default: 1.0.
        lower_case: bool, whether to lower-case the texts. Default: False.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is out of range.

    Example:
        >>> from kseq.data import tokenizers
        >>> untrained = tokenizers.resolve("bpe:8")
        >>> untrained.size
        8
        >>> untrained.train(["a b ab"]).tokenize("abb")
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
        """Trains the tokenizer; see `SentencePieceTokenizer.train`.

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


def _normalize(text: str, lower_case: bool) -> str:
    """Replaces white space by single spaces and lone surrogates by U+FFFD."""
    text = " ".join(replace_surrogates(text).split())
    return text.lower() if lower_case else text


def _translate_error(error: RuntimeError, untrained: UntrainedTokenizer) -> Exception:
    """Returns an error in terms of our arguments for one of SentencePiece."""
    message = str(error)
    if "sentences_.empty()" in message:
        return ValueError(
            "`texts` must hold at least one text that is not empty, to train a "
            "tokenizer on. Received: none."
        )
    too_small = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if too_small:
        return ValueError(
            f"`size` must be at least {int(too_small[1]) - 1}, one piece for each "
            f"character of the texts. Received: {untrained.size}; raise it, or lower "
            "`character_coverage` to leave out the rarest characters."
        )
    return RuntimeError(f"SentencePiece could not train a tokenizer: {message}")
