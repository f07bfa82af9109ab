"""What is known about the ground around the vehicle, kept in the axes of odom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import Pose
from seg_perception.grid.cells import Odds, add_evidence, drop_free, look_up, mark, take_back
from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import UNIT, Evidence
from seg_perception.grid.lattice import cell_tables, centre, places, ranges_m
from seg_perception.grid.walk import Visible

MEMORY = 2.0
"""Largest log-odds that a cell remembers: a few images turn it over."""

OCCUPIED_MEMORY = 1.2
"""The same of being occupied, one image's worth: what moved away is not occupied once its place was seen free."""

MEMORY_UNIT = MEMORY / np.iinfo(np.int16).max
"""Log-odds of one count: the 16 bits end where the memory does, so that saturation is the limit."""

MOST_OCCUPIED = -OCCUPIED_MEMORY / MEMORY_UNIT

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
        self._circle: Evidence = np.zeros((0, 0), np.int8)  # polar evidence by bearing in odom; zero but for `_filled`
        self._filled: tuple[tuple[slice, slice], ...] = ()

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
                part, cells = found
                gain = round(GAIN * self._share(look.age_s) * UNIT / MEMORY_UNIT)
                take_back(part, cells)
                counts = cells.astype(np.int16)
                drop_free(part, counts)
                seen.append((part, counts, gain))
        for part, counts, gain in seen:
            add_evidence(part, counts, gain)
            cv2.max(part, MOST_OCCUPIED, part)

    def _cells(self, visible: Visible, pose: Pose) -> tuple[Odds, Evidence] | None:
        """Return the part of the window that a camera can see, and its evidence there; None when there is none."""
        view, step = visible.view, self._config.resolution_m
        yaw, (x, y, _) = pose.yaw_rad, pose.translation_m
        c, s = math.cos(yaw), math.sin(yaw)
        origin = self.origin_m
        to_cell = np.array([[c, -s, x - origin[0]], [s, c, y - origin[1]]]) / step
        left, top, right, bottom = self._bounds(view.outline_m @ to_cell[:, :2].T + to_cell[:, 2])
        if left >= right or top >= bottom:
            return None
        # The nearest of the places in the tables to the centre of the first cell, counted from the foot point.
        foot = to_cell[:, :2] @ view.foot_m + to_cell[:, 2]
        middle, every = centre(view.lattice), places(view.lattice)
        column, column_phase = divmod(round(every * (left + 0.5 - foot[0])) + middle, every)
        row, row_phase = divmod(round(every * (top + 0.5 - foot[1])) + middle, every)
        table = cell_tables(view.lattice)[row_phase][column_phase]
        part = table[row : row + bottom - top, column : column + right - left]
        cells = look_up(self._round(visible, yaw), part)
        to_cell[:, 2] -= left, top
        mark(cells, visible, to_cell)
        return self.odds[top:bottom, left:right], cells

    def _round(self, visible: Visible, yaw_rad: float) -> Evidence:
        """Put what a camera sees at its bearings in odom; the memory is used again by the next camera."""
        view = visible.view
        shape = (view.lattice.bearings, len(ranges_m(view.lattice)))
        if self._circle.shape != shape:
            self._circle, self._filled = np.zeros(shape, np.int8), ()
        for place in self._filled:
            self._circle[place] = 0
        columns = slice(view.first_range, view.first_range + len(view.ranges_m))
        first = (view.first_bearing + round(yaw_rad / view.lattice.step_rad)) % shape[0]
        count = min(len(visible.evidence), shape[0] - first)
        self._filled = ((slice(first, first + count), columns), (slice(0, len(visible.evidence) - count), columns))
        self._circle[self._filled[0]] = visible.evidence[:count]
        self._circle[self._filled[1]] = visible.evidence[count:]
        return self._circle

    def _bounds(self, place: npt.NDArray[np.float64]) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the cells around places, within the window."""
        side = len(self.odds)
        left, top, width, height = cv2.boundingRect(place.astype(np.float32))
        return max(left - 2, 0), max(top - 2, 0), min(left + width + 2, side), min(top + height + 2, side)
