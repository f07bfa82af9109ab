"""Marking pixels -> points on the ground: one per painted run of an image row, at its middle."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.labels import LabelMap, Role
from seg_perception.postprocess.ground import ground_points, ground_rows
from seg_perception.postprocess.lane_types import LaneConfig
from seg_perception.postprocess.masks import role_mask

Float64 = npt.NDArray[np.float64]

MAX_RUNS_PER_ROW = 8
"""More runs than this on average are noise, not lines; the image then shows none, at no cost."""

EDGE_SIGMA_PX = 0.5
"""Standard deviation of the middle of a run, from both of its edges."""

CROWD_M = 1.3
"""A run with others this close on both sides is part of a zebra, letters or hatching; double lines have one side free."""

PAINT_SIGMA_M = 0.02
"""How straight painted lines are."""


class MarkingPoints(NamedTuple):
    """Middles of painted runs, vehicle frame."""

    x_m: Float64
    """[N]"""
    y_m: Float64
    """[N]"""
    sigma_m: Float64
    """[N] standard deviation of y."""
    length_m: Float64
    """[N] length of ground along the view that the image row covers."""
    clutter_m: float
    """Length, as above, of runs in range that belong to no line."""

    def sorted_by_x(self) -> MarkingPoints:
        """Return the same points, nearest first."""
        order = np.argsort(self.x_m)
        x, y, sigma, length = (v[order] for v in self[:4])
        return MarkingPoints(x, y, sigma, length, self.clutter_m)


def marking_points(
    labels: npt.NDArray[np.uint8],
    confidence: npt.NDArray[np.uint8],
    label_map: LabelMap,
    config: LaneConfig,
    camera: CameraModel,
    pose: Pose,
) -> MarkingPoints:
    """Return the painted runs of one image that may belong to a line.

    In a level camera that looks along the road an image row is a line across it, so that the middle of a run is the
    middle of the marking, whatever its width in pixels. Runs cut by the image's border, wider than a line's paint or
    out of range are left out.

    Args:
        labels, confidence: uint8 [h, w].
        camera: intrinsics at the size of `labels`.
        pose: optical frame in the vehicle.
    """
    rows = ground_rows(camera, pose, config.max_range_m)
    if rows.start == rows.stop:
        return MarkingPoints(*(np.zeros(0),) * 4, 0.0)
    mask = role_mask(labels[rows], label_map, Role.LANE)
    if config.min_confidence > 0:
        cv2.bitwise_and(mask, cv2.compare(confidence[rows], config.min_confidence * 255, cv2.CMP_GE), dst=mask)
    row, start, end = _runs(mask)
    row += rows.start
    edges = np.concatenate([np.column_stack([start - 0.5, row]), np.column_stack([end - 0.5, row])])
    left, right = np.split(ground_points(camera, pose, edges), 2)
    middle = (left + right) / 2
    width = np.hypot(*(right - left).T)
    pixel = width / np.maximum(end - start, 1)
    distance = np.hypot(*(middle - pose.translation_m[:2]).T)
    with np.errstate(invalid='ignore'):
        in_range = (distance <= config.max_range_m) & (np.abs(middle[:, 1]) <= config.half_width_m)
        keep = in_range & (width <= config.max_marking_m + 2 * pixel) & ~_crowded(row, middle)
    height = max(pose.translation_m[2], 0.1)
    length = (distance**2 + height**2) / (height * camera.fy)
    sigma = np.hypot(EDGE_SIGMA_PX * pixel, PAINT_SIGMA_M)
    clutter = float(length[in_range & ~keep].sum())
    return MarkingPoints(middle[keep, 0], middle[keep, 1], sigma[keep], length[keep], clutter)


def _crowded(row: npt.NDArray[np.intp], middle: Float64) -> npt.NDArray[np.bool_]:
    """Return where a run has a close neighbour on both sides, or is the close neighbour of such a run."""
    close = np.zeros(len(row) + 1, np.bool_)
    gap = np.hypot(*np.diff(middle, axis=0).T)
    close[1:-1] = (row[1:] == row[:-1]) & (gap < CROWD_M)
    inner = close[1:] & close[:-1]
    crowded = inner.copy()
    crowded[:-1] |= inner[1:] & close[1:-1]
    crowded[1:] |= inner[:-1] & close[1:-1]
    return crowded


def _runs(mask: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return row, first column and column past the end of each run of non-zero pixels inside the image."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.bool_)
    padded[:, 1:-1] = mask
    change = np.flatnonzero(padded[:, 1:] != padded[:, :-1])
    row, start = np.divmod(change[0::2], width + 1)
    end = change[1::2] % (width + 1)
    inside = np.flatnonzero((start > 0) & (end < width))
    if len(inside) > MAX_RUNS_PER_ROW * height:
        inside = inside[:0]
    return row[inside], start[inside], end[inside]


def join(parts: list[MarkingPoints]) -> MarkingPoints:
    """Put the points of several cameras together."""
    x, y, sigma, length = (np.concatenate(values) for values in list(zip(*parts, strict=True))[:4])
    return MarkingPoints(x, y, sigma, length, sum(p.clutter_m for p in parts))
