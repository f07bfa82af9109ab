"""Several engines of one model, each at another batch: on a CPU two frames on a core each beat one frame on both.

Used offline only, where nobody waits for a frame; labels do not depend on it.
"""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from seg_perception.engine import open_engine
from seg_perception.engine.base import Engine
from seg_perception.engine.measure import time_engine

MOST_ENGINES = 8
"""Beyond, each gets more threads: every engine takes memory of its own."""
TIMED_MS = 1500.0
"""How long the model alone is timed."""

T = TypeVar('T')
R = TypeVar('R')


class EnginePool:
    """Engines of one model that are used in turn."""

    def __init__(self, engines: Sequence[Engine], bare_ms: float | None = None) -> None:
        """Take over `engines`, at least one.

        Args:
            bare_ms: time per frame of the model alone, one run after the other; None when nobody measured it.
        """
        self._engines = list(engines)
        self.spec, self.info, self.max_batch = engines[0].spec, engines[0].info, engines[0].max_batch
        self.bare_ms = bare_ms

    def map(self, work: Callable[[Engine, T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `work(engine, item)` in the order of `items`.

        A single engine works in the calling thread, the only one that a TensorRT engine can be used in.

        Raises:
            Exception: what `work` raised, at its item's turn.
        """
        if len(self._engines) == 1:
            yield from (work(self._engines[0], item) for item in items)
            return
        free: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        for engine in self._engines:
            free.put(engine)

        def borrow(item: T) -> R:
            engine = free.get()
            try:
                return work(engine, item)
            finally:
                free.put(engine)

        pending: deque[Future[R]] = deque()
        executor = ThreadPoolExecutor(len(self._engines))
        try:
            for item in items:
                pending.append(executor.submit(borrow, item))
                if len(pending) > 2 * len(self._engines):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            executor.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Close all engines; calling it twice is allowed."""
        for engine in self._engines:
            engine.close()


def open_pool(model: Path, backend: str, *, max_batch: int, threads: int) -> EnginePool:
    """Open `model`, time it, and on a CPU open it once per thread in place of once with all threads.

    Args:
        threads: of the CPU, in all; 0 takes one per core.

    Raises:
        SegPerceptionError: as `seg_perception.engine.open_engine`.
    """
    engine = open_engine(model, backend, max_batch=max_batch, threads=threads)
    runs = max(5, round(TIMED_MS / time_engine(engine, max_batch, runs=3, warm_up=2).infer_ms))
    bare_ms = time_engine(engine, max_batch, min(runs, 200), warm_up=0).infer_ms / max_batch
    threads = threads or os.cpu_count() or 1
    pool = EnginePool([engine], bare_ms)
    if threads == 1 or (engine.info.backend, engine.info.device) != ('onnxruntime', 'cpu'):
        return pool
    engine.close()
    count = min(threads, MOST_ENGINES)
    one = [open_engine(model, 'onnxruntime', max_batch=max_batch, threads=threads // count) for _ in range(count)]
    several = EnginePool(one, bare_ms)
    several.info = pool.info  # which says why this backend was taken
    return several
