"""Drawing order of convex solids that stand on the ground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seg_perception.scene.types import Float


def far_to_near(outlines: list[Float], eye: Float) -> list[int]:
    """Return the order in which no solid is drawn over one that hides it.

    Two disjoint convex outlines are separated by the line through an edge of one of them; the solid on the eye's
    side hides the other. Sorting by distance alone fails for long walls.

    Args:
        outlines: convex polygons [N, 2], counter-clockwise, disjoint (touching ones fall back to distance).
        eye: [2] position of the camera, outside all outlines.
    """
    if not outlines:
        return []
    starts = np.cumsum([0, *(len(o) for o in outlines[:-1])])
    corners = np.vstack(outlines)
    owner = np.repeat(np.arange(len(outlines)), [len(o) for o in outlines])
    edges = np.vstack([np.roll(o, -1, axis=0) - o for o in outlines])
    normals = np.column_stack([edges[:, 1], -edges[:, 0]]) / np.linalg.norm(edges, axis=1, keepdims=True)
    offsets = (normals * corners).sum(axis=1)
    gap = np.minimum.reduceat(corners @ normals.T - offsets, starts, axis=0)  # [solid, edge]
    best = np.maximum.reduceat(gap, starts, axis=1)  # [solid j, solid i]: widest gap beyond an edge of i
    eye_outside = normals @ eye - offsets > 0
    low, high = _bearings(corners - eye, starts, owner)
    distance = np.minimum.reduceat(np.linalg.norm(corners - eye, axis=1), starts)
    centre = (low + high) / 2
    half = (high - low) / 2
    apart = np.abs((centre[:, None] - centre + np.pi) % (2 * np.pi) - np.pi) > half[:, None] + half
    before: list[set[int]] = [set() for _ in outlines]
    for i, j in np.argwhere(np.triu(~apart, 1)):
        first, second = (i, j) if best[j, i] >= best[i, j] else (j, i)  # the separating edge belongs to `first`
        edge = starts[first] + int(gap[second, owner == first].argmax())
        if gap[second, edge] < -0.01:
            hidden, hider = (i, j) if distance[i] > distance[j] else (j, i)
        else:
            hidden, hider = (first, second) if eye_outside[edge] else (second, first)
        before[int(hider)].add(int(hidden))
    return _sort(before, distance)


def _bearings(relative: Float, starts: npt.NDArray[np.intp], owner: npt.NDArray[np.intp]) -> tuple[Float, Float]:
    """Lowest and highest bearing of each outline, not wrapped inside one outline."""
    angle = np.arctan2(relative[:, 1], relative[:, 0])
    reference = angle[starts][owner]
    turned = reference + (angle - reference + np.pi) % (2 * np.pi) - np.pi
    return np.minimum.reduceat(turned, starts), np.maximum.reduceat(turned, starts)


def _sort(before: list[set[int]], distance: Float) -> list[int]:
    """Topological order; a cycle (overlapping solids) is broken at the farthest one."""
    waiting = set(range(len(before)))
    order: list[int] = []
    while waiting:
        ready = [i for i in waiting if not before[i] & waiting] or list(waiting)
        pick = max(ready, key=lambda i: float(distance[i]))
        order.append(pick)
        waiting.remove(pick)
    return order
