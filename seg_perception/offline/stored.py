"""Predictions that were made elsewhere, given to the pipeline as if its engine had made them.

So the network runs in one thread while the pipeline's other half runs in another, and an interrupted run goes on
from the labels in its bag.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.engine.base import EngineInfo, Prediction
from seg_perception.io.recording import RecordedFrame
from seg_perception.model import ModelSpec

UInt8 = npt.NDArray[np.uint8]


class Predicted(NamedTuple):
    """One frame with what the network said about it; the arrays are the caller's own."""

    frame: RecordedFrame
    """Its image is the network's input when the calibration fits, else the camera's."""
    rgb: UInt8
    """[h, w, 3] the network's input."""
    labels: UInt8
    """[h, w] class ids."""
    confidence: UInt8
    """[h, w] 255 x probability of the label."""
    engine_ms: float
    """Its share of the run; 0 when the labels come from an interrupted run."""
    read_s: float
    """When it was decoded, by time.perf_counter."""
    aspect: float
    """Width by height of the camera's image."""


class StoredEngine:
    """An engine that answers with given predictions; see `seg_perception.engine.base.Engine`."""

    def __init__(self, spec: ModelSpec, info: EngineInfo, max_batch: int) -> None:
        self.spec, self.info, self.max_batch = spec, info, max_batch
        self._input = np.zeros((max_batch, self.spec.input_height, self.spec.input_width, 3), np.uint8)
        self._batch: Sequence[Predicted] = ()

    def give(self, batch: Sequence[Predicted]) -> None:
        """Set what the next `infer` answers."""
        self._batch = batch

    def input(self, n: int) -> UInt8:
        """Return memory that nothing reads."""
        return self._input[:n]

    def infer(self, n: int) -> Prediction:
        """Answer with the predictions given."""
        assert len(self._batch) == n
        return Prediction(np.stack([p.labels for p in self._batch]), np.stack([p.confidence for p in self._batch]))

    def close(self) -> None:
        """Nothing to release."""
