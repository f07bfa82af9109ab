"""Pictures for people: labels over the camera image, and the drivable grid from above. RGB, pure OpenCV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import Pose
from seg_perception.errors import ConfigError, FrameError
from seg_perception.frames import labels_to_size
from seg_perception.labels import LabelMap, Role
from seg_perception.postprocess.masks import ids_mask

if TYPE_CHECKING:
    from seg_perception.camera import CameraModel
    from seg_perception.grid import OccupancyGrid
    from seg_perception.postprocess import Footprint, LaneLine, Lanes

UInt8 = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Rgb = tuple[int, int, int]

UNKNOWN_RGB = (128, 128, 128)
FREE_RGB = (70, 160, 80)
EVEN_RGB = (215, 190, 70)
OCCUPIED_RGB = (150, 25, 25)
TICK_RGB = (225, 225, 225)
VEHICLE_RGB = (30, 90, 220)
EGO_RGB = (255, 215, 25)
LINE_RGB = (90, 220, 255)
FOOTPRINT_RGB = (255, 60, 40)
DRAW_STEP_M = 1.0
NEAREST_M = 0.1
"""Nothing closer to the camera is drawn."""
FONT = cv2.FONT_HERSHEY_SIMPLEX
TICK_LABEL_PX = 44
"""Room for the text of a tick."""


def overlay(rgb: UInt8, labels: UInt8, label_map: LabelMap, alpha: float = 0.5, out: UInt8 | None = None) -> UInt8:
    """Tint a camera image with the colours of its labels.

    Classes of role `other` that are not ground, and void, are left as the camera saw them, so that what matters to
    the vehicle stands out.

    Args:
        rgb: uint8 [H, W, 3], any size; not changed.
        labels: uint8 [h, w] class ids of the same view, any size.
        alpha: weight of the class colour, 0 to 1.
        out: uint8 [H, W, 3] memory for the picture; a new array when None.

    Returns:
        uint8 [H, W, 3], `out` if given.

    Raises:
        ConfigError: `alpha` is out of range.
        FrameError: `rgb` is not uint8 [H, W, 3].
    """
    if not 0.0 <= alpha <= 1.0:
        raise ConfigError(f'overlay alpha is {alpha}; expected 0 to 1')
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise FrameError(f'overlay needs a uint8 [H, W, 3] image; got {rgb.dtype} {list(rgb.shape)}')
    scaled = labels_to_size(labels, rgb.shape[1], rgb.shape[0])
    palette, plain = _overlay_tables(label_map)
    picture = cv2.applyColorMap(scaled, palette, dst=out)
    cv2.addWeighted(rgb, 1.0 - alpha, picture, alpha, 0.0, dst=picture)
    return np.asarray(cv2.copyTo(rgb, ids_mask(scaled, plain), picture), np.uint8)


@lru_cache(maxsize=8)
def _overlay_tables(label_map: LabelMap) -> tuple[UInt8, tuple[int, ...]]:
    """Palette for cv2.applyColorMap, uint8 [256, 1, 3], and the label values at which the image stays as it is."""
    tinted = {c.id for c in label_map.classes if c.ground or c.role is not Role.OTHER}
    return label_map.palette()[:, None, :], tuple(i for i in range(256) if i not in tinted)


def lane_lines(picture: UInt8, lanes: Lanes, camera: CameraModel, pose: Pose) -> None:
    """Draw lane lines into a camera image, in place; those of the vehicle's own lane stand out.

    Args:
        picture: uint8 [H, W, 3] RGB of any size.
        camera: intrinsics of the same view at any size.
        pose: optical frame in a vehicle frame whose z = 0 is the ground.
    """
    _draw_on_ground(picture, [(line.points_m(DRAW_STEP_M), _color(line, lanes)) for line in lanes.lines], camera, pose)


def footprints(picture: UInt8, found: Sequence[Footprint], camera: CameraModel, pose: Pose) -> None:
    """Draw where obstacles touch the ground into a camera image, in place; arguments as of `lane_lines`."""
    _draw_on_ground(picture, [(f.contact_m, FOOTPRINT_RGB) for f in found], camera, pose)


def _color(line: LaneLine, lanes: Lanes) -> Rgb:
    return EGO_RGB if line is lanes.ego_left or line is lanes.ego_right else LINE_RGB


def _draw_on_ground(picture: UInt8, lines: list[tuple[Points, Rgb]], camera: CameraModel, pose: Pose) -> None:
    if not lines:
        return
    rotation, (x, y, z) = pose.rotation, pose.translation_m
    in_camera = (np.concatenate([points for points, _ in lines]) - (x, y)) @ rotation[:2] - z * rotation[2]
    pixels, valid = camera.resized(picture.shape[1], picture.shape[0]).project(in_camera)
    valid &= in_camera[:, 2] > NEAREST_M
    pixels = np.clip(pixels.round(), -32000, 32000).astype(np.int32)
    start = 0
    for points, color in lines:
        part = slice(start, start + len(points))
        thickness = max(1, picture.shape[0] // 240)
        cv2.polylines(picture, [pixels[part][valid[part]]], False, color, thickness, cv2.LINE_AA)
        start = part.stop


def grid_things(
    picture: UInt8,
    grid: OccupancyGrid,
    lanes: Lanes,
    found: Sequence[Footprint] = (),
    grid_from_vehicle: Pose | None = None,
) -> None:
    """Draw lane lines and footprints of obstacles into a picture of `grid_picture`, in place.

    Args:
        picture: uint8 [H, W, 3] RGB.
        grid_from_vehicle: pose of the vehicle in the grid's frame; None for a grid in the vehicle frame.
    """
    lines = [(line.points_m(), _color(line, lanes)) for line in lanes.lines]
    for points, color in [*lines, *((f.contact_m, FOOTPRINT_RGB) for f in found)]:
        if grid_from_vehicle is not None:
            points = grid_from_vehicle.transform(np.column_stack([points, np.zeros(len(points))]))[:, :2]
        pixels = grid_pixels(grid, points, picture.shape[0]).round().astype(np.int32)
        cv2.polylines(picture, [pixels], False, color, 2, cv2.LINE_AA)


def grid_picture(
    grid: OccupancyGrid, height_px: int = 720, tick_m: float = 10.0, grid_from_vehicle: Pose | None = None
) -> UInt8:
    """Draw an occupancy grid from above, x of its frame up and y to the left, so that forward is up.

    Unknown is grey, free green, occupied dark red, in between yellow. Lines every `tick_m` metres carry the distance in
    the grid's frame; the vehicle is a blue arrow head where its pose is known.

    Args:
        grid: cells int8 [rows y, columns x], -1 unknown, 0 free to 100 occupied.
        height_px: height of the picture; the width follows from the grid's shape.
        tick_m: distance between tick lines, > 0.
        grid_from_vehicle: pose of the vehicle in the grid's frame; not needed for a grid in the vehicle frame.

    Returns:
        uint8 [height_px, W, 3].

    Raises:
        ConfigError: `height_px` or `tick_m` is not positive.
    """
    if height_px <= 0 or tick_m <= 0:
        raise ConfigError(f'grid picture has height_px {height_px} and tick_m {tick_m}; expected both > 0')
    upright = np.ascontiguousarray(grid.cells[::-1, ::-1].T).view(np.uint8)
    width_px = max(1, round(height_px * upright.shape[1] / upright.shape[0]))
    cells = cv2.resize(upright, (width_px, height_px), interpolation=cv2.INTER_NEAREST_EXACT)
    picture = np.asarray(cv2.applyColorMap(cells, _grid_colors()), np.uint8)
    _draw_ticks(picture, grid, tick_m)
    if grid_from_vehicle is None and grid.frame == 'vehicle':
        grid_from_vehicle = Pose((0.0, 0.0, 0.0))
    if grid_from_vehicle is not None:
        _draw_vehicle(picture, grid, grid_from_vehicle)
    return picture


def grid_pixels(grid: OccupancyGrid, points_m: npt.NDArray[np.float64], height_px: int) -> npt.NDArray[np.float64]:
    """Return pixels float [N, 2] in `grid_picture` of points [N, 2] (x, y metres) of the grid's frame."""
    rows_y, columns_x = grid.cells.shape
    scale = height_px / (columns_x * grid.resolution_m)
    top_x = grid.origin_x_m + columns_x * grid.resolution_m
    left_y = grid.origin_y_m + rows_y * grid.resolution_m
    return np.column_stack([(left_y - points_m[:, 1]) * scale - 0.5, (top_x - points_m[:, 0]) * scale - 0.5])


@lru_cache(maxsize=1)
def _grid_colors() -> UInt8:
    """Table for cv2.applyColorMap: 0..100 from free over even to occupied; all else (int8 < 0 seen as uint8) unknown."""
    table = np.full((256, 1, 3), UNKNOWN_RGB, np.uint8)
    for channel in range(3):
        stops = (FREE_RGB[channel], EVEN_RGB[channel], OCCUPIED_RGB[channel])
        table[:101, 0, channel] = np.interp(np.arange(101), (0, 50, 100), stops).round()
    return table


def _draw_ticks(picture: UInt8, grid: OccupancyGrid, tick_m: float) -> None:
    """Draw the lines; distances along x stand at the left edge, along y at the top, where neither covers the other."""
    height, width = picture.shape[:2]
    rows_y, columns_x = grid.cells.shape
    for axis, origin, cells in ((0, grid.origin_x_m, columns_x), (1, grid.origin_y_m, rows_y)):
        end = origin + cells * grid.resolution_m
        ticks_m = np.arange(math.ceil(origin / tick_m), math.floor(end / tick_m) + 1) * tick_m
        points = np.zeros((len(ticks_m), 2))
        points[:, axis] = ticks_m
        for tick, (x, y) in zip(ticks_m, grid_pixels(grid, points, height), strict=True):
            column, row = round(float(x)), round(float(y))
            if axis == 0:
                _faint_line(picture, (0, row), (width - 1, row))
                place, room = (4, row - 4), row > 16
            else:
                _faint_line(picture, (column, 0), (column, height - 1))
                place, room = (column + 4, 12), TICK_LABEL_PX < column < width - TICK_LABEL_PX
            if room:
                cv2.putText(picture, f'{tick:g} m', place, FONT, 0.4, TICK_RGB, 1, cv2.LINE_AA)


def _faint_line(picture: UInt8, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Blend an axis-parallel line into the picture, so that the cells under it stay readable."""
    height, width = picture.shape[:2]
    rows = slice(max(0, start[1]), min(height - 1, end[1]) + 1)
    columns = slice(max(0, start[0]), min(width - 1, end[0]) + 1)
    area = picture[rows, columns]
    area[:] = area // 4 * 3 + np.array(TICK_RGB, np.uint8) // 4


def _draw_vehicle(picture: UInt8, grid: OccupancyGrid, pose: Pose) -> None:
    corners = np.array([[2.0, 0.0, 0.0], [-1.0, 0.9, 0.0], [-0.3, 0.0, 0.0], [-1.0, -0.9, 0.0]])
    pixels = grid_pixels(grid, pose.transform(corners)[:, :2], picture.shape[0])
    cv2.fillPoly(picture, [np.round(pixels).astype(np.int32)], VEHICLE_RGB, cv2.LINE_AA)
