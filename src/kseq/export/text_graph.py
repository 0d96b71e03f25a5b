"""Tokenizers and vocabularies as TensorFlow graphs."""

from typing import Any

import tensorflow as tf

from kseq.data.vocabulary import Vocabulary
from kseq.special_tokens import END, PAD, SPECIAL_TOKENS, START, UNK

# White space of Python's str.split that is none for TensorFlow.
_SPACES = (
    r"[\x{1c}-\x{1f}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}"
    r"\x{205f}\x{3000}]"
)


def has_text_graph(vocab: Vocabulary) -> bool:
    """Whether `TextGraph` can represent a vocabulary and its tokenizer."""
    is_supported = vocab.tokenizer.name in ("whitespace", "characters")
    return is_supported and len(vocab) > len(SPECIAL_TOKENS)


class TextGraph(tf.Module):
    """Encodes and decodes texts in a graph, as a vocabulary and its tokenizer do.

    Args:
        vocab: A `Vocabulary` with a `"whitespace"` or `"characters"` tokenizer.
    """

    def __init__(self, vocab: Vocabulary) -> None:
        super().__init__()
        self.tokenizer = vocab.tokenizer.name
        self.lower_case = bool(vocab.tokenizer.lower_case)
        self.width = vocab.width
        ordinary = vocab.tokens[len(SPECIAL_TOKENS) :]
        ids = tf.range(len(SPECIAL_TOKENS), len(vocab))
        # A word that equals a special token is unknown.
        self.ids = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(ordinary, tf.string), ids),
            UNK,
        )
        self.tokens = tf.constant(vocab.tokens)

    def _tokenize(self, texts: Any) -> Any:
        if self.lower_case:
            texts = tf.strings.lower(texts, encoding="utf-8")
        if self.width is not None:
            return self._tokenize_fixed_width(_strip_spaces(texts))
        if self.tokenizer == "characters":
            return tf.strings.unicode_split(texts, "UTF-8")
        return tf.strings.split(tf.strings.regex_replace(texts, _SPACES, " "))

    def _tokenize_fixed_width(self, texts: Any) -> Any:
        characters = tf.strings.unicode_split(texts, "UTF-8")
        lengths = characters.row_lengths()
        check = tf.debugging.assert_less_equal(
            lengths,
            tf.constant(self.width, tf.int64),
            f"A text must have at most {self.width} characters.",
        )
        with tf.control_dependencies([check] if check is not None else []):
            missing = tf.where(lengths > 0, self.width - lengths, 0)
        spaces = tf.fill([tf.reduce_sum(missing)], " ")
        padding = tf.RaggedTensor.from_row_lengths(spaces, missing)
        return tf.concat([padding, characters], axis=1)

    def lengths(self, texts: Any) -> Any:
        """Returns the number of tokens (batch,)."""
        return self._tokenize(texts).row_lengths()

    def encode(self, texts: Any) -> Any:
        """Returns int32 ids (batch, time) with `</s>`, padded with 0."""
        ids = tf.ragged.map_flat_values(self.ids.lookup, self._tokenize(texts))
        ends = tf.fill([tf.shape(texts)[0], 1], END)
        return tf.concat([ids, ends], axis=1).to_tensor(PAD)

    def decode(self, tokens: Any) -> Any:
        """Returns texts (batch, n) for ids (batch, n, time)."""
        strings = tf.gather(self.tokens, tokens)
        skipped = tf.reduce_any([tf.equal(tokens, x) for x in (PAD, START, END)], 0)
        separator = "" if self.tokenizer == "characters" else " "
        strings = tf.where(skipped, "", tf.strings.join([strings, separator]))
        joined = tf.strings.reduce_join(strings, axis=-1)
        if self.width is not None:
            return _strip_spaces(joined)
        return joined if separator == "" else tf.strings.strip(joined)


def _strip_spaces(texts: Any) -> Any:
    """Removes spaces, but no other white space, at both ends of texts."""
    return tf.strings.regex_replace(texts, "^ +| +$", "")
