"""Constraints: no search puts out what is forbidden, nor misses the best left."""

from typing import Any

import numpy as np
import pytest
from decoding import machines
from decoding.machines import Machine, Ranking, Rules, forms, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from kseq.decoding import BeamSearch, Greedy, Sampling

SEARCHES = [Greedy, Sampling, BeamSearch]

few = settings(max_examples=25, deadline=None)
lengths = st.lists(st.integers(0, 5), min_size=1, max_size=3)
every_search = pytest.mark.parametrize("kind", SEARCHES)


def make(kind: Any, **arguments: Any) -> Any:
    several = {Greedy: {}, Sampling: {"n": 3}, BeamSearch: {"beam_width": 3, "n": 3}}
    return kind(**several[kind], **arguments)


# All together.


@few
@given(
    seeds,
    lengths,
    machines.rules,
    st.sampled_from(SEARCHES),
    forms,
    st.sampled_from([0.0, 0.3]),
)
def test_no_output_holds_what_is_forbidden(
    seed: int,
    max_lengths: list[int],
    rules: Rules,
    kind: Any,
    form: str,
    impossible: float,
) -> None:
    machine = Machine(seed, impossible=impossible)
    found = machine.search(make(kind, **rules.arguments()), max_lengths, form)
    for source in range(len(max_lengths)):
        for tokens in machines.outputs_of(found, source):
            for k, token in enumerate(tokens):
                log_probs, _ = machine.read(source, tokens[:k])
                # An output that nothing else may continue ends, though it may not.
                allowed = rules.allowed(tokens[:k], log_probs)
                assert token in allowed
                assert not rules.broken_by(tokens[: k + 1]) or allowed == [3]


@few
@given(
    seeds,
    st.lists(st.integers(0, 4), min_size=1, max_size=2),
    machines.rules,
    st.booleans(),
    st.sampled_from([0.0, 0.3]),
)
def test_a_wide_beam_finds_the_best_of_all_outputs_that_are_allowed(
    seed: int,
    max_lengths: list[int],
    rules: Rules,
    with_prefix: bool,
    impossible: float,
) -> None:
    machine = Machine(seed, impossible=0.0 if with_prefix else impossible)
    ranking = Ranking()
    prefix = np.zeros((len(max_lengths), 3), "int32")
    if with_prefix:
        prefix = machines.prefixes(np.random.default_rng(seed), len(max_lengths))
    width = max(4, machines.number_of_outputs(machine.vocab, max(max_lengths)))
    search = BeamSearch(beam_width=width, n=4, **rules.arguments())
    found = machine.search(search, max_lengths, prefix=prefix)
    for source, max_length in enumerate(max_lengths):
        best = machines.exhaustive(
            machine, source, max_length, 4, ranking, rules, None, prefix[source]
        )
        if best.closest > 1e-4:
            machines.assert_found(found, source, machine, best.outputs)


@few
@given(seeds, lengths, st.sampled_from(SEARCHES), forms)
def test_constraints_that_forbid_nothing_change_nothing(
    seed: int, max_lengths: list[int], kind: Any, form: str
) -> None:
    machine = Machine(seed)
    rules = Rules(min_length=1, forbidden=(0, 2, (0, 5)), no_repeat_ngram_size=6)
    plain = machine.search(make(kind), max_lengths, form)
    found = machine.search(
        make(kind, **rules.arguments()),
        max_lengths,
        form,
        min_lengths=[0] * len(max_lengths),
        prefix=np.zeros((len(max_lengths), 2), "int32"),
    )
    for key, value in plain.items():
        np.testing.assert_array_equal(found[key], value)


# One by one. The steps here would put out 4 for ever, 5 where they may not, ...


def falling(*order: int) -> Any:
    """A step function to which the tokens are likely in this order."""
    share = {token: 0.5**k for k, token in enumerate(order)}
    return machines.chain(dict.fromkeys(range(6), share))


def outputs(search: Any, step: Any, max_length: int, **arguments: Any) -> Any:
    found = search(step, [], [max_length], **arguments)
    return machines.outputs_of(machines.checked(found, search.n), 0)


@pytest.mark.parametrize(
    ("min_length", "expected"), [(0, (3,)), (1, (3,)), (2, (4, 3)), (4, (4, 4, 4, 3))]
)
def test_a_least_length_counts_the_end(min_length: int, expected: Any) -> None:
    assert outputs(Greedy(min_length=min_length), falling(3, 4), 9) == [expected]


def test_a_least_length_beyond_the_maximum_is_cut_there() -> None:
    assert outputs(Greedy(min_length=9), falling(3, 4), 3) == [(4, 4, 4)]


@every_search
def test_least_lengths_by_source_are_as_that_of_the_search(kind: Any) -> None:
    machine, least = Machine(0), [0, 2, 4]
    machine.logits[..., machines.END] += 3.0
    found = machine.search(make(kind), [5, 5, 5], min_lengths=least)
    for source, min_length in enumerate(least):
        alone = machine.search(make(kind, min_length=min_length), [5, 5, 5])
        assert machines.outputs_of(found, source) == machines.outputs_of(alone, source)


def test_of_two_least_lengths_the_greater_holds() -> None:
    step = falling(3, 4)
    assert outputs(Greedy(min_length=2), step, 9, min_lengths=[3]) == [(4, 4, 3)]
    assert outputs(Greedy(min_length=3), step, 9, min_lengths=[2]) == [(4, 4, 3)]


def test_a_forbidden_token_is_passed_over() -> None:
    assert outputs(Greedy(forbidden=[4]), falling(4, 5, 3), 3) == [(5, 5, 5)]
    assert outputs(Greedy(forbidden=[4, 5]), falling(4, 5, 3), 3) == [(3,)]


def test_a_forbidden_phrase_is_not_finished() -> None:
    step = falling(4, 5, 3)
    assert outputs(Greedy(forbidden=[[4, 4]]), step, 5) == [(4, 5, 4, 5, 4)]
    assert outputs(Greedy(forbidden=[[4, 4, 4]]), step, 5) == [(4, 4, 5, 4, 4)]
    both = Greedy(forbidden=[[4, 4], (4, 5, 4)])
    assert outputs(both, step, 5) == [(4, 5, 5, 4, 5)]


def test_a_phrase_with_the_end_in_it_forbids_to_end_there() -> None:
    assert outputs(Greedy(forbidden=[[4, 3]]), falling(3, 4, 5), 5) == [(3,)]
    step = machines.chain({2: {4: 1.0}, 4: {3: 0.7, 5: 0.3}})
    assert outputs(Greedy(forbidden=[[4, 3]]), step, 5) == [(4, 5, 3)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, (4, 4, 4, 4, 4, 4)),
        (1, (4, 5, 1, 3)),
        (2, (4, 4, 5, 4, 1, 4)),
        (3, (4, 4, 4, 5, 4, 4)),
    ],
)
def test_no_n_gram_comes_twice(size: int, expected: Any) -> None:
    search = Greedy(no_repeat_ngram_size=size)
    assert outputs(search, falling(4, 5, 1, 3), 6) == [expected]


def test_n_grams_that_overlap_count() -> None:
    # 4 4 4 would hold 4 4 twice.
    search = Greedy(no_repeat_ngram_size=2)
    assert outputs(search, falling(4, 5, 1, 3), 3) == [(4, 4, 5)]


def test_the_unknown_token_is_suppressed() -> None:
    assert outputs(Greedy(), falling(1, 4, 3), 2) == [(1, 1)]
    assert outputs(Greedy(suppress_unknown=True), falling(1, 4, 3), 2) == [(4, 4)]


@pytest.mark.parametrize(
    "rules",
    [
        Rules(min_length=3, forbidden=(1, 4, 5)),
        Rules(min_length=3, forbidden=(4, 5), suppress_unknown=True),
        Rules(forbidden=(1, 3, 4, 5)),
    ],
    ids=str,
)
@every_search
def test_an_output_with_nothing_left_ends(kind: Any, rules: Rules) -> None:
    search = make(kind, **rules.arguments())
    found = outputs(search, falling(4, 5, 3, 1), 5)
    assert set(found) == {(3,)}


def test_an_output_that_has_used_all_up_ends() -> None:
    search = Greedy(no_repeat_ngram_size=1, min_length=9)
    assert outputs(search, falling(4, 5, 1, 3), 9) == [(4, 5, 1, 3)]


# Prefixes.


@few
@given(seeds, lengths, machines.rules, st.sampled_from(SEARCHES), forms)
def test_outputs_begin_with_their_prefix_whatever_is_forbidden(
    seed: int, max_lengths: list[int], rules: Rules, kind: Any, form: str
) -> None:
    machine = Machine(seed)
    prefix = machines.prefixes(np.random.default_rng(seed), len(max_lengths))
    search = make(kind, **rules.arguments())
    found = machine.search(search, max_lengths, form, prefix=prefix)
    for source, max_length in enumerate(max_lengths):
        wanted = [token for token in prefix[source].tolist() if token]
        if machines.END in wanted:
            wanted = wanted[: wanted.index(machines.END) + 1]
        wanted = wanted[:max_length]
        found_here = machines.outputs_of(found, source)
        assert found_here
        for tokens in found_here:
            assert list(tokens[: len(wanted)]) == wanted
            for k in range(len(wanted), len(tokens)):
                log_probs, _ = machine.read(source, tokens[:k])
                assert tokens[k] in rules.allowed(tokens[:k], log_probs)


@few
@given(seeds, lengths, st.sampled_from([Greedy, BeamSearch]))
def test_the_own_output_as_a_prefix_changes_nothing(
    seed: int, max_lengths: list[int], kind: Any
) -> None:
    machine = Machine(seed)
    plain = machine.search(kind(), max_lengths)
    found = machine.search(kind(), max_lengths, prefix=plain["tokens"][:, 0])
    for key, value in plain.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-6)


def test_n_grams_of_the_prefix_count() -> None:
    search = Greedy(no_repeat_ngram_size=2)
    step = falling(4, 5, 1, 3)
    assert outputs(search, step, 4, prefix=[[4, 5, 4]]) == [(4, 5, 4, 4)]
    assert outputs(search, step, 5, prefix=[[4, 4, 4]]) == [(4, 4, 4, 5, 4)]


def test_the_prefix_is_scored_as_the_rest() -> None:
    found = Greedy()(falling(4, 5, 3), [], [3], prefix=[[5, 5]])
    # Its shares are 1 to 1/2 to 1/4.
    expected = np.log([2 / 7, 2 / 7, 4 / 7])
    np.testing.assert_allclose(found["log_probs"][0, 0], expected, rtol=1e-6)


def test_a_prefix_longer_than_the_output_is_cut() -> None:
    assert outputs(BeamSearch(2), falling(3, 4), 2, prefix=[[4, 5, 5]]) == []
    assert outputs(BeamSearch(2), falling(3, 4, 5), 2, prefix=[[4, 5, 5]]) == [(4, 5)]


def test_a_prefix_of_nothing_is_none() -> None:
    none = np.zeros((1, 0), "int32")
    assert outputs(Greedy(), falling(4, 3), 2, prefix=none) == [(4, 4)]


# Where nothing is possible.


def real_tokens(found: Any) -> list[list[int]]:
    """The outputs, whatever their scores."""
    rows = zip(found["tokens"].numpy()[0], found["lengths"].numpy()[0], strict=True)
    return [tokens[:length].tolist() for tokens, length in rows]


@every_search
def test_where_nothing_is_possible_no_output_holds_padding(kind: Any) -> None:
    step = machines.chain({2: {4: 1.0}, 4: {0: 0.5, 2: 0.5}})
    for tokens in real_tokens(make(kind)(step, [], [3])):
        assert not {machines.PAD, machines.START} & set(tokens)


@every_search
def test_an_impossible_prefix_makes_no_other_output(kind: Any) -> None:
    found = make(kind)(falling(4, 3), [], [3], prefix=[[5]])
    for tokens in real_tokens(found):
        assert tokens[:1] in ([5], [])


# Arguments.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"forbidden": "abc"}, TypeError, "`forbidden` .* Received: 'abc'"),
        ({"forbidden": 5}, TypeError, "`forbidden` .* Received: 5"),
        ({"forbidden": [-1]}, ValueError, "`forbidden` .* Received: -1"),
        ({"forbidden": [[4, -2]]}, ValueError, "`forbidden` .* Received: -2"),
        ({"forbidden": [[]]}, ValueError, "`forbidden` .* an empty phrase"),
        ({"forbidden": ["ab"]}, TypeError, "`forbidden` .* Received: 'ab'"),
        ({"forbidden": [4.5]}, TypeError, "`forbidden` .* Received: 4.5"),
        ({"min_length": -1}, ValueError, r"`min_length` .* Received: -1"),
        ({"min_length": 1.5}, TypeError, "`min_length` .* Received: 1.5"),
        ({"no_repeat_ngram_size": True}, TypeError, "`no_repeat_ngram_size` .*: True"),
        ({"no_repeat_ngram_size": -1}, ValueError, "`no_repeat_ngram_size` .*: -1"),
        ({"no_repeat_ngram_size": 10**9}, ValueError, r"\[0, 1000\]"),
        ({"min_length": 2**31}, ValueError, r"`min_length` .*, 2147483647\]"),
        ({"forbidden": [2**32]}, ValueError, r"`forbidden` .*, 2147483647\]"),
        ({"suppress_unknown": 1}, TypeError, "`suppress_unknown` .* Received: 1"),
    ],
)
@every_search
def test_bad_arguments_are_named(
    kind: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        kind(**arguments)


@pytest.mark.parametrize("forbidden", [(6,), [[4, 6]], np.array([6])], ids=str)
def test_ids_beyond_the_vocabulary_are_found_by_its_size(forbidden: Any) -> None:
    constraints = Greedy(forbidden=forbidden).constraints
    constraints.check_vocab(7)
    with pytest.raises(ValueError, match=r"`forbidden` .* 0..5. Received: 6"):
        constraints.check_vocab(6)
