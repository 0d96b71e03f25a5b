"""The loop of greedy search and sampling: one token per step for each output."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kseq.decoding.constraints import Constraints
from kseq.decoding.search import SearchInputs, log_normalizer, require_attention
from kseq.decoding.step_function import (
    flatten_hypotheses,
    gather_rows,
    loop_shapes,
    loop_shapes_with_history,
    map_nest,
    scatter_rows,
    select_active,
    stack_steps,
    unflatten_hypotheses,
)
from kseq.special_tokens import END, START

# Number of steps that random numbers are first drawn for.
_FIRST_DRAW = 64


class _Active(NamedTuple):
    """The outputs of sources that have not finished."""

    rows: Any  # int32 (sources,), their rows in the batch
    tokens: Any  # int32 (sources, n), the previous tokens
    alive: Any  # bool (sources, n), False for outputs that have ended
    carried: Any  # nest of (sources, n, ...)
    sources: Any  # nest of (sources, ...)
    history: Any  # state of the constraints, a list of (sources, n, ...)


class _Outputs(NamedTuple):
    """The outputs of all sources: tensors (batch, n), and arrays of them by step."""

    lengths: Any
    scores: Any
    truncated: Any
    not_finite: Any  # bool (batch,)
    tokens: Any
    log_probs: Any
    attention: Any  # list of one array of (batch, n, source_length), or empty


def decode_tokens(
    choose: Callable[[Any, Any], Any],
    constraints: Constraints,
    n: int,
    inputs: SearchInputs,
    draw: Callable[[Any], Any] | None = None,
) -> dict[str, Any]:
    """Decodes a batch in one loop within the graph.

    Args:
        choose: Function of logits, float32 (rows, vocab), with -inf for tokens that are
            not allowed, and random numbers, float32 (rows,), or None. It returns the
            next tokens, int32 (rows,).
        constraints: The constraints of the outputs.
        n: Number of outputs for each source.
        inputs: The inputs of the search.
        draw: Function of a number of steps. It returns random numbers, float32 (batch *
            n, steps), where more steps do not change the first ones. Default: no random
            numbers.

    Returns:
        The dict of `Search.search`.
    """
    step, max_lengths = inputs.step, inputs.max_lengths
    batch = tf.shape(max_lengths)[0]
    max_steps = tf.reduce_max(tf.concat([max_lengths, [1]], axis=0))

    def make_array(dtype: Any, *rest: Any) -> tf.TensorArray:
        # It grows, so that a large maximum length costs nothing.
        return tf.TensorArray(
            dtype, 0, dynamic_size=True, element_shape=[None, n, *rest]
        )

    def repeat(nest: Any) -> Any:
        return map_nest(lambda x: tf.repeat(x[:, None], n, axis=1), nest)

    def body(
        time: Any, active: _Active, outputs: _Outputs, random: list[Any]
    ) -> tuple[Any, ...]:
        hidden, states, weights = step.advance(
            active.tokens, active.carried, active.sources
        )
        count = tf.shape(active.tokens)[0]
        alive = tf.reshape(active.alive, [-1])  # (sources * n,)
        rows = tf.where(alive)[:, 0]
        logits = step.project(gather_rows(flatten_hypotheses(hidden), rows))
        logits = tf.cast(logits, tf.float32)
        normalizer, not_finite = log_normalizer(logits)  # (rows,)
        rows = tf.cast(rows, tf.int32)
        batch_rows = tf.gather(active.rows, rows // n)
        history = gather_rows(flatten_hypotheses(active.history), rows)
        allowed = inputs.constrain(constraints, logits, time, history, batch_rows)
        noise = None
        if draw is not None:
            numbers = random[0]
            # Draw twice as many when they are used up.
            more = time >= tf.shape(numbers)[1]
            numbers = tf.cond(more, lambda: draw(2 * time), lambda: numbers)
            random = [numbers]
            noise = tf.gather(numbers[:, time], batch_rows * n + rows % n)  # (rows,)
        tokens = choose(allowed, noise)  # (rows,)
        logit = tf.gather(logits, tokens, batch_dims=1)
        log_probs = tf.cast(logit, tf.float64) - normalizer
        possible = tf.gather(allowed, tokens, batch_dims=1) > -np.inf
        log_probs = tf.where(possible | not_finite, log_probs, -np.inf)

        def to_outputs(x: Any) -> Any:  # (rows,) -> (sources, n), 0 if not alive
            return tf.reshape(scatter_rows(x, rows, count * n), [count, n])

        def to_batch(x: Any) -> Any:  # (sources, n, ...) -> (batch, n, ...)
            return scatter_rows(x, active.rows, batch)

        tokens, log_probs = to_outputs(tokens), to_outputs(log_probs)
        not_finite = to_outputs(not_finite)
        alive = active.alive & tf.not_equal(tokens, END) & (log_probs > -np.inf)
        is_last = time + 1 >= tf.gather(max_lengths, active.rows)  # (sources,)
        truncated = alive & is_last[:, None]
        alive &= ~truncated & ~not_finite
        attention = outputs.attention
        if attention:
            weights = require_attention(weights, "return_attention")
            weights = tf.where(active.alive[..., None], weights, 0.0)
            attention = [attention[0].write(time, to_batch(weights))]
        outputs = _Outputs(
            outputs.lengths + to_batch(tf.cast(active.alive, tf.int32)),
            outputs.scores + to_batch(log_probs),
            outputs.truncated | to_batch(truncated),
            outputs.not_finite | to_batch(tf.reduce_any(not_finite, axis=1)),
            outputs.tokens.write(time, to_batch(tokens)),
            outputs.log_probs.write(time, to_batch(log_probs)),
            attention,
        )

        selected, remove = select_active(tf.reduce_any(alive, axis=1))
        indices = tf.reshape(selected[:, None] * n + tf.range(n), [-1])
        states = gather_rows(flatten_hypotheses(states), indices)
        history = constraints.update(active.history, tokens, time)
        active = _Active(
            tf.gather(active.rows, selected),
            tf.gather(tokens, selected),
            tf.gather(alive, selected),
            unflatten_hypotheses(step.carry(states), tf.shape(selected)[0], n),
            tf.cond(
                remove,
                lambda: gather_rows(active.sources, selected),
                lambda: active.sources,
            ),
            gather_rows(history, selected),
        )
        return time + 1, active, outputs, random

    empty = max_lengths < 1
    rows = tf.where(~empty)[:, 0]
    zeros = tf.zeros([batch, n], tf.int32)
    history = constraints.start(batch, max_steps)
    active = _Active(
        tf.cast(rows, tf.int32),
        tf.fill([tf.shape(rows)[0], n], START),
        tf.fill([tf.shape(rows)[0], n], True),
        repeat(step.carry(gather_rows(inputs.states, rows))),
        gather_rows(inputs.sources, rows),
        gather_rows(map_nest(lambda x: tf.repeat(x, n, axis=1), history), rows),
    )
    outputs = _Outputs(
        zeros,
        tf.cast(zeros, tf.float64),
        tf.repeat(empty[:, None], n, axis=1),
        tf.zeros([batch], tf.bool),
        make_array(tf.int32),
        make_array(tf.float64),
        [make_array(tf.float32, None)] if inputs.return_attention else [],
    )
    random = [] if draw is None else [draw(tf.minimum(max_steps, _FIRST_DRAW))]
    _, _, outputs, _ = tf.while_loop(
        # At least once: an array without steps has no shape.
        lambda time, active, *_: (
            tf.equal(time, 0) | ((tf.shape(active.rows)[0] > 0) & (time < max_steps))
        ),
        body,
        (tf.constant(0), active, outputs, random),
        shape_invariants=(
            tf.TensorShape([]),
            loop_shapes_with_history(active),
            loop_shapes(outputs),
            [tf.TensorShape([None, None]) for _ in random],
        ),
    )
    # Impossible outputs have length 0, as in beam search.
    lengths = tf.where(tf.equal(outputs.scores, -np.inf), 0, outputs.lengths)
    longest = tf.reduce_max(tf.pad(tf.reshape(lengths, [-1]), [[0, 1]]))
    mask = tf.sequence_mask(lengths, longest)  # (batch, n, longest)
    arrays = {"tokens": outputs.tokens, "log_probs": outputs.log_probs}
    arrays |= {"attention": outputs.attention[0]} if inputs.return_attention else {}
    by_step = {}
    for name, array in arrays.items():
        x = stack_steps(array, longest)  # (batch, n, longest, ...)
        x_mask = mask[..., None] if len(x.shape) == 4 else mask
        by_step[name] = tf.where(x_mask, x, tf.zeros_like(x))
    return {
        **by_step,
        "lengths": lengths,
        "scores": outputs.scores,
        "truncated": outputs.truncated,
        "not_finite": outputs.not_finite,
    }
