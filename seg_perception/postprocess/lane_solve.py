"""Weighted least squares of several lines at once, with what is known about the shape of roads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.postprocess.lane_points import MarkingPoints
from seg_perception.postprocess.lane_types import ORDER

Float64 = npt.NDArray[np.float64]

SCALE_M = 20.0
"""x is divided by this inside the fit, for conditioning; `UNSCALE` turns coefficients into those of y(x)."""
UNSCALE = SCALE_M ** -np.arange(ORDER + 1.0)
GATES_M = ((0.5, 0.015), (0.3, 0.008), (0.2, 0.006))
"""Distance from the line at x = 0, and per metre of x, within which points count; one pair per iteration."""
FREE_ROUNDS = 1
"""Iterations in which each line finds its own shape; after them the shape that all share is known."""
CORRELATION_M = 1.0
"""Errors of rows closer than this on the ground are taken as one error."""
_SUMS = np.add.outer(np.arange(ORDER + 1), np.arange(ORDER + 1))
"""Place of x^i x^j among the powers of x."""


class Prior(NamedTuple):
    """Gaussian belief about the terms of a line, in metres at SCALE_M."""

    information: Float64
    """[4, 4], diagonal."""
    right: Float64
    """[4] information times mean."""

    @classmethod
    def of(cls, mean: Float64, sigma: Float64) -> Prior:
        """Build from mean [4] and standard deviation [4]."""
        return cls(np.diag(sigma**-2.0), mean * sigma**-2.0)


ROAD = Prior.of(np.zeros(ORDER + 1), np.array([100.0, 6.0, 4.0, 0.7]))
"""Any offset, 0.3 rad, a curvature of 1/50 m, and how fast roads change it."""
PARALLEL = Prior.of(np.zeros(ORDER + 1), np.array([100.0, 0.5, 0.4, 0.15]))
"""How far the lines of one road are from parallel."""


class Fit(NamedTuple):
    """All lines after the last iteration."""

    coefficients: Float64
    """[L, 4] in units of SCALE_M."""
    mine: npt.NDArray[np.bool_]
    """[L, N] the points of each line."""
    spread: Float64
    """[L] mean square of the residuals in units of their expected variance, at least 1."""
    prior: Prior
    """Shape that the lines share."""


class Design(NamedTuple):
    """What fits to the same points are made from, x in units of SCALE_M."""

    terms: Float64
    """[11, N] the powers 0 to 6 of x, and y times the powers 0 to 3."""
    independent: Float64
    """[N] share of an error of its own that each point has."""
    certain: Float64
    """[N] weight: the inverse variance, rows that share an error counted once."""

    @classmethod
    def of(cls, points: MarkingPoints) -> Design:
        """Build from [N] points."""
        x, y = points.x_m / SCALE_M, points.y_m
        square = x * x
        cube = square * x
        terms = (np.ones_like(x), x, square, cube, square * square, square * cube, cube * cube)
        independent = np.minimum(1.0, points.length_m / CORRELATION_M)
        return cls(
            np.array([*terms, y, y * x, y * square, y * cube]), independent, independent / np.square(points.sigma_m)
        )

    def residual(self, coefficients: Float64) -> Float64:
        """Return [L, N] how far left of each line the points are, for coefficients [L, 4] in units of SCALE_M."""
        return np.asarray(self.terms[2 * ORDER + 1] - coefficients @ self.terms[: ORDER + 1])

    def normal_equations(self, weights: Float64) -> tuple[Float64, Float64]:
        """Return the information [L, 4, 4] and the right-hand side [L, 4] for weights [L, N]."""
        sums = weights @ self.terms.T
        return sums[:, _SUMS], sums[:, 2 * ORDER + 1 :]


def fit_all(design: Design, reach: Float64, start: Float64) -> Fit:
    """Fit lines that start at `start` [L, 4]; each point counts for the nearest one.

    Args:
        reach: [N] absolute x in metres.
    """
    coefficients, prior = start, ROAD
    for i, (gate, gate_per_m) in enumerate(GATES_M):
        residual = design.residual(coefficients)
        distance = np.abs(residual)
        nearest = distance.min(axis=0)
        nearest[nearest > gate + gate_per_m * reach] = -1
        mine = distance == nearest
        weights = mine * design.certain
        freedom = np.maximum(mine @ design.independent, 1e-9)
        spread = np.maximum(1.0, (weights * residual * residual).sum(axis=1) / freedom)
        weights /= spread[:, None]
        if i >= FREE_ROUNDS:
            prior = _shared(design, weights)
        coefficients = solve(design, weights, prior)[0]
    return Fit(coefficients, mine, spread, prior)


def solve(design: Design, weights: Float64, prior: Prior) -> tuple[Float64, Float64]:
    """Return coefficients [L, 4] and covariances [L, 4, 4], in units of SCALE_M, for weights [L, N]."""
    information, right = design.normal_equations(weights)
    covariance = np.asarray(np.linalg.inv(information + prior.information), np.float64)
    return (covariance @ (right + prior.right)[:, :, None])[:, :, 0], covariance


def _shared(design: Design, weights: Float64) -> Prior:
    """Fit one direction and curvature to all lines, each with its own offset (eliminated), and allow for deviations."""
    information, right = design.normal_equations(weights)
    offset = np.maximum(information[:, 0, 0], 1e-9)
    cross = information[:, 1:, 0]
    scaled = cross / offset[:, None]
    shape = information[:, 1:, 1:].sum(axis=0) - scaled.T @ cross
    known = right[:, 1:].sum(axis=0) - right[:, 0] @ scaled
    mean = np.linalg.solve(shape + ROAD.information[1:, 1:], known)
    return PARALLEL._replace(right=np.concatenate([[0.0], PARALLEL.information.diagonal()[1:] * mean]))
