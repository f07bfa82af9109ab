"""Labelled ground points of one camera, for sensor_msgs/PointCloud2 and costmap layers."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.compiled import compiled
from seg_perception.frames import require_size
from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import PixelEvidence
from seg_perception.grid.types import POINT, GroundPoints, Observation
from seg_perception.grid.visibility import PolarView, cell_map, polar_view
from seg_perception.grid.walk import Visible, walk
from seg_perception.labels import LabelMap

UInt32 = npt.NDArray[np.uint32]

SAYS_SOMETHING = -2
"""Bits of the evidence of a cell that is neither unknown nor HIDDEN."""


class _Cells(NamedTuple):
    """Tables of one view: only the N cells of the grid that the camera can see; shared and read-only."""

    points: UInt32  # [N, 4] records of `POINT` with the cells' centres
    samples: UInt32  # [N] index of the nearest sample in the flattened polar view
    pixels: UInt32  # [N] index of the nearest pixel in the flattened image


@lru_cache(maxsize=32)
def _cells(view: PolarView, config: GridConfig, width: int) -> _Cells:
    distance, bearing = np.moveaxis(cell_map(view, config).astype(np.intp), -1, 0)
    pixel = view.pixels.astype(np.intp)[np.maximum(bearing, 0), np.maximum(distance, 0)]
    row, column = np.nonzero((distance >= 0) & (pixel < (view.last_row - view.first_row + 1) * width))
    points = np.zeros(len(row), POINT)
    points['x'] = config.x_min_m + (column + 0.5) * config.resolution_m
    points['y'] = config.y_min_m + (row + 0.5) * config.resolution_m
    points['z'] = config.ground_z_m
    samples = (bearing * len(view.ranges_m) + distance)[row, column]
    pixels = pixel[row, column] + view.first_row * width
    return _Cells(points.view(np.uint32).reshape(-1, 4), samples.astype(np.uint32), pixels.astype(np.uint32))


@lru_cache(maxsize=8)
def _evidence(config: GridConfig, labels: LabelMap) -> PixelEvidence:
    return PixelEvidence(config, labels)


def ground_points(
    observation: Observation, config: GridConfig, labels: LabelMap, visible: Visible | None = None
) -> GroundPoints:
    """Return one point for each grid cell that the camera sees: ground up to the first obstacle, and its contact.

    Points are cell centres in the vehicle frame; label and confidence are those of the nearest pixel. Cells under
    the confidence threshold or hidden by an obstacle have no point.

    Args:
        visible: `GridMapper.visible` of this observation, when the grid has it already.

    Raises:
        CameraError: the camera is below the ground or sees none, or the labels have another size than the camera.
    """
    if visible is None:
        view = polar_view(observation.camera_model, observation.vehicle_from_camera, config)
        rows = slice(view.first_row, view.last_row + 1)
        pixels = _evidence(config, labels)(observation.labels[rows], observation.confidence[rows])
        visible = walk(view, pixels)
    else:
        require_size(observation.camera_model, observation.labels, observation.confidence)
    tables = _cells(visible.view, config, observation.camera_model.width)
    points: UInt32 = np.empty_like(tables.points)
    count = _fill(
        points,
        *tables,
        visible.evidence.reshape(-1),
        observation.labels.reshape(-1),
        observation.confidence.reshape(-1),
    )
    return points[:count].reshape(-1).view(POINT)


@compiled(
    'int64(uint32[:, ::1], uint32[:, ::1], uint32[::1], uint32[::1], Array(int8, 1, "C", readonly=True), '
    'Array(uint8, 1, "C", readonly=True), Array(uint8, 1, "C", readonly=True))'
)
def _fill(
    out: UInt32,
    points: UInt32,
    samples: UInt32,
    pixels: UInt32,
    evidence: npt.NDArray[np.int8],
    labels: npt.NDArray[np.uint8],
    confidence: npt.NDArray[np.uint8],
) -> int:
    """Write the records of the cells that are seen; return how many. First which cells, as that needs no branch."""
    count = 0
    for cell in range(len(samples)):
        out[count, 3] = cell
        count += evidence[samples[cell]] & SAYS_SOMETHING != 0
    for i in range(count):
        cell = out[i, 3]
        pixel = pixels[cell]
        out[i, 0], out[i, 1], out[i, 2] = points[cell, 0], points[cell, 1], points[cell, 2]
        out[i, 3] = labels[pixel] | confidence[pixel] << 8
    return count
