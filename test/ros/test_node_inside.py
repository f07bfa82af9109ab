"""The node in this process: what lifecycle, services, parameters and clocks do to inputs, evidence and latched grid."""

from __future__ import annotations

import array
import os

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool

from seg_perception.engine.fake import FakeEngine
from seg_perception.grid import OccupancyGrid
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.ros.node import PerceptionNode, start

ROAD = np.full((64, 96, 3), DEFAULT_LABELS.classes[0].color, np.uint8)
MOUNTED = '[0.0, 0.0, 1.5, 0.0, 0.1, {yaw}]'
FREE_GRID = OccupancyGrid(np.zeros((2, 3), np.int8), 0.5, 0.0, 0.0, 'vehicle', 1, 4.0)


@pytest.fixture
def node(monkeypatch):
    """A node that is not configured yet."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    params = {
        'model': 'fake',
        'cameras': '[front, left]',
        'front.extrinsics': MOUNTED.format(yaw=0.0),
        'left.extrinsics': MOUNTED.format(yaw=1.2),
        'grid.hold_s': '60.0',
        'image_timeout_s': '60.0',
    }
    rclpy.init(args=['--ros-args', *(a for k, v in params.items() for a in ('-p', f'{k}:={v}'))])
    made = PerceptionNode(lambda *_, **__: FakeEngine())
    yield made
    made.close()
    made.destroy_node()
    rclpy.try_shutdown()


def enable(node, enabled):
    return node._on_set_enabled(SetBool.Request(data=enabled), SetBool.Response())


def taken(node):
    """Say of which cameras a new image would be kept."""
    for camera in node.inputs.values():
        camera.take()
        camera._arrived = lambda: None  # the worker sleeps on
        camera.on_image(Image())
    return [name for name, camera in node.inputs.items() if camera.take() is not None]


@pytest.mark.parametrize('end', ['trigger_shutdown', 'trigger_deactivate', 'close'])
def test_no_free_grid_outlives_an_active_node(node, monkeypatch, end):
    start(node)
    grid, published = node.processor._outputs.grid, []
    monkeypatch.setattr(grid._publisher, 'publish', lambda message: published.append(list(message.data)))
    grid.publish(FREE_GRID)
    getattr(node, end)()
    assert published == [[0] * 6, [-1] * 6]


def test_an_inactive_node_takes_no_images_whatever_set_enabled_says(node):
    assert enable(node, True).success
    node.trigger_configure()
    assert enable(node, True).success
    assert taken(node) == []
    node.trigger_activate()
    assert taken(node) == ['front', 'left']
    enable(node, False)
    assert taken(node) == []
    node.trigger_deactivate()
    enable(node, True)
    assert taken(node) == []
    node.trigger_activate()
    assert taken(node) == ['front', 'left']


class Cameras:
    """Feeds a configured node as its worker does; the node stays inactive, so that the worker itself does nothing."""

    def __init__(self, node, monkeypatch):
        node.trigger_configure()
        self.node = node
        self.grids = []
        """Cells of every published grid."""
        f, cx, cy = 57.6, 47.5, 31.5
        for camera in node.inputs.values():
            info = CameraInfo(width=96, height=64, distortion_model='plumb_bob', d=[0.0] * 5)
            info.k = [f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0]
            camera.on_info(info)
        outputs = node.processor._outputs
        monkeypatch.setattr(outputs.grid, 'wanted', lambda: True)
        monkeypatch.setattr(outputs.grid._publisher, 'publish', self._published)

    def _published(self, message):
        self.grids.append(np.array(message.data, np.int8).reshape(message.info.height, message.info.width))

    def see(self, seconds, **pictures):
        """Process one image per camera, all of one stamp."""
        messages = {}
        for name, pixels in pictures.items():
            message = Image(height=64, width=96, step=288, encoding='rgb8', data=array.array('B', pixels.tobytes()))
            message.header.stamp = Time(sec=int(seconds), nanosec=round(seconds % 1 * 1e9))
            self.node.inputs[name].on_image(message)
            messages[name] = message
        self.node.processor.run(messages)

    def set(self, name, value):
        """Set a live parameter as the worker does."""
        assert self.node.set_parameters([Parameter(name, value=value)])[0].successful
        self.node.processor.configure(self.node.config, self.node._worker.engine)


@pytest.fixture
def cameras(node, monkeypatch):
    return Cameras(node, monkeypatch)


def ahead(cells):
    """Cells at x 5 to 6 m, y -0.5 to 0.5 m, which `front` sees."""
    return set(cells[195:205, 50:60].flat)


def beside(cells):
    """Cells at x 2 to 2.5 m, y 5.5 to 6 m, which `left` sees."""
    return set(cells[255:260, 20:25].flat)


def test_one_camera_going_back_in_time_leaves_the_grid_of_the_others(cameras):
    cameras.see(100.0, front=ROAD, left=ROAD)
    assert (ahead(cameras.grids[-1]), beside(cameras.grids[-1])) == ({0}, {0})
    cameras.see(94.0, left=ROAD)
    cameras.see(100.1, front=ROAD)
    assert all(ahead(cells) == {0} for cells in cameras.grids)
    problems = cameras.node.inputs['left'].status
    assert problems.counts['time_jump'] == 1
    assert 'behind the other cameras' in problems.problems.current['no_grid']


def test_a_recording_that_starts_over_clears_the_grid_once(cameras):
    cameras.see(100.0, front=ROAD, left=ROAD)
    cameras.see(94.0, left=ROAD)
    cameras.see(94.1, front=ROAD)
    cleared = [set(cells.flat) == {-1} for cells in cameras.grids]
    assert cleared == [False, True, False]
    assert (ahead(cameras.grids[-1]), beside(cameras.grids[-1])) == ({0}, {-1})
    cameras.see(94.2, left=ROAD)
    assert beside(cameras.grids[-1]) == {0}


def test_parameters_that_do_not_concern_the_grid_leave_its_evidence(cameras):
    cameras.see(100.0, front=ROAD, left=ROAD)
    cameras.set('overlay_alpha', 0.25)
    cameras.see(100.1, left=ROAD)
    assert ahead(cameras.grids[-1]) == {0}
    cameras.set('grid.half_life_s', 0.5)
    cameras.see(100.2, left=ROAD)
    assert ahead(cameras.grids[-1]) == {-1}
