"""Figures of each processed frame, and the frames the network was least sure of."""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.pipeline import CameraResult

LOW_CONFIDENCE = 128
"""A pixel under this (0.5) counts as uncertain, as it does for the grid."""
PICTURES = 6
"""Frames kept, at most."""

UInt8 = npt.NDArray[np.uint8]


class FrameFigures(NamedTuple):
    """One row of the run's table; plain numbers, so that it goes to JSON as it is."""

    camera: str
    stamp_ns: int
    shares: list[float]
    """Share of the pixels per class id."""
    confidence: float
    """Mean confidence, 0 to 1."""
    uncertain: float
    """Share of pixels under a confidence of 0.5."""
    free_ahead_m: float | None
    """Free distance ahead; None without grid, or when nothing ahead is known."""
    grid_known: float | None
    """Share of the grid's cells that are known; None without grid."""
    engine_ms: float
    """The network's part; 0 when the labels come from an interrupted run."""
    age_ms: float
    """From the decoded frame to its written outputs, waiting in queues included."""
    done_s: float
    """When its outputs were written, after the start of processing."""


def class_shares(labels: UInt8, classes: int) -> list[float]:
    """Return the share of the pixels of `labels`, uint8 [h, w], for each of the class ids 0 to `classes` - 1."""
    return [float(v) for v in histogram(labels)[:classes] / labels.size]


def confidence_figures(confidence: UInt8) -> tuple[float, float]:
    """Return the mean (0 to 1) of a confidence image, uint8 [h, w], and the share of pixels under 0.5."""
    counts = histogram(confidence)
    mean = float(counts @ np.arange(256)) / confidence.size / 255
    return mean, float(counts[:LOW_CONFIDENCE].sum()) / confidence.size


def histogram(values: UInt8) -> npt.NDArray[np.float64]:
    """Return [256]: how often each value is in a uint8 image [h, w]."""
    return np.asarray(cv2.calcHist([values], [0], None, [256], [0, 256]), np.float64)[:, 0]


def finite(value: float) -> float | None:
    """Return the value, None for NaN: JSON has no NaN."""
    return None if math.isnan(value) else float(value)


class Picture(NamedTuple):
    """A frame worth looking at."""

    confidence: float
    camera: str
    stamp_ns: int
    overlay: UInt8
    certainty: UInt8
    """[h, w] 255 x probability of the label."""

    def heat(self) -> UInt8:
        """Return a picture [h, w, 3] RGB that is bright where the network is unsure."""
        bgr = cv2.applyColorMap(cv2.bitwise_not(self.certainty), cv2.COLORMAP_INFERNO)
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


class LeastCertain:
    """Keeps the frames of lowest mean confidence, at most one per camera and second, for neighbours look alike."""

    def __init__(self) -> None:
        self._worst: dict[tuple[str, int], Picture] = {}

    def offer(self, result: CameraResult, confidence: float, overlay: UInt8) -> None:
        """Take a frame if it is among the least certain so far; its arrays are kept."""
        key = (result.camera, result.stamp_ns // 1_000_000_000)
        known = self._worst.get(key)
        if known is not None and known.confidence <= confidence:
            return
        if known is None and len(self._worst) >= PICTURES:
            limit = max(self._worst, key=lambda k: self._worst[k].confidence)
            if self._worst[limit].confidence <= confidence:
                return
            del self._worst[limit]
        self._worst[key] = Picture(confidence, result.camera, result.stamp_ns, overlay, result.confidence)

    def pictures(self) -> list[Picture]:
        """Return them, least certain first."""
        return heapq.nsmallest(PICTURES, self._worst.values(), key=lambda p: (p.confidence, p.stamp_ns))
