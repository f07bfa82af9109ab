"""How long an engine takes, and whether its memory stays flat; for offline processing and the GPU tests."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seg_perception.engine.base import Engine


class Timing(NamedTuple):
    """Times of one batch size."""

    batch: int
    infer_ms: float
    """Median of `infer`: copies, network and waiting."""
    infer_p99_ms: float
    network_ms: float | None
    """Median of the network alone by CUDA events; None where the engine cannot tell it apart."""

    @property
    def overhead(self) -> float | None:
        """`infer_ms` as a multiple of `network_ms`."""
        return self.infer_ms / self.network_ms if self.network_ms else None


class Growth(NamedTuple):
    """Memory that was taken and not given back over a run; negative when it shrank."""

    frames: int
    host_mb: float
    device_mb: float | None
    """None where the engine has no GPU memory of its own to ask."""


def time_engine(engine: Engine, n: int, runs: int = 200, warm_up: int = 20) -> Timing:
    """Time `infer(n)`, and the network alone, on random frames.

    Raises:
        EngineError: the engine failed, or `n` does not fit.
    """
    frames = engine.input(n)
    frames[:] = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    for _ in range(warm_up):
        engine.infer(n)
    times = np.empty(runs)
    for i in range(runs):
        start = time.perf_counter()
        engine.infer(n)
        times[i] = (time.perf_counter() - start) * 1e3
    alone = getattr(engine, 'network_ms', None)
    network = float(np.median(alone(n, runs))) if alone is not None else None
    return Timing(n, float(np.median(times)), float(np.percentile(times, 99)), network)


def memory_growth(engine: Engine, frames: int) -> Growth:
    """Run `frames` single frames, after a hundred that do not count.

    Raises:
        EngineError: the engine failed.
    """
    for _ in range(100):
        engine.infer(1)
    free = getattr(engine, 'free_device_bytes', None)
    host, device = _resident_bytes(), free() if free else None
    for _ in range(frames):
        engine.infer(1)
    taken = (device - free()) / 1e6 if free and device is not None else None
    return Growth(frames, (_resident_bytes() - host) / 1e6, taken)


def _resident_bytes() -> int:
    """Memory of this process that is in RAM (Linux)."""
    pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')
