"""What one pixel says about its piece of ground, packed in one byte.

code = state x 64 + strength: state 0 drivable, 1 flat but not drivable, 2 solid; strength 0..63 is the log-odds on the scale 0..MAX_LOG_ODDS. Strength 0 says nothing, whatever the state.
HIDDEN is what lies behind a solid, GAP the stretch before its contact that is smaller than a pixel. One byte keeps every pass over the
image and the polar view in OpenCV's vectorised 8-bit code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.errors import ConfigError
from seg_perception.grid.config import GridConfig
from seg_perception.labels import LabelMap

MAX_LOG_ODDS = 4.0
STEPS = 63
DRIVABLE, FLAT, SOLID, HIDDEN, GAP = 0, 64, 128, 192, 193
TRUSTED = 0.95
"""P(drivable | class) taken for a model that carries no measured value (and 1 - TRUSTED for the other classes)."""


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability, limited to MAX_LOG_ODDS."""
    limit = 1 / (1 + math.exp(-MAX_LOG_ODDS))
    p = min(max(probability, 1 - limit), limit)
    return math.log(p / (1 - p))


class PixelEvidence:
    """Tables from (label, confidence) to the one-byte code."""

    def __init__(self, config: GridConfig, labels: LabelMap, class_precision: Sequence[float] | None = None) -> None:
        if class_precision is not None and len(class_precision) != len(labels):
            raise ConfigError(
                f'class_precision has {len(class_precision)} values; expected {len(labels)}, one per class'
            )
        drivable, ground = labels.drivable_lut(), labels.ground_lut()
        self._state = np.zeros(256, np.uint8)
        self._class_strength = np.zeros(256, np.uint8)  # stays 0 for void and for ids the model does not have
        for c in labels.classes:
            p = class_precision[c.id] if class_precision is not None else TRUSTED if drivable[c.id] else 1 - TRUSTED
            odds = log_odds(p) if drivable[c.id] else -log_odds(p)
            self._state[c.id] = DRIVABLE if drivable[c.id] else FLAT if ground[c.id] else SOLID
            self._class_strength[c.id] = round(max(0.0, odds) / MAX_LOG_ODDS * 255)
        self._confidence_strength = np.array(
            [
                round(log_odds(max(v, 0.5)) / MAX_LOG_ODDS * 255) if v > config.min_confidence else 0
                for v in np.linspace(0, 1, 256)
            ],
            np.uint8,
        )
        steps = np.arange(64) * (MAX_LOG_ODDS / STEPS)
        self.log_odds = np.concatenate([steps, -steps, -steps, 0 * steps]).astype(np.float32)
        self.log_odds[GAP] = log_odds(TRUSTED)
        """float32 [256]: log-odds of being drivable for each code; a GAP counts only against older evidence."""

    def codes(self, labels: npt.NDArray[np.uint8], confidence: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the uint8 [h, w] codes of an image; a new array."""
        strength = cv2.multiply(
            cv2.LUT(labels, self._class_strength),
            cv2.LUT(confidence, self._confidence_strength),
            scale=STEPS / (255 * 255),
        )
        return np.asarray(cv2.add(strength, cv2.LUT(labels, self._state)), np.uint8)
