import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from kseq.data import CopyTask, ReverseTask, SortTask
from kseq.data.tasks.symbols import SymbolTask

TASKS = [CopyTask, ReverseTask, SortTask]
ANSWERS = {
    CopyTask: lambda numbers: numbers,
    ReverseTask: lambda numbers: numbers[::-1],
    SortTask: sorted,
}

kinds = st.sampled_from(TASKS)


@settings(max_examples=40, deadline=None)
@given(
    kind=kinds,
    symbols=st.integers(1, 120),
    shortest=st.integers(1, 10),
    more=st.integers(0, 20),
    seed=st.integers(0, 2**40),
)
def test_every_target_is_the_right_answer(
    kind: type[SymbolTask], symbols: int, shortest: int, more: int, seed: int
) -> None:
    task = kind(symbols, shortest, shortest + more)
    examples = task.sample(20, seed)
    for source, target in zip(
        examples.source_texts(), examples.target_texts(), strict=True
    ):
        numbers = [int(symbol) for symbol in source.split()]
        assert shortest <= len(numbers) <= shortest + more
        assert min(numbers) >= 0
        assert max(numbers) < symbols
        assert [int(symbol) for symbol in target.split()] == ANSWERS[kind](numbers)
        assert task.answer(source) == target
    assert task.encode(examples.source_texts()).tolist() == examples.source.tolist()
    assert task.decode(examples.target) == examples.target_texts()


@pytest.mark.parametrize(
    ("task", "symbols", "shortest", "longest"),
    [(CopyTask(), 11, 10, 30), (ReverseTask(), 50, 1, 25), (SortTask(), 50, 1, 25)],
)
def test_the_defaults_are_the_known_tasks(
    task: SymbolTask, symbols: int, shortest: int, longest: int
) -> None:
    assert task.vocab.tokens[4:] == tuple(map(str, range(symbols)))
    examples = task.sample(5_000)
    lengths = (examples.source > 3).sum(axis=1)
    counts = np.bincount(lengths)[shortest:]
    assert (lengths.min(), lengths.max()) == (shortest, longest)
    # Lengths and symbols are uniform: six standard deviations.
    expected = 5_000 / (longest - shortest + 1)
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected)
    drawn = np.bincount(examples.source[examples.source > 3])[4:]
    expected = drawn.sum() / symbols
    assert np.abs(drawn - expected).max() < 6 * np.sqrt(expected)


@settings(max_examples=40, deadline=None)
@given(
    kind=kinds,
    symbols=st.integers(1, 4),
    shortest=st.integers(1, 3),
    more=st.integers(0, 3),
    seed=st.integers(0, 100),
    data=st.data(),
)
def test_a_split_repeats_no_source(
    kind: type[SymbolTask],
    symbols: int,
    shortest: int,
    more: int,
    seed: int,
    data: st.DataObject,
) -> None:
    task = kind(symbols, shortest, shortest + more)
    assert task.distinct == sum(symbols ** (shortest + k) for k in range(more + 1))
    if task.distinct < 2:
        return
    train_size = data.draw(st.integers(1, task.distinct - 1))
    valid_size = data.draw(st.integers(1, task.distinct - train_size))
    train, valid = task.split(train_size, valid_size, seed)
    assert (len(train), len(valid)) == (train_size, valid_size)
    texts = train.source_texts() + valid.source_texts()
    assert len(set(texts)) == len(texts)
    assert [task.answer(text) for text in texts] == (
        train.target_texts() + valid.target_texts()
    )


def test_a_split_can_take_every_source_there_is() -> None:
    task = CopyTask(symbols=2, min_length=1, max_length=3)
    train, valid = task.split(10, 4)
    assert sorted(train.source_texts() + valid.source_texts()) == sorted(
        " ".join(text) for n in (1, 2, 3) for text in itertools.product("01", repeat=n)
    )


@pytest.mark.parametrize(
    "task",
    [
        CopyTask(),  # two words of key
        ReverseTask(symbols=3, min_length=1, max_length=15),  # many short repetitions
        SortTask(symbols=300, min_length=1, max_length=40),
    ],
)
def test_a_split_of_a_large_space_draws_and_still_repeats_nothing(task) -> None:
    parts = task.split(20_000, 1_000, seed=3, test_size=1_000)
    texts = [text for part in parts for text in part.source_texts()]
    assert len(set(texts)) == len(texts) == 22_000


def test_sources_longer_than_a_word_of_their_key_are_told_apart() -> None:
    # 39 digits of base 3 fit in 63 bits; the fortieth opens a second word.
    task = CopyTask(symbols=2, min_length=40, max_length=40)
    rows = np.ones((3, 40), dtype=np.int32)
    rows[1, 0] = rows[2, -1] = 2
    keys = task._keys(rows)
    assert keys.shape == (3, 2)
    assert len(np.unique(keys, axis=0)) == 3


def test_each_source_has_a_key_of_its_own() -> None:
    task = CopyTask(symbols=3, min_length=1, max_length=5)
    rows, _ = task._list(np.random.default_rng(0))
    assert len(np.unique(task._keys(rows), axis=0)) == len(rows) == task.distinct


def test_a_split_weighs_lengths_as_drawing_and_skipping_repetitions_does() -> None:
    task = CopyTask(symbols=3, min_length=1, max_length=3)
    rng = np.random.default_rng(0)
    split, drawn = 0, 0
    for seed in range(300):
        train, valid = task.split(5, 1, seed)
        texts = train.source_texts() + valid.source_texts()
        split += sum(len(text.split()) == 1 for text in texts)
        seen: set[tuple[int, ...]] = set()
        while len(seen) < 6:
            seen.add(tuple(rng.integers(0, 3, rng.integers(1, 4))))
        drawn += sum(len(symbols) == 1 for symbols in seen)
    assert split / 300 == pytest.approx(drawn / 300, abs=0.25)


def test_more_sources_than_exist_is_an_error_with_their_number() -> None:
    with pytest.raises(ValueError, match=r"at most 14, .* Received: 15"):
        CopyTask(symbols=2, min_length=1, max_length=3).split(10, 5)


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"symbols": 0}, ValueError, "`symbols` must be .* Received: 0"),
        ({"min_length": 0}, ValueError, "`min_length` must be .* Received: 0"),
        (
            {"min_length": 5, "max_length": 4},
            ValueError,
            "`max_length` must be at least `min_length`, 5. Received: 4",
        ),
        ({"symbols": True}, TypeError, "`symbols` must be"),
        ({"max_length": 5.0}, TypeError, "`max_length` must be"),
    ],
)
def test_bad_arguments_are_refused(kind, options, error, message) -> None:
    with pytest.raises(error, match=message):
        kind(**options)


@pytest.mark.parametrize("text", ["1 50", "a", "<s>", "1,2"])
def test_answer_and_encode_refuse_unknown_symbols(text: str) -> None:
    with pytest.raises(ValueError, match='"0" to "49"'):
        SortTask().answer(text)
    with pytest.raises(ValueError, match="must only contain tokens of the vocabulary"):
        SortTask().encode([text])
    with pytest.raises(TypeError, match="`text` must be a string"):
        SortTask().answer([text])  # type: ignore[arg-type]
