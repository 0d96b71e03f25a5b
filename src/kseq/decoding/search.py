"""What all searches have in common."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from kseq.config.checks import INT32_MAX
from kseq.decoding.constraints import Constraints
from kseq.decoding.step_function import Step, as_step, map_nest, take

# Up to this size of a vocabulary a sum of exponentials is exact at hardly any cost: of
# 1,500 equal steps float32 would lose 1e-4.
_EXACT_VOCAB = 512


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a search is called on, checked: tensors, named as by `Search`.

    Attributes:
        step: A `Step`.
        states: Nest of (batch, ...).
        max_lengths: int32 (batch,).
        sources: Nest of (batch, ...); an empty list where there are none.
        source_mask: bool (batch, source_length), or None.
        min_lengths: int32 (batch,), or None.
        prefix: int32 (batch, prefix_length), or None.
        rows: int32 (batch,).
        return_attention: Whether the attention weights are asked for.
    """

    step: Step
    states: Any
    max_lengths: Any
    sources: Any
    source_mask: Any
    min_lengths: Any
    prefix: Any
    rows: Any
    return_attention: bool

    def allowed(
        self, constraints: Constraints, logits: Any, time: Any, history: Any, rows: Any
    ) -> Any:
        """Returns logits with -inf at the tokens that may not come next.

        Args:
            constraints: Those of the search.
            logits: Float32 (rows, vocab).
            time: Number of the step.
            history: What the constraints remember, for these rows.
            rows: int32 (rows,), the places of their sources in the batch.
        """
        return constraints.allow(
            logits,
            time,
            history,
            None if self.min_lengths is None else take(self.min_lengths, rows),
            None if self.prefix is None else take(self.prefix, rows),
        )


class Search:
    """Base class of the searches: their constraints, and how they are called.

    Args:
        min_length: Least number of tokens of an output, `</s>` included; below it
            `</s>` is not chosen. Default 0.
        forbidden: What no output holds: token ids, and phrases, as lists of ids.
            Default: none.
        no_repeat_ngram_size: Size of the n-grams of which none comes twice in an
            output. Default 0: all may.
        suppress_unknown: Never choose `<unk>` (1). Default False.

    Call arguments:
        step: A `Step`, or a function of tokens, int32 (rows,), and states, a nest of
            (rows, ...), to the logits of the next tokens, float (rows, vocab), the
            states after them and, if it has any, the attention weights (rows,
            source_length). Rows leave when they have ended, so all that belongs to a
            row must be in its states, or in `sources`.
        states: Nest of tensors (batch, ...), the states before the first step.
        max_lengths: int32 (batch,), the longest output of each source, `</s>`
            included.
        sources: Nest of tensors (batch, ...) that stay as they are; where given, a
            plain function gets them as a third argument, a row for each of its rows.
        source_mask: Boolean (batch, source_length), where attention may look; for a
            coverage penalty. Default: everywhere.
        min_lengths: int32 (batch,), as `min_length`, for each source. Default: none.
        prefix: int32 (batch, prefix_length), tokens that each output begins with,
            padded with 0. Default: none.
        rows: int32 (batch,), the number of each source, which its random numbers
            depend on. Default: 0, 1, ...
        return_attention: Return the attention weights. Default False.

    Returns:
        Dict of tensors, as in `Hypotheses`: `tokens`, int32 (batch, n, time);
        `lengths`, int32 (batch, n); `scores`, float64 (batch, n); `truncated`, bool
        (batch, n); `log_probs`, float64 (batch, n, time); and where asked for
        `attention`, float32 (batch, n, time, source_length). An output that cannot be,
        since all that may come next has a logit of -inf, has length 0 and score -inf.

    Raises:
        ValueError: If an argument is out of range, or, where it runs eagerly, the
            logits of a row are not finite (nan, or -inf all over). In a graph that
            raises `tf.errors.InvalidArgumentError`.
    """

    def __init__(
        self,
        min_length: int = 0,
        forbidden: Any = (),
        no_repeat_ngram_size: int = 0,
        suppress_unknown: bool = False,
    ) -> None:
        self.constraints = Constraints.checked(
            min_length, forbidden, no_repeat_ngram_size, suppress_unknown
        )

    @property
    def n(self) -> int:
        """Number of hypotheses it returns for each source."""
        raise NotImplementedError

    @property
    def rows_per_source(self) -> int:
        """Number of hypotheses of one source that it holds at a time."""
        raise NotImplementedError

    def __call__(
        self,
        step: Any,
        states: Any,
        max_lengths: Any,
        sources: Any = None,
        source_mask: Any = None,
        min_lengths: Any = None,
        prefix: Any = None,
        rows: Any = None,
        return_attention: bool = False,
    ) -> dict[str, Any]:
        """Searches; see the class."""
        max_lengths = _as_int32("max_lengths", max_lengths)
        if rows is None:
            rows = tf.range(tf.shape(max_lengths)[0])
        rows = _as_int32("rows", rows)
        if source_mask is not None:
            source_mask = tf.convert_to_tensor(source_mask, tf.bool)
        found = self.search(
            Problem(
                as_step(step, sources is not None),
                map_nest(tf.convert_to_tensor, states),
                max_lengths,
                map_nest(tf.convert_to_tensor, [] if sources is None else sources),
                source_mask,
                None if min_lengths is None else _as_int32("min_lengths", min_lengths),
                None if prefix is None else _as_int32("prefix", prefix),
                rows,
                return_attention,
            )
        )
        broken = found.pop("broken")
        message = (
            "The logits of a source are not finite (nan, or -inf all over): the "
            "weights of the model have probably diverged. Sources:"
        )
        if not tf.executing_eagerly():
            check = tf.debugging.Assert(
                ~tf.reduce_any(broken), [message, tf.boolean_mask(rows, broken)]
            )
            with tf.control_dependencies([check]):
                return map_nest(tf.identity, found)
        if broken.numpy().any():
            raise ValueError(f"{message} {rows.numpy()[broken.numpy()].tolist()}.")
        return found

    def search(self, problem: "Problem") -> dict[str, Any]:
        """Searches, with checked arguments.

        Args:
            problem: A `Problem`.

        Returns:
            As `__call__`, and `broken`, bool (batch,), the sources whose logits were
            not finite.
        """
        raise NotImplementedError

    def tensor_options(self) -> dict[str, Any]:
        """Returns the attributes that `search` also accepts as scalar tensors.

        `Seq2Seq.generate` passes them to its compiled graph as arguments, so a new
        value needs no new trace. All other attributes are constants of the graph: a new
        value is traced again. A subclass must define this method itself; an inherited
        definition is ignored.

        Returns:
            Dict of numpy scalars. Default: empty.
        """
        return {}

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make a like search."""
        return {
            "min_length": self.constraints.min_length,
            "forbidden": [list(each) for each in self.constraints.forbidden],
            "no_repeat_ngram_size": self.constraints.no_repeat_ngram_size,
            "suppress_unknown": self.constraints.suppress_unknown,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Search":
        """Makes a search of what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def attention_weights(weights: Any, name: str) -> Any:
    """Returns the weights of a step as float32.

    Args:
        weights: Float (sources, width, source_length), or None.
        name: The argument that needs them.

    Raises:
        ValueError: If there are none.
    """
    if weights is None:
        raise ValueError(
            f"`{name}` needs a step that returns attention weights: a model with "
            "attention."
        )
    return tf.cast(weights, tf.float32)


def finite_normalizer(logits: Any) -> tuple[Any, Any]:
    """Returns the logarithm of the softmax's denominator, and where it is not finite.

    Args:
        logits: Float32 (rows, vocab).

    Returns:
        Float64 (rows,), 0 where not finite; bool (rows,).
    """
    size = logits.shape[1]
    if size is not None and size <= _EXACT_VOCAB:
        logits = tf.cast(logits, tf.float64)
    top = tf.reduce_max(logits, axis=1)  # (rows,)
    top = tf.where(tf.math.is_finite(top), top, tf.zeros_like(top))
    sums = tf.reduce_sum(tf.exp(logits - top[:, None]), axis=1)
    normalizer = tf.math.log(tf.cast(sums, tf.float64)) + tf.cast(top, tf.float64)
    # It is nan where a logit is, -inf where all are, inf where one is.
    wrong = ~tf.math.is_finite(normalizer)
    return tf.where(wrong, tf.zeros_like(normalizer), normalizer), wrong


def _as_int32(name: str, value: Any) -> Any:
    """Returns an int32 tensor of integers; larger ones would wrap around."""
    if tf.is_symbolic_tensor(value):
        return tf.cast(value, tf.int32)
    array = np.asarray(value)
    wrong = array[(array > INT32_MAX) | (array < -INT32_MAX)]
    if wrong.size:
        raise ValueError(
            f"`{name}` must hold integers of at most {INT32_MAX}. Received: "
            f"{wrong.flat[0]}."
        )
    return tf.cast(value, tf.int32)
