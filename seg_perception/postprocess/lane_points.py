"""Marking pixels -> points on the ground: one per painted run of an image row, at its middle."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from seg_perception.camera import CameraModel, Pose
from seg_perception.compiled import IMAGE, compiled, inlined
from seg_perception.frames import require_size
from seg_perception.postprocess.ground import ground_places, ground_rows, ground_table, plane_directions
from seg_perception.postprocess.lane_types import LaneConfig

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
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

MIN_HATCH_M = 0.7
"""Where so much paint in so many cells of a metre slants to the left, and as much to the right, there is a crosshatch."""

PAINT_SIGMA_M = 0.02
"""How straight painted lines are."""


class MarkingPoints(NamedTuple):
    """Middles of painted runs, vehicle frame."""

    table: Float64
    """[N, 4] x and y, standard deviation of y, and length of ground along the view that the image row covers; metres."""
    clutter_m: float
    """Length, as above, of runs in range that belong to no line."""


class _View(NamedTuple):
    """What one camera can see of markings; made once."""

    rows: Index
    """[r] image rows that are looked at: those in range, `ROW_STEP_M` of ground apart where the image has more."""
    edges: Complex128
    """[r, w] ground x + iy at the left edge of each pixel; NaN out of range and at the image's border."""
    stands_for: Index
    """[r] how many rows of the image each one stands for."""


def marking_points(
    labels: UInt8, confidence: UInt8, is_marking: Bool, config: LaneConfig, camera: CameraModel, pose: Pose
) -> MarkingPoints:
    """Return the painted runs of one image that may belong to a line.

    In a level camera that looks along the road an image row is a line across it, so that the middle of a run is the
    middle of the marking, whatever its width in pixels. Runs cut by the image's border, wider than a line's paint or
    out of range are left out.

    Args:
        labels, confidence: uint8 [h, w].
        is_marking: bool [256], by class id.
        camera: intrinsics at the size of `labels`.
        pose: optical frame in the vehicle.

    Raises:
        CameraError: an image has not the camera's size.
    """
    require_size(camera, labels, confidence)
    view = _view(camera, pose, config.max_range_m, config.half_width_m)
    x, y, z = pose.translation_m
    place = (x, y, max(z, 0.1), camera.fy)
    least, widest_m = config.min_confidence * 255, config.max_marking_m
    return MarkingPoints(*_middles(labels, confidence, is_marking, *view, *place, least, widest_m))


def join(parts: list[MarkingPoints]) -> MarkingPoints:
    """Put the points of several cameras together."""
    if len(parts) == 1:
        return parts[0]
    return MarkingPoints(np.vstack([p.table for p in parts]), sum(p.clutter_m for p in parts))


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
    edges = np.pad(edges, ((0, 0), (1, 0)), constant_values=np.nan)
    return _View(rows, edges, np.diff(rows, append=seen.stop))


@inlined
def _runs(labels: UInt8, confidence: UInt8, is_marking: Bool, rows: Index, least: float) -> Index:
    """Return [N, 3]: the place in `rows`, the first column of a run of marking pixels, and the column after it.

    The first and the last column count as unmarked. No runs when there are too many for lines.
    """
    last = labels.shape[1] - 1
    runs = np.empty((MAX_RUNS_PER_ROW * len(rows), 3), np.int64)
    count = 0
    for i in range(len(rows)):
        line, sure, column = labels[rows[i]], confidence[rows[i]], 1
        while column < last:
            if not is_marking[line[column]] or sure[column] < least:
                column += 1
                continue
            start = column
            while column < last and is_marking[line[column]] and sure[column] >= least:
                column += 1
            if count == len(runs):
                return runs[:0]
            runs[count, 0], runs[count, 1], runs[count, 2] = i, start, column
            count += 1
    return runs[:count]


@inlined
def _leave_out_crowded(runs: Index, middle: Complex128, keep: Bool) -> None:
    """Clear `keep` of runs that have a close neighbour on both sides, and of these neighbours."""
    for i in range(1, len(runs) - 1):
        in_one_row = runs[i - 1, 0] == runs[i + 1, 0]
        if in_one_row and abs(middle[i] - middle[i - 1]) < CROWD_M and abs(middle[i + 1] - middle[i]) < CROWD_M:
            keep[i - 1], keep[i], keep[i + 1] = False, False, False


@inlined
def _slants(runs: Index, middle: Complex128) -> Index:
    """Return [N]: 1 and -1 where the paint goes on in the next row far to the left or right, else 0."""
    slants = np.zeros(len(runs), np.int64)
    below = 0
    for i in range(len(runs)):
        row, start, end = runs[i, 0] + 1, runs[i, 1], runs[i, 2]
        while below < len(runs) and (runs[below, 0] < row or (runs[below, 0] == row and runs[below, 2] <= start)):
            below += 1
        if below < len(runs) and runs[below, 0] == row and runs[below, 1] <= end:
            step = middle[below] - middle[i]
            slant, least = step.real * step.imag, SLANT * step.real**2
            slants[i] = int(slant > least) - int(slant < -least)
    return slants


@inlined
def _cells(middle: Complex128) -> Index:
    """Return [N, 2]: x and y in whole metres from the least ones. What is out of range counts as at the vehicle."""
    places_m = np.zeros((len(middle), 2))
    first_x, first_y = math.inf, math.inf
    for i in range(len(middle)):
        if not math.isnan(middle[i].real):
            places_m[i, 0], places_m[i, 1] = middle[i].real, middle[i].imag
        first_x, first_y = min(first_x, places_m[i, 0]), min(first_y, places_m[i, 1])
    cells = np.empty((len(middle), 2), np.int64)
    for i in range(len(middle)):
        cells[i, 0], cells[i, 1] = int(places_m[i, 0] - first_x), int(places_m[i, 1] - first_y)
    return cells


@inlined
def _leave_out_hatched(runs: Index, middle: Complex128, length_m: Float64, keep: Bool) -> None:
    """Clear `keep` of runs in or beside a crosshatch (a box junction): paint that slants both ways in one place."""
    slants, cells = _slants(runs, middle), _cells(middle)
    last_x, last_y = 0, 0
    for i in range(len(runs)):
        last_x, last_y = max(last_x, cells[i, 0]), max(last_y, cells[i, 1])
    paint_m = np.zeros((2, last_x + 3, last_y + 3))  # left and right, of the 3 x 3 m around each cell
    for i in range(len(runs)):
        for x in range(cells[i, 0], cells[i, 0] + 3):
            for y in range(cells[i, 1], cells[i, 1] + 3):
                if slants[i] != 0:
                    paint_m[int(slants[i] < 0), x, y] += length_m[i]
    for i in range(len(runs)):
        for x in range(cells[i, 0], cells[i, 0] + 3):
            for y in range(cells[i, 1], cells[i, 1] + 3):
                if min(paint_m[0, x, y], paint_m[1, x, y]) >= MIN_HATCH_M:
                    keep[i] = False


@compiled(
    types.Tuple((types.float64[:, ::1], types.float64))(
        IMAGE,
        IMAGE,
        types.boolean[::1],
        types.int64[::1],
        types.complex128[:, ::1],
        types.int64[::1],
        *[types.float64] * 6,
    )
)
def _middles(
    labels: UInt8,
    confidence: UInt8,
    is_marking: Bool,
    rows: Index,
    edges: Complex128,
    stands_for: Index,
    x: float,
    y: float,
    height: float,
    fy: float,
    least: float,
    widest_m: float,
) -> tuple[Float64, float]:
    """Return what `MarkingPoints` holds; a pixel counts from the confidence `least`, paint up to a width of `widest_m`."""
    runs = _runs(labels, confidence, is_marking, rows, least)
    middle, length_m = np.empty(len(runs), np.complex128), np.empty(len(runs))
    for i in range(len(runs)):
        row = runs[i, 0]
        middle[i] = (edges[row, runs[i, 1]] + edges[row, runs[i, 2]]) / 2
        away = (middle[i].real - x) ** 2 + (middle[i].imag - y) ** 2 + height**2
        length_m[i] = away / (height * fy) * stands_for[row]
    keep = np.ones(len(runs), np.bool_)
    _leave_out_crowded(runs, middle, keep)
    _leave_out_hatched(runs, middle, length_m, keep)
    points = np.empty((len(runs), 4))
    kept, clutter_m = 0, 0.0
    for i in range(len(runs)):
        row, start, end = runs[i, 0], runs[i, 1], runs[i, 2]
        width_m = abs(edges[row, end] - edges[row, start])
        pixel_m = width_m / (end - start)
        if math.isnan(width_m):
            continue
        if keep[i] and width_m <= widest_m + 2 * pixel_m:
            points[kept, 0], points[kept, 1] = middle[i].real, middle[i].imag
            points[kept, 2] = math.hypot(EDGE_SIGMA_PX * pixel_m, PAINT_SIGMA_M)
            points[kept, 3] = length_m[i]
            kept += 1
        else:
            clutter_m += length_m[i]
    return points[:kept], clutter_m
