"""Labelled ground points of one camera, for sensor_msgs/PointCloud2 and costmap layers."""

from __future__ import annotations

import cv2
import numpy as np

from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import HIDDEN, PixelEvidence
from seg_perception.grid.types import GroundPoints, Observation
from seg_perception.grid.visibility import polar_view, visible_codes
from seg_perception.labels import LabelMap


def ground_points(observation: Observation, config: GridConfig, labels: LabelMap) -> GroundPoints:
    """Return one point for each grid cell that the camera sees: ground up to the first obstacle, and its contact.

    Points are cell centres in the vehicle frame; label and confidence are those of the nearest pixel. Cells under
    the confidence threshold or hidden by an obstacle have no point.

    Raises:
        CameraError: the camera is below the ground or sees none.
    """
    view = polar_view(observation.camera_model, observation.vehicle_from_camera, config)
    rows = slice(view.first_row, view.last_row + 1)
    image = np.ascontiguousarray(observation.labels[rows])
    confidence = np.ascontiguousarray(observation.confidence[rows])
    codes = PixelEvidence(config, labels).codes(image, confidence)
    polar = [
        visible_codes(view, codes),
        cv2.remap(image, view.pixel_map, None, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 0),
        cv2.remap(confidence, view.pixel_map, None, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 0),
    ]
    code, label, certainty = (
        cv2.remap(p, view.cell_map, None, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 0) for p in polar
    )
    y, x = np.nonzero((np.asarray(code) < HIDDEN) & ((np.asarray(code) & 63) > 0))
    xyz = np.empty((len(x), 3), np.float32)
    xyz[:, 0] = config.x_min_m + (x + 0.5) * config.resolution_m
    xyz[:, 1] = config.y_min_m + (y + 0.5) * config.resolution_m
    xyz[:, 2] = config.ground_z_m
    return GroundPoints(xyz, np.asarray(label)[y, x], np.asarray(certainty)[y, x])
