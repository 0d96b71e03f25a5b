"""Arrays of other numberings become examples."""

from typing import Any

import numpy as np
import pytest

from kseq.data import Examples, Vocabulary

SYMBOLS = [*"0123456789", "+", " ", "<end>"]


def ids(rows: list[str], symbols: list[str] = SYMBOLS) -> np.ndarray:
    """Numbers as a notebook has them, each row ended by the last symbol."""
    found = [[symbols.index(each) for each in row] for row in rows]
    return np.array([[*row, len(symbols) - 1] for row in found])


def one_hot(rows: list[str], dtype: Any = "float32") -> np.ndarray:
    return np.eye(len(SYMBOLS), dtype=dtype)[ids(rows)]


SOURCE, TARGET = [" 3+10", "0+000"], [" 13", "  0"]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", bool])
def test_the_notebooks_arrays_become_texts_with_their_zeros(dtype: Any) -> None:
    examples = Examples.from_arrays(
        one_hot(SOURCE, dtype), one_hot(TARGET, dtype), SYMBOLS, end="<end>"
    )
    assert examples.source_texts() == SOURCE
    assert examples.target_texts() == TARGET
    assert examples.source_vocab is examples.target_vocab
    assert examples.source_vocab == Vocabulary([*"0123456789+ "], "characters")
    assert examples.target.tolist() == [[15, 5, 7, 3], [15, 15, 4, 3]]
    inputs, targets = examples.arrays()
    assert inputs["decoder_inputs"].tolist() == [[2, 15, 5, 7], [2, 15, 15, 4]]
    assert targets is examples.target


def test_ids_and_one_hot_vectors_are_the_same_examples() -> None:
    of_ids = Examples.from_arrays(ids(SOURCE), ids(TARGET), SYMBOLS, end=12)
    of_vectors = Examples.from_arrays(one_hot(SOURCE), one_hot(TARGET), SYMBOLS, end=12)
    assert np.array_equal(of_ids.source, of_vectors.source)
    assert np.array_equal(of_ids.target, of_vectors.target)


def test_a_step_of_zeros_is_padding_and_symbol_0_is_not() -> None:
    vectors = one_hot(["00", "10"])[:, :-1]
    vectors[0, 1] = 0
    examples = Examples.from_arrays(vectors, vectors, SYMBOLS)
    assert examples.source.tolist() == [[4, 3, 0], [5, 4, 3]]


def test_start_end_and_padding_of_a_character_tutorial() -> None:
    symbols = ["\n", " ", "\t", "a", "b"]
    source = np.eye(5)[[[3, 1, 4, 1], [4, 1, 1, 1]]]  # "a b ", "b   "
    target = np.eye(5)[[[2, 3, 1, 3, 0], [2, 4, 0, 1, 1]]]
    examples = Examples.from_arrays(
        source, target, symbols, start="\t", end="\n", padding=" "
    )
    assert examples.source_texts() == ["a b", "b"]
    assert examples.target_texts() == ["a a", "b"]
    assert examples.source_vocab.tokens[4:] == (" ", "a", "b")


def test_sides_may_have_symbols_of_their_own() -> None:
    examples = Examples.from_arrays(
        [[0, 1]], [[1, 0, 2]], source_symbols="ab", target_symbols=["AA", "B", "EH"]
    )
    assert examples.source_texts() == ["ab"]
    assert examples.target_texts() == ["B AA EH"]


def test_symbols_may_be_a_dict_of_numbers_or_left_out() -> None:
    of_dict = Examples.from_arrays([[0, 1]], [[1, 1]], {"b": 1, "a": 0})
    assert of_dict.source_texts() == ["ab"]
    unnamed = Examples.from_arrays([[0, 11]], [[1, 2]], end=2)
    assert unnamed.source_texts() == ["0 11"]
    assert unnamed.target.tolist() == [[5, 3]]


def test_symbols_named_like_special_tokens_are_these() -> None:
    symbols = ["<pad>", "<s>", "</s>", "a"]
    examples = Examples.from_arrays([[3, 2, 0]], [[1, 3, 2]], symbols)
    assert examples.source.tolist() == examples.target.tolist() == [[4, 3]]


def test_an_empty_row_is_an_empty_text() -> None:
    examples = Examples.from_arrays([[12, 12], [3, 12]], [[3], [4]], SYMBOLS, end=12)
    assert examples.source.tolist() == [[3, 0], [7, 3]]


def test_a_row_without_the_end_is_taken_whole() -> None:
    examples = Examples.from_arrays([[3, 4], [3, 12]], [[3], [4]], SYMBOLS, end=12)
    assert examples.source_texts() == ["34", "3"]


def soft(value: float) -> np.ndarray:
    vectors = one_hot(SOURCE)
    vectors[1, 2] = value
    return vectors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": soft(0.1)}, r"`source` must contain one-hot.*row 1, step 2"),
        (
            {"source": soft(np.nan)},
            r"`source` must contain one-hot.*nan.*row 1, step 2",
        ),
        ({"target": one_hot(TARGET) * 2}, "`target` must contain one-hot"),
        ({"source": soft(1)}, r"`source` must contain one-hot.*row 1, step 2"),
        ({"source": np.zeros((2, 3))}, r"`source` must be.*\(2, 3\), dtype float64"),
        ({"source": np.zeros((2,), int)}, r"`source` must be.*shape \(2,\)"),
        ({"source": [[1, 2], [1]]}, "`source` must be.*dtype object"),
        ({"source": np.zeros((0, 3, 13))}, r"`source` must have at least one sample"),
        ({"source": one_hot(SOURCE)[:1]}, "one row for each pair.*1 and 2"),
        ({"source": [[-1, 2], [1, 2]]}, "`source` must contain ids of at least 0"),
        ({"symbols": SYMBOLS[1:]}, "`symbols` must name 13 symbols.*12"),
        ({"symbols": [*SYMBOLS[1:], "1"]}, "`symbols` must not repeat.*'1'"),
        ({"symbols": list(range(13))}, "`symbols` must hold only strings"),
        ({"symbols": {"a": 1, "b": 2}}, "`symbols`.*map the symbols to the ids"),
        ({"end": "x"}, "`end` must be one of the symbols.*'x'"),
        ({"padding": 13}, "`padding` must be one of the symbols.*13"),
        ({"start": "0"}, "must have the `start` symbol"),
        ({"end": "+"}, "`source`.*row 0 with a symbol after its end at step 3"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    arguments = {
        "source": one_hot(SOURCE),
        "target": one_hot(TARGET),
        "symbols": SYMBOLS,
        **changes,
    }
    with pytest.raises((TypeError, ValueError), match=message):
        Examples.from_arrays(**arguments)


def test_padding_before_a_symbol_is_refused() -> None:
    vectors = one_hot(["123"])
    vectors[0, 1] = 0
    with pytest.raises(ValueError, match="row 0 with padding or a start at step 1"):
        Examples.from_arrays(vectors, vectors, SYMBOLS, end="<end>")
