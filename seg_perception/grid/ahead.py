"""How far the way straight ahead of the vehicle is free."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import Pose
from seg_perception.grid.config import GridConfig
from seg_perception.grid.types import Observation
from seg_perception.grid.visibility import PolarView

START_M = 2.0
"""The free distance is unknown when the first known ground ahead begins this much beyond the first visible ground."""

AHEAD_RAD = 0.05


def nearest_ahead_m(view: PolarView, o: Observation) -> float:
    """Return where, along the vehicle's x axis, a camera first sees the ground ahead; infinite when it sees none."""
    bearing = int(np.abs(view.bearings_rad).argmin())
    nearest = int(view.nearest[bearing])
    if abs(view.bearings_rad[bearing]) > AHEAD_RAD or nearest == len(view.ranges_m):
        return math.inf
    return float(o.vehicle_from_camera.translation_m[0] + view.ranges_m[nearest])


def corridor(
    odds: npt.NDArray[np.int16], origin_m: tuple[float, float], config: GridConfig, pose: Pose | None
) -> npt.NDArray[np.int16]:
    """Return the counts of the strip ahead, int16 [lines, distances]; 0 outside the window.

    Args:
        odds: int16 [rows, columns] of the window whose cell (0, 0) has its corner at `origin_m`.
        pose: the vehicle in the window's frame; None when that is the vehicle's own.
    """
    step = config.resolution_m
    lines = max(1, round(config.corridor_width_m / step))
    yaw, (x, y) = (0.0, (0.0, 0.0)) if pose is None else (pose.yaw_rad, pose.translation_m[:2])
    c, s = math.cos(yaw), math.sin(yaw)
    ahead, right = _first_m(config), (lines - 1) / 2 * step
    column = (x - origin_m[0] + c * ahead + s * right) / step - 0.5
    row = (y - origin_m[1] + s * ahead - c * right) / step - 0.5
    matrix = np.array([[c, -s, column], [s, c, row]])
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    size = (len(_distances_m(config)), lines)
    if not size[0]:  # the window lies behind the vehicle; OpenCV takes an empty size for that of the source
        return np.zeros((lines, 0), np.int16)
    return np.asarray(cv2.warpAffine(odds, matrix, size, None, flags, cv2.BORDER_CONSTANT, 0), np.int16)


def free_ahead_m(strip: npt.NDArray[np.int16], config: GridConfig, free: int, occupied: int, nearest_m: float) -> float:
    """Walk the `corridor` from where ground is first seen to the first distance that is not free over its whole width.

    Args:
        free, occupied: counts from which up, or down, a cell is free or occupied.

    Returns:
        NaN when nothing is known there.
    """
    x = _distances_m(config)
    if not len(x):
        return math.nan
    worst = strip.min(axis=0)
    clear = np.asarray(worst >= free)
    known = clear | (worst <= occupied)
    first = int(known.argmax())
    if not known.any() or x[first] > nearest_m + START_M:
        return math.nan
    blocked = np.flatnonzero(~clear[first:])
    return float(x[first + blocked[0]] - config.resolution_m / 2) if len(blocked) else float(config.x_max_m)


def _first_m(config: GridConfig) -> float:
    return max(0.0, config.x_min_m) + config.resolution_m / 2


def _distances_m(config: GridConfig) -> npt.NDArray[np.float64]:
    return np.arange(_first_m(config), config.x_max_m, config.resolution_m, dtype=np.float64)
