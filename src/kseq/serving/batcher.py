"""Requests of many clients, answered in batches by one thread."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any

from kseq.config.checks import check_integer, check_number


class QueueFullError(Exception):
    """More is waiting already than may wait."""


class StoppedError(Exception):
    """Nothing more is answered."""


@dataclasses.dataclass
class _Waiting:
    """An item, the kind of batch it belongs in, and who waits for it."""

    kind: Hashable
    item: Any
    answer: Future[Any]
    since: float


class Batcher:
    """Answers items in batches, in one thread, in the order in which they came.

    While a batch is at work the next one gathers; where nothing is at work, an item
    waits `max_wait` for others. An item that fails does so alone: the others of its
    batch are answered again one by one.

    Args:
        answer: Function of the kind of a batch and a list of its items; it returns a
            list of answers. Called by one thread, never twice at once.
        max_batch: Most items of a batch.
        max_wait: Seconds that an item waits for others. Default 0.001.
        max_queue: Most items that wait. Default 1024.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If one is out of range.

    Example:
        >>> from kseq.serving.batcher import Batcher
        >>> with Batcher(lambda kind, items: [kind * x for x in items], 2) as batcher:
        ...     answers = batcher.submit(10, [1, 2, 3])
        ...     [answer.result() for answer in answers]
        [10, 20, 30]
    """

    def __init__(
        self,
        answer: Callable[[Any, list[Any]], Sequence[Any]],
        max_batch: int,
        max_wait: float = 0.001,
        max_queue: int = 1024,
    ) -> None:
        self.max_batch = check_integer("max_batch", max_batch, 1)
        self.max_wait = check_number("max_wait", max_wait)
        self.max_queue = check_integer("max_queue", max_queue, 1)
        self._answer = answer
        self._queues: dict[Hashable, deque[_Waiting]] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)

    def __enter__(self) -> Batcher:
        """Starts the thread."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Answers what waits, and ends the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return sum(map(len, self._queues.values()))

    def submit(self, kind: Hashable, items: Sequence[Any]) -> list[Future[Any]]:
        """Lets items wait for their batch, all of them or none.

        Items that are more than may ever wait are taken where nothing else waits.

        Args:
            kind: What they have in common with the other items of a batch.
            items: The items.

        Returns:
            A future for each. One that is cancelled before its batch is not answered.

        Raises:
            QueueFullError: If too much is waiting.
            StoppedError: If the batcher has been left.
        """
        now = time.monotonic()
        waiting = [_Waiting(kind, item, Future(), now) for item in items]
        with self._changed:
            if self._stopping:
                raise StoppedError("The server is stopping.")
            before = self.waiting
            if before and before + len(waiting) > self.max_queue:
                raise QueueFullError(
                    f"{before} instances are waiting already, of {self.max_queue} that "
                    "may."
                )
            if waiting:
                self._queues.setdefault(kind, deque()).extend(waiting)
            self._changed.notify_all()
        return [each.answer for each in waiting]

    def _work(self) -> None:
        while batch := self._next():
            batch = [each for each in batch if _begins(each.answer)]
            if batch:
                self._run(batch)

    def _next(self) -> list[_Waiting]:
        """Waits for a batch; returns none at the end."""
        with self._changed:
            while not self._queues:
                if self._stopping:
                    return []
                self._changed.wait()
            kind, queue = min(self._queues.items(), key=lambda each: each[1][0].since)
            # What has gathered behind a batch at work has waited long enough.
            until = queue[0].since + self.max_wait
            while not self._stopping and len(queue) < self.max_batch:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            size = min(len(queue), self.max_batch)
            batch = [queue.popleft() for _ in range(size)]
            if not queue:
                del self._queues[kind]
            return batch

    def _run(self, batch: list[_Waiting]) -> None:
        try:
            found = list(self._answer(batch[0].kind, [each.item for each in batch]))
            if len(found) != len(batch):
                raise RuntimeError(f"{len(found)} answers to {len(batch)} items.")
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for each in batch:
                self._run([each])
            return
        for each, answer in zip(batch, found, strict=True):
            each.answer.set_result(answer)


def _begins(answer: Future[Any]) -> bool:
    """Whether somebody still waits for an answer, which can then not be cancelled."""
    return answer.set_running_or_notify_cancel()
