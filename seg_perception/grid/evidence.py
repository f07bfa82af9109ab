"""What one pixel says about its piece of ground, packed in one signed byte.

The even part is the log-odds of being drivable on the scale -MAX_LOG_ODDS..MAX_LOG_ODDS; 0 says nothing. The lowest bit
marks a solid: it ends the view along its bearing. A solid under the confidence threshold is UNSURE_SOLID. In what a
camera sees, the lowest bit means "nothing free here": an obstacle, HIDDEN behind one, or the GAP before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import types

from seg_perception.compiled import IMAGE, compiled
from seg_perception.errors import CameraError, ConfigError
from seg_perception.grid.config import GridConfig
from seg_perception.labels import LabelMap

MAX_LOG_ODDS = 4.0
STEPS = 126
"""MAX_LOG_ODDS in counts."""
UNIT = MAX_LOG_ODDS / STEPS
HIDDEN = UNSURE_SOLID = 1
GAP = 93
"""The stretch before a contact that is smaller than a pixel: takes older evidence of an obstacle back, proves nothing."""

SURE = round(2.35 / UNIT)
"""Ground right before an obstacle is free from this evidence on: there, half sure means that it may be the obstacle's foot."""

TRUSTED = 0.95
"""P(drivable | class) taken for a model that carries no measured value (and 1 - TRUSTED for the other classes)."""

Evidence = npt.NDArray[np.int8]


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability, limited to MAX_LOG_ODDS."""
    limit = 1 / (1 + math.exp(-MAX_LOG_ODDS))
    p = min(max(probability, 1 - limit), limit)
    return math.log(p / (1 - p))


class PixelEvidence:
    """A table from (label, confidence) to the one-byte evidence."""

    def __init__(self, config: GridConfig, labels: LabelMap, class_precision: Sequence[float] | None = None) -> None:
        if class_precision is not None and len(class_precision) != len(labels):
            raise ConfigError(
                f'class_precision has {len(class_precision)} values; expected {len(labels)}, one per class'
            )
        drivable, ground = labels.drivable_lut(), labels.ground_lut()
        kind = np.zeros((256, 1), np.int8)  # stays 0 for void and for ids the model does not have
        for c in labels.classes:
            p = class_precision[c.id] if class_precision is not None else TRUSTED if drivable[c.id] else 1 - TRUSTED
            odds = max(0.0, log_odds(p)) if drivable[c.id] else min(0.0, log_odds(p))
            solid = not drivable[c.id] and not ground[c.id]
            kind[c.id] = 2 * round(odds / UNIT / 2) + solid
        weight = np.array(
            [
                log_odds(max(v, 0.5)) / MAX_LOG_ODDS * 127 if v > config.min_confidence else 0
                for v in np.linspace(0, 1, 256)
            ]
        ).round()
        self._table: Evidence = (kind * weight / 127).round().astype(np.int8) & np.int8(-2) | kind & np.int8(1)

    def __call__(self, labels: npt.NDArray[np.uint8], confidence: npt.NDArray[np.uint8]) -> Evidence:
        """Return the int8 [h * w + 1] evidence of the pixels of an image, and a zero after them; a new array.

        Raises:
            CameraError: labels and confidence differ in size.
        """
        if labels.shape != confidence.shape:
            raise CameraError(f'labels are {labels.shape} but confidence is {confidence.shape}; expected one size')
        return _evidence(labels, confidence, self._table)


@compiled(types.int8[::1](IMAGE, IMAGE, types.int8[:, ::1]))
def _evidence(labels: npt.NDArray[np.uint8], confidence: npt.NDArray[np.uint8], table: Evidence) -> Evidence:
    height, width = labels.shape
    evidence = np.zeros(height * width + 1, np.int8)
    for y in range(height):
        for x in range(width):
            evidence[y * width + x] = table[labels[y, x], confidence[y, x]]
    return evidence
