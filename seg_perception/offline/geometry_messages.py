"""What the node publishes about things on the ground, in the vehicle frame: points, lane lines, outlines, footprints."""

from __future__ import annotations

from collections.abc import Iterator

from seg_perception.grid import GridConfig
from seg_perception.io import geometry
from seg_perception.io.recording import TimedMessage
from seg_perception.labels import LabelMap
from seg_perception.pipeline import Result
from seg_perception.postprocess import ContourConfig
from seg_perception.things import Shown, all_ground_points, is_placed, lane_shapes, newest_of, region_shapes

POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
MARKERS = 'visualization_msgs/msg/MarkerArray'
PATH = 'nav_msgs/msg/Path'
LIFETIME_S = 1.0


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
            data = geometry.cloud(points, stamp_ns, self._base_frame)
            yield TimedMessage(f'{self._node}/points', POINT_CLOUD, stamp_ns, data)
        lanes = lane_shapes(result.lanes) if result.lanes else ()
        shapes = [*lanes, *region_shapes(placed, self._labels, self._contours, ground_z_m)]
        gone, place = self._shown.update(shapes, {r.camera for r in placed}), (stamp_ns, self._base_frame, ground_z_m)
        yield TimedMessage(
            f'{self._node}/markers', MARKERS, stamp_ns, geometry.markers(shapes, gone, *place, LIFETIME_S)
        )
        if result.lanes is not None:
            for side, line in (('left', result.lanes.ego_left), ('right', result.lanes.ego_right)):
                yield TimedMessage(f'{self._node}/lanes/{side}', PATH, stamp_ns, geometry.path(line, *place))
