"""Measures with values worked out by hand."""

import numpy as np
import pytest

from seg_perception.labels import VOID
from seg_perception.metrics import (
    BoundaryCounts,
    Reliability,
    binary_iou,
    boundary_counts,
    confusion_matrix,
    reliability,
    roc_area,
)


def test_confusion_leaves_void_out() -> None:
    truth = np.array([[0, 0, 1], [1, VOID, 0]], np.uint8)
    predicted = np.array([[0, 1, 1], [0, 0, 0]], np.uint8)
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, 2, 2), [[2, 1], [1, 1]])


def test_iou_of_a_group_of_classes() -> None:
    confusion = np.array([[5, 1, 0], [2, 6, 1], [0, 1, 4]])
    group = np.array([True, True, False])
    assert binary_iou(confusion, group, group) == 14 / 16
    assert np.isnan(binary_iou(np.zeros((2, 2), np.int64), np.array([True, False]), np.array([True, False])))


def square(shift: int) -> np.ndarray:
    mask = np.zeros((720, 960), np.bool_)
    mask[200:300, 300 + shift : 400 + shift] = True
    return mask


def test_boundary_within_three_pixels_is_right() -> None:
    valid = np.ones((720, 960), np.bool_)
    assert boundary_counts(square(0), square(0), valid) == BoundaryCounts(396, 396, 396, 396)
    assert boundary_counts(square(0), square(3), valid).f_score() == 1.0
    # Shifted by 10 px, the two upright sides miss: 98 pixels each without their corners, and corners past 3 px.
    shifted = boundary_counts(square(0), square(10), valid)
    assert shifted.truth_hit == shifted.predicted_hit
    assert 180 <= shifted.truth_hit <= 200


def test_boundary_ignores_the_image_border_and_void() -> None:
    mask = np.zeros((720, 960), np.bool_)
    mask[400:] = True
    valid = np.ones_like(mask)
    assert boundary_counts(mask, mask, valid).truth == 960
    valid[:, :480] = False
    assert boundary_counts(mask, mask, valid).truth == 480 - 3


def test_no_boundary_has_no_score_and_a_missed_one_has_zero() -> None:
    empty, valid = np.zeros((720, 960), np.bool_), np.ones((720, 960), np.bool_)
    assert np.isnan(boundary_counts(empty, empty, valid).f_score())
    assert boundary_counts(square(0), empty, valid).f_score() == 0
    assert BoundaryCounts(4, 2, 8, 8).plus(BoundaryCounts(4, 2, 0, 0)).f_score() == pytest.approx(2 / 3)


def test_calibration_error_is_the_gap_weighted_by_pixels() -> None:
    confidence = np.array([255, 255, 255, 255, 51, 51, 51, 51], np.uint8)
    right = np.array([1, 1, 1, 0, 1, 0, 0, 0], np.bool_)
    counts = reliability(confidence, right, np.ones(8, np.bool_))
    # Half the pixels say 1.0 and are right in 0.75; half say 0.2 and are right in 0.25.
    assert counts.error() == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)
    assert counts.plus(counts).error() == pytest.approx(counts.error())


def test_calibration_ignores_what_has_no_truth() -> None:
    confidence = np.array([255, 0], np.uint8)
    counts = reliability(confidence, np.array([True, False]), np.array([True, False]))
    assert isinstance(counts, Reliability)
    assert counts.pixels.sum() == 1
    assert counts.error() == 0


def test_roc_area() -> None:
    low, high = np.array([5, 0, 0]), np.array([0, 0, 7])
    assert roc_area(high, low) == 1
    assert roc_area(low, high) == 0
    assert roc_area(low, low) == 0.5
    # 4 wins and 4 ties for the lower two, 8 wins for the upper two, of 16 pairs.
    assert roc_area(np.array([0, 2, 2]), np.array([2, 2, 0])) == 14 / 16
    assert np.isnan(roc_area(low, np.zeros(3, np.int64)))
