"""What a perfect grid would say, computed from the geometry alone.

Nothing here uses an image or the grid's code: a cell is seen when the straight line from a camera to its centre
on the ground stays in the picture and meets no solid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.camera import Pose
from seg_perception.scene.canvas import Placed
from seg_perception.scene.ground import CELL_M, HALF_WIDTH_M, Ground
from seg_perception.scene.road import Road
from seg_perception.scene.types import PAVEMENT, Float, Mounting

FREE, OCCUPIED, HIDDEN = 0, 100, -1
Bool = npt.NDArray[np.bool_]


class Window(NamedTuple):
    """The part of the vehicle frame that a truth grid covers; the defaults are those of the shipped grid."""

    resolution_m: float = 0.1
    x_min_m: float = 0.0
    x_max_m: float = 40.0
    y_min_m: float = -20.0
    y_max_m: float = 20.0


DEFAULT_WINDOW = Window()


class TruthGrid(NamedTuple):
    """Cells [rows (y), columns (x)] in the vehicle frame, judged at their centres."""

    cells: npt.NDArray[np.int8]  # 0 free, 100 occupied, -1 not visible from any camera
    occupied: Bool  # whether seen or not
    visible: Bool
    window: Window


class FirstObstacles(NamedTuple):
    """Ranges on the ground from the point below a camera, in metres; infinite where there is none."""

    solid_m: Float  # [N] to the first solid
    edge_m: Float  # [N] to the first ground that is not drivable, or the first solid
    solid_seen: Bool  # [N] the camera's picture holds the point at solid_m
    edge_seen: Bool
    near_m: Float  # [N] where the ground along the bearing enters the picture; infinite where it does not


class World(NamedTuple):
    """One moment: the ground, and every solid in the vehicle frame."""

    ground: Ground
    road: Road
    odom_from_vehicle: Pose
    placed: list[Placed]


def truth_grid(world: World, cameras: Mapping[str, Mounting], window: Window) -> TruthGrid:
    """Judge every cell of the window."""
    columns = round((window.x_max_m - window.x_min_m) / window.resolution_m)
    rows = round((window.y_max_m - window.y_min_m) / window.resolution_m)
    x = window.x_min_m + (np.arange(columns) + 0.5) * window.resolution_m
    y = window.y_min_m + (np.arange(rows) + 0.5) * window.resolution_m
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    near = _within(world.placed, window)
    under = np.zeros(len(points), np.bool_)
    for p in near:
        under |= _inside(p.outlines_m[0], points)
    occupied = under | ~_drivable(world, points)
    visible = np.zeros(len(points), np.bool_)
    for mounting in cameras.values():
        visible |= _seen(mounting, near, points)
    visible &= ~under
    for p in near:
        cells = _contact_cells(p, near, cameras, window, (rows, columns))
        visible[cells[under[cells]]] = True
    state: npt.NDArray[np.int8] = np.full(len(points), HIDDEN, np.int8)
    state[visible] = np.where(occupied[visible], OCCUPIED, FREE)
    shape = (rows, columns)
    return TruthGrid(state.reshape(shape), occupied.reshape(shape), visible.reshape(shape), window)


def first_obstacles(world: World, mounting: Mounting, bearings_rad: Float, limit_m: float) -> FirstObstacles:
    """Intersect rays on the ground with every footprint, and walk them over the ground in 2 cm steps."""
    eye = np.asarray(mounting[1].translation_m[:2])
    direction = np.column_stack([np.cos(bearings_rad), np.sin(bearings_rad)])
    solid: Float = np.full(len(bearings_rad), np.inf, np.float64)
    for p in world.placed:
        outline = p.outlines_m[0]
        if np.linalg.norm(outline - eye, axis=1).min() < limit_m + 20.0:
            enter, leave = _crossing(outline, eye, direction)
            solid = np.where((enter < leave) & (leave > 0), np.minimum(solid, np.maximum(enter, 0)), solid)
    steps = np.arange(0.01, limit_m, 0.02)
    points = eye + steps[None, :, None] * direction[:, None]
    closed = ~_drivable(world, points.reshape(-1, 2)).reshape(points.shape[:2])
    flat = np.where(closed.any(axis=1), steps[closed.argmax(axis=1)], np.inf)
    edge = np.minimum(flat, solid)
    solid[solid > limit_m] = np.inf
    held = _project(mounting, points.reshape(-1, 2)).reshape(closed.shape)
    near = np.where(held.any(axis=1), steps[held.argmax(axis=1)], np.inf)
    return FirstObstacles(
        solid, edge, _in_picture(mounting, eye, direction, solid), _in_picture(mounting, eye, direction, edge), near
    )


def _in_picture(mounting: Mounting, eye: Float, direction: Float, distance: Float) -> Bool:
    finite = np.isfinite(distance)
    points = eye + np.where(finite, distance, 1.0)[:, None] * direction
    return np.asarray(_project(mounting, points) & finite)


def _project(mounting: Mounting, points: Float) -> Bool:
    """Whether ground points [N, 2] fall inside the picture."""
    camera, pose = mounting
    ground = np.column_stack([points, np.zeros(len(points))])
    pixels, valid = camera.project((ground - np.asarray(pose.translation_m)) @ pose.rotation)
    size = np.array([camera.width, camera.height])
    inside = ((pixels >= -0.5) & (pixels < size - 0.5)).all(axis=1)
    return np.asarray(valid & inside)


def _within(placed: list[Placed], window: Window) -> list[Placed]:
    low, high = (window.x_min_m - 6.0, window.y_min_m - 6.0), (window.x_max_m + 1.0, window.y_max_m + 1.0)
    return [
        p for p in placed if (p.outlines_m[0].max(axis=0) > low).all() and (p.outlines_m[0].min(axis=0) < high).all()
    ]


def _drivable(world: World, points: Float) -> Bool:
    """Whether ground points [N, 2] of the vehicle frame are road or marking."""
    odom = world.odom_from_vehicle.transform(np.column_stack([points, np.zeros(len(points))])).astype(np.float32)
    result = np.empty(len(points), np.bool_)
    block = 30_000  # cv2.remap limits the width of one row
    for start in range(0, len(points), block):
        part = odom[start : start + block]
        place = world.road.coordinates(part[None, :, 0], part[None, :, 1])[0]
        row = np.floor((place[:, 0] - world.ground.start_m) / CELL_M).astype(int)
        column = np.floor((place[:, 1] + HALF_WIDTH_M) / CELL_M).astype(int)
        labels = world.ground.labels
        inside = (row >= 0) & (row < labels.shape[0]) & (column >= 0) & (column < labels.shape[1])
        label = np.full(len(part), PAVEMENT)
        label[inside] = labels[row[inside], column[inside]]
        result[start : start + block] = label != PAVEMENT
    return result


def _planes(outline: Float) -> tuple[Float, Float]:
    edges = np.roll(outline, -1, axis=0) - outline
    normals = np.column_stack([edges[:, 1], -edges[:, 0]]) / np.linalg.norm(edges, axis=1, keepdims=True)
    return normals, (normals * outline).sum(axis=1)


def _inside(outline: Float, points: Float) -> Bool:
    normals, offsets = _planes(outline)
    box = ((points >= outline.min(axis=0)) & (points <= outline.max(axis=0))).all(axis=1)
    result = np.zeros(len(points), np.bool_)
    result[box] = (points[box] @ normals.T <= offsets).all(axis=1)
    return result


def _crossing(outline: Float, eye: Float, direction: Float) -> tuple[Float, Float]:
    """Parameters at which lines eye + t * direction [N, 2] enter and leave a convex outline; enter > leave: a miss."""
    normals, offsets = _planes(outline)
    enter: Float = np.full(len(direction), -np.inf, np.float64)
    leave: Float = np.full(len(direction), np.inf, np.float64)
    for normal, offset in zip(normals, offsets, strict=True):
        speed = direction @ normal
        gap = float(offset - normal @ eye)
        with np.errstate(divide='ignore', invalid='ignore'):
            t = gap / speed
        enter = np.where(speed < 0, np.maximum(enter, t), enter)
        leave = np.where(speed > 0, np.minimum(leave, t), leave)
        leave = np.where((speed == 0) & (gap < 0), -np.inf, leave)
    return enter, leave


def _seen(mounting: Mounting, placed: list[Placed], points: Float) -> Bool:
    """Whether a camera sees ground points [N, 2]: in its picture, and no prism on the line of sight."""
    eye, height = np.asarray(mounting[1].translation_m[:2]), mounting[1].translation_m[2]
    seen = _project(mounting, points)
    for p in placed:
        for part, outline in zip(p.solid.parts, p.outlines_m, strict=True):
            if part.z_min_m >= height:
                continue
            candidate = np.flatnonzero(seen & _in_sector(outline, eye, points))
            enter, leave = _crossing(outline, eye, points[candidate] - eye)
            enter, leave = np.maximum(enter, 0), np.minimum(leave, 1)
            # The line falls from the camera's height at t = 0 to the ground at t = 1.
            blocked = (enter < leave) & (height * (1 - leave) < part.z_max_m) & (height * (1 - enter) > part.z_min_m)
            seen[candidate[blocked]] = False
    return seen


def _in_sector(outline: Float, eye: Float, points: Float) -> Bool:
    """Cheap superset of the points behind an outline: farther than its nearest corner allows, in its bearings."""
    to_outline = outline - eye
    middle = to_outline.mean(axis=0)
    heading = math.atan2(middle[1], middle[0])
    spread = np.arctan2(to_outline[:, 1], to_outline[:, 0]) - heading
    half = np.abs((spread + math.pi) % (2 * math.pi) - math.pi).max() + 1e-3
    if half >= math.pi / 2:
        return np.ones(len(points), np.bool_)
    relative = points - eye
    along = relative @ (math.cos(heading), math.sin(heading))
    across = relative @ (-math.sin(heading), math.cos(heading))
    return np.asarray((along > 0) & (np.abs(across) <= math.tan(half) * along))


def _contact_cells(
    placed: Placed, everything: list[Placed], cameras: Mapping[str, Mounting], window: Window, shape: tuple[int, int]
) -> npt.NDArray[np.intp]:
    """Flat indices of the cells just inside the parts of a footprint's outline that a camera sees."""
    outline = placed.outlines_m[0]
    normals, _ = _planes(outline)
    points, inward = [], []
    for a, b, normal in zip(outline, np.roll(outline, -1, axis=0), normals, strict=True):
        t = np.linspace(0, 1, max(3, int(np.linalg.norm(b - a) / 0.03)))[1:-1, None]
        points.append(a + (b - a) * t + 1e-3 * normal)
        inward.append(np.broadcast_to(-normal * window.resolution_m / 2, points[-1].shape))
    contact = np.vstack(points)
    seen = np.zeros(len(contact), np.bool_)
    for mounting in cameras.values():
        seen |= _seen(mounting, everything, contact)
    cell = (contact + np.vstack(inward))[seen] - (window.x_min_m, window.y_min_m)
    column, row = np.floor(cell / window.resolution_m).astype(int).T
    inside = (column >= 0) & (column < shape[1]) & (row >= 0) & (row < shape[0])
    return np.asarray(row[inside] * shape[1] + column[inside], np.intp)
