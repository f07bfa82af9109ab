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


def brown_conrady(plane: Array, d: Sequence[float]) -> Array:
    """Return the distorted points of `plane`, float [N, 2] at distance 1, with the rational, thin-prism and tilt terms, by OpenCV."""
    points = np.column_stack([plane, np.ones(len(plane))])
    coefficients = np.asarray(d or (0.0,) * 4, np.float64)
    zero, out = np.zeros(3), np.empty_like(plane)
    for i in range(0, len(points), BLOCK):
        block = slice(i, i + BLOCK)
        out[block] = cv2.projectPoints(points[block], zero, zero, np.eye(3), coefficients)[0][:, 0]
    return out
