"""Convex prisms: their planes, and the face a ray enters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seg_perception.scene.types import Float

Float32 = npt.NDArray[np.float32]


def prism_planes(outline: Float, z_min: float, z_max: float) -> tuple[Float, Float]:
    """Outward normals [N + 2, 3] and offsets [N + 2] of a prism: its sides, top, bottom."""
    edges = np.roll(outline, -1, axis=0) - outline
    normals = np.column_stack([edges[:, 1], -edges[:, 0], np.zeros(len(edges))])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = (normals[:, :2] * outline).sum(axis=1)
    return np.vstack([normals, [0, 0, 1.0], [0, 0, -1.0]]), np.append(offsets, [z_max, -z_min])


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
    """Index + 1 of the face through which each ray enters a convex solid, 0 for a miss (Kay and Kajiya, 1986)."""
    speed = rays @ normals.T.astype(np.float32)
    with np.errstate(divide='ignore', invalid='ignore'):
        reach = distance / speed
    entering = np.where(speed < -1e-9, reach, -np.inf)
    leaving = np.where(speed > 1e-9, reach, np.inf).min(axis=1)
    outside = ((np.abs(speed) <= 1e-9) & (distance < 0)).any(axis=1)
    face = entering.argmax(axis=1)
    entry = entering.max(axis=1)
    hit = (entry < leaving) & (entry > 0) & ~outside & rays.any(axis=1)
    return np.where(hit, face + 1, 0).astype(np.uint8)
