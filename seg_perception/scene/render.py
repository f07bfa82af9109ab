"""Pictures and exact labels of one camera: ground by a ray per pixel, solids by the painter's algorithm.

A pixel's label is what the ray through its centre hits first. Faces are filled with OpenCV, which also touches
pixels that a polygon only grazes, so every pixel along an outline is decided by intersecting its ray with the prism.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose, max_angle_rad
from seg_perception.scene.ground import CELL_M, HALF_WIDTH_M, Ground
from seg_perception.scene.order import far_to_near
from seg_perception.scene.prism import clip_polygon, entered_face, face_corners, prism_planes
from seg_perception.scene.road import Road
from seg_perception.scene.types import OTHER, PAVEMENT, CameraView, Float, Image, Mounting, Part, Solid

HORIZON_M = 220.0
COARSE_FROM_M = 18.0
SUBPIXEL_BITS = 4
GRASS = (96, 112, 70)
NOISE_LEVEL = 8
Float32 = npt.NDArray[np.float32]


class Placed(NamedTuple):
    """A solid in the vehicle frame at one moment."""

    solid: Solid
    centre_m: Float  # [2]
    yaw_rad: float
    outlines_m: list[Float]  # one [N, 2] for each part, counter-clockwise


class Rays(NamedTuple):
    """Constant for one camera at one mounting."""

    directions: Float32  # [H * W, 3] vehicle frame; zero where the pixel has no ray
    first_row: int  # of the image part that holds ground
    ground_x: Float32  # [h, W] where the ray meets the ground, vehicle frame; clipped to HORIZON_M
    ground_y: Float32
    is_ground: npt.NDArray[np.bool_]  # [h, W]
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
        directions,
        first,
        x,
        y,
        is_ground[part],
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


def render(
    mounting: Mounting, ground: Ground, road: Road, odom_from_vehicle: Pose, placed: list[Placed], moment: int = 0
) -> CameraView:
    """Draw one camera's view of solids placed in the vehicle frame; `moment` varies the sensor noise."""
    camera, pose = mounting
    rays = camera_rays(camera, pose)
    image = rays.backdrop.copy()
    labels = np.full(image.shape[:2], OTHER, np.uint8)
    _draw_ground(rays, ground, road, odom_from_vehicle, image, labels)
    canvas = _Canvas(camera, pose, rays, image, labels)
    canvas.shadows(placed)
    position = np.asarray(pose.translation_m[:2])
    for index in far_to_near([p.outlines_m[0] for p in placed], position):
        canvas.draw(placed[index])
    # A lens and a sensor: no edge is sharp to the pixel, no surface without noise.
    grain = np.roll(rays.grain, 37 * moment % image.shape[0], axis=0)
    soft = cv2.GaussianBlur(image, (3, 3), 0.6)
    image = np.asarray(cv2.subtract(cv2.add(soft, grain), (NOISE_LEVEL,) * 3 + (0,)), np.uint8)
    return CameraView(image, labels)


def _draw_ground(rays: Rays, ground: Ground, road: Road, pose: Pose, image: Image, labels: Image) -> None:
    r, t = pose.rotation.astype(np.float32), np.asarray(pose.translation_m, np.float32)
    x = r[0, 0] * rays.ground_x + r[0, 1] * rays.ground_y + t[0]
    y = r[1, 0] * rays.ground_x + r[1, 1] * rays.ground_y + t[1]
    place = road.coordinates(x, y)
    # Raster cell (i, j) covers [i, i + 1) cells: its centre is half a cell in.
    row = (place[..., 0] - np.float32(ground.start_m)) * np.float32(1 / CELL_M) - np.float32(0.5)
    column = (place[..., 1] + np.float32(HALF_WIDTH_M)) * np.float32(1 / CELL_M) - np.float32(0.5)
    part, constant = np.s_[rays.first_row :], cv2.BORDER_CONSTANT
    sampled = cv2.remap(ground.labels, column, row, cv2.INTER_NEAREST, None, constant, PAVEMENT)
    far, near = np.s_[: rays.far_row], np.s_[rays.far_row :]
    picture = np.empty((*row.shape, 3), np.uint8)
    picture[near] = cv2.remap(ground.image, column[near], row[near], cv2.INTER_LINEAR, None, constant, GRASS)
    if rays.far_row:
        u, v = (column[far] - np.float32(1.5)) / 4, (row[far] - np.float32(1.5)) / 4
        picture[far] = cv2.remap(ground.coarse, u, v, cv2.INTER_LINEAR, None, constant, GRASS)
    np.copyto(labels[part], sampled, where=rays.is_ground)
    np.copyto(image[part], picture, where=rays.is_ground[..., None])


class _Canvas:
    def __init__(self, camera: CameraModel, pose: Pose, rays: Rays, image: Image, labels: Image) -> None:
        self.camera, self.pose, self.rays = camera, pose, rays
        self.image, self.labels = image, labels
        self.eye = np.asarray(pose.translation_m)
        self.limit = np.tan(max_angle_rad(camera) * 0.99)

    def outline(self, corners: Float) -> npt.NDArray[np.int32] | None:
        """Project a planar polygon [N, 3] with its curved edges; None when it is outside the picture."""
        optical = (corners - self.eye) @ self.pose.rotation
        for plane in self.rays.bounds:
            optical = clip_polygon(optical, plane, 0.02 if plane[2] == 1.0 and not plane[:2].any() else 0.0)
            if len(optical) < 3:
                return None
        following = np.roll(optical, -1, axis=0)
        steps = np.linspace(0, 1, 16, endpoint=False)[:, None]
        # Perspective spreads equal steps unequally: interpolate on the image plane instead.
        a, b = optical[:, None, :2] / optical[:, None, 2:], following[:, None, :2] / following[:, None, 2:]
        plane_points = (a + (b - a) * steps).reshape(-1, 2)
        radius = np.linalg.norm(plane_points, axis=1, keepdims=True)
        plane_points *= np.minimum(1.0, self.limit / np.maximum(radius, 1e-9))
        pixels, _ = self.camera.project(np.column_stack([plane_points, np.ones(len(plane_points))]))
        return np.rint(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)

    def shadows(self, placed: list[Placed]) -> None:
        """Darken the ground under and around vehicles and people."""
        mask = np.zeros(self.labels.shape, np.uint8)
        for p in placed:
            if p.solid.label == OTHER:
                continue
            outline = (p.outlines_m[0] - p.centre_m) * 1.12 + p.centre_m + (0.1, -0.15)
            polygon = self.outline(np.column_stack([outline, np.zeros(len(outline))]))
            if polygon is not None:
                cv2.fillPoly(mask, [polygon], 110, shift=SUBPIXEL_BITS)
        part = np.s_[self.rays.first_row :]
        if not mask[part].any():
            return
        shade = cv2.subtract(255, cv2.blur(mask[part], (5, 5)))
        self.image[part] = cv2.multiply(self.image[part], cv2.merge([shade] * 3), scale=1 / 255)

    def draw(self, placed: Placed) -> None:
        """Draw all parts of one solid."""
        for part, outline in zip(placed.solid.parts, placed.outlines_m, strict=True):
            self._prism(part, outline, placed.solid.label)
        if placed.solid.crown is not None:
            self._crown(placed)

    def _prism(self, part: Part, outline: Float, label: int) -> None:
        normals, offsets = prism_planes(outline, part.z_min_m, part.z_max_m)
        distance = offsets - normals @ self.eye  # negative: the eye is outside this face
        faces = [(k, self.outline(face_corners(outline, part, k))) for k in np.flatnonzero(distance < -1e-6)]
        polygons = [(k, p) for k, p in faces if p is not None]
        if not polygons:
            return
        corners = np.vstack([p for _, p in polygons]) / (1 << SUBPIXEL_BITS)
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, (self.camera.width, self.camera.height))
        if (high <= low).any():
            return
        face = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        edge = np.zeros_like(face)
        for k, p in polygons:
            local = p - low.astype(np.int32) * (1 << SUBPIXEL_BITS)
            cv2.fillPoly(face, [local], int(k) + 1, shift=SUBPIXEL_BITS)
            cv2.polylines(edge, [local], True, 1, 3, shift=SUBPIXEL_BITS)
        pixel = np.arange(low[1], high[1])[:, None] * self.camera.width + np.arange(low[0], high[0])
        border = edge > 0
        face[border] = entered_face(self.rays.directions[pixel[border]], normals, distance)
        for k in np.unique(face[face > 0]) - 1:
            chosen = pixel[face == k + 1]
            self._paint(chosen, part, outline, int(k), normals[k], distance[k])
            self.labels.ravel()[chosen] = label

    def _paint(
        self, pixels: npt.NDArray[np.intp], part: Part, outline: Float, k: int, normal: Float, distance: float
    ) -> None:
        colors = self.image.reshape(-1, 3)
        if k >= len(outline):
            colors[pixels] = part.top
            return
        rays = self.rays.directions[pixels]
        reach = np.float32(distance) / (rays @ normal.astype(np.float32))
        start, end = outline[k], outline[(k + 1) % len(outline)]
        along = ((end - start) / ((end - start) @ (end - start))).astype(np.float32)
        texture = part.sides[k]
        u = reach * (rays[:, :2] @ along) + np.float32((self.eye[:2] - start) @ along)
        v = (np.float32(part.z_max_m - self.eye[2]) - reach * rays[:, 2]) / np.float32(part.z_max_m - part.z_min_m)
        column = np.clip((u * texture.shape[1]).astype(np.int32), 0, texture.shape[1] - 1)
        row = np.clip((v * texture.shape[0]).astype(np.int32), 0, texture.shape[0] - 1)
        light = 0.82 + 0.18 * float(normal[:2] @ (0.6, -0.8))
        shaded = cv2.convertScaleAbs(texture, alpha=light)
        colors[pixels] = shaded.reshape(-1, 3)[row * texture.shape[1] + column]

    def _crown(self, placed: Placed) -> None:
        """A picture turned to the camera; it hangs above all that drives and hides no ground."""
        assert placed.solid.crown is not None
        z, radius = placed.solid.crown_m
        centre = np.array([*placed.centre_m, z])
        (pixel,), (valid,) = self.camera.project(((centre - self.eye) @ self.pose.rotation)[None])
        depth = float(((centre - self.eye) @ self.pose.rotation)[2])
        if not valid or depth < 1.0:
            return
        size = round(2 * radius / depth * self.camera.fx)
        left, top = round(pixel[0] - size / 2), round(pixel[1] - size / 2)
        x0, y0, x1, y1 = (
            max(0, left),
            max(0, top),
            min(self.camera.width, left + size),
            min(self.camera.height, top + size),
        )
        if size < 2 or x0 >= x1 or y0 >= y1:
            return
        picture = cv2.resize(placed.solid.crown, (size, size), interpolation=cv2.INTER_LINEAR)
        picture = picture[y0 - top : y1 - top, x0 - left : x1 - left]
        solid = picture[..., 3] > 127
        self.image[y0:y1, x0:x1][solid] = picture[..., :3][solid]
        self.labels[y0:y1, x0:x1][solid] = placed.solid.label
