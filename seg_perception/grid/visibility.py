"""Rays from the camera decide what is seen: polar look-up tables and the walk along the ground.

The polar view of one camera has one row per range and one column per bearing, both measured on the ground from
the point below the camera. Walking outwards along a column, the first solid pixel is the obstacle's contact
with the ground; everything behind it is hidden.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import CameraError
from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import GAP, HIDDEN, SOLID

MIN_HEIGHT_M = 0.05
FAR_OUT = -1e9
"""Index of a cell outside the view: so far out that its smallest share in an interpolation stays outside."""
Float = npt.NDArray[np.float64]


class PolarView(NamedTuple):
    """Look-up tables of one camera at one pose for one grid window; shared and read-only."""

    ranges_m: Float  # [R] from the camera's foot point
    bearings_rad: Float  # [B] in the vehicle frame, 0 ahead, positive left
    pixel_map: npt.NDArray[np.int16]  # [R, B, 2] nearest pixel (x - 0, y - first_row), (-1, -1) where nothing is seen
    first_row: int  # image rows outside first_row..last_row are never read
    last_row: int
    nearest: npt.NDArray[np.intp]  # [B] index of the first range inside the image; R where there is none
    band_end: npt.NDArray[np.intp]  # [R + 1] index one past an obstacle whose contact is at a range index
    guard: int  # ranges that half a pixel row spans at most
    cell_map: npt.NDArray[np.int16]  # [rows, columns, 2] nearest (bearing, range) of each cell of the vehicle window
    cell_field: npt.NDArray[np.float32]  # [rows, columns, 2] the same before rounding; FAR_OUT outside the view
    weight: npt.NDArray[np.float32]  # [rows, columns] 0..1, falls with the range error that pitch uncertainty causes


def polar_view(camera: CameraModel, pose: Pose, config: GridConfig) -> PolarView:
    """Return the tables for a camera model, its pose in the vehicle frame and a grid; built when one of them is new.

    Raises:
        CameraError: the camera is not above the ground, or sees no ground inside the grid.
    """
    found = _view_or_error(camera, pose, config)
    if isinstance(found, CameraError):
        raise CameraError(str(found))
    return found


@lru_cache(maxsize=32)
def _view_or_error(camera: CameraModel, pose: Pose, config: GridConfig) -> PolarView | CameraError:
    """Keep the refusal too: a rear camera that sees nothing of the window must not cost a table at every frame."""
    try:
        return _build_view(camera, pose, config)
    except CameraError as error:
        return error


def _build_view(camera: CameraModel, pose: Pose, config: GridConfig) -> PolarView:
    height = pose.translation_m[2] - config.ground_z_m
    if height < MIN_HEIGHT_M:
        raise CameraError(
            f'camera is {height:.2f} m above the ground (z {pose.translation_m[2]:.2f}, ground {config.ground_z_m:.2f}); '
            f'expected more than {MIN_HEIGHT_M} m: check the extrinsics and ground_z_m'
        )
    ranges, bearings = _lattice(camera, pose, config, height)
    u, v, valid = _project(camera, pose, config, ranges, bearings)
    du, dv = (np.gradient(c, ranges, axis=0) for c in (u, v))
    spacing = np.hypot(du, dv)  # pixels per metre of ground
    valid &= spacing * config.max_row_m >= 1.0
    if not valid.any():
        raise _no_ground(pose)
    rows = v[valid].round().astype(int)
    first_row, last_row = int(rows.min()), int(rows.max())
    pixel_map = np.full((*u.shape, 2), -1, np.int16)
    pixel_map[..., 0][valid] = u[valid].round()
    pixel_map[..., 1][valid] = v[valid].round() - first_row
    nearest = np.where(valid.any(axis=0), valid.argmax(axis=0), len(ranges))
    cell_map, cell_field, weight = _cells(pose, config, ranges, bearings, height)
    inside = cell_map[cell_map[..., 0] >= 0]
    if not valid[inside[:, 1], inside[:, 0]].any():
        raise _no_ground(pose)
    # Half a pixel from the last free pixel's centre to the contact, half a range from a cell to its nearest range.
    half_pixel_m = np.where(valid, (np.abs(du) + np.abs(dv)) / (2 * np.maximum(spacing, 1e-9) ** 2), 0.0).max(axis=1)
    guard = int(np.ceil((half_pixel_m[:-1] / np.diff(ranges)).max() + 0.5 - 1e-3))
    guard = min(guard, len(ranges) - 1)
    band_end = np.append(np.searchsorted(ranges, ranges + config.obstacle_depth_m), len(ranges))
    band_end = np.maximum(band_end, np.minimum(np.arange(len(ranges) + 1) + 1, len(ranges)))
    return PolarView(
        ranges, bearings, pixel_map, first_row, last_row, nearest, band_end, guard, cell_map, cell_field, weight
    )


def _no_ground(pose: Pose) -> CameraError:
    forward = pose.rotation[:, 2]
    up = math.degrees(math.asin(max(-1.0, min(1.0, float(forward[2])))))
    return CameraError(
        f'camera sees no ground inside the grid (its axis points {up:+.1f} degrees above the horizon); '
        'check the extrinsics, the intrinsics and the grid window'
    )


def _lattice(camera: CameraModel, pose: Pose, config: GridConfig, height: float) -> tuple[Float, Float]:
    """Choose ranges and bearings: a fraction of a pixel or half a cell apart, whichever is coarser."""
    x, y = pose.translation_m[:2]
    corners = [(cx - x, cy - y) for cx in (config.x_min_m, config.x_max_m) for cy in (config.y_min_m, config.y_max_m)]
    farthest = max(math.hypot(*c) for c in corners)
    coarse_ranges: Float = np.geomspace(0.02, farthest, 160, dtype=np.float64)
    forward = pose.rotation[:, 2]
    heading = math.atan2(forward[1], forward[0])
    coarse_bearings: Float = heading + np.linspace(-math.pi, math.pi, 721, dtype=np.float64)
    _, _, seen = _project(camera, pose, config, coarse_ranges, coarse_bearings)
    if not seen.any():
        raise _no_ground(pose)
    columns = np.flatnonzero(seen.any(axis=0))
    rows = np.flatnonzero(seen.any(axis=1))
    low, high = coarse_bearings[max(0, columns[0] - 1)], coarse_bearings[min(720, columns[-1] + 1)]
    step = max(0.6 / camera.fx, 0.5 * config.resolution_m / farthest)
    bearings = np.arange(low, high + step, step)
    half_cell = config.resolution_m / 2
    r = max(half_cell, coarse_ranges[max(0, rows[0] - 1)] - config.obstacle_depth_m - config.resolution_m)
    end = min(farthest, coarse_ranges[min(159, rows[-1] + 1)])
    ranges = [r]
    while r < end:
        row = (r * r + height * height) / (height * camera.fy)
        if row > 2 * config.max_row_m:
            break
        r += max(half_cell, row / 3)
        ranges.append(r)
    if len(ranges) < 2 or len(bearings) < 2:
        raise _no_ground(pose)
    return np.array(ranges), bearings


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
    inside = (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
    return u, v, valid.reshape(u.shape) & inside


def _cells(
    pose: Pose, config: GridConfig, ranges: Float, bearings: Float, height: float
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Polar sample of every cell centre, rounded and not, and the weight of its evidence."""
    x = config.x_min_m + (np.arange(config.columns) + 0.5) * config.resolution_m - pose.translation_m[0]
    y = config.y_min_m + (np.arange(config.rows) + 0.5) * config.resolution_m - pose.translation_m[1]
    cell_range = np.hypot(x, y[:, None])
    step = bearings[1] - bearings[0]
    angle = np.arctan2(y[:, None], x) - bearings[0]
    turn = np.mod(angle + step / 2, 2 * math.pi) / step - 0.5
    row = np.interp(cell_range, ranges, np.arange(len(ranges)), left=-1, right=-1)
    field = np.stack([turn, row], axis=-1).astype(np.float32)
    field[(row < 0) | (turn > len(bearings) - 0.5)] = FAR_OUT
    if len(bearings) * step >= 2 * math.pi:
        # Where the full circle is cut open, interpolation would average the first and the last bearing.
        off_cut = np.abs(np.mod(angle + math.pi, 2 * math.pi) - math.pi) * cell_range
        field[off_cut < 1.5 * config.resolution_m] = FAR_OUT
    cell_map = np.maximum(np.rint(field), -1).astype(np.int16)
    range_sigma = config.pitch_sigma_rad * (cell_range**2 + height**2) / height
    return cell_map, field, (1 / np.hypot(1.0, range_sigma)).astype(np.float32)


def visible_codes(view: PolarView, codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Walk every bearing outwards; return the uint8 [R, B] codes of what is visible, 0 where nothing is known.

    Args:
        codes: uint8 [last_row - first_row + 1, w] codes of the image rows that the view reads.
    """
    polar = np.asarray(cv2.remap(codes, view.pixel_map, None, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 0))
    count = polar.shape[0]
    hidden = np.maximum.accumulate((polar > SOLID).view(np.uint8), axis=0)
    contact = count - hidden.sum(axis=0, dtype=np.intp)
    blocked = np.flatnonzero(contact < count)
    start = contact[blocked]
    strongest = polar[start, blocked]
    # A free pixel was judged at its centre: up to the contact, or to the side of an obstacle, half a pixel later,
    # nothing is proved free.
    beside = hidden.copy()
    beside[:, 1:] |= hidden[:, :-1]
    beside[:, :-1] |= hidden[:, 1:]
    near = polar[: count - view.guard]
    gap = beside[view.guard :]
    near *= 1 - gap
    near += gap * np.uint8(GAP)
    polar[count - view.guard :] *= 1 - beside[count - view.guard :]
    polar *= 1 - hidden
    polar += hidden * np.uint8(HIDDEN)
    # A contact at the image's border lies nearer than anything seen: the obstacle ends where the view begins.
    cut_off = start == view.nearest[blocked]
    end = np.where(cut_off, start + 1, view.band_end[start])
    begin = np.where(cut_off, np.searchsorted(view.band_end[:-1], start, side='left'), start)
    for offset in range(int((end - begin).max(initial=0))):
        inside = begin + offset < end
        polar[begin[inside] + offset, blocked[inside]] = strongest[inside]
    return polar
