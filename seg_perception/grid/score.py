"""How right a grid is: measures against exact truth, gathered over frames.

"Visible" is what the truth says a camera can see now. A border counts as one cell: a visible occupied cell called free
is counted when no truly free cell touches it, corners included; a hidden one when no visible cell touches it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import Pose
from seg_perception.grid.types import FREE, OCCUPIED, UNKNOWN, OccupancyGrid
from seg_perception.scene.truth import FirstObstacles, TruthGrid, Window

BANDS_M = ((0.0, 10.0), (10.0, 20.0), (20.0, 30.0))
"""Bands of range from below the camera; measures stop at the end of the last one."""

MARCH_STEP_M = 0.02
NEAR = 3.0  # cells
BORDER = 1.5  # cells: a neighbour across a corner is 1.41 away
Cells = npt.NDArray[np.int8]
Float = npt.NDArray[np.float64]


class BandScore(NamedTuple):
    """Measures within one band of range, or over all of them."""

    free_iou: float  # free cells against all visible truth: unknown counts as a miss
    occupied_iou: float
    range_error_median: float  # relative; first cell that is not free along a bearing, NaN without bearings
    range_error_p95: float
    bearings: int
    missed: int  # bearings whose obstacle the grid does not have; they count as an error of 1


class GridScore(NamedTuple):
    """Measures of one configuration."""

    total: BandScore
    bands: tuple[BandScore, ...]
    solid_range_error_median: float  # the same over bearings that meet a solid before any other edge
    solid_range_error_p95: float
    false_free_cells: int  # called free, occupied and visible, beyond the border
    false_free_worst_m: float
    hidden_free_cells: int  # called free, not visible, beyond the border; a fused grid remembers such cells
    hidden_free_worst_m: float
    hidden_occupied_free_cells: int  # those of them that are occupied
    frames: int


class Scorer:
    """Collects frames of one configuration."""

    def __init__(self) -> None:
        self._overlap = np.zeros((len(BANDS_M), 2, 2), np.int64)  # band, free or occupied, intersection and union
        self._errors: list[Float] = []
        self._ranges: list[Float] = []
        self._solid: list[npt.NDArray[np.bool_]] = []
        self._false, self._hidden, self._hidden_occupied = (0, 0.0), (0, 0.0), 0
        self._frames = 0

    def add_cells(self, cells: Cells, truth: TruthGrid, eye_m: tuple[float, float]) -> None:
        """Compare a grid in the vehicle frame with the truth of the same window."""
        self._frames += 1
        distance = cell_ranges(truth.window, eye_m)
        for band, (low, high) in enumerate(BANDS_M):
            area = truth.visible & (distance >= low) & (distance < high)
            for kind, value in enumerate((FREE, OCCUPIED)):
                claimed, real = (cells == value) & area, (truth.cells == value) & area
                self._overlap[band, kind] += (claimed & real).sum(), (claimed | real).sum()
        claimed = (cells == FREE) & (distance < BANDS_M[-1][1])
        resolution = truth.window.resolution_m
        from_free, from_visible = _cells_away(truth.cells == FREE), _cells_away(truth.visible)
        self._false = _count(self._false, claimed & truth.visible, from_free, resolution)
        self._hidden = _count(self._hidden, claimed, from_visible, resolution)
        self._hidden_occupied += int((claimed & (from_visible > BORDER) & (from_free > BORDER) & truth.occupied).sum())

    def add_part(self, cells: Cells, truth: TruthGrid, part: npt.NDArray[np.bool_]) -> None:
        """Compare the overlap of free and occupied cells within a part of the window alone, up to 30 m from the vehicle's origin."""
        none = np.int8(UNKNOWN)
        hidden = TruthGrid(np.where(part, truth.cells, none), truth.occupied, part, truth.window)
        self.add_cells(np.where(part, cells, none), hidden, (0.0, 0.0))

    def add_ranges(self, measured_m: Float, truth: FirstObstacles) -> None:
        """Compare ranges to the first cell that is occupied, bearing by bearing."""
        use = truth.edge_seen & (truth.edge_m < BANDS_M[-1][1])
        real = truth.edge_m[use]
        self._errors.append(np.minimum(np.abs(measured_m[use] - real) / real, 1.0))
        self._ranges.append(real)
        self._solid.append(truth.solid_m[use] == real)

    def result(self) -> GridScore:
        """Return the measures over everything added so far."""
        errors, ranges = np.concatenate(self._errors or [np.zeros(0)]), np.concatenate(self._ranges or [np.zeros(0)])
        solid = np.concatenate(self._solid or [np.zeros(0, np.bool_)])
        bands = tuple(
            _band(self._overlap[i], errors[(ranges >= low) & (ranges < high)]) for i, (low, high) in enumerate(BANDS_M)
        )
        return GridScore(
            _band(self._overlap.sum(axis=0), errors),
            bands,
            _percentile(errors[solid], 50),
            _percentile(errors[solid], 95),
            *self._false,
            *self._hidden,
            self._hidden_occupied,
            self._frames,
        )


def _cells_away(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Distance of each cell from the nearest one of a mask, in cells."""
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _count(
    so_far: tuple[int, float], claimed: npt.NDArray[np.bool_], away: npt.NDArray[np.float32], resolution_m: float
) -> tuple[int, float]:
    wrong = claimed & (away > BORDER)
    return so_far[0] + int(wrong.sum()), max(so_far[1], float(away[wrong].max(initial=0.0)) * resolution_m)


def _percentile(values: Float, q: float) -> float:
    return float(np.percentile(values, q)) if len(values) else math.nan


def _band(overlap: npt.NDArray[np.int64], errors: Float) -> BandScore:
    free, occupied = (float(both / union) if union else math.nan for both, union in overlap)
    return BandScore(
        free,
        occupied,
        _percentile(errors, 50),
        _percentile(errors, 95),
        len(errors),
        int((errors >= 1.0).sum()),
    )


def near_mask(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Cells of a mask and those within three cells of one."""
    return np.asarray(_cells_away(mask) <= NEAR)


def near_cells(window: Window, mask: npt.NDArray[np.bool_], points_m: Float) -> npt.NDArray[np.bool_]:
    """Whether vehicle-frame points [N, 2] lie within three cells of a mask."""
    near = near_mask(mask).astype(np.int8)
    grid = OccupancyGrid(near, window.resolution_m, window.x_min_m, window.y_min_m, 'vehicle', 0, math.nan)
    return np.asarray(_look_up(grid, points_m) == 1)


def cell_ranges(window: Window, eye_m: tuple[float, float]) -> Float:
    """Distance of every cell centre from the point below a camera, float [rows, columns]."""
    x = np.arange(window.x_min_m + window.resolution_m / 2, window.x_max_m, window.resolution_m) - eye_m[0]
    y = np.arange(window.y_min_m + window.resolution_m / 2, window.y_max_m, window.resolution_m) - eye_m[1]
    return np.asarray(np.hypot(x, y[:, None]))


def in_vehicle_frame(grid: OccupancyGrid, odom_from_vehicle: Pose, window: Window) -> Cells:
    """Look up the vehicle-frame window in a grid, nearest cell; outside the grid is unknown."""
    rows, columns = cell_ranges(window, (0.0, 0.0)).shape
    x = window.x_min_m + (np.arange(columns) + 0.5) * window.resolution_m
    y = window.y_min_m + (np.arange(rows) + 0.5) * window.resolution_m
    points: Float = np.stack([*np.meshgrid(x, y), np.zeros((rows, columns))], axis=-1).reshape(-1, 3)
    if grid.frame == 'odom':
        points = odom_from_vehicle.transform(points)
    return _look_up(grid, points[:, :2]).reshape(rows, columns)


def measured_ranges(
    grid: OccupancyGrid, odom_from_vehicle: Pose, eye_m: tuple[float, float], bearings_rad: Float, near_m: Float
) -> Float:
    """Range from below the camera to the first occupied cell along each bearing; infinite where there is none.

    Args:
        eye_m: the point below the camera, vehicle frame.
        bearings_rad: [N] in the vehicle frame.
        near_m: [N] range at which the picture begins; what the grid remembers nearer than that is left out.
    """
    limit = BANDS_M[-1][1] + 5.0
    steps = np.arange(0.0, limit, MARCH_STEP_M)
    direction = np.column_stack([np.cos(bearings_rad), np.sin(bearings_rad)])
    points = (np.asarray(eye_m) + steps[None, :, None] * direction[:, None]).reshape(-1, 2)
    if grid.frame == 'odom':
        points = odom_from_vehicle.transform(np.column_stack([points, np.zeros(len(points))]))[:, :2]
    values = _look_up(grid, points)
    occupied = (values.reshape(len(bearings_rad), len(steps)) == OCCUPIED) & (steps >= near_m[:, None] - MARCH_STEP_M)
    return np.where(occupied.any(axis=1), steps[occupied.argmax(axis=1)], np.inf)


def _look_up(grid: OccupancyGrid, points: Float) -> Cells:
    cells = grid.cells
    column = np.floor((points[:, 0] - grid.origin_x_m) / grid.resolution_m).astype(int)
    row = np.floor((points[:, 1] - grid.origin_y_m) / grid.resolution_m).astype(int)
    inside = (column >= 0) & (column < cells.shape[1]) & (row >= 0) & (row < cells.shape[0])
    values = np.full(len(points), UNKNOWN, np.int8)
    values[inside] = cells[row[inside], column[inside]]
    return values
