"""Passes over cells: evidence from the polar view, and log-odds in 16-bit counts."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import BLOCKS, GAP, Evidence
from seg_perception.grid.lattice import Places
from seg_perception.grid.types import FREE, OCCUPIED, UNKNOWN
from seg_perception.grid.visibility import cell_map
from seg_perception.grid.walk import Visible

Odds = npt.NDArray[np.int16]


def vehicle_cells(visible: Visible, config: GridConfig) -> Evidence:
    """Return the int8 evidence of every cell of the vehicle window, [rows, columns]."""
    cells = look_up(visible.evidence, cell_map(visible.view, config))
    step = config.resolution_m
    cells[cells == GAP] = 0
    mark(cells, visible, np.array([[1 / step, 0, -config.x_min_m / step], [0, 1 / step, -config.y_min_m / step]]))
    return cells


def look_up(polar: Evidence, places: Places) -> Evidence:
    """Return the int8 evidence at (range, bearing) places, [rows, columns]; 0 outside."""
    source = polar.view(np.uint8)
    return np.asarray(cv2.remap(source, places, None, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 0)).view(np.int8)


def mark(cells: Evidence, visible: Visible, from_vehicle: npt.NDArray[np.float64]) -> None:
    """Write a contact that fell between the centres of cells into the cell that it lies in.

    Others stay as they are: every cell that a side seen aslant only touches would bring it nearer.

    Args:
        from_vehicle: 2x3, from the vehicle frame in metres to (column, row), whole at the corners of cells.
    """
    contacts, turn = visible.contacts, from_vehicle[:, :2].T
    foot = visible.view.foot_m @ turn + from_vehicle[:, 2]
    direction = visible.view.directions[contacts.bearing] @ turn
    column = np.floor(contacts.range_m * direction[:, 0] + foot[0]).astype(np.intp)
    row = np.floor(contacts.range_m * direction[:, 1] + foot[1]).astype(np.intp)
    rows, columns = cells.shape
    # Also where numbers below 0 are the largest ones.
    inside = (column.view(np.uintp) < columns) & (row.view(np.uintp) < rows)
    flat, index = cells.reshape(-1), np.where(inside, row * columns + column, 0)
    lost = inside[0] & ~(inside & (np.take(flat, index).view(np.uint8) & BLOCKS == BLOCKS)).any(axis=0)
    flat[index[0, lost]] = contacts.evidence[lost]


def drop_free(odds: Odds, counts: Odds) -> None:
    """Forget free evidence where an image shows an obstacle, or hides the ground behind one.

    Args:
        counts: int16 [rows, columns] evidence of the image, its lowest bit as in the evidence of one byte.
    """
    limit = counts << np.int16(15)
    limit ^= np.int16(0x7FFF)  # -1 where the lowest bit is set, the largest number elsewhere
    cv2.min(odds, limit, odds)


def take_back(odds: Odds, cells: Evidence) -> None:
    """Turn what is occupied in the gap before a contact unknown; clear the gap in `cells`.

    The contact is as likely before as behind the place it is given: what an older image put nearer may go.
    """
    gap = cells == GAP
    limit = gap.astype(np.int16)
    limit -= np.int16(1)
    limit <<= np.int16(15)  # 0 in the gap, the smallest number elsewhere
    cv2.max(odds, limit, odds)
    cells *= np.invert(gap, out=gap).view(np.int8)


def add_evidence(odds: Odds, counts: Odds, gain: int) -> None:
    """Add the evidence of one image, `gain` counts for each of its own; the sum stays within 16 bits.

    Args:
        counts: as for `drop_free`; is changed.
    """
    counts &= np.int16(-2)
    if gain != 1:
        counts *= np.int16(gain)
    cv2.add(odds, counts, odds)


def occupancy(odds: Odds, free: int, occupied: int) -> npt.NDArray[np.int8]:
    """Return 0 where there are `free` counts or more, 100 where `occupied` or fewer, -1 elsewhere; a new array."""
    cells = (odds < np.int16(free)).view(np.int8)
    cells *= np.int8(UNKNOWN - FREE)
    taken = (odds <= np.int16(occupied)).view(np.int8)
    taken *= np.int8(OCCUPIED - UNKNOWN)
    cells += taken
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
