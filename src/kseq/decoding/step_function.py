"""What a search runs: a step function, in up to three parts."""

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Sources that are done leave the batch once they are an eighth of it: the rest are
# copied then, which for a single source costs more than it spares.
_LEAVING = 8


def _as_they_are(states: Any) -> Any:
    """Returns the states themselves."""
    return states


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of a decoder in three parts, so that a search can spare products.

    A search holds several hypotheses of each of several sources, as tensors (sources,
    width, ...). After a step it keeps the best, which may continue few of the
    hypotheses before, and may have ended for some: so it calls `carry` for those alone
    that go on, and `project` for those alone that are alive, as flat rows.

    A plain function of (tokens, states) does as well; see the searches.

    Attributes:
        advance: Function of the previous tokens, int32 (sources, width), what `carry`
            returned for them, a nest of (sources, width, ...), and the constants of
            the sources, a nest of (sources, ...). Returns a triple: the hidden values,
            a nest of (sources, width, ...); the states after the tokens, likewise; and
            the attention weights, float (sources, width, source_length), or None.
        project: Function of hidden values, a nest of (rows, ...), to the logits of the
            next tokens, float (rows, vocab).
        carry: Function of states, a nest of (rows, ...), to all that the next step
            needs of them, a nest of (rows, ...). Default: the states themselves.
    """

    advance: Callable[[Any, Any, Any], tuple[Any, Any, Any]]
    project: Callable[[Any], Any]
    carry: Callable[[Any], Any] = dataclasses.field(
        default_factory=lambda: _as_they_are
    )


def as_step(step: Any, with_sources: bool = False) -> Step:
    """Makes a `Step` of a plain function; returns a `Step` as it is.

    Args:
        step: A `Step`, or a function of tokens, int32 (rows,), and states, a nest of
            (rows, ...), and, where a search is given `sources`, a nest of (rows, ...)
            with the constants of each row's source. It returns logits (rows, vocab)
            and the states after the tokens, and maybe attention weights (rows,
            source_length).
        with_sources: Whether a plain function takes the third argument.

    Raises:
        TypeError: If `step` is neither.
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
        further = []
        if with_sources:
            repeated = map_nest(lambda x: tf.repeat(x, shape[1], axis=0), sources)
            further = [repeated]
        logits, states, *weights = step(flat(tokens), flat(states), *further)

        weights = [each for each in weights if each is not None]
        outputs = map_nest(tf.convert_to_tensor, [logits, states, *weights])
        logits, states, *weights = unflat(outputs, shape[0], tokens.shape[1])
        return logits, states, weights[0] if weights else None

    return Step(advance, lambda logits: logits)


def map_nest(function: Callable[..., Any], *nests: Any) -> Any:
    """Applies a function to the tensors of a nest."""
    return tf.nest.map_structure(function, *nests)


def flat(nest: Any) -> Any:
    """Turns tensors (sources, width, ...) into rows, (sources * width, ...)."""

    def one(x: Any) -> Any:
        rest = [-1 if size is None else size for size in x.shape[2:]]
        if rest.count(-1):
            shape = tf.concat([[-1], tf.shape(x)[2:]], axis=0)
            return tf.ensure_shape(tf.reshape(x, shape), [None, *x.shape[2:]])
        return tf.reshape(x, [-1, *rest])

    return map_nest(one, nest)


def unflat(nest: Any, sources: Any, width: int) -> Any:
    """Turns rows, (sources * width, ...), into (sources, width, ...)."""

    def one(x: Any) -> Any:
        shape = tf.concat([[sources, width], tf.shape(x)[1:]], axis=0)
        return tf.ensure_shape(tf.reshape(x, shape), [None, width, *x.shape[1:]])

    return map_nest(one, nest)


def take(nest: Any, indices: Any) -> Any:
    """Takes rows, (n, ...), by indices of any shape."""
    return map_nest(lambda x: tf.gather(x, indices), nest)


def open_shapes(nest: Any) -> Any:
    """Returns the shapes in a loop of tensors whose first axis may change there."""

    def one(x: Any) -> tf.TensorShape:
        if isinstance(x, tf.TensorArray):
            return tf.TensorShape(None)
        return tf.TensorShape([None, *x.shape[1:]])

    return map_nest(one, nest)


def growing_history(shapes: Any) -> Any:
    """Returns the shapes of live outputs, with a history of any size.

    Args:
        shapes: What `open_shapes` returns for a named tuple with a field `history`.
    """
    history = [tf.TensorShape([*each[:2], None]) for each in shapes.history]
    return shapes._replace(history=history)


def stay(active: Any) -> tuple[Any, Any]:
    """Chooses which sources stay in the batch: all, until enough are done.

    Args:
        active: bool (sources,).

    Returns:
        Their numbers, int32 (staying,), and whether any leave.
    """
    count = tf.shape(active)[0]
    left = count - tf.math.count_nonzero(active, dtype=tf.int32)
    leave = (left > 0) & (left * _LEAVING >= count)
    keep = tf.cond(
        leave,
        lambda: tf.cast(tf.where(active)[:, 0], tf.int32),
        lambda: tf.range(count),
    )
    return keep, leave


def spread(x: Any, rows: Any, batch: Any) -> Any:
    """Turns (sources, ...) into (batch, ...), by the sources' rows; 0 elsewhere."""
    shape = tf.concat([[batch], tf.shape(x)[1:]], axis=0)
    return tf.scatter_nd(rows[:, None], x, shape)


def by_source(array: tf.TensorArray, steps: Any) -> Any:
    """Turns the first steps of an array of (batch, n, ...) into (batch, n, steps, ...).

    One step must have been written at least, even where `steps` is 0: an array of which
    nothing is read has no shape.
    """
    x = array.gather(tf.range(tf.maximum(steps, 1)))[:steps]
    return tf.transpose(x, [1, 2, 0, *range(3, len(x.shape))])
