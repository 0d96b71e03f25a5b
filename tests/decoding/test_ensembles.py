"""Ensembles against numpy: averaged distributions, and searches over them."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from decoding import machines
from decoding.machines import Machine, Ranking, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from kseq.decoding import (
    BeamSearch,
    Greedy,
    Sampling,
    Step,
    average_distributions,
    combine_steps,
)

few = settings(max_examples=25, deadline=None)
lengths = st.lists(st.integers(0, 4), min_size=1, max_size=3)
averagings = st.sampled_from(["linear", "log_linear"])

SEARCHES = [Greedy(), Sampling(n=2), BeamSearch(3, n=2, coverage_penalty=0.1)]


def mean(log_probs: list[np.ndarray], averaging: str) -> np.ndarray:
    """The logarithms of averaged distributions."""
    with np.errstate(divide="ignore"):
        if averaging == "linear":
            return np.log(np.mean(np.exp(log_probs), axis=0))
        scores = np.exp(np.mean(log_probs, axis=0))
        return np.log(scores / scores.sum(axis=-1, keepdims=True))


class Committee:
    """Several machines as one, by hand."""

    def __init__(self, members: list[Machine], averaging: str) -> None:
        self.members, self.averaging = members, averaging
        self.vocab = members[0].vocab

    def read(self, source: int, before: Any) -> tuple[np.ndarray, np.ndarray]:
        log_probs, weights = zip(
            *(member.read(source, before) for member in self.members), strict=True
        )
        return mean(list(log_probs), self.averaging), np.mean(weights, axis=0)

    forced, looked = Machine.forced, Machine.looked

    def search(self, search: Any, max_lengths: list[int], **arguments: Any) -> Any:
        rows = range(len(max_lengths))
        found = search(
            combine_steps([member.step() for member in self.members], self.averaging),
            [member.states(rows) for member in self.members],
            max_lengths,
            sources=[member.tables(rows) for member in self.members],
            **arguments,
        )
        return machines.checked(found, search.n)


@few
@given(
    seeds,
    st.lists(st.integers(1, 3), max_size=3),
    st.integers(1, 4),
    averagings,
    st.sampled_from([0.0, 0.3]),
)
def test_distributions_are_averaged_as_by_numpy(
    seed: int, shape: list[int], models: int, averaging: str, impossible: float
) -> None:
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 3, (models, *shape, 5)).astype("float32")
    never = draw.random(logits.shape) < impossible
    never[..., 0] = False
    logits[never] = -np.inf
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    found = average_distributions(list(logits), averaging)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, mean(list(log_probs), averaging), atol=1e-5)
    np.testing.assert_allclose(np.exp(found).sum(axis=-1), 1.0, rtol=1e-5)


def test_half_precision_is_averaged_in_single_precision() -> None:
    logits = [np.array([[0.0, 1.0]], "float16"), np.array([[2.0, 0.0]], "float16")]
    single = [each.astype("float32") for each in logits]
    found = average_distributions(logits, "linear")
    np.testing.assert_array_equal(found, average_distributions(single, "linear"))


@few
@given(seeds, lengths, averagings, st.sampled_from(SEARCHES), st.integers(1, 3))
def test_a_step_with_itself_is_the_step(
    seed: int, max_lengths: list[int], averaging: str, search: Any, times: int
) -> None:
    machine = Machine(seed)
    committee = Committee([machine] * times, averaging)
    alone = machine.search(search, max_lengths, "step", return_attention=True)
    found = committee.search(search, max_lengths, return_attention=True)
    assert set(found) == set(alone)
    for key, value in alone.items():
        np.testing.assert_allclose(found[key], value, atol=1e-5, err_msg=key)


@few
@given(seeds, lengths, averagings, st.integers(2, 3), st.sampled_from([0.0, 0.3]))
def test_a_wide_beam_finds_the_best_of_all_outputs_of_the_average(
    seed: int, max_lengths: list[int], averaging: str, models: int, impossible: float
) -> None:
    members = [Machine(seed + k, impossible=impossible) for k in range(models)]
    committee = Committee(members, averaging)
    width = max(4, machines.number_of_outputs(committee.vocab, max(max_lengths)))
    for coverage in (0.0, 0.4):
        ranking = Ranking(coverage=coverage)
        search = BeamSearch(beam_width=width, n=4, **ranking.arguments())
        found = committee.search(search, max_lengths, return_attention=True)
        for source, max_length in enumerate(max_lengths):
            best = machines.exhaustive(committee, source, max_length, 4, ranking)
            if best.closest < 1e-4:
                continue
            machines.assert_found(found, source, committee, best.outputs)
            for k, output in enumerate(best.outputs):
                np.testing.assert_allclose(
                    found["attention"][source, k, : len(output.tokens)],
                    committee.looked(source, output.tokens),
                    rtol=1e-5,
                )


@few
@given(seeds, lengths, averagings, st.sampled_from(SEARCHES))
def test_the_order_of_two_models_changes_nothing(
    seed: int, max_lengths: list[int], averaging: str, search: Any
) -> None:
    members = [Machine(seed), Machine(seed + 1)]
    found, turned = (
        Committee(each, averaging).search(search, max_lengths)
        for each in (members, members[::-1])
    )
    for key, value in found.items():
        np.testing.assert_allclose(turned[key], value, atol=1e-5, err_msg=key)


def blind(step: Step) -> Step:
    """The same step without attention."""

    def advance(*arguments: Any) -> tuple[Any, Any, None]:
        return *step.advance(*arguments)[:2], None

    return Step(advance, step.project, step.carry)


def test_with_a_model_without_attention_there_is_none() -> None:
    machine = Machine(0)
    steps = combine_steps([machine.step(), blind(machine.step())])
    states = [machine.states([0])] * 2
    sources = [machine.tables([0])] * 2
    found = machines.checked(Greedy()(steps, states, [4], sources=sources), n=1)
    alone = machine.search(Greedy(), [4])
    np.testing.assert_array_equal(found["tokens"], alone["tokens"])
    with pytest.raises(ValueError, match="`return_attention` needs a step"):
        Greedy()(steps, states, [4], sources=sources, return_attention=True)


def test_models_may_have_states_of_their_own_kind() -> None:
    machine = Machine(0)

    def advance(tokens: Any, count: Any, sources: Any) -> tuple[Any, Any, None]:
        return tf.one_hot(tokens, machine.vocab), count + 1, None

    other = Step(advance, lambda hidden: 0.0 * hidden)
    for averaging in ("linear", "log_linear"):
        found = Greedy()(
            combine_steps([machine.step(), other], averaging),
            [machine.states([0, 1]), tf.zeros([2, 3])],
            [4, 4],
            sources=[machine.tables([0, 1]), []],
        )
        # Averaged with a uniform distribution, the likeliest stays the likeliest.
        alone = machine.search(Greedy(), [4, 4])
        np.testing.assert_array_equal(found["tokens"], alone["tokens"])


def test_linear_is_the_default() -> None:
    logits = np.log([[[0.9, 0.1]], [[0.5, 0.5]]]).astype("float32")
    found = combine_steps([Step(lambda *_: None, lambda x: x)] * 2).project(
        list(logits)
    )
    np.testing.assert_allclose(np.exp(found), [[0.7, 0.3]], rtol=1e-6)
