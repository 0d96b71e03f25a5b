"""Random step functions, and searches of them in plain Python to compare with."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from kseq.decoding import Step

PAD, UNKNOWN, START, END = 0, 1, 2, 3
MEMORIES, POSITIONS = 11, 3

# The ways in which a search is given a machine.
FORMS = ["plain", "sources", "step"]

seeds = st.integers(0, 2**32 - 1)
forms = st.sampled_from(FORMS)


def remember(memory: Any, token: Any) -> Any:
    """The state after a token: it tells nearly all short histories apart."""
    return (memory * 7 + token + 1) % MEMORIES


class Machine:
    """A step function by a random table: of the source, the state and the token.

    Args:
        seed: Seed of the table.
        sources: Number of sources.
        vocab: Size of the vocabulary.
        impossible: Share of the logits that are -inf, outside `</s>`.
        scale: Standard deviation of the logits.
    """

    def __init__(
        self,
        seed: int,
        sources: int = 3,
        vocab: int = 6,
        impossible: float = 0.0,
        scale: float = 1.5,
    ) -> None:
        draw = np.random.default_rng(seed)
        shape = sources, MEMORIES, vocab
        self.vocab = vocab
        self.logits = draw.normal(0, scale, (*shape, vocab)).astype("float32")
        never = draw.random(self.logits.shape) < impossible
        never[..., END] = False
        self.logits[never] = -np.inf
        weights = draw.random((*shape, POSITIONS)) ** 3
        weights /= weights.sum(axis=-1, keepdims=True)
        self.weights = weights.astype("float32")
        self.normalize()

    def normalize(self) -> None:
        """Takes the log-probabilities of the logits; again after a change of these."""
        logits = self.logits.astype("float64")
        top = logits.max(axis=-1, keepdims=True)
        sums = np.exp(logits - top).sum(axis=-1, keepdims=True)
        self.log_probs = logits - top - np.log(sums)

    # As a search sees it.

    def states(self, rows: Sequence[int]) -> dict[str, Any]:
        return {
            "source": tf.constant(rows, tf.int32, [len(rows)]),
            "memory": tf.zeros(len(rows), tf.int32),
        }

    def tables(self, rows: Sequence[int]) -> dict[str, Any]:
        places = np.array(rows, "int32")
        return {"logits": self.logits[places], "weights": self.weights[places]}

    def plain(self, token: Any, states: Any) -> tuple[Any, ...]:
        source, memory = states["source"], states["memory"]
        place = tf.stack([source, memory, token], axis=1)
        states = {"source": source, "memory": remember(memory, token)}
        return (
            tf.gather_nd(tf.constant(self.logits), place),
            states,
            tf.gather_nd(tf.constant(self.weights), place),
        )

    @staticmethod
    def with_sources(token: Any, memory: Any, tables: Any) -> tuple[Any, ...]:
        place = tf.stack([memory, token], axis=1)
        return (
            tf.gather_nd(tables["logits"], place, batch_dims=1),
            remember(memory, token),
            tf.gather_nd(tables["weights"], place, batch_dims=1),
        )

    def step(self) -> Step:
        logits = tf.constant(self.logits)

        def carry(states: Any) -> Any:
            place = tf.stack([states["source"], states["memory"]], axis=1)
            return {**states, "next": tf.gather_nd(logits, place)}

        def advance(tokens: Any, carried: Any, tables: Any) -> tuple[Any, Any, Any]:
            rows = tf.gather(carried["next"], tokens, batch_dims=2)
            memory = carried["memory"]
            place = tf.stack([memory, tokens], axis=2)
            weights = tf.gather_nd(tables["weights"], place, batch_dims=1)
            states = {
                "source": carried["source"],
                "memory": remember(memory, tokens),
            }
            return [rows, tf.ones_like(rows)], states, weights

        return Step(advance, lambda hidden: hidden[0] * hidden[1], carry)

    def search(
        self,
        search: Any,
        max_lengths: Sequence[int],
        form: str = "plain",
        which: Sequence[int] | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """Searches for some sources, all by default; the result's arrays, checked."""
        rows = range(len(max_lengths)) if which is None else which
        states: Any = self.states(rows)
        if form == "plain":
            step: Any = self.plain
        elif form == "sources":
            step, states = self.with_sources, states["memory"]
            arguments["sources"] = self.tables(rows)
        else:
            step, arguments["sources"] = self.step(), self.tables(rows)
        return checked(search(step, states, max_lengths, **arguments), search.n)

    # By hand.

    def read(self, source: int, before: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """The log-probabilities of the next token, and the attention weights."""
        memory, last = 0, START
        for token in before:
            memory, last = remember(memory, last), token
        return self.log_probs[source, memory, last], self.weights[source, memory, last]

    def forced(self, source: int, tokens: Sequence[int]) -> np.ndarray:
        """The log-probability of each token of an output."""
        return np.array(
            [self.read(source, tokens[:k])[0][token] for k, token in enumerate(tokens)]
        )

    def looked(self, source: int, tokens: Sequence[int]) -> np.ndarray:
        """The attention weights at each token of an output, (time, positions)."""
        rows = [self.read(source, tokens[:k])[1] for k in range(len(tokens))]
        return np.array(rows).reshape(len(tokens), POSITIONS)


def checked(found: dict[str, Any], n: int) -> dict[str, np.ndarray]:
    """The arrays of a result; what holds of every result has been checked."""
    arrays = {key: np.array(value) for key, value in found.items()}
    tokens, lengths = arrays["tokens"], arrays["lengths"]
    batch, _, time = tokens.shape
    dtypes = {"tokens": "int32", "lengths": "int32", "truncated": "bool"}
    dtypes["attention"] = "float32"
    for key, value in arrays.items():
        assert value.dtype == dtypes.get(key, "float64")
        assert value.shape[:2] == (batch, n)
        assert value.shape[2:3] in ((), (time,))
    assert time == lengths.max(initial=0)
    after = np.arange(time) >= lengths[..., None]
    for key in {"tokens", "log_probs", "attention"} & set(arrays):
        assert not arrays[key][after].any()
    # Each ends with its only `</s>`, but where it is cut or there is none.
    ends = (tokens == END).sum(axis=2)
    there = arrays["scores"] > -np.inf
    np.testing.assert_array_equal(ends == 1, there & ~arrays["truncated"])
    padded = np.pad(tokens, [(0, 0), (0, 0), (1, 0)])
    last = np.take_along_axis(padded, lengths[..., None], axis=2)[..., 0]
    np.testing.assert_array_equal(last == END, ends == 1)
    assert not np.isin(tokens[~after], [PAD, START]).any()
    assert (lengths[~there] == 0).all()
    assert not arrays["truncated"][~there].any()
    np.testing.assert_allclose(
        arrays["log_probs"].sum(axis=2)[there], arrays["scores"][there], atol=1e-5
    )
    return arrays


@dataclasses.dataclass(frozen=True)
class Rules:
    """The constraints of a search, on lists."""

    min_length: int = 0
    forbidden: tuple[Any, ...] = ()
    no_repeat_ngram_size: int = 0
    suppress_unknown: bool = False

    def arguments(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def broken_by(self, output: Sequence[int]) -> bool:
        """Whether an output holds, at its end, what it may not."""
        output, n = list(output), self.no_repeat_ngram_size
        for each in self.forbidden:
            phrase = list(each) if isinstance(each, list | tuple) else [each]
            if output[-len(phrase) :] == phrase:
                return True
        grams = [output[k : k + n] for k in range(len(output) - n + 1)] if n else []
        return (
            output[-1] in (PAD, START)
            or (self.suppress_unknown and output[-1] == UNKNOWN)
            or (output[-1] == END and len(output) < self.min_length)
            or (bool(grams) and grams[-1] in grams[:-1])
        )

    def allowed(
        self, before: Sequence[int], log_probs: np.ndarray, prefix: Sequence[int] = ()
    ) -> list[int]:
        """The tokens that may come next, in order."""
        if len(before) < len(prefix) and prefix[len(before)]:
            return [prefix[len(before)]]
        possible = np.flatnonzero(log_probs > -np.inf).tolist()
        free = [x for x in possible if not self.broken_by([*before, x])]
        return free or [x for x in possible if x == END]


rules = st.builds(
    Rules,
    min_length=st.integers(0, 4),
    forbidden=st.lists(
        st.integers(1, 5) | st.lists(st.integers(1, 5), min_size=1, max_size=3),
        max_size=2,
    ).map(tuple),
    no_repeat_ngram_size=st.integers(0, 3),
    suppress_unknown=st.booleans(),
)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """How outputs are ranked."""

    alpha: float = 1.0
    beta: float = 0.0
    coverage: float = 0.0

    def arguments(self) -> dict[str, float]:
        return {
            "length_penalty_alpha": self.alpha,
            "length_penalty_beta": self.beta,
            "coverage_penalty": self.coverage,
        }

    def norm(self, score: float, length: int) -> float:
        if not length:  # there is no other
            return score
        return score / ((self.beta + length) / (self.beta + 1)) ** self.alpha

    def rank(
        self,
        machine: Any,
        source: int,
        tokens: Sequence[int],
        score: float,
        mask: Any = None,
    ) -> float:
        rank = self.norm(score, len(tokens))
        if not self.coverage:
            return rank
        sums = machine.looked(source, tokens).sum(axis=0)
        logs = np.log(np.clip(sums, 1e-9, 1.0))
        if mask is not None:
            logs = logs[np.array(mask)]
        return rank + self.coverage * logs.sum()


def prefixes(draw: np.random.Generator, sources: int, longest: int = 3) -> np.ndarray:
    """Random prefixes of different lengths, padded with 0."""
    prefix = draw.choice(
        [UNKNOWN, END, 4, 5], p=[0.3, 0.1, 0.3, 0.3], size=(sources, longest)
    )
    lengths = draw.integers(0, longest + 1, size=(sources, 1))
    return np.where(np.arange(longest) < lengths, prefix, PAD).astype("int32")


def rankings(coverages: Sequence[float] = (0.0, 0.4)) -> Any:
    return st.builds(
        Ranking,
        alpha=st.sampled_from([0.0, 0.6, 1.0]),
        beta=st.sampled_from([0.0, 5.0]),
        coverage=st.sampled_from(coverages),
    )


@dataclasses.dataclass(frozen=True)
class Output:
    """An output that has been found."""

    rank: float
    score: float
    tokens: tuple[int, ...]

    @property
    def truncated(self) -> bool:
        return self.tokens[-1:] != (END,)


@dataclasses.dataclass
class Best:
    """The outputs of a source that were found by hand, best first.

    Attributes:
        outputs: They.
        closest: The smallest difference that decided anything: where it is tiny,
            single precision may decide otherwise.
    """

    outputs: list[Output]
    closest: float = math.inf

    def decided(self, numbers: Any) -> None:
        numbers = np.sort(np.array(list(numbers), "float64"))
        gaps = np.diff(numbers[numbers > -np.inf])
        self.closest = min([self.closest, *gaps.tolist()])


def all_outputs(
    machine: Any, source: int, max_length: int, rules: Rules, prefix: Sequence[int] = ()
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every output there is, and its log-probability."""
    if max_length < 1:
        yield (), 0.0
        return
    live: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for time in range(max_length):
        longer = []
        for before, score in live:
            log_probs, _ = machine.read(source, before)
            for token in rules.allowed(before, log_probs, prefix):
                output = (*before, token), score + log_probs[token]
                if token == END or time + 1 == max_length:
                    yield output
                else:
                    longer.append(output)
        live = longer


def exhaustive(
    machine: Any,
    source: int,
    max_length: int,
    n: int,
    ranking: Ranking,
    rules: Rules = Rules(),
    mask: Any = None,
    prefix: Sequence[int] = (),
) -> Best:
    """The n best of all outputs."""
    outputs = [
        Output(ranking.rank(machine, source, tokens, score, mask), score, tokens)
        for tokens, score in all_outputs(machine, source, max_length, rules, prefix)
    ]
    outputs.sort(key=lambda output: -output.rank)
    best = Best(outputs[:n])
    best.decided(output.rank for output in outputs[: n + 1])
    return best


def beam(
    machine: Any,
    source: int,
    max_length: int,
    width: int,
    n: int,
    ranking: Ranking,
    rules: Rules = Rules(),
    mask: Any = None,
    prefix: Sequence[int] = (),
    stop: str = "best",
    prune: float | None = None,
) -> Best:
    """Beam search that goes on until nothing is left, whatever was found."""
    best = Best([Output(0.0, 0.0, ())] if max_length < 1 else [])
    pool: list[tuple[float, Output]] = []  # norms, outputs: what has ended
    live: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for time in range(max_length):
        longer = []
        for before, score in live:
            log_probs, _ = machine.read(source, before)
            for token in rules.allowed(before, log_probs, prefix):
                longer.append(((*before, token), score + log_probs[token]))
        # The sort is stable: the better hypothesis's, then the smaller id.
        longer.sort(key=lambda output: -output[1])
        best.decided(score for _, score in longer[: width + 1])
        longer = longer[:width]

        live = []
        for tokens, score in longer:
            norm = ranking.norm(score, time + 1)
            if tokens[-1] == END or time + 1 == max_length:
                rank = ranking.rank(machine, source, tokens, score, mask)
                pool.append((norm, Output(rank, score, tokens)))
            else:
                live.append((tokens, score))
        pool.sort(key=lambda each: -each[1].rank)
        best.decided(output.rank for _, output in pool)
        pool = pool[:width]

        # What has ended is frozen in the beam; at a tie it is ahead.
        frozen = [norm for norm, _ in pool]
        for place, (tokens, score) in reversed(list(enumerate(live))):
            norm = ranking.norm(score, time + 1)
            best.decided([norm, *frozen])
            if place + sum(each >= norm for each in frozen) >= width:
                live.remove((tokens, score))

        if prune is not None and pool:
            least = max(norm for norm, _ in pool) - prune
            norms = [ranking.norm(score, time + 1) for _, score in live]
            for norm in norms:
                best.decided([least, norm])
            live = [
                each for each, norm in zip(live, norms, strict=True) if norm >= least
            ]
        if stop == "first" and len(pool) >= n:
            live = []
    best.outputs += [output for _, output in pool[:n]]
    return best


def outputs_of(found: dict[str, np.ndarray], source: int) -> list[tuple[int, ...]]:
    """The outputs found for a source, without padding and without those missing."""
    return [
        tuple(tokens[:length].tolist())
        for tokens, length, score in zip(
            found["tokens"][source],
            found["lengths"][source],
            found["scores"][source],
            strict=True,
        )
        if score > -np.inf
    ]


def assert_found(
    found: dict[str, np.ndarray], source: int, machine: Any, expected: Sequence[Output]
) -> None:
    """Holds that the outputs found for a source are these, in this order."""
    assert outputs_of(found, source) == [output.tokens for output in expected]
    for k, output in enumerate(expected):
        assert found["truncated"][source, k] == output.truncated
        np.testing.assert_allclose(found["scores"][source, k], output.score, atol=1e-4)
        np.testing.assert_allclose(
            found["log_probs"][source, k, : len(output.tokens)],
            machine.forced(source, output.tokens),
            atol=1e-4,
        )


def number_of_outputs(vocab: int, max_length: int) -> int:
    """The number of outputs up to a length, without constraints."""
    letters = vocab - 3
    return sum(letters**k for k in range(max_length)) + letters**max_length


def chain(probs: dict[int, dict[int, float]], vocab: int = 6) -> Any:
    """A step function that knows the last token alone, by the probabilities after it.

    A token that is not there has probability 0; after one without an entry, `</s>`.
    """
    table = np.zeros((vocab, vocab), "float32")
    table[:, END] = 1.0
    for last, nexts in probs.items():
        table[last] = [nexts.get(token, 0.0) for token in range(vocab)]
    with np.errstate(divide="ignore"):
        logits = np.log(table)

    def step(token: Any, states: Any) -> tuple[Any, Any]:
        return tf.gather(logits, token), states

    return step
