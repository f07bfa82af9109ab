"""Lens distortion of points in front of a camera, as sensor_msgs/CameraInfo names the models."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

BLOCK = 1024
"""Points at a time: OpenCV always makes the Jacobian for Python, and in blocks it stays in the cache (2.3 times as fast)."""


def equidistant(theta: Array, d: Sequence[float]) -> Array:
    """Return the distorted angles of `theta`, rad from the optical axis, for the four coefficients (Kannala and Brandt 2006)."""
    t2 = theta * theta
    return np.asarray(theta * (1 + t2 * (d[0] + t2 * (d[1] + t2 * (d[2] + t2 * d[3])))))


def equidistant_inverse(distorted: Array, d: Sequence[float], limit_rad: float) -> Array:
    """Return the plane points [N, 2] (X / Z, Y / Z) behind distorted ones, by bisection up to `limit_rad`; NaN beyond it.

    Args:
        limit_rad: angle from the optical axis up to which the distortion grows.
    """
    theta_d = np.hypot(distorted[:, 0], distorted[:, 1])
    low, high = np.zeros_like(theta_d), np.full_like(theta_d, limit_rad)
    for _ in range(48):
        middle = (low + high) / 2
        below = equidistant(middle, d) < theta_d
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    scale = np.where(theta_d > 1e-9, np.tan(low) / np.where(theta_d > 1e-9, theta_d, 1.0), 1.0)
    plane = np.asarray(distorted * scale[:, None], np.float64)
    plane[theta_d > equidistant(np.array([limit_rad]), d)] = np.nan
    return plane


def brown_conrady(plane: Array, d: Sequence[float]) -> Array:
    """Return the distorted points of `plane`, float [N, 2] at distance 1, with the rational, thin-prism and tilt terms, by OpenCV."""
    points = np.column_stack([plane, np.ones(len(plane))])
    coefficients = np.asarray(d or (0.0,) * 4, np.float64)
    zero, out = np.zeros(3), np.empty_like(plane)
    for i in range(0, len(points), BLOCK):
        block = slice(i, i + BLOCK)
        out[block] = cv2.projectPoints(points[block], zero, zero, np.eye(3), coefficients)[0][:, 0]
    return out
