"""What a synthetic scene is made of and what one of its frames holds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.labels import DEFAULT_LABELS

Float = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

_IDS = {c.name: c.id for c in DEFAULT_LABELS.classes}
ROAD, LANE_MARKING, PAVEMENT = _IDS['road'], _IDS['lane_marking'], _IDS['pavement']
VEHICLE, PERSON, OTHER = _IDS['vehicle'], _IDS['person'], _IDS['other']

Mounting = tuple[CameraModel, Pose]
"""A camera and the pose of its optical frame in the vehicle frame (`vehicle_from_camera`)."""


class Part(NamedTuple):
    """A convex prism: the visible shape of a solid or a piece of it."""

    outline_m: Float  # [N, 2] counter-clockwise, in the solid's own frame
    z_min_m: float
    z_max_m: float
    sides: tuple[Image, ...]  # one RGB texture for each edge of the outline, starting at its first corner
    top: tuple[int, int, int]  # RGB


class Solid(NamedTuple):
    """Something that stands on the ground. The first part's outline is its footprint."""

    label: int
    parts: tuple[Part, ...]
    station_m: float  # along the road at time 0
    offset_m: float  # left of the road's reference line at time 0
    yaw_rad: float  # against the road's direction
    speed_mps: float = 0.0  # along the road
    drift_mps: float = 0.0  # across the road, positive to the left
    crown: Image | None = None  # RGBA picture of a tree's crown above everything that drives
    crown_m: tuple[float, float] = (0.0, 0.0)  # z of its centre, radius


class CameraView(NamedTuple):
    """What one camera sees; the caller owns the arrays."""

    image: Image  # [H, W, 3] RGB
    labels: Image  # [H, W] ids of DEFAULT_LABELS


class LaneLine(NamedTuple):
    """A painted line: its centre, as if drawn through, in the vehicle frame."""

    points_m: Float  # [N, 2] ordered along the road
    kind: str  # 'solid' or 'dashed'
    width_m: float


class Footprint(NamedTuple):
    """Outline of a solid on the ground in the vehicle frame."""

    polygon_m: Float  # [N, 2] counter-clockwise
    label: int


class SceneFrame(NamedTuple):
    """One moment of a drive."""

    stamp_ns: int
    cameras: dict[str, CameraView]
    odom_from_vehicle: Pose
    lane_lines: list[LaneLine]
    footprints: list[Footprint]
