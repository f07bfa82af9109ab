"""Pixels to the ground plane z = 0 of the vehicle frame, through tables made once per camera."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

FARTHEST_M = 200.0
"""A flat ground beyond this says nothing: one row of pixels covers more than the distance to it."""


class GroundTable(NamedTuple):
    """What each pixel sees of the ground."""

    x_m: Float32
    """[h, w] vehicle frame; NaN where the pixel sees no ground within `FARTHEST_M`."""
    y_m: Float32
    """[h, w] as `x_m`."""
    distance_m: Float32
    """[h, w] horizontal distance from the camera, as `x_m`."""
    area_m2: Float32
    """[h, w] ground area under the pixel; 0 where it sees none."""

    def points_m(self, column: npt.NDArray[np.integer], row: npt.NDArray[np.integer]) -> Float64:
        """Return float64 [N, 2], x and y of pixels."""
        return np.array([self.x_m[row, column], self.y_m[row, column]], np.float64).T


@lru_cache(maxsize=8)
def plane_directions(camera: CameraModel) -> Float32:
    """Return float32 [h, w, 2]: (X / Z, Y / Z) of each pixel's ray in the optical frame, NaN where it has none."""
    rows, columns = np.indices((camera.height, camera.width))
    rays, valid = camera.rays(np.column_stack([columns.ravel(), rows.ravel()]))
    rays[~valid] = np.nan
    return (rays[:, :2] / rays[:, 2:]).astype(np.float32).reshape(camera.height, camera.width, 2)


def ground_places(directions: npt.NDArray[np.floating], pose: Pose) -> Complex128:
    """Return complex128 [...]: where rays [..., 2] of `plane_directions` meet the ground, x + iy in metres.

    One complex number instead of two halves the number of calls that a few hundred points cost. NaN where a ray meets no
    ground within `FARTHEST_M`.
    """
    xy = _intersect(directions.reshape(-1, 2), pose)
    return (xy[:, 0] + 1j * xy[:, 1]).reshape(directions.shape[:-1])


@lru_cache(maxsize=8)
def ground_table(camera: CameraModel, pose: Pose) -> GroundTable:
    """Return distance and ground area of every pixel; kept for the last eight pairs of camera and pose.

    The vehicle's own hood hides the ground.
    """
    shape = (camera.height, camera.width)
    xy = _intersect(plane_directions(camera).reshape(-1, 2), pose).reshape(*shape, 2)
    distance = np.hypot(xy[..., 0] - pose.translation_m[0], xy[..., 1] - pose.translation_m[1])
    down, right = np.gradient(xy, axis=0), np.gradient(xy, axis=1)
    area = np.nan_to_num(np.abs(down[..., 0] * right[..., 1] - down[..., 1] * right[..., 0]))
    area[camera.ground_height :] = 0
    xy[camera.ground_height :] = distance[camera.ground_height :] = np.nan
    x, y, distance, area = (v.astype(np.float32) for v in (xy[..., 0], xy[..., 1], distance, area))
    return GroundTable(x, y, distance, area)


@lru_cache(maxsize=8)
def ground_rows(camera: CameraModel, pose: Pose, max_range_m: float) -> slice:
    """Return the image rows in which ground within `max_range_m` is seen; an empty slice when there are none."""
    rows = np.flatnonzero((ground_table(camera, pose).distance_m <= max_range_m).any(axis=1))
    return slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)


@lru_cache(maxsize=32)
def above_ground(pose: Pose, ground_z_m: float) -> Pose:
    """Express a pose in a vehicle frame whose z = 0 is the ground, which lies at `ground_z_m` of the vehicle's own."""
    x, y, z = pose.translation_m
    return replace(pose, translation_m=(x, y, z - ground_z_m))


def _intersect(directions: npt.NDArray[np.floating], pose: Pose) -> Float64:
    """Meet rays (X / Z, Y / Z, 1) of the optical frame with z = 0 of the vehicle frame."""
    rotation, camera_at = pose.rotation, np.asarray(pose.translation_m)
    ray = directions @ rotation[:, :2].T + rotation[:, 2]
    with np.errstate(divide='ignore', invalid='ignore'):
        scale = -camera_at[2] / ray[:, 2]
        step = ray[:, :2] * scale[:, None]
        step[~((scale > 0) & (np.hypot(step[:, 0], step[:, 1]) <= FARTHEST_M))] = np.nan
    return np.asarray(step + camera_at[:2], np.float64)
