"""Points of markings -> lines: one polynomial per pile of paint, all lines at once.

Each pile is fitted on its own, robustly, with a weak prior on the shape that all share, so that lines may diverge.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seg_perception.compiled import compiled, inlined
from seg_perception.postprocess.lane_points import MarkingPoints
from seg_perception.postprocess.lane_search import piles
from seg_perception.postprocess.lane_solve import PARALLEL, SCALE_M, SUMS, add, fit_all, solve
from seg_perception.postprocess.lane_types import (
    ORDER,
    LaneConfig,
    LaneLine,
    lateral_m,
    mean_apart_m,
    stacked,
    variance_m2,
)

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

MIN_ROWS = 6
SHORT_PAINT_M = 2.0
"""Least paint of a line that has a long one beside it."""
MIN_PURITY = 0.7
MIN_EXPLAINED = 0.15
"""Least share of all paint that belongs to the lines found; less is noise or a junction full of arrows."""
MIN_PAINTED_SHARE = 0.12
SOLID_SHARE = 0.7
"""Least share of its length that is paint in a solid line."""
MAX_SIGMA_M = 0.4


def find_lines(points: MarkingPoints, config: LaneConfig) -> list[LaneLine]:
    """Return the lines that the points show, sorted from left to right; none when they show none.

    The covariance is that of the fit alone; see `with_pitch_error`.
    """
    table = points.table[np.argsort(points.table[:, 0])]
    c = config
    limits = c.max_gap_m, c.min_painted_m, c.min_span_m, c.min_separation_m, c.min_lane_m, c.max_lane_m
    found = _find(table, points.clutter_m, *limits)
    lines = [LaneLine(0, line, v, *e.tolist()) for line, v, e, keep in zip(*found, strict=True) if keep]
    return sorted(lines, key=lambda line: -line.coefficients[0])


def with_pitch_error(lines: Sequence[LaneLine], camera_height_m: float, pitch_sigma_rad: float) -> list[LaneLine]:
    """Return the lines with the camera's pitch in their covariance.

    Pitch moves a ground point at x by dx = x^2 / height and scales y by x / height per radian, so that term i of the
    polynomial grows term i + 1 by (1 - i) / height. All points share this error: fitting more of them does not help.
    """
    coefficients, covariances, _ = stacked(lines)
    _tilt(coefficients, covariances, pitch_sigma_rad / camera_height_m)
    return [line._replace(covariance=v) for line, v in zip(lines, covariances, strict=True)]


@compiled('void(float64[:, ::1], float64[:, :, ::1], float64)')
def _tilt(coefficients: Float64, covariances: Float64, growth_1pm: float) -> None:
    for k in range(len(coefficients)):
        for i in range(ORDER):
            for j in range(ORDER):
                grown = (1 - i) * coefficients[k, i] * (1 - j) * coefficients[k, j]
                covariances[k, i + 1, j + 1] += grown * growth_1pm**2


@inlined
def _chain(points: Float64, owner: Index, line: int, max_gap_m: float) -> tuple[int, int, int, float]:
    """Return the first and last point, rows and paint (m) of the chain of a line's points that has most rows.

    A chain has no gap beyond `max_gap_m`; near beats far.
    """
    first, last, rows, painted_m = 0, 0, 0, 0.0
    best = (first, last, rows, painted_m)
    for i in range(len(points)):
        if owner[i] == line:
            gap = points[i, 0] - points[last, 0] - (points[i, 3] + points[last, 3]) / 2
            if rows == 0 or gap > max_gap_m:
                first, rows, painted_m = i, 0, 0.0
            last, rows, painted_m = i, rows + 1, painted_m + points[i, 3]
            if rows > best[2]:
                best = (first, last, rows, painted_m)
    return best


@inlined
def _purity(points: Float64, line: Float64, start_m: float, end_m: float) -> float:
    """Return the share of paint within a metre of a line, from its start to its end, that is on it.

    It is low in noise, zebras, letters and hatching.
    """
    on, beside = 0.0, 0.0
    for i in range(len(points)):
        x = points[i, 0]
        if start_m <= x <= end_m:
            distance = abs(points[i, 1] - lateral_m(line, x / SCALE_M))
            if distance < 0.2 + 0.006 * abs(x):
                on += points[i, 3]
            if 0.45 < distance < 1.1:
                beside += points[i, 3]
    return on / max(on + beside, 1e-9)


@inlined
def _judged(
    points: Float64, lines: Float64, max_gap_m: float, min_painted_m: float
) -> tuple[Float64, Float64, Float64]:
    """Fit lines [L, 4], cut them where their paint ends, fit them for the last time, and drop what does not look painted.

    Returns:
        coefficients [M, 4], covariances [M, 4, 4], and where paint starts and ends and how much there is [M, 3].
    """
    owner, spread, shape = fit_all(points, lines)
    covariances, extents = np.empty((len(lines), ORDER + 1, ORDER + 1)), np.empty((len(lines), 3))
    count = 0
    for k in range(len(lines)):
        first, last, rows, painted_m = _chain(points, owner, k, max_gap_m)
        if rows < MIN_ROWS:
            continue
        start_m, end_m = points[first, 0], points[last, 0]
        painted_m = min(painted_m, end_m - start_m)
        least_m = max(MIN_PAINTED_SHARE * (end_m - start_m), min(SHORT_PAINT_M, min_painted_m))
        if painted_m < least_m or _purity(points, lines[k], start_m, end_m) < MIN_PURITY:
            continue
        sums = np.zeros(SUMS)
        for i in range(first, last + 1):
            if owner[i] == k:
                add(points[i], sums)
        for i in range(SUMS):
            sums[i] /= spread[k]
        covariance = solve(sums, shape, PARALLEL, lines[k])
        worst_m2 = max(variance_m2(covariance, start_m / SCALE_M), variance_m2(covariance, end_m / SCALE_M))
        if worst_m2 > MAX_SIGMA_M**2:
            continue
        for i in range(ORDER + 1):
            lines[count, i] = lines[k, i] / SCALE_M**i
            for j in range(ORDER + 1):
                covariances[count, i, j] = covariance[i, j] / SCALE_M ** (i + j)
        extents[count, 0], extents[count, 1], extents[count, 2] = start_m, end_m, painted_m
        count += 1
    return lines[:count], covariances[:count], extents[:count]


@inlined
def _supported(
    lines: Float64, extents: Float64, min_painted_m: float, min_span_m: float, min_lane_m: float, max_lane_m: float
) -> Bool:
    """Return [L]: long lines, and short ones (a single dash) only at a lane's distance from a long one and no nearer.

    An arrow lies in the middle of its lane, half a lane from the lines beside it. A dash behind a solid line, as seen
    from the vehicle, is paint of another road, the stop line of a side street for one.
    """
    long = np.empty(len(lines), np.bool_)
    for i in range(len(lines)):
        long[i] = extents[i, 2] >= min_painted_m and extents[i, 1] - extents[i, 0] >= min_span_m
    keep = long.copy()
    for i in range(len(lines)):
        if long[i]:
            continue
        x = (extents[i, 0] + extents[i, 1]) / 2
        y, gap, between, nearest = lateral_m(lines[i], x), np.inf, 0.0, -1
        for k in range(len(lines)):
            other = lateral_m(lines[k], x)
            if long[k] and abs(y - other) < gap:
                gap, between, nearest = abs(y - other), other, k
        if min_lane_m <= gap <= max_lane_m:
            solid = extents[nearest, 2] >= SOLID_SHARE * (extents[nearest, 1] - extents[nearest, 0])
            keep[i] = not (solid and between * y > 0 and abs(between) < abs(y))
    return keep


@inlined
def _leave_out_close(lines: Float64, extents: Float64, keep: Bool, min_separation_m: float) -> None:
    """Clear `keep` of the weaker of two lines that come closer than `min_separation_m` where both are seen."""
    left = keep.copy()
    for _ in range(len(lines)):
        strongest = -1
        for i in range(len(lines)):
            if left[i] and (strongest < 0 or extents[i, 2] > extents[strongest, 2]):
                strongest = i
        if strongest < 0:
            return
        left[strongest] = False
        for i in range(len(lines)):
            low_m = max(extents[i, 0], extents[strongest, 0])
            high_m = max(low_m, min(extents[i, 1], extents[strongest, 1]))
            if left[i] and mean_apart_m(lines[i], lines[strongest], low_m, high_m) < min_separation_m:
                left[i], keep[i] = False, False


@compiled(
    'Tuple((float64[:, ::1], float64[:, :, ::1], float64[:, ::1], boolean[::1]))'
    '(float64[:, ::1], float64, float64, float64, float64, float64, float64, float64)'
)
def _find(
    points: Float64,
    clutter_m: float,
    max_gap_m: float,
    min_painted_m: float,
    min_span_m: float,
    min_separation_m: float,
    min_lane_m: float,
    max_lane_m: float,
) -> tuple[Float64, Float64, Float64, Bool]:
    """Return what `_judged` returns, and which of these lines [M] remain beside each other; points are sorted by x."""
    paint_m = 0.0
    for i in range(len(points)):
        paint_m += points[i, 3]
    enough = len(points) > ORDER and paint_m >= min_painted_m
    start = piles(points, min_painted_m, min_separation_m) if enough else np.empty((0, ORDER + 1))
    lines, covariances, extents = _judged(points, start, max_gap_m, min_painted_m)
    keep = _supported(lines, extents, min_painted_m, min_span_m, min_lane_m, max_lane_m)
    explained_m = 0.0
    for i in range(len(lines)):
        if keep[i]:
            explained_m += extents[i, 2]
    if explained_m < MIN_EXPLAINED * (paint_m + clutter_m):
        return lines[:0], covariances[:0], extents[:0], keep[:0]
    _leave_out_close(lines, extents, keep, min_separation_m)
    return lines, covariances, extents, keep
