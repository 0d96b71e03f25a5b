"""Length ratios: figures by hand."""

from typing import Any

import numpy as np
import pytest

from kseq.decoding import LengthRatio


def test_the_mean_and_the_deviation_of_the_ratios_by_hand() -> None:
    source = np.array([[5, 6, 7, 8, 3], [5, 6, 3, 0, 0], [5, 3, 0, 0, 0]])
    target = np.array([[5, 6, 3, 0], [5, 6, 3, 0], [5, 6, 7, 3]])
    ratio = LengthRatio.from_ids(source, target, deviations=1.0)
    # 2 / 4, 2 / 2 and 3 / 1
    assert ratio.mean == pytest.approx(1.5)
    assert ratio.std == pytest.approx((3.5 / 3) ** 0.5)
    assert ratio.deviations == 1.0


def test_the_longest_output_is_rounded_up_and_two_more() -> None:
    ratio = LengthRatio(1.5, 0.25, deviations=2.0)
    longest = ratio([0, 1, 2, 3, 10])
    assert longest.tolist() == [2, 4, 6, 8, 22]
    assert longest.dtype == "int32"


def test_deviations_make_room() -> None:
    assert LengthRatio(1.0, 0.5, deviations=0.0)([10]).tolist() == [12]
    assert LengthRatio(1.0, 0.5)([10]).tolist() == [22]
    assert LengthRatio(1.0, 0.5, deviations=3.0)([10]).tolist() == [27]


@pytest.mark.parametrize("mean", [1.1, 0.7, 2.3, 1 / 3])
def test_a_whole_number_is_not_rounded_up_by_the_error_of_a_product(
    mean: float,
) -> None:
    thirtieths = round(mean * 30)
    for length in (30, 300, 3_000, 30_000):
        assert LengthRatio(mean)([length]).tolist() == [thirtieths * length // 30 + 2]


def test_lengths_of_any_shape_keep_it() -> None:
    assert LengthRatio(1.0)(np.ones((2, 3), "int64")).shape == (2, 3)
    assert LengthRatio(1.0)(np.zeros(0, "int32")).shape == (0,)
    assert LengthRatio(1.0)(7).tolist() == 9


def test_vectors_have_no_end_to_leave_out() -> None:
    source = np.ones((1, 4, 2))
    source[0, 2:] = 0.0
    target = np.array([[5, 6, 7, 3]])
    assert LengthRatio.from_ids(source, target).mean == pytest.approx(3 / 2)


def test_a_vector_with_a_zero_in_it_is_no_padding() -> None:
    source = np.array([[[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]])
    assert LengthRatio.from_ids(source, np.array([[5, 3]])).mean == pytest.approx(0.5)


def test_pairs_with_an_empty_side_do_not_count() -> None:
    source = np.array([[5, 6, 3], [3, 0, 0], [5, 3, 0], [0, 0, 0]])
    target = np.array([[5, 3, 0], [5, 3, 0], [3, 0, 0], [0, 0, 0]])
    ratio = LengthRatio.from_ids(source, target)
    assert (ratio.mean, ratio.std) == (0.5, 0.0)


@pytest.mark.parametrize(
    ("source", "target"),
    [([[3]], [[5, 3]]), ([[5, 3]], [[3]]), (np.zeros((0, 2)),) * 2],
)
def test_without_a_pair_there_is_no_ratio(source: Any, target: Any) -> None:
    with pytest.raises(ValueError, match="needs a pair with a token on both sides"):
        LengthRatio.from_ids(source, target)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": -1.0}, "`mean` .* Received: -1.0"),
        ({"mean": float("nan")}, "`mean` .* Received: nan"),
        ({"mean": 1.0, "std": -0.1}, "`std` .* Received: -0.1"),
        ({"mean": 1.0, "deviations": float("inf")}, "`deviations` .* Received: inf"),
    ],
)
def test_bad_numbers_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LengthRatio(**arguments)
