"""Steps: plain functions and three parts alike, and what a search spares."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from decoding import machines
from decoding.machines import FORMS, Machine, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from kseq.decoding import BeamSearch, Greedy, Sampling, Step
from kseq.decoding.step_function import (
    as_step,
    flatten_hypotheses,
    scatter_rows,
    select_active,
    stack_steps,
    unflatten_hypotheses,
)

SEARCHES = [Greedy(), Sampling(n=3), BeamSearch(3, n=3, coverage_penalty=0.2)]
OF_ONE = [Greedy(), Sampling(), BeamSearch(3)]

few = settings(max_examples=25, deadline=None)
lengths = st.lists(st.integers(0, 5), min_size=1, max_size=10)


@few
@given(seeds, lengths, st.sampled_from(SEARCHES), st.sampled_from([0.0, 0.3]))
def test_a_plain_function_and_three_parts_give_the_same(
    seed: int, max_lengths: list[int], search: Any, impossible: float
) -> None:
    machine = Machine(seed, sources=len(max_lengths), impossible=impossible)
    plain, *others = (
        machine.search(search, max_lengths, form, return_attention=True)
        for form in FORMS
    )
    for other in others:
        assert set(other) == set(plain)
        for key, value in plain.items():
            np.testing.assert_allclose(other[key], value, atol=1e-6, err_msg=key)


def test_a_step_is_taken_as_it_is() -> None:
    step = Machine(0).step()
    assert as_step(step) is step


@pytest.mark.parametrize("step", [None, 3, "step", [lambda token, states: None]])
def test_what_is_no_step_is_refused(step: Any) -> None:
    with pytest.raises(TypeError, match="`step` must be a function of tokens"):
        Greedy()(step, [], [1])


def test_the_states_themselves_are_carried_by_default() -> None:
    states = {"a": tf.ones([2, 3]), "b": [tf.zeros([2])]}
    step = Step(lambda *_: None, lambda hidden: hidden)
    assert step.carry(states) is states


@pytest.mark.parametrize("search", SEARCHES, ids=lambda each: type(each).__name__)
def test_states_of_any_nest_and_shape_come_back(search: Any) -> None:
    machine, seen = Machine(0), []
    states = {
        "plain": machine.states([0, 1]),
        "some": (tf.ones([2, 3, 4], tf.float16), [tf.fill([2], "x")]),
        "none": [],
    }

    def step(token: Any, states: Any) -> tuple[Any, ...]:
        seen.append(states)
        logits, plain, weights = machine.plain(token, states["plain"])
        return logits, {**states, "plain": plain}, weights

    found = machines.checked(search(step, states, [4, 4]), search.n)
    expected = machine.search(search, [4, 4])
    np.testing.assert_array_equal(found["tokens"], expected["tokens"])
    for each in seen:
        tf.nest.assert_same_structure(each, states)
        half, (text,) = each["some"]
        assert (half.dtype, half.shape[1:]) == (tf.float16, (3, 4))
        assert set(text.numpy().tolist()) == {b"x"}


def test_a_step_of_three_parts_has_no_constants_unless_given_some() -> None:
    step = Step(
        lambda tokens, carried, sources: (tokens, carried + len(sources), None),
        lambda tokens: tf.one_hot(tokens + 1, 8),
    )
    found = Greedy()(step, tf.zeros([2]), [9, 9])
    assert found["tokens"].numpy().tolist() == [[[3]], [[3]]]


# What is spared.


class Counted:
    """A machine's step that writes down of how many it is asked."""

    def __init__(self, machine: Machine) -> None:
        step = machine.step()
        self.advanced: list[tuple[int, ...]] = []
        self.projected: list[int] = []
        self.carried: list[int] = []

        def advance(tokens: Any, carried: Any, sources: Any) -> Any:
            self.advanced.append(tuple(tokens.shape))
            return step.advance(tokens, carried, sources)

        def project(hidden: Any) -> Any:
            self.projected.append(len(hidden[0]))
            return step.project(hidden)

        def carry(states: Any) -> Any:
            self.carried.append(len(states["memory"]))
            return step.carry(states)

        self.step = Step(advance, project, carry)


def ending(chances: list[float]) -> Machine:
    """A machine whose sources end with these logits."""
    machine = Machine(0, sources=len(chances))
    machine.logits[..., machines.END] = np.array(chances)[:, None, None]
    machine.normalize()
    return machine


def test_a_beam_begins_with_one_hypothesis_of_each_source() -> None:
    machine = ending([-30.0] * 3)
    counted = Counted(machine)
    BeamSearch(4)(
        counted.step, machine.states(range(3)), [3] * 3, machine.tables(range(3))
    )
    assert counted.advanced == [(3, 1), (3, 4), (3, 4)]
    # Of a vocabulary with three letters only three hypotheses go on at first.
    assert counted.projected == [3, 9, 12]


def test_a_search_ends_with_the_last_source() -> None:
    machine = ending([30.0, 30.0])
    for search in OF_ONE:
        counted = Counted(machine)
        search(counted.step, machine.states([0, 1]), [9, 9], machine.tables([0, 1]))
        assert len(counted.advanced) == 1


@pytest.mark.parametrize("search", OF_ONE, ids=lambda each: type(each).__name__)
def test_sources_that_are_done_leave_the_batch(search: Any) -> None:
    machine = ending([30.0, -30.0, 30.0])
    counted = Counted(machine)
    found = search(
        counted.step, machine.states(range(3)), [4] * 3, machine.tables(range(3))
    )
    assert found["lengths"].numpy()[:, 0].tolist() == [1, 4, 1]
    assert [sources for sources, _ in counted.advanced] == [3, 1, 1, 1]


@pytest.mark.parametrize("search", OF_ONE, ids=lambda each: type(each).__name__)
def test_the_dead_of_those_that_stay_are_not_projected(search: Any) -> None:
    machine = ending([30.0, *[-30.0] * 9])
    counted = Counted(machine)
    rows = range(10)
    search(counted.step, machine.states(rows), [3] * 10, machine.tables(rows))
    width = search.rows_per_source
    assert [sources for sources, _ in counted.advanced] == [10] * 3
    assert counted.projected[0] == 10
    assert counted.projected[-1] == 9 * width


def test_states_that_nothing_continues_are_not_carried() -> None:
    # All hypotheses continue one, as only after 4 the model is sure.
    machine = Machine(0, sources=1)
    machine.logits[:] = [-99.0, -99.0, -99.0, -99.0, 0.0, -9.0]
    machine.normalize()
    counted = Counted(machine)
    BeamSearch(2)(counted.step, machine.states([0]), [4], machine.tables([0]))
    assert counted.carried[0] == 1
    assert counted.carried[1] == 1
    assert counted.projected == [1, 2, 2, 2]
    assert max(counted.carried) <= 2


# The parts.


@pytest.mark.parametrize(
    ("active", "rows"),
    [
        ([True] * 4, [0, 1, 2, 3]),
        ([False] * 4, []),
        ([], []),
        ([False, True], [1]),
        ([True] * 4 + [False] + [True] * 3, [0, 1, 2, 3, 5, 6, 7]),
        # Below an eighth nobody leaves.
        ([False] + [True] * 8, list(range(9))),
        ([False] + [True] * 14 + [False], list(range(1, 15))),
    ],
    ids=lambda each: str(each)[:20],
)
def test_sources_leave_when_they_are_an_eighth(
    active: list[bool], rows: list[int]
) -> None:
    keep, leave = select_active(tf.constant(active, tf.bool))
    assert keep.numpy().tolist() == rows
    assert bool(leave) == (len(rows) < len(active))


@pytest.mark.parametrize("rest", [(), (5,), (2, 5)])
@pytest.mark.parametrize("known", [False, True])
def test_rows_made_of_hypotheses_and_back_are_the_same(
    rest: tuple[int, ...], known: bool
) -> None:
    shape = [None, 3, *(rest if known else [None] * len(rest))]

    @tf.function(input_signature=[tf.TensorSpec(shape)])
    def there_and_back(x: Any) -> Any:
        rows = flatten_hypotheses([x])[0]
        assert rows.shape.as_list() == [None, *shape[2:]]
        back = unflatten_hypotheses([rows], tf.shape(x)[0], 3)[0]
        assert back.shape.as_list() == shape
        return rows, back

    for sources in (0, 1, 4):
        x = np.random.default_rng(0).random((sources, 3, *rest)).astype("float32")
        rows, back = there_and_back(x)
        np.testing.assert_array_equal(rows, x.reshape(sources * 3, *rest))
        np.testing.assert_array_equal(back, x)


def test_values_are_spread_over_the_batch() -> None:
    found = scatter_rows(tf.constant([[1, 2], [3, 4]]), tf.constant([3, 1]), 4)
    assert found.numpy().tolist() == [[0, 0], [3, 4], [0, 0], [1, 2]]


def test_an_array_of_steps_is_turned_by_source() -> None:
    array = tf.TensorArray(tf.int32, 3, clear_after_read=False)
    for time in range(3):
        array = array.write(time, [[10 + time], [20 + time]])
    assert stack_steps(array, 2).numpy().tolist() == [[[10, 11]], [[20, 21]]]
    assert stack_steps(array, 0).shape == (2, 1, 0)
