"""Measures of label images against truth. Void truth never counts."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.labels import VOID

UInt8 = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]

BOUNDARY_PX = 3.0
"""Tolerance of the boundary F-score on an image of 960x720; scaled with the diagonal for others."""
BOUNDARY_DIAGONAL_PX = 1200.0
BINS = 15
"""Of the confidence, for the expected calibration error."""


def confusion_matrix(
    truth: UInt8, predicted: UInt8, truth_classes: int, predicted_classes: int
) -> npt.NDArray[np.int64]:
    """Count pixels by true (rows) and predicted (columns) class.

    Args:
        truth: class ids of any shape; VOID pixels are left out.
        predicted: class ids of the same shape, all below `predicted_classes`.
    """
    valid = truth != VOID
    index = truth[valid].astype(np.int64) * predicted_classes + predicted[valid]
    counts = np.bincount(index, minlength=truth_classes * predicted_classes)
    return counts.reshape(truth_classes, predicted_classes)


def binary_iou(confusion: npt.NDArray[np.int64], truth_rows: BoolArray, predicted_columns: BoolArray) -> float:
    """Return the IoU of a group of classes against all others; NaN when neither truth nor prediction has it.

    Args:
        confusion: [truth classes, predicted classes] pixels.
        truth_rows, predicted_columns: bool [truth classes], [predicted classes]: which of them make up the group.
    """
    both = confusion[truth_rows][:, predicted_columns].sum()
    union = confusion[truth_rows].sum() + confusion[:, predicted_columns].sum() - both
    return float(both / union) if union else float('nan')


class BoundaryCounts(NamedTuple):
    """Boundary pixels of one image, to be summed over images."""

    predicted: int
    """Predicted boundary pixels that count."""
    predicted_hit: int
    """Of those, with a true boundary within the tolerance."""
    truth: int
    truth_hit: int

    def plus(self, other: BoundaryCounts) -> BoundaryCounts:
        """Return the sums."""
        return BoundaryCounts(*(a + b for a, b in zip(self, other, strict=True)))

    def f_score(self) -> float:
        """Return the harmonic mean of precision and recall; NaN when there is no boundary at all."""
        if self.predicted + self.truth == 0:
            return float('nan')
        precision = self.predicted_hit / self.predicted if self.predicted else 0.0
        recall = self.truth_hit / self.truth if self.truth else 0.0
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_counts(truth: BoolArray, predicted: BoolArray, valid: BoolArray) -> BoundaryCounts:
    """Compare the outlines of a mask (Csurka et al. 2013, "What is a good evaluation measure for segmentation?").

    A boundary pixel is one of the mask with a 4-neighbour outside it; the image's border is no boundary. It is a hit
    when a boundary pixel of the other mask is within the tolerance, 3 px at 960x720. Boundary pixels within the
    tolerance of a pixel without truth do not count.

    Args:
        truth, predicted, valid: bool [H, W]; `valid` is False where there is no truth.
    """
    h, w = truth.shape
    tolerance = BOUNDARY_PX * float(np.hypot(h, w)) / BOUNDARY_DIAGONAL_PX
    counts = _distance(~valid) > tolerance
    edge_truth, edge_predicted = _outline(truth), _outline(predicted)
    near_truth, near_predicted = _distance(edge_truth) <= tolerance, _distance(edge_predicted) <= tolerance
    edge_truth, edge_predicted = edge_truth & counts, edge_predicted & counts
    return BoundaryCounts(
        int(edge_predicted.sum()),
        int((edge_predicted & near_truth).sum()),
        int(edge_truth.sum()),
        int((edge_truth & near_predicted).sum()),
    )


def _outline(mask: BoolArray) -> BoolArray:
    # Replicating the border keeps the image's own edge out of the outline.
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.view(np.uint8), cross, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mask & (np.asarray(inner) == 0), np.bool_)


def _distance(mask: BoolArray) -> npt.NDArray[np.float32]:
    """Return each pixel's distance (px) to the nearest pixel of `mask`; infinity when there is none."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    source = (~mask).view(np.uint8)
    return np.asarray(cv2.distanceTransform(source, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


class Reliability(NamedTuple):
    """How often labels of each confidence are right, to be summed over images."""

    pixels: npt.NDArray[np.int64]
    """[256] pixels per confidence value."""
    right: npt.NDArray[np.int64]
    """[256] of those, with the right label."""

    def plus(self, other: Reliability) -> Reliability:
        """Return the sums."""
        return Reliability(self.pixels + other.pixels, self.right + other.right)

    def bins(self) -> npt.NDArray[np.float64]:
        """Return [BINS, 3] share of pixels, mean confidence 0..1 and accuracy of equal-width confidence bins."""
        value = np.arange(256)
        index = np.minimum(value * BINS // 255, BINS - 1)
        count = np.bincount(index, self.pixels, BINS)
        filled = np.maximum(count, 1)
        confidence = np.bincount(index, self.pixels * value / 255, BINS) / filled
        accuracy = np.bincount(index, self.right.astype(np.float64), BINS) / filled
        return np.stack([count / max(1.0, count.sum()), confidence, accuracy], 1)

    def error(self) -> float:
        """Return the expected calibration error (Naeini et al. 2015)."""
        share, confidence, accuracy = self.bins().T
        return float((share * np.abs(confidence - accuracy)).sum())


def reliability(confidence: UInt8, right: BoolArray, valid: BoolArray) -> Reliability:
    """Count the right labels per confidence value, uint8, where `valid`; arrays of one shape."""
    return Reliability(
        np.bincount(confidence[valid], minlength=256),
        np.bincount(confidence[valid & right], minlength=256),
    )


def roc_area(positive: npt.NDArray[np.int64], negative: npt.NDArray[np.int64]) -> float:
    """Return the area under the ROC curve from two histograms [N] over the same increasing score.

    It is the probability that a positive scores higher than a negative, ties counting half; NaN when one is empty.
    """
    pairs = float(positive.sum()) * float(negative.sum())
    if pairs == 0:
        return float('nan')
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / pairs)
