"""Constraints of outputs, which a search applies to the logits."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kseq.config.checks import INT32_MAX, check_boolean, check_integer
from kseq.special_tokens import END, PAD, START, UNK

# Each token of an n-gram adds operations to the graph.
_LONGEST_NGRAM = 1000

# Number of tokens that the history has space for at first.
_HISTORY = 32

# Tokens that are never part of an output.
NEVER = (PAD, START)


@dataclasses.dataclass(frozen=True)
class Constraints:
    """The constraints of a search.

    Attributes:
        min_length: Minimum number of tokens, including `</s>`.
        forbidden: Phrases that no output contains, as tuples of token ids.
        no_repeat_ngram_size: No n-gram of this size occurs twice; 0 for no constraint.
        suppress_unknown: Whether no output contains `<unk>` (1).
    """

    min_length: int = 0
    forbidden: tuple[tuple[int, ...], ...] = ()
    no_repeat_ngram_size: int = 0
    suppress_unknown: bool = False

    @classmethod
    def checked(
        cls,
        min_length: Any,
        forbidden: Any,
        no_repeat_ngram_size: Any,
        suppress_unknown: Any,
    ) -> "Constraints":
        """Checks the arguments of `Search`.

        Raises:
            TypeError: If a value has the wrong type.
            ValueError: If a value is out of range.
        """
        return cls(
            check_integer("min_length", min_length, 0, INT32_MAX),
            _check_phrases(forbidden),
            check_integer(
                "no_repeat_ngram_size", no_repeat_ngram_size, 0, _LONGEST_NGRAM
            ),
            check_boolean("suppress_unknown", suppress_unknown),
        )

    @property
    def needs_history(self) -> bool:
        """Whether they depend on the previous tokens."""
        return self.no_repeat_ngram_size > 0 or any(len(p) > 1 for p in self.forbidden)

    @property
    def may_forbid_all(self) -> bool:
        """Whether they can exclude every token."""
        return bool(self.forbidden or self.no_repeat_ngram_size or self.min_length)

    def check_vocab(self, vocab_size: int) -> None:
        """Checks that the forbidden ids are in a vocabulary.

        Raises:
            ValueError: If an id is outside of the vocabulary.
        """
        for token in itertools.chain(*self.forbidden):
            if token >= vocab_size:
                raise ValueError(
                    f"`forbidden` must hold token ids in 0..{vocab_size - 1}. "
                    f"Received: {token}."
                )

    def start(self, sources: Any, steps: Any) -> Any:
        """Returns the history before the first step.

        Args:
            sources: Number of sources.
            steps: Maximum number of steps.

        Returns:
            A list of int32 tokens (sources, 1, size), where size grows with the
            outputs; an empty list if no history is needed.
        """
        if not self.needs_history:
            return []
        return [tf.zeros([sources, 1, tf.minimum(steps, _HISTORY)], tf.int32)]

    def update(self, history: Any, tokens: Any, time: Any) -> Any:
        """Returns the history after a step.

        Args:
            history: List of int32 tokens (sources, width, size), or an empty list.
            tokens: int32 (sources, width), the tokens of the step.
            time: Index of the step, from 0.
        """
        if not history:
            return history
        previous, size = history[0], tf.shape(history[0])[-1]
        # Double the size when it is full.
        pad = [[0, 0], [0, 0], [0, size]]
        previous = tf.cond(time < size, lambda: previous, lambda: tf.pad(previous, pad))
        is_step = tf.equal(tf.range(tf.shape(previous)[-1]), time)
        return [tf.where(is_step, tokens[..., None], previous)]

    def apply(
        self, logits: Any, time: Any, history: Any, min_lengths: Any, prefix: Any
    ) -> Any:
        """Returns the logits with -inf for the tokens that are not allowed.

        If no token is allowed, `</s>` is: the output ends.

        Args:
            logits: Float32 (rows, vocab).
            time: Index of the step, from 0.
            history: List of int32 tokens (rows, size), or an empty list.
            min_lengths: int32 (rows,), or None.
            prefix: int32 (rows, prefix_length), the tokens that outputs start with,
                padded with 0; or None.
        """
        size = tf.shape(logits)[1]
        never = [*NEVER, *(each[0] for each in self.forbidden if len(each) == 1)]
        never += [UNK] if self.suppress_unknown else []
        banned = tf.reduce_any(tf.cast(tf.one_hot(never, size), tf.bool), axis=0)
        is_end = tf.equal(tf.range(size), END)
        if self.min_length > 1:
            banned |= is_end & (time + 1 < self.min_length)
        allowed = logits + tf.where(banned, -np.inf, 0.0)
        if min_lengths is not None:
            early = (time + 1 < min_lengths)[:, None] & is_end
            allowed = tf.where(early, -np.inf, allowed)
        if history:
            banned = self._find_banned(history[0], time, size)
            allowed = tf.where(banned, -np.inf, allowed)
        if self.may_forbid_all or min_lengths is not None:
            none = tf.equal(tf.reduce_max(allowed, axis=1, keepdims=True), -np.inf)
            allowed = tf.where(none & is_end, logits, allowed)
        if prefix is None:
            return allowed

        def force_prefix() -> Any:
            token = prefix[:, time, None]
            others = (token > 0) & tf.not_equal(tf.range(size), token)
            return tf.where(
                others, -np.inf, tf.where(token > 0, logits, allowed)
            )  # (rows, vocab)

        return tf.cond(time < tf.shape(prefix)[1], force_prefix, lambda: allowed)

    def _find_banned(self, history: Any, time: Any, size: Any) -> Any:
        """Returns a mask (rows, vocab) of tokens that would end a banned phrase."""
        rows, steps = tf.shape(history)[0], tf.shape(history)[1]
        banned = tf.zeros([rows, size], tf.bool)
        for phrase in self.forbidden:
            before = len(phrase) - 1
            if not before:
                continue
            steps_before = time - before + tf.range(before)
            last = tf.gather(history, tf.maximum(steps_before, 0), axis=1)
            match = tf.reduce_all(tf.equal(last, phrase[:-1]), axis=1)
            match &= time >= before
            banned |= match[:, None] & tf.equal(tf.range(size), phrase[-1])
        if self.no_repeat_ngram_size:
            before = self.no_repeat_ngram_size - 1
            starts = tf.range(steps)
            # A previous n-gram that starts here must end before this step.
            match = tf.fill([rows, steps], True) & (starts + before < time)
            for k in range(before):
                previous = tf.gather(history, tf.minimum(starts + k, steps - 1), axis=1)
                last = tf.gather(history, tf.maximum(time - before + k, 0), axis=1)
                match &= tf.equal(previous, last[:, None])
            ends = tf.gather(history, tf.minimum(starts + before, steps - 1), axis=1)
            matches = tf.where(match)  # (matches, 2): row, step
            indices = tf.stack(
                [tf.cast(matches[:, 0], tf.int32), tf.gather_nd(ends, matches)], axis=1
            )
            counts = tf.scatter_nd(
                indices, tf.ones(tf.shape(indices)[:1], tf.int32), [rows, size]
            )
            banned |= counts > 0
        return banned


def _check_phrases(forbidden: Any) -> tuple[tuple[int, ...], ...]:
    message = "`forbidden` must be a list of token ids and of lists of token ids."
    if isinstance(forbidden, str) or not isinstance(forbidden, Sequence | np.ndarray):
        raise TypeError(f"{message} Received: {forbidden!r}.")
    phrases = []
    for each in forbidden:
        is_phrase = isinstance(each, Sequence | np.ndarray) and not isinstance(
            each, str
        )
        phrase = tuple(
            check_integer("forbidden", token, 0, INT32_MAX)
            for token in (each if is_phrase else [each])
        )
        if not phrase:
            raise ValueError(f"{message} Received: an empty phrase.")
        phrases.append(phrase)
    return tuple(phrases)
