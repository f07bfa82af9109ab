"""Lane lines: every parameter and its default, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.compiled import inlined
from seg_perception.errors import ConfigError

Float64 = npt.NDArray[np.float64]

ORDER = 3
"""Order of the polynomials: a cubic is a clothoid over the visible range (Dickmanns and Mysliwetz 1992)."""


@inlined
def lateral_m(coefficients: Float64, x_m: float) -> float:
    """Return the polynomial at one place."""
    value = 0.0
    for i in range(ORDER, -1, -1):
        value = value * x_m + coefficients[i]
    return value


@inlined
def variance_m2(covariance: Float64, x_m: float) -> float:
    """Return the variance of `lateral_m` for the covariance of its coefficients."""
    variance, power = 0.0, 1.0
    for i in range(ORDER + 1):
        variance += power * lateral_m(covariance[i], x_m)
        power *= x_m
    return variance


@inlined
def mean_apart_m(one: Float64, other: Float64, low_m: float, high_m: float) -> float:
    """Return the mean distance of two polynomials at five places from `low_m` to `high_m`."""
    total = 0.0
    for i in range(5):
        x = low_m + i / 4 * (high_m - low_m)
        total += abs(lateral_m(one, x) - lateral_m(other, x))
    return total / 5


@dataclass(frozen=True, slots=True)
class LaneConfig:
    """What counts as a lane line. Distances are on the ground, in the vehicle frame."""

    max_range_m: float = 40.0  # markings beyond this are not used
    half_width_m: float = 12.0  # markings further to the side are not used
    max_marking_m: float = 0.4  # wider paint is a stop line, a zebra or a letter
    min_confidence: float = 0.4  # a pixel below this is no marking
    min_painted_m: float = 2.5  # least length of paint along a line
    min_span_m: float = 5.0  # a shorter line counts only beside a longer one, at a lane's distance
    max_gap_m: float = 12.5  # longest gap between dashes of one line
    min_separation_m: float = 1.5  # two lines are at least this far apart
    min_lane_m: float = 2.3  # narrower is no ego lane
    max_lane_m: float = 5.5  # wider is no ego lane
    pitch_sigma_rad: float = 0.002  # uncertainty of the camera's pitch, part of the covariance
    coast_m: float = 3.0  # with odometry: a line that is no longer seen is kept for this way

    def __post_init__(self) -> None:
        for name, low, high in (
            ('max_range_m', 5.0, 150.0),
            ('half_width_m', 2.0, 50.0),
            ('max_marking_m', 0.05, 2.0),
            ('min_confidence', 0.0, 1.0),
            ('min_painted_m', 0.5, 50.0),
            ('min_span_m', 1.0, 50.0),
            ('max_gap_m', 0.5, 50.0),
            ('min_separation_m', 0.5, 5.0),
            ('min_lane_m', 1.0, 10.0),
            ('max_lane_m', 1.0, 20.0),
            ('pitch_sigma_rad', 0.0, 0.1),
            ('coast_m', 0.0, 100.0),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise ConfigError(f'lanes.{name} is {value}; expected {low} to {high}')
        if self.min_lane_m >= self.max_lane_m:
            raise ConfigError(
                f'lanes.min_lane_m is {self.min_lane_m} and max_lane_m {self.max_lane_m}; expected min < max'
            )


class LaneLine(NamedTuple):
    """One painted line on the ground, y(x) = sum of coefficients[i] * x**i, in the vehicle frame."""

    id: int
    """Stable over time for one line; 0 until a tracker has seen it."""
    coefficients: Float64
    """[4] metres, 1, 1/m, 1/m2."""
    covariance: Float64
    """[4, 4] of the coefficients, camera pitch included."""
    x_start_m: float
    """Nearest paint."""
    x_end_m: float
    """Farthest paint that is part of the line."""
    painted_m: float
    """Length of paint seen; much less than x_end_m - x_start_m for a dashed line."""
    seen: bool = True
    """False when the line is carried on by odometry alone."""

    @property
    def span_m(self) -> float:
        """Length from the nearest to the farthest paint."""
        return self.x_end_m - self.x_start_m

    def y_m(self, x_m: npt.ArrayLike) -> Float64:
        """Return lateral positions at `x_m`."""
        c0, c1, c2, c3 = self.coefficients
        x = np.asarray(x_m, np.float64)
        return np.asarray(c0 + x * (c1 + x * (c2 + x * c3)))

    def at_m(self, x_m: float) -> float:
        """Return the lateral position at one `x_m`, far quicker than `y_m`."""
        c0, c1, c2, c3 = self.coefficients.tolist()
        return float(c0 + x_m * (c1 + x_m * (c2 + x_m * c3)))

    def yaw_rad(self, x_m: Float64) -> Float64:
        """Return the direction of the line at `x_m`, positive to the left."""
        _, c1, c2, c3 = self.coefficients
        return np.asarray(np.arctan(c1 + x_m * (2 * c2 + x_m * 3 * c3)))

    def sigma_m(self, x_m: npt.ArrayLike) -> Float64:
        """Return the standard deviation of `y_m` at `x_m`."""
        x = np.asarray(x_m, np.float64)
        basis = np.array([np.ones_like(x), x, x * x, x * x * x])
        return np.asarray(np.sqrt((basis * np.tensordot(self.covariance, basis, 1)).sum(axis=0)))

    def sigma_at_m(self, x_m: float) -> float:
        """Return the standard deviation of `at_m` at one `x_m`, far quicker than `sigma_m`."""
        powers = [x_m**i for i in range(ORDER + 1)]
        rows = zip(powers, self.covariance.tolist(), strict=True)
        return math.sqrt(sum(a * b * v for a, row in rows for b, v in zip(powers, row, strict=True)))

    def points_m(self, step_m: float = 4.0) -> Float64:
        """Return float64 [N, 2] points along the visible range, both ends included, at most `step_m` apart in x.

        At 4 m and a curvature of 1/50 m the chords stay within 4 cm of the line.
        """
        steps = max(1, math.ceil(self.span_m / step_m))
        places = [self.x_start_m + i * (self.span_m / steps) for i in range(steps + 1)]
        return np.array([(x, self.at_m(x)) for x in places])


def stacked(lines: Sequence[LaneLine]) -> tuple[Float64, Float64, Float64]:
    """Return coefficients [L, 4], covariances [L, 4, 4] and where paint starts and ends [L, 2] of lines."""
    coefficients = np.array([s.coefficients for s in lines]).reshape(-1, ORDER + 1)
    covariances = np.array([s.covariance for s in lines]).reshape(-1, ORDER + 1, ORDER + 1)
    return coefficients, covariances, np.array([(s.x_start_m, s.x_end_m) for s in lines]).reshape(-1, 2)


class Lanes(NamedTuple):
    """All lines of one moment, and the lane the vehicle is in. What is not known is None, never a guess."""

    stamp_ns: int
    lines: tuple[LaneLine, ...]
    """Sorted from left to right."""
    ego_left: LaneLine | None
    ego_right: LaneLine | None
    offset_m: float | None
    """Vehicle's origin from the middle of the lane, positive to the left; None unless both sides are known."""
    heading_rad: float | None
    """Vehicle's heading in the lane, positive to the left."""
    curvature_1pm: float | None
    """Of the lane at the vehicle, positive to the left."""
    width_m: float | None
    """Across the lane at the nearest point where both sides are seen; None unless both are known."""
