"""Passes over cells: evidence from the polar view, and log-odds in 16-bit counts."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import GAP, Evidence
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
    """Write every contact into the cell that it lies in, so that nothing falls between the centres of cells.

    Args:
        from_vehicle: 2x3, from the vehicle frame in metres to (column, row), whole at the corners of cells.
    """
    place = np.floor(visible.contacts.xy_m @ from_vehicle[:, :2].T + from_vehicle[:, 2]).astype(np.intp)
    column, row = place[:, 0], place[:, 1]
    inside = (column >= 0) & (column < cells.shape[1]) & (row >= 0) & (row < cells.shape[0])
    cells[row[inside], column[inside]] = visible.contacts.evidence[inside]


def drop_free(odds: Odds, counts: Odds) -> None:
    """Forget free evidence where an image shows an obstacle, or hides the ground behind one.

    Args:
        counts: int16 [rows, columns] evidence of the image, its lowest bit as in the evidence of one byte.
    """
    limit = counts << np.int16(15)
    limit ^= np.int16(0x7FFF)  # -1 where the lowest bit is set, the largest number elsewhere
    np.minimum(odds, limit, out=odds)


def take_back(odds: Odds, cells: Evidence, gain: int) -> None:
    """Weaken what is occupied in the gap before a contact, down to unknown; clear the gap in `cells`.

    The contact is as likely before as behind the place it is given: what an older image put nearer may go.
    """
    flat = np.flatnonzero(cells == GAP)
    place = np.divmod(flat, cells.shape[1])
    before = odds[place]
    odds[place] = np.maximum(before, np.minimum(np.minimum(before, 0) + np.int16(gain * GAP), 0))
    cells.reshape(-1)[flat] = 0


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
    """Return 0..100, the probability of being occupied, and -1 where nothing is known; a new array."""
    known = odds != 0
    cells = np.full(odds.shape, UNKNOWN, np.int8)
    cells[known] = np.rint(100 / (1 + np.exp(unit * odds[known].astype(np.float32))))
    return cells
