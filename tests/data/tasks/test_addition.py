import itertools
import time

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from kseq.data import AdditionTask, Examples

task_options = st.one_of(
    st.fixed_dictionaries({"terms": st.integers(2, 4), "digits": st.integers(1, 4)}),
    st.fixed_dictionaries(
        {
            "terms": st.integers(2, 4),
            "digits": st.integers(1, 4),
            "fixed_width": st.just(True),
            "target_width": st.sampled_from([None, 5, 8]),
        }
    ),
    st.just({"terms": 2, "digits": 18}),
)


def sums(*parts: Examples) -> list[tuple[int, ...]]:
    """Returns the operands of all sums, in rising order."""
    return [
        tuple(sorted(map(int, text.strip().split("+"))))
        for part in parts
        for text in part.source_texts()
    ]


@settings(max_examples=30, deadline=None)
@given(task_options, st.integers(0, 2**40))
def test_every_target_is_the_sum_of_its_source(options: dict, seed: int) -> None:
    task = AdditionTask(**options)
    examples = task.sample(50, seed)
    for source, target in zip(
        examples.source_texts(), examples.target_texts(), strict=True
    ):
        operands = source.strip().split("+")
        assert [str(int(operand)) for operand in operands] == operands
        assert len(operands) == task.terms
        assert max(map(len, operands)) <= task.digits
        assert target.strip() == str(sum(map(int, operands))) == task.answer(source)


@settings(max_examples=20, deadline=None)
@given(task_options)
def test_encoding_the_texts_gives_the_drawn_ids(options: dict) -> None:
    task = AdditionTask(**options)
    examples = task.sample(30)
    texts = task.decode(examples.source)
    assert task.encode(texts).tolist() == examples.source.tolist()
    assert task.decode(task.encode(texts)) == texts
    assert task.decode(examples.target) == [task.answer(text) for text in texts]


def test_fixed_width_justifies_both_sides_with_spaces() -> None:
    task = AdditionTask(terms=3, digits=2, fixed_width=True)
    examples = task.sample(200)
    assert examples.source.shape[1] == 3 * 2 + 2 + 1
    assert examples.target.shape[1] == len("297") + 1
    assert (examples.source[:, -1] == 3).all()
    assert (examples.target[:, -1] == 3).all()
    wide = AdditionTask(fixed_width=True, target_width=9).sample(5)
    assert wide.target.shape[1] == 9 + 1
    assert (wide.target[:, :5] == task.vocab[" "]).all()
    assert task.encode(["1+2+3"]).tolist() == task.encode(["   1+2+3"]).tolist()


@pytest.mark.parametrize("width", [None, 9])
def test_an_answer_is_encoded_as_wide_as_the_targets(width: int | None) -> None:
    task = AdditionTask(digits=2, target_width=width)
    examples = task.sample(20)
    answers = [task.answer(text) for text in examples.source_texts()]
    assert task.target_vocab.encode(answers).tolist() == examples.target.tolist()
    assert examples.target_vocab == task.target_vocab


def test_the_vocabulary_has_a_space_only_where_needed() -> None:
    assert "".join(AdditionTask().vocab.tokens[4:]) == "0123456789+ "
    assert "".join(AdditionTask(fixed_width=False).vocab.tokens[4:]) == "0123456789+"


def test_operands_are_uniform() -> None:
    operands = np.array(
        [
            text.split("+")
            for text in AdditionTask(digits=1).sample(20_000).source_texts()
        ]
    ).astype(int)
    counts = np.bincount(operands[:, 0] * 10 + operands[:, 1], minlength=100)
    # 200 expected in each of 100 cells; six standard deviations.
    assert np.abs(counts - 200).max() < 6 * np.sqrt(200)


def test_a_seed_fixes_the_sample_and_another_changes_it() -> None:
    task = AdditionTask()
    assert task.sample(50, 1).source.tolist() == task.sample(50, 1).source.tolist()
    assert task.sample(50, 1).source_texts() != task.sample(50, 2).source_texts()


@settings(max_examples=30, deadline=None)
@given(
    terms=st.integers(2, 3),
    digits=st.integers(1, 2),
    train=st.integers(1, 30),
    valid=st.integers(1, 15),
    test=st.one_of(st.none(), st.integers(1, 10)),
    seed=st.integers(0, 100),
)
def test_a_split_repeats_no_sum_in_any_order(
    terms: int, digits: int, train: int, valid: int, test: int | None, seed: int
) -> None:
    task = AdditionTask(terms, digits)
    parts = task.split(train, valid, seed, test)
    assert [len(part) for part in parts] == [train, valid] + [test] * (test is not None)
    everything = sums(*parts)
    assert len(set(everything)) == len(everything)
    again = task.split(train, valid, seed, test)
    for part, same in zip(parts, again, strict=True):
        assert part.source.tolist() == same.source.tolist()


@pytest.mark.parametrize(("terms", "digits"), [(2, 1), (3, 1), (2, 2)])
def test_a_split_can_take_every_sum_there_is(terms: int, digits: int) -> None:
    task = AdditionTask(terms, digits)
    operands = range(10**digits)
    every = set(itertools.combinations_with_replacement(operands, terms))
    assert task.distinct == len(every)
    train, valid = task.split(task.distinct - 10, 10)
    assert set(sums(train, valid)) == every
    for source, target in zip(train.source_texts(), train.target_texts(), strict=True):
        assert task.answer(source) == target


def test_a_sum_weighs_as_much_as_its_operands_have_orders() -> None:
    rows, weights = AdditionTask(terms=4, digits=1)._list(np.random.default_rng(0))
    assert weights.sum() == 10**4
    for row, weight in zip(rows.tolist(), weights.tolist(), strict=True):
        assert weight == len(set(itertools.permutations(row)))


def test_operands_stand_in_either_order_also_where_every_sum_is_taken() -> None:
    train, _ = AdditionTask(digits=2).split(5_000, 50)
    pairs = [tuple(map(int, text.split("+"))) for text in train.source_texts()]
    rising = sum(left < right for left, right in pairs)
    falling = sum(left > right for left, right in pairs)
    assert rising / falling == pytest.approx(1, abs=0.2)


def test_a_split_of_a_large_space_draws_and_still_repeats_nothing() -> None:
    task = AdditionTask(digits=3)
    train, valid, test = task.split(50_000, 5_000, seed=1, test_size=5_000)
    everything = sums(train, valid, test)
    assert len(set(everything)) == 60_000
    # As many sums of one operand with itself as chance brings: 60 of 60,000.
    assert 20 < sum(left == right for left, right in everything) < 120


@pytest.mark.parametrize("train_size", [10, 35])
def test_a_split_weighs_sums_as_drawing_and_skipping_repetitions_does(
    train_size: int,
) -> None:
    # Few are asked of 55: the pairs of equals (10 of them, half as likely) are rarer.
    task = AdditionTask(digits=1)
    rng = np.random.default_rng(0)
    split, drawn = 0.0, 0.0
    for seed in range(300):
        train, valid = task.split(train_size, 5, seed)
        split += sum(left == right for left, right in sums(train, valid))
        seen: dict[tuple[int, int], None] = {}
        while len(seen) < train_size + 5:
            left, right = sorted(rng.integers(0, 10, 2).tolist())
            seen[left, right] = None
        drawn += sum(left == right for left, right in seen)
    assert split / 300 == pytest.approx(drawn / 300, abs=0.5)


def test_the_parts_of_a_split_are_alike() -> None:
    # Doubles are drawn late; they must not all end in the last part.
    task = AdditionTask(digits=1)
    doubles = [0, 0]
    for seed in range(200):
        for place, part in enumerate(task.split(25, 25, seed)):
            doubles[place] += sum(left == right for left, right in sums(part))
    assert doubles[0] / doubles[1] == pytest.approx(1, abs=0.15)


def test_more_sums_than_exist_is_an_error_with_their_number() -> None:
    with pytest.raises(ValueError, match=r"at most 55, .* Received: 56"):
        AdditionTask(digits=1).split(50, 6)
    with pytest.raises(ValueError, match="`test_size` must be at most 55"):
        AdditionTask(digits=1).split(45, 10, test_size=1)


def test_a_million_sums_take_less_than_three_seconds() -> None:
    begin = time.perf_counter()
    examples = AdditionTask().sample(1_000_000, seed=1)
    assert time.perf_counter() - begin < 3
    assert len(examples) == 1_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"terms": 1}, "`terms` must be an integer of at least 2. Received: 1"),
        ({"digits": 0}, "`digits` must be an integer of at least 1. Received: 0"),
        ({"digits": 19}, "below 2"),
        (
            {"fixed_width": False, "target_width": 4},
            "must be None unless",
        ),
        ({"fixed_width": True, "target_width": 3}, "at least 4, .* Received: 3"),
    ],
)
def test_bad_numbers_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdditionTask(**options)


@pytest.mark.parametrize(
    "options", [{"terms": True}, {"digits": "3"}, {"fixed_width": 1}]
)
def test_bad_types_are_refused(options: dict) -> None:
    with pytest.raises(TypeError, match=f"`{next(iter(options))}` must be"):
        AdditionTask(**options)


def test_encode_refuses_what_is_no_sum_of_the_task() -> None:
    with pytest.raises(ValueError, match="'x' in '1x2'"):
        AdditionTask().encode(["1x2"])
    with pytest.raises(ValueError, match=r"at most 7 characters.*Received: .1000"):
        AdditionTask(fixed_width=True).encode(["1000+100"])
    with pytest.raises(TypeError, match=r"put it in a list: \['1\+2'\]"):
        AdditionTask().encode("1+2")


@pytest.mark.parametrize("text", ["", "1+", "1-2", "1 +2", "²+1", "+"])
def test_answer_refuses_what_is_no_sum(text: str) -> None:
    with pytest.raises(ValueError, match="joined by"):
        AdditionTask().answer(text)
    with pytest.raises(TypeError, match="`text` must be a string"):
        AdditionTask().answer([text])  # type: ignore[arg-type]
