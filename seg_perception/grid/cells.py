"""Passes over cells: evidence from the polar view, and log-odds in 16-bit counts."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from seg_perception.compiled import compiled
from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import GAP, Evidence
from seg_perception.grid.lattice import Float, Places
from seg_perception.grid.types import FREE, OCCUPIED, UNKNOWN
from seg_perception.grid.visibility import Index, cell_map
from seg_perception.grid.walk import Visible

Odds = npt.NDArray[np.int16]
CellFromVehicle = tuple[float, float, float, float, float, float]
"""column = [0] x + [1] y + [2], row = [3] x + [4] y + [5] of a place in the vehicle frame; whole numbers at corners of cells."""

LEAST = np.iinfo(np.int16).min
MOST = np.iinfo(np.int16).max


def vehicle_cells(visible: Visible, config: GridConfig) -> Evidence:
    """Return the int8 evidence of every cell of the vehicle window, [rows, columns]."""
    step = config.resolution_m
    part = (0, 0, config.rows, config.columns)
    cells = look_up(visible.evidence, cell_map(visible.view, config), part, (0, 0, len(visible.evidence)))
    cells[cells == GAP] = 0
    mark(cells, visible, (1 / step, 0.0, -config.x_min_m / step, 0.0, 1 / step, -config.y_min_m / step))
    return cells


@compiled('int8[:, ::1](int8[:, ::1], int16[:, :, ::1], UniTuple(int64, 4), UniTuple(int64, 3))')
def look_up(
    polar: Evidence, places: Places, part: tuple[int, int, int, int], lattice: tuple[int, int, int]
) -> Evidence:
    """Return the int8 evidence at a part of (range, bearing) places, [rows, columns]; 0 where the polar view has none.

    Args:
        part: its first row and column, rows and columns.
        lattice: the first range and the first bearing of the polar view among those of the places, and the bearings of the circle.
    """
    bearings, ranges = polar.shape
    top, left, rows, columns = part
    first_range, first_bearing, circle = lattice
    if top < 0 or left < 0 or top + rows > places.shape[0] or left + columns > places.shape[1]:
        raise IndexError('a part of places that is not in their table')
    bearing = np.full(circle, -1, np.int32)
    for b in range(bearings):
        bearing[(first_bearing + b) % circle] = b
    cells = np.zeros((rows, columns), np.int8)
    for i in range(rows):
        line = places[top + i, left : left + columns]
        for j in range(columns):
            r = np.uint32(line[j, 0] - first_range)  # what is below 0 becomes larger than any range
            if r < ranges:
                b = bearing[np.uint16(line[j, 1])]
                if b >= 0:
                    cells[i, j] = polar[b, r]
    return cells


def mark(cells: Evidence, visible: Visible, cell_from_vehicle: CellFromVehicle) -> None:
    """Write a contact that fell between the centres of cells into the cell that it lies in.

    Others stay as they are: every cell that a side seen aslant only touches would bring it nearer.
    """
    view = visible.view
    tables = (view.contact_m, view.inside_m, view.directions)
    _mark(cells, visible.contact, visible.found, *tables, view.foot_m, cell_from_vehicle)


@compiled(
    'void(int8[:, ::1], int32[::1], int8[::1], float64[::1], float64[::1], float64[:, ::1], UniTuple(float64, 2), UniTuple(float64, 6))'
)
def _mark(
    cells: Evidence,
    contact: Index,
    found: Evidence,
    contact_m: Float,
    inside_m: Float,
    directions: Float,
    foot_m: tuple[float, float],
    cell_from_vehicle: CellFromVehicle,
) -> None:
    xx, xy, x0, yx, yy, y0 = cell_from_vehicle
    rows, columns = cells.shape
    lost = np.full(len(contact), -1)
    for b in range(len(contact)):
        if contact[b] == len(contact_m):
            continue
        for k in range(len(inside_m)):
            distance = contact_m[contact[b]] + inside_m[k]
            x, y = foot_m[0] + distance * directions[b, 0], foot_m[1] + distance * directions[b, 1]
            column, row = math.floor(xx * x + xy * y + x0), math.floor(yx * x + yy * y + y0)
            if not (0 <= column < columns and 0 <= row < rows):
                if k == 0:
                    break
                continue
            if k == 0:
                lost[b] = row * columns + column
            e = cells[row, column]
            if e < 0 and e & 1:
                lost[b] = -1
                break
    for b in range(len(lost)):
        if lost[b] >= 0:
            cells[lost[b] // columns, lost[b] % columns] = found[b]


@compiled('void(int16[:, ::1], int64, int64, int8[:, ::1])')
def forget(odds: Odds, top: int, left: int, cells: Evidence) -> None:
    """Forget what an image contradicts: free evidence at an obstacle and behind it, an obstacle in the gap before a contact.

    A contact is as likely before as behind the place it is given: what an older image put nearer may go.

    Args:
        top, left: where `cells` begin in `odds`.
    """
    rows, columns = cells.shape
    for i in range(rows):
        line = odds[top + i, left : left + columns]
        for j in range(columns):
            e = cells[i, j]
            if e == GAP:
                line[j] = max(line[j], 0)
            elif e & 1:
                line[j] = min(line[j], -1)


@compiled('void(int16[:, ::1], int64, int64, int8[:, ::1], int64, int64)')
def add_evidence(odds: Odds, top: int, left: int, cells: Evidence, gain: int, least: int) -> None:
    """Add the evidence of one image, `gain` counts for each of its own; the sums stay between `least` and what 16 bits hold."""
    rows, columns = cells.shape
    for i in range(rows):
        line = odds[top + i, left : left + columns]
        for j in range(columns):
            e = cells[i, j]
            if e != GAP:
                line[j] = min(max(line[j] + gain * (e & -2), least), MOST)


@compiled('int8[:, ::1](int16[:, ::1], int64, int64)')
def occupancy(odds: Odds, free: int, occupied: int) -> npt.NDArray[np.int8]:
    """Return 0 where there are `free` counts or more, 100 where `occupied` or fewer, -1 elsewhere; a new array."""
    rows, columns = odds.shape
    cells = np.empty((rows, columns), np.int8)
    for i in range(rows):
        for j in range(columns):
            o = odds[i, j]
            cells[i, j] = FREE if o >= free else OCCUPIED if o <= occupied else UNKNOWN
    return cells


def probabilities(odds: Odds, unit: float) -> npt.NDArray[np.int8]:
    """Return 0..100, the probability of being occupied, and -1 where nothing is known; a new array.

    50 says as little: what was forgotten, or lies hidden behind an obstacle, is left with a few counts.
    """
    known = odds != 0
    cells = np.full(odds.shape, UNKNOWN, np.int8)
    cells[known] = np.rint(100 / (1 + np.exp(unit * odds[known].astype(np.float32))))
    cells[cells == 50] = UNKNOWN
    return cells
