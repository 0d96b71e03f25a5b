"""Searches that choose one token a step for each output, and never go back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kseq.decoding.constraints import Constraints
from kseq.decoding.search import Problem, attention_weights, finite_normalizer
from kseq.decoding.step_function import (
    by_source,
    flat,
    growing_history,
    map_nest,
    open_shapes,
    spread,
    stay,
    take,
    unflat,
)
from kseq.special_tokens import END, START

# Random numbers for this many steps are drawn at first.
_DRAWN = 64


class _Live(NamedTuple):
    """The outputs that go on, of the sources that are not done."""

    rows: Any  # int32 (sources,), their places in the batch
    tokens: Any  # int32 (sources, n), the last ones
    alive: Any  # bool (sources, n)
    carried: Any  # nest of (sources, n, ...)
    sources: Any  # nest of (sources, ...)
    history: Any  # what the constraints remember, a list of (sources, n, ...)


class _Found(NamedTuple):
    """What has been found: tensors (batch, n), then arrays of them by step."""

    lengths: Any
    scores: Any
    truncated: Any
    broken: Any  # bool (batch,)
    tokens: Any
    log_probs: Any
    attention: Any  # list of one array of (batch, n, source_length), or empty


def walk(
    choose: Callable[[Any, Any], Any],
    constraints: Constraints,
    n: int,
    problem: Problem,
    draw: Callable[[Any], Any] | None = None,
) -> dict[str, Any]:
    """Decodes a batch in one loop inside the graph.

    Args:
        choose: Function of logits, float32 (rows, vocab) with -inf where a token may
            not come, and of random numbers, float32 (rows,), or None, to tokens, int32
            (rows,).
        constraints: What it may not choose.
        n: Number of outputs for each source.
        problem: What the search is called on.
        draw: Function of a number of steps to random numbers, float32 (batch * n,
            steps), of which fewer are the beginning of more. Default: none are drawn.

    Returns:
        As `Search`, and `broken`, bool (batch,).
    """
    step, max_lengths = problem.step, problem.max_lengths
    batch = tf.shape(max_lengths)[0]
    steps = tf.reduce_max(tf.concat([max_lengths, [1]], axis=0))

    def array(dtype: Any, *rest: Any) -> tf.TensorArray:
        # It grows: a maximum length costs nothing that is not decoded.
        return tf.TensorArray(
            dtype, 0, dynamic_size=True, element_shape=[None, n, *rest]
        )

    def repeated(nest: Any) -> Any:
        return map_nest(lambda x: tf.repeat(x[:, None], n, axis=1), nest)

    def body(
        time: Any, live: _Live, found: _Found, drawn: list[Any]
    ) -> tuple[Any, ...]:
        hidden, states, weights = step.advance(live.tokens, live.carried, live.sources)
        count = tf.shape(live.tokens)[0]
        alive = tf.reshape(live.alive, [-1])  # (sources * n,)
        rows = tf.where(alive)[:, 0]
        logits = tf.cast(step.project(take(flat(hidden), rows)), tf.float32)
        normalizer, wrong = finite_normalizer(logits)  # (rows,)
        rows = tf.cast(rows, tf.int32)
        in_batch = tf.gather(live.rows, rows // n)
        history = take(flat(live.history), rows)
        allowed = problem.allowed(constraints, logits, time, history, in_batch)
        noise = None
        if draw is not None:
            some = drawn[0]
            # Twice as many where they are used up.
            more = time >= tf.shape(some)[1]
            some = tf.cond(more, lambda: draw(2 * time), lambda: some)
            drawn = [some]
            noise = tf.gather(some[:, time], in_batch * n + rows % n)  # (rows,)
        chosen = choose(allowed, noise)  # (rows,)
        logit = tf.gather(logits, chosen, batch_dims=1)
        gained = tf.cast(logit, tf.float64) - normalizer
        possible = tf.gather(allowed, chosen, batch_dims=1) > -np.inf
        gained = tf.where(possible | wrong, gained, -np.inf)

        def dense(x: Any) -> Any:  # (rows,) -> (sources, n), 0 where not alive
            return tf.reshape(spread(x, rows, count * n), [count, n])

        def whole(x: Any) -> Any:  # (sources, n, ...) -> (batch, n, ...)
            return spread(x, live.rows, batch)

        tokens, gained = dense(chosen), dense(gained)
        going = live.alive & tf.not_equal(tokens, END) & (gained > -np.inf)
        cut = going & (time + 1 >= tf.gather(max_lengths, live.rows))[:, None]
        going &= ~cut & ~dense(wrong)
        arrays = [found.tokens.write(time, whole(tokens))]
        arrays.append(found.log_probs.write(time, whole(gained)))
        seen = found.attention
        if seen:
            weights = attention_weights(weights, "attention")
            kept = tf.where(live.alive[..., None], weights, 0.0)
            seen = [seen[0].write(time, whole(kept))]
        found = _Found(
            found.lengths + whole(tf.cast(live.alive, tf.int32)),
            found.scores + whole(gained),
            found.truncated | whole(cut),
            found.broken | whole(tf.reduce_any(dense(wrong), axis=1)),
            tokens=arrays[0],
            log_probs=arrays[1],
            attention=seen,
        )

        keep, leave = stay(tf.reduce_any(going, axis=1))
        places = keep[:, None] * n + tf.range(n)
        states = take(flat(states), tf.reshape(places, [-1]))
        live = _Live(
            tf.gather(live.rows, keep),
            tf.gather(tokens, keep),
            tf.gather(going, keep),
            unflat(step.carry(states), tf.shape(keep)[0], n),
            tf.cond(leave, lambda: take(live.sources, keep), lambda: live.sources),
            take(constraints.remember(live.history, tokens, time), keep),
        )
        return time + 1, live, found, drawn

    none = max_lengths < 1
    rows = tf.where(~none)[:, 0]
    zeros = tf.zeros([batch, n], tf.int32)
    live = _Live(
        tf.cast(rows, tf.int32),
        tf.fill([tf.shape(rows)[0], n], START),
        tf.fill([tf.shape(rows)[0], n], True),
        repeated(step.carry(take(problem.states, rows))),
        take(problem.sources, rows),
        take(
            map_nest(lambda x: tf.repeat(x, n, 1), constraints.start(batch, steps)),
            rows,
        ),
    )
    found = _Found(
        zeros,
        tf.cast(zeros, tf.float64),
        tf.repeat(none[:, None], n, axis=1),
        tf.zeros([batch], tf.bool),
        array(tf.int32),
        array(tf.float64),
        [array(tf.float32, None)] if problem.return_attention else [],
    )
    drawn = [] if draw is None else [draw(tf.minimum(steps, _DRAWN))]
    _, _, found, _ = tf.while_loop(
        # Once at least: an array of no steps has no shape.
        lambda time, live, *_: (
            tf.equal(time, 0) | ((tf.shape(live.rows)[0] > 0) & (time < steps))
        ),
        body,
        (tf.constant(0), live, found, drawn),
        shape_invariants=(
            tf.TensorShape([]),
            growing_history(open_shapes(live)),
            open_shapes(found),
            [tf.TensorShape([None, None]) for _ in drawn],
        ),
    )
    # What could not go on is no output, as in a beam search.
    lengths = tf.where(tf.equal(found.scores, -np.inf), 0, found.lengths)
    longest = tf.reduce_max(tf.pad(tf.reshape(lengths, [-1]), [[0, 1]]))
    kept = tf.sequence_mask(lengths, longest)  # (batch, n, longest)
    arrays = {"tokens": found.tokens, "log_probs": found.log_probs}
    arrays |= {"attention": found.attention[0]} if problem.return_attention else {}
    outputs = {}
    for name, written in arrays.items():
        x = by_source(written, longest)  # (batch, n, longest, ...)
        mask = kept[..., None] if len(x.shape) == 4 else kept
        outputs[name] = tf.where(mask, x, tf.zeros_like(x))
    return {
        **outputs,
        "lengths": lengths,
        "scores": found.scores,
        "truncated": found.truncated,
        "broken": found.broken,
    }
