"""Processes the items of many clients in batches, in one thread."""

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
    """Too many items are waiting."""


class StoppedError(Exception):
    """The batcher accepts no more items."""


@dataclasses.dataclass
class _Entry:
    """A waiting item, the kind of its batch, its result and its time of arrival."""

    kind: Hashable
    item: Any
    result: Future[Any]
    arrival: float


class Batcher:
    """Processes items in batches, in one thread, in order of arrival.

    While one batch is processed, the next one fills up. An idle batcher waits up to
    `max_wait` for further items. If a batch raises an exception, its items are
    processed again one by one, so that an invalid item fails alone.

    Args:
        process: Function of the kind of a batch and a list of its items. Returns a
            list of results. Only one thread calls it.
        max_batch: Maximum number of items in a batch.
        max_wait: Maximum time in seconds that an item waits for others. Default:
            0.001.
        max_queue: Maximum number of waiting items. Default: 1024.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If one is out of range.

    Example:
        >>> from kseq.serving.batcher import Batcher
        >>> with Batcher(lambda kind, items: [kind * x for x in items], 2) as batcher:
        ...     results = batcher.submit(10, [1, 2, 3])
        ...     [result.result() for result in results]
        [10, 20, 30]
    """

    def __init__(
        self,
        process: Callable[[Any, list[Any]], Sequence[Any]],
        max_batch: int,
        max_wait: float = 0.001,
        max_queue: int = 1024,
    ) -> None:
        self.max_batch = check_integer("max_batch", max_batch, 1)
        self.max_wait = check_number("max_wait", max_wait)
        self.max_queue = check_integer("max_queue", max_queue, 1)
        self._process = process
        self._queues: dict[Hashable, deque[_Entry]] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)

    def __enter__(self) -> Batcher:
        """Starts the thread."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Processes the waiting items, and ends the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Number of waiting items."""
        return sum(map(len, self._queues.values()))

    def submit(self, kind: Hashable, items: Sequence[Any]) -> list[Future[Any]]:
        """Adds items to the queue, all of them or none.

        An empty queue accepts more than `max_queue` items at once.

        Args:
            kind: A batch holds only items of one kind.
            items: The items.

        Returns:
            A future for each item. A future cancelled before its batch is skipped.

        Raises:
            QueueFullError: If too many items are waiting.
            StoppedError: If the batcher has stopped.
        """
        now = time.monotonic()
        entries = [_Entry(kind, item, Future(), now) for item in items]
        with self._changed:
            if self._stopping:
                raise StoppedError("The server is stopping.")
            before = self.waiting
            if before and before + len(entries) > self.max_queue:
                raise QueueFullError(
                    f"{before} of at most {self.max_queue} instances are waiting."
                )
            if entries:
                self._queues.setdefault(kind, deque()).extend(entries)
            self._changed.notify_all()
        return [entry.result for entry in entries]

    def _run(self) -> None:
        while batch := self._next_batch():
            batch = [e for e in batch if e.result.set_running_or_notify_cancel()]
            if batch:
                self._process_batch(batch)

    def _next_batch(self) -> list[_Entry]:
        """Waits for a batch. Returns an empty list after the last one."""
        with self._changed:
            while not self._queues:
                if self._stopping:
                    return []
                self._changed.wait()
            kind, queue = min(self._queues.items(), key=lambda each: each[1][0].arrival)
            # Time spent behind the previous batch counts as waiting.
            deadline = queue[0].arrival + self.max_wait
            while not self._stopping and len(queue) < self.max_batch:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                self._changed.wait(remaining)
            size = min(len(queue), self.max_batch)
            batch = [queue.popleft() for _ in range(size)]
            if not queue:
                del self._queues[kind]
            return batch

    def _process_batch(self, batch: list[_Entry]) -> None:
        try:
            items = [entry.item for entry in batch]
            results = list(self._process(batch[0].kind, items))
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items.")
        except Exception as error:
            if len(batch) == 1:
                batch[0].result.set_exception(error)
                return
            for entry in batch:
                self._process_batch([entry])
            return
        for entry, result in zip(batch, results, strict=True):
            entry.result.set_result(result)
