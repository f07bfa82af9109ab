"""Points of markings -> lines: a common direction first, then one polynomial per line, all lines at once.

Lines of one road run nearly parallel. So the points are sheared by candidate directions and curvatures and counted
over the lateral position; where the counts pile up highest, dashes of one line and specks far away fall into the same
bin (a generalised Hough transform, Ballard 1981). Each pile is then fitted on its own, robustly, with a weak prior on
the shape, so that lines may diverge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.postprocess.lane_points import MarkingPoints
from seg_perception.postprocess.lane_solve import SCALE_M, UNSCALE, Design, Fit, fit_all, solve
from seg_perception.postprocess.lane_types import ORDER, LaneConfig, LaneLine

Float64 = npt.NDArray[np.float64]

SAMPLES = 96
BIN_M = 0.25
NEAR_M = 20.0
"""The first search looks no further: a coarse curvature is still right there."""
PITCH_GROWTH = 1.0 - np.arange(ORDER)
MAX_LINES = 8
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
BINS = 128


def _shapes(theta_rad: float, thetas: int, kappa_1pm: float, kappas: int) -> Float64:
    """Return [thetas * kappas, 2]: all pairs of a direction and a curvature up to the given ones."""
    theta, kappa = np.linspace(-theta_rad, theta_rad, thetas), np.linspace(-kappa_1pm, kappa_1pm, kappas)
    return np.stack(np.meshgrid(theta, kappa), -1).reshape(-1, 2)


WIDEST = np.array([0.35, 0.03])
COARSE, FINE = _shapes(0.35, 15, 0.03, 9), _shapes(0.04, 9, 0.005, 9)


def find_lines(points: MarkingPoints, config: LaneConfig) -> list[LaneLine]:
    """Return the lines that the points show, sorted from left to right; none when they show none.

    The covariance is that of the fit alone; see `with_pitch_error`.
    """
    if len(points.x_m) < ORDER + 1 or points.length_m.sum() < config.min_painted_m:
        return []
    points = points.sorted_by_x()
    theta, kappa = _common_shape(points)
    offsets = _piles(points, theta, kappa, config)
    if len(offsets) == 0:
        return []
    start = np.empty((len(offsets), ORDER + 1))
    start[:] = 0.0, theta * SCALE_M, kappa / 2 * SCALE_M**2, 0.0
    start[:, 0] = offsets
    design = Design.of(points)
    lines = _supported(_judged(points, design, fit_all(design, np.abs(points.x_m), start), config), config)
    if sum(line.painted_m for line in lines) < MIN_EXPLAINED * (points.length_m.sum() + points.clutter_m):
        return []
    return sorted(_distinct(lines, config), key=lambda line: -line.coefficients[0])


def with_pitch_error(lines: Sequence[LaneLine], camera_height_m: float, pitch_sigma_rad: float) -> list[LaneLine]:
    """Return the lines with the camera's pitch in their covariance.

    Pitch moves a ground point at x by dx = x^2 / height and scales y by x / height per radian, so that term i of the
    polynomial grows term i + 1 by (1 - i) / height. All points share this error: fitting more of them does not help.
    """
    if not lines:
        return []
    tilt = np.zeros((len(lines), ORDER + 1))
    tilt[:, 1:] = np.array([line.coefficients for line in lines])[:, :-1] * PITCH_GROWTH
    tilt *= pitch_sigma_rad / camera_height_m
    extra = tilt[:, :, None] * tilt[:, None, :]
    return [line._replace(covariance=line.covariance + e) for line, e in zip(lines, extra, strict=True)]


def _common_shape(points: MarkingPoints) -> tuple[float, float]:
    """Return the direction (rad) and curvature (1/m) in which the points pile up highest."""
    reach = np.abs(points.x_m)
    near = np.flatnonzero(reach <= max(NEAR_M, float(np.sort(reach)[len(reach) // 4])))
    shape = _highest(points, near, COARSE)
    theta, kappa = _highest(points, np.arange(len(reach)), shape + FINE)
    return float(theta), float(kappa)


def _highest(points: MarkingPoints, chosen: npt.NDArray[np.intp], shapes: Float64) -> Float64:
    """Return the direction and curvature, one of `shapes` [N, 2], in which the chosen points pile up highest."""
    counts = _histograms(*_resample(points, chosen), shapes)
    bent = 1 - 0.1 * np.square(shapes / WIDEST).sum(axis=1)
    piles = counts[:, 1:] + counts[:, :-1]
    return np.asarray(shapes[int((np.einsum('ij,ij->i', piles, piles) * bent).argmax())])


def _resample(points: MarkingPoints, chosen: npt.NDArray[np.intp]) -> tuple[Float64, Float64]:
    """Draw points evenly over the length of ground they stand for, so that near rows do not outvote far ones."""
    cumulative = np.cumsum(np.minimum(points.length_m[chosen], 1.0))
    count = min(SAMPLES, 2 * len(chosen))
    picked = chosen[np.searchsorted(cumulative, (np.arange(count) + 0.5) * (cumulative[-1] / count))]
    return points.x_m[picked], points.y_m[picked]


def _histograms(x: Float64, y: Float64, shapes: Float64) -> npt.NDArray[np.intp]:
    """Count lateral positions of the sheared points: [len(shapes), BINS]; the end bins hold nothing."""
    # Positions in bins, as one product: y / bin + half the bins - slope x / bin - curvature x^2 / 2 / bin.
    shears = np.column_stack([shapes, np.ones(len(shapes))]) / BIN_M
    lateral = shears @ np.array([-x, -x * x / 2, y + BIN_M * BINS / 2])
    np.clip(lateral, 0, BINS - 1, out=lateral)
    index = lateral.astype(np.intp)
    index += np.arange(0, len(shapes) * BINS, BINS)[:, None]
    counts = np.bincount(index.ravel(), minlength=len(shapes) * BINS).reshape(-1, BINS)
    counts[:, [0, -1]] = 0
    return counts


def _piles(points: MarkingPoints, theta: float, kappa: float, config: LaneConfig) -> list[float]:
    """Return lateral positions at x = 0 under which enough paint lies, strongest first."""
    lateral = points.y_m - (theta + kappa / 2 * points.x_m) * points.x_m
    low = float(lateral.min()) - 2 * BIN_M
    index = ((lateral - low) / BIN_M).astype(np.intp)
    bins = int(index.max()) + 3
    weights = (points.length_m, points.length_m * lateral)
    paint, moment = (_with_neighbours(np.asarray(np.bincount(index, w, bins), np.float64)) for w in weights)
    apart = max(1, round(config.min_separation_m / 2 / BIN_M))
    found: list[float] = []
    while len(found) < MAX_LINES:
        peak = int(paint.argmax())
        if paint[peak] < config.min_painted_m / 2:
            break
        found.append(float(moment[peak] / paint[peak]))
        paint[max(0, peak - apart) : peak + apart + 1] = 0
    return found


def _with_neighbours(bins: Float64) -> Float64:
    total = bins.copy()
    total[1:] += bins[:-1]
    total[:-1] += bins[1:]
    return total


def _judged(points: MarkingPoints, design: Design, fit: Fit, config: LaneConfig) -> list[LaneLine]:
    """Cut lines where their paint ends, fit them for the last time, and drop what does not look like a painted line.

    Args:
        points: sorted by x.
    """
    chains = _chains(points, fit.mine, config)
    if not chains:
        return []
    own = [c.line for c in chains]
    start, end = np.array([c.start_m for c in chains]), np.array([c.end_m for c in chains])
    pure = _purity(points, design.residual(fit.coefficients[own]), start, end) >= MIN_PURITY
    chains = [c for c, keep in zip(chains, pure.tolist(), strict=True) if keep]
    if not chains:
        return []
    weights = np.zeros((len(chains), len(points.x_m)))
    for row, c in zip(weights, chains, strict=True):
        row[c.points] = design.certain[c.points] / fit.spread[c.line]
    coefficients, covariances = solve(design, weights, fit.prior)
    ends = np.array([(c.start_m, c.end_m) for c in chains])[:, :, None] / SCALE_M
    basis = np.concatenate([np.ones_like(ends), ends, ends * ends, ends * ends * ends], axis=2)
    sure = (np.einsum('lei,lij,lej->le', basis, covariances, basis) <= MAX_SIGMA_M**2).all(axis=1)
    covariances *= UNSCALE[:, None] * UNSCALE
    return [
        LaneLine(0, line, covariance, c.start_m, c.end_m, c.painted_m)
        for c, line, covariance, keep in zip(chains, coefficients * UNSCALE, covariances, sure.tolist(), strict=True)
        if keep
    ]


class _Chain(NamedTuple):
    """Points of one line that hang together."""

    line: int
    points: npt.NDArray[np.intp]
    start_m: float
    end_m: float
    painted_m: float


def _chains(points: MarkingPoints, mine: npt.NDArray[np.bool_], config: LaneConfig) -> list[_Chain]:
    """Return the chain of each line, [L, N] `mine`, that has most rows (near beats far); none where it is too little paint.

    A chain has no gap beyond `max_gap_m`.
    """
    line, point = np.nonzero(mine)
    if not len(point):
        return []
    x, length = points.x_m[point], points.length_m[point]
    gap = x[1:] - x[:-1] - (length[1:] + length[:-1]) / 2
    first = np.concatenate([[0], np.flatnonzero((gap > config.max_gap_m) | (line[1:] != line[:-1])) + 1])
    last = np.append(first[1:], len(point))
    painted = np.add.reduceat(length, first)
    longest: dict[int, _Chain] = {}
    columns = (line[first], first, last, x[first], x[last - 1], painted)
    for owner, i, j, start, end, paint in zip(*(c.tolist() for c in columns), strict=True):
        if owner not in longest or j - i > len(longest[owner].points):
            longest[owner] = _Chain(owner, point[i:j], start, end, min(paint, end - start))
    return [c for c in longest.values() if len(c.points) >= MIN_ROWS and _enough(c, config)]


def _enough(chain: _Chain, config: LaneConfig) -> bool:
    span = chain.end_m - chain.start_m
    return chain.painted_m >= max(MIN_PAINTED_SHARE * span, min(SHORT_PAINT_M, config.min_painted_m))


def _supported(lines: list[LaneLine], config: LaneConfig) -> list[LaneLine]:
    """Keep long lines, and short ones (a single dash) only at a lane's distance from a long one and no nearer.

    An arrow lies in the middle of its lane, half a lane from the lines beside it. A dash behind a solid line, as seen
    from the vehicle, is paint of another road, the stop line of a side street for one.
    """
    long = [s for s in lines if s.painted_m >= config.min_painted_m and s.span_m >= config.min_span_m]
    short = [s for s in lines if not any(s is other for other in long)]

    def beside(line: LaneLine) -> bool:
        x = (line.x_start_m + line.x_end_m) / 2
        y = line.at_m(x)
        gap, nearest = min(((abs(y - other.at_m(x)), i) for i, other in enumerate(long)), default=(0.0, -1))
        if not config.min_lane_m <= gap <= config.max_lane_m:
            return False
        between, solid = long[nearest].at_m(x), long[nearest].painted_m >= SOLID_SHARE * long[nearest].span_m
        return not (solid and between * y > 0 and abs(between) < abs(y))

    return long + [s for s in short if beside(s)]


def _purity(points: MarkingPoints, residual: Float64, start: Float64, end: Float64) -> Float64:
    """Return the share of paint within a metre of each line [L], from its start to its end, that is on it.

    It is low in noise, zebras, letters and hatching.
    """
    x, distance = points.x_m, np.abs(residual)
    along = (x >= start[:, None]) & (x <= end[:, None])
    on = along & (distance < 0.2 + 0.006 * np.abs(x))
    beside = along & (distance > 0.45) & (distance < 1.1)
    line, rest = on @ points.length_m, beside @ points.length_m
    return np.asarray(line / np.maximum(line + rest, 1e-9))


def _distinct(lines: list[LaneLine], config: LaneConfig) -> list[LaneLine]:
    """Drop the weaker of two lines that come closer than `min_separation_m` where both are seen."""
    kept: list[LaneLine] = []
    for line in sorted(lines, key=lambda line: -line.painted_m):
        for other in kept:
            low, high = max(line.x_start_m, other.x_start_m), min(line.x_end_m, other.x_end_m)
            if line.apart_m(other, low, max(low, high)) < config.min_separation_m:
                break
        else:
            kept.append(line)
    return kept
