"""Greedy search: the most probable token at each step."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Neither is ever an output: they stand before a target and after its end.
_NEVER = (0, 2)


def greedy(
    step: Callable[[Any, Any], tuple[Any, ...]],
    states: Any,
    max_lengths: Any,
    start_id: int = 2,
    end_id: int = 3,
    attention_length: Any = None,
) -> dict[str, Any]:
    """Decodes a batch greedily, in one loop inside the graph.

    The loop ends when every row has ended, by `end_id` or by its own maximum length:
    what a row decodes to does not depend on the other rows. `<pad>` (0) and `<s>` (2)
    are never chosen.

    Args:
        step: Function of the previous tokens, int32 (batch,), and the states to the
            logits of the next ones, float (batch, vocab), and the states after it; and
            with `attention_length` the attention weights too, float (batch,
            attention_length).
        states: States before the first step, any nest of tensors.
        max_lengths: int32 (batch,), the longest output of each row, `</s>` included.
        start_id: Id that the first step reads. Default 2, `<s>`.
        end_id: Id that ends a row. Default 3, `</s>`.
        attention_length: Number of source positions that the step's attention weights
            are over. Default None: it returns none.

    Returns:
        Dict of `tokens` int32 (batch, time), `lengths` int32 (batch,), `scores`
        float32 (batch,) and `truncated` bool (batch,), as in `Hypotheses`; and
        `attention`, float32 (batch, time, attention_length), where that is given.

    Example:
        >>> import tensorflow as tf
        >>> from kseq.decoding import greedy
        >>> def count_down_from_7(token, state):  # 7, 6, 5, 4, then 3: the end
        ...     return tf.one_hot(state, 8) * 9.0, state - 1
        >>> greedy(count_down_from_7, tf.constant([7]), tf.constant([20]))[
        ...     "tokens"
        ... ].numpy()
        array([[7, 6, 5, 4, 3]], dtype=int32)
    """
    max_lengths = tf.convert_to_tensor(max_lengths, tf.int32)
    batch = tf.shape(max_lengths)[0]
    steps = tf.reduce_max(tf.concat([max_lengths, [0]], axis=0))

    def unfinished(
        time: Any, token: Any, states: Any, finished: Any, *rest: Any
    ) -> Any:
        return (time < steps) & ~tf.reduce_all(finished)

    def body(
        time: Any,
        token: Any,
        states: Any,
        finished: Any,
        truncated: Any,
        lengths: Any,
        scores: Any,
        tokens: Any,
        attentions: Any,
    ) -> tuple[Any, ...]:
        logits, states, *weights = step(token, states)
        if attentions:
            kept = tf.where(finished[:, None], 0.0, tf.cast(weights[0], tf.float32))
            attentions = [attentions[0].write(time + 1, kept)]
        log_probs = tf.nn.log_softmax(tf.cast(logits, tf.float32))  # (batch, vocab)
        never = tf.reduce_sum(tf.one_hot(_NEVER, tf.shape(logits)[1]), axis=0)
        allowed = tf.where(never > 0, log_probs.dtype.min, log_probs)
        token = tf.argmax(allowed, axis=-1, output_type=tf.int32)  # (batch,)
        gained = tf.gather(log_probs, token, batch_dims=1)  # (batch,)
        scores += tf.where(finished, 0.0, gained)
        token = tf.where(finished, 0, token)
        lengths += tf.cast(~finished, tf.int32)
        tokens = tokens.write(time + 1, token)
        ended = finished | tf.equal(token, end_id)
        cut = ~ended & (time + 1 >= max_lengths)
        return (
            time + 1,
            token,
            states,
            ended | cut,
            truncated | cut,
            lengths,
            scores,
            tokens,
            attentions,
        )

    # One entry before the first step: an array with none has no shape.
    tokens = tf.TensorArray(tf.int32, size=steps + 1, element_shape=[None])
    tokens = tokens.write(0, tf.fill([batch], start_id))
    attentions = []
    if attention_length is not None:
        array = tf.TensorArray(tf.float32, size=steps + 1, element_shape=[None, None])
        attentions = [array.write(0, tf.zeros([batch, attention_length]))]
    time, _, _, _, truncated, lengths, scores, tokens, attentions = tf.while_loop(
        unfinished,
        body,
        (
            tf.constant(0),
            tf.fill([batch], start_id),
            states,
            max_lengths < 1,
            max_lengths < 1,
            tf.zeros([batch], tf.int32),
            tf.zeros([batch], tf.float32),
            tokens,
            attentions,
        ),
    )
    found = {
        "tokens": tf.transpose(tokens.gather(tf.range(time + 1))[1:]),  # (batch, time)
        "lengths": lengths,
        "scores": scores,
        "truncated": truncated,
    }
    if attentions:
        by_step = attentions[0].gather(tf.range(time + 1))[1:]
        found["attention"] = tf.transpose(by_step, [1, 0, 2])
    return found
