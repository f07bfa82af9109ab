"""Drawing order of convex solids that stand on the ground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seg_perception.scene.prism import stack_outlines
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
    stack = stack_outlines(outlines)
    repeated = np.arange(stack.counts.max()) % stack.counts[:, None] + stack.starts[:, None]
    corners, normals, offsets = stack.corners[repeated], stack.normals[repeated], stack.offsets[repeated]
    low, high = _bearings(corners - eye)
    distance = np.linalg.norm(corners - eye, axis=2).min(axis=1)
    centre = (low + high) / 2
    half = (high - low) / 2
    apart = np.abs((centre[:, None] - centre + np.pi) % (2 * np.pi) - np.pi) > half[:, None] + half
    i, j = np.nonzero(np.triu(~apart, 1))
    gap = np.empty((2, len(i)))
    eye_beyond = np.empty((2, len(i)), np.bool_)
    for k, (a, b) in enumerate(((i, j), (j, i))):
        gaps = (normals[a] @ corners[b].transpose(0, 2, 1)).min(axis=2) - offsets[a]  # of b beyond each edge of a
        widest = np.arange(len(i)), gaps.argmax(axis=1)
        gap[k] = gaps[widest]
        eye_beyond[k] = ((normals @ eye - offsets)[a] > 0)[widest]
    by_i = gap[0] >= gap[1]  # whose edge separates them
    j_first = np.where(by_i, ~eye_beyond[0], eye_beyond[1])
    j_first = np.where(gap.max(axis=0) < -0.01, distance[i] <= distance[j], j_first)
    return _sort(np.where(j_first, (j, i), (i, j)).T, distance)


def _bearings(relative: Float) -> tuple[Float, Float]:
    """Lowest and highest bearing of outlines [N, n, 2], not wrapped inside one outline."""
    angle = np.arctan2(relative[..., 1], relative[..., 0])
    turned = angle[:, :1] + (angle - angle[:, :1] + np.pi) % (2 * np.pi) - np.pi
    return turned.min(axis=1), turned.max(axis=1)


def _sort(pairs: npt.NDArray[np.intp], distance: Float) -> list[int]:
    """Topological order of pairs [N, 2] (before, after), far to near; a cycle (overlapping solids) is broken at the farthest one."""
    before = [0] * len(distance)  # sets of solids, a bit for each
    for first, second in pairs.tolist():
        before[second] |= 1 << first
    waiting, undrawn = np.argsort(-distance).tolist(), (1 << len(distance)) - 1
    order: list[int] = []
    while waiting:
        pick = next((i for i in waiting if not before[i] & undrawn), waiting[0])
        waiting.remove(pick)
        undrawn ^= 1 << pick
        order.append(pick)
    return order
