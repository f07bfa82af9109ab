"""The thread that owns the engine: takes the newest image of every camera as one batch, again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from seg_perception.engine import Engine
from seg_perception.errors import EngineError, ModelError
from seg_perception.ros.camera_input import CameraInput
from seg_perception.ros.config import NodeConfig
from seg_perception.ros.processor import Processor

OPENING_S = 3.0
"""How long an engine that is still being opened may take to give up; a build does so between two of its steps."""

REOPEN_S = 1.0
"""Pause before a failed engine is opened again."""


class Worker:
    """Opens the engine, processes images while active, reopens the engine when it fails."""

    def __init__(self, open_engine: Callable[[], Engine], log_error: Callable[[str], None]) -> None:
        self.engine: Engine | None = None
        self.processor: Processor | None = None
        self.engine_errors = 0
        self.engine_problem = ''
        """Why the engine does not run; '' while it does."""
        self.run_since_s: float | None = None
        """time.monotonic() at the beginning of the run in progress; None between runs."""
        self.crash: BaseException | None = None
        """What ended the thread; None unless it was not asked to end."""
        self._open_engine, self._log_error = open_engine, log_error
        self._inputs: dict[str, CameraInput] = {}
        self._wake = threading.Condition()
        self._opened = threading.Event()
        self.stopping = False
        """Whether the engine is no longer wanted, not even one that is being opened."""
        self._active = self._reset = self._news = False
        self._config: NodeConfig | None = None
        self._on_crash: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._main, name='engine', daemon=True)

    def open(self, still_wanted: Callable[[], bool]) -> Engine:
        """Start the thread and wait until the engine is open.

        Raises:
            ModelError, EngineError: it cannot be opened.
            KeyboardInterrupt: `still_wanted` became false.
        """
        self._thread.start()
        while not self._opened.wait(0.1):
            if not still_wanted():
                raise KeyboardInterrupt
        if self.crash is not None:
            raise self.crash
        assert self.engine is not None
        return self.engine

    def serve(self, processor: Processor, inputs: dict[str, CameraInput], on_crash: Callable[[], None]) -> None:
        """Say what to work with; call once, before `activate`."""
        self.processor, self._inputs, self._on_crash = processor, inputs, on_crash

    def arrived(self) -> None:
        """Wake the thread: an image waits."""
        with self._wake:
            self._news = True
            self._wake.notify()

    def activate(self) -> None:
        """Start to process."""
        with self._wake:
            self._active = True

    def deactivate(self) -> None:
        """Stop to process; returns when the current run is over and the grid withdrawn."""
        with self._wake:
            self._active = False
            if self.processor is None:  # the engine never opened, so that no grid was ever published
                return
            self._reset = True
            self._wake.notify()
            self._wake.wait_for(
                lambda: not self._reset or self.engine_problem or not self._thread.is_alive(), timeout=5.0
            )

    def request_reset(self) -> None:
        """Forget the grid before the next run."""
        with self._wake:
            self._reset = True
            self._wake.notify()

    def configure(self, config: NodeConfig) -> None:
        """Take new live parameters before the next run."""
        with self._wake:
            self._config = config
            self._wake.notify()

    def stop(self) -> None:
        """End the thread and close the engine; waits for the current run, and shortly for one that is being opened."""
        with self._wake:
            self.stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0 if self._opened.is_set() else OPENING_S)

    @property
    def alive(self) -> bool:
        """Whether the thread still runs, after `stop` because its engine does not answer."""
        return self._thread.is_alive()

    def _main(self) -> None:
        try:
            self.engine = self._open_engine()
            self._opened.set()
            while not self.stopping:
                self._wait()
                self._step()
        except BaseException as error:  # handed to the main thread, which raises it again
            self.crash = error
            self._opened.set()
            self._on_crash()
        finally:
            if self.engine is not None:
                self.engine.close()

    def _wait(self) -> None:
        """Sleep until there is something to do, or a stale grid to look for."""
        with self._wake:
            self._wake.wait_for(
                lambda: self.stopping or self._reset or self._config or (self._active and self._news), 0.1
            )
            self._news = False

    def _step(self) -> None:
        processor = self.processor
        if processor is None or self.stopping:
            return
        with self._wake:
            reset, config = self._reset, self._config
            self._config = None
        if config is not None and self.engine is not None:
            processor.configure(config, self.engine)
        if reset:
            processor.reset()
            with self._wake:
                self._reset = False
                self._wake.notify_all()
        if self._active:
            self._process(processor)

    def _process(self, processor: Processor) -> None:
        taken = {name: camera.take() for name, camera in self._inputs.items()}
        messages = {name: message for name, message in taken.items() if message is not None}
        if not messages:
            processor.expire()
            return
        problem = ''
        self.run_since_s = time.monotonic()
        try:
            processor.run(messages)
        except EngineError as error:
            problem = str(error)
        self.run_since_s = None
        if problem:
            self.engine_errors += 1
            self._reopen(processor, problem)

    def _reopen(self, processor: Processor, problem: str) -> None:
        """Close the engine and open it again until that works; the images of that time are skipped."""
        while not self.stopping:
            self._log_error(f'engine failed: {problem}; opening it again')
            processor.reset()
            with self._wake:  # nothing is published while there is a problem: nobody has to wait for another reset
                self.engine_problem = problem
                self._wake.notify_all()
            if self.engine is not None:
                self.engine.close()
                self.engine = None
            try:
                self.engine = self._open_engine()
            except (EngineError, ModelError) as error:
                self.engine_errors += 1
                problem = str(error)
                self._pause(REOPEN_S)
                continue
            processor.configure(processor.config, self.engine)
            for camera in self._inputs.values():
                camera.take()  # opening may have taken minutes, and the camera may have stopped since
            self.engine_problem = ''
            return

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._wake:
            self._wake.wait_for(lambda: self.stopping or time.monotonic() >= end, seconds)


def describe(engine: Engine | None) -> dict[str, Any]:
    """Return what diagnostics say of an engine."""
    if engine is None:
        return {}
    info, spec = engine.info, engine.spec
    return {
        'model': spec.name,
        'input size': f'{spec.input_width}x{spec.input_height}',
        'backend': info.backend,
        'device': info.device,
        'precision': info.precision,
        'fingerprint': info.fingerprint,
        'reason': info.reason,
    }
