"""The node in this process: what lifecycle, services and a broken engine do to its inputs and its latched grid."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from seg_perception.engine.fake import FakeEngine
from seg_perception.errors import EngineError
from seg_perception.grid import OccupancyGrid
from seg_perception.ros.node import start

FREE_GRID = OccupancyGrid(np.zeros((2, 3), np.int8), 0.5, 0.0, 0.0, 'vehicle', 1, 4.0)


def enable(node, enabled):
    return node._on_set_enabled(SetBool.Request(data=enabled), SetBool.Response())


def soon(condition):
    """Wait for another thread."""
    end = time.monotonic() + 5.0
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def taken(node):
    """Say of which cameras a new image would be kept."""
    kept = []
    for name, camera in node.inputs.items():
        camera.take()
        camera._arrived = lambda: None  # the worker sleeps on
        camera.on_image(bytes(serialize_message(Image())))
        kept += [name] if camera._slot else []
    return kept


@pytest.mark.parametrize('end', ['trigger_shutdown', 'trigger_deactivate', 'close'])
def test_no_free_grid_outlives_an_active_node(node, monkeypatch, end):
    start(node)
    grid, published = node.processor._outputs.grid, []
    monkeypatch.setattr(grid._publisher, 'publish', lambda message: published.append(list(message.data)))
    grid.publish(FREE_GRID, 0.0)
    getattr(node, end)()
    assert published == [[0] * 6, [-1] * 6]


def test_a_disabled_node_withdraws_the_grid_at_once(node, monkeypatch):
    start(node)
    grid, published = node.processor._outputs.grid, []
    monkeypatch.setattr(grid, 'wanted', lambda: True)
    monkeypatch.setattr(grid._publisher, 'publish', lambda message: published.append(list(message.data)))
    grid.publish(FREE_GRID, 0.0)
    enable(node, False)
    assert soon(lambda: published == [[0] * 6, [-1] * 6])


def test_a_worker_that_hangs_in_its_engine_leaves_no_free_grid(node, monkeypatch):
    start(node)
    grid, published, hanging, freed = node.processor._outputs.grid, [], threading.Event(), threading.Event()
    monkeypatch.setattr(grid, 'wanted', lambda: True)
    monkeypatch.setattr(grid._publisher, 'publish', lambda message: published.append(list(message.data)))
    node.processor.run = lambda _: (hanging.set(), freed.wait(20))
    grid.publish(FREE_GRID, 0.0)
    node.inputs['front'].on_image(bytes(serialize_message(Image())))
    assert hanging.wait(5)
    assert node.set_parameters([Parameter('image_timeout_s', value=0.1)])[0].successful
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    end = time.monotonic() + 5.0
    while len(published) < 2 and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    executor.remove_node(node)
    assert published == [[0] * 6, [-1] * 6]
    assert soon(lambda: node._diagnostics._engine().message.startswith('no answer for'))
    freed.set()
    assert soon(lambda: node._diagnostics._engine().message == 'running')


def test_an_engine_that_cannot_be_opened_again_does_not_hold_up_the_lifecycle(node):
    start(node)
    worker = node._worker

    def broken(*_):
        raise EngineError('the device fell off the bus')

    node.processor.run = worker._open_engine = broken
    node.inputs['front'].on_image(bytes(serialize_message(Image())))
    assert soon(lambda: worker.engine_errors > 1)
    begun_s = time.monotonic()
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert time.monotonic() - begun_s < 2.0


def test_an_image_that_waited_for_the_engine_to_be_opened_again_is_skipped(node):
    start(node)
    worker, camera, seen = node._worker, node.inputs['front'], []

    def broken(_):
        raise EngineError('the device fell off the bus')

    def reopened():
        camera.on_image(bytes(serialize_message(Image())))
        node.processor.run = lambda messages: seen.extend(messages)
        return FakeEngine()

    node.processor.run, worker._open_engine = broken, reopened
    camera.on_image(bytes(serialize_message(Image())))
    assert soon(lambda: worker.engine_errors == 1 and not worker.engine_problem)
    time.sleep(0.3)
    assert seen == []
    camera.on_image(bytes(serialize_message(Image())))
    assert soon(lambda: seen == ['front'])


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
