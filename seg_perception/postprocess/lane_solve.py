"""Weighted least squares of several lines at once, with what is known about the shape of roads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.postprocess.lane_points import MarkingPoints
from seg_perception.postprocess.lane_types import ORDER

Float64 = npt.NDArray[np.float64]

SCALE_M = 20.0
"""x is divided by this inside the fit, for conditioning."""
GATES_M = ((0.5, 0.015), (0.35, 0.01), (0.2, 0.006), (0.2, 0.006))
"""Distance from the line at x = 0, and per metre of x, within which points count; one pair per iteration."""
FREE_ROUNDS = 2
"""Iterations in which each line finds its own shape; after them the shape that all share is known."""
CORRELATION_M = 1.0
"""Errors of rows closer than this on the ground are taken as one error."""
_UNSCALE = SCALE_M ** -np.arange(ORDER + 1.0)


class Prior(NamedTuple):
    """Gaussian belief about the terms of a line, in metres at SCALE_M."""

    mean: Float64
    sigma: Float64


ROAD = Prior(np.zeros(ORDER + 1), np.array([100.0, 6.0, 4.0, 0.7]))
"""Any offset, 0.3 rad, a curvature of 1/50 m, and how fast roads change it."""
PARALLEL_SIGMA_M = np.array([100.0, 0.5, 0.4, 0.15])
"""How far the lines of one road are from parallel."""


class Fit(NamedTuple):
    """All lines after the last iteration."""

    coefficients: Float64
    """[L, 4] of y(x)."""
    owner: npt.NDArray[np.intp]
    """[N] line of each point, -1 for none."""
    spread: Float64
    """[L] mean square of the residuals in units of their expected variance, at least 1."""
    prior: Prior
    """Shape that the lines share."""


class Design(NamedTuple):
    """What the normal equations are summed from, x in units of SCALE_M; made once for all fits to the same points."""

    squares: Float64
    """[N, 16] outer products of the powers of x, flattened."""
    right: Float64
    """[N, 4] powers of x times y."""

    @classmethod
    def of(cls, points: MarkingPoints) -> Design:
        """Build from [N] points."""
        powers = np.vander(points.x_m / SCALE_M, ORDER + 1, increasing=True)
        squares = (powers[:, :, None] * powers[:, None, :]).reshape(len(powers), -1)
        return cls(squares, powers * points.y_m[:, None])

    def normal_equations(self, weights: Float64) -> tuple[Float64, Float64]:
        """Return the information [L, 4, 4] and the right-hand side [L, 4] for weights [L, N]."""
        return (weights @ self.squares).reshape(-1, ORDER + 1, ORDER + 1), weights @ self.right


def fit_all(points: MarkingPoints, design: Design, start: Float64) -> Fit:
    """Fit lines that start at `start` [L, 4]; each point counts for the nearest one."""
    coefficients, prior = start, ROAD
    basis = np.vander(points.x_m, ORDER + 1, increasing=True).T
    reach = np.abs(points.x_m)
    independent = np.minimum(1.0, points.length_m / CORRELATION_M)
    certain = weights_of(points)
    numbers = np.arange(len(start))[:, None]
    for i, (gate, gate_per_m) in enumerate(GATES_M):
        residual = points.y_m - coefficients @ basis
        distance = np.abs(residual)
        owner = distance.argmin(axis=0)
        owner[distance.min(axis=0) > gate + gate_per_m * reach] = -1
        mine = owner == numbers
        weights = mine * certain
        spread = np.maximum(1.0, (weights * residual**2).sum(axis=1) / np.maximum(mine @ independent, 1e-9))
        weights /= spread[:, None]
        if i >= FREE_ROUNDS:
            prior = _shared(design, weights)
        coefficients = solve(design, weights, prior)[0]
    return Fit(coefficients, owner, spread, prior)


def weights_of(points: MarkingPoints) -> Float64:
    """Return [N] inverse variances, rows that share an error counted once."""
    return np.minimum(1.0, points.length_m / CORRELATION_M) / points.sigma_m**2


def solve(design: Design, weights: Float64, prior: Prior) -> tuple[Float64, Float64]:
    """Return coefficients [L, 4] and covariances [L, 4, 4] for weights [L, N]."""
    information, right = design.normal_equations(weights)
    covariance = np.linalg.inv(information + np.diag(1 / prior.sigma**2))
    solution = (covariance @ (right + prior.mean / prior.sigma**2)[:, :, None])[:, :, 0]
    return solution * _UNSCALE, covariance * _UNSCALE[:, None] * _UNSCALE


def _shared(design: Design, weights: Float64) -> Prior:
    """Fit one direction and curvature to all lines, each with its own offset (eliminated), and allow for deviations."""
    information, right = design.normal_equations(weights)
    offset = np.maximum(information[:, 0, 0], 1e-9)
    cross = information[:, 1:, 0]
    shape = information[:, 1:, 1:] - cross[:, :, None] * cross[:, None, :] / offset[:, None, None]
    known = right[:, 1:] - cross * (right[:, 0] / offset)[:, None]
    shared = np.linalg.solve(shape.sum(axis=0) + np.diag(1 / ROAD.sigma[1:] ** 2), known.sum(axis=0))
    return Prior(np.concatenate([[0.0], shared]), PARALLEL_SIGMA_M)
