"""The node with the real tf2_ros: cameras mounted by /tf_static, the vehicle's motion from /tf."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile

pytest.importorskip('tf2_ros', reason='tf2_ros is not installed (it is not on PyPI)')
from tf2_msgs.msg import TFMessage

from seg_perception.labels import DEFAULT_LABELS

ROAD = np.full((64, 96, 3), DEFAULT_LABELS.classes[0].color, np.uint8)
MOUNTED_LIKE = {'rear.extrinsics': '[0.0, 0.0, 1.5, 0.0, 0.1, 0.0]'}
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def transform(stamp, parent, child, translation_m, rotation=(0.0, 0.0, 0.0, 1.0)):
    message = TransformStamped(child_frame_id=child)
    message.header.stamp, message.header.frame_id = stamp, parent
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = translation_m
    q.x, q.y, q.z, q.w = rotation
    return message


def optical(pitch_rad):
    """Return the quaternion (x, y, z, w) of an optical frame that looks ahead and down by `pitch_rad` (REP 103)."""
    c, s = math.cos(pitch_rad / 2), math.sin(pitch_rad / 2)
    return (-0.5 * (c + s), 0.5 * (c + s), -0.5 * (c - s), 0.5 * (c - s))


class Mounting:
    """Latches /tf_static for a camera and says on /tf where the vehicle is."""

    def __init__(self, client):
        self.client = client
        self.static = client.node.create_publisher(TFMessage, '/tf_static', LATCHED)
        self.moving = client.node.create_publisher(TFMessage, '/tf', 10)
        self.static.publish(
            TFMessage(
                transforms=[transform(client.stamp(), 'base_link', 'rear_optical', (0.0, 0.0, 1.5), optical(0.1))]
            )
        )

    def move(self, x_m, stamp=None):
        self.moving.publish(
            TFMessage(transforms=[transform(stamp or self.client.stamp(), 'odom', 'base_link', (x_m, 0.0, 0.0))])
        )

    def close(self):
        self.client.node.destroy_publisher(self.static)
        self.client.node.destroy_publisher(self.moving)


@pytest.fixture
def mounting(client):
    made = Mounting(client)
    yield made
    made.close()


def before(stamp):
    """Return the nanoseconds of 0.1 s earlier."""
    return stamp.sec * 10**9 + stamp.nanosec - 100_000_000


def cells(grid):
    return np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width)


def test_a_camera_mounted_by_tf_gives_the_grid_of_its_parameters(client, node_process, tmp_path, mounting):
    grids = []
    for folder, extra in (('tf', {}), ('parameters', MOUNTED_LIKE)):
        (tmp_path / folder).mkdir()
        node = node_process(tmp_path / folder, {'cameras': '[rear]', 'odometry': 'none', **extra})
        try:
            grids.append(client.results('rear', ROAD, {'drivable_area': OccupancyGrid})['drivable_area'])
        finally:
            client.ignore('/seg_perception/drivable_area')
            assert node.stop() == 0, node.text()
    by_tf, by_parameters = map(cells, grids)
    assert 0 in by_tf
    assert (by_tf == by_parameters).mean() > 0.999
    assert grids[0].header.frame_id == 'base_link'


def test_odometry_from_tf_moves_the_grid_in_odom(client, node_process, tmp_path, mounting):
    node = node_process(tmp_path, {'cameras': '[rear]', 'odometry': 'tf'})
    grids = client.listen('/seg_perception/drivable_area', OccupancyGrid, LATCHED)

    def origin_m(x_m, expected=lambda _: True):
        """Return the rear edge of a grid with free cells while the vehicle stands at `x_m`."""

        def drive():
            mounting.move(x_m)
            client.send_info('rear')
            client.send('rear', ROAD)

        def free():
            return [g for g in grids if 0 in g.data and expected(g.info.origin.position.x)]

        grid = client.wait(free, f'free cells with the vehicle at {x_m} m', drive)[-1]
        assert grid.header.frame_id == 'odom'
        return grid.info.origin.position.x

    try:
        start_m = origin_m(0.0)
        origin_m(5.0, lambda now_m: now_m == pytest.approx(start_m + 5.0))
    finally:
        client.ignore('/seg_perception/drivable_area')
        assert node.stop() == 0, node.text()


def test_odometry_that_comes_back_by_tf_does_not_place_the_images_of_the_time_without_it(
    client, node_process, tmp_path, mounting
):
    """It was away for two seconds and 20 m; an image of just before it came back is at neither place."""
    node = node_process(tmp_path, {'cameras': '[rear]', 'odometry': 'tf', 'diagnostics_period_s': '0.1'})
    grids = client.listen('/seg_perception/drivable_area', OccupancyGrid, LATCHED)

    def drive():
        mounting.move(0.0)
        client.send_info('rear')
        client.send('rear', ROAD)

    try:
        client.wait(lambda: any(0 in g.data for g in grids), 'free cells', drive)
        time.sleep(2.0)
        back = client.stamp()
        client.wait(lambda: set(grids[-1].data) == {-1}, 'the grid to be withdrawn')
        seen = len(grids)
        missed = (Time(sec=ns // 10**9, nanosec=ns % 10**9) for ns in itertools.count(before(back), 100_000))
        mounting.move(20.0, back)
        client.status(
            'camera rear',
            lambda s: 'breaks off' in s.message,
            each=lambda: client.send('rear', ROAD, stamp=next(missed)),
        )
        assert client.count('camera rear', 'no pose') > 0
        assert not any(0 in g.data for g in grids[seen:])
    finally:
        client.ignore('/seg_perception/drivable_area')
        assert node.stop() == 0, node.text()
