"""Clean regions: specks and holes removed, the road in front of the vehicle told from other road."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import ConfigError
from seg_perception.labels import LabelMap, Role
from seg_perception.postprocess.ground import ground_table
from seg_perception.postprocess.masks import role_mask

UInt8 = npt.NDArray[np.uint8]

FRONT_SAMPLES = 1000
"""Most pixels that say which road is in front of the vehicle; they lie evenly over the window."""


@dataclass(frozen=True, slots=True)
class RegionConfig:
    """Least size of a connected component, per role; 0 keeps everything, and all at 0 costs nothing.

    Square metres are used where camera and pose are known, pixels of the label image elsewhere. Road, lane and other
    are measured on the ground; an obstacle by the upright area it covers at its distance.
    """

    road_px: int = 0
    lane_px: int = 0
    obstacle_px: int = 0
    other_px: int = 0
    road_m2: float = 0.0
    lane_m2: float = 0.0
    obstacle_m2: float = 0.0
    other_m2: float = 0.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f'regions.{f.name} is {value}; expected 0 (keep everything) or more')

    @property
    def enabled(self) -> bool:
        """True when any least size is set."""
        return bool(self.roles())

    def roles(self) -> list[Role]:
        """Return the roles that have a least size."""
        return [r for r in Role if getattr(self, f'{r.value}_px') > 0 or getattr(self, f'{r.value}_m2') > 0]


class RoleRegions(NamedTuple):
    """Components of one role that were kept."""

    areas_px: npt.NDArray[np.int32]
    """[n] pixels, largest first."""
    areas_m2: npt.NDArray[np.float64] | None
    """[n] square metres in the same order, infinite where the component shows no ground; None without calibration."""


class CleanLabels(NamedTuple):
    """A label image after cleaning."""

    labels: UInt8
    """[h, w] class ids; the input itself when nothing was removed."""
    removed_px: int
    regions: dict[Role, RoleRegions]
    """Roles that have a least size; empty when cleaning is off."""


class _Components(NamedTuple):
    member: npt.NDArray[np.int32]
    """[h, w] component of each pixel, 0 outside the role."""
    areas_px: npt.NDArray[np.int32]
    """[n], entry 0 is the rest of the image."""
    areas_m2: npt.NDArray[np.float64] | None


def clean_labels(
    labels: UInt8,
    label_map: LabelMap,
    config: RegionConfig,
    camera: CameraModel | None = None,
    pose: Pose | None = None,
) -> CleanLabels:
    """Remove connected components below the least size of their role, holes in the road included.

    A removed pixel takes the label of the nearest pixel that was kept. Void stays void and is never spread. The cost
    does not depend on the number of components. An image in which nothing is large enough is returned as it is.

    Args:
        labels: uint8 [h, w] class ids.
        camera: intrinsics at the size of `labels`, when known.
        pose: optical frame in the vehicle, when known.
    """
    if not config.enabled:
        return CleanLabels(labels, 0, {})
    drop = np.zeros(labels.shape, np.uint8)
    kept = {}
    for role in config.roles():
        components = _components(role_mask(labels, label_map, role), role, camera, pose)
        small = _too_small(components, role, config)
        kept[role] = _kept(components, small)
        if small.any():
            cv2.bitwise_or(drop, (small.astype(np.uint8) * 255)[components.member], dst=drop)
    removed = cv2.countNonZero(drop)
    if removed == 0 or removed == drop.size:
        return CleanLabels(labels, 0, kept)
    return CleanLabels(_fill_from_nearest(labels, drop, label_map), removed, kept)


def ego_road(labels: UInt8, label_map: LabelMap, camera: CameraModel | None = None, pose: Pose | None = None) -> UInt8:
    """Return uint8 [h, w]: 255 on the drivable component in front of the vehicle, 0 elsewhere.

    It is the component that holds most of the ground up to 4 m past the nearest visible ground and 1 m to either side
    of the vehicle's axis; without calibration, most of the lowest sixth of the image's middle third. All zero when that
    area holds no drivable pixel.
    """
    drivable = role_mask(labels, label_map, Role.ROAD, Role.LANE)
    window = _front_window(camera, pose) if camera is not None and pose is not None else None
    if window is None:
        window = _front_of_image(*labels.shape)
    inside = window[np.take(drivable, window) > 0]
    if len(inside) == 0:
        return np.zeros_like(drivable)
    # The component of one pixel is found far quicker than all; nearly always it is the one.
    row, column = divmod(int(inside[len(inside) // 2]), drivable.shape[1])
    filled = np.zeros((drivable.shape[0] + 2, drivable.shape[1] + 2), np.uint8)
    cv2.floodFill(drivable, filled, (column, row), 255, flags=4 | cv2.FLOODFILL_MASK_ONLY | 255 << 8)
    component = np.ascontiguousarray(filled[1:-1, 1:-1])
    if 2 * np.count_nonzero(np.take(component, inside)) > len(inside):
        return component
    _, index = cv2.connectedComponents(drivable, connectivity=4, ltype=cv2.CV_32S)
    best = int(np.bincount(np.take(index, inside)).argmax())
    return np.asarray(cv2.compare(index, best, cv2.CMP_EQ), np.uint8)


@lru_cache(maxsize=8)
def _front_window(camera: CameraModel, pose: Pose) -> npt.NDArray[np.intp] | None:
    """Return flat indices of pixels that see the ground in front of the vehicle, a few hundred; None when none does."""
    table = ground_table(camera, pose)
    ahead = (np.abs(table.y_m) < 1.0) & (table.x_m > 0)
    if not ahead.any():
        return None
    window = np.flatnonzero(ahead & (table.x_m < table.x_m[ahead].min() + 4.0))
    return window[:: 1 + len(window) // FRONT_SAMPLES]


@lru_cache(maxsize=8)
def _front_of_image(height: int, width: int) -> npt.NDArray[np.intp]:
    """Return flat indices of the lowest sixth of the image's middle third."""
    window = np.zeros((height, width), np.bool_)
    window[height - max(1, height // 6) :, width // 3 : max(width // 3 + 1, 2 * width // 3)] = True
    return np.flatnonzero(window)


def _components(mask: UInt8, role: Role, camera: CameraModel | None, pose: Pose | None) -> _Components:
    _, index, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)
    areas = stats[:, cv2.CC_STAT_AREA]
    if camera is None or pose is None:
        return _Components(index, areas, None)
    table = ground_table(camera, pose)
    if role is Role.OBSTACLE:
        lowest = stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT] - 1
        middle = stats[:, cv2.CC_STAT_LEFT] + stats[:, cv2.CC_STAT_WIDTH] // 2
        distance = table.distance_m[lowest, middle].astype(np.float64)
        upright = areas * (distance**2 / (camera.fx * camera.fy))
        return _Components(index, areas, np.asarray(np.nan_to_num(upright, nan=np.inf), np.float64))
    ground = np.asarray(np.bincount(index.ravel(), table.area_m2.ravel(), len(areas)), np.float64)
    if role is Role.OTHER:
        # What rises above the horizon has no ground area, however large it is.
        above = np.bincount(index[table.area_m2 == 0], minlength=len(areas)) > 0
        ground[above] = np.inf
    return _Components(index, areas, ground)


def _too_small(components: _Components, role: Role, config: RegionConfig) -> npt.NDArray[np.bool_]:
    """Return bool [n] over all components, entry 0 False."""
    least_m2 = getattr(config, f'{role.value}_m2')
    if components.areas_m2 is not None and least_m2 > 0:
        small = components.areas_m2 < least_m2
    else:
        small = components.areas_px < getattr(config, f'{role.value}_px')
    small[0] = False
    return np.asarray(small)


def _kept(components: _Components, small: npt.NDArray[np.bool_]) -> RoleRegions:
    keep = np.flatnonzero(~small[1:]) + 1
    keep = keep[np.argsort(-components.areas_px[keep], kind='stable')]
    areas_m2 = None if components.areas_m2 is None else components.areas_m2[keep]
    return RoleRegions(components.areas_px[keep], areas_m2)


def _fill_from_nearest(labels: UInt8, drop: UInt8, label_map: LabelMap) -> UInt8:
    """Give each dropped pixel the label of the nearest kept one; void keeps its place and gives nothing."""
    source = cv2.compare(labels, len(label_map), cv2.CMP_GE)
    cv2.bitwise_or(source, drop, dst=source)
    if cv2.countNonZero(source) == source.size:
        return labels
    _, nearest = cv2.distanceTransformWithLabels(source, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    label_of = np.zeros(int(nearest.max()) + 1, np.uint8)
    given = source == 0
    label_of[nearest[given]] = labels[given]
    return np.asarray(np.where(drop > 0, label_of[nearest], labels), np.uint8)
