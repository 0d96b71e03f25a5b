"""Beam search: the best few hypotheses of each source, step by step."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kseq.config.checks import INT32_MAX, check_choice, check_integer, check_number
from kseq.decoding.constraints import END, START
from kseq.decoding.search import (
    Problem,
    Search,
    attention_weights,
    finite_normalizer,
)
from kseq.decoding.step_function import (
    by_source,
    flat,
    growing_history,
    map_nest,
    open_shapes,
    spread,
    stay,
    take,
)

STOPS = ("best", "first")

# With no more tokens than this the best continuations are chosen among all at once.
_SMALL_VOCAB = 256

# The places of all continuations of a source are int32.
_WIDEST = math.isqrt(INT32_MAX)

# Attention below this counts as this in the coverage penalty: a logarithm needs it.
_LEAST_COVERAGE = 1e-9


class _Live(NamedTuple):
    """The hypotheses that go on, of the sources that are not done."""

    rows: Any  # int32 (sources,), their places in the batch
    tokens: Any  # int32 (sources, width), the last ones
    scores: Any  # float64 (sources, width), sums of log-probabilities
    alive: Any  # bool (sources, width)
    carried: Any  # nest of (sources, width, ...)
    sources: Any  # nest of (sources, ...)
    history: Any  # what the constraints remember, a list of (sources, width, ...)
    coverage: Any  # list of one float32 (sources, width, source_length), or empty


class _Pool(NamedTuple):
    """The hypotheses that have ended, best first: (batch, width) each."""

    rank: Any  # float64: the penalized score, or -inf (none)
    norm: Any  # float64: the score over the length penalty alone, or -inf
    score: Any  # float64: the sum of log-probabilities
    time: Any  # int32: the number of its last step
    beam: Any  # int32: the hypothesis that it continued there
    token: Any  # int32: its last token
    gain: Any  # float64: the log-probability of that


class _Past(NamedTuple):
    """What each step chose, for the way back: arrays of (batch, width)."""

    tokens: Any
    parents: Any
    gains: Any
    attention: Any  # list of one array of (batch, width, source_length), or empty


@keras.saving.register_keras_serializable(package="kseq")
class BeamSearch(Search):
    """Beam search: keeps the best hypotheses of each source, and continues them all.

    After each step the beam holds the `beam_width` best hypotheses, by the score that
    ranks the result: ended ones are frozen there and take their places, and the best
    that ended are never lost. A hypothesis Y with the sum s of its log-probabilities is
    ranked by::

        s / ((beta + |Y|)^alpha / (beta + 1)^alpha)
            + coverage * sum_i log(min(sum_j attention_ji, 1))

    The length of Y counts `</s>`; i are the positions of the source, j those of the
    output. Hypotheses cut at their maximum length are ranked likewise. Equal scores go
    to what ended earlier, then to the continuation of the better hypothesis, then to
    the smaller id. Of a source for which there are fewer than n outputs the rest have
    length 0 and score -inf.

    Args:
        beam_width: Number of hypotheses held for each source. Default 5. With 1 it
            chooses what greedy search chooses.
        n: Number of hypotheses returned, up to `beam_width`. Default 1.
        length_penalty_alpha: Exponent alpha, 0 or more; 0 ranks by the sum, 1 with
            beta 0 by the mean log-probability. Default 1.
        length_penalty_beta: The beta, 0 or more. Default 0.
        coverage_penalty: Weight of the coverage penalty, 0 or more; the step must
            return attention weights. Default 0: none.
        stop: `"best"` (default): a source is done when nothing that goes on can get
            among its best n; `"first"`: when n hypotheses have ended.
        prune: Drop what falls this far, in the score that ranks (without coverage),
            behind the best ended hypothesis of its source. Default None: nothing.
        **constraints: Those of `Search`: `min_length`, `forbidden`,
            `no_repeat_ngram_size`, `suppress_unknown`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np
        >>> import tensorflow as tf
        >>> from kseq.decoding import BeamSearch
        >>> # 5 is likelier than 4 at first, but leads to two tokens instead of one.
        >>> table = np.log(np.full((6, 6), 1e-6, "float32"))
        >>> table[2, 5], table[2, 4] = np.log(0.6), np.log(0.4)
        >>> table[5, 4], table[5, 5], table[4, 3] = np.log(0.5), np.log(0.5), 0.0
        >>> def step(token, states):
        ...     return tf.gather(table, token), states
        >>> search = BeamSearch(beam_width=2, length_penalty_alpha=0.0)
        >>> found = search(step, states=[], max_lengths=[5])
        >>> found["tokens"].numpy().tolist(), np.exp(found["scores"]).round(2)
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
        self.beam_width = check_integer("beam_width", beam_width, 1, _WIDEST)
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
        """Returns what the sum of log-probabilities is divided by.

        Args:
            lengths: Number of tokens, `</s>` included; any shape.
        """
        alpha, beta = self.length_penalty_alpha, self.length_penalty_beta
        lengths = tf.cast(lengths, tf.float64)
        return ((beta + lengths) / (beta + 1)) ** alpha

    def search(self, problem: Problem) -> dict[str, Any]:
        return _Expansion(self, problem).run()


class _Expansion:
    """One run of a beam search over a batch."""

    def __init__(self, search: BeamSearch, problem: Problem) -> None:
        self.options = search
        self.problem = problem
        self.beam_width = search.beam_width
        self.step = problem.step
        self.max_lengths = problem.max_lengths
        self.batch = tf.shape(problem.max_lengths)[0]
        self.steps = tf.reduce_max(tf.concat([problem.max_lengths, [1]], axis=0))

    def run(self) -> dict[str, Any]:
        """Searches."""
        none = self.max_lengths < 1
        pool = self._empty_pool(none)
        broken = tf.zeros([self.batch], tf.bool)
        rows = tf.where(~none)[:, 0]
        # The first step has one hypothesis for each source, the others `beam_width`.
        carried = map_nest(
            lambda x: x[:, None], self.step.carry(take(self.problem.states, rows))
        )
        ones = [tf.shape(rows)[0], 1]
        live = _Live(
            tf.cast(rows, tf.int32),
            tf.fill(ones, START),
            tf.zeros(ones, tf.float64),
            tf.fill(ones, True),
            carried,
            take(self.problem.sources, rows),
            take(self.options.constraints.start(self.batch, self.steps), rows),
            [],
        )
        past = _Past(
            self._array(tf.int32), self._array(tf.int32), self._array(tf.float64), []
        )
        if self.problem.return_attention:
            past = past._replace(attention=[self._array(tf.float32, None)])
        first = self._expand(tf.constant(0), live, pool, past, broken)
        _, _, pool, past, broken = tf.while_loop(
            lambda time, live, *_: (tf.shape(live.rows)[0] > 0) & (time < self.steps),
            self._expand,
            first,
            shape_invariants=(
                tf.TensorShape([]),
                growing_history(open_shapes(first[1])),
                *map(open_shapes, first[2:]),
            ),
        )
        return {**self._traced_back(pool, past), "broken": broken}

    def _array(self, dtype: Any, *rest: Any) -> tf.TensorArray:
        # It grows: a maximum length costs nothing that is not decoded.
        return tf.TensorArray(
            dtype,
            0,
            dynamic_size=True,
            element_shape=[None, self.beam_width, *rest],
            clear_after_read=False,
        )

    def _empty_pool(self, cut: Any) -> _Pool:
        """Returns a pool of none; with an empty output where `cut`, (batch,)."""
        first = tf.equal(tf.range(self.beam_width), 0)
        none = tf.fill([self.batch, self.beam_width], np.float64(-np.inf))
        zeros = tf.zeros([self.batch, self.beam_width], tf.int32)
        gains = tf.zeros_like(none)
        score = tf.where(cut[:, None] & first, gains, none)
        return _Pool(score, none, score, zeros - 1, zeros, zeros, gains)

    def _expand(
        self, time: Any, live: _Live, pool: _Pool, past: _Past, broken: Any
    ) -> tuple[Any, ...]:
        """Makes a step: all continuations, the best of them, what goes on."""
        width = self.beam_width
        hidden, states, weights = self.step.advance(
            live.tokens, live.carried, live.sources
        )
        scores, tokens, parents, gains, wrong = self._best(time, live, hidden)
        broken = tf.tensor_scatter_nd_update(
            broken, live.rows[:, None], tf.gather(broken, live.rows) | wrong
        )
        coverage = self._coverage(live, weights)
        pool, going = self._end(
            time, live, scores, tokens, parents, gains, coverage, pool
        )
        going &= ~wrong[:, None]
        tokens = tf.where(going, tokens, 0)
        parents = tf.where(going, parents, 0)
        past = self._record(time, live.rows, tokens, parents, gains, weights, past)

        count = tf.shape(live.tokens)[0]
        keep, leave = stay(tf.reduce_any(going, axis=1))
        sources = tf.cond(leave, lambda: take(live.sources, keep), lambda: live.sources)
        going, tokens, scores = take((going, tokens, scores), keep)
        before = live.tokens.shape[1]
        places = keep[:, None] * before + tf.gather(parents, keep)  # (sources, width)
        carried = self._carried(flat(states), places, going, count * before)
        history = take(flat(live.history), places)
        history = self.options.constraints.remember(history, tokens, time)
        live = _Live(
            tf.gather(live.rows, keep),
            tokens,
            tf.where(going, scores, -np.inf),
            going,
            carried,
            sources,
            history,
            take(flat(coverage), places),
        )
        live = live._replace(
            **{
                name: tf.ensure_shape(getattr(live, name), [None, width])
                for name in ("tokens", "scores", "alive")
            }
        )
        return time + 1, live, pool, past, broken

    def _best(self, time: Any, live: _Live, hidden: Any) -> tuple[Any, ...]:
        """Returns the best `beam_width` continuations of each source.

        Returns:
            Their scores (-inf where there are fewer), tokens, the hypotheses they
            continue, the log-probabilities of their last tokens, each (sources,
            width); and the sources whose logits are not finite, (sources,).
        """
        width, before = self.beam_width, live.tokens.shape[1]
        count = tf.shape(live.tokens)[0]
        alive = tf.reshape(live.alive, [-1])  # (sources * before,)
        rows = tf.where(alive)[:, 0]
        logits = tf.cast(self.step.project(take(flat(hidden), rows)), tf.float32)
        normalizer, wrong = finite_normalizer(logits)  # (rows,)
        of_source = tf.cast(rows, tf.int32) // before
        in_batch = tf.gather(live.rows, of_source)
        allowed = self.problem.allowed(
            self.options.constraints,
            logits,
            time,
            take(flat(live.history), rows),
            in_batch,
        )
        best = size = logits.shape[1] or tf.shape(logits)[1]
        tokens = tf.broadcast_to(tf.range(size), tf.shape(allowed))
        if logits.shape[1] is None or size > _SMALL_VOCAB:
            # The best of each hypothesis first, then the best of those.
            best = tf.minimum(size, width)
            allowed, tokens = tf.math.top_k(allowed, best)  # (rows, best)
        gains = tf.cast(allowed, tf.float64) - normalizer[:, None]
        # Back to one row for each hypothesis, those that have ended too.
        place = tf.maximum(tf.cumsum(tf.cast(alive, tf.int32)) - 1, 0)
        gains = tf.where(alive[:, None], tf.gather(gains, place), -np.inf)
        tokens = tf.gather(tokens, place)
        totals = tf.reshape(live.scores, [-1, 1]) + gains
        # At least `beam_width` columns, so that there are as many to choose.
        columns = tf.maximum(before * best, width)
        pad = [[0, 0], [0, columns - before * best]]
        shape = [count, before * best]
        totals = tf.pad(tf.reshape(totals, shape), pad, constant_values=-np.inf)
        gains = tf.pad(tf.reshape(gains, shape), pad)
        tokens = tf.pad(tf.reshape(tokens, shape), pad)
        scores, index = tf.math.top_k(totals, width)
        wrong = tf.reduce_any(
            tf.reshape(alive & tf.gather(wrong, place), [count, before]), axis=1
        )
        return (
            scores,
            tf.gather(tokens, index, batch_dims=1),
            tf.minimum(index // best, before - 1),
            tf.gather(gains, index, batch_dims=1),
            wrong,
        )

    def _coverage(self, live: _Live, weights: Any) -> list[Any]:
        """Returns the sums of attention weights, (sources, width, source_length)."""
        penalty = self.options.coverage_penalty
        if not tf.is_tensor(penalty) and not penalty:
            return []
        weights = attention_weights(weights, "coverage_penalty")
        return [live.coverage[0] + weights if live.coverage else weights]

    def _end(
        self,
        time: Any,
        live: _Live,
        scores: Any,
        tokens: Any,
        parents: Any,
        gains: Any,
        coverage: list[Any],
        pool: _Pool,
    ) -> tuple[_Pool, Any]:
        """Moves what ends into the pool; returns it, and what goes on."""
        valid = scores > -np.inf
        ended = valid & tf.equal(tokens, END)
        last = time + 1 >= tf.gather(self.max_lengths, live.rows)  # (sources,)
        cut = valid & ~ended & last[:, None]
        going = valid & ~ended & ~cut

        def merged() -> tuple[Any, ...]:
            norm = scores / self.options.length_penalty(time + 1)
            rank = norm
            if coverage:
                covered = tf.gather(coverage[0], parents, batch_dims=1)
                penalty = self._penalty(covered, live.rows)
                rank += self.options.coverage_penalty * tf.cast(penalty, tf.float64)
            over = ended | cut
            mine = take(pool, live.rows)
            times = tf.fill(tf.shape(tokens), time)
            both = _Pool(
                *(
                    tf.concat(pair, axis=1)
                    for pair in zip(
                        mine,
                        _Pool(
                            tf.where(over, rank, -np.inf),
                            tf.where(over, norm, -np.inf),
                            scores,
                            times,
                            parents,
                            tokens,
                            gains,
                        ),
                        strict=True,
                    )
                )
            )
            _, order = tf.math.top_k(both.rank, self.beam_width)
            mine = _Pool(*(tf.gather(x, order, batch_dims=1) for x in both))
            whole = _Pool(
                *(
                    tf.tensor_scatter_nd_update(x, live.rows[:, None], y)
                    for x, y in zip(pool, mine, strict=True)
                )
            )
            return *whole, self._promising(live, scores, norm, going, mine)

        # Most steps end nothing, and while nothing has ended there is no competition.
        any_ended = tf.reduce_any(ended | cut) | tf.reduce_any(pool.rank > -np.inf)
        *whole, going = tf.cond(any_ended, merged, lambda: (*pool, going))
        return _Pool(*whole), going

    def _promising(
        self, live: _Live, scores: Any, norm: Any, going: Any, pool: _Pool
    ) -> Any:
        """Returns which continuations deserve to go on, (sources, width).

        Args:
            live: The hypotheses before the step.
            scores: Float (sources, width), falling.
            norm: The same over their length penalties.
            going: bool (sources, width), those that have not ended.
            pool: What has ended of the same sources.
        """
        options = self.options
        ended = pool.norm > -np.inf  # (sources, width)
        better = (pool.norm[:, None] >= norm[:, :, None]) & ended[:, None]
        better = tf.reduce_sum(tf.cast(better, tf.int32), axis=2)  # (sources, width)
        ahead = tf.cumsum(tf.cast(going, tf.int32), axis=1, exclusive=True)
        promising = going & (better + ahead < self.beam_width)
        # Log-probabilities only fall, and the longest output has the mildest penalty.
        longest = options.length_penalty(tf.gather(self.max_lengths, live.rows))
        bound = scores / longest[:, None]
        worst = pool.rank[:, options.n - 1, None]  # of the n best
        promising &= bound > worst
        if options.prune is not None:
            promising &= norm >= tf.reduce_max(pool.norm, 1, True) - options.prune
        if options.stop == "first":
            promising &= tf.reduce_sum(tf.cast(ended, tf.int32), 1, True) < options.n
        return promising

    def _penalty(self, coverage: Any, rows: Any) -> Any:
        """Returns the sums of the coverage's logarithms, (sources, width)."""
        logs = tf.math.log(tf.clip_by_value(coverage, _LEAST_COVERAGE, 1.0))
        if self.problem.source_mask is not None:
            mask = tf.gather(self.problem.source_mask, rows)
            logs = tf.where(mask[:, None], logs, 0.0)
        return tf.reduce_sum(logs, axis=-1)

    def _record(
        self,
        time: Any,
        rows: Any,
        tokens: Any,
        parents: Any,
        gains: Any,
        weights: Any,
        past: _Past,
    ) -> _Past:
        def whole(x: Any) -> Any:  # (sources, width, ...) -> (batch, width, ...)
            return spread(x, rows, self.batch)

        attention = past.attention
        if attention:
            weights = attention_weights(weights, "attention")
            missing = self.beam_width - weights.shape[1]
            padded = tf.pad(weights, [[0, 0], [0, missing], [0, 0]])
            attention = [attention[0].write(time, whole(padded))]
        return _Past(
            past.tokens.write(time, whole(tokens)),
            past.parents.write(time, whole(parents)),
            past.gains.write(time, whole(gains)),
            attention,
        )

    def _carried(self, states: Any, places: Any, going: Any, size: Any) -> Any:
        """Carries on the states of those hypotheses that something continues.

        Args:
            states: Nest of (size, ...).
            places: int32 (sources, width), what each continues.
            going: bool (sources, width).
            size: Number of rows of the states.
        """
        chosen = tf.boolean_mask(places, going)
        used = tf.scatter_nd(chosen[:, None], tf.ones_like(chosen), [size]) > 0
        rows = tf.where(used)[:, 0]
        place = tf.maximum(tf.cumsum(tf.cast(used, tf.int32)) - 1, 0)
        # One of no rows at least, for those that have ended to point at.
        carried = self.step.carry(take(states, rows))
        place = tf.minimum(tf.gather(place, places), tf.shape(rows)[0] - 1)
        return take(carried, place)

    def _traced_back(self, pool: _Pool, past: _Past) -> dict[str, Any]:
        """Follows the best hypotheses from their ends to their beginnings."""
        n = self.options.n
        pool = _Pool(*(x[:, :n] for x in pool))
        lengths = pool.time + 1
        longest = tf.reduce_max(tf.pad(tf.reshape(lengths, [-1]), [[0, 1]]))
        count = tf.maximum(longest, 1)
        steps, zero = tf.range(count), tf.zeros([], tf.float64)
        tokens, parents, gains = (array.gather(steps) for array in past[:3])
        attention = [array.gather(steps) for array in past.attention]

        def array(dtype: Any, *rest: Any) -> tf.TensorArray:
            return tf.TensorArray(dtype, count, element_shape=[None, n, *rest])

        def back(k: Any, beam: Any, *arrays: Any) -> tuple[Any, ...]:
            at = count - 1 - k
            last, inside = tf.equal(pool.time, at), pool.time > at

            def here(x: Any) -> Any:
                return tf.gather(x[at], beam, batch_dims=1)

            chosen = tf.where(last, pool.token, tf.where(inside, here(tokens), 0))
            gained = tf.where(last, pool.gain, tf.where(inside, here(gains), zero))
            beam = tf.where(last, pool.beam, tf.where(inside, here(parents), 0))
            values = [chosen, gained]
            if attention:
                seen = tf.gather(attention[0][at], beam, batch_dims=1)
                values.append(tf.where((last | inside)[..., None], seen, 0.0))
            return (
                k + 1,
                beam,
                *(a.write(at, v) for a, v in zip(arrays, values, strict=True)),
            )

        outputs = [array(tf.int32), array(tf.float64)]
        outputs += [array(tf.float32, None)] if attention else []
        _, _, *outputs = tf.while_loop(
            lambda k, *_: k < count,
            back,
            (tf.constant(0), tf.zeros_like(pool.beam), *outputs),
        )
        names = ["tokens", "log_probs", "attention"][: len(outputs)]
        found = {
            name: by_source(output, longest)
            for name, output in zip(names, outputs, strict=True)
        }
        return {
            **found,
            "lengths": lengths,
            "scores": pool.score,
            "truncated": (pool.rank > -np.inf) & tf.not_equal(pool.token, END),
        }
