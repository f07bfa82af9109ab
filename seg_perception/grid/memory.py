"""What is known about the ground around the vehicle, kept in the axes of odom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from seg_perception.camera import Pose
from seg_perception.compiled import compiled
from seg_perception.grid.cells import CellFromVehicle, Odds, add_evidence, forget, look_up, mark
from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import UNIT, Evidence
from seg_perception.grid.lattice import Float, cell_tables, centre, places
from seg_perception.grid.walk import Visible

MEMORY = 2.0
"""Largest log-odds that a cell remembers: a few images turn it over."""

OCCUPIED_MEMORY = 1.2
"""The same of being occupied, one image's worth: what moved away is not occupied once its place was seen free."""

MEMORY_UNIT = MEMORY / np.iinfo(np.int16).max
"""Log-odds of one count: the 16 bits end where the memory does, so that saturation is the limit."""

MOST_OCCUPIED = round(-OCCUPIED_MEMORY / MEMORY_UNIT)

GAIN = 0.4
"""Share of an image's log-odds that enters the memory: consecutive images are not independent."""


LEAST_FADE = 1 / 64
"""Evidence fades by this share at once, or waits: a smaller change of a count would be rounded away, again and again."""


class Look(NamedTuple):
    """What one camera saw, where the vehicle was, and how long ago that was."""

    visible: Visible
    odom_from_vehicle: Pose
    age_s: float


class OdomMemory:
    """Log-odds of being drivable in a square window that moves with the vehicle by whole cells and forgets.

    It is as wide as the longer side of the configured window, so that it reaches as far ahead at every heading.
    """

    def __init__(self, config: GridConfig) -> None:
        self._config = config
        side = max(config.columns, config.rows)
        self.odds: Odds = np.zeros((side, side), np.int16)
        self._spare = np.zeros_like(self.odds)
        self._faded_s = 0.0  # time that has passed since evidence faded
        self._corner: tuple[int, int] | None = None  # in whole cells of the odom frame

    @property
    def origin_m(self) -> tuple[float, float]:
        """The corner of cell (0, 0) in odom."""
        assert self._corner is not None
        return self._corner[0] * self._config.resolution_m, self._corner[1] * self._config.resolution_m

    def advance(self, pose: Pose, seconds: float) -> None:
        """Let evidence fade and put the window around the vehicle at `pose`; no cell is ever resampled."""
        c, yaw = self._config, pose.yaw_rad
        ahead, left = (c.x_min_m + c.x_max_m) / 2, (c.y_min_m + c.y_max_m) / 2
        x = pose.translation_m[0] + math.cos(yaw) * ahead - math.sin(yaw) * left
        y = pose.translation_m[1] + math.sin(yaw) * ahead + math.cos(yaw) * left
        side = len(self.odds)
        corner = (round(x / c.resolution_m - side / 2), round(y / c.resolution_m - side / 2))
        moved = (0, 0) if self._corner is None else (corner[0] - self._corner[0], corner[1] - self._corner[1])
        self._faded_s += seconds
        share = self._share(self._faded_s)
        if share > 1 - LEAST_FADE:
            share = 1.0
        else:
            self._faded_s = 0.0
        if share < 1 or moved != (0, 0):
            self._shift(moved, share)
        self._corner = corner

    def _share(self, age_s: float) -> float:
        """Share of evidence that is left after a time."""
        return float(0.5 ** (age_s / self._config.half_life_s))

    def _shift(self, by: tuple[int, int], share: float) -> None:
        dx, dy = by
        side = len(self.odds)
        moved = self._spare
        moved[: max(0, -dy)] = moved[max(0, side - max(0, dy)) :] = 0
        moved[:, : max(0, -dx)] = moved[:, max(0, side - max(0, dx)) :] = 0
        if abs(dx) < side and abs(dy) < side:
            kept = self.odds[max(0, dy) : side - max(0, -dy), max(0, dx) : side - max(0, -dx)]
            to = moved[max(0, -dy) : side - max(0, dy), max(0, -dx) : side - max(0, dx)]
            cv2.addWeighted(kept, share, kept, 0.0, 0.0, to)
        self.odds, self._spare = moved, self.odds

    def add(self, looks: Sequence[Look]) -> None:
        """Add what the cameras saw; what was free where one of them sees an obstacle is forgotten before."""
        seen = []
        for look in looks:
            found = self._cells(look.visible, look.odom_from_vehicle)
            if found is not None:
                forget(self.odds, *found)
                seen.append((found, round(GAIN * self._share(look.age_s) * UNIT / MEMORY_UNIT)))
        for found, gain in seen:
            add_evidence(self.odds, *found, gain, MOST_OCCUPIED)

    def _cells(self, visible: Visible, pose: Pose) -> tuple[int, int, Evidence] | None:
        """Return the top row and left column of what a camera can see of the window, and its evidence there, if any."""
        view, step = visible.view, self._config.resolution_m
        yaw, (x, y, _), origin = pose.yaw_rad, pose.translation_m, self.origin_m
        c, s = math.cos(yaw) / step, math.sin(yaw) / step
        to_cell = (c, -s, (x - origin[0]) / step, s, c, (y - origin[1]) / step)
        left, top, right, bottom = _bounds(view.outline_m, to_cell, len(self.odds))
        if left >= right or top >= bottom:
            return None
        foot_x, foot_y = view.foot_m
        foot = (c * foot_x - s * foot_y + to_cell[2], s * foot_x + c * foot_y + to_cell[5])
        # The nearest of the places in the tables to the centre of the first cell, counted from the foot point.
        middle, every = centre(view.lattice), places(view.lattice)
        column, column_phase = divmod(round(every * (left + 0.5 - foot[0])) + middle, every)
        row, row_phase = divmod(round(every * (top + 0.5 - foot[1])) + middle, every)
        table = cell_tables(view.lattice)[row_phase][column_phase]
        first_bearing = (view.first_bearing + round(yaw / view.lattice.step_rad)) % view.lattice.bearings
        part = (row, column, bottom - top, right - left)
        cells = look_up(visible.evidence, table, part, (view.first_range, first_bearing, view.lattice.bearings))
        mark(cells, visible, (c, -s, to_cell[2] - left, s, c, to_cell[5] - top))
        return top, left, cells


@compiled('UniTuple(int64, 4)(float64[:, ::1], UniTuple(float64, 6), int64)')
def _bounds(outline_m: Float, cell_from_vehicle: CellFromVehicle, side: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the cells around places, within a square window."""
    xx, xy, x0, yx, yy, y0 = cell_from_vehicle
    left = top = math.inf
    right = bottom = -math.inf
    for x, y in outline_m:
        column, row = xx * x + xy * y + x0, yx * x + yy * y + y0
        left, right = min(left, column), max(right, column)
        top, bottom = min(top, row), max(bottom, row)
    return (
        max(math.floor(left) - 2, 0),
        max(math.floor(top) - 2, 0),
        min(math.floor(right) + 3, side),
        min(math.floor(bottom) + 3, side),
    )
