"""Greedy search against a loop in plain Python, on made-up step functions: no model.

The alphabet of these tests, so that failures can be read: `_` padding, `?` unknown,
`<` the start, `.` the end, then the letters.
"""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from kseq.decoding import greedy

ALPHABET = "_?<.abcd"


def ids(text: str) -> list[int]:
    return [ALPHABET.index(letter) for letter in text]


def text(tokens: Any) -> str:
    return "".join(ALPHABET[token] for token in tokens)


class Machine:
    """A step function whose state counts the steps: next letters by a random table.

    The logits depend on the row's number, on the previous token and on the time, so
    that a token, a state or a row in the wrong place shows.
    """

    def __init__(self, rows: int, seed: int, ending: float = 0.0) -> None:
        self.table = np.random.default_rng(seed).normal(
            size=(rows, len(ALPHABET), 5, len(ALPHABET))
        )
        self.table[..., ALPHABET.index(".")] += ending
        self.table = self.table.astype("float32")

    def states(self, rows: list[int]) -> dict[str, Any]:
        return {"row": tf.constant(rows, "int32"), "time": tf.zeros(len(rows), "int32")}

    def __call__(self, token: Any, states: Any) -> tuple[Any, Any]:
        place = tf.stack([states["row"], token, states["time"] % 5], axis=1)
        logits = tf.gather_nd(tf.constant(self.table), place)
        return logits, {"row": states["row"], "time": states["time"] + 1}


def by_hand(machine: Machine, row: int, limit: int) -> tuple[str, float, bool]:
    """The output of one row, its score and whether it was cut."""
    token, output, score = ALPHABET.index("<"), "", 0.0
    for time in range(limit):
        logits = machine.table[row, token, time % 5].astype("float64")
        log_probs = logits - np.log(np.exp(logits).sum())
        allowed = [i for i in range(len(ALPHABET)) if ALPHABET[i] not in "_<"]
        token = max(allowed, key=lambda i: log_probs[i])
        output += ALPHABET[token]
        score += log_probs[token]
        if output.endswith("."):
            return output, score, False
    return output, score, True


limits = st.lists(st.integers(0, 9), min_size=1, max_size=5)
seeds = st.integers(0, 2**32 - 1)


@given(limits, seeds, st.sampled_from([-2.0, 0.0, 1.0]))
def test_every_row_is_decoded_as_by_a_loop_over_it(
    max_lengths: list[int], seed: int, ending: float
) -> None:
    machine = Machine(len(max_lengths), seed, ending)
    rows = list(range(len(max_lengths)))
    found = greedy(machine, machine.states(rows), max_lengths)
    expected = [by_hand(machine, row, max_lengths[row]) for row in rows]
    longest = max(len(output) for output, _, _ in expected)
    assert [text(row) for row in found["tokens"].numpy()] == [
        output.ljust(longest, "_") for output, _, _ in expected
    ]
    assert found["lengths"].numpy().tolist() == [len(o) for o, _, _ in expected]
    assert found["truncated"].numpy().tolist() == [cut for _, _, cut in expected]
    np.testing.assert_allclose(
        found["scores"], [score for _, score, _ in expected], atol=1e-5
    )


@given(limits, seeds)
def test_a_row_alone_is_decoded_as_in_a_batch(
    max_lengths: list[int], seed: int
) -> None:
    machine = Machine(len(max_lengths), seed)
    rows = list(range(len(max_lengths)))
    batch = greedy(machine, machine.states(rows), max_lengths)
    for row in rows:
        alone = greedy(machine, machine.states([row]), [max_lengths[row]])
        length = int(alone["lengths"][0])
        assert text(alone["tokens"][0]) == text(batch["tokens"][row])[:length]
        for key in ("lengths", "scores", "truncated"):
            np.testing.assert_array_equal(alone[key][0], batch[key][row])


def say(outputs: list[str], steps: list[int] | None = None) -> Any:
    """A step function that is sure of these outputs, whatever it reads."""
    table = np.array([ids(output) for output in outputs])

    def step(token: Any, time: Any) -> tuple[Any, Any]:
        if steps is not None:
            steps.append(int(time[0]))
        wanted = tf.gather(table, time, batch_dims=1)
        return tf.one_hot(wanted, len(ALPHABET)) * 30.0, time + 1

    return step


def test_the_loop_ends_when_all_rows_have_ended() -> None:
    steps: list[int] = []
    step = say(["ab.dddddd", "d.ccccccc"], steps)
    found = greedy(step, tf.zeros(2, "int32"), [9, 9])
    assert [text(row) for row in found["tokens"].numpy()] == ["ab.", "d._"]
    assert steps == [0, 1, 2]


def test_a_row_that_ends_at_its_maximum_is_not_cut() -> None:
    found = greedy(say(["ab.d", "abcd"]), tf.zeros(2, "int32"), [3, 3])
    assert [text(row) for row in found["tokens"].numpy()] == ["ab.", "abc"]
    assert found["truncated"].numpy().tolist() == [False, True]


def test_the_start_is_read_first_then_every_output() -> None:
    read = []

    def step(token: Any, time: Any) -> tuple[Any, Any]:
        read.append(text(token.numpy()))
        return say(["abc."])(token, time)

    greedy(step, tf.zeros(1, "int32"), [9])
    assert read == ["<", "a", "b", "c"]


def test_an_ended_row_reads_padding() -> None:
    read = []

    def step(token: Any, time: Any) -> tuple[Any, Any]:
        read.append(text(token.numpy()))
        return say(["a...", "abc."])(token, time)

    greedy(step, tf.zeros(2, "int32"), [9, 9])
    assert read == ["<<", "aa", ".b", "_c"]


def test_padding_and_start_are_never_an_output_and_keep_their_probability() -> None:
    logits = tf.constant([[9.0, 0.0, 8.0, 1.0, 2.0]])
    found = greedy(lambda token, state: (logits, state), (), [1])
    assert found["tokens"].numpy().tolist() == [[4]]
    expected = tf.nn.log_softmax(logits)[0, 4]
    np.testing.assert_allclose(found["scores"], [expected], rtol=1e-6)


def test_other_ids_may_start_and_end_a_row() -> None:
    read = []

    def step(token: Any, time: Any) -> tuple[Any, Any]:
        read.append(text(token.numpy()))
        return say(["a.bcd"])(token, time)

    start, end = ids("db")
    found = greedy(step, tf.zeros(1, "int32"), [9], start_id=start, end_id=end)
    assert text(found["tokens"][0].numpy()) == "a.b"
    assert read[0] == "d"


def test_half_precision_logits_are_scored_in_full_precision() -> None:
    logits = tf.random.normal((1, 8), dtype="float32")
    half = tf.cast(logits, "float16")
    found = greedy(lambda token, state: (half, state), (), [1])
    best = int(found["tokens"][0, 0])
    expected = tf.nn.log_softmax(tf.cast(half, "float32"))[0, best]
    np.testing.assert_allclose(found["scores"], [expected], rtol=1e-6)


@pytest.mark.parametrize("max_lengths", [[], [0, 0]])
def test_nothing_to_decode_gives_nothing(max_lengths: list[int]) -> None:
    size = len(max_lengths)
    found = greedy(say(["a"] * max(size, 1)), tf.zeros(size, "int32"), max_lengths)
    assert found["tokens"].shape == (size, 0)
    assert found["lengths"].numpy().tolist() == [0] * size
    assert found["truncated"].numpy().tolist() == [True] * size


def test_one_graph_serves_every_size() -> None:
    traces = []
    machine = Machine(5, seed=0)

    @tf.function(
        input_signature=[
            {key: tf.TensorSpec([None], "int32") for key in ("row", "time")},
            tf.TensorSpec([None], "int32"),
        ]
    )
    def search(states: Any, max_lengths: Any) -> Any:
        traces.append(1)
        return greedy(machine, states, max_lengths)

    for size in (5, 2, 1):
        rows = list(range(size))
        found = search(machine.states(rows), tf.fill([size], 6))
        assert text(found["tokens"][0].numpy()).rstrip("_") == by_hand(machine, 0, 6)[0]
    assert len(traces) == 1


# Attention.


def looking(outputs: list[str], length: int) -> Any:
    """As `say`, with weights that tell row and time: 10 * row + time, everywhere."""
    step = say(outputs)

    def look(token: Any, time: Any) -> tuple[Any, ...]:
        rows = tf.range(tf.shape(time)[0])
        weights = tf.cast(10 * rows + time + 1, tf.float32)
        return *step(token, time), tf.tile(weights[:, None], [1, length])

    return look


def test_the_attention_of_each_token_is_kept_and_zero_after_the_end() -> None:
    step = looking(["ab.d", "d...", "abcd"], length=3)
    found = greedy(step, tf.zeros(3, "int32"), [9, 9, 3], attention_length=3)
    assert [text(row) for row in found["tokens"].numpy()] == ["ab.", "d._", "abc"]
    expected = np.array([[1, 2, 3], [11, 12, 0], [21, 22, 23]], "float32")
    assert found["attention"].shape == (3, 3, 3)
    np.testing.assert_array_equal(found["attention"], expected[..., None] + [0, 0, 0])
    assert found["attention"].dtype == tf.float32


def test_attention_is_not_given_unless_asked_for() -> None:
    found = greedy(say(["a."]), tf.zeros(1, "int32"), [9])
    assert set(found) == {"tokens", "lengths", "scores", "truncated"}


def test_asking_for_attention_changes_no_token() -> None:
    machine = Machine(3, seed=1)

    def look(token: Any, states: Any) -> tuple[Any, ...]:
        return *machine(token, states), tf.ones((3, 2), "float16")

    plain = greedy(machine, machine.states([0, 1, 2]), [9, 4, 7])
    found = greedy(look, machine.states([0, 1, 2]), [9, 4, 7], attention_length=2)
    for key, value in plain.items():
        np.testing.assert_array_equal(found[key], value)
    sums = found["attention"].numpy().sum(axis=(1, 2))
    np.testing.assert_array_equal(sums, 2 * found["lengths"].numpy())


@pytest.mark.parametrize("max_lengths", [[], [0, 0]])
def test_nothing_to_decode_has_no_attention(max_lengths: list[int]) -> None:
    size = len(max_lengths)
    step = looking(["a"] * max(size, 1), length=4)
    found = greedy(step, tf.zeros(size, "int32"), max_lengths, attention_length=4)
    assert found["attention"].shape == (size, 0, 4)


def test_one_graph_serves_sources_of_every_length() -> None:
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None], "float32")])
    def search(weights: Any) -> Any:
        traces.append(1)

        def look(token: Any, time: Any) -> tuple[Any, ...]:
            return tf.one_hot(time + 3, 8) * -9.0, time + 1, weights

        rows, length = tf.shape(weights)[0], tf.shape(weights)[1]
        return greedy(
            look,
            tf.zeros([rows], "int32"),
            tf.fill([rows], 2),
            attention_length=length,
        )["attention"]

    for shape in ((2, 3), (1, 5)):
        weights = np.random.default_rng(0).random(shape).astype("float32")
        expected = np.stack([weights, weights], axis=1)
        np.testing.assert_array_equal(search(weights), expected)
    assert len(traces) == 1
