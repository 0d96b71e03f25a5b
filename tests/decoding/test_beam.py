"""Beam search against plain Python: all outputs, the same search, forced scores."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from decoding import machines
from decoding.machines import Machine, Ranking, Rules, forms, rankings, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from kseq.decoding import BeamSearch, Greedy

# Smaller differences than this may be decided otherwise in single precision.
CLOSE = 1e-4

few = settings(max_examples=25, deadline=None)
lengths = st.lists(st.integers(0, 4), min_size=1, max_size=3)
# Beams that are narrow may go further.
many_lengths = st.lists(st.integers(0, 6), min_size=4, max_size=9)


def masks(seed: int, sources: int) -> np.ndarray:
    """Where attention may look, at one position at least."""
    mask = np.random.default_rng(seed).random((sources, machines.POSITIONS)) < 0.6
    mask[:, 0] = True
    return mask


# What it finds.


@few
@given(seeds, lengths, rankings(), st.integers(0, 3), forms, st.booleans())
def test_a_beam_as_wide_as_the_space_finds_the_best_of_all_outputs(
    seed: int,
    max_lengths: list[int],
    ranking: Ranking,
    min_length: int,
    form: str,
    masked: bool,
) -> None:
    machine = Machine(seed)
    mask = masks(seed, len(max_lengths)) if masked else None
    n, space = 5, machines.number_of_outputs(machine.vocab, max(max_lengths))
    search = BeamSearch(
        beam_width=max(n, space), n=n, min_length=min_length, **ranking.arguments()
    )
    found = machine.search(search, max_lengths, form, source_mask=mask)
    for source, max_length in enumerate(max_lengths):
        best = machines.exhaustive(
            machine,
            source,
            max_length,
            n,
            ranking,
            Rules(min_length=min_length),
            None if mask is None else mask[source],
        )
        if best.closest > CLOSE:
            machines.assert_found(found, source, machine, best.outputs)


@few
@given(
    seeds,
    many_lengths,
    st.integers(1, 4),
    st.integers(1, 4),
    rankings(coverages=[0.0]),
    forms,
    st.sampled_from([0.0, 0.2]),
)
def test_leaving_early_changes_nothing(
    seed: int,
    max_lengths: list[int],
    width: int,
    n: int,
    ranking: Ranking,
    form: str,
    impossible: float,
) -> None:
    n = min(n, width)
    machine = Machine(seed, len(max_lengths), vocab=7, impossible=impossible)
    search = BeamSearch(beam_width=width, n=n, **ranking.arguments())
    found = machine.search(search, max_lengths, form)
    for source, max_length in enumerate(max_lengths):
        best = machines.beam(machine, source, max_length, width, n, ranking)
        if best.closest > CLOSE:
            machines.assert_found(found, source, machine, best.outputs)


@few
@given(
    seeds,
    many_lengths,
    st.integers(1, 4),
    st.integers(1, 4),
    rankings(coverages=[0.0, 0.4]),
    st.sampled_from([None, 0.3, 1.0]),
    st.sampled_from(["best", "first"]),
    machines.rules,
)
def test_every_option_does_what_the_same_search_in_plain_python_does(
    seed: int,
    max_lengths: list[int],
    width: int,
    n: int,
    ranking: Ranking,
    prune: float | None,
    stop: str,
    rules: Rules,
) -> None:
    # A hypothesis that coverage ranks low may still hold a place in the beam, so that
    # leaving early shows in places below the n best.
    n = width if ranking.coverage else min(n, width)
    machine, mask = Machine(seed, len(max_lengths)), masks(seed, len(max_lengths))
    search = BeamSearch(
        beam_width=width,
        n=n,
        prune=prune,
        stop=stop,
        **ranking.arguments(),
        **rules.arguments(),
    )
    least = np.random.default_rng(seed).integers(0, 4, len(max_lengths))
    found = machine.search(search, max_lengths, source_mask=mask, min_lengths=least)
    for source, max_length in enumerate(max_lengths):
        best = machines.beam(
            machine,
            source,
            max_length,
            width,
            n,
            ranking,
            dataclasses.replace(rules, min_length=max(rules.min_length, least[source])),
            mask[source],
            stop=stop,
            prune=prune,
        )
        if best.closest > CLOSE:
            machines.assert_found(found, source, machine, best.outputs)


@few
@given(seeds, lengths, machines.rules, rankings(coverages=[0.0]), st.booleans())
def test_a_beam_of_one_is_greedy_search(
    seed: int,
    max_lengths: list[int],
    rules: Rules,
    ranking: Ranking,
    with_prefix: bool,
) -> None:
    machine = Machine(seed)
    draw = np.random.default_rng(seed)
    arguments: dict[str, Any] = {"return_attention": True}
    if with_prefix:
        arguments["prefix"] = machines.prefixes(draw, len(max_lengths))
    beam = BeamSearch(beam_width=1, **ranking.arguments(), **rules.arguments())
    found = machine.search(beam, max_lengths, **arguments)
    greedy = machine.search(Greedy(**rules.arguments()), max_lengths, **arguments)
    assert set(found) == set(greedy)
    for key, value in greedy.items():
        np.testing.assert_allclose(found[key], value, atol=1e-5, err_msg=key)


@few
@given(
    seeds,
    st.lists(st.integers(0, 4), min_size=1, max_size=10),
    st.integers(1, 4),
    st.sampled_from(["best", "first"]),
    forms,
    st.randoms(use_true_random=False),
)
def test_a_source_decodes_alike_alone_and_in_any_batch(
    seed: int, max_lengths: list[int], width: int, stop: str, form: str, random: Any
) -> None:
    machine = Machine(seed, sources=len(max_lengths))
    search = BeamSearch(beam_width=width, n=width, stop=stop, coverage_penalty=0.5)
    mask = masks(seed, len(max_lengths))
    found = machine.search(
        search, max_lengths, form, source_mask=mask, return_attention=True
    )
    order = list(range(len(max_lengths)))
    random.shuffle(order)
    part = order[: random.randint(1, len(order))]
    for rows in (part, part[:1]):
        again = machine.search(
            search,
            [max_lengths[row] for row in rows],
            form,
            which=rows,
            source_mask=mask[rows],
            return_attention=True,
        )
        for place, row in enumerate(rows):
            assert machines.outputs_of(again, place) == machines.outputs_of(found, row)
            for key, value in again.items():
                mine, time = found[key][row], value.shape[2:3]
                mine = mine[:, : time[0]] if time else mine
                np.testing.assert_allclose(value[place], mine, atol=1e-6, err_msg=key)


@few
@given(
    seeds, lengths, st.integers(2, 4), rankings(), st.sampled_from(["best", "first"])
)
def test_the_n_best_differ_and_are_sorted_by_what_ranks_them(
    seed: int, max_lengths: list[int], n: int, ranking: Ranking, stop: str
) -> None:
    machine = Machine(seed)
    search = BeamSearch(beam_width=4, n=n, stop=stop, **ranking.arguments())
    found = machine.search(search, max_lengths)
    for source in range(len(max_lengths)):
        outputs = machines.outputs_of(found, source)
        assert len(set(outputs)) == len(outputs)
        ranks = [
            ranking.rank(machine, source, tokens, float(score))
            for tokens, score in zip(outputs, found["scores"][source], strict=False)
        ]
        assert all(a > b - CLOSE for a, b in itertools.pairwise(ranks))


@few
@given(seeds, lengths, st.integers(1, 4), rankings(), forms)
def test_scores_are_the_sums_of_forced_log_probabilities(
    seed: int, max_lengths: list[int], width: int, ranking: Ranking, form: str
) -> None:
    machine = Machine(seed)
    search = BeamSearch(beam_width=width, n=width, **ranking.arguments())
    found = machine.search(search, max_lengths, form)
    for source, max_length in enumerate(max_lengths):
        for k, tokens in enumerate(machines.outputs_of(found, source)):
            forced = machine.forced(source, tokens)
            np.testing.assert_allclose(
                found["log_probs"][source, k, : len(tokens)], forced, atol=1e-5
            )
            np.testing.assert_allclose(
                found["scores"][source, k], forced.sum(), atol=1e-5
            )
            cut = tokens[-1:] != (machines.END,)
            assert found["truncated"][source, k] == cut
            assert len(tokens) == max_length or not cut


@few
@given(seeds, lengths, st.integers(1, 4), forms)
def test_attention_is_that_of_the_hypothesis_itself(
    seed: int, max_lengths: list[int], width: int, form: str
) -> None:
    machine = Machine(seed)
    search = BeamSearch(beam_width=width, n=width)
    found = machine.search(search, max_lengths, form, return_attention=True)
    for source in range(len(max_lengths)):
        for k, tokens in enumerate(machines.outputs_of(found, source)):
            np.testing.assert_allclose(
                found["attention"][source, k, : len(tokens)],
                machine.looked(source, tokens),
                rtol=1e-6,
            )


@few
@given(seeds, lengths, st.integers(1, 4), st.booleans())
def test_asking_for_attention_changes_nothing_else(
    seed: int, max_lengths: list[int], width: int, cover: bool
) -> None:
    machine, search = Machine(seed), BeamSearch(width, coverage_penalty=0.3 * cover)
    plain = machine.search(search, max_lengths)
    found = machine.search(search, max_lengths, return_attention=True)
    assert set(found) == {*plain, "attention"}
    for key, value in plain.items():
        np.testing.assert_array_equal(found[key], value)


# Widths.


@few
@given(seeds, st.integers(0, 3), forms)
def test_a_width_beyond_the_vocabulary_and_beyond_all_outputs(
    seed: int, max_length: int, form: str
) -> None:
    machine, ranking = Machine(seed, vocab=5), Ranking()
    search = BeamSearch(beam_width=100, n=100)
    found = machine.search(search, [max_length], form)
    best = machines.exhaustive(machine, 0, max_length, 100, ranking)
    count = machines.number_of_outputs(machine.vocab, max_length)
    assert len(best.outputs) == count
    if best.closest > CLOSE:
        machines.assert_found(found, 0, machine, best.outputs)
    assert (found["scores"][0, count:] == -np.inf).all()
    assert not found["lengths"][0, count:].any()
    assert not found["tokens"][0, count:].any()


def test_a_wider_beam_finds_what_a_narrow_one_misses() -> None:
    step = machines.chain(
        {2: {4: 0.4, 5: 0.6}, 4: {3: 1.0}, 5: {1: 0.5, 4: 0.5}, 1: {3: 1.0}}
    )
    narrow, wide = (
        BeamSearch(width, length_penalty_alpha=0.0)(step, [], [5]) for width in (1, 2)
    )
    assert narrow["tokens"].numpy().tolist() == [[[5, 1, 3]]]
    assert wide["tokens"].numpy().tolist() == [[[4, 3]]]


def test_what_ended_takes_one_place_of_the_beam() -> None:
    step = machines.chain({2: {3: 0.6, 4: 0.4}})
    search = BeamSearch(beam_width=2, n=2, length_penalty_alpha=0.0)
    found = search(step, [], [5])
    assert found["tokens"].numpy().tolist() == [[[3, 0], [4, 3]]]
    np.testing.assert_allclose(found["scores"], np.log([[0.6, 0.4]]), rtol=1e-6)


def test_what_falls_behind_the_beam_with_the_ended_in_it_is_dropped() -> None:
    # After two steps the beam of two holds 4 4 (mean -0.78) and 3 (-0.92), but not 4 5
    # (-0.98), although 4 5 3 (-0.66) would be the best after three.
    step = machines.chain({2: {3: 0.4, 4: 0.35, 5: 0.25}, 4: {4: 0.6, 5: 0.4}})
    narrow, wide = (BeamSearch(width)(step, [], [3]) for width in (2, 4))
    assert narrow["tokens"].numpy().tolist() == [[[4, 4, 4]]]
    assert wide["tokens"].numpy().tolist() == [[[4, 5, 3]]]


# Ties.


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_of_equals_the_earlier_the_better_hypothesis_then_the_smaller_id(
    width: int,
) -> None:
    machine = Machine(0, vocab=7)
    machine.logits[:] = 0.0
    machine.normalize()
    ranking = Ranking(alpha=0.0)
    search = BeamSearch(beam_width=width, n=width, **ranking.arguments())
    found = machine.search(search, [1, 2, 3, 4], which=[0] * 4)
    for source, max_length in enumerate([1, 2, 3, 4]):
        best = machines.beam(machine, 0, max_length, width, width, ranking)
        assert machines.outputs_of(found, source) == [
            output.tokens for output in best.outputs
        ]


def test_three_of_equals_are_these() -> None:
    step = machines.chain({k: dict.fromkeys([1, 3, 4, 5], 0.25) for k in range(6)})
    search = BeamSearch(beam_width=3, n=3, length_penalty_alpha=0.0)
    outputs = search(step, [], [3])["tokens"].numpy().tolist()
    assert outputs == [[[3, 0, 0], [1, 3, 0], [1, 1, 1]]]
    assert search(step, [], [3])["tokens"].numpy().tolist() == outputs


# Options.


@pytest.mark.parametrize(
    ("stop", "output", "probability"), [("first", [3], 0.4), ("best", [4, 3], 0.6)]
)
def test_stop_first_ends_with_the_first_and_best_goes_on_to_a_better_one(
    stop: str, output: list[int], probability: float
) -> None:
    step = machines.chain({2: {3: 0.4, 4: 0.6}})
    search = BeamSearch(beam_width=2, length_penalty_alpha=0.0, stop=stop)
    found = search(step, [], [5])
    assert found["tokens"].numpy().tolist() == [[output]]
    np.testing.assert_allclose(found["scores"], [[np.log(probability)]], rtol=1e-6)


@pytest.mark.parametrize(
    ("prune", "output"), [(None, [4, 3]), (0.3, [3]), (0.6, [4, 3]), (1e9, [4, 3])]
)
def test_prune_drops_what_falls_behind(prune: float | None, output: list[int]) -> None:
    # After a step 4 is log(0.5 / 0.3) = 0.51 behind; its mean overtakes later.
    step = machines.chain({2: {3: 0.5, 4: 0.3, 5: 0.2}})
    found = BeamSearch(beam_width=3, prune=prune)(step, [], [5])
    assert found["tokens"].numpy().tolist() == [[output]]


@few
@given(seeds, lengths, st.integers(1, 4), rankings())
def test_pruning_by_a_huge_threshold_changes_nothing(
    seed: int, max_lengths: list[int], width: int, ranking: Ranking
) -> None:
    machine = Machine(seed)
    plain, pruned = (
        machine.search(
            BeamSearch(width, n=width, prune=prune, **ranking.arguments()), max_lengths
        )
        for prune in (None, 1e6)
    )
    for key, value in plain.items():
        np.testing.assert_array_equal(pruned[key], value)


@pytest.mark.parametrize(
    ("alpha", "beta", "expected"),
    [(0.0, 0.0, 1.0), (1.0, 0.0, 4.0), (1.0, 5.0, 1.5), (0.5, 0.0, 2.0)],
)
def test_the_length_penalty_by_hand(alpha: float, beta: float, expected: float) -> None:
    search = BeamSearch(length_penalty_alpha=alpha, length_penalty_beta=beta)
    np.testing.assert_allclose(search.length_penalty(4), expected, rtol=1e-6)
    np.testing.assert_allclose(search.length_penalty([1, 4]), [1, expected], rtol=1e-6)


def looking(weights: Any) -> Any:
    """Two outputs, [3] and [4, 3], whose tokens 3 and 4 look as told."""
    step = machines.chain({2: {3: 0.6, 4: 0.4}})
    last = np.array([weights["4"] if k == 4 else weights["3"] for k in range(6)])

    def look(token: Any, states: Any) -> tuple[Any, ...]:
        return *step(token, states), tf.gather(last.astype("float32"), token)

    return look


@pytest.mark.parametrize(
    ("mask", "output"),
    [(None, [4, 3]), ([[True, False]], [3]), ([[True, True]], [4, 3])],
)
def test_the_coverage_penalty_prefers_what_looked_everywhere(
    mask: Any, output: list[int]
) -> None:
    step = looking({"3": [1.0, 0.0], "4": [0.0, 1.0]})
    search = BeamSearch(2, length_penalty_alpha=0.0, coverage_penalty=0.1)
    found = search(step, [], [5], source_mask=mask)
    assert found["tokens"].numpy().tolist() == [[output]]
    score = {1: 0.6, 2: 0.4}[len(output)]
    np.testing.assert_allclose(found["scores"], [[np.log(score)]], rtol=1e-6)


def test_long_outputs_of_near_ties_are_those_of_greedy_search() -> None:
    steps = 1600
    draw = np.random.default_rng(0)
    table = draw.normal(0, 1, (steps, 8)).astype("float32")
    table[:, 3] = -30.0
    table[:, 6] += 3.0
    table[:, 7] = table[:, 6] + draw.normal(0, 3e-6, steps).astype("float32")

    def step(token: Any, time: Any) -> tuple[Any, Any]:
        return tf.gather(table, time), time + 1

    found = []
    for search in (Greedy(), BeamSearch(beam_width=1)):
        run = tf.function(search, autograph=False)
        found.append(
            machines.checked(run(step, tf.constant([0]), tf.constant([1550])), 1)
        )
    greedy, beam = found
    np.testing.assert_array_equal(greedy["tokens"], beam["tokens"])
    assert {6, 7} <= set(greedy["tokens"].ravel().tolist())
    exact = table.astype("float64")
    exact -= np.log(np.exp(exact).sum(axis=-1, keepdims=True))
    forced = exact[np.arange(1550), greedy["tokens"][0, 0]]
    for each in found:
        np.testing.assert_allclose(each["log_probs"][0, 0], forced, atol=1e-9)
        np.testing.assert_allclose(each["scores"][0, 0], forced.sum(), atol=1e-9)


def test_a_coverage_penalty_needs_attention() -> None:
    search = BeamSearch(2, coverage_penalty=0.1)
    with pytest.raises(
        ValueError, match="`coverage_penalty` needs a step that returns"
    ):
        search(machines.chain({}), [], [5])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beam_width": 0}, ValueError, "`beam_width` .* Received: 0"),
        ({"beam_width": 2.5}, TypeError, "`beam_width` .* Received: 2.5"),
        ({"n": 0}, ValueError, "`n` .* Received: 0"),
        ({"beam_width": 2, "n": 3}, ValueError, "`n` .* `beam_width`, 2. Received: 3"),
        ({"length_penalty_alpha": -1}, ValueError, "`length_penalty_alpha` .*: -1"),
        (
            {"length_penalty_alpha": float("nan")},
            ValueError,
            "`length_penalty_alpha` .*: nan",
        ),
        ({"length_penalty_beta": True}, TypeError, "`length_penalty_beta` .*: True"),
        ({"length_penalty_beta": -0.5}, ValueError, "`length_penalty_beta` .*: -0.5"),
        ({"coverage_penalty": float("inf")}, ValueError, "`coverage_penalty` .*: inf"),
        ({"stop": "never"}, ValueError, "`stop` .*'best', 'first'.*'never'"),
        ({"prune": -1}, ValueError, "`prune` .* Received: -1"),
        ({"prune": "a"}, TypeError, "`prune` .* Received: 'a'"),
    ],
)
def test_bad_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        BeamSearch(**arguments)
