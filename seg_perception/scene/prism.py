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
