"""Solids drawn over the ground, near to far.

A pixel's label is what the ray through its centre hits first: every free pixel around a prism is decided by intersecting
its ray with it. A pixel once taken stays as it is, so what is hidden costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose, max_angle_rad
from seg_perception.compiled import compiled
from seg_perception.scene.prism import clip_polygon, prism_planes, stack_outlines
from seg_perception.scene.rays import Rays
from seg_perception.scene.types import OTHER, Float, Image, Part, Solid

SUBPIXEL_BITS = 4
EDGE_STEPS = 16
"""Pieces of an edge, which distortion bends."""
MARGIN_PX = 4
"""Around the projected corners and pieces of edges of a prism, where the bends between them are."""
NEAREST_M = 0.02
Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]
Window = tuple[int, int, int, int]
"""First row, row after the last, first column, column after the last."""


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
        self._free: Image = np.full(labels.shape, 255, np.uint8)
        """0 where a solid is drawn."""
        self._faces: Image = np.zeros(labels.shape, np.uint8)
        """Number + 1 of the face of the prism that is being drawn."""

    def shadows(self, placed: Sequence[Placed]) -> None:
        """Darken the ground under and around vehicles and people."""
        outlines = [
            (p.outlines_m[0] - p.centre_m) * 1.12 + p.centre_m + (0.1, -0.15) for p in placed if p.solid.label != OTHER
        ]
        flat = [self._clipped(self._optical(np.column_stack([o, np.zeros(len(o))]))) for o in outlines]
        mask = np.zeros(self._labels.shape, np.uint8)
        for polygon in self._projected([f for f in flat if len(f)]):
            cv2.fillPoly(mask, [polygon], 110, shift=SUBPIXEL_BITS)
        mask, image = mask[self._rays.first_row :], self._image[self._rays.first_row :]
        x, y, width, height = cv2.boundingRect(mask)
        if width:
            part = np.s_[max(0, y - 4) : y + height + 4, max(0, x - 4) : x + width + 4]
            shade = cv2.subtract(255, cv2.blur(mask[part], (5, 5)))
            cv2.multiply(image[part], cv2.merge([shade] * 3), dst=image[part], scale=1 / 255)

    def draw(self, placed: Sequence[Placed]) -> None:
        """Draw solids, given near to far."""
        prisms = self._prisms(placed) if placed else []
        polygons = iter(self._projected([corners for seen in prisms for p in seen for _, corners in p.faces]))
        for p, seen in zip(placed, prisms, strict=True):
            if p.solid.crown is not None:
                self._crown(p)
            for prism in seen:
                self._fill(prism, [next(polygons) for _ in prism.faces])

    def _optical(self, points: Float) -> Float:
        return np.asarray((points - self._eye) @ self._pose.rotation)

    def _prisms(self, placed: Sequence[Placed]) -> list[list[_Prism]]:
        """Return, for each solid, its parts that may be in the picture, the last to be drawn over the others first."""
        prisms: list[list[_Prism]] = [[] for _ in placed]
        parts = [(i, part) for i, p in enumerate(placed) for part in p.solid.parts]
        stack = stack_outlines([outline for p in placed for outline in p.outlines_m])
        corners = np.empty((len(stack.corners), 2, 3))
        corners[..., :2] = stack.corners[:, None]
        corners[..., 2] = np.repeat([(part.z_min_m, part.z_max_m) for _, part in parts], stack.counts, axis=0)
        optical = self._optical(corners)
        inside = (optical @ self._rays.bounds.T >= self._margins).any(axis=1)
        for n in np.flatnonzero(np.logical_or.reduceat(inside, stack.starts).all(axis=1)).tolist():
            own = np.s_[stack.starts[n] : stack.starts[n] + stack.counts[n]]
            i, part = parts[n]
            normals, offsets = prism_planes(stack.normals[own], stack.offsets[own], part.z_min_m, part.z_max_m)
            distance = offsets - normals @ self._eye
            faces = [(k, self._clipped(_face(optical[own], k))) for k in np.flatnonzero(distance < 0).tolist()]
            faces = [(k, polygon) for k, polygon in faces if len(polygon)]
            if faces:
                prisms[i].insert(0, _Prism(part, stack.corners[own], placed[i].solid.label, normals, distance, faces))
        return prisms

    def _clipped(self, optical: Float) -> Float:
        """Return the piece of a planar polygon [N, 3] that is in front of the camera and in the picture; [0, 3] if none."""
        inside = optical @ self._rays.bounds.T >= self._margins
        if inside.all():
            return optical
        if not inside.any(axis=0).all():
            return np.empty((0, 3))
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
        left, top = (max(0, (v >> SUBPIXEL_BITS) - MARGIN_PX) for v in (x, y))
        right = min(self._camera.width, (x + width >> SUBPIXEL_BITS) + MARGIN_PX)
        bottom = min(self._camera.height, (y + height >> SUBPIXEL_BITS) + MARGIN_PX)
        rays, window = self._rays.directions, (top, bottom, left, right)
        planes = prism.normals / np.where(prism.distance == 0, 1e-12, prism.distance)[:, None]
        _take(self._free, self._labels, self._faces, rays, window, planes, prism.distance < 0, prism.label)
        for k, _ in prism.faces:
            _paint(self._image, self._faces, rays, window, k, *self._surface(prism, k))

    def _surface(self, prism: _Prism, k: int) -> tuple[Image, Float, float]:
        """Return the texture of a face; the matrix from a ray to its column, row and divisor there; and how bright it is."""
        part, outline = prism.part, prism.outline_m
        matrix = np.zeros((3, 3))
        matrix[2] = normal = prism.normals[k]
        if k >= len(outline):
            return np.array([[part.top]], np.uint8), matrix, 1.0
        start, texture = outline[k], part.sides[k]
        side = outline[(k + 1) % len(outline)] - start
        along = side / (side @ side)
        height, width = texture.shape[:2]
        rise = height / (part.z_max_m - part.z_min_m)
        # A ray r meets the plane at r * distance / (normal . r): texture coordinates are linear in r but for that division.
        reach = prism.distance[k] * np.array([[*along * width, 0.0], [0.0, 0.0, -rise]])
        shift = np.array([(self._eye[:2] - start) @ along * width, (part.z_max_m - self._eye[2]) * rise]) - 0.5
        matrix[:2] = reach + shift[:, None] * normal
        return texture, matrix, 0.82 + 0.18 * float(normal[:2] @ (0.6, -0.8))

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
        free = self._free[y0:y1, x0:x1]
        if not cv2.countNonZero(free):
            return
        picture = cv2.resize(placed.solid.crown, (size, size), interpolation=cv2.INTER_LINEAR)
        picture = picture[y0 - top : y1 - top, x0 - left : x1 - left]
        solid = cv2.bitwise_and(cv2.compare(picture[..., 3], 127, cv2.CMP_GT), free)
        cv2.copyTo(picture[..., :3], solid, self._image[y0:y1, x0:x1])
        np.copyto(self._labels[y0:y1, x0:x1], placed.solid.label, where=solid > 0)
        cv2.subtract(free, solid, dst=free)


def _face(corners: Float, k: int) -> Float:
    """Return the corners of face k of a prism, given those of its bottom and top, [N, 2, 3]."""
    count = len(corners)
    if k >= count:
        return corners[:, 1 if k == count else 0]
    following = (k + 1) % count
    return corners[[k, following, following, k], [0, 0, 1, 1]]


@compiled(
    'void(uint8[:, ::1], uint8[:, ::1], uint8[:, ::1], float32[:, :, ::1], UniTuple(int64, 4), float64[:, ::1], boolean[::1], int64)'
)
def _take(
    free: Image,
    labels: Image,
    faces: Image,
    rays: Float32,
    window: Window,
    planes: Float,
    outside: npt.NDArray[np.bool_],
    label: int,
) -> None:
    """Take the free pixels of a window whose rays enter a convex solid (Kay and Kajiya, 1986); note through which face.

    Args:
        planes: [P, 3] outward normals, each over the distance of its plane from the eye.
        outside: [P] whether the eye is outside of a plane; it is of one at least.
    """
    top, bottom, left, right = window
    for y in range(top, bottom):
        line, ray = free[y, left:right], rays[y, left:right]
        found, names = faces[y, left:right], labels[y, left:right]
        for x in range(right - left):
            found[x] = 0
            if not line[x]:
                continue
            # A plane is met after 1 / nearness rays: behind all planes that face the eye, before all others.
            entry, leaving, face = np.inf, 0.0, 0
            for k in range(len(planes)):
                nearness = planes[k, 0] * ray[x, 0] + planes[k, 1] * ray[x, 1] + planes[k, 2] * ray[x, 2]
                if not outside[k]:
                    leaving = max(leaving, nearness)
                elif nearness < entry:
                    entry, face = nearness, k + 1
                if entry <= leaving:
                    break
            if entry > leaving:
                found[x], names[x], line[x] = face, label, 0


@compiled(
    'void(uint8[:, :, ::1], uint8[:, ::1], float32[:, :, ::1], UniTuple(int64, 4), int64, uint8[:, :, ::1], float64[:, ::1], float64)'
)
def _paint(
    image: Image,
    faces: Image,
    rays: Float32,
    window: Window,
    face: int,
    texture: Image,
    matrix: Float,
    brightness: float,
) -> None:
    """Paint the pixels that were taken through a face with the nearest pixel of its texture."""
    top, bottom, left, right = window
    rows, columns = texture.shape[:2]
    for y in range(top, bottom):
        found, ray, picture = faces[y, left:right], rays[y, left:right], image[y, left:right]
        for x in range(right - left):
            if found[x] != face + 1:
                continue
            rx, ry, rz = ray[x, 0], ray[x, 1], ray[x, 2]
            scale = 1 / (matrix[2, 0] * rx + matrix[2, 1] * ry + matrix[2, 2] * rz)
            u = (matrix[0, 0] * rx + matrix[0, 1] * ry + matrix[0, 2] * rz) * scale
            v = (matrix[1, 0] * rx + matrix[1, 1] * ry + matrix[1, 2] * rz) * scale
            column, row = int(min(max(u, 0.0), columns - 1) + 0.5), int(min(max(v, 0.0), rows - 1) + 0.5)
            for c in range(3):
                picture[x, c] = int(texture[row, column, c] * brightness + 0.5)
