"""What the node publishes about things on the ground, in the vehicle frame: points, lane lines, outlines, footprints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.camera import Pose
from seg_perception.errors import CameraError
from seg_perception.grid import GridConfig, GroundPoints, Observation, ground_points
from seg_perception.io import messages
from seg_perception.io.recording import TimedMessage
from seg_perception.labels import LabelMap
from seg_perception.pipeline import CameraResult, Result, motion_to
from seg_perception.postprocess import (
    ContourConfig,
    LaneLine,
    Lanes,
    above_ground,
    drivable_outlines,
    ego_road,
    obstacle_footprints,
)

POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
MARKERS = 'visualization_msgs/msg/MarkerArray'
PATH = 'nav_msgs/msg/Path'
FLOAT32, UINT8 = 7, 2
"""sensor_msgs/PointField datatypes."""
POINT = np.dtype(
    {
        'names': ['x', 'y', 'z', 'label', 'confidence'],
        'formats': ['<f4', '<f4', '<f4', 'u1', 'u1'],
        'offsets': [0, 4, 8, 12, 13],
        'itemsize': 16,
    }
)
LINE_STRIP, ADD, DELETE = 4, 0, 2
"""visualization_msgs/Marker."""
EGO, LINE, ROAD, OBSTACLE = (1.0, 0.85, 0.1, 1.0), (0.95, 0.95, 0.95, 0.9), (0.1, 0.75, 0.3, 0.9), (0.9, 0.1, 0.1, 1.0)


class _Shape(NamedTuple):
    namespace: str
    id: int
    points_m: npt.NDArray[np.float64]
    width_m: float
    color: tuple[float, float, float, float]


class GeometryMessages:
    """Turns results into messages; markers that are gone are deleted by the next message."""

    def __init__(self, labels: LabelMap, grid: GridConfig, base_frame: str, node: str) -> None:
        self._labels, self._grid, self._base_frame, self._node = labels, grid, base_frame, node
        self._contours = ContourConfig()
        self._shown: set[tuple[str, int]] = set()

    def topics(self) -> list[tuple[str, str]]:
        """Return (topic, type) of all outputs."""
        paths = [(f'{self._node}/lanes/{side}', PATH) for side in ('left', 'right')]
        return [(f'{self._node}/points', POINT_CLOUD), (f'{self._node}/markers', MARKERS), *paths]

    def of(self, result: Result) -> Iterator[TimedMessage]:
        """Yield the messages of one run, stamped as its newest image; none when no camera's place is known."""
        usable = [r for r in result.cameras if r.problem is None and r.camera_model and r.vehicle_from_camera]
        if not usable:
            return
        newest = max(usable, key=lambda r: r.stamp_ns)
        stamp_ns = newest.stamp_ns
        clouds = [c for r in usable if (c := self._points(r, motion_to(newest, r))) is not None]
        if clouds:
            merged = GroundPoints(*(np.concatenate(parts) for parts in zip(*clouds, strict=True)))
            yield messages.pack(f'{self._node}/points', POINT_CLOUD, stamp_ns, self._cloud(merged, stamp_ns))
        shapes = [*_lane_shapes(result.lanes), *(s for r in usable for s in self._regions(r, motion_to(newest, r)))]
        cameras = ('', *(r.camera for r in usable))  # what others have seen stays until they say more
        gone = {key for key in self._shown if key[0].partition('/')[2] in cameras} - {
            (s.namespace, s.id) for s in shapes
        }
        array = messages.new(MARKERS, [*self._markers(shapes, gone, stamp_ns)])
        self._shown = self._shown - gone | {(s.namespace, s.id) for s in shapes}
        yield messages.pack(f'{self._node}/markers', MARKERS, stamp_ns, array)
        if result.lanes is not None:
            for side, line in (('left', result.lanes.ego_left), ('right', result.lanes.ego_right)):
                yield messages.pack(f'{self._node}/lanes/{side}', PATH, stamp_ns, self._path(line, stamp_ns))

    def _points(self, r: CameraResult, motion: Pose | None) -> GroundPoints | None:
        assert r.camera_model is not None
        assert r.vehicle_from_camera is not None
        seen = Observation(
            r.camera, r.stamp_ns, r.labels, r.confidence, r.camera_model, r.vehicle_from_camera, r.odom_from_vehicle
        )
        try:
            points = ground_points(seen, self._grid, self._labels, r.visible)
        except CameraError:
            return None  # the result says why the grid leaves this camera out
        if motion is None:
            return points
        return points._replace(xyz=motion.transform(points.xyz.astype(np.float64)).astype(np.float32))

    def _cloud(self, points: GroundPoints, stamp_ns: int) -> Any:
        packed = np.zeros(len(points.xyz), POINT)
        for axis, name in enumerate('xyz'):
            packed[name] = points.xyz[:, axis]
        packed['label'], packed['confidence'] = points.label, points.confidence
        places = zip(POINT.names or (), (0, 4, 8, 12, 13), (FLOAT32,) * 3 + (UINT8,) * 2, strict=True)
        fields = [messages.new('sensor_msgs/msg/PointField', name, offset, kind, 1) for name, offset, kind in places]
        header = messages.header(stamp_ns, self._base_frame)
        data = packed.view(np.uint8).reshape(-1)
        return messages.new(
            POINT_CLOUD, header, 1, len(packed), fields, False, POINT.itemsize, packed.nbytes, data, True
        )

    def _regions(self, r: CameraResult, motion: Pose | None) -> Iterator[_Shape]:
        assert r.camera_model is not None
        assert r.vehicle_from_camera is not None
        geometry = (r.camera_model, above_ground(r.vehicle_from_camera, self._grid.ground_z_m))
        outlines = drivable_outlines(ego_road(r.labels, self._labels, *geometry), self._contours, *geometry)
        rings = [
            ring for outline in outlines for ring in (outline.ring_m, *(outline.holes_m or ())) if ring is not None
        ]
        for i, ring in enumerate(rings):
            yield _Shape(f'road/{r.camera}', i, _moved(np.vstack([ring, ring[:1]]), motion), 0.1, ROAD)
        for i, footprint in enumerate(obstacle_footprints(r.labels, self._labels, self._contours, *geometry)):
            yield _Shape(f'obstacles/{r.camera}', i, _moved(footprint.contact_m, motion), 0.25, OBSTACLE)

    def _markers(self, shapes: Sequence[_Shape], gone: set[tuple[str, int]], stamp_ns: int) -> Iterator[Any]:
        for namespace, number in sorted(gone):
            yield self._marker(_Shape(namespace, number, np.zeros((0, 2)), 0.0, LINE), stamp_ns, DELETE)
        for s in shapes:
            yield self._marker(s, stamp_ns, ADD)

    def _marker(self, s: _Shape, stamp_ns: int, action: int) -> Any:
        new, z = messages.new, self._grid.ground_z_m
        nothing = np.zeros(0, np.uint8)
        header = messages.header(stamp_ns, self._base_frame)
        return new(
            'visualization_msgs/msg/Marker',
            header,
            s.namespace,
            s.id,
            LINE_STRIP,
            action,
            _pose(0.0, 0.0, 0.0, 0.0),
            new('geometry_msgs/msg/Vector3', s.width_m, 0.0, 0.0),
            new('std_msgs/msg/ColorRGBA', *s.color),
            new('builtin_interfaces/msg/Duration', 1, 0),
            False,
            [new('geometry_msgs/msg/Point', x, y, z) for x, y in s.points_m.tolist()],
            [],
            '',
            new(messages.COMPRESSED_IMAGE, messages.header(0, ''), '', nothing),
            [],
            '',
            '',
            new('visualization_msgs/msg/MeshFile', '', nothing),
            False,
        )

    def _path(self, line: LaneLine | None, stamp_ns: int) -> Any:
        """Return one boundary of the ego lane; empty when it is not seen."""
        header = messages.header(stamp_ns, self._base_frame)
        if line is None:
            return messages.new(PATH, header, [])
        points = line.points_m()
        poses = [
            messages.new('geometry_msgs/msg/PoseStamped', header, _pose(x, y, self._grid.ground_z_m, yaw))
            for (x, y), yaw in zip(points.tolist(), line.yaw_rad(points[:, 0]).tolist(), strict=True)
        ]
        return messages.new(PATH, header, poses)


def _moved(points_m: npt.NDArray[np.float64], motion: Pose | None) -> npt.NDArray[np.float64]:
    if motion is None:
        return points_m
    return motion.transform(np.column_stack([points_m, np.zeros(len(points_m))]))[:, :2]


def _lane_shapes(lanes: Lanes | None) -> Iterator[_Shape]:
    if lanes is None:
        return
    ego = {line.id for line in (lanes.ego_left, lanes.ego_right) if line is not None}
    for line in lanes.lines:
        yield _Shape('lane_lines', line.id, line.points_m(), 0.15, EGO if line.id in ego else LINE)


def _pose(x: float, y: float, z: float, yaw_rad: float) -> Any:
    quaternion = messages.new('geometry_msgs/msg/Quaternion', 0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2))
    return messages.new('geometry_msgs/msg/Pose', messages.new('geometry_msgs/msg/Point', x, y, z), quaternion)
