"""Weighted least squares of several lines at once, with what is known about the shape of roads.

Points are [N, 4] as in `MarkingPoints`. Inside the fit x is in units of `SCALE_M`, for conditioning. What is known about
a line before its points is a mean [4] and a standard deviation [4] of its terms, in metres at `SCALE_M`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seg_perception.compiled import inlined
from seg_perception.postprocess.lane_types import ORDER, lateral_m

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

SCALE_M = 20.0
GATES_M = ((0.5, 0.015), (0.3, 0.008), (0.2, 0.006))
"""Distance from the line at x = 0, and per metre of x, within which points count; one pair per iteration."""
FREE_ROUNDS = 1
"""Iterations in which each line finds its own shape; after them the shape that all share is known."""
CORRELATION_M = 1.0
"""Errors of rows closer than this on the ground are taken as one error."""
ROAD = (100.0, 6.0, 4.0, 0.7)
"""From straight ahead: any offset, 0.3 rad, a curvature of 1/50 m, and how fast roads change it."""
PARALLEL = (100.0, 0.5, 0.4, 0.15)
"""How far the lines of one road are from parallel."""
POWERS = 2 * ORDER + 1
SUMS = POWERS + ORDER + 1
"""Of weight times x^0 to x^6, and of weight times y times x^0 to x^3."""


@inlined
def fit_all(points: Float64, lines: Float64) -> tuple[Index, Float64, Float64]:
    """Fit lines [L, 4] that start at `lines`, which is overwritten; each point counts for the nearest one.

    Returns:
        the line of each point [N], -1 for none; the mean square of each line's residuals in units of their expected
        variance [L], at least 1; the shape [4] that all lines share, about which each one is known by `PARALLEL`.
    """
    owner, spread = np.empty(len(points), np.int64), np.empty(len(lines))
    shape: Float64 = np.zeros(ORDER + 1)
    sigma = ROAD
    for i in range(len(GATES_M)):
        gate_m, gate_per_m = GATES_M[i]
        sums, error, freedom = np.zeros((len(lines), SUMS)), np.zeros(len(lines)), np.zeros(len(lines))
        for j in range(len(points)):
            owner[j], residual = -1, gate_m + gate_per_m * abs(points[j, 0])
            for k in range(len(lines)):
                off = abs(points[j, 1] - lateral_m(lines[k], points[j, 0] / SCALE_M))
                if off < residual:
                    owner[j], residual = k, off
            if owner[j] >= 0:
                weight, independent = add(points[j], sums[owner[j]])
                error[owner[j]] += weight * residual * residual
                freedom[owner[j]] += independent
        for k in range(len(lines)):
            spread[k] = max(1.0, error[k] / max(freedom[k], 1e-9))
            for n in range(SUMS):
                sums[k, n] /= spread[k]
        if i >= FREE_ROUNDS:
            shape, sigma = shared(sums), PARALLEL
        for k in range(len(lines)):
            solve(sums[k], shape, sigma, lines[k])
    return owner, spread, shape


@inlined
def add(point: Float64, sums: Float64) -> tuple[float, float]:
    """Add a point to the sums of its line; return its weight (1/m2) and the share of an error of its own that it has."""
    x, y, sigma, length = point[0] / SCALE_M, point[1], point[2], point[3]
    independent = min(1.0, length / CORRELATION_M)
    weight = independent / sigma**2
    power = weight
    for i in range(POWERS):
        sums[i] += power
        if i <= ORDER:
            sums[POWERS + i] += power * y
        power *= x
    return weight, independent


@inlined
def solve(sums: Float64, mean: Float64, sigma: tuple[float, float, float, float], line: Float64) -> Float64:
    """Write the terms of a line [4] and return their covariance [4, 4]."""
    covariance, right = np.empty((ORDER + 1, ORDER + 1)), np.empty(ORDER + 1)
    for i in range(ORDER + 1):
        right[i] = sums[POWERS + i] + mean[i] / sigma[i] ** 2
        for j in range(ORDER + 1):
            covariance[i, j] = sums[i + j]
        covariance[i, i] += 1 / sigma[i] ** 2
    invert(covariance)
    multiply(covariance, right, line)
    return covariance


@inlined
def shared(sums: Float64) -> Float64:
    """Fit one direction and curvature to all lines [L, SUMS], each with its own offset, which is eliminated."""
    matrix, right, shape = np.zeros((ORDER, ORDER)), np.zeros(ORDER), np.zeros(ORDER + 1)
    for i in range(ORDER):
        matrix[i, i] = 1 / ROAD[i + 1] ** 2
        for k in range(len(sums)):
            offset = sums[k, i + 1] / max(sums[k, 0], 1e-9)
            right[i] += sums[k, POWERS + i + 1] - offset * sums[k, POWERS]
            for j in range(ORDER):
                matrix[i, j] += sums[k, i + j + 2] - offset * sums[k, j + 1]
    invert(matrix)
    multiply(matrix, right, shape[1:])
    return shape


@inlined
def invert(matrix: Float64) -> None:
    """Replace a positive definite matrix by its inverse (Gauss and Jordan, who need no pivoting here)."""
    for k in range(len(matrix)):
        pivot, matrix[k, k] = matrix[k, k], 1.0
        for j in range(len(matrix)):
            matrix[k, j] /= pivot
        for i in range(len(matrix)):
            if i != k:
                factor, matrix[i, k] = matrix[i, k], 0.0
                for j in range(len(matrix)):
                    matrix[i, j] -= factor * matrix[k, j]


@inlined
def multiply(matrix: Float64, vector: Float64, result: Float64) -> None:
    """Write the product of a matrix and a vector."""
    for i in range(len(matrix)):
        result[i] = 0.0
        for j in range(len(vector)):
            result[i] += matrix[i, j] * vector[j]
