"""Scores: log-probabilities of given outputs."""

from typing import Any

import numpy as np
import tensorflow as tf

from kseq.config.checks import check_integer
from kseq.data.batches import shift_targets
from kseq.decoding.ensembles import average_distributions
from kseq.decoding.search import log_normalizer
from kseq.models.ensemble import Ensemble
from kseq.models.inputs import INPUTS, check_source, real_step_mask
from kseq.models.seq2seq import Seq2Seq
from kseq.progress import progress
from kseq.special_tokens import END, PAD, START


def score(
    model: Seq2Seq | Ensemble,
    source: Any,
    target: Any,
    batch_size: int = 256,
    free_running: bool = False,
) -> np.ndarray:
    """Computes the log-probability of each token of given targets.

    Args:
        model: A `Seq2Seq` or an `Ensemble`.
        source: Integer ids (batch, source_length), or float vectors (batch,
            source_length, dim), as for `Seq2Seq.generate`.
        target: Integer ids (batch, target_length), where each row ends with `</s>` (3)
            and is padded with 0 on the right; or (batch, n, target_length) for n
            targets of each source, as in `Hypotheses.tokens`. A row without `</s>` is
            scored as a truncated output.
        batch_size: Number of targets scored at once. Default: 256.
        free_running: Feed the decoder its own most probable tokens instead of the
            target. Default: False.

    Returns:
        Float64 log-probabilities in nats, of the shape of `target`, 0 at padding. Their
        sums over the last axis equal the scores of a search.

    Raises:
        TypeError: If `model` has another type, or is an ensemble and `free_running` is
            True.
        ValueError: If the ids have another form.

    Example:
        >>> import numpy as np
        >>> from kseq import build_seq2seq, score
        >>> model = build_seq2seq(source_vocab_size=11, target_vocab_size=11, units=8)
        >>> hypotheses = model.generate([[5, 6, 3]], "beam", max_length=5)
        >>> log_probs = score(model, [[5, 6, 3]], hypotheses.tokens)
        >>> bool(np.allclose(log_probs.sum(axis=-1), hypotheses.scores, atol=1e-5))
        True
    """
    if not isinstance(model, Seq2Seq | Ensemble):
        raise TypeError(
            "`model` must be a kseq.Seq2Seq or a kseq.Ensemble. Received: "
            f"{type(model).__name__}."
        )
    batch_size = check_integer("batch_size", batch_size, 1)
    if free_running and isinstance(model, Ensemble):
        raise TypeError("`free_running` must be False for an ensemble.")
    source = check_source(source, model.config.encoder)
    target = _check_target(target, len(source), model.config.target_vocab_size)
    rows = target.reshape(-1, target.shape[-1])  # (batch * n, target_length)
    source_index = np.repeat(np.arange(len(source)), len(rows) // max(len(source), 1))
    lengths = (rows != PAD).sum(axis=1)
    source_lengths = real_step_mask(source).sum(axis=1)[source_index]
    function = model.compiled_cache.get(
        ("score", free_running), lambda: _compile(model, free_running)
    )
    log_probs = np.zeros(rows.shape, np.float64)
    order = np.lexsort((source_lengths, lengths))
    starts = range(0, len(rows), batch_size)
    for start in progress(starts, "scoring", unit="batches"):
        batch = order[start : start + batch_size]
        longest = max(int(lengths[batch].max()), 1)
        log_probs[batch, :longest] = function(
            tf.convert_to_tensor(
                source[source_index[batch], : source_lengths[batch].max(initial=1)]
            ),
            tf.convert_to_tensor(rows[batch, :longest]),
        )
    return log_probs.reshape(target.shape)


def perplexity(
    model: Seq2Seq | Ensemble,
    source: Any,
    target: Any,
    *,
    free_running: bool = False,
    batch_size: int = 256,
) -> float:
    """Computes the perplexity of given targets: exp of the mean cross-entropy.

    Args:
        model: A `Seq2Seq` or, without `free_running`, an `Ensemble`.
        source: Integer ids (batch, source_length), or float vectors, as for `score`.
        target: Integer ids (batch, target_length), as for `score`.
        free_running: Feed the decoder its own most probable tokens instead of the
            target, for as many steps as the target has, as in the PyTorch tutorial.
            Default: False.
        batch_size: Number of targets scored at once. Default: 256.

    Returns:
        The perplexity per token, including `</s>`.

    Raises:
        TypeError: If `model` has another type, or is an ensemble and `free_running` is
            True.
        ValueError: If the ids have another form, or if `target` has no token.

    Example:
        >>> from kseq import build_seq2seq
        >>> from kseq.models import perplexity
        >>> model = build_seq2seq(source_vocab_size=11, target_vocab_size=11, units=8)
        >>> 9 < perplexity(model, [[5, 6, 3]], [[6, 5, 3]]) < 13
        True
    """
    log_probs = score(model, source, target, batch_size, free_running)
    tokens = np.count_nonzero(np.asarray(target))
    if not tokens:
        raise ValueError("`target` must hold a token. Received: none.")
    return float(np.exp(-log_probs.sum(dtype=np.float64) / tokens))


def forced_log_probs(
    model: Seq2Seq | Ensemble, source: Any, target: Any, free_running: bool = False
) -> Any:
    """Computes the log-probabilities of given tokens, within a graph.

    Args:
        model: A `Seq2Seq` or an `Ensemble`.
        source: int32 ids (batch, source_length), or float vectors.
        target: int32 ids (batch, target_length).
        free_running: As in `perplexity`. Default: False.

    Returns:
        float64 (batch, target_length), 0 at padding.
    """

    def compute_logits(member: Seq2Seq, feed: Any) -> Any:
        if free_running:
            return member.free_running_logits(feed)
        return member(feed, training=False)

    feed = {INPUTS[0]: source, INPUTS[1]: shift_targets(target)}
    members = model.models if isinstance(model, Ensemble) else [model]
    outputs = [compute_logits(member, feed) for member in members]
    logits = tf.cast(outputs[0], tf.float32)  # (batch, time, vocab)
    if isinstance(model, Ensemble):
        logits = average_distributions(outputs, model.averaging)
    # Computed as in a search, so that the two agree.
    rows = tf.reshape(logits, [-1, logits.shape[-1]])
    normalizer, not_finite = log_normalizer(rows)
    normalizer = tf.where(not_finite, tf.constant(np.nan, tf.float64), normalizer)
    log_probs = tf.cast(tf.gather(logits, target, batch_dims=2), tf.float64)
    log_probs -= tf.reshape(normalizer, tf.shape(target))
    return tf.where(tf.equal(target, PAD), tf.zeros_like(log_probs), log_probs)


def _compile(model: Seq2Seq | Ensemble, free_running: bool) -> Any:
    first = model.models[0] if isinstance(model, Ensemble) else model
    inputs = first.input[INPUTS[0]]

    def run(source: Any, target: Any) -> Any:
        return forced_log_probs(model, source, target, free_running)

    signature = [
        tf.TensorSpec(inputs.shape, inputs.dtype),
        tf.TensorSpec((None, None), "int32"),
    ]
    return model.compiled_cache.compile(run, signature)


def _check_target(target: Any, rows: int, vocab_size: int) -> np.ndarray:
    ids = np.asarray(target)
    message = f"`target` must be integer ids of shape ({rows}, [n,] time)"
    if ids.ndim not in (2, 3) or len(ids) != rows or not ids.shape[-1]:
        raise ValueError(f"{message}. Received: shape {ids.shape}.")
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{message}. Received: dtype {ids.dtype}.")
    ended = np.pad(ids, [(0, 0)] * (ids.ndim - 1) + [(1, 0)], constant_values=START)
    ended = (ended == PAD) | (ended == END)  # the previous token is padding or </s>
    wrong = (ids < 0) | (ids >= vocab_size) | ((ids != PAD) & ended[..., :-1])
    if wrong.any():
        row = tuple(int(k) for k in np.argwhere(wrong)[0][:-1])
        raise ValueError(
            f"{message}, in 0..{vocab_size - 1}, with only padding (0) after </s>. "
            f"Received: {ids[row].tolist()} in row {row[0]}."
        )
    return ids.astype(np.int32)
