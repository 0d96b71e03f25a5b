"""Sampling: what is drawn, how often, and what the draws depend on."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from decoding import machines
from decoding.machines import Machine, chain, forms, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from kseq.decoding import Greedy, Sampling

few = settings(max_examples=25, deadline=None)
lengths = st.lists(st.integers(0, 6), min_size=1, max_size=10)

SOURCES = 4000


def drawn(search: Sampling, step: Any, steps: int = 1, sources: int = SOURCES) -> Any:
    """The tokens that many sources draw, (sources, n, steps)."""

    @tf.function
    def compiled() -> Any:
        # The states, of which there are none here, tell a step the number of rows.
        return search(step, tf.zeros([sources]), tf.fill([sources], steps))

    return compiled()["tokens"].numpy()


def distance(counts: np.ndarray, expected: np.ndarray) -> float:
    """Chi-square over its degrees of freedom: about 1 if the shares are right."""
    there = expected > 0
    assert not counts[~there].any()
    counts, expected = counts[there], expected[there]
    return float(((counts - expected) ** 2 / expected).sum() / max(len(counts) - 1, 1))


def always(*logits: float) -> Any:
    """A step function with the same logits for 1, 3, 4, 5, ..., whatever it reads."""
    row = np.array([[-np.inf, logits[0], -np.inf, *logits[1:]]], "float32")

    def step(token: Any, states: Any) -> tuple[Any, Any]:
        return tf.repeat(tf.constant(row), tf.shape(token)[0], axis=0), states

    return step


# Frequencies.


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_tokens_come_as_often_as_their_probability(
    temperature: float, seed: int
) -> None:
    logits = np.array([0.0, 1.0, -1.0, 2.0, 0.5])
    search = Sampling(temperature=temperature, seed=seed)
    tokens = drawn(search, always(*logits))
    probs = np.exp(logits / temperature)
    expected = np.zeros(7)
    expected[[1, 3, 4, 5, 6]] = SOURCES * probs / probs.sum()
    assert distance(np.bincount(tokens.ravel(), minlength=7), expected) < 4.0


def test_draws_do_not_hang_together() -> None:
    # Two outputs of two steps, of 4 and 5: all pairs of draws are as frequent.
    tokens = drawn(
        Sampling(n=2),
        chain({2: {4: 0.5, 5: 0.5}, 4: {4: 0.5, 5: 0.5}, 5: {4: 0.5, 5: 0.5}}),
        2,
    )
    tokens = tokens.reshape(SOURCES, 4) - 4
    joint = np.bincount(tokens @ [1, 2, 4, 8], minlength=16)
    assert distance(joint, np.full(16, SOURCES / 16)) < 3.0
    neighbours = tokens[1:, 0] + 2 * tokens[:-1, 0]
    assert distance(np.bincount(neighbours, minlength=4), np.full(4, SOURCES / 4)) < 5.0


def test_what_is_drawn_next_depends_on_what_was_drawn() -> None:
    step = chain({2: {4: 0.25, 5: 0.75}, 4: {3: 0.9, 5: 0.1}, 5: {3: 0.2, 5: 0.8}})
    tokens = drawn(Sampling(), step, steps=2)[:, 0]
    joint = np.bincount(tokens @ [10, 1], minlength=60)
    expected = np.zeros(60)
    expected[[43, 45, 53, 55]] = [0.225, 0.025, 0.15, 0.6]
    assert distance(joint, SOURCES * expected) < 5.0


# What the draws depend on.


@few
@given(seeds, lengths, st.integers(1, 3), forms)
def test_one_seed_gives_one_result(
    seed: int, max_lengths: list[int], n: int, form: str
) -> None:
    machine = Machine(seed, sources=len(max_lengths))
    search = Sampling(n=n, seed=seed)
    first = machine.search(search, max_lengths, form)
    again = machine.search(search, max_lengths, form)
    for key, value in first.items():
        np.testing.assert_array_equal(again[key], value)


def test_another_seed_gives_another_result() -> None:
    machine = Machine(0, sources=8)
    tokens = [
        machine.search(Sampling(seed=seed), [6] * 8)["tokens"].tolist()
        for seed in (0, 1, 2, 2**40)
    ]
    assert all(tokens.count(each) == 1 for each in tokens)


def test_the_sources_and_the_outputs_of_one_source_differ() -> None:
    step = always(0.0, -np.inf, 0.0, 0.0, 0.0)
    tokens = drawn(Sampling(n=4), step, steps=8, sources=8).reshape(32, 8)
    assert len({tuple(row) for row in tokens.tolist()}) > 28


@few
@given(seeds, lengths, st.integers(1, 3), forms, st.randoms(use_true_random=False))
def test_a_source_draws_alike_alone_and_in_any_batch(
    seed: int, max_lengths: list[int], n: int, form: str, random: Any
) -> None:
    machine, search = Machine(seed, sources=len(max_lengths)), Sampling(n=n)
    numbers = [10 * row + 5 for row in range(len(max_lengths))]

    def decode(rows: list[int]) -> dict[str, np.ndarray]:
        return machine.search(
            search,
            [max_lengths[row] for row in rows],
            form,
            which=rows,
            rows=[numbers[row] for row in rows],
        )

    whole = decode(list(range(len(max_lengths))))
    order = list(range(len(max_lengths)))
    random.shuffle(order)
    part = order[: random.randint(1, len(order))]
    for rows in (part, part[:1]):
        found = decode(rows)
        for place, row in enumerate(rows):
            assert machines.outputs_of(found, place) == machines.outputs_of(whole, row)


def test_the_number_of_a_source_is_its_place_by_default() -> None:
    machine, search = Machine(0), Sampling(n=2)
    plain = machine.search(search, [5, 5, 5])
    for rows in ([0, 1, 2], np.arange(3)):
        found = machine.search(search, [5, 5, 5], rows=rows)
        np.testing.assert_array_equal(found["tokens"], plain["tokens"])


# Cuts.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {1, 3, 4, 5}),
        ({"top_k": 1}, {1}),
        ({"top_k": 3}, {1, 3, 4}),
        ({"top_k": 99}, {1, 3, 4, 5}),
        # Each has a probability of exactly 1 / 4.
        ({"top_p": 0.01}, {1}),
        ({"top_p": 0.25}, {1}),
        ({"top_p": 0.26}, {1, 3}),
        ({"top_p": 0.5}, {1, 3}),
        ({"top_p": 0.51}, {1, 3, 4}),
        ({"top_p": 0.75}, {1, 3, 4}),
        ({"top_p": 0.76}, {1, 3, 4, 5}),
        ({"top_p": 1.0}, {1, 3, 4, 5}),
        # Of the two that are left each has 1 / 2.
        ({"top_k": 2, "top_p": 0.5}, {1}),
        ({"top_k": 2, "top_p": 0.51}, {1, 3}),
        ({"top_k": 1, "top_p": 0.01}, {1}),
    ],
)
def test_exactly_the_right_tokens_are_cut(
    arguments: dict[str, Any], expected: set[int]
) -> None:
    tokens = drawn(Sampling(**arguments), always(0.0, 0.0, 0.0, 0.0), sources=200)
    assert set(tokens.ravel().tolist()) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"top_p": 0.79}, {5}),
        ({"top_p": 0.81}, {1, 5}),
        # Of a temperature of 1 / 2 the first has 0.64 / 0.68 = 0.94.
        ({"top_p": 0.9, "temperature": 0.5}, {5}),
        # Of 2 it has 2 / 3.
        ({"top_p": 0.7, "temperature": 2.0}, {1, 5}),
        ({"top_k": 1, "temperature": 9.0}, {5}),
    ],
)
def test_the_temperature_comes_before_the_cut(
    arguments: dict[str, Any], expected: set[int]
) -> None:
    step = always(np.log(0.2), -np.inf, -np.inf, np.log(0.8))
    tokens = drawn(Sampling(**arguments), step, sources=200)
    assert set(tokens.ravel().tolist()) == expected


def test_what_is_left_keeps_its_proportions() -> None:
    probs = np.array([0.1, 0.4, 0.2, 0.3])
    for arguments in ({"top_k": 2}, {"top_p": 0.6}):
        tokens = drawn(Sampling(**arguments), always(*np.log(probs)))
        expected = np.zeros(6)
        expected[[3, 5]] = SOURCES * np.array([4, 3]) / 7
        assert distance(np.bincount(tokens.ravel(), minlength=6), expected) < 7.0


def test_cuts_are_made_among_what_is_allowed() -> None:
    step = always(0.0, 1.0, 2.0, 3.0)
    for arguments in ({"top_k": 2}, {"top_p": 0.8}):
        search = Sampling(forbidden=[5], **arguments)
        assert set(drawn(search, step, sources=200).ravel().tolist()) == {3, 4}


@few
@given(
    seeds,
    lengths,
    forms,
    st.sampled_from(
        [{"top_k": 1}, {"temperature": 1e-6}, {"temperature": 1e-30}, {"top_p": 1e-6}]
    ),
    st.sampled_from([0.0, 0.3]),
)
def test_the_likeliest_alone_is_greedy_search(
    seed: int,
    max_lengths: list[int],
    form: str,
    arguments: dict[str, Any],
    impossible: float,
) -> None:
    machine = Machine(seed, sources=len(max_lengths), impossible=impossible)
    greedy = machine.search(Greedy(), max_lengths, form)
    found = machine.search(Sampling(seed=seed, **arguments), max_lengths, form)
    for key, value in greedy.items():
        np.testing.assert_allclose(found[key], value, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("temperature", [1e-37, 1e-39, 1e-60])
def test_no_temperature_is_too_small(temperature: float) -> None:
    tokens = drawn(Sampling(temperature=temperature), always(0.0, 1.0, 5.0, 9.0))
    assert set(tokens.ravel().tolist()) == {5}


# Scores.


@few
@given(
    seeds,
    lengths,
    st.sampled_from(
        [
            {},
            {"temperature": 0.3},
            {"temperature": 3.0, "top_k": 2},
            {"top_p": 0.5, "forbidden": [4]},
        ]
    ),
    st.integers(1, 3),
    forms,
)
def test_scores_are_the_log_probabilities_of_the_model_itself(
    seed: int, max_lengths: list[int], arguments: dict[str, Any], n: int, form: str
) -> None:
    machine = Machine(seed, sources=len(max_lengths))
    found = machine.search(Sampling(n=n, **arguments), max_lengths, form)
    for source, max_length in enumerate(max_lengths):
        outputs = machines.outputs_of(found, source)
        assert len(outputs) == n
        for k, tokens in enumerate(outputs):
            forced = machine.forced(source, tokens)
            np.testing.assert_allclose(
                found["log_probs"][source, k, : len(tokens)], forced, atol=1e-5
            )
            cut = tokens[-1:] != (machines.END,)
            assert found["truncated"][source, k] == cut
            assert len(tokens) == max_length or not cut


@few
@given(seeds, lengths, st.integers(1, 3), forms)
def test_attention_is_that_of_the_output_itself(
    seed: int, max_lengths: list[int], n: int, form: str
) -> None:
    machine = Machine(seed, sources=len(max_lengths))
    found = machine.search(Sampling(n=n), max_lengths, form, return_attention=True)
    for source in range(len(max_lengths)):
        for k, tokens in enumerate(machines.outputs_of(found, source)):
            np.testing.assert_allclose(
                found["attention"][source, k, : len(tokens)],
                machine.looked(source, tokens),
                rtol=1e-6,
            )


# Arguments.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": 0}, ValueError, "`n` .* Received: 0"),
        ({"temperature": 0}, ValueError, "`temperature` .* Received: 0"),
        ({"temperature": -1.0}, ValueError, "`temperature` .* Received: -1.0"),
        ({"temperature": float("nan")}, ValueError, "`temperature` .* Received: nan"),
        ({"temperature": float("inf")}, ValueError, "`temperature` .* Received: inf"),
        ({"temperature": "hot"}, TypeError, "`temperature` .* Received: 'hot'"),
        ({"top_p": 0}, ValueError, "`top_p` .* Received: 0"),
        ({"top_p": 1.5}, ValueError, "`top_p` .* Received: 1.5"),
        ({"top_p": float("nan")}, ValueError, "`top_p` .* Received: nan"),
        ({"top_p": "most"}, TypeError, "`top_p` .* Received: 'most'"),
        ({"top_k": 0}, ValueError, "`top_k` .* Received: 0"),
        ({"top_k": 1.5}, TypeError, "`top_k` .* Received: 1.5"),
        ({"seed": -1}, ValueError, "`seed` .* Received: -1"),
        ({"seed": 1.5}, TypeError, "`seed` .* Received: 1.5"),
    ],
)
def test_bad_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Sampling(**arguments)
