"""Scores of given outputs: the model's log-probabilities of forced tokens."""

from typing import Any

import numpy as np
import tensorflow as tf

from kseq.config.checks import check_integer
from kseq.data.batches import shift_targets
from kseq.decoding.ensembles import averaged
from kseq.decoding.search import finite_normalizer
from kseq.models.ensemble import Ensemble
from kseq.models.generator import check_source, real_steps
from kseq.models.inputs import INPUTS
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
    """Returns the log-probability of every token of given targets.

    Args:
        model: A `Seq2Seq` or an `Ensemble`.
        source: Integer ids (batch, source_length), or float vectors (batch,
            source_length, dim), as for `Seq2Seq.generate`.
        target: Integer ids (batch, target_length), each row ended by `</s>` (3) and
            padded with 0 on the right; or (batch, n, target_length), several for each
            source, as in `Hypotheses.tokens`. A row without `</s>` is scored as one
            that was cut.
        batch_size: Number of targets scored at once. Default 256.
        free_running: Let the decoder read its own most probable tokens instead of the
            target's. Default False.

    Returns:
        Float64 log-probabilities in nats, of the shape of `target`, 0 at padding. Their
        sums over the last axis are the scores that a search gives.

    Raises:
        TypeError: If `model` is neither, or an ensemble that is to run freely.
        ValueError: If the ids are not as described.

    Example:
        >>> import numpy as np
        >>> from kseq import build_seq2seq, score
        >>> model = build_seq2seq(source_vocab_size=11, target_vocab_size=11, units=8)
        >>> found = model.generate([[5, 6, 3]], "beam", max_length=5)
        >>> log_probs = score(model, [[5, 6, 3]], found.tokens)
        >>> bool(np.allclose(log_probs.sum(axis=-1), found.scores, atol=1e-5))
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
    flat = target.reshape(-1, target.shape[-1])
    row_of = np.repeat(np.arange(len(source)), len(flat) // max(len(source), 1))
    lengths = (flat != PAD).sum(axis=1)
    source_lengths = real_steps(source).sum(axis=1)[row_of]
    function = model.derived.get(
        ("score", free_running), lambda: _compiled(model, free_running)
    )
    found = np.zeros(flat.shape, np.float64)
    order = np.lexsort((source_lengths, lengths))
    starts = range(0, len(flat), batch_size)
    for start in progress(starts, "scoring", unit="batches"):
        rows = order[start : start + batch_size]
        longest = max(int(lengths[rows].max()), 1)
        found[rows, :longest] = function(
            tf.convert_to_tensor(
                source[row_of[rows], : source_lengths[rows].max(initial=1)]
            ),
            tf.convert_to_tensor(flat[rows, :longest]),
        )
    return found.reshape(target.shape)


def perplexity(
    model: Seq2Seq | Ensemble,
    source: Any,
    target: Any,
    *,
    free_running: bool = False,
    batch_size: int = 256,
) -> float:
    """Returns the exponential of the mean cross-entropy of the tokens of targets.

    Args:
        model: A `Seq2Seq` or, without `free_running`, an `Ensemble`.
        source: Integer ids (batch, source_length), or float vectors, as for `score`.
        target: Integer ids (batch, target_length), as for `score`.
        free_running: Let the decoder read its own most probable tokens instead of the
            target's, as many as the target has, as the PyTorch tutorial measures it.
            Default False.
        batch_size: Number of targets at once. Default 256.

    Returns:
        The perplexity, `</s>` counted as a token.

    Raises:
        TypeError: If `model` is neither, or an ensemble that is to run freely.
        ValueError: If the ids are not as described.

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
    """Returns the log-probabilities of given tokens, as a part of a graph.

    Args:
        model: A `Seq2Seq` or an `Ensemble`.
        source: int32 ids (batch, source_length), or float vectors.
        target: int32 ids (batch, target_length).
        free_running: As for `perplexity`. Default False.

    Returns:
        float64 (batch, target_length), 0 at padding.
    """

    def logits_of(member: Seq2Seq, feed: Any) -> Any:
        if free_running:
            return member.free_running_logits(feed)
        return member(feed, training=False)

    feed = {INPUTS[0]: source, INPUTS[1]: shift_targets(target)}
    members = model.models if isinstance(model, Ensemble) else [model]
    outputs = [logits_of(member, feed) for member in members]
    logits = tf.cast(outputs[0], tf.float32)  # (batch, time, vocab)
    if isinstance(model, Ensemble):
        logits = averaged(outputs, model.averaging)
    # As a search does it, so that the two agree.
    rows = tf.reshape(logits, [-1, logits.shape[-1]])
    normalizer, wrong = finite_normalizer(rows)
    normalizer = tf.where(wrong, tf.constant(np.nan, tf.float64), normalizer)
    gained = tf.cast(tf.gather(logits, target, batch_dims=2), tf.float64)
    gained -= tf.reshape(normalizer, tf.shape(target))
    return tf.where(tf.equal(target, PAD), tf.zeros_like(gained), gained)


def _compiled(model: Seq2Seq | Ensemble, free_running: bool) -> Any:
    first = model.models[0] if isinstance(model, Ensemble) else model
    inputs = first.input[INPUTS[0]]

    def run(source: Any, target: Any) -> Any:
        return forced_log_probs(model, source, target, free_running)

    signature = [
        tf.TensorSpec(inputs.shape, inputs.dtype),
        tf.TensorSpec((None, None), "int32"),
    ]
    return model.derived.compiled(run, signature)


def _check_target(target: Any, rows: int, vocab_size: int) -> np.ndarray:
    found = np.asarray(target)
    wanted = f"`target` must be integer ids of shape ({rows}, [n,] time)"
    if found.ndim not in (2, 3) or len(found) != rows or not found.shape[-1]:
        raise ValueError(f"{wanted}. Received: shape {found.shape}.")
    if not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"{wanted}. Received: dtype {found.dtype}.")
    ended = np.pad(found, [(0, 0)] * (found.ndim - 1) + [(1, 0)], constant_values=START)
    ended = (ended == PAD) | (ended == END)  # padding or </s> before
    wrong = (found < 0) | (found >= vocab_size) | ((found != PAD) & ended[..., :-1])
    if wrong.any():
        row = tuple(int(k) for k in np.argwhere(wrong)[0][:-1])
        raise ValueError(
            f"{wanted}, in 0..{vocab_size - 1}, nothing but padding (0) after </s>. "
            f"Received: {found[row].tolist()} in row {row[0]}."
        )
    return found.astype(np.int32)
