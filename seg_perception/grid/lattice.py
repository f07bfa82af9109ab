"""Ranges and bearings at which the ground around a camera is sampled, and where cells lie among them.

The lattice covers the full circle and depends on the camera only roughly, so that it stays when a camera trembles. As
bearings are evenly spaced, turning a vehicle shifts its view along the lattice: the way from cells to samples is the
same table at every heading.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Places = npt.NDArray[np.int16]

ROWS_APART = 0.4
"""Distance of two ranges in pixel rows, and of two bearings in pixel columns, where cells are not coarser."""
COLUMNS_APART = 0.75
MAX_BEARINGS = 32_000
"""Places are 16-bit numbers."""
MARGIN = 4  # cells
PLACES_APART_M = 0.025
"""Cells are looked up at places this far apart or less: half of it is the error of a cell's place in what a camera sees."""
MAX_PLACES = 8  # in a cell's length
FINE = 5  # steps between two places in which distances are looked up


class Lattice(NamedTuple):
    """A polar lattice around a camera's foot point; two cameras with equal numbers share all tables."""

    resolution_m: float
    height_m: float
    row_rad: float  # how many radians a pixel row covers
    reach_m: float
    bearings: int  # samples on the full circle

    @property
    def step_rad(self) -> float:
        """Angle between two bearings."""
        return 2 * math.pi / self.bearings


def lattice(resolution_m: float, height_m: float, focal_px: tuple[float, float], reach_m: float) -> Lattice:
    """Choose a lattice for a camera: a fraction of a pixel or half a cell apart, whichever is coarser."""
    reach_m = math.ceil(reach_m / (10 * resolution_m)) * 10 * resolution_m
    step = max(COLUMNS_APART / _rough(focal_px[0]), 0.5 * resolution_m / reach_m)
    count = min(math.ceil(2 * math.pi / step), MAX_BEARINGS)
    return Lattice(resolution_m, _rough(height_m), 1 / _rough(focal_px[1]), reach_m, count)


def _rough(value: float) -> float:
    """Round to steps of 5 %."""
    return float(1.05 ** round(math.log(value, 1.05)))


@lru_cache(maxsize=8)
def ranges_m(lattice: Lattice) -> Float:
    """Distances from the foot point, float64 [R], to just beyond the reach."""
    half_cell, height = lattice.resolution_m / 2, lattice.height_m
    ranges = [half_cell]
    while ranges[-1] < lattice.reach_m:
        row = (ranges[-1] ** 2 + height**2) / height * lattice.row_rad
        ranges.append(ranges[-1] + max(half_cell, row * ROWS_APART))
    return np.array(ranges)


@lru_cache(maxsize=8)
def cell_tables(lattice: Lattice) -> list[list[Places]]:
    """Nearest (range, bearing) of places around the foot point, `places(lattice)` to a cell, from -x -y to +x +y.

    Table [i][j] holds the rows i, i + places, .. and the columns j, j + places, ..: one of them fits the cells of a grid
    wherever the foot point is in its own. The foot point is at row and column `centre` of all places.
    """
    every = places(lattice)
    apart = lattice.resolution_m / every
    x = apart * np.arange(-centre(lattice), centre(lattice), dtype=np.float32)
    fine = apart / FINE
    ranges = ranges_m(lattice)
    middles = (ranges[1:] + ranges[:-1]) / 2
    index = np.searchsorted(middles, np.arange(0, math.hypot(x[0], x[0]) + 2 * fine, fine)).astype(np.int16)
    index[math.ceil(ranges[-1] / fine) :] = -1
    return [[_table(lattice, x[j::every], x[i::every], index, fine) for j in range(every)] for i in range(every)]


def _table(
    lattice: Lattice,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.float32],
    index: npt.NDArray[np.int16],
    fine_m: float,
) -> Places:
    across, along = np.meshgrid(x, y)
    distance, angle = cv2.cartToPolar(across, along)
    table = np.empty((*distance.shape, 2), np.int16)
    table[..., 0] = index[cv2.multiply(distance, 1 / fine_m, dtype=cv2.CV_32S)]
    angle *= np.float32(1 / lattice.step_rad)
    bearing = cv2.multiply(angle, 1.0, dtype=cv2.CV_16U)
    bearing[bearing == lattice.bearings] = 0
    table[..., 1] = bearing
    return table


def places(lattice: Lattice) -> int:
    """Places along a cell's side at which tables are kept."""
    return min(max(2, math.ceil(lattice.resolution_m / PLACES_APART_M)), MAX_PLACES)


def centre(lattice: Lattice) -> int:
    """Row and column of the foot point among all places of `cell_tables`; a multiple of `places`."""
    return places(lattice) * (math.ceil(float(ranges_m(lattice)[-1]) / lattice.resolution_m) + MARGIN)
