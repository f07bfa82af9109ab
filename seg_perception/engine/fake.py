"""An engine without a network, for tests and dry runs: it labels by colour, exactly and fast."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seg_perception.engine.base import EngineInfo, Prediction, check_batch
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.model import ModelSpec


class FakeEngine:
    """Labels each pixel with the class whose palette colour is nearest; full confidence where it is exact."""

    def __init__(self, height: int = 64, width: int = 96, max_batch: int = 4) -> None:
        digest = hashlib.sha256(repr((height, width)).encode()).hexdigest()
        self.spec = ModelSpec(Path('fake'), 'fake', 'fp32', height, width, DEFAULT_LABELS, digest)
        self.info = EngineInfo('fake', 'cpu', 'fp32', digest[:12], '')
        self.max_batch = max_batch
        self._input = np.zeros((max_batch, height, width, 3), np.uint8)
        self._palette = DEFAULT_LABELS.palette()[: len(DEFAULT_LABELS)].astype(np.int32)

    def input(self, n: int) -> npt.NDArray[np.uint8]:
        """Return the input memory for `n` frames."""
        check_batch(n, self.max_batch)
        return self._input[:n]

    def infer(self, n: int) -> Prediction:
        """Label the first `n` frames."""
        check_batch(n, self.max_batch)
        difference = self._input[:n, :, :, None, :].astype(np.int32) - self._palette
        distance = np.abs(difference).sum(axis=-1)
        labels = distance.argmin(axis=-1).astype(np.uint8)
        confidence = (255 - np.minimum(distance.min(axis=-1), 255)).astype(np.uint8)
        return Prediction(labels, confidence)

    def close(self) -> None:
        """Nothing to release."""
