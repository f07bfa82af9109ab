"""Convex outlines and prisms: their planes, and the face a ray enters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.scene.types import Float

Float32 = npt.NDArray[np.float32]


class Outlines(NamedTuple):
    """Convex polygons, counter-clockwise, one after the other."""

    corners: Float  # [M, 2]
    normals: Float  # [M, 2] outward, of the edge that starts at each corner
    offsets: Float  # [M] of the edges along their normals
    starts: npt.NDArray[np.intp]  # [N] the first corner of each
    counts: npt.NDArray[np.intp]  # [N]


def stack_outlines(outlines: list[Float]) -> Outlines:
    """Put one or more outlines [n, 2] into one array: a call on all costs what one on each of them does."""
    corners, counts = np.concatenate(outlines), np.array([len(o) for o in outlines])
    starts = np.cumsum(counts) - counts
    following = np.arange(1, len(corners) + 1)
    following[starts + counts - 1] = starts
    edges = corners[following] - corners
    normals = np.column_stack([edges[:, 1], -edges[:, 0]]) / np.hypot(edges[:, :1], edges[:, 1:])
    return Outlines(corners, normals, (normals * corners).sum(axis=1), starts, counts)


def prism_planes(normals: Float, offsets: Float, z_min: float, z_max: float) -> tuple[Float, Float]:
    """Outward normals [N + 2, 3] and offsets [N + 2] of the prism over an outline's N edges: its sides, top, bottom."""
    planes = np.zeros((len(normals) + 2, 3))
    planes[:-2, :2] = normals
    planes[-2:, 2] = 1.0, -1.0
    return planes, np.concatenate([offsets, [z_max, -z_min]])


def clip_polygon(polygon: Float, plane: Float, margin: float) -> Float:
    """Sutherland-Hodgman against one plane through the origin (or `margin` beyond it)."""
    side = polygon @ plane - margin
    if (side >= 0).all():
        return polygon
    kept = []
    for i in range(len(polygon)):
        j = (i + 1) % len(polygon)
        if side[i] >= 0:
            kept.append(polygon[i])
        if (side[i] >= 0) != (side[j] >= 0):
            kept.append(polygon[i] + (polygon[j] - polygon[i]) * side[i] / (side[i] - side[j]))
    return np.array(kept).reshape(-1, 3)


def entered_face(rays: Float32, normals: Float, distance: Float) -> npt.NDArray[np.uint8]:
    """Index + 1 of the face through which each ray [N, 3] enters a convex solid, 0 for a miss (Kay and Kajiya, 1986).

    Args:
        normals: [P, 3] outward, of the planes.
        distance: [P] of the planes from the eye, at least one of them negative: the eye is outside.
    """
    speed, outside = normals.astype(np.float32) @ rays.T, distance < 0
    toward, away = speed[outside], speed[~outside]
    with np.errstate(divide='ignore', invalid='ignore'):
        reach = distance[outside, None] / toward
        leaving = np.where(away > 1e-9, distance[~outside, None] / away, np.inf).min(axis=0)
    entry = reach.max(axis=0)
    hit = (toward.max(axis=0) < -1e-9) & (entry < leaving)
    face = np.zeros(len(rays), np.uint8)
    for k, at in zip(np.flatnonzero(outside).tolist(), reach, strict=True):
        np.putmask(face, at == entry, k + 1)
    return np.asarray(face * hit, np.uint8)
