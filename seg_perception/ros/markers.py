"""`~/markers` and `~/lanes/left`, `~/lanes/right`: lane lines, the road's boundary and obstacles as things."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import Path
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from seg_perception.camera import Pose
from seg_perception.labels import LabelMap
from seg_perception.pipeline import motion_to
from seg_perception.postprocess import (
    LaneLine,
    Lanes,
    above_ground,
    drivable_outlines,
    ego_road,
    obstacle_footprints,
)
from seg_perception.ros.camera_outputs import RELIABLE, Processed, newest_of, observation
from seg_perception.ros.config import NodeConfig

EGO = ColorRGBA(r=1.0, g=0.85, b=0.1, a=1.0)
LINE = ColorRGBA(r=0.95, g=0.95, b=0.95, a=0.9)
ROAD = ColorRGBA(r=0.1, g=0.75, b=0.3, a=0.9)
OBSTACLE = ColorRGBA(r=0.9, g=0.1, b=0.1, a=1.0)


class Shape(NamedTuple):
    """One marker before it is a message."""

    namespace: str
    id: int
    """Stable for a lane line; a place in the list of its namespace for the rest."""
    points_m: npt.NDArray[np.float64]
    """[N, 2] polyline on the ground, vehicle frame."""
    width_m: float
    color: ColorRGBA


class MarkersOutput:
    """Things on the ground in base_frame; computed only while somebody listens to one of the topics."""

    def __init__(self, node: Any, config: NodeConfig, labels: LabelMap) -> None:
        self._node, self._config, self._labels = node, config, labels
        self._markers = node.create_lifecycle_publisher(MarkerArray, '~/markers', RELIABLE)
        self._paths = {
            side: node.create_lifecycle_publisher(Path, f'~/lanes/{side}', RELIABLE) for side in ('left', 'right')
        }
        self._marker_messages = MarkerMessages()
        self._path_messages = {side: PathMessage() for side in self._paths}
        self._lanes: Lanes | None = None
        self._published_s = -math.inf

    def wanted(self) -> bool:
        """Say whether anybody listens."""
        return any(p.get_subscription_count() for p in (self._markers, *self._paths.values()))

    def publish(self, items: Sequence[Processed]) -> None:
        """Publish the things of one run, stamped as its newest image."""
        lanes = items[0].lanes
        if lanes is None:  # somebody has only just begun to listen
            return
        self._lanes, self._published_s, ground_z_m = lanes, time.monotonic(), self._config.grid.ground_z_m
        newest = newest_of(items)
        header = Header(stamp=newest.message.header.stamp, frame_id=self._config.base_frame)
        if self._markers.get_subscription_count():
            shapes = [*lane_shapes(lanes), *self._region_shapes(items, newest)]
            lifetime_s = self._config.image_timeout_s
            cameras = {i.result.camera for i in items}
            self._markers.publish(self._marker_messages.fill(shapes, header, ground_z_m, lifetime_s, cameras))
        for side, line in (('left', lanes.ego_left), ('right', lanes.ego_right)):
            if self._paths[side].get_subscription_count():
                self._paths[side].publish(self._path_messages[side].fill(line, header, ground_z_m))

    def _region_shapes(self, items: Sequence[Processed], newest: Processed) -> Iterator[Shape]:
        contours = self._config.contours
        for item in items:
            o, motion = observation(item), motion_to(newest.result, item.result)
            geometry = (o.camera_model, above_ground(o.vehicle_from_camera, self._config.grid.ground_z_m))
            outlines = drivable_outlines(ego_road(o.labels, self._labels, *geometry), contours, *geometry)
            rings = [r for outline in outlines for r in (outline.ring_m, *(outline.holes_m or ())) if r is not None]
            for i, ring in enumerate(rings):
                yield Shape(f'road/{o.camera}', i, _moved(np.vstack([ring, ring[:1]]), motion), 0.1, ROAD)
            for i, footprint in enumerate(obstacle_footprints(o.labels, self._labels, contours, *geometry)):
                yield Shape(f'obstacles/{o.camera}', i, _moved(footprint.contact_m, motion), 0.25, OBSTACLE)

    def configure(self, config: NodeConfig) -> None:
        """Take new values of live parameters; those of lanes and contours are not among them."""
        self._config = config

    def values(self) -> dict[str, str]:
        """Return the vehicle's place in its lane; `unknown` where no lane is seen, nothing while none is looked for."""
        if self._lanes is None or time.monotonic() - self._published_s > self._config.image_timeout_s:
            return {}
        keys = ('offset_m', 'heading_rad', 'curvature_1pm', 'width_m')
        known = {k: getattr(self._lanes, k) for k in keys}
        return {f'lane_{k}': 'unknown' if v is None else f'{v:.4f}' for k, v in known.items()}

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._markers, *self._paths.values()):
            self._node.destroy_lifecycle_publisher(publisher)


def _moved(points_m: npt.NDArray[np.float64], motion: Pose | None) -> npt.NDArray[np.float64]:
    if motion is None:
        return points_m
    return motion.transform(np.column_stack([points_m, np.zeros(len(points_m))]))[:, :2]


def lane_shapes(lanes: Lanes) -> Iterator[Shape]:
    """Yield one shape per lane line; those of the vehicle's own lane stand out."""
    ego = {line.id for line in (lanes.ego_left, lanes.ego_right) if line is not None}
    for line in lanes.lines:
        yield Shape('lane_lines', line.id, line.points_m(), 0.15, EGO if line.id in ego else LINE)


class MarkerMessages:
    """One visualization_msgs/MarkerArray of parts that are kept: making them anew costs ten times as much as filling."""

    def __init__(self) -> None:
        self._shown: dict[tuple[str, int], Marker] = {}
        self._idle: list[Marker] = []
        self._points: list[Point] = []

    def fill(
        self, shapes: Sequence[Shape], header: Header, ground_z_m: float, lifetime_s: float, cameras: Collection[str]
    ) -> MarkerArray:
        """Return markers for `shapes`, and deletions of those shown before that `cameras` see no more.

        The message is valid until the next call.

        Args:
            cameras: those of this run; what others have seen stays until they say more, or its lifetime is over.
        """
        seconds = math.floor(lifetime_s)
        lifetime = Duration(sec=seconds, nanosec=round((lifetime_s - seconds) * 1e9))
        concerned = [key for key in self._shown if key[0].partition('/')[2] in ('', *cameras)]
        gone, used = {key: self._shown.pop(key) for key in concerned}, 0
        for s in shapes:
            key = (s.namespace, s.id)
            marker = gone.pop(key, None) or self._new()
            marker.ns, marker.id, marker.action = s.namespace, s.id, Marker.ADD
            marker.header, marker.color, marker.lifetime, marker.scale.x = header, s.color, lifetime, s.width_m
            marker.points[:] = points = _some(self._points, used, len(s.points_m), Point)
            used += len(points)
            for point, (x, y) in zip(points, s.points_m.tolist(), strict=True):
                point.x, point.y, point.z = x, y, ground_z_m
            self._shown[key] = marker
        for marker in gone.values():
            marker.header, marker.action = header, Marker.DELETE
            marker.points.clear()
        self._idle += gone.values()
        return MarkerArray(markers=[*gone.values(), *(self._shown[s.namespace, s.id] for s in shapes)])

    def _new(self) -> Marker:
        if self._idle:
            return self._idle.pop()
        marker = Marker(type=Marker.LINE_STRIP)
        marker.pose.orientation.w = 1.0
        return marker


class PathMessage:
    """One nav_msgs/Path of a boundary of the ego lane, of poses that are kept."""

    def __init__(self) -> None:
        self._path = Path()
        self._poses: list[PoseStamped] = []

    def fill(self, line: LaneLine | None, header: Header, ground_z_m: float) -> Path:
        """Return poses along the line, at most four metres apart; none when it is not seen. Valid until the next call."""
        self._path.header = header
        points = np.zeros((0, 2)) if line is None else line.points_m()
        self._path.poses[:] = poses = _some(self._poses, 0, len(points), PoseStamped)
        if line is not None:
            for stamped, (x, y), yaw in zip(poses, points.tolist(), line.yaw_rad(points[:, 0]).tolist(), strict=True):
                stamped.header, pose = header, stamped.pose
                pose.position.x, pose.position.y, pose.position.z = x, y, ground_z_m
                pose.orientation.z, pose.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
        return self._path


def _some(kept: list[Any], first: int, count: int, kind: type[Any]) -> list[Any]:
    """Return `count` of the kept messages from `first` on; what is missing is made."""
    kept.extend(kind() for _ in range(first + count - len(kept)))
    return kept[first : first + count]
