"""What holds of every search: graphs, empty batches, numbers that are not finite."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from decoding import machines
from decoding.machines import FORMS, POSITIONS, Machine

from kseq.decoding import BeamSearch, Greedy, Sampling, Step
from kseq.decoding.search import Search, log_normalizer

SEARCHES = {
    "greedy": Greedy(),
    "constrained": Greedy(forbidden=[[4, 5]], no_repeat_ngram_size=2),
    "sampling": Sampling(n=2, top_k=4, top_p=0.9),
    "beam": BeamSearch(3, n=2),
    "beam_of_all": BeamSearch(
        4,
        n=3,
        length_penalty_alpha=0.6,
        length_penalty_beta=5.0,
        coverage_penalty=0.2,
        prune=2.0,
        forbidden=[[4, 5]],
        no_repeat_ngram_size=2,
    ),
}

every_search = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES.keys())


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key].shape == value.shape
        np.testing.assert_allclose(found[key], value, atol=1e-6, err_msg=key)


# Graphs.


@every_search
def test_one_trace_serves_batches_of_every_size(search: Search) -> None:
    # The sizes of the vocabulary and of the source are open, too.
    traces = []
    table = [None, None, None]

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None], tf.int32),
            {
                "logits": tf.TensorSpec([*table, None]),
                "weights": tf.TensorSpec([*table, None]),
            },
            tf.TensorSpec([None, None], tf.bool),
            tf.TensorSpec([None], tf.int32),
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None], tf.int32),
        ]
    )
    def compiled(memory: Any, max_lengths: Any, tables: Any, *rest: Any) -> Any:
        traces.append(1)
        source_mask, min_lengths, prefix, rows = rest
        return search(
            Machine.with_sources,
            memory,
            max_lengths,
            tables,
            source_mask,
            min_lengths,
            prefix,
            rows,
            return_attention=True,
        )

    draw = np.random.default_rng(0)
    for sources, vocab, longest in [
        (4, 6, 5),
        (1, 7, 2),
        (11, 5, 6),
        (3, 6, 0),
        (0, 6, 0),
    ]:
        machine = Machine(sources, sources=sources, vocab=vocab)
        max_lengths = draw.integers(0, longest + 1, sources).astype("int32")
        rest = {
            "source_mask": draw.random((sources, POSITIONS)) < 0.7,
            "min_lengths": draw.integers(0, 4, sources).astype("int32"),
            "prefix": np.where(draw.random((sources, 1)) < 0.5, 4, 0).astype("int32"),
            "rows": np.arange(sources, dtype="int32") + 3,
        }
        rows = range(sources)
        memory = machine.states(rows)["memory"]
        expected = machine.search(
            search, max_lengths.tolist(), "sources", return_attention=True, **rest
        )
        found = compiled(memory, max_lengths, machine.tables(rows), *rest.values())
        assert_same(machines.checked(found, search.n), expected)
    assert len(traces) == 1


@every_search
@pytest.mark.parametrize("form", FORMS)
def test_a_graph_finds_what_is_found_eagerly(search: Search, form: str) -> None:
    machine = Machine(0, sources=10)
    max_lengths = [5, 0, 3, 6, 1, 6, 6, 6, 6, 6]

    def compiled(*arguments: Any, **options: Any) -> Any:
        return tf.function(lambda: search(*arguments, **options))()

    compiled.n = search.n  # type: ignore[attr-defined]
    expected = machine.search(search, max_lengths, form, return_attention=True)
    assert_same(
        machine.search(compiled, max_lengths, form, return_attention=True), expected
    )


@every_search
def test_the_number_of_outputs_is_known_before_the_graph_runs(search: Search) -> None:
    machine = Machine(0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def compiled(max_lengths: Any) -> Any:
        rows = tf.zeros([tf.shape(max_lengths)[0]], tf.int32)
        return search(machine.plain, {"source": rows, "memory": rows}, max_lengths)

    shapes = {
        key: value.shape.as_list()
        for key, value in compiled.get_concrete_function().structured_outputs.items()
    }
    for key in ("tokens", "log_probs"):
        assert shapes[key] == [None, search.n, None]
    for key in ("lengths", "scores", "truncated"):
        assert shapes[key] == [None, search.n]


# Nothing to decode.


@every_search
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attention", [False, True])
def test_a_batch_of_no_sources_gives_no_outputs(
    search: Search, form: str, attention: bool
) -> None:
    found = Machine(0).search(search, [], form, return_attention=attention)
    assert found["tokens"].shape == found["log_probs"].shape == (0, search.n, 0)
    for key in ("lengths", "scores", "truncated"):
        assert found[key].shape == (0, search.n)
    if attention:
        assert found["attention"].shape == (0, search.n, 0, POSITIONS)


@every_search
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attention", [False, True])
def test_outputs_of_no_length_are_empty_and_cut(
    search: Search, form: str, attention: bool
) -> None:
    found = Machine(0).search(search, [0, 0], form, return_attention=attention)
    assert found["tokens"].shape == (2, search.n, 0)
    assert not found["lengths"].any()
    # A beam search has no two outputs alike.
    several = isinstance(search, BeamSearch)
    assert found["truncated"][:, 0].all()
    assert found["truncated"][:, 1:].all() == (not several or search.n == 1)
    assert (found["scores"][:, 0] == 0.0).all()
    if attention:
        assert found["attention"].shape == (2, search.n, 0, POSITIONS)


@every_search
def test_a_source_of_no_length_leaves_the_others_as_they_are(search: Search) -> None:
    machine = Machine(0)
    found = machine.search(search, [4, 0, 4])
    for source in (0, 2):
        alone = machine.search(search, [4], which=[source], rows=[source])
        assert machines.outputs_of(found, source) == machines.outputs_of(alone, 0)
    assert machines.outputs_of(found, 1)[0] == ()


# Attention.


@every_search
def test_attention_needs_a_step_that_gives_it(search: Search) -> None:
    if getattr(search, "coverage_penalty", 0):
        search = BeamSearch(3)
    step = machines.chain({})
    with pytest.raises(ValueError, match="`return_attention` needs a step"):
        search(step, [], [3], return_attention=True)


# Numbers that are not finite.

VALUES = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


def broken(value: float, token: Any, later: bool) -> Machine:
    """A machine whose source 1 has such a logit, at its first or its second step."""
    machine = Machine(0)
    machine.logits[1, 0, :, machines.END] = -np.inf
    second = machines.remember(0, machines.START)
    machine.logits[1, second if later else 0, :, token] = value
    return machine


breaks = pytest.mark.parametrize(
    ("value", "token"),
    [
        ("nan", 4),
        ("nan", machines.PAD),
        ("nan", slice(None)),
        ("inf", 5),
        ("inf", machines.END),
        ("-inf", slice(None)),
    ],
    ids=str,
)


@every_search
@breaks
@pytest.mark.parametrize("later", [False, True])
def test_logits_that_are_not_finite_raise_and_name_the_source(
    search: Search, value: str, token: Any, later: bool
) -> None:
    machine = broken(VALUES[value], token, later)
    numbers = tf.constant([10, 11, 12])
    message = r"logits of a source are not finite .* Sources: \[11\]\.$"
    with pytest.raises(ValueError, match=message):
        search(machine.plain, machine.states([0, 1, 2]), [5, 5, 5], rows=numbers)
    # By its place, without numbers.
    with pytest.raises(ValueError, match=r"Sources: \[2\]\.$"):
        search(machine.plain, machine.states([0, 2, 1]), [5, 5, 5])


@pytest.mark.parametrize("numbers", [[10, 11, 12], np.array([10, 11, 12])], ids=type)
def test_the_numbers_of_the_sources_may_be_given_as_a_list(numbers: Any) -> None:
    machine = broken(np.nan, slice(None), later=False)
    with pytest.raises(ValueError, match=r"Sources: \[11\]\.$"):
        machine.search(Greedy(), [5, 5, 5], rows=numbers)


@every_search
def test_in_a_graph_they_raise_when_it_runs(search: Search) -> None:
    good, *bad = Machine(0), *(broken(x, slice(None), True) for x in VALUES.values())

    @tf.function(input_signature=[tf.TensorSpec([None] * 4)])
    def compiled(logits: Any) -> Any:
        def step(token: Any, memory: Any, logits: Any) -> tuple[Any, ...]:
            tables = {"logits": logits, "weights": tf.ones_like(logits)}
            return Machine.with_sources(token, memory, tables)

        return search(
            step,
            tf.zeros([3], tf.int32),
            [5, 5, 5],
            sources=logits,
            rows=[10, 11, 12],
        )

    compiled(good.logits)
    for machine in bad:
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"not finite(.|\n)*\[11\]"
        ):
            compiled(machine.logits)


@every_search
def test_a_search_of_nothing_finite_ends_at_once(search: Search) -> None:
    steps = []

    def step(token: Any, states: Any) -> tuple[Any, ...]:
        steps.append(1)
        rows = tf.shape(token)[0]
        return tf.fill([rows, 6], np.nan), states, tf.ones([rows, POSITIONS])

    with pytest.raises(ValueError, match=r"Sources: \[0, 1\]"):
        search(step, [], [1000, 1000])
    assert len(steps) == 1


@every_search
def test_a_source_that_has_ended_may_read_what_is_not_finite(search: Search) -> None:
    # Of ten sources one alone does not leave, but reads on.
    machine = Machine(0, sources=10)
    machine.logits[1:, ..., machines.END] = -30.0
    machine.logits[0, 0] = [-np.inf] * 3 + [1.0] + [-np.inf] * 2
    machine.logits[0, 1:] = np.nan
    read = []

    def step(token: Any, states: Any) -> tuple[Any, ...]:
        read.append(len(token))
        return machine.plain(token, states)

    found = search(step, machine.states(range(10)), [5] * 10)
    found = machines.checked(found, search.n)
    assert machines.outputs_of(found, 0)[0] == (machines.END,)
    assert read[1] == 10 * search.rows_per_source


def test_other_logits_of_minus_infinity_are_impossible_tokens() -> None:
    step = machines.chain({2: {4: 0.5, 5: 0.5}, 4: {3: 1.0}, 5: {3: 1.0}})
    for search in SEARCHES.values():
        if getattr(search, "coverage_penalty", 0):
            continue
        found = machines.checked(search(step, [], [4]), search.n)
        assert set(machines.outputs_of(found, 0)) <= {(4, 3), (5, 3)}
        np.testing.assert_allclose(found["scores"], np.log(0.5), rtol=1e-6)


def test_the_normalizer_tells_what_is_finite() -> None:
    rows = np.zeros((5, 4), "float32")
    rows[1] = -np.inf
    rows[2, 1] = np.nan
    rows[3, 1] = np.inf
    rows[4, 1:] = -np.inf
    normalizer, wrong = log_normalizer(tf.constant(rows))
    assert wrong.numpy().tolist() == [False, True, True, True, False]
    np.testing.assert_allclose(normalizer, [np.log(4.0), 0, 0, 0, 0], rtol=1e-6)


# Arguments.


def test_plain_lists_and_numpy_arrays_will_do() -> None:
    machine = Machine(0)
    states = {key: x.numpy() for key, x in machine.states([0, 1]).items()}
    arguments = {"min_lengths": [2, 3], "prefix": [[4], [0]], "rows": [7, 8]}
    expected = machine.search(
        Sampling(), [4, 4], **{key: np.array(x) for key, x in arguments.items()}
    )
    for max_lengths in ([4, 4], np.array([4, 4], "int64"), tf.constant([4, 4])):
        found = Sampling()(machine.plain, states, max_lengths, **arguments)
        np.testing.assert_array_equal(found["tokens"], expected["tokens"])


@pytest.mark.parametrize("name", ["max_lengths", "min_lengths", "rows", "prefix"])
def test_integers_that_int32_does_not_hold_are_refused(name: str) -> None:
    value = np.array([[2**31 + 5]] if name == "prefix" else [2**31 + 5])
    arguments = {"max_lengths": [3], name: value}
    with pytest.raises(ValueError, match=f"`{name}` must hold .* 2147483653"):
        Greedy()(Machine(0).plain, [], **arguments)


def test_the_base_class_finds_nothing_itself() -> None:
    search = Search()
    with pytest.raises(NotImplementedError):
        _ = search.n
    with pytest.raises(NotImplementedError):
        _ = search.rows_per_source
    with pytest.raises(NotImplementedError):
        search(Step(lambda *_: None, lambda x: x), [], [1])
