"""Beam search: keeps the best hypotheses of each source at each step."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kseq.config.checks import INT32_MAX, check_choice, check_integer, check_number
from kseq.decoding.search import (
    Search,
    SearchInputs,
    log_normalizer,
    require_attention,
)
from kseq.decoding.step_function import (
    flatten_hypotheses,
    gather_rows,
    loop_shapes,
    loop_shapes_with_history,
    map_nest,
    scatter_rows,
    select_active,
    stack_steps,
)
from kseq.special_tokens import END, START

STOPS = ("best", "first")

# Up to this vocabulary size the best continuations are selected from all at once.
_SMALL_VOCAB = 256

# The index of a continuation of a source must fit in int32.
_MAX_BEAM_WIDTH = math.isqrt(INT32_MAX)

# Minimum coverage in the coverage penalty, for the logarithm.
_MIN_COVERAGE = 1e-9


class _Active(NamedTuple):
    """The hypotheses of sources that have not finished."""

    rows: Any  # int32 (sources,), their rows in the batch
    tokens: Any  # int32 (sources, width), the previous tokens
    scores: Any  # float64 (sources, width), sums of log-probabilities
    alive: Any  # bool (sources, width), False for hypotheses that have ended
    carried: Any  # nest of (sources, width, ...)
    sources: Any  # nest of (sources, ...)
    history: Any  # state of the constraints, a list of (sources, width, ...)
    coverage: Any  # list of one float32 (sources, width, source_length), or empty


class _Ended(NamedTuple):
    """The hypotheses that have ended, best first: each (batch, width)."""

    rank: Any  # float64: the score with all penalties, -inf if there is none
    norm: Any  # float64: the score with the length penalty only, or -inf
    score: Any  # float64: the sum of log-probabilities
    time: Any  # int32: the index of the last step
    parent: Any  # int32: the hypothesis that the last step continued
    token: Any  # int32: the last token
    log_prob: Any  # float64: the log-probability of the last token


class _Steps(NamedTuple):
    """The selected continuations of each step: arrays of (batch, width)."""

    tokens: Any
    parents: Any
    log_probs: Any
    attention: Any  # list of one array of (batch, width, source_length), or empty


@keras.saving.register_keras_serializable(package="kseq")
class BeamSearch(Search):
    """Beam search: keeps the best hypotheses of each source and continues them.

    After each step the beam holds the `beam_width` best hypotheses, ranked like the
    result. A hypothesis that has ended stays in the beam as it is, and the best of
    those are never lost. A hypothesis Y, whose log-probabilities sum to s, is ranked
    by::

        s / ((beta + |Y|)^alpha / (beta + 1)^alpha)
            + coverage * sum_i log(min(sum_j attention_ji, 1))

    Here `|Y|` is the length including `</s>`, i are source positions, and j output
    positions. Truncated hypotheses are ranked in the same way. Of equal scores the
    hypothesis that ended earlier is better, then the continuation of the better
    hypothesis, then the smaller id. If a source has fewer than n hypotheses, the others
    have length 0 and score -inf.

    Args:
        beam_width: Number of hypotheses kept for each source. 1 selects the same tokens
            as greedy search. Default: 5.
        n: Number of hypotheses returned, up to `beam_width`. Default: 1.
        length_penalty_alpha: Exponent alpha, at least 0. 0 ranks by the sum, 1 with
            beta 0 by the mean of the log-probabilities. Default: 1.
        length_penalty_beta: Constant beta, at least 0. Default: 0.
        coverage_penalty: Weight of the coverage penalty, at least 0; above 0 the step
            must return attention weights. Default: 0.
        stop: `"best"`: a source is finished when no active hypothesis can be among its
            best n. `"first"`: when n hypotheses have ended. Default: `"best"`.
        prune: Remove hypotheses whose rank (without coverage) is lower than the best
            ended hypothesis of the source by more than this. Default: no pruning.
        **constraints: Arguments of `Search`: `min_length`, `forbidden`,
            `no_repeat_ngram_size`, `suppress_unknown`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> import tensorflow as tf
        >>> from kseq.decoding import BeamSearch
        >>> # First 5 is more probable than 4, but 5 needs two more tokens.
        >>> table = np.log(np.full((6, 6), 1e-6, "float32"))
        >>> table[2, 5], table[2, 4] = np.log(0.6), np.log(0.4)
        >>> table[5, 4], table[5, 5], table[4, 3] = np.log(0.5), np.log(0.5), 0.0
        >>> def step(token, states):
        ...     return tf.gather(table, token), states
        >>> search = BeamSearch(beam_width=2, length_penalty_alpha=0.0)
        >>> outputs = search(step, states=[], max_lengths=[5])
        >>> outputs["tokens"].numpy().tolist(), np.exp(outputs["scores"]).round(2)
        ([[[4, 3]]], array([[0.4]]))

    Reference:
        Graves, 2012, "Sequence Transduction with Recurrent Neural Networks"; Wu et
        al., 2016, "Google's Neural Machine Translation System" (the penalties);
        Sockeye 1.18 (alpha 1, beta 0).
    """

    def __init__(
        self,
        beam_width: int = 5,
        n: int = 1,
        length_penalty_alpha: float = 1.0,
        length_penalty_beta: float = 0.0,
        coverage_penalty: float = 0.0,
        stop: str = "best",
        prune: float | None = None,
        **constraints: Any,
    ) -> None:
        super().__init__(**constraints)
        self.beam_width = check_integer("beam_width", beam_width, 1, _MAX_BEAM_WIDTH)
        self._n = check_integer("n", n, 1)
        if self._n > self.beam_width:
            raise ValueError(
                f"`n` must be at most `beam_width`, {self.beam_width}. Received: {n}."
            )
        self.length_penalty_alpha = check_number(
            "length_penalty_alpha", length_penalty_alpha
        )
        self.length_penalty_beta = check_number(
            "length_penalty_beta", length_penalty_beta
        )
        self.coverage_penalty = check_number("coverage_penalty", coverage_penalty)
        self.stop = check_choice("stop", stop, STOPS)
        self.prune = None if prune is None else check_number("prune", prune)

    @property
    def n(self) -> int:
        return self._n

    @property
    def rows_per_source(self) -> int:
        return self.beam_width

    def get_config(self) -> dict[str, Any]:
        return {
            "beam_width": self.beam_width,
            "n": self.n,
            "length_penalty_alpha": self.length_penalty_alpha,
            "length_penalty_beta": self.length_penalty_beta,
            "coverage_penalty": self.coverage_penalty,
            "stop": self.stop,
            "prune": self.prune,
            **super().get_config(),
        }

    def tensor_options(self) -> dict[str, Any]:
        options = {
            "length_penalty_alpha": self.length_penalty_alpha,
            "length_penalty_beta": self.length_penalty_beta,
            "coverage_penalty": self.coverage_penalty or None,
            "prune": self.prune,
        }
        return {k: np.float64(v) for k, v in options.items() if v is not None}

    def length_penalty(self, lengths: Any) -> Any:
        """Returns the divisor of the sum of log-probabilities.

        Args:
            lengths: Number of tokens, including `</s>`; any shape.

        Returns:
            float64 of the same shape.
        """
        alpha, beta = self.length_penalty_alpha, self.length_penalty_beta
        lengths = tf.cast(lengths, tf.float64)
        return ((beta + lengths) / (beta + 1)) ** alpha

    def search(self, inputs: SearchInputs) -> dict[str, Any]:
        return _BeamLoop(self, inputs).run()


class _BeamLoop:
    """One run of a beam search over a batch."""

    def __init__(self, search: BeamSearch, inputs: SearchInputs) -> None:
        self.options = search
        self.inputs = inputs
        self.beam_width = search.beam_width
        self.step = inputs.step
        self.max_lengths = inputs.max_lengths
        self.batch = tf.shape(inputs.max_lengths)[0]
        self.max_steps = tf.reduce_max(tf.concat([inputs.max_lengths, [1]], axis=0))

    def run(self) -> dict[str, Any]:
        """Searches."""
        empty = self.max_lengths < 1
        ended = self._start_ended(empty)
        not_finite = tf.zeros([self.batch], tf.bool)
        rows = tf.where(~empty)[:, 0]
        # The first step has one hypothesis for each source, the others `beam_width`.
        carried = map_nest(
            lambda x: x[:, None],
            self.step.carry(gather_rows(self.inputs.states, rows)),
        )
        shape = [tf.shape(rows)[0], 1]
        history = self.options.constraints.start(self.batch, self.max_steps)
        active = _Active(
            tf.cast(rows, tf.int32),
            tf.fill(shape, START),
            tf.zeros(shape, tf.float64),
            tf.fill(shape, True),
            carried,
            gather_rows(self.inputs.sources, rows),
            gather_rows(history, rows),
            [],
        )
        steps = _Steps(
            self._make_array(tf.int32),
            self._make_array(tf.int32),
            self._make_array(tf.float64),
            [self._make_array(tf.float32, None)]
            if self.inputs.return_attention
            else [],
        )
        first = self._run_step(tf.constant(0), active, ended, steps, not_finite)
        _, _, ended, steps, not_finite = tf.while_loop(
            lambda time, active, *_: (
                (tf.shape(active.rows)[0] > 0) & (time < self.max_steps)
            ),
            self._run_step,
            first,
            shape_invariants=(
                tf.TensorShape([]),
                loop_shapes_with_history(first[1]),
                *map(loop_shapes, first[2:]),
            ),
        )
        return {**self._trace_back(ended, steps), "not_finite": not_finite}

    def _make_array(self, dtype: Any, *rest: Any) -> tf.TensorArray:
        # It grows, so that a large maximum length costs nothing.
        return tf.TensorArray(
            dtype,
            0,
            dynamic_size=True,
            element_shape=[None, self.beam_width, *rest],
            clear_after_read=False,
        )

    def _start_ended(self, empty: Any) -> _Ended:
        """Returns no hypotheses, or an empty one where `empty`, (batch,), is True."""
        is_first = tf.equal(tf.range(self.beam_width), 0)
        none = tf.fill([self.batch, self.beam_width], np.float64(-np.inf))
        zeros = tf.zeros([self.batch, self.beam_width], tf.int32)
        log_probs = tf.zeros_like(none)
        score = tf.where(empty[:, None] & is_first, log_probs, none)
        return _Ended(score, none, score, zeros - 1, zeros, zeros, log_probs)

    def _run_step(
        self, time: Any, active: _Active, ended: _Ended, steps: _Steps, not_finite: Any
    ) -> tuple[Any, ...]:
        width = self.beam_width
        hidden, states, weights = self.step.advance(
            active.tokens, active.carried, active.sources
        )
        scores, tokens, parents, log_probs, is_wrong = self._select_best(
            time, active, hidden
        )
        not_finite = tf.tensor_scatter_nd_update(
            not_finite,
            active.rows[:, None],
            tf.gather(not_finite, active.rows) | is_wrong,
        )
        coverage = self._add_coverage(active, weights)
        ended, alive = self._end_hypotheses(
            time, active, scores, tokens, parents, log_probs, coverage, ended
        )
        alive &= ~is_wrong[:, None]
        tokens = tf.where(alive, tokens, 0)
        parents = tf.where(alive, parents, 0)
        steps = self._write_step(
            time, active.rows, tokens, parents, log_probs, weights, steps
        )

        count = tf.shape(active.tokens)[0]
        selected, remove = select_active(tf.reduce_any(alive, axis=1))
        sources = tf.cond(
            remove,
            lambda: gather_rows(active.sources, selected),
            lambda: active.sources,
        )
        alive, tokens, scores = gather_rows((alive, tokens, scores), selected)
        before = active.tokens.shape[1]
        # Rows of the continued hypotheses, (sources, width).
        parent_rows = selected[:, None] * before + tf.gather(parents, selected)
        states = flatten_hypotheses(states)
        carried = self._carry_parents(states, parent_rows, alive, count * before)
        history = gather_rows(flatten_hypotheses(active.history), parent_rows)
        history = self.options.constraints.update(history, tokens, time)
        active = _Active(
            tf.gather(active.rows, selected),
            tokens,
            tf.where(alive, scores, -np.inf),
            alive,
            carried,
            sources,
            history,
            gather_rows(flatten_hypotheses(coverage), parent_rows),
        )
        active = active._replace(
            **{
                name: tf.ensure_shape(getattr(active, name), [None, width])
                for name in ("tokens", "scores", "alive")
            }
        )
        return time + 1, active, ended, steps, not_finite

    def _select_best(self, time: Any, active: _Active, hidden: Any) -> tuple[Any, ...]:
        """Returns the best `beam_width` continuations of each source.

        Returns:
            A tuple of their scores (-inf if there are fewer), their tokens, the
            hypotheses that they continue, the log-probabilities of the tokens, each
            (sources, width); and bool (sources,), True if the logits are not finite.
        """
        width, before = self.beam_width, active.tokens.shape[1]
        count = tf.shape(active.tokens)[0]
        alive = tf.reshape(active.alive, [-1])  # (sources * before,)
        rows = tf.where(alive)[:, 0]
        logits = self.step.project(gather_rows(flatten_hypotheses(hidden), rows))
        logits = tf.cast(logits, tf.float32)
        normalizer, not_finite = log_normalizer(logits)  # (rows,)
        allowed = self.inputs.constrain(
            self.options.constraints,
            logits,
            time,
            gather_rows(flatten_hypotheses(active.history), rows),
            tf.gather(active.rows, tf.cast(rows, tf.int32) // before),
        )
        best = size = logits.shape[1] or tf.shape(logits)[1]
        tokens = tf.broadcast_to(tf.range(size), tf.shape(allowed))
        if logits.shape[1] is None or size > _SMALL_VOCAB:
            # First the best of each hypothesis, then the best of those.
            best = tf.minimum(size, width)
            allowed, tokens = tf.math.top_k(allowed, best)  # (rows, best)
        log_probs = tf.cast(allowed, tf.float64) - normalizer[:, None]
        # Back to one row for each hypothesis, including those that have ended.
        row = tf.maximum(tf.cumsum(tf.cast(alive, tf.int32)) - 1, 0)
        log_probs = tf.where(alive[:, None], tf.gather(log_probs, row), -np.inf)
        tokens = tf.gather(tokens, row)
        totals = tf.reshape(active.scores, [-1, 1]) + log_probs
        # At least `beam_width` columns, for `top_k`.
        columns = tf.maximum(before * best, width)
        pad = [[0, 0], [0, columns - before * best]]
        shape = [count, before * best]
        totals = tf.pad(tf.reshape(totals, shape), pad, constant_values=-np.inf)
        log_probs = tf.pad(tf.reshape(log_probs, shape), pad)
        tokens = tf.pad(tf.reshape(tokens, shape), pad)
        scores, index = tf.math.top_k(totals, width)
        not_finite = tf.reduce_any(
            tf.reshape(alive & tf.gather(not_finite, row), [count, before]), axis=1
        )
        return (
            scores,
            tf.gather(tokens, index, batch_dims=1),
            tf.minimum(index // best, before - 1),
            tf.gather(log_probs, index, batch_dims=1),
            not_finite,
        )

    def _add_coverage(self, active: _Active, weights: Any) -> list[Any]:
        """Returns the sums of attention weights, (sources, width, source_length)."""
        penalty = self.options.coverage_penalty
        if not tf.is_tensor(penalty) and not penalty:
            return []
        weights = require_attention(weights, "coverage_penalty")
        return [active.coverage[0] + weights if active.coverage else weights]

    def _end_hypotheses(
        self,
        time: Any,
        active: _Active,
        scores: Any,
        tokens: Any,
        parents: Any,
        log_probs: Any,
        coverage: list[Any],
        ended: _Ended,
    ) -> tuple[_Ended, Any]:
        """Adds continuations that end here to the ended hypotheses.

        Returns:
            A tuple of the ended hypotheses, and bool (sources, width), True for the
            continuations that stay active.
        """
        possible = scores > -np.inf
        has_end = possible & tf.equal(tokens, END)
        is_last = time + 1 >= tf.gather(self.max_lengths, active.rows)  # (sources,)
        ends = has_end | (possible & is_last[:, None])
        alive = possible & ~ends

        def merge() -> tuple[Any, ...]:
            norm = scores / self.options.length_penalty(time + 1)
            rank = norm
            if coverage:
                covered = tf.gather(coverage[0], parents, batch_dims=1)
                penalty = self._coverage_penalty(covered, active.rows)
                rank += self.options.coverage_penalty * tf.cast(penalty, tf.float64)
            added = _Ended(
                tf.where(ends, rank, -np.inf),
                tf.where(ends, norm, -np.inf),
                scores,
                tf.fill(tf.shape(tokens), time),
                parents,
                tokens,
                log_probs,
            )
            pairs = zip(gather_rows(ended, active.rows), added, strict=True)
            both = _Ended(*(tf.concat(pair, axis=1) for pair in pairs))
            _, order = tf.math.top_k(both.rank, self.beam_width)
            best = _Ended(*(tf.gather(x, order, batch_dims=1) for x in both))
            updated = (
                tf.tensor_scatter_nd_update(x, active.rows[:, None], y)
                for x, y in zip(ended, best, strict=True)
            )
            return *updated, self._find_promising(active, scores, norm, alive, best)

        # In most steps no hypothesis ends.
        any_ended = tf.reduce_any(ends) | tf.reduce_any(ended.rank > -np.inf)
        *updated, alive = tf.cond(any_ended, merge, lambda: (*ended, alive))
        return _Ended(*updated), alive

    def _find_promising(
        self, active: _Active, scores: Any, norm: Any, alive: Any, ended: _Ended
    ) -> Any:
        """Finds the continuations that can still be among the best.

        Args:
            active: The hypotheses before the step.
            scores: Float64 (sources, width), in descending order.
            norm: Float64 (sources, width), the scores with the length penalty.
            alive: bool (sources, width), False for continuations that end here.
            ended: The ended hypotheses of the same sources.

        Returns:
            bool (sources, width).
        """
        options = self.options
        is_ended = ended.norm > -np.inf  # (sources, width)
        better = (ended.norm[:, None] >= norm[:, :, None]) & is_ended[:, None]
        better = tf.reduce_sum(tf.cast(better, tf.int32), axis=2)  # (sources, width)
        ahead = tf.cumsum(tf.cast(alive, tf.int32), axis=1, exclusive=True)
        promising = alive & (better + ahead < self.beam_width)
        # A score can only decrease, and the longest output has the smallest penalty.
        longest = options.length_penalty(tf.gather(self.max_lengths, active.rows))
        bound = scores / longest[:, None]
        worst = ended.rank[:, options.n - 1, None]  # of the n best
        promising &= bound > worst
        if options.prune is not None:
            promising &= norm >= tf.reduce_max(ended.norm, 1, True) - options.prune
        if options.stop == "first":
            count = tf.reduce_sum(tf.cast(is_ended, tf.int32), axis=1, keepdims=True)
            promising &= count < options.n
        return promising

    def _coverage_penalty(self, coverage: Any, rows: Any) -> Any:
        """Returns the sums of the logarithms of the coverage, (sources, width)."""
        logs = tf.math.log(tf.clip_by_value(coverage, _MIN_COVERAGE, 1.0))
        if self.inputs.source_mask is not None:
            mask = tf.gather(self.inputs.source_mask, rows)
            logs = tf.where(mask[:, None], logs, 0.0)
        return tf.reduce_sum(logs, axis=-1)

    def _write_step(
        self,
        time: Any,
        rows: Any,
        tokens: Any,
        parents: Any,
        log_probs: Any,
        weights: Any,
        steps: _Steps,
    ) -> _Steps:
        def to_batch(x: Any) -> Any:  # (sources, width, ...) -> (batch, width, ...)
            return scatter_rows(x, rows, self.batch)

        attention = steps.attention
        if attention:
            weights = require_attention(weights, "return_attention")
            missing = self.beam_width - weights.shape[1]
            padded = tf.pad(weights, [[0, 0], [0, missing], [0, 0]])
            attention = [attention[0].write(time, to_batch(padded))]
        return _Steps(
            steps.tokens.write(time, to_batch(tokens)),
            steps.parents.write(time, to_batch(parents)),
            steps.log_probs.write(time, to_batch(log_probs)),
            attention,
        )

    def _carry_parents(
        self, states: Any, parent_rows: Any, alive: Any, size: Any
    ) -> Any:
        """Calls `carry` for the hypotheses that are continued.

        Args:
            states: Nest of (size, ...).
            parent_rows: int32 (sources, width), the rows that are continued.
            alive: bool (sources, width), False if the continuation has ended.
            size: Number of rows of the states.

        Returns:
            Nest of (sources, width, ...).
        """
        used_rows = tf.boolean_mask(parent_rows, alive)
        used = tf.scatter_nd(used_rows[:, None], tf.ones_like(used_rows), [size]) > 0
        rows = tf.where(used)[:, 0]
        index = tf.maximum(tf.cumsum(tf.cast(used, tf.int32)) - 1, 0)
        carried = self.step.carry(gather_rows(states, rows))
        # Ended hypotheses point to any row.
        index = tf.minimum(tf.gather(index, parent_rows), tf.shape(rows)[0] - 1)
        return gather_rows(carried, index)

    def _trace_back(self, ended: _Ended, steps: _Steps) -> dict[str, Any]:
        """Follows the best hypotheses from their last step to their first."""
        n = self.options.n
        ended = _Ended(*(x[:, :n] for x in ended))
        lengths = ended.time + 1
        longest = tf.reduce_max(tf.pad(tf.reshape(lengths, [-1]), [[0, 1]]))
        count = tf.maximum(longest, 1)
        times, zero = tf.range(count), tf.zeros([], tf.float64)
        tokens, parents, log_probs = (array.gather(times) for array in steps[:3])
        attention = [array.gather(times) for array in steps.attention]

        def make_array(dtype: Any, *rest: Any) -> tf.TensorArray:
            return tf.TensorArray(dtype, count, element_shape=[None, n, *rest])

        def body(k: Any, beam: Any, *arrays: Any) -> tuple[Any, ...]:
            time = count - 1 - k
            is_last, is_before = tf.equal(ended.time, time), ended.time > time

            def select(last: Any, before: Any, default: Any) -> Any:
                before = tf.gather(before[time], beam, batch_dims=1)
                return tf.where(is_last, last, tf.where(is_before, before, default))

            values = [
                select(ended.token, tokens, 0),
                select(ended.log_prob, log_probs, zero),
            ]
            beam = select(ended.parent, parents, 0)
            if attention:
                weights = tf.gather(attention[0][time], beam, batch_dims=1)
                is_token = (is_last | is_before)[..., None]
                values.append(tf.where(is_token, weights, 0.0))
            return (
                k + 1,
                beam,
                *(a.write(time, v) for a, v in zip(arrays, values, strict=True)),
            )

        outputs = [make_array(tf.int32), make_array(tf.float64)]
        outputs += [make_array(tf.float32, None)] if attention else []
        _, _, *outputs = tf.while_loop(
            lambda k, *_: k < count,
            body,
            (tf.constant(0), tf.zeros_like(ended.parent), *outputs),
        )
        names = ["tokens", "log_probs", "attention"][: len(outputs)]
        by_step = {
            name: stack_steps(output, longest)
            for name, output in zip(names, outputs, strict=True)
        }
        return {
            **by_step,
            "lengths": lengths,
            "scores": ended.score,
            "truncated": (ended.rank > -np.inf) & tf.not_equal(ended.token, END),
        }
