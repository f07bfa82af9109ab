"""Reading ahead in a thread, so that decoding overlaps with what uses the frames."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar('T')


class Prefetch(Generic[T]):
    """Reads an iterator in a thread, a few items ahead; what it raises is raised where it is read."""

    def __init__(self, source: Iterator[T], ahead: int) -> None:
        self._source = source
        self._queue: queue.Queue[T | BaseException | None] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._items()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=0.01)

    def _items(self) -> Iterator[T]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def _read(self) -> None:
        try:
            for item in self._source:
                self._queue.put(item)
                if self._stop.is_set():
                    return
            self._queue.put(None)
        except Exception as error:  # handed to the reader
            self._queue.put(error)
