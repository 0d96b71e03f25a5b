"""What an output may not hold, as a search applies it to the logits."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kseq.config.checks import INT32_MAX, check_boolean, check_integer
from kseq.special_tokens import END, PAD, START, UNK

# Each token of an n-gram is a part of the graph.
_LONGEST_NGRAM = 1000

# The tokens before a step have room for this many at first.
_HISTORY = 32

# Neither is ever an output: they stand before a target and after its end.
NEVER = (PAD, START)


@dataclasses.dataclass(frozen=True)
class Constraints:
    """The constraints of a search, checked; plain lists and numbers.

    Attributes:
        min_length: Least number of tokens, `</s>` included.
        forbidden: Token ids, and lists of ids, that no output holds.
        no_repeat_ngram_size: No n-gram of this size comes twice; 0 for any.
        suppress_unknown: No output holds `<unk>` (1).
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
        """Makes them of what a caller gave.

        Raises:
            ValueError: If a value is out of range; TypeError if of the wrong type.
        """
        return cls(
            check_integer("min_length", min_length, 0, INT32_MAX),
            _phrases(forbidden),
            check_integer(
                "no_repeat_ngram_size", no_repeat_ngram_size, 0, _LONGEST_NGRAM
            ),
            check_boolean("suppress_unknown", suppress_unknown),
        )

    @property
    def needs_history(self) -> bool:
        """Whether they look at the tokens before."""
        return self.no_repeat_ngram_size > 0 or any(len(p) > 1 for p in self.forbidden)

    @property
    def may_forbid_all(self) -> bool:
        """Whether they may leave an output no token to go on with."""
        return bool(self.forbidden or self.no_repeat_ngram_size or self.min_length)

    def check_vocab(self, vocab_size: int) -> None:
        """Checks the forbidden ids against the size of a vocabulary.

        Raises:
            ValueError: If one is outside.
        """
        for token in itertools.chain(*self.forbidden):
            if token >= vocab_size:
                raise ValueError(
                    f"`forbidden` must hold token ids in 0..{vocab_size - 1}. "
                    f"Received: {token}."
                )

    def start(self, sources: Any, steps: Any) -> Any:
        """Returns what they must remember of each hypothesis before the first step.

        Args:
            sources: Number of sources.
            steps: Greatest number of steps.

        Returns:
            A list of int32 tokens (sources, 1, size), which grow with the outputs, or
            an empty list.
        """
        if not self.needs_history:
            return []
        return [tf.zeros([sources, 1, tf.minimum(steps, _HISTORY)], tf.int32)]

    def remember(self, history: Any, tokens: Any, time: Any) -> Any:
        """Returns the history after a step.

        Args:
            history: What `start` returned, (sources, width, size).
            tokens: int32 (sources, width), the tokens of the step.
            time: Number of the step, from 0.
        """
        if not history:
            return history
        seen, size = history[0], tf.shape(history[0])[-1]
        # Twice as long where it is full.
        pad = [[0, 0], [0, 0], [0, size]]
        seen = tf.cond(time < size, lambda: seen, lambda: tf.pad(seen, pad))
        here = tf.equal(tf.range(tf.shape(seen)[-1]), time)
        return [tf.where(here, tokens[..., None], seen)]

    def allow(
        self, logits: Any, time: Any, history: Any, min_lengths: Any, prefix: Any
    ) -> Any:
        """Returns the logits with -inf at the tokens that may not come next.

        Where none is left, `</s>` is: an output that cannot go on ends.

        Args:
            logits: Float32 (rows, vocab).
            time: Number of the step, from 0.
            history: int32 tokens (rows, size), or an empty list.
            min_lengths: int32 (rows,), or None.
            prefix: int32 (rows, prefix_length), tokens to begin with, 0 where a row's
                are over; or None.
        """
        size = tf.shape(logits)[1]
        never = [*NEVER, *(p[0] for p in self.forbidden if len(p) == 1)]
        never += [UNK] if self.suppress_unknown else []
        banned = tf.reduce_any(tf.cast(tf.one_hot(never, size), tf.bool), axis=0)
        ends = tf.equal(tf.range(size), END)
        if self.min_length > 1:
            banned |= ends & (time + 1 < self.min_length)
        allowed = logits + tf.where(banned, -np.inf, 0.0)
        if min_lengths is not None:
            early = (time + 1 < min_lengths)[:, None] & ends
            allowed = tf.where(early, -np.inf, allowed)
        if history:
            allowed = tf.where(self._repeats(history[0], time, size), -np.inf, allowed)
        if self.may_forbid_all or min_lengths is not None:
            stuck = tf.equal(tf.reduce_max(allowed, axis=1, keepdims=True), -np.inf)
            allowed = tf.where(stuck & ends, logits, allowed)
        if prefix is None:
            return allowed

        def forced() -> Any:
            token = prefix[:, time, None]
            others = (token > 0) & tf.not_equal(tf.range(size), token)
            return tf.where(
                others, -np.inf, tf.where(token > 0, logits, allowed)
            )  # (rows, vocab)

        return tf.cond(time < tf.shape(prefix)[1], forced, lambda: allowed)

    def _repeats(self, history: Any, time: Any, size: Any) -> Any:
        """Returns where a token would end a phrase that may not come, (rows, vocab)."""
        rows, steps = tf.shape(history)[0], tf.shape(history)[1]
        banned = tf.zeros([rows, size], tf.bool)
        for phrase in self.forbidden:
            before = len(phrase) - 1
            if not before:
                continue
            places = time - before + tf.range(before)
            last = tf.gather(history, tf.maximum(places, 0), axis=1)
            ends = tf.reduce_all(tf.equal(last, phrase[:-1]), axis=1) & (time >= before)
            banned |= ends[:, None] & tf.equal(tf.range(size), phrase[-1])
        if self.no_repeat_ngram_size:
            before = self.no_repeat_ngram_size - 1
            starts = tf.range(steps)
            # A former n-gram that begins here ends before this step.
            again = tf.fill([rows, steps], True) & (starts + before < time)
            for k in range(before):
                former = tf.gather(history, tf.minimum(starts + k, steps - 1), axis=1)
                last = tf.gather(history, tf.maximum(time - before + k, 0), axis=1)
                again &= tf.equal(former, last[:, None])
            ends = tf.gather(history, tf.minimum(starts + before, steps - 1), axis=1)
            places = tf.where(again)  # (places, 2): row, step
            indices = tf.stack(
                [tf.cast(places[:, 0], tf.int32), tf.gather_nd(ends, places)], axis=1
            )
            counts = tf.scatter_nd(
                indices, tf.ones(tf.shape(indices)[:1], tf.int32), [rows, size]
            )
            banned |= counts > 0
        return banned


def _phrases(forbidden: Any) -> tuple[tuple[int, ...], ...]:
    wanted = "`forbidden` must be a list of token ids and of lists of token ids."
    if isinstance(forbidden, str) or not isinstance(forbidden, Sequence | np.ndarray):
        raise TypeError(f"{wanted} Received: {forbidden!r}.")
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
            raise ValueError(f"{wanted} Received: an empty phrase.")
        phrases.append(phrase)
    return tuple(phrases)
