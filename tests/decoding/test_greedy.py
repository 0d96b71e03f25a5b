"""Greedy search against a loop in plain Python, on made-up step functions: no model.

The alphabet of these tests, so that failures can be read: `_` padding, `?` unknown,
`<` the start, `.` the end, then the letters.
"""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from decoding.machines import Machine, checked, forms, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from kseq.decoding import Greedy

ALPHABET = "_?<.abcd"

few = settings(max_examples=25, deadline=None)


def ids(text: str) -> list[int]:
    return [ALPHABET.index(letter) for letter in text]


def text(tokens: Any) -> str:
    return "".join(ALPHABET[token] for token in tokens)


def texts(found: dict[str, Any]) -> list[str]:
    return [text(row) for row in np.array(found["tokens"])[:, 0]]


def by_hand(machine: Machine, source: int, limit: int) -> tuple[str, float, bool]:
    """The output of one source, its score and whether it was cut."""
    output: list[int] = []
    score = 0.0
    for _ in range(limit):
        log_probs, _ = machine.read(source, output)
        allowed = [i for i in range(len(ALPHABET)) if ALPHABET[i] not in "_<"]
        token = max(allowed, key=lambda i: log_probs[i])
        output.append(token)
        score += log_probs[token]
        if ALPHABET[token] == ".":
            return text(output), score, False
    return text(output), score, True


limits = st.lists(st.integers(0, 9), min_size=1, max_size=10)


@few
@given(limits, seeds, forms, st.sampled_from([0.0, 0.3]))
def test_every_source_is_decoded_as_by_a_loop_over_it(
    max_lengths: list[int], seed: int, form: str, impossible: float
) -> None:
    machine = Machine(seed, len(max_lengths), len(ALPHABET), impossible)
    found = machine.search(Greedy(), max_lengths, form)
    expected = [by_hand(machine, *each) for each in enumerate(max_lengths)]
    longest = max(len(output) for output, _, _ in expected)
    assert texts(found) == [output.ljust(longest, "_") for output, _, _ in expected]
    assert found["lengths"].tolist() == [[len(o)] for o, _, _ in expected]
    assert found["truncated"].tolist() == [[cut] for _, _, cut in expected]
    for source, (output, score, _) in enumerate(expected):
        np.testing.assert_allclose(found["scores"][source, 0], score, atol=1e-4)
        np.testing.assert_allclose(
            found["log_probs"][source, 0, : len(output)],
            machine.forced(source, ids(output)),
            atol=1e-5,
        )


@few
@given(limits, seeds, forms)
def test_a_source_alone_is_decoded_as_in_a_batch(
    max_lengths: list[int], seed: int, form: str
) -> None:
    machine = Machine(seed, len(max_lengths), len(ALPHABET))
    batch = machine.search(Greedy(), max_lengths, form)
    for row in range(len(max_lengths)):
        alone = machine.search(Greedy(), [max_lengths[row]], form, which=[row])
        length = int(alone["lengths"][0, 0])
        assert texts(alone)[0] == texts(batch)[row][:length]
        for key in ("lengths", "truncated"):
            np.testing.assert_array_equal(alone[key][0], batch[key][row])
        # TensorFlow sums many rows in another order than one.
        np.testing.assert_allclose(alone["scores"][0], batch["scores"][row], rtol=1e-6)


def say(outputs: list[str]) -> Any:
    """A step function that is sure of these outputs, whatever it reads.

    Its states are the numbers of the sources and of their steps.
    """
    table = tf.constant([ids(output) for output in outputs])

    def step(token: Any, states: Any) -> tuple[Any, Any]:
        row, time = states
        wanted = tf.gather_nd(table, tf.stack([row, time], axis=1))
        return tf.one_hot(wanted, len(ALPHABET)) * 30.0, (row, time + 1)

    return step


def begin(sources: int) -> Any:
    """The states of `say` before the first step."""
    return tf.range(sources), tf.zeros(sources, "int32")


def reading(outputs: list[str], read: list[str]) -> Any:
    """As `say`; it writes down what it reads at each step."""
    step = say(outputs)

    def wrapped(token: Any, states: Any) -> tuple[Any, Any]:
        read.append(text(token.numpy()))
        return step(token, states)

    return wrapped


def test_the_loop_ends_when_all_sources_have_ended() -> None:
    read: list[str] = []
    step = reading(["ab.dddddd", "d.ccccccc"], read)
    found = checked(Greedy()(step, begin(2), [9, 9]), n=1)
    assert texts(found) == ["ab.", "d._"]
    assert len(read) == 3


def test_an_output_that_ends_at_its_maximum_is_not_cut() -> None:
    found = checked(Greedy()(say(["ab.d", "abcd"]), begin(2), [3, 3]), n=1)
    assert texts(found) == ["ab.", "abc"]
    assert found["truncated"].tolist() == [[False], [True]]


def test_the_start_is_read_first_then_every_output() -> None:
    read: list[str] = []
    Greedy()(reading(["abc."], read), begin(1), [9])
    assert read == ["<", "a", "b", "c"]


def test_a_source_that_ends_leaves_the_batch() -> None:
    read: list[str] = []
    Greedy()(reading(["a...", "abc."], read), begin(2), [9, 9])
    assert read == ["<<", "aa", "b", "c"]


def test_of_many_a_source_that_ends_may_stay_and_reads_padding() -> None:
    read: list[str] = []
    outputs = ["a...", *["abc."] * 9]
    found = Greedy()(reading(outputs, read), begin(10), [9] * 10)
    assert texts(found) == ["a.__", *["abc."] * 9]
    assert read == ["<" * 10, "a" * 10, "." + "b" * 9, "_" + "c" * 9]


def test_padding_and_start_are_never_an_output_and_keep_their_probability() -> None:
    logits = tf.constant([[9.0, 0.0, 8.0, 1.0, 2.0]])
    found = Greedy()(lambda token, state: (logits, state), (), [1])
    assert found["tokens"].numpy().tolist() == [[[4]]]
    expected = tf.nn.log_softmax(logits)[0, 4]
    np.testing.assert_allclose(found["scores"], [[expected]], rtol=1e-6)


def test_of_equally_probable_tokens_it_takes_the_smallest_id() -> None:
    logits = tf.constant([[5.0, 0.0, 5.0, 1.0, 2.0, 2.0, 2.0]])
    found = Greedy()(lambda token, state: (logits, state), (), [3])
    assert found["tokens"].numpy().tolist() == [[[4, 4, 4]]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_logits_of_any_precision_are_scored_in_single_precision(dtype: str) -> None:
    logits = tf.cast(tf.random.normal((1, 8)), dtype)
    found = Greedy()(lambda token, state: (logits, state), (), [1])
    best = int(found["tokens"][0, 0, 0])
    expected = tf.nn.log_softmax(tf.cast(logits, "float32"))[0, best]
    np.testing.assert_allclose(found["scores"], [[expected]], rtol=1e-6)


@pytest.mark.parametrize("max_lengths", [[], [0, 0]])
def test_nothing_to_decode_gives_nothing(max_lengths: list[int]) -> None:
    size = len(max_lengths)
    found = checked(Greedy()(say(["a", "a"]), begin(size), max_lengths), n=1)
    assert found["tokens"].shape == (size, 1, 0)
    assert found["lengths"].tolist() == [[0]] * size
    assert found["truncated"].tolist() == [[True]] * size


def test_one_graph_serves_every_size() -> None:
    traces = []
    machine = Machine(0, sources=5, vocab=len(ALPHABET))

    @tf.function(
        input_signature=[
            {key: tf.TensorSpec([None], "int32") for key in ("source", "memory")},
            tf.TensorSpec([None], "int32"),
        ]
    )
    def search(states: Any, max_lengths: Any) -> Any:
        traces.append(1)
        return Greedy()(machine.plain, states, max_lengths)

    for size in (5, 2, 1):
        found = checked(search(machine.states(range(size)), tf.fill([size], 6)), n=1)
        assert texts(found)[0].rstrip("_") == by_hand(machine, 0, 6)[0]
    assert len(traces) == 1


# Attention.


def looking(outputs: list[str], length: int) -> Any:
    """As `say`, with weights that tell row and time: 10 * row + time, everywhere."""
    step = say(outputs)

    def look(token: Any, states: Any) -> tuple[Any, ...]:
        row, time = states
        weights = tf.cast(10 * row + time + 1, tf.float32)
        return *step(token, states), tf.tile(weights[:, None], [1, length])

    return look


def test_the_attention_of_each_token_is_kept_and_zero_after_the_end() -> None:
    step = looking(["ab.d", "d...", "abcd"], length=3)
    found = checked(Greedy()(step, begin(3), [9, 9, 3], return_attention=True), n=1)
    assert texts(found) == ["ab.", "d._", "abc"]
    expected = np.array([[1, 2, 3], [11, 12, 0], [21, 22, 23]], "float32")
    assert found["attention"].shape == (3, 1, 3, 3)
    for position in range(3):
        np.testing.assert_array_equal(found["attention"][:, 0, :, position], expected)


def test_attention_is_not_given_unless_asked_for() -> None:
    found = Greedy()(looking(["a."], length=3), begin(1), [9])
    assert set(found) == {"tokens", "lengths", "scores", "truncated", "log_probs"}


def test_asking_for_attention_changes_no_token() -> None:
    machine = Machine(1, vocab=len(ALPHABET))

    def look(token: Any, states: Any) -> tuple[Any, ...]:
        weights = tf.ones((len(token), 2), "float16")
        return *machine.plain(token, states)[:2], weights

    plain = machine.search(Greedy(), [9, 4, 7])
    found = checked(
        Greedy()(look, machine.states([0, 1, 2]), [9, 4, 7], return_attention=True), n=1
    )
    for key, value in plain.items():
        np.testing.assert_array_equal(found[key], value)
    sums = found["attention"].sum(axis=(2, 3))
    np.testing.assert_array_equal(sums, 2 * found["lengths"])


@pytest.mark.parametrize("max_lengths", [[], [0, 0]])
def test_nothing_to_decode_has_no_attention(max_lengths: list[int]) -> None:
    size = len(max_lengths)
    step = looking(["a", "a"], length=4)
    found = checked(
        Greedy()(step, begin(size), max_lengths, return_attention=True), n=1
    )
    assert found["attention"].shape == (size, 1, 0, 4)


def test_one_graph_serves_sources_of_every_length() -> None:
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None], "float32")])
    def search(weights: Any) -> Any:
        traces.append(1)

        def look(token: Any, time: Any, weights: Any) -> tuple[Any, ...]:
            return tf.one_hot(time + 3, 8) * -9.0, time + 1, weights

        rows = tf.shape(weights)[0]
        return Greedy()(
            look,
            tf.zeros([rows], "int32"),
            tf.fill([rows], 2),
            sources=weights,
            return_attention=True,
        )["attention"]

    for shape in ((2, 3), (1, 5)):
        weights = np.random.default_rng(0).random(shape).astype("float32")
        expected = np.stack([weights, weights], axis=1)
        np.testing.assert_array_equal(search(weights)[:, 0], expected)
    assert len(traces) == 1
