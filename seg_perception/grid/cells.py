"""Passes over cells: evidence from the polar view, and log-odds in 16-bit counts."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import Evidence
from seg_perception.grid.lattice import Places
from seg_perception.grid.types import FREE, OCCUPIED, UNKNOWN
from seg_perception.grid.visibility import cell_map
from seg_perception.grid.walk import Visible

Odds = npt.NDArray[np.int16]


def vehicle_cells(visible: Visible, config: GridConfig) -> Evidence:
    """Return the int8 evidence of every cell of the vehicle window, [rows, columns]."""
    cells = look_up(visible.evidence, cell_map(visible.view, config))
    step = config.resolution_m
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


def drop_free(odds: Odds, cells: Evidence) -> None:
    """Forget free evidence where an image shows an obstacle, or hides the ground behind one."""
    kept = ((cells & np.int8(1)) - np.int8(1)).astype(np.int16).view(np.uint16)
    kept >>= np.uint16(1)
    np.minimum(odds, kept.view(np.int16), out=odds)


def add_evidence(odds: Odds, cells: Evidence, gain: int) -> None:
    """Add the evidence of one image, `gain` counts for each of its own; the sum stays within 16 bits."""
    counts = (cells & np.int8(-2)).astype(np.int16)
    if gain != 1:
        counts *= np.int16(gain)
    cv2.add(odds, counts, odds)


def occupancy(odds: Odds, unit: float, free_log_odds: float, occupied_log_odds: float) -> npt.NDArray[np.int8]:
    """Return 0 free, 100 occupied, -1 unknown; a new array.

    Args:
        unit: log-odds of one count.
        free_log_odds: a cell is free from here up, `occupied_log_odds`: occupied from here down.
    """
    cells = (odds < np.int16(math.ceil(free_log_odds / unit))).view(np.int8)
    cells *= np.int8(UNKNOWN - FREE)
    occupied = (odds <= np.int16(math.floor(occupied_log_odds / unit))).view(np.int8)
    occupied *= np.int8(OCCUPIED - UNKNOWN)
    cells += occupied
    return cells


def probabilities(odds: Odds, unit: float) -> npt.NDArray[np.int8]:
    """Return 0..100, the probability of being occupied, and -1 where nothing is known; a new array."""
    known = odds != 0
    cells = np.full(odds.shape, UNKNOWN, np.int8)
    cells[known] = np.rint(100 / (1 + np.exp(unit * odds[known].astype(np.float32))))
    return cells
