"""Labelled ground points of one camera, for sensor_msgs/PointCloud2 and costmap layers."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import HIDDEN, PixelEvidence
from seg_perception.grid.types import GroundPoints, Observation
from seg_perception.grid.visibility import polar_view, visible_codes
from seg_perception.labels import LabelMap

HAS_POINT = np.array([code < HIDDEN and (code & 63) > 0 for code in range(256)], np.uint8)
"""Codes that say something about the ground: neither hidden nor under the confidence threshold."""


class _Cells(NamedTuple):
    """Tables of one camera, pose and grid; shared and read-only. N = rows x columns of the grid."""

    centres: npt.NDArray[np.float32]  # [N, 3] metres
    pixels: npt.NDArray[np.intp]  # [N] index of the nearest pixel in the flattened image; 0 where none is seen


@lru_cache(maxsize=32)
def _cells(camera: CameraModel, pose: Pose, config: GridConfig) -> _Cells:
    view = polar_view(camera, pose, config)
    bearing, distance = view.cell_map[..., 0].astype(np.intp), view.cell_map[..., 1].astype(np.intp)
    inside = (bearing >= 0) & (distance >= 0) & (bearing < view.pixel_map.shape[1]) & (distance < len(view.ranges_m))
    pixel = view.pixel_map[np.where(inside, distance, 0), np.where(inside, bearing, 0)].astype(np.intp)
    seen = inside & (pixel[..., 0] >= 0)
    flat = (pixel[..., 1] + view.first_row) * camera.width + pixel[..., 0]
    x = config.x_min_m + (np.arange(config.columns) + 0.5) * config.resolution_m
    y = config.y_min_m + (np.arange(config.rows) + 0.5) * config.resolution_m
    centres = np.stack(np.broadcast_arrays(x, y[:, None], config.ground_z_m), axis=-1).astype(np.float32)
    return _Cells(centres.reshape(-1, 3), np.where(seen, flat, 0).reshape(-1))


@lru_cache(maxsize=8)
def _evidence(config: GridConfig, labels: LabelMap) -> PixelEvidence:
    return PixelEvidence(config, labels)


def ground_points(
    observation: Observation, config: GridConfig, labels: LabelMap, visible: npt.NDArray[np.uint8] | None = None
) -> GroundPoints:
    """Return one point for each grid cell that the camera sees: ground up to the first obstacle, and its contact.

    Points are cell centres in the vehicle frame; label and confidence are those of the nearest pixel. Cells under
    the confidence threshold or hidden by an obstacle have no point.

    Args:
        visible: `GridMapper.visible` of this observation, when the grid has it already.

    Raises:
        CameraError: the camera is below the ground or sees none.
    """
    geometry = (observation.camera_model, observation.vehicle_from_camera, config)
    view = polar_view(*geometry)
    if visible is None:
        rows = slice(view.first_row, view.last_row + 1)
        codes = _evidence(config, labels).codes(observation.labels[rows], observation.confidence[rows])
        visible = visible_codes(view, codes)
    code = cv2.remap(visible, view.cell_map, None, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 0)
    cells = np.flatnonzero(cv2.LUT(code, HAS_POINT))
    tables = _cells(*geometry)
    pixels = tables.pixels[cells]
    return GroundPoints(
        np.take(tables.centres, cells, axis=0),
        observation.labels.reshape(-1)[pixels],
        observation.confidence.reshape(-1)[pixels],
    )
