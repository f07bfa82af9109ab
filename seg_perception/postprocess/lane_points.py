"""Marking pixels -> points on the ground: one per painted run of an image row, at its middle."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.labels import LabelMap, Role
from seg_perception.postprocess.ground import ground_places, ground_rows, ground_table, plane_directions
from seg_perception.postprocess.lane_types import LaneConfig
from seg_perception.postprocess.masks import role_mask

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Complex128 = npt.NDArray[np.complex128]

MAX_RUNS_PER_ROW = 8
"""More runs than this on average are noise, not lines; the image then shows none, at no cost."""

EDGE_SIGMA_PX = 0.5
"""Standard deviation of the middle of a run, from both of its edges."""

CROWD_M = 1.3
"""A run with others this close on both sides is part of a zebra, letters or hatching; double lines have one side free."""

ROW_STEP_M = 0.07
"""Rows closer than this on the ground say the same; fewer are looked at."""

SLANT = 0.45
"""Paint with a larger dy / dx is no line of the vehicle's road."""

HATCH_CELLS = (3, 3)
MIN_HATCH_M = 0.7
"""Where so much paint in so many cells of a metre slants to the left, and as much to the right, there is a crosshatch."""

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
        x, y, sigma, length = np.array(self[:4])[:, np.argsort(self.x_m)]
        return self._replace(x_m=x, y_m=y, sigma_m=sigma, length_m=length)


class _View(NamedTuple):
    """What one camera can see of markings; made once."""

    rows: Index
    """[r] image rows that are looked at: those in range, `ROW_STEP_M` of ground apart where the image has more."""
    edges: Complex128
    """[r x w] ground x + iy at the left edge of each pixel; NaN out of range and at the image's border."""
    stands_for: Index
    """[r] how many rows of the image each one stands for."""


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
    view = _view(camera, pose, config.max_range_m, config.half_width_m)
    if not len(view.rows):
        return MarkingPoints(*(np.zeros(0),) * 4, 0.0)
    mask = role_mask(labels[view.rows], label_map, Role.LANE)
    if config.min_confidence > 0:
        cv2.bitwise_and(mask, cv2.compare(confidence[view.rows], config.min_confidence * 255, cv2.CMP_GE), dst=mask)
    start, end = _runs(mask)
    row = start // camera.width
    left, right = view.edges[start], view.edges[end]
    middle = (left + right) / 2
    width = np.abs(right - left)  # NaN out of range
    pixel = width / (end - start)
    x, y, z = pose.translation_m
    height = max(z, 0.1)
    length = ((middle.real - x) ** 2 + (middle.imag - y) ** 2 + height**2) / (height * camera.fy) * view.stands_for[row]
    keep = (width <= config.max_marking_m + 2 * pixel) & ~_crowded(row, middle)
    keep &= ~_hatched(_steps(start, end, camera.width, middle), middle, length)
    clutter = float(np.nansum(length[~keep]))
    middle, pixel = middle[keep], pixel[keep]
    sigma = np.hypot(EDGE_SIGMA_PX * pixel, PAINT_SIGMA_M)
    return MarkingPoints(middle.real, middle.imag, sigma, length[keep], clutter)


@lru_cache(maxsize=16)
def _view(camera: CameraModel, pose: Pose, max_range_m: float, half_width_m: float) -> _View:
    seen = ground_rows(camera, pose, max_range_m)
    nearest = np.fmin.reduce(ground_table(camera, pose).distance_m[seen], axis=1, initial=max_range_m)
    height = max(pose.translation_m[2], 0.1)
    steps = np.floor(np.cumsum(nearest**2 + height**2) / (height * camera.fy * ROW_STEP_M))
    rows = seen.start + np.flatnonzero(np.diff(steps, prepend=-1.0) > 0)
    directions = plane_directions(camera)[rows]
    edges = ground_places((directions[:, 1:] + directions[:, :-1]) / 2, pose)
    outside = np.abs(edges - complex(*pose.translation_m[:2])) > max_range_m
    edges[outside | (np.abs(edges.imag) > half_width_m)] = np.nan
    edges[:, [0, -1]] = np.nan  # of runs that begin in the first column or end in the last the middle is not known
    edges = np.pad(edges, ((0, 0), (1, 0)), constant_values=np.nan).ravel()
    return _View(rows, edges, np.diff(rows, append=seen.stop))


def _steps(start: Index, end: Index, width: int, middle: Complex128) -> Complex128:
    """Return the way on the ground from each run to the first one that touches it in the next row; NaN without one."""
    below = np.searchsorted(end, start + width, 'right')
    below[below == len(end)] = -1
    step = middle[below] - middle
    step[(start[below] > end + width) | (below < 0)] = np.nan
    return step


def _hatched(step: Complex128, middle: Complex128, length_m: Float64) -> npt.NDArray[np.bool_]:
    """Return which runs lie in or beside a crosshatch (a box junction): paint that slants both ways in one place."""
    slant, least = step.real * step.imag, SLANT * step.real**2
    left, right = slant > least, slant < -least
    if not (left.any() and right.any()):
        return np.zeros(len(step), np.bool_)
    place = np.where(np.isfinite(middle), middle, 0.0)
    row, column = (np.floor(v - v.min()).astype(np.intp) for v in (place.real, place.imag))
    shape = (int(row.max()) + 1, int(column.max()) + 1)
    cell = row * shape[1] + column
    paint = (np.bincount(cell, np.where(way, length_m, 0.0), math.prod(shape)) for way in (left, right))
    around = [
        cv2.boxFilter(p.reshape(shape), -1, HATCH_CELLS, normalize=False, borderType=cv2.BORDER_CONSTANT) for p in paint
    ]
    crossed = (np.minimum(*around) >= MIN_HATCH_M).astype(np.uint8)
    return np.asarray(cv2.dilate(crossed, np.ones(HATCH_CELLS, np.uint8)).ravel()[cell] > 0)


def _crowded(row: Index, middle: Complex128) -> npt.NDArray[np.bool_]:
    """Return where a run has a close neighbour on both sides, or is the close neighbour of such a run."""
    close = np.zeros(len(row) + 1, np.bool_)
    close[1:-1] = (row[1:] == row[:-1]) & (np.abs(middle[1:] - middle[:-1]) < CROWD_M)
    inner = close[1:] & close[:-1]
    crowded = inner.copy()
    crowded[:-1] |= inner[1:] & close[1:-1]
    crowded[1:] |= inner[:-1] & close[1:-1]
    return crowded


def _runs(mask: npt.NDArray[np.uint8]) -> tuple[Index, Index]:
    """Return flat indices of the first pixel of each run of non-zero pixels, and of the pixel after it in its row.

    The first and the last column of `mask` are cleared. No runs when there are too many for lines.
    """
    mask[:, [0, -1]] = 0
    marked = mask.ravel().view(np.bool_)
    change = np.flatnonzero(marked[1:] != marked[:-1]) + 1
    if len(change) > 2 * MAX_RUNS_PER_ROW * len(mask):
        change = change[:0]
    return change[0::2], change[1::2]


def join(parts: list[MarkingPoints]) -> MarkingPoints:
    """Put the points of several cameras together."""
    if len(parts) == 1:
        return parts[0]
    x, y, sigma, length = np.hstack([np.array(p[:4]) for p in parts])
    return MarkingPoints(x, y, sigma, length, sum(p.clutter_m for p in parts))
