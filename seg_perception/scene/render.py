"""Pictures and exact labels of one camera: ground by a ray per pixel, solids from near to far."""

from __future__ import annotations

import cv2
import numpy as np

from seg_perception.camera import Pose
from seg_perception.scene.canvas import Canvas, Placed
from seg_perception.scene.ground import CELL_M, HALF_WIDTH_M, Ground
from seg_perception.scene.order import far_to_near
from seg_perception.scene.rays import NOISE_LEVEL, Rays, camera_rays
from seg_perception.scene.road import Road
from seg_perception.scene.types import OTHER, PAVEMENT, CameraView, Image, Mounting

GRASS = (96, 112, 70)


def render(
    mounting: Mounting, ground: Ground, road: Road, odom_from_vehicle: Pose, placed: list[Placed], moment: int = 0
) -> CameraView:
    """Draw one camera's view of solids placed in the vehicle frame; `moment` varies the sensor noise."""
    camera, pose = mounting
    rays = camera_rays(camera, pose)
    image = rays.backdrop.copy()
    labels = np.full(image.shape[:2], OTHER, np.uint8)
    canvas = Canvas(camera, pose, rays, image, labels)
    if rays.first_row < camera.height:
        _draw_ground(rays, ground, road, odom_from_vehicle, image, labels)
        canvas.shadows(placed)
    order = far_to_near([p.outlines_m[0] for p in placed], np.asarray(pose.translation_m[:2]))
    canvas.draw([placed[i] for i in reversed(order)])
    # A lens and a sensor: no edge is sharp to the pixel, no surface without noise.
    grain = np.roll(rays.grain, 37 * moment % image.shape[0], axis=0)
    soft = cv2.GaussianBlur(image, (3, 3), 0.6)
    image = np.asarray(cv2.subtract(cv2.add(soft, grain), (NOISE_LEVEL,) * 3 + (0,)), np.uint8)
    return CameraView(image, labels)


def _draw_ground(rays: Rays, ground: Ground, road: Road, pose: Pose, image: Image, labels: Image) -> None:
    r, t = pose.rotation.astype(np.float32), np.asarray(pose.translation_m, np.float32)
    x, y = (r[k, 0] * rays.ground_x for k in (0, 1))
    for k, odom in enumerate((x, y)):
        odom += r[k, 1] * rays.ground_y
        odom += t[k]
    row, column = cv2.split(road.coordinates(x, y))
    # Raster cell (i, j) covers [i, i + 1) cells: its centre is half a cell in.
    for place, start in ((row, ground.start_m), (column, -HALF_WIDTH_M)):
        place -= np.float32(start)
        place *= np.float32(1 / CELL_M)
        place -= np.float32(0.5)
    part, constant = np.s_[rays.first_row :], cv2.BORDER_CONSTANT
    sampled = cv2.remap(ground.labels, column, row, cv2.INTER_NEAREST, None, constant, PAVEMENT)
    far, near = np.s_[: rays.far_row], np.s_[rays.far_row :]
    picture = np.empty((*row.shape, 3), np.uint8)
    picture[near] = cv2.remap(ground.image, column[near], row[near], cv2.INTER_LINEAR, None, constant, GRASS)
    if rays.far_row:
        u, v = (column[far] - np.float32(1.5)) / 4, (row[far] - np.float32(1.5)) / 4
        picture[far] = cv2.remap(ground.coarse, u, v, cv2.INTER_LINEAR, None, constant, GRASS)
    cv2.copyTo(sampled, rays.is_ground, labels[part])
    cv2.copyTo(picture, rays.is_ground, image[part])
