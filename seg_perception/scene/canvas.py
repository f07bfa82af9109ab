"""Solids drawn over the ground, far to near.

A pixel's label is what the ray through its centre hits first. Faces are filled with OpenCV, which also touches
pixels that a polygon only grazes, so every pixel along an outline is decided by intersecting its ray with the prism.
What is drawn first is only which face a pixel shows; its colour is found once, when all are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose, max_angle_rad
from seg_perception.scene.prism import clip_polygon, entered_face, prism_planes
from seg_perception.scene.rays import Rays
from seg_perception.scene.types import OTHER, Float, Image, Part, Solid

SUBPIXEL_BITS = 4
EDGE_STEPS = 16
"""Pieces of an edge, which distortion bends."""
NEAREST_M = 0.02
Int32 = npt.NDArray[np.int32]


class Placed(NamedTuple):
    """A solid in the vehicle frame at one moment."""

    solid: Solid
    centre_m: Float  # [2]
    yaw_rad: float
    outlines_m: list[Float]  # one [N, 2] for each part, counter-clockwise


class _Prism(NamedTuple):
    """A part of a solid with those of its faces that the camera sees."""

    part: Part
    outline_m: Float
    label: int
    normals: Float
    distance: Float
    """Of the planes from the eye; negative: the eye is outside this face."""
    faces: list[tuple[int, Float]]
    """Number and corners [N, 3] in the optical frame, clipped to the picture."""


class Canvas:
    """One camera's picture while it is drawn."""

    def __init__(self, camera: CameraModel, pose: Pose, rays: Rays, image: Image, labels: Image) -> None:
        self._camera, self._pose, self._rays = camera, pose, rays
        self._image, self._labels = image, labels
        self._eye = np.asarray(pose.translation_m)
        self._limit = np.tan(max_angle_rad(camera) * 0.99)
        self._margins = np.where(rays.bounds[:, :2].any(axis=1), 0.0, NEAREST_M)
        self._shown = np.zeros(labels.shape, np.uint16)
        """Number of the face that a pixel shows, 0 for none."""
        self._faces: list[tuple[_Prism, int]] = []
        """The faces by their number, from 1."""

    def shadows(self, placed: Sequence[Placed]) -> None:
        """Darken the ground under and around vehicles and people."""
        outlines = [
            (p.outlines_m[0] - p.centre_m) * 1.12 + p.centre_m + (0.1, -0.15) for p in placed if p.solid.label != OTHER
        ]
        flat = [self._clipped(self._optical(np.column_stack([o, np.zeros(len(o))]))) for o in outlines]
        polygons = self._projected([f for f in flat if len(f)])
        if not polygons:
            return
        mask = np.zeros(self._labels.shape, np.uint8)
        for polygon in polygons:
            cv2.fillPoly(mask, [polygon], 110, shift=SUBPIXEL_BITS)
        part = np.s_[self._rays.first_row :]
        shade = cv2.subtract(255, cv2.blur(mask[part], (5, 5)))
        self._image[part] = cv2.multiply(self._image[part], cv2.merge([shade] * 3), scale=1 / 255)

    def draw(self, placed: Sequence[Placed]) -> None:
        """Draw solids, in this order."""
        seen = [self._prisms(p) for p in placed]
        polygons = iter(self._projected([corners for prisms in seen for p in prisms for _, corners in p.faces]))
        for p, prisms in zip(placed, seen, strict=True):
            for prism in prisms:
                self._fill(prism, [next(polygons) for _ in prism.faces])
            if p.solid.crown is not None:
                self._crown(p)
        self._paint()

    def _optical(self, points: Float) -> Float:
        return np.asarray((points - self._eye) @ self._pose.rotation)

    def _prisms(self, placed: Placed) -> list[_Prism]:
        """Return the parts of a solid that may be in the picture."""
        prisms = []
        for part, outline in zip(placed.solid.parts, placed.outlines_m, strict=True):
            count = len(outline)
            corners = np.empty((2 * count, 3))
            corners[:count, :2] = corners[count:, :2] = outline
            corners[:count, 2], corners[count:, 2] = part.z_min_m, part.z_max_m
            optical = self._optical(corners)
            inside = optical @ self._rays.bounds.T >= self._margins
            if not inside.any(axis=0).all():
                continue
            normals, offsets = prism_planes(outline, part.z_min_m, part.z_max_m)
            distance = offsets - normals @ self._eye
            faces = []
            for k in np.flatnonzero(distance < -1e-6).tolist():
                corner = _face(count, k)
                polygon = optical[corner]
                if not inside[corner].all():
                    polygon = self._clipped(polygon)
                if len(polygon):
                    faces.append((k, polygon))
            if faces:
                prisms.append(_Prism(part, outline, placed.solid.label, normals, distance, faces))
        return prisms

    def _clipped(self, optical: Float) -> Float:
        """Return the piece of a planar polygon [N, 3] that is in front of the camera and in the picture; [0, 3] if none."""
        for plane, margin in zip(self._rays.bounds, self._margins, strict=True):
            optical = clip_polygon(optical, plane, margin)
            if len(optical) < 3:
                return np.empty((0, 3))
        return optical

    def _projected(self, polygons: list[Float]) -> list[Int32]:
        """Project polygons of the optical frame with their curved edges; in units of 1/16 pixel."""
        if not polygons:
            return []
        ends = np.cumsum([len(p) for p in polygons])
        optical = np.vstack(polygons)
        following = np.arange(1, len(optical) + 1)
        following[ends - 1] = np.concatenate([[0], ends[:-1]])
        # Perspective spreads equal steps unequally: interpolate on the image plane instead.
        plane = optical[:, :2] / optical[:, 2:]
        steps = np.linspace(0, 1, EDGE_STEPS, endpoint=False)[:, None]
        points = (plane[:, None] + (plane[following] - plane)[:, None] * steps).reshape(-1, 2)
        radius = np.hypot(points[:, :1], points[:, 1:])
        points *= np.minimum(1.0, self._limit / np.maximum(radius, 1e-9))
        pixels, _ = self._camera.project(np.column_stack([points, np.ones(len(points))]))
        return np.split(np.rint(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32), ends[:-1] * EDGE_STEPS)

    def _fill(self, prism: _Prism, polygons: list[Int32]) -> None:
        x, y, width, height = cv2.boundingRect(np.concatenate(polygons))
        left, top = max(0, (x >> SUBPIXEL_BITS) - 1), max(0, (y >> SUBPIXEL_BITS) - 1)
        right = min(self._camera.width, (x + width >> SUBPIXEL_BITS) + 3)
        bottom = min(self._camera.height, (y + height >> SUBPIXEL_BITS) + 3)
        if right <= left or bottom <= top:
            return
        face = np.zeros((bottom - top, right - left), np.uint8)
        edge = np.zeros_like(face)
        corner = np.array([left, top], np.int32) << SUBPIXEL_BITS
        for (k, _), polygon in zip(prism.faces, polygons, strict=True):
            cv2.fillPoly(face, [polygon - corner], k + 1, shift=SUBPIXEL_BITS)
            cv2.polylines(edge, [polygon - corner], True, 1, 3, shift=SUBPIXEL_BITS)
        border = np.nonzero(edge)
        rays = self._rays.directions.reshape(*self._labels.shape, 3)[top + border[0], left + border[1]]
        face[border] = entered_face(rays, prism.normals, prism.distance)
        number = np.zeros(len(prism.distance) + 1, np.uint16)
        for k in np.flatnonzero(prism.distance < -1e-6).tolist():
            self._faces.append((prism, k))
            number[k + 1] = len(self._faces)
        np.copyto(self._shown[top:bottom, left:right], number[face], where=face > 0)

    def _paint(self) -> None:
        """Give every pixel that shows a face its colour and label."""
        shown = self._shown.ravel()
        pixels = np.flatnonzero(shown)
        pixels = pixels[np.argsort(shown[pixels], kind='stable')]
        ends = np.cumsum(np.bincount(shown[pixels], minlength=len(self._faces) + 1))
        rays, image, labels = self._rays.directions[pixels], self._image.reshape(-1, 3), self._labels.ravel()
        for i, (prism, k) in enumerate(self._faces):
            mine = slice(ends[i], ends[i + 1])
            if mine.start < mine.stop:
                image[pixels[mine]] = self._colors(prism, k, rays[mine])
                labels[pixels[mine]] = prism.label

    def _colors(self, prism: _Prism, k: int, rays: npt.NDArray[np.float32]) -> Image | tuple[int, int, int]:
        """Return the colours, uint8 [N, 3] or one, that rays [N, 3] see on a face."""
        part, outline = prism.part, prism.outline_m
        if k >= len(outline):
            return part.top
        normal, start, texture = prism.normals[k], outline[k], part.sides[k]
        side = outline[(k + 1) % len(outline)] - start
        along = side / (side @ side)
        axes = np.array([normal, [*along, 0.0], [0.0, 0.0, 1.0]], np.float32)
        toward, across, up = axes @ rays.T
        height, width = texture.shape[:2]
        reach = np.float32(prism.distance[k]) / toward
        u = reach * across + np.float32((self._eye[:2] - start) @ along)
        v = (np.float32(part.z_max_m - self._eye[2]) - reach * up) / np.float32(part.z_max_m - part.z_min_m)
        column = np.clip((u * width).astype(np.int32), 0, width - 1)
        row = np.clip((v * height).astype(np.int32), 0, height - 1)
        light = 0.82 + 0.18 * float(normal[:2] @ (0.6, -0.8))
        shaded = cv2.convertScaleAbs(texture, alpha=light).reshape(-1, 3)
        return np.asarray(shaded[row * width + column], np.uint8)

    def _crown(self, placed: Placed) -> None:
        """A picture turned to the camera; it hangs above all that drives and hides no ground."""
        assert placed.solid.crown is not None
        z, radius = placed.solid.crown_m
        optical = self._optical(np.array([[*placed.centre_m, z]]))
        (pixel,), (valid,) = self._camera.project(optical)
        depth = float(optical[0, 2])
        if not valid or depth < 1.0:
            return
        width, height = self._camera.width, self._camera.height
        size = round(2 * radius / depth * self._camera.fx)
        left, top = round(pixel[0] - size / 2), round(pixel[1] - size / 2)
        x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + size), min(height, top + size)
        if size < 2 or x0 >= x1 or y0 >= y1:
            return
        picture = cv2.resize(placed.solid.crown, (size, size), interpolation=cv2.INTER_LINEAR)
        picture = picture[y0 - top : y1 - top, x0 - left : x1 - left]
        solid = picture[..., 3] > 127
        self._image[y0:y1, x0:x1][solid] = picture[..., :3][solid]
        self._labels[y0:y1, x0:x1][solid] = placed.solid.label
        self._shown[y0:y1, x0:x1][solid] = 0


def _face(count: int, k: int) -> list[int]:
    """Return which corners make face k of a prism: those of its bottom come first, then those of its top."""
    if k >= count:
        return list(range(count, 2 * count)) if k == count else list(range(count))
    following = (k + 1) % count
    return [k, following, count + following, count + k]
