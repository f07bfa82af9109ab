"""What is constant for one camera at one mounting: a ray per pixel, where it meets the ground, sky and sensor noise."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.scene.types import Float, Image

HORIZON_M = 220.0
COARSE_FROM_M = 18.0
NOISE_LEVEL = 8
Float32 = npt.NDArray[np.float32]


class Rays(NamedTuple):
    """Constant for one camera at one mounting."""

    directions: Float32  # [H, W, 3] vehicle frame; zero where the pixel has no ray
    first_row: int  # of the image part that holds ground
    ground_x: Float32  # [h, W] where the ray meets the ground, vehicle frame; clipped to HORIZON_M
    ground_y: Float32
    is_ground: Image  # [h, W] 1 or 0
    far_row: int  # rows of that part above this one use the coarse picture
    backdrop: Image  # [H, W, 3] sky
    grain: Image  # [H, W, 3] sensor noise around NOISE_LEVEL
    bounds: Float  # [5, 3] planes through the optical centre that enclose the picture: inside is >= 0


@lru_cache(maxsize=8)
def _optical_rays(camera: CameraModel) -> tuple[Float, npt.NDArray[np.bool_]]:
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    return camera.rays(np.column_stack([u.ravel(), v.ravel()]))


@lru_cache(maxsize=8)
def camera_rays(camera: CameraModel, pose: Pose) -> Rays:
    """Build the tables of one camera (ground at z = 0)."""
    optical, valid = _optical_rays(camera)
    directions = (optical @ pose.rotation.T).astype(np.float32)
    directions[~valid] = 0
    shape = (camera.height, camera.width)
    down = directions[:, 2].reshape(shape)
    height = pose.translation_m[2]
    distance = np.where(down < -1e-6, height / np.maximum(-down, 1e-6), np.float32(1e6))
    horizontal = distance * np.hypot(directions[:, 0], directions[:, 1]).reshape(shape)
    is_ground = (down < 0) & (horizontal < HORIZON_M)
    rows = np.flatnonzero(is_ground.any(axis=1))
    first = int(rows[0]) if len(rows) else camera.height
    part = np.s_[first:]
    scale = np.where(is_ground, distance, 0)[part].astype(np.float32)
    x = scale * directions[:, 0].reshape(shape)[part] + np.float32(pose.translation_m[0])
    y = scale * directions[:, 1].reshape(shape)[part] + np.float32(pose.translation_m[1])
    near: npt.NDArray[np.bool_] = np.asarray(((horizontal < COARSE_FROM_M) & is_ground)[part].any(axis=1))
    tangent = optical[valid, :2] / optical[valid, 2:]
    (left, top), (right, bottom) = tangent.min(axis=0) - 0.01, tangent.max(axis=0) + 0.01
    bounds = np.array([[1, 0, -left], [-1, 0, right], [0, 1, -top], [0, -1, bottom], [0, 0, 1.0]])
    return Rays(
        directions.reshape(*shape, 3),
        first,
        x,
        y,
        is_ground[part].astype(np.uint8),
        int(near.argmax()) if near.any() else len(near),
        _sky(down),
        _grain(shape),
        bounds,
    )


def _grain(shape: tuple[int, ...]) -> Image:
    noise = np.random.default_rng(0).normal(NOISE_LEVEL, 2.0, (*shape, 3))
    return np.clip(np.rint(noise), 0, 255).astype(np.uint8)


def _sky(down: Float32) -> Image:
    """Gradient by elevation, with haze and a dark treeline at the horizon."""
    up = np.clip(down[..., None], 0, 1)
    blend = np.clip(up * 2.2, 0, 1)
    sky = (1 - blend) * np.array([218, 224, 230]) + blend * np.array([124, 166, 216])
    sky[down < 0.02] = (112, 118, 108)
    return np.asarray(cv2.blur(sky.astype(np.uint8), (1, 5)), np.uint8)
