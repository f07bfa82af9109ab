"""Labelled ground points of one camera, for sensor_msgs/PointCloud2 and costmap layers."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import PixelEvidence
from seg_perception.grid.types import POINT, GroundPoints, Observation
from seg_perception.grid.visibility import PolarView, cell_map, polar_view
from seg_perception.grid.walk import Visible, walk
from seg_perception.labels import LabelMap

LABEL_AND_CONFIDENCE = np.dtype({'names': ['both'], 'formats': ['u2'], 'offsets': [12], 'itemsize': POINT.itemsize})
"""The two as one number, which is looked up and written in half the time."""


class _Cells(NamedTuple):
    """Tables of one view: only the N cells of the grid that the camera can see; shared and read-only."""

    points: npt.NDArray[
        np.complex128
    ]  # [N] records of `POINT` with the cells' centres; NumPy picks 16 bytes fastest so
    samples: npt.NDArray[np.intp]  # [N] index of the nearest sample in the flattened polar view
    pixels: npt.NDArray[np.intp]  # [N] index of the nearest pixel in the flattened image


@lru_cache(maxsize=32)
def _cells(view: PolarView, config: GridConfig, width: int) -> _Cells:
    distance, bearing = np.moveaxis(cell_map(view, config).astype(np.intp), -1, 0)
    pixel = view.pixels.astype(np.intp)[np.maximum(bearing, 0), np.maximum(distance, 0)]
    row, column = np.nonzero((distance >= 0) & (pixel < (view.last_row - view.first_row + 1) * width))
    x = config.x_min_m + (column + 0.5) * config.resolution_m
    y = config.y_min_m + (row + 0.5) * config.resolution_m
    points = np.zeros(len(x), POINT)
    points['x'], points['y'], points['z'] = x, y, config.ground_z_m
    samples = bearing * len(view.ranges_m) + distance
    return _Cells(points.view(np.complex128), samples[row, column], pixel[row, column] + view.first_row * width)


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
    tables = _cells(visible.view, config, observation.camera_model.width)
    # Neither nothing nor HIDDEN: every other value says something about the ground.
    cells = np.flatnonzero(np.take(visible.evidence.reshape(-1), tables.samples) & np.int8(-2) != 0)
    points: GroundPoints = np.take(tables.points, cells).view(POINT)
    seen = cv2.merge([observation.labels, observation.confidence]).view(np.uint16).reshape(-1)
    points.view(LABEL_AND_CONFIDENCE)['both'] = np.take(seen, np.take(tables.pixels, cells))
    return points
