"""Points of markings -> lines: a common direction first, then one polynomial per line, all lines at once.

Lines of one road run nearly parallel. So the points are sheared by candidate directions and curvatures and counted
over the lateral position; where the counts pile up highest, dashes of one line and specks far away fall into the same
bin (a generalised Hough transform, Ballard 1981). Each pile is then fitted on its own, robustly, with a weak prior on
the shape, so that lines may diverge.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seg_perception.postprocess.lane_points import MarkingPoints
from seg_perception.postprocess.lane_solve import Design, Fit, fit_all, solve, weights_of
from seg_perception.postprocess.lane_types import ORDER, LaneConfig, LaneLine, polynomial

Float64 = npt.NDArray[np.float64]

SAMPLES = 160
BIN_M = 0.25
NEAR_M = 20.0
"""The first search looks no further: a coarse curvature is still right there."""
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
FIFTHS = np.linspace(0.0, 1.0, 5, dtype=np.float64)
"""Where two lines are compared, as shares of the range in which both are seen."""


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
    start = np.zeros((len(offsets), ORDER + 1))
    start[:, 0], start[:, 1], start[:, 2] = offsets, theta, kappa / 2
    design = Design.of(points)
    lines = _supported(_judged(points, design, fit_all(points, design, start), config), config)
    if sum(line.painted_m for line in lines) < MIN_EXPLAINED * (points.length_m.sum() + points.clutter_m):
        return []
    return sorted(_distinct(lines, config), key=lambda line: -line.coefficients[0])


def with_pitch_error(line: LaneLine, camera_height_m: float, pitch_sigma_rad: float) -> LaneLine:
    """Return the line with the camera's pitch in its covariance.

    Pitch moves a ground point at x by dx = x^2 / height and scales y by x / height per radian, so that term i of the
    polynomial grows term i + 1 by (1 - i) / height. All points share this error: fitting more of them does not help.
    """
    order = np.arange(ORDER)
    tilt = np.concatenate([[0.0], (1 - order) * line.coefficients[:-1]]) * (pitch_sigma_rad / camera_height_m)
    return line._replace(covariance=line.covariance + np.outer(tilt, tilt))


def _common_shape(points: MarkingPoints) -> tuple[float, float]:
    """Return the direction (rad) and curvature (1/m) in which the points pile up highest."""
    theta = np.linspace(-0.35, 0.35, 21)
    kappa = np.linspace(-0.03, 0.03, 13)
    best = (0.0, 0.0)
    reach = np.abs(points.x_m)
    near = reach <= max(NEAR_M, float(np.sort(reach)[len(reach) // 4]))
    for chosen in (near, np.ones_like(near)):
        x, y = _resample(points, chosen)
        shapes = np.stack(np.meshgrid(best[0] + theta, best[1] + kappa), -1).reshape(-1, 2)
        counts = _histograms(x, y, shapes)
        bent = 1 - 0.1 * np.square(shapes / (0.35, 0.03)).sum(axis=1)
        score = np.square(counts[:, 1:] + counts[:, :-1]).sum(axis=1) * bent
        a, b = shapes[int(score.argmax())]
        best = (float(a), float(b))
        theta, kappa = np.linspace(-0.04, 0.04, 9), np.linspace(-0.005, 0.005, 9)
    return best


def _resample(points: MarkingPoints, chosen: npt.NDArray[np.bool_]) -> tuple[Float64, Float64]:
    """Draw points evenly over the length of ground they stand for, so that near rows do not outvote far ones."""
    index = np.flatnonzero(chosen)
    cumulative = np.cumsum(np.minimum(points.length_m[index], 1.0))
    count = min(SAMPLES, 2 * len(index))
    picked = index[np.searchsorted(cumulative, (np.arange(count) + 0.5) / count * cumulative[-1])]
    return points.x_m[picked], points.y_m[picked]


def _histograms(x: Float64, y: Float64, shapes: Float64) -> npt.NDArray[np.intp]:
    """Count lateral positions of the sheared points: [len(shapes), bins]; the end bins hold nothing."""
    bins = 128
    # Positions in bins, as one product: y / bin + half the bins - slope x / bin - curvature x^2 / 2 / bin.
    shears = np.hstack([shapes, np.ones((len(shapes), 1))]) / BIN_M
    lateral = shears @ np.stack([-x, -x * x / 2, y + BIN_M * bins / 2])
    np.clip(lateral, 0, bins - 1, out=lateral)
    index = lateral.astype(np.intp)
    index += np.arange(len(shapes))[:, None] * bins
    counts = np.bincount(index.ravel(), minlength=len(shapes) * bins).reshape(-1, bins)
    counts[:, [0, -1]] = 0
    return counts


def _piles(points: MarkingPoints, theta: float, kappa: float, config: LaneConfig) -> Float64:
    """Return lateral positions at x = 0 under which enough paint lies, strongest first."""
    lateral = points.y_m - theta * points.x_m - kappa / 2 * points.x_m**2
    low = lateral.min() - 1.0
    index = ((lateral - low) / BIN_M).astype(np.intp)
    paint = np.bincount(index, weights=points.length_m, minlength=index.max() + 3)
    window = np.convolve(paint, np.ones(3), 'same')
    apart = max(1, round(config.min_separation_m / 2 / BIN_M))
    found: list[float] = []
    while len(found) < MAX_LINES and window.max() >= config.min_painted_m / 2:
        peak = int(window.argmax())
        near = np.abs(index - peak) <= 1
        found.append(float(np.average(lateral[near], weights=points.length_m[near])))
        window[max(0, peak - apart) : peak + apart + 1] = 0
    return np.array(found)


def _judged(points: MarkingPoints, design: Design, fit: Fit, config: LaneConfig) -> list[LaneLine]:
    """Cut lines where their paint ends, fit them for the last time, and drop what does not look like a painted line.

    Args:
        points: sorted by x.
    """
    chains = [_chain(points, np.flatnonzero(fit.owner == i), config) for i in range(len(fit.coefficients))]
    start, end = (np.array([points.x_m[own[k]] if len(own) else 0.0 for own in chains]) for k in (0, -1))
    painted = np.minimum([points.length_m[own].sum() for own in chains], end - start)
    kept = [
        i
        for i, pure in enumerate(_purity(points, fit.coefficients, start, end) >= MIN_PURITY)
        if pure and len(chains[i])
    ]
    if not kept:
        return []
    weights = np.zeros((len(kept), len(points.x_m)))
    certain = weights_of(points)
    for row, i in zip(weights, kept, strict=True):
        row[chains[i]] = certain[chains[i]] / fit.spread[i]
    lines = [
        LaneLine(0, coefficients, covariance, float(start[i]), float(end[i]), float(painted[i]))
        for i, coefficients, covariance in zip(kept, *solve(design, weights, fit.prior), strict=True)
    ]
    return [line for line in lines if line.sigma_m([line.x_start_m, line.x_end_m]).max() <= MAX_SIGMA_M]


def _chain(points: MarkingPoints, own: npt.NDArray[np.intp], config: LaneConfig) -> npt.NDArray[np.intp]:
    """Return the points of one line that hang together; none when they are too few or too little paint."""
    own = own[_longest_chain(points.x_m[own], points.length_m[own], config.max_gap_m)]
    if len(own) < MIN_ROWS:
        return own[:0]
    span = float(points.x_m[own[-1]] - points.x_m[own[0]])
    painted = min(float(points.length_m[own].sum()), span)
    enough = painted >= max(MIN_PAINTED_SHARE * span, min(SHORT_PAINT_M, config.min_painted_m))
    return own if enough else own[:0]


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


def _longest_chain(x: Float64, length: Float64, max_gap_m: float) -> slice:
    """Return the part of sorted points that has no gap beyond `max_gap_m`, the one with most rows: near beats far."""
    if len(x) == 0:
        return slice(0, 0)
    gaps = np.diff(x) - (length[1:] + length[:-1]) / 2
    bounds = np.concatenate([[0], np.flatnonzero(gaps > max_gap_m) + 1, [len(x)]])
    best = int(np.diff(bounds).argmax())
    return slice(int(bounds[best]), int(bounds[best + 1]))


def _purity(points: MarkingPoints, coefficients: Float64, start: Float64, end: Float64) -> Float64:
    """Return the share of paint within a metre of each line [L] that is on it.

    It is low in noise, zebras, letters and hatching.
    """
    x = points.x_m
    along = (x >= start[:, None]) & (x <= end[:, None])
    distance = np.abs(points.y_m - polynomial(coefficients.T[:, :, None], x))
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
            x = low + max(0.0, high - low) * FIFTHS
            if np.abs(line.y_m(x) - other.y_m(x)).mean() < config.min_separation_m:
                break
        else:
            kept.append(line)
    return kept
