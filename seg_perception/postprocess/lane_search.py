"""Where lines may be: a common direction and curvature first, then one line for each pile of paint.

Lines of one road run nearly parallel. So the points are sheared by candidate directions and curvatures and counted
over the lateral position; where the counts pile up highest, dashes of one line and specks far away fall into the same
bin (a generalised Hough transform, Ballard 1981).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seg_perception.compiled import inlined
from seg_perception.postprocess.lane_solve import SCALE_M
from seg_perception.postprocess.lane_types import ORDER

Float64 = npt.NDArray[np.float64]

SAMPLES = 96
BIN_M = 0.25
NEAR_M = 20.0
"""The first search looks no further: a coarse curvature is still right there."""
MAX_LINES = 8
BINS = 128


def _shapes(theta_rad: float, thetas: int, kappa_1pm: float, kappas: int) -> Float64:
    """Return [thetas * kappas, 2]: all pairs of a direction and a curvature up to the given ones."""
    theta, kappa = np.linspace(-theta_rad, theta_rad, thetas), np.linspace(-kappa_1pm, kappa_1pm, kappas)
    return np.stack(np.meshgrid(theta, kappa), -1).reshape(-1, 2)


WIDEST_RAD, WIDEST_1PM = 0.35, 0.03
COARSE, FINE = _shapes(WIDEST_RAD, 15, WIDEST_1PM, 9), _shapes(0.04, 9, 0.005, 9)


@inlined
def _resample(points: Float64, reach_m: float) -> Float64:
    """Draw points from -reach_m to reach_m evenly over the length of ground they stand for: [M, 2].

    Near rows do not outvote far ones then.
    """
    chosen, total = 0, 0.0
    for i in range(len(points)):
        if abs(points[i, 0]) <= reach_m:
            chosen, total = chosen + 1, total + min(points[i, 3], 1.0)
    drawn = np.empty((min(SAMPLES, 2 * chosen), 2))
    count, passed = 0, 0.0
    for i in range(len(points)):
        if abs(points[i, 0]) <= reach_m:
            passed += min(points[i, 3], 1.0)
            while count < len(drawn) and (count + 0.5) * (total / len(drawn)) <= passed:
                drawn[count, 0], drawn[count, 1] = points[i, 0], points[i, 1]
                count += 1
    return drawn


@inlined
def _highest(points: Float64, theta: float, kappa: float, shapes: Float64) -> tuple[float, float]:
    """Return the direction and curvature, one of `shapes` [S, 2] about the given one, in which points pile up highest."""
    best, best_theta, best_kappa = -1.0, theta, kappa
    for s in range(len(shapes)):
        slope, bend = theta + shapes[s, 0], kappa + shapes[s, 1]
        counts, height = np.zeros(BINS, np.int64), 0
        for i in range(len(points)):
            x, y = points[i, 0], points[i, 1]
            at = int((y - (slope + bend / 2 * x) * x) / BIN_M + BINS / 2)
            if 0 < at < BINS - 1:
                # The sum of the squares of all two neighbouring counts grows by this.
                height += 2 * (counts[at - 1] + 2 * counts[at] + counts[at + 1]) + 2
                counts[at] += 1
        score = height * (1 - 0.1 * ((slope / WIDEST_RAD) ** 2 + (bend / WIDEST_1PM) ** 2))
        if score > best:
            best, best_theta, best_kappa = score, slope, bend
    return best_theta, best_kappa


@inlined
def _common_shape(points: Float64) -> tuple[float, float]:
    """Return the direction (rad) and curvature (1/m) in which the points pile up highest."""
    first, last = 0, len(points) - 1
    while last - first > len(points) // 4:  # leave the nearest quarter
        if abs(points[first, 0]) > abs(points[last, 0]):
            first += 1
        else:
            last -= 1
    reach_m = max(NEAR_M, abs(points[first, 0]), abs(points[last, 0]))
    theta, kappa = _highest(_resample(points, reach_m), 0.0, 0.0, COARSE)
    return _highest(_resample(points, np.inf), theta, kappa, FINE)


@inlined
def piles(points: Float64, min_painted_m: float, min_separation_m: float) -> Float64:
    """Return lines [L, 4] of one shape, x in units of SCALE_M, under which enough paint lies; strongest first."""
    theta, kappa = _common_shape(points)
    offset_m = np.empty(len(points))
    low_m, high_m = np.inf, -np.inf
    for i in range(len(points)):
        offset_m[i] = points[i, 1] - (theta + kappa / 2 * points[i, 0]) * points[i, 0]
        low_m, high_m = min(low_m, offset_m[i] - 2 * BIN_M), max(high_m, offset_m[i] + 2 * BIN_M)
    bins = int((high_m - low_m) / BIN_M) + 1
    paint, moment = np.zeros(bins), np.zeros(bins)
    for i in range(len(points)):
        middle = int((offset_m[i] - low_m) / BIN_M)
        for near in range(middle - 1, middle + 2):
            paint[near] += points[i, 3]
            moment[near] += points[i, 3] * offset_m[i]
    apart = max(1, round(min_separation_m / 2 / BIN_M))
    lines = np.zeros((MAX_LINES, ORDER + 1))
    for count in range(MAX_LINES):
        peak = int(paint.argmax())
        if paint[peak] < min_painted_m / 2:
            return lines[:count]
        lines[count, 0] = moment[peak] / paint[peak]
        lines[count, 1], lines[count, 2] = theta * SCALE_M, kappa / 2 * SCALE_M**2
        for near in range(max(0, peak - apart), min(bins, peak + apart + 1)):
            paint[near] = 0.0
    return lines
