"""`~/points`, `~/markers` and `~/lanes/*`: message contents, stable ids, deletions; and the running node on a known road."""

from __future__ import annotations

import math
import time
from unittest.mock import MagicMock

import numpy as np
import pytest
from nav_msgs.msg import Path
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField
from visualization_msgs.msg import Marker, MarkerArray

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import ConfigError
from seg_perception.grid import POINT
from seg_perception.io import geometry
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.postprocess import LaneLine, Lanes
from seg_perception.postprocess.ground import ground_table
from seg_perception.ros import convert
from seg_perception.ros.config import NodeConfig
from seg_perception.ros.markers import MarkersOutput
from seg_perception.things import LINE, Shape, Shown, lane_shapes
from seg_perception.things import ROAD as ROAD_RGBA

ROAD, LANE, VEHICLE, OTHER = 0, 1, 3, 5


def line(number: int, offset_m: float, slope: float = 0.0) -> LaneLine:
    return LaneLine(number, np.array([offset_m, slope, 0.0, 0.0]), np.eye(4) * 1e-4, 2.0, 12.0, 10.0)


def test_ego_lines_stand_out_and_keep_their_ids() -> None:
    left, right, other = line(7, 1.8), line(9, -1.8), line(3, 5.4)
    lanes = Lanes(0, (other, left, right), left, right, 0.0, 0.0, 0.0, 3.6)
    shapes = list(lane_shapes(lanes))
    assert [s.key for s in shapes] == [('lane_lines', 3), ('lane_lines', 7), ('lane_lines', 9)]
    assert shapes[1].color == shapes[2].color != shapes[0].color


def test_markers_have_points_lifetime_and_delete_what_is_gone() -> None:
    shape = Shape('lane_lines', '', 4, np.array([[1.0, 2.0], [3.0, 4.0]]), 0.15, LINE)
    other = Shape('road', 'front_wide', 1, np.array([[5.0, 6.0]]), 0.1, ROAD_RGBA)
    data = geometry.markers([shape, other], [('obstacles/left', 5)], 2_000_000_003, 'base_link', -0.3, 1.5)
    gone, here, last = deserialize_message(data, MarkerArray).markers
    assert (gone.action, gone.ns, gone.id) == (Marker.DELETE, 'obstacles/left', 5)
    assert (here.action, here.type, here.ns, here.id) == (Marker.ADD, Marker.LINE_STRIP, 'lane_lines', 4)
    assert [(p.x, p.y, p.z) for p in here.points] == [(1.0, 2.0, -0.3), (3.0, 4.0, -0.3)]
    assert (here.scale.x, here.pose.orientation.w) == (0.15, 1.0)
    assert (here.color.r, here.color.g, here.color.b, here.color.a) == pytest.approx(LINE)
    assert (here.lifetime.sec, here.lifetime.nanosec) == (1, 500_000_000)
    assert {(m.header.frame_id, m.header.stamp.sec, m.header.stamp.nanosec) for m in (gone, here, last)} == {
        ('base_link', 2, 3)
    }
    assert (last.ns, last.id, [(p.x, p.y, p.z) for p in last.points]) == ('road/front_wide', 1, [(5.0, 6.0, -0.3)])


def test_points_are_packed_with_16_bytes_each() -> None:
    points = np.array([(1, 2, 3, 4, 200), (5, 6, 7, 0, 9)], POINT)
    message = deserialize_message(geometry.cloud(points, 1_000_000_002, 'base_link'), PointCloud2)
    assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) == (1, 2, 'base_link')
    assert (message.height, message.width, message.point_step, message.row_step) == (1, 2, 16, 32)
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        ('x', 0, PointField.FLOAT32, 1),
        ('y', 4, PointField.FLOAT32, 1),
        ('z', 8, PointField.FLOAT32, 1),
        ('label', 12, PointField.UINT8, 1),
        ('confidence', 13, PointField.UINT8, 1),
    ]
    assert (message.is_bigendian, message.is_dense) == (False, True)
    assert np.frombuffer(message.data, POINT).tolist() == points.tolist()


@pytest.mark.parametrize('frame', ['', 'a', 'ab', 'abc', 'abcd', 'abcde', 'base_link'])
def test_what_is_written_is_what_ros_would_write(frame: str) -> None:
    shapes = [Shape('r' * i, '', i, np.ones((i, 2)), 0.1, LINE) for i in range(5)]
    for data, kind in (
        (geometry.markers(shapes, [('gone', 1)], 5, frame, 0.5, 1.0), MarkerArray),
        (geometry.path(line(1, 1.8), 5, frame, 0.5), Path),
        (geometry.path(None, 5, frame, 0.5), Path),
        (geometry.cloud(np.zeros(3, POINT), 5, frame), PointCloud2),
    ):
        message = deserialize_message(data, kind)
        again = serialize_message(message)
        assert len(again) == len(data)  # the bytes between fields may differ
        assert deserialize_message(again, kind) == message


def test_messages_of_another_layout_are_refused() -> None:
    path = geometry.path(line(1, 1.8), 5, 'base_link', 0.5)
    convert.require_layout(Path, path)
    for kind, data in ((Path, path + bytes(8)), (PointCloud2, path), (MarkerArray, path)):
        with pytest.raises(ConfigError, match=rf'{kind.__name__} has other fields'):
            convert.require_layout(kind, data)


def test_what_one_camera_sees_stays_while_others_are_processed() -> None:
    shown = Shown()
    front, left = (Shape('obstacles', c, 0, np.array([[9.0, 9.0]] * 3), 0.3, LINE) for c in ('front', 'left'))
    assert shown.update([front], ['front']) == []
    assert shown.update([left], ['left']) == []
    assert shown.update([front], ['front']) == []
    assert shown.update([], ['front']) == [('obstacles/front', 0)]
    assert shown.update([], ['left']) == [('obstacles/left', 0)]
    assert shown.update([], ['left']) == []


def test_diagnostics_say_nothing_of_the_lane_once_images_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    output = MarkersOutput(MagicMock(), NodeConfig(image_timeout_s=0.5), DEFAULT_LABELS)
    left, right = line(7, 1.8), line(9, -1.8)
    item = MagicMock(lanes=Lanes(0, (left, right), left, right, 0.2, 0.0, 0.0, 3.6))
    output._markers.get_subscription_count.return_value = 0
    output.publish([item])
    assert output.values()['lane_offset_m'] == '0.2000'
    now = time.monotonic()
    monkeypatch.setattr('seg_perception.ros.markers.time.monotonic', lambda: now + 0.6)
    assert output.values() == {}


def test_a_path_follows_the_line_and_is_empty_without_one() -> None:
    path = deserialize_message(geometry.path(line(1, 1.8, slope=math.tan(0.2)), 5, 'base_link', -0.3), Path)
    first = path.poses[0].pose
    assert (first.position.x, first.position.y) == pytest.approx((2.0, 1.8 + 2.0 * math.tan(0.2)))
    assert first.position.z == -0.3
    assert (first.orientation.z, first.orientation.w) == pytest.approx((math.sin(0.1), math.cos(0.1)))
    assert {p.header.frame_id for p in path.poses} == {path.header.frame_id} == {'base_link'}
    assert deserialize_message(geometry.path(None, 5, 'base_link', 0.0), Path).poses == []


def road() -> np.ndarray:
    """Two lines 1.5 m left and right and a vehicle, as the mounted test camera (conftest) sees them."""
    camera = CameraModel(96, 64, 57.6, 57.6, 47.5, 31.5, 'plumb_bob', (0.0,) * 5)
    table = ground_table(camera, Pose.mounted(0.0, 0.0, 1.5, 0.0, 0.1, 0.0))
    labels = np.where(np.isnan(table.x_m), OTHER, ROAD).astype(np.uint8)
    labels[np.abs(np.abs(table.y_m) - 1.5) < 0.15] = LANE
    labels[20:34, 60:75] = VEHICLE
    return labels


@pytest.mark.usefixtures('shared_node')
def test_the_node_publishes_lines_road_and_obstacles(client) -> None:
    pixels = np.ascontiguousarray(DEFAULT_LABELS.palette()[road()])
    markers = client.listen('/seg_perception/markers', MarkerArray)
    left = client.listen('/seg_perception/lanes/left', Path)

    def play() -> None:  # both are best effort: one that is lost comes again
        client.send_info('front')
        client.send('front', pixels)

    client.wait(
        lambda: [m for m in markers if m.markers] and [p for p in left if p.poses], 'markers and a boundary', each=play
    )
    added = [m for m in markers[-1].markers if m.action == Marker.ADD]
    assert {m.ns for m in added} == {'lane_lines', 'road/front', 'obstacles/front'}
    assert {m.header.frame_id for m in added} == {'base_link'}
    sides = sorted(np.mean([p.y for p in m.points]) for m in added if m.ns == 'lane_lines')
    assert sides == pytest.approx([-1.5, 1.5], abs=0.1)
    assert left[-1].poses[0].pose.position.y == pytest.approx(1.5, abs=0.1)
    status = client.status('grid', lambda s: any(v.key == 'lane_width_m' for v in s.values), each=play)
    width = next(v.value for v in status.values if v.key == 'lane_width_m')
    assert float(width) == pytest.approx(3.0, abs=0.15)
    client.ignore('/seg_perception/markers')
    client.ignore('/seg_perception/lanes/left')
