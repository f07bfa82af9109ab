"""Outlines: the drivable region as polygons, obstacles where they touch the ground."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import ConfigError
from seg_perception.labels import LabelMap, Role
from seg_perception.postprocess.ground import ground_places, ground_rows, ground_table, plane_directions
from seg_perception.postprocess.masks import role_mask

UInt8 = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]

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
    areas = np.array([cv2.contourArea(r) for r in rings])
    parents = hierarchy[0][:, 3]
    outer = np.flatnonzero((parents < 0) & (areas >= config.min_area_px))
    outer = outer[np.argsort(-areas[outer], kind='stable')][: config.max_outlines]
    outlines = []
    for i in outer:
        holes = np.flatnonzero((parents == i) & (areas >= config.min_area_px))
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
    """
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
    component = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    column, row = np.concatenate(rings).T
    votes = np.bincount(component * 256 + seen[row, column], minlength=256 * len(rings))
    class_ids = votes.reshape(-1, 256).argmax(axis=1)
    lowest = np.full((len(rings), camera.width), -1, np.int32)
    np.maximum.at(lowest, (component, column), row)
    component, column = np.nonzero(lowest >= 0)
    pixels = np.array([column, lowest[component, column] + top], np.int32).T
    return tuple(_footprints(pixels, component, class_ids, config, camera, pose))


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
def _contact_places(camera: CameraModel, pose: Pose) -> npt.NDArray[np.complex128]:
    """Return [h, w]: x + iy of the ground at the lower edge of each pixel; NaN where it sees none."""
    rays = plane_directions(camera)
    below = np.concatenate([rays[1:], 2 * rays[-1:] - rays[-2:-1]])
    return ground_places((rays + below) / 2, pose)


def _footprints(
    pixels: Int32,
    component: npt.NDArray[np.intp],
    class_ids: npt.NDArray[np.intp],
    config: ContourConfig,
    camera: CameraModel,
    pose: Pose,
) -> Iterator[Footprint]:
    """Split lowest pixels [N, 2], sorted by component and column, by range; keep the lower hull of each piece."""
    places = _contact_places(camera, pose)[pixels[:, 1], pixels[:, 0]]
    reach = np.abs(places - complex(*pose.translation_m[:2]))
    reach[np.isnan(reach)] = np.inf
    height = pose.translation_m[2]
    under_body = height / (height - CLEARANCE_M) if height > 2 * CLEARANCE_M else 2.0
    with np.errstate(invalid='ignore'):
        ratio = reach[1:] / reach[:-1]
    near = (ratio < 1.1 * under_body) & (ratio > 1 / (1.1 * under_body))
    cuts = (np.flatnonzero(~near | (component[1:] != component[:-1])) + 1).tolist()
    usable = reach <= config.max_range_m  # asked before the hull, which may keep the far ends only
    for first, last in zip([0, *cuts], [*cuts, len(pixels)], strict=True):
        part = first + np.flatnonzero(usable[first:last])
        if len(part) < 2:
            continue
        corners = part[_lower_hull(pixels[part])]
        contact_seen = bool(pixels[corners, 1].max() < camera.ground_height - 1)
        contact_m = places[corners].view(np.float64).reshape(-1, 2)
        yield Footprint(int(class_ids[component[first]]), contact_m, contact_seen)


def _lower_hull(pixels: Int32) -> npt.NDArray[np.intp]:
    """Return indices of the convex hull's chain nearest the image's bottom, left to right, of one pixel per column."""
    hull = np.sort(cv2.convexHull(pixels, returnPoints=False)[:, 0])
    chord = np.interp(pixels[hull, 0], pixels[[0, -1], 0], pixels[[0, -1], 1])
    return np.asarray(hull[pixels[hull, 1] >= chord], np.intp)
