"""Progress of a TensorRT build, and a way to stop it."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from seg_perception.engine.trt_api import TensorRt

LOG = logging.getLogger(__name__)

ProgressFn = Callable[[str, float], bool]
"""Called with the phase and its share done, 0..1; returning False stops the build."""


class _Stop:
    """A flag that a signal handler may set at any point; an Event's lock could be the one that it interrupts."""

    def __init__(self) -> None:
        self.requested = False

    def set(self) -> None:
        self.requested = True


@contextmanager
def stoppable(trt: TensorRt, config: Any, progress: ProgressFn | None) -> Iterator[Callable[[], bool]]:
    """Attach a progress monitor; yields a function that tells whether Ctrl-C or `progress` stopped the build.

    Python's own Ctrl-C would raise inside TensorRT's callback, through C++ that must not see exceptions, and
    end the process. So a handler only notes it, and the next step returns False.
    """
    stop = _Stop()
    config.progress_monitor = _make_monitor(trt, stop, progress or LogProgress())
    main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, lambda *_: stop.set()) if main else None
    try:
        yield lambda: stop.requested
    finally:
        if main:
            signal.signal(signal.SIGINT, previous or signal.SIG_DFL)


def _make_monitor(trt: TensorRt, stop: _Stop, progress: ProgressFn) -> Any:
    base: Any = trt.module.IProgressMonitor

    class Monitor(base):
        def __init__(self) -> None:
            base.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = max(steps, 1)

        def phase_finish(self, phase: str) -> None:
            self._steps.pop(phase, None)

        def step_complete(self, phase: str, step: int) -> bool:
            try:
                if not progress(phase, (step + 1) / self._steps.get(phase, step + 1)):
                    stop.set()
            except Exception:  # must not reach C++; a broken progress display stops the build, visibly
                LOG.exception('progress display failed in phase %r', phase)
                stop.set()
            return not stop.requested

    return Monitor()


class LogProgress:
    """A `ProgressFn` that writes a line every ten seconds: a build on a Jetson takes minutes, and silence looks like a hang."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()

    def __call__(self, phase: str, done: float) -> bool:
        now = time.monotonic()
        if now - self._last > 10:
            self._last = now
            LOG.info('building for %.0f s: %s %.0f %%', now - self._start, phase, done * 100)
        return True
