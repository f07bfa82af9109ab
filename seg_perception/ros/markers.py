"""`~/markers` and `~/lanes/left`, `~/lanes/right`: lane lines, the road's boundary and obstacles as things."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import Path
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from seg_perception.labels import LabelMap
from seg_perception.postprocess import LaneLine, Lanes
from seg_perception.ros.camera_outputs import RELIABLE, Processed, newest_item
from seg_perception.ros.config import NodeConfig
from seg_perception.things import Rgba, Shape, Shown, lane_shapes, region_shapes


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
        header = Header(stamp=newest_item(items).message.header.stamp, frame_id=self._config.base_frame)
        if self._markers.get_subscription_count():
            results = [i.result for i in items]
            regions = region_shapes(results, self._labels, self._config.contours, ground_z_m)
            shapes, lifetime_s = [*lane_shapes(lanes), *regions], self._config.image_timeout_s
            cameras = {r.camera for r in results}
            self._markers.publish(self._marker_messages.fill(shapes, header, ground_z_m, lifetime_s, cameras))
        for side, line in (('left', lanes.ego_left), ('right', lanes.ego_right)):
            if self._paths[side].get_subscription_count():
                self._paths[side].publish(self._path_messages[side].fill(line, header, ground_z_m))

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


@lru_cache(maxsize=16)
def _color(rgba: Rgba) -> ColorRGBA:
    r, g, b, a = rgba
    return ColorRGBA(r=r, g=g, b=b, a=a)


class MarkerMessages:
    """One visualization_msgs/MarkerArray of parts that are kept: making them anew costs ten times as much as filling."""

    def __init__(self) -> None:
        self._shown = Shown()
        self._markers: dict[tuple[str, int], Marker] = {}
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
        gone, used = [self._markers.pop(key) for key in self._shown.update(shapes, cameras)], 0
        for s in shapes:
            marker = self._markers.get(s.key) or self._new()
            (marker.ns, marker.id), marker.action = s.key, Marker.ADD
            marker.header, marker.color, marker.lifetime, marker.scale.x = header, _color(s.color), lifetime, s.width_m
            marker.points[:] = points = _some(self._points, used, len(s.points_m), Point)
            used += len(points)
            for point, (x, y) in zip(points, s.points_m.tolist(), strict=True):
                point.x, point.y, point.z = x, y, ground_z_m
            self._markers[s.key] = marker
        for marker in gone:
            marker.header, marker.action = header, Marker.DELETE
            marker.points.clear()
        self._idle += gone
        return MarkerArray(markers=[*gone, *(self._markers[s.key] for s in shapes)])

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
