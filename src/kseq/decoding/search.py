"""The base class of searches."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from kseq.config.checks import INT32_MAX
from kseq.decoding.constraints import Constraints
from kseq.decoding.step_function import Step, as_step, gather_rows, map_nest

# Up to this vocabulary size the softmax is summed in float64, which costs little. In
# float32 the sum over 1,500 equal steps would be wrong by 1e-4.
_EXACT_VOCAB = 512


@dataclasses.dataclass(frozen=True)
class SearchInputs:
    """The call arguments of a search, converted to tensors; see `Search`.

    Attributes:
        step: A `Step`.
        states: Nest of (batch, ...).
        max_lengths: int32 (batch,).
        sources: Nest of (batch, ...), or an empty list.
        source_mask: bool (batch, source_length), or None.
        min_lengths: int32 (batch,), or None.
        prefix: int32 (batch, prefix_length), or None.
        rows: int32 (batch,).
        return_attention: Whether to return the attention weights.
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

    def constrain(
        self, constraints: Constraints, logits: Any, time: Any, history: Any, rows: Any
    ) -> Any:
        """Returns the logits with -inf for the tokens that are not allowed.

        Args:
            constraints: The constraints of the search.
            logits: Float32 (rows, vocab).
            time: Index of the step, from 0.
            history: The history of these rows; see `Constraints`.
            rows: int32 (rows,), rows of their sources in the batch.
        """
        return constraints.apply(
            logits,
            time,
            history,
            None if self.min_lengths is None else gather_rows(self.min_lengths, rows),
            None if self.prefix is None else gather_rows(self.prefix, rows),
        )


class Search:
    """Base class of searches: their constraints and their call arguments.

    Args:
        min_length: Minimum number of tokens of an output, including `</s>`. Default: 0.
        forbidden: Token ids, and phrases as lists of ids, that no output contains.
            Default: none.
        no_repeat_ngram_size: No n-gram of this size occurs twice in an output.
            Default: 0, no constraint.
        suppress_unknown: Never select `<unk>` (1). Default: False.

    Call arguments:
        step: A `Step`; or a function of tokens, int32 (rows,), and states, a nest of
            (rows, ...), that returns the logits of the next tokens, float (rows,
            vocab), the new states and, optionally, attention weights, float (rows,
            source_length). Rows are removed after they end, so everything that belongs
            to a row must be in `states` or `sources`.
        states: Nest of tensors (batch, ...), the states before the first step.
        max_lengths: int32 (batch,), maximum output lengths, including `</s>`.
        sources: Nest of tensors (batch, ...) that are constant during the search. A
            plain function receives them as a third argument, a nest of (rows, ...).
            Default: none, and no third argument.
        source_mask: Bool (batch, source_length), True for real source steps; for a
            coverage penalty. Default: True everywhere.
        min_lengths: int32 (batch,), minimum output lengths, like `min_length`. Default:
            none.
        prefix: int32 (batch, prefix_length), tokens that each output starts with,
            padded with 0. Default: none.
        rows: int32 (batch,), index of each source, which determines its random numbers.
            Default: 0, 1, ...
        return_attention: Return the attention weights. Default: False.

    Returns:
        Dict of tensors, as in `Hypotheses`: `tokens`, int32 (batch, n, time);
        `lengths`, int32 (batch, n); `scores`, float64 (batch, n); `truncated`, bool
        (batch, n); `log_probs`, float64 (batch, n, time); and, if requested,
        `attention`, float32 (batch, n, time, source_length). If every allowed token has
        a logit of -inf, there is no output: its length is 0 and its score -inf.

    Raises:
        ValueError: If an argument is out of range, or if the logits of a row are not
            finite (nan, or all -inf). In a graph the latter raises
            `tf.errors.InvalidArgumentError`.
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
        """Number of hypotheses returned for each source."""
        raise NotImplementedError

    @property
    def rows_per_source(self) -> int:
        """Maximum number of hypotheses of a source during the search."""
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
        outputs = self.search(
            SearchInputs(
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
        not_finite = outputs.pop("not_finite")
        message = (
            "The logits of a source are not finite (nan, or all -inf): the weights of "
            "the model have probably diverged. Sources:"
        )
        if not tf.executing_eagerly():
            check = tf.debugging.Assert(
                ~tf.reduce_any(not_finite), [message, tf.boolean_mask(rows, not_finite)]
            )
            with tf.control_dependencies([check]):
                return map_nest(tf.identity, outputs)
        if not_finite.numpy().any():
            raise ValueError(f"{message} {rows.numpy()[not_finite.numpy()].tolist()}.")
        return outputs

    def search(self, inputs: SearchInputs) -> dict[str, Any]:
        """Searches.

        Args:
            inputs: The checked call arguments.

        Returns:
            The dict that `__call__` returns, and `not_finite`, bool (batch,), True for
            sources with logits that are not finite.
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
        """Returns the arguments of the search."""
        return {
            "min_length": self.constraints.min_length,
            "forbidden": [list(each) for each in self.constraints.forbidden],
            "no_repeat_ngram_size": self.constraints.no_repeat_ngram_size,
            "suppress_unknown": self.constraints.suppress_unknown,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Search":
        """Returns a search for the dict that `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"


def require_attention(weights: Any, name: str) -> Any:
    """Returns the attention weights of a step as float32.

    Args:
        weights: Float (sources, width, source_length), or None.
        name: Name of the argument that needs them.

    Raises:
        ValueError: If `weights` is None.
    """
    if weights is None:
        raise ValueError(
            f"`{name}` needs a step that returns attention weights: a model with "
            "attention."
        )
    return tf.cast(weights, tf.float32)


def log_normalizer(logits: Any) -> tuple[Any, Any]:
    """Computes the logarithm of the softmax's denominator.

    Args:
        logits: Float32 (rows, vocab).

    Returns:
        A tuple of the logarithm, float64 (rows,), 0 if it is not finite; and bool
        (rows,), True if it is not finite.
    """
    size = logits.shape[1]
    if size is not None and size <= _EXACT_VOCAB:
        logits = tf.cast(logits, tf.float64)
    top = tf.reduce_max(logits, axis=1)  # (rows,)
    top = tf.where(tf.math.is_finite(top), top, tf.zeros_like(top))
    sums = tf.reduce_sum(tf.exp(logits - top[:, None]), axis=1)
    normalizer = tf.math.log(tf.cast(sums, tf.float64)) + tf.cast(top, tf.float64)
    # nan if a logit is nan, -inf if all logits are, inf if one is.
    not_finite = ~tf.math.is_finite(normalizer)
    return tf.where(not_finite, tf.zeros_like(normalizer), normalizer), not_finite


def _as_int32(name: str, value: Any) -> Any:
    """Converts integers to an int32 tensor, and checks that they do not overflow."""
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
