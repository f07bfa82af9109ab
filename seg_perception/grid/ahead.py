"""How far the way straight ahead of the vehicle is free."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from seg_perception.camera import Pose
from seg_perception.compiled import compiled
from seg_perception.grid.config import GridConfig

START_M = 2.0
"""The free distance is unknown when the first known ground ahead begins this much beyond the first visible ground."""


def free_ahead_m(
    odds: npt.NDArray[np.int16],
    origin_m: tuple[float, float],
    config: GridConfig,
    pose: Pose | None,
    limits: tuple[int, int],
    nearest_m: float,
) -> float:
    """Walk the corridor from where ground is first seen to the first distance that is not free over its whole width.

    Args:
        odds: int16 [rows, columns] counts of the window whose cell (0, 0) has its corner at `origin_m`.
        pose: the vehicle in the window's frame; None when that is the vehicle's own.
        limits: counts from which up a cell is free, and from which down it is occupied.
        nearest_m: where a camera first sees the ground ahead.

    Returns:
        NaN when nothing is known there.
    """
    step = config.resolution_m
    first_m = max(0.0, config.x_min_m) + step / 2
    lines, distances = max(1, round(config.corridor_width_m / step)), math.ceil((config.x_max_m - first_m) / step)
    yaw, (x, y) = (0.0, (0.0, 0.0)) if pose is None else (pose.yaw_rad, pose.translation_m[:2])
    c, s = math.cos(yaw), math.sin(yaw)
    right_m = (lines - 1) / 2 * step
    column = (x - origin_m[0] + c * first_m + s * right_m) / step
    row = (y - origin_m[1] + s * first_m - c * right_m) / step
    known, end = _walk_strip(odds, column, row, c, s, lines, distances, *limits)
    if known == distances or first_m + known * step > nearest_m + START_M:
        return math.nan
    return config.x_max_m if end == distances else first_m + (end - 0.5) * step


@compiled('UniTuple(int64, 2)(int16[:, ::1], float64, float64, float64, float64, int64, int64, int64, int64)')
def _walk_strip(
    odds: npt.NDArray[np.int16],
    column: float,
    row: float,
    cos: float,
    sin: float,
    lines: int,
    distances: int,
    free: int,
    occupied: int,
) -> tuple[int, int]:
    """Return the first distance at which something is known, and the first from there on that is not free; else `distances`.

    Args:
        column, row: of the strip's first place, whole at the corners of cells; what is outside the window is not known.
    """
    rows, columns = odds.shape
    known = distances
    for d in range(distances):
        worst = free
        for line in range(lines):
            j, i = math.floor(column + cos * d - sin * line), math.floor(row + sin * d + cos * line)
            inside = 0 <= i < rows and 0 <= j < columns
            worst = min(worst, odds[i, j] if inside else 0)
        if known == distances and (worst >= free or worst <= occupied):
            known = d
        if known < distances and worst < free:
            return known, d
    return known, distances
