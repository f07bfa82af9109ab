"""What the node publishes about things on the ground, in the vehicle frame: points, lane lines, outlines, footprints."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from seg_perception.grid import POINT, POINT_FIELDS, GridConfig, GroundPoints
from seg_perception.io import messages
from seg_perception.io.recording import TimedMessage
from seg_perception.labels import LabelMap
from seg_perception.pipeline import Result
from seg_perception.postprocess import ContourConfig, LaneLine
from seg_perception.things import (
    Rgba,
    Shown,
    all_ground_points,
    is_placed,
    lane_shapes,
    newest_of,
    region_shapes,
)

POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
MARKERS = 'visualization_msgs/msg/MarkerArray'
PATH = 'nav_msgs/msg/Path'
LINE_STRIP, ADD, DELETE = 4, 0, 2
"""visualization_msgs/Marker."""
NO_POINTS: npt.NDArray[np.float64] = np.zeros((0, 2))


class GeometryMessages:
    """Turns results into messages; markers that are gone are deleted by the next message."""

    def __init__(self, labels: LabelMap, grid: GridConfig, base_frame: str, node: str) -> None:
        self._labels, self._grid, self._base_frame, self._node = labels, grid, base_frame, node
        self._contours = ContourConfig()
        self._shown = Shown()

    def topics(self) -> list[tuple[str, str]]:
        """Return (topic, type) of all outputs."""
        paths = [(f'{self._node}/lanes/{side}', PATH) for side in ('left', 'right')]
        return [(f'{self._node}/points', POINT_CLOUD), (f'{self._node}/markers', MARKERS), *paths]

    def of(self, result: Result) -> Iterator[TimedMessage]:
        """Yield the messages of one run, stamped as its newest image; none when no camera's place is known."""
        placed = [r for r in result.cameras if is_placed(r)]
        if not placed:
            return
        stamp_ns, ground_z_m = newest_of(placed).stamp_ns, self._grid.ground_z_m
        points = all_ground_points(placed, self._grid, self._labels)
        if points is not None:
            yield messages.pack(f'{self._node}/points', POINT_CLOUD, stamp_ns, self._cloud(points, stamp_ns))
        lanes = lane_shapes(result.lanes) if result.lanes else ()
        shapes = [*lanes, *region_shapes(placed, self._labels, self._contours, ground_z_m)]
        gone = self._shown.update(shapes, {r.camera for r in placed})
        markers = [self._marker(key, DELETE, stamp_ns) for key in gone]
        markers += [self._marker(s.key, ADD, stamp_ns, s.points_m, s.width_m, s.color) for s in shapes]
        array = messages.new(MARKERS, markers)
        yield messages.pack(f'{self._node}/markers', MARKERS, stamp_ns, array)
        if result.lanes is not None:
            for side, line in (('left', result.lanes.ego_left), ('right', result.lanes.ego_right)):
                yield messages.pack(f'{self._node}/lanes/{side}', PATH, stamp_ns, self._path(line, stamp_ns))

    def _cloud(self, points: GroundPoints, stamp_ns: int) -> Any:
        header = messages.header(stamp_ns, self._base_frame)
        fields = [messages.new('sensor_msgs/msg/PointField', *field, 1) for field in POINT_FIELDS]
        layout = (fields, False, POINT.itemsize, points.nbytes)
        return messages.new(POINT_CLOUD, header, 1, len(points), *layout, points.view(np.uint8), True)

    def _marker(
        self,
        key: tuple[str, int],
        action: int,
        stamp_ns: int,
        points_m: npt.NDArray[np.float64] = NO_POINTS,
        width_m: float = 0.0,
        color: Rgba = (0.0, 0.0, 0.0, 0.0),
    ) -> Any:
        new, z = messages.new, self._grid.ground_z_m
        nothing = np.zeros(0, np.uint8)
        return new(
            'visualization_msgs/msg/Marker',
            messages.header(stamp_ns, self._base_frame),
            *key,
            LINE_STRIP,
            action,
            _pose(0.0, 0.0, 0.0, 0.0),
            new('geometry_msgs/msg/Vector3', width_m, 0.0, 0.0),
            new('std_msgs/msg/ColorRGBA', *color),
            new('builtin_interfaces/msg/Duration', 1, 0),
            False,
            [new('geometry_msgs/msg/Point', x, y, z) for x, y in points_m.tolist()],
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


def _pose(x: float, y: float, z: float, yaw_rad: float) -> Any:
    quaternion = messages.new('geometry_msgs/msg/Quaternion', 0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2))
    return messages.new('geometry_msgs/msg/Pose', messages.new('geometry_msgs/msg/Point', x, y, z), quaternion)
