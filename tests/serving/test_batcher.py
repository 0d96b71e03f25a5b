"""Batches with the items of many clients."""

import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseq.serving.batcher import Batcher, QueueFullError, StoppedError


class Tenfold:
    """Answers numbers by ten times as much, and notes its batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[Any, list[Any]]] = []
        self.open = threading.Event()
        self.open.set()
        self.begun = threading.Event()

    def __call__(self, kind: Any, items: list[Any]) -> list[Any]:
        self.begun.set()
        self.open.wait()
        self.batches.append((kind, items))
        if "bad" in items:
            raise ValueError("bad")
        return [10 * item for item in items]


def held(max_batch: int = 4, **limits: Any) -> tuple[Tenfold, Batcher]:
    """A batcher whose first batch is at work until `open` is set."""
    answer = Tenfold()
    answer.open.clear()
    return answer, Batcher(answer, max_batch, **limits)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.lists(st.integers(0, 99)))),
    st.integers(1, 5),
)
def test_each_item_gets_its_result_in_batches_of_one_kind(
    requests: list[tuple[str, list[int]]], max_batch: int
) -> None:
    answer = Tenfold()
    with Batcher(answer, max_batch, max_wait=0) as batcher:
        futures = [batcher.submit(kind, items) for kind, items in requests]
        found = [[future.result(5) for future in each] for each in futures]
    assert found == [[10 * item for item in items] for _, items in requests]
    assert all(0 < len(items) <= max_batch for _, items in answer.batches)
    for kind in "ab":
        came = [item for each, items in requests if each == kind for item in items]
        answered = [x for each, items in answer.batches if each == kind for x in items]
        assert answered == came


def test_items_that_arrive_during_a_batch_form_the_next_one() -> None:
    answer, batcher = held()
    with batcher:
        futures = batcher.submit("a", [0])
        assert answer.begun.wait(5)
        for item in (1, 2, 3):
            futures += batcher.submit("a", [item])
        assert batcher.waiting == 3
        answer.open.set()
        assert [future.result(5) for future in futures] == [0, 10, 20, 30]
    assert answer.batches == [("a", [0]), ("a", [1, 2, 3])]


def test_an_item_waits_at_most_max_wait() -> None:
    answer = Tenfold()
    with Batcher(answer, 3, max_wait=30) as batcher:
        first = batcher.submit("a", [1])
        others = batcher.submit("a", [2, 3])
        assert [future.result(5) for future in [*first, *others]] == [10, 20, 30]
    assert answer.batches == [("a", [1, 2, 3])]
    with Batcher(answer, 3, max_wait=0.05) as batcher:
        began = time.monotonic()
        assert batcher.submit("a", [1])[0].result(5) == 10
        assert time.monotonic() - began >= 0.05


def test_an_invalid_item_fails_alone() -> None:
    answer = Tenfold()
    with Batcher(answer, 4, max_wait=0.2) as batcher:
        good, bad, better = batcher.submit("a", [1, "bad", 2])
        assert (good.result(5), better.result(5)) == (10, 20)
        with pytest.raises(ValueError, match="bad"):
            bad.result(5)
        assert batcher.submit("a", [3])[0].result(5) == 30


def test_a_request_that_would_fill_the_queue_is_refused_whole() -> None:
    answer, batcher = held(max_queue=3)
    with batcher:
        at_work = batcher.submit("a", [0])
        assert answer.begun.wait(5)
        # An empty queue accepts more than its limit.
        waiting = batcher.submit("b", [1, 2, 3, 4])
        with pytest.raises(QueueFullError, match=r"4 of at most 3 instances"):
            batcher.submit("a", [5])
        assert batcher.waiting == 4
        answer.open.set()
        assert [each.result(5) for each in [*at_work, *waiting]] == [0, 10, 20, 30, 40]
        assert batcher.submit("a", [6])[0].result(5) == 60


def test_a_cancelled_item_is_skipped() -> None:
    answer, batcher = held()
    with batcher:
        batcher.submit("a", [0])
        assert answer.begun.wait(5)
        left, kept = batcher.submit("a", [1, 2])
        assert left.cancel()
        answer.open.set()
        assert kept.result(5) == 20
    assert answer.batches == [("a", [0]), ("a", [2])]


def test_stopping_processes_waiting_items_and_accepts_no_more() -> None:
    answer, batcher = held(max_wait=30)
    futures: list[Future[Any]] = []
    with batcher:
        futures += batcher.submit("a", [0, 1])
        futures += batcher.submit("b", [2])
        answer.open.set()
    assert [future.result(0) for future in futures] == [0, 10, 20]
    with pytest.raises(StoppedError):
        batcher.submit("a", [3])


def test_too_few_results_are_an_error_of_each_item() -> None:
    with Batcher(lambda kind, items: [], 4) as batcher:
        (future,) = batcher.submit("a", [1])
        with pytest.raises(RuntimeError, match="0 results for 1 items"):
            future.result(5)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_batch": 0}, ValueError),
        ({"max_batch": 1, "max_wait": -1}, ValueError),
        ({"max_batch": 1, "max_queue": 0}, ValueError),
        ({"max_batch": "1"}, TypeError),
    ],
)
def test_settings_out_of_range_are_refused(
    settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match="`max_"):
        Batcher(Tenfold(), **settings)
