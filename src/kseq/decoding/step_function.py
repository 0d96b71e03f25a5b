"""The step function that a search runs, and operations on its tensors."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Finished sources are removed from the batch once they are an eighth of it: removing
# them copies the others, which costs more than it saves for a single source.
_REMOVAL_SHARE = 8


def _identity(states: Any) -> Any:
    """Returns the states unchanged."""
    return states


@dataclasses.dataclass(frozen=True)
class Step:
    """A decoder step in three parts, so that a search can skip some computations.

    A search has several hypotheses for each source, as tensors (sources, width, ...).
    After a step it keeps the best continuations. They may continue only a few of the
    previous hypotheses, and some have ended. So the search calls `carry` only for
    hypotheses that are continued, and `project` only for hypotheses that have not
    ended, as rows.

    A search also accepts a plain function of (tokens, states); see `Search`.

    Attributes:
        advance: Function of the previous tokens, int32 (sources, width); the result of
            `carry` for them, a nest of (sources, width, ...); and the constants of the
            sources, a nest of (sources, ...). It returns a tuple of hidden values, a
            nest of (sources, width, ...); the new states, a nest of (sources, width,
            ...); and attention weights, float (sources, width, source_length), or None.
        project: Function of hidden values, a nest of (rows, ...). It returns the logits
            of the next tokens, float (rows, vocab).
        carry: Function of states, a nest of (rows, ...). It returns everything that the
            next step needs from them, a nest of (rows, ...). Default: the identity.
    """

    advance: Callable[[Any, Any, Any], tuple[Any, Any, Any]]
    project: Callable[[Any], Any]
    carry: Callable[[Any], Any] = dataclasses.field(default_factory=lambda: _identity)


def as_step(step: Any, with_sources: bool = False) -> Step:
    """Makes a `Step` from a plain function; returns a `Step` unchanged.

    Args:
        step: A `Step`; or a function of tokens, int32 (rows,), and states, a nest of
            (rows, ...), that returns logits, float (rows, vocab), the new states and,
            optionally, attention weights, float (rows, source_length).
        with_sources: Pass the function a third argument, the constants of each row's
            source, a nest of (rows, ...). Default: False.

    Raises:
        TypeError: If `step` is neither a `Step` nor a function.
    """
    if isinstance(step, Step):
        return step
    if not callable(step):
        raise TypeError(
            "`step` must be a function of tokens and states, or a "
            f"kseq.decoding.Step. Received: {step!r}."
        )

    def advance(tokens: Any, states: Any, sources: Any) -> tuple[Any, Any, Any]:
        shape = tf.shape(tokens)
        constants = []
        if with_sources:
            constants = [map_nest(lambda x: tf.repeat(x, shape[1], axis=0), sources)]
        logits, states, *weights = step(
            flatten_hypotheses(tokens), flatten_hypotheses(states), *constants
        )
        weights = [each for each in weights if each is not None]
        outputs = map_nest(tf.convert_to_tensor, [logits, states, *weights])
        logits, states, *weights = unflatten_hypotheses(
            outputs, shape[0], tokens.shape[1]
        )
        return logits, states, weights[0] if weights else None

    return Step(advance, lambda logits: logits)


def map_nest(function: Callable[..., Any], *nests: Any) -> Any:
    """Applies a function to the tensors of a nest."""
    return tf.nest.map_structure(function, *nests)


def flatten_hypotheses(nest: Any) -> Any:
    """Reshapes tensors (sources, width, ...) to (sources * width, ...)."""

    def flatten(x: Any) -> Any:
        rest = [-1 if size is None else size for size in x.shape[2:]]
        if rest.count(-1):
            shape = tf.concat([[-1], tf.shape(x)[2:]], axis=0)
            return tf.ensure_shape(tf.reshape(x, shape), [None, *x.shape[2:]])
        return tf.reshape(x, [-1, *rest])

    return map_nest(flatten, nest)


def unflatten_hypotheses(nest: Any, sources: Any, width: int) -> Any:
    """Reshapes tensors (sources * width, ...) to (sources, width, ...)."""

    def unflatten(x: Any) -> Any:
        shape = tf.concat([[sources, width], tf.shape(x)[1:]], axis=0)
        return tf.ensure_shape(tf.reshape(x, shape), [None, width, *x.shape[1:]])

    return map_nest(unflatten, nest)


def gather_rows(nest: Any, indices: Any) -> Any:
    """Gathers rows of tensors (rows, ...) by indices of any shape."""
    return map_nest(lambda x: tf.gather(x, indices), nest)


def scatter_rows(x: Any, rows: Any, size: Any) -> Any:
    """Scatters (rows, ...) to the given rows of a new tensor (size, ...) of zeros."""
    shape = tf.concat([[size], tf.shape(x)[1:]], axis=0)
    return tf.scatter_nd(rows[:, None], x, shape)


def loop_shapes(nest: Any) -> Any:
    """Returns shape invariants of tensors whose first axis changes in a loop."""

    def shape(x: Any) -> tf.TensorShape:
        if isinstance(x, tf.TensorArray):
            return tf.TensorShape(None)
        return tf.TensorShape([None, *x.shape[1:]])

    return map_nest(shape, nest)


def loop_shapes_with_history(hypotheses: Any) -> Any:
    """Returns shape invariants of a named tuple whose `history` grows in a loop."""
    shapes = loop_shapes(hypotheses)
    history = [tf.TensorShape([*each[:2], None]) for each in shapes.history]
    return shapes._replace(history=history)


def select_active(active: Any) -> tuple[Any, Any]:
    """Selects the sources that stay in the batch: all, until enough have finished.

    Args:
        active: bool (sources,), False for finished sources.

    Returns:
        A tuple of the indices of the selected sources, int32 (selected,), and a bool
        scalar, whether some are removed.
    """
    count = tf.shape(active)[0]
    finished = count - tf.math.count_nonzero(active, dtype=tf.int32)
    remove = (finished > 0) & (finished * _REMOVAL_SHARE >= count)
    selected = tf.cond(
        remove,
        lambda: tf.cast(tf.where(active)[:, 0], tf.int32),
        lambda: tf.range(count),
    )
    return selected, remove


def stack_steps(array: tf.TensorArray, steps: Any) -> Any:
    """Stacks the first steps of an array of (batch, n, ...) to (batch, n, steps, ...).

    The array must hold at least one step, even if `steps` is 0: the shape of an array
    is unknown if nothing is read from it.
    """
    x = array.gather(tf.range(tf.maximum(steps, 1)))[:steps]
    return tf.transpose(x, [1, 2, 0, *range(3, len(x.shape))])
