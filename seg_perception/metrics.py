"""Measures of label images against truth. Void truth never counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seg_perception.labels import VOID

UInt8 = npt.NDArray[np.uint8]


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


def binary_iou(
    confusion: npt.NDArray[np.int64], truth_rows: npt.NDArray[np.bool_], predicted_columns: npt.NDArray[np.bool_]
) -> float:
    """Return the IoU of a group of classes against all others; NaN when neither truth nor prediction has it."""
    both = confusion[truth_rows][:, predicted_columns].sum()
    union = confusion[truth_rows].sum() + confusion[:, predicted_columns].sum() - both
    return float(both / union) if union else float('nan')
