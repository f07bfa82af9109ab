"""A worker thread behind a bounded queue: what it raises is raised where its input is given."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar('T')


class Sink(Generic[T]):
    """Calls `work` in order for each item put."""

    def __init__(self, work: Callable[[T], None], ahead: int) -> None:
        self._work = work
        self._queue: queue.Queue[tuple[T] | None] = queue.Queue(ahead)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand one item over; waits while the queue is full.

        Raises:
            Exception: what an earlier item's work raised.
        """
        self._check()
        self._queue.put((item,))

    def close(self) -> None:
        """Wait until all items are done.

        Raises:
            Exception: what an item's work raised.
        """
        if self._thread.is_alive():
            self._queue.put(None)
        self._thread.join()
        self._check()

    def _check(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        failed = False
        while (item := self._queue.get()) is not None:
            if failed:
                continue  # keeps taking, so that nobody waits for room
            try:
                self._work(item[0])
            except BaseException as error:  # handed to whoever puts the next item, or closes
                self._error, failed = error, True
