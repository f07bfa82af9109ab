"""Outlines: the drivable region as polygons, obstacles where they touch the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.compiled import compiled, inlined
from seg_perception.errors import ConfigError
from seg_perception.frames import require_size
from seg_perception.labels import LabelMap, Role
from seg_perception.postprocess.ground import ground_places, ground_rows, ground_table, plane_directions
from seg_perception.postprocess.masks import role_mask

UInt8 = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Complex128 = npt.NDArray[np.complex128]

CLEARANCE_M = 0.4
"""Height under a vehicle's body: what the camera sees there lies behind the wheels, not where the vehicle stands."""

UPRIGHT_M = 2.0
"""Of what stands at the end of the range this much is looked at, from the ground up."""

MOST_ROLL = 0.75
"""Sine of the roll up to which an image column runs down to where things stand."""


@dataclass(frozen=True, slots=True)
class ContourConfig:
    """How outlines are simplified and how far they reach."""

    max_range_m: float = 50.0
    simplify_px: float = 1.0
    min_area_px: int = 64
    max_outlines: int = 16

    def __post_init__(self) -> None:
        for name, low, high in (
            ('max_range_m', 1.0, 200.0),
            ('simplify_px', 0.0, 20.0),
            ('min_area_px', 1, 10**7),
            ('max_outlines', 1, 256),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise ConfigError(f'contours.{name} is {value}; expected {low} to {high}')


class Outline(NamedTuple):
    """One closed ring and its holes; the first point is not repeated."""

    ring_px: Float64
    """[N, 2] column, row of the label image."""
    holes_px: tuple[Float64, ...]
    ring_m: Float64 | None
    """[N, 2] x, y on the ground, vehicle frame; None without calibration."""
    holes_m: tuple[Float64, ...] | None


class Footprint(NamedTuple):
    """The side of an obstacle that faces the camera, where it touches the ground."""

    class_id: int
    contact_m: Float64
    """[N >= 1, 2] polyline x, y in metres, vehicle frame, from left to right in the image."""
    contact_seen: bool
    """False when the obstacle leaves the image at the bottom or behind the hood: it stands nearer than the polyline."""


def drivable_outlines(
    mask: UInt8, config: ContourConfig, camera: CameraModel | None = None, pose: Pose | None = None
) -> tuple[Outline, ...]:
    """Return the outlines of a drivable mask (Suzuki and Abe 1985; Douglas and Peucker 1973), largest first.

    With calibration the mask is first cut to the ground within `max_range_m`, so that every point has a place in
    metres. Regions and holes under `min_area_px` are left out. A ring runs through the centres of the outermost drivable
    pixels, so it lies half a pixel inside the region.

    Args:
        mask: uint8 [h, w], non-zero where drivable.
    """
    if camera is not None and pose is not None:
        mask = cv2.copyTo(mask, _within(camera, pose, config.max_range_m))
    rings, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if hierarchy is None:
        return ()
    areas = {i: area for i, ring in enumerate(rings) if (area := cv2.contourArea(ring)) >= config.min_area_px}
    parents = {i: int(hierarchy[0, i, 3]) for i in areas}
    outer = sorted((i for i in areas if parents[i] < 0), key=lambda i: -areas[i])
    outlines = []
    for i in outer[: config.max_outlines]:
        holes = [j for j in areas if parents[j] == i]
        shapes = [_simplify(rings[j], config.simplify_px) for j in (i, *holes)]
        ring_px, *holes_px = (s.astype(np.float64) for s in shapes)
        if camera is None or pose is None:
            outlines.append(Outline(ring_px, tuple(holes_px), None, None))
        else:
            table = ground_table(camera, pose)
            ring_m, *holes_m = (table.points_m(s[:, 0], s[:, 1]) for s in shapes)
            outlines.append(Outline(ring_px, tuple(holes_px), ring_m, tuple(holes_m)))
    return tuple(outlines)


@lru_cache(maxsize=8)
def _within(camera: CameraModel, pose: Pose, max_range_m: float) -> UInt8:
    """Return uint8 [h, w]: 1 where ground within `max_range_m` is seen; shared, not to be changed."""
    return np.asarray(ground_table(camera, pose).distance_m <= max_range_m, np.uint8)


def _simplify(ring: Int32, epsilon_px: float) -> Int32:
    return np.asarray(cv2.approxPolyDP(ring, epsilon_px, True)[:, 0], np.int32)


def obstacle_footprints(
    labels: UInt8, label_map: LabelMap, config: ContourConfig, camera: CameraModel, pose: Pose
) -> tuple[Footprint, ...]:
    """Return where obstacles touch the ground, nearest components of the image first.

    In each image column of a connected obstacle the lowest pixel is the contact candidate. A column is split from its
    neighbour where the range jumps by more than the view under a vehicle explains; over smaller jumps the lower hull
    spans from wheel to wheel. A camera that lies on its side or hangs upside down sees no contact this way and gives none.

    Args:
        labels: uint8 [h, w] class ids.
        camera: intrinsics at the size of `labels`.
        pose: optical frame in the vehicle.

    Raises:
        CameraError: the labels have not the camera's size.
    """
    require_size(camera, labels)
    right, down = pose.rotation[2, :2]  # how far the image's axes point up
    if abs(right) > MOST_ROLL or down > 0:
        return ()
    rows = ground_rows(camera, pose, config.max_range_m)
    if rows.start == rows.stop:
        return ()
    top = max(0, rows.start - math.ceil(UPRIGHT_M * camera.fy / config.max_range_m))
    seen = labels[top : rows.stop]
    rings = _large_rings(role_mask(seen, label_map, Role.OBSTACLE), config)
    if not rings:
        return ()
    contacts_m, pieces = _contacts(
        np.concatenate(rings),
        np.cumsum([len(ring) for ring in rings]),
        labels,
        top,
        _contact_places(camera, pose),
        complex(*pose.translation_m[:2]),
        _jump(pose),
        config.max_range_m,
    )
    found, first = [], 0
    for class_id, last, lowest in pieces.tolist():
        found.append(Footprint(class_id, contacts_m[first:last], lowest < camera.ground_height - 1))
        first = last
    return tuple(found)


def _jump(pose: Pose) -> float:
    """Return the ratio of the ranges of two neighbouring contacts from which on they are of two things."""
    height = pose.translation_m[2]
    under_body = height / (height - CLEARANCE_M) if height > 2 * CLEARANCE_M else 2.0
    return 1.1 * under_body


def _large_rings(mask: UInt8, config: ContourConfig) -> list[Int32]:
    """Return the outer borders [N, 2] (column, row) of the largest components, those that reach lowest first."""
    rings, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outer = () if hierarchy is None else np.flatnonzero(hierarchy[0][:, 3] < 0).tolist()
    found = []
    for ring in (rings[i] for i in outer):
        if (len(ring) + 1) ** 2 < 2 * config.min_area_px:  # too short a border for the area, in noise nearly all
            continue
        # Pick's theorem: the polygon through the centres of N pixels lacks half of each, less one.
        if cv2.contourArea(ring) + len(ring) / 2 + 1 >= config.min_area_px:
            _, first, _, height = cv2.boundingRect(ring)
            found.append((first + height, np.asarray(ring[:, 0], np.int32)))
    found.sort(key=lambda f: -f[0])
    return [ring for _, ring in found[: config.max_outlines]]


@lru_cache(maxsize=16)
def _contact_places(camera: CameraModel, pose: Pose) -> Complex128:
    """Return [h, w]: x + iy of the ground at the lower edge of each pixel; NaN where it sees none."""
    rays = plane_directions(camera)
    below = np.concatenate([rays[1:], 2 * rays[-1:] - rays[-2:-1]])
    return ground_places((rays + below) / 2, pose)


@inlined
def _is_above(column: int, left: int, right: int, row: Int64) -> bool:
    """Say whether the lowest pixel of a column lies, in the image, not below the line between those of two others."""
    return bool((row[column] - row[left]) * (right - left) <= (row[right] - row[left]) * (column - left))


@compiled(
    'Tuple((float64[:, ::1], int64[:, ::1]))(int32[:, ::1], int64[::1], Array(uint8, 2, "A", readonly=True), int64, '
    'complex128[:, ::1], complex128, float64, float64)'
)
def _contacts(
    border: Int32,
    ends: Int64,
    labels: UInt8,
    top: int,
    places: Complex128,
    foot: complex,
    jump: float,
    max_range_m: float,
) -> tuple[Float64, Int64]:
    """Split the lowest pixels of each ring where the range jumps; keep the lower hull (Andrew 1979) of each piece.

    Args:
        border: [N, 2] column, row under `top` of the pixels of all rings, of which each ends at one of `ends`.
        places: [h, w] of `_contact_places`; `foot` is that of the camera.

    Returns:
        [M, 2] x, y of the corners of all pieces, and [pieces, 3]: class, where its corners end, its lowest row.
    """
    width = labels.shape[1]
    corners_m, pieces = np.empty((len(border), 2)), np.empty((len(border), 3), np.int64)
    lowest, hull = np.empty(width + 1, np.int64), np.empty(width, np.int64)
    count = found = first = 0
    for end in ends:
        votes = np.zeros(256, np.int64)
        lowest[:] = -1  # where the ring is not, and after the last column
        for i in range(first, end):
            column, row = border[i, 0], border[i, 1] + top
            votes[labels[row, column]] += 1
            lowest[column] = max(lowest[column], row)
        first = end
        size, before = 0, np.nan
        for column in range(width + 1):
            row = lowest[column]
            reach = abs(places[row, column] - foot) if row >= 0 else np.nan
            if not 1 / jump < reach / before < jump:
                if size >= 2:
                    pieces[found, 0], pieces[found, 2] = votes.argmax(), 0
                    for corner in hull[:size]:
                        place = places[lowest[corner], corner]
                        corners_m[count, 0], corners_m[count, 1] = place.real, place.imag
                        pieces[found, 2] = max(pieces[found, 2], lowest[corner])
                        count += 1
                    pieces[found, 1] = count
                    found += 1
                size = 0
            before = reach
            if reach <= max_range_m:  # asked before the hull, which may keep the far ends only
                while size >= 2 and _is_above(hull[size - 1], hull[size - 2], column, lowest):
                    size -= 1
                hull[size] = column
                size += 1
    return corners_m[:count], pieces[:found]
