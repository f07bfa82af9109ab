"""The node in this process, its worker running: what lifecycle and services do to inputs and to the latched grid."""

from __future__ import annotations

import os

import numpy as np
import pytest
import rclpy
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from seg_perception.engine.fake import FakeEngine
from seg_perception.grid import OccupancyGrid
from seg_perception.ros.node import PerceptionNode, start

FREE_GRID = OccupancyGrid(np.zeros((2, 3), np.int8), 0.5, 0.0, 0.0, 'vehicle', 1, 4.0)


@pytest.fixture
def node(monkeypatch):
    """A node that is not configured yet."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    rclpy.init(args=['--ros-args', '-p', 'model:=fake', '-p', 'cameras:=[front, left]'])
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
