"""Look-up tables of one camera: its polar view of the ground, and where every cell of the grid lies in it.

The polar view has one row per bearing and one column per range, both measured on the ground from the point below the
camera. `walk` goes outwards along the rows.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import CameraError
from seg_perception.grid.config import GridConfig
from seg_perception.grid.lattice import Float, Lattice, Places, lattice, ranges_m

Index = npt.NDArray[np.int32]

MIN_HEIGHT_M = 0.05
KEPT_VIEWS = 32
AHEAD_RAD = 0.05
"""A bearing counts as straight ahead up to this."""


@dataclass(frozen=True, slots=True, eq=False)
class PolarView:
    """Look-up tables of one camera at one pose for one grid window; shared and read-only. B bearings, R ranges."""

    foot_m: tuple[float, float]  # the point below the camera, vehicle frame
    lattice: Lattice
    first_range: int  # index of the first range among those of the lattice
    first_bearing: int  # the same of the first bearing; negative right of the vehicle's x axis
    ranges_m: Float  # [R] from the foot point
    bearings_rad: Float  # [B] in the vehicle frame, 0 ahead, positive left
    directions: Float  # [B, 2] the same as unit vectors
    pixels: Index  # [B, R] nearest one in image rows first_row..last_row, or pixel_count
    first_row: int  # image rows outside first_row..last_row are never read
    last_row: int
    pixel_count: int  # how many these rows have
    nearest: Index  # [B] index of the first range inside the image; R where there is none
    nearest_ahead_m: float  # along the vehicle's x axis, where the ground ahead is first seen; infinite when it is not
    contact_m: Float  # [R] range of a contact between a range and the one before
    inside_m: Float  # [3] how far behind its contact an obstacle is asked for by cells, from half a cell on
    band_end: Index  # [R + 1] index one past an obstacle whose contact is at a range index: a pixel row at least
    cut_off: Index  # [R] the first index of an obstacle that ends before a range index
    guard: Index  # [B, R] ranges that half a pixel spans before a contact
    weight: npt.NDArray[np.float32]  # [R] 0..1, falls with the range error that pitch uncertainty causes
    outline_m: Float  # [N, 2] points around what is seen, vehicle frame


def polar_view(camera: CameraModel, pose: Pose, config: GridConfig) -> PolarView:
    """Return the tables for a camera model, its pose in the vehicle frame and a grid; built when one of them is new.

    Raises:
        CameraError: the camera is not above the ground, or sees no ground inside the grid.
    """
    return _VIEWS.get(camera, pose, config)


class _Views:
    """The views built last, and the refusals: a rear camera that sees nothing must not cost a table at every frame."""

    def __init__(self) -> None:
        self._built: list[tuple[Pose, CameraModel, GridConfig, PolarView | CameraError]] = []  # the last used is first
        self._lock = threading.Lock()

    def get(self, camera: CameraModel, pose: Pose, config: GridConfig) -> PolarView:
        with self._lock:
            found = self._find(camera, pose, config)
        if isinstance(found, CameraError):
            raise CameraError(str(found))
        return found

    def _find(self, camera: CameraModel, pose: Pose, config: GridConfig) -> PolarView | CameraError:
        for i, entry in enumerate(self._built):
            if entry[0].is_close(pose) and entry[1] == camera and entry[2] == config:
                if i:
                    self._built.insert(0, self._built.pop(i))
                return entry[3]
        found: PolarView | CameraError
        try:
            found = _build_view(camera, pose, config)
        except CameraError as error:
            found = error
        self._built.insert(0, (pose, camera, config, found))
        del self._built[KEPT_VIEWS:]
        return found


_VIEWS = _Views()


def _build_view(camera: CameraModel, pose: Pose, config: GridConfig) -> PolarView:
    height = pose.translation_m[2] - config.ground_z_m
    if height < MIN_HEIGHT_M:
        raise CameraError(
            f'camera is {height:.2f} m above the ground (z {pose.translation_m[2]:.2f}, ground {config.ground_z_m:.2f}); '
            f'expected more than {MIN_HEIGHT_M} m: check the extrinsics and ground_z_m'
        )
    used, first_range, ranges, first_bearing, bearings = _lattice(camera, pose, config, height)
    u, v, valid = _project(camera, pose, config, ranges, bearings)
    du, dv = (np.gradient(c, ranges, axis=0) for c in (u, v))
    spacing = np.hypot(du, dv)  # pixels per metre of ground
    valid &= spacing * config.max_row_m >= 1.0
    x = pose.translation_m[0] + ranges[:, None] * np.cos(bearings)
    y = pose.translation_m[1] + ranges[:, None] * np.sin(bearings)
    in_window = (x > config.x_min_m) & (x < config.x_max_m) & (y > config.y_min_m) & (y < config.y_max_m)
    if not (valid & in_window).any():
        raise _no_ground(pose)
    rows = v[valid].round().astype(int)
    first_row, last_row = int(rows.min()), int(rows.max())
    pixel_count = (last_row - first_row + 1) * camera.width
    pixels = np.full(u.shape, pixel_count, np.int32)
    pixels[valid] = (v[valid].round() - first_row) * camera.width + u[valid].round()
    nearest = np.where(valid.any(axis=0), valid.argmax(axis=0), len(ranges))
    # Half a pixel from the last free pixel's centre to the contact, half a range from a cell to its nearest range.
    half_pixel_m = np.where(valid, (np.abs(du) + np.abs(dv)) / (2 * np.maximum(spacing, 1e-9) ** 2), 0.0)
    half_pixel_m = np.where(valid, half_pixel_m, half_pixel_m.max(axis=1, keepdims=True))
    apart_m = np.diff(ranges, prepend=ranges[0] - (ranges[1] - ranges[0]))
    guard = np.ceil(half_pixel_m / apart_m[:, None] + 0.5 - 1e-3).astype(np.int32)
    depth = max(config.obstacle_depth_m, config.resolution_m)
    pixel_row_m = (ranges**2 + height**2) / (height * camera.fy)
    band_end = np.append(np.searchsorted(ranges, ranges + np.maximum(depth, pixel_row_m)), len(ranges))
    band_end = np.maximum(band_end, np.minimum(np.arange(len(ranges) + 1) + 1, len(ranges)))
    range_sigma = config.pitch_sigma_rad * (ranges**2 + height**2) / height
    weight = (np.rint(127 / np.hypot(1.0, range_sigma)) / 127).astype(np.float32)
    return PolarView(
        pose.translation_m[:2],
        used,
        first_range,
        first_bearing,
        ranges,
        bearings,
        np.column_stack([np.cos(bearings), np.sin(bearings)]),
        np.ascontiguousarray(pixels.T),
        first_row,
        last_row,
        pixel_count,
        nearest.astype(np.int32),
        _nearest_ahead_m(pose, ranges, bearings, nearest),
        np.append(ranges[0], (ranges[1:] + ranges[:-1]) / 2),
        np.maximum(np.array([0.0, 0.5, 0.75]) * depth, config.resolution_m / 2),
        band_end.astype(np.int32),
        np.searchsorted(band_end[:-1], np.arange(len(ranges)), side='left').astype(np.int32),
        np.ascontiguousarray(guard.T),
        weight,
        _outline(pose, ranges, bearings, valid),
    )


def _nearest_ahead_m(pose: Pose, ranges: Float, bearings: Float, nearest: npt.NDArray[np.intp]) -> float:
    ahead = int(np.abs(bearings).argmin())
    if abs(bearings[ahead]) > AHEAD_RAD or nearest[ahead] == len(ranges):
        return math.inf
    return float(pose.translation_m[0] + ranges[nearest[ahead]])


def _no_ground(pose: Pose) -> CameraError:
    forward = pose.rotation[:, 2]
    up = math.degrees(math.asin(max(-1.0, min(1.0, float(forward[2])))))
    return CameraError(
        f'camera sees no ground inside the grid (its axis points {up:+.1f} degrees above the horizon); '
        'check the extrinsics, the intrinsics and the grid window'
    )


def _lattice(
    camera: CameraModel, pose: Pose, config: GridConfig, height: float
) -> tuple[Lattice, int, Float, int, Float]:
    """Choose the lattice, and the part of it that the camera may see: its first range, ranges, first bearing, bearings."""
    x, y = pose.translation_m[:2]
    corners = [(cx - x, cy - y) for cx in (config.x_min_m, config.x_max_m) for cy in (config.y_min_m, config.y_max_m)]
    farthest = max(math.hypot(*c) for c in corners)
    coarse_ranges: Float = np.geomspace(0.02, farthest, 100, dtype=np.float64)
    forward = pose.rotation[:, 2]
    heading = math.atan2(forward[1], forward[0])
    coarse_bearings: Float = heading + np.linspace(-math.pi, math.pi, 361, dtype=np.float64)
    _, _, seen = _project(camera, pose, config, coarse_ranges, coarse_bearings)
    if not seen.any():
        raise _no_ground(pose)
    columns = np.flatnonzero(seen.any(axis=0))
    rows = np.flatnonzero(seen.any(axis=1))
    far = math.sqrt(1.5 * config.max_row_m * height * camera.fy)
    used = lattice(config.resolution_m, height, (camera.fx, camera.fy), min(farthest, far))
    ranges = ranges_m(used)
    near = coarse_ranges[max(0, rows[0] - 1)] - max(config.obstacle_depth_m, config.resolution_m) - config.resolution_m
    end = coarse_ranges[min(99, rows[-1] + 1)]
    first, last = np.searchsorted(ranges, (near, end))
    ranges = ranges[first : last + 1]
    step = used.step_rad
    low = math.floor(coarse_bearings[max(0, columns[0] - 1)] / step)
    high = min(math.ceil(coarse_bearings[min(360, columns[-1] + 1)] / step) + 1, low + used.bearings)
    if len(ranges) < 2 or high - low < 2:
        raise _no_ground(pose)
    return used, int(first), ranges, low, step * np.arange(low, high)


def _project(
    camera: CameraModel, pose: Pose, config: GridConfig, ranges: Float, bearings: Float
) -> tuple[Float, Float, npt.NDArray[np.bool_]]:
    """Project the polar lattice; pixel columns, pixel rows and validity, each [R, B]."""
    x, y, _ = pose.translation_m
    ground = np.empty((len(ranges), len(bearings), 3))
    ground[..., 0] = x + ranges[:, None] * np.cos(bearings)
    ground[..., 1] = y + ranges[:, None] * np.sin(bearings)
    ground[..., 2] = config.ground_z_m
    optical = (ground.reshape(-1, 3) - np.asarray(pose.translation_m)) @ pose.rotation
    pixels, valid = camera.project(optical)
    u, v = (pixels[:, i].reshape(ground.shape[:2]) for i in (0, 1))
    inside = (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.ground_height - 0.5)
    return u, v, valid.reshape(u.shape) & inside


@lru_cache(maxsize=KEPT_VIEWS)
def cell_map(view: PolarView, config: GridConfig) -> Places:
    """Nearest (range, bearing) of every cell centre of the vehicle window, int16 [rows, columns, 2]; (-1, -1) outside."""
    x = config.x_min_m + (np.arange(config.columns) + 0.5) * config.resolution_m - view.foot_m[0]
    y = config.y_min_m + (np.arange(config.rows) + 0.5) * config.resolution_m - view.foot_m[1]
    ranges, bearings, step = view.ranges_m, view.bearings_rad, view.lattice.step_rad
    distance = np.hypot(x, y[:, None])
    turn = np.mod(np.arctan2(y[:, None], x) - bearings[0] + step / 2, 2 * math.pi) / step
    middles = (ranges[1:] + ranges[:-1]) / 2
    cells = np.stack([np.searchsorted(middles, distance), turn], axis=-1).astype(np.int16)
    cells[(distance < ranges[0]) | (distance > ranges[-1]) | (turn >= len(bearings))] = -1
    return cells


def _outline(pose: Pose, ranges: Float, bearings: Float, valid: npt.NDArray[np.bool_]) -> Float:
    """Points around what is seen: the nearest and the farthest range along bearings a few degrees apart."""
    seen = np.flatnonzero(valid.any(axis=1))
    spread = np.linspace(bearings[0], bearings[-1], 37)
    direction = np.column_stack([np.cos(spread), np.sin(spread)])
    ends = np.vstack([ranges[seen[0]] * direction, ranges[seen[-1]] * direction])
    return np.asarray(ends + pose.translation_m[:2], np.float64)
