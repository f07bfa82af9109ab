"""The demo with a person's own recording."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import rclpy
from nav_msgs.msg import OccupancyGrid
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from seg_perception.cli.demo import _things
from seg_perception.frames import from_array
from seg_perception.io import messages
from seg_perception.io.bag_writer import BagWriter
from seg_perception.io.recording import RecordedFrame
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.ros.recorder import Recorder
from seg_perception.scene import Drive, default_camera

START_NS = 1_700_000_000_000_000_000


def demo(*arguments):
    command = [sys.executable, '-m', 'seg_perception', 'demo', *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ, check=False)


def test_a_bag_of_two_cameras_with_compressed_images(tmp_path):
    jpeg = cv2.imencode('.jpg', np.full((120, 160, 3), 110, np.uint8))[1].reshape(-1)
    with BagWriter(tmp_path / 'drive') as bag:
        for i in range(4):
            for topic in ('/left/image_raw/compressed', '/right/image_raw/compressed'):
                bag.write(messages.compressed_image(topic, START_NS + i * 400_000_000, 'optical', jpeg, 'jpeg'))
    refused = demo(tmp_path / 'drive', '--out', tmp_path / 'out')
    assert refused.returncode == 1
    assert 'several image topics' in refused.stderr
    assert not (tmp_path / 'out').exists()
    done = demo(tmp_path / 'drive', '--topic', '/left/image_raw/compressed', '--out', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / 'out' / 'summary.json').read_text())['processed'] >= 1
    assert (tmp_path / 'out' / 'demo.mp4').stat().st_size > 0


def test_a_recording_without_a_readable_frame_is_one_line(tmp_path):
    (tmp_path / 'frames').mkdir()
    (tmp_path / 'frames' / 'a.jpg').write_text('no picture')
    done = demo(tmp_path / 'frames', '--out', tmp_path / 'out')
    assert done.returncode == 1
    assert done.stderr.startswith(f'seg_perception: error: {tmp_path}/frames: no frame could be read: ')
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize(('scale', 'placed'), [(1.0, True), (0.75, False)])
def test_nothing_is_drawn_on_the_ground_with_a_calibration_of_another_size(scale, placed):
    truth = Drive(7).frame(0).cameras['front']
    camera, pose = default_camera()
    of = camera.resized(round(camera.width * scale), round(camera.height * scale))
    first = RecordedFrame('front', 1, 'optical', from_array(truth.image, 'rgb8'), of, pose, None)
    labels = np.ascontiguousarray(truth.labels[::2, ::2])
    recorder = SimpleNamespace(
        labelled={1: SimpleNamespace(labels=labels)}, confidence={1: np.full_like(labels, 255)}, odometry={}
    )
    assert bool(_things(recorder, DEFAULT_LABELS, first, 0.0)) == placed


def test_grids_are_told_apart_by_the_nodes_own_frame_names():
    rclpy.init(domain_id=1 + (os.getpid() + 35) % 90)
    node = rclpy.create_node('seg_perception')
    node.declare_parameter('base_frame', 'chassis')
    node.create_publisher(Image, '~/front/labels', 1)
    grids = node.create_publisher(OccupancyGrid, '~/drivable_area', 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    recorder = Recorder('front')
    try:
        for _ in range(100):
            if recorder.node_is_ready() and grids.get_subscription_count():
                break
            recorder.spin_for(0.1)
        for second, frame in ((1, 'chassis'), (2, 'world')):
            message = OccupancyGrid()
            message.header.stamp.sec, message.header.frame_id = second, frame
            grids.publish(message)
        for _ in range(100):
            if len(recorder.grids) == 2:
                break
            recorder.spin_for(0.1)
        assert [recorder.grids[s * 10**9].frame for s in (1, 2)] == ['vehicle', 'odom']
    finally:
        executor.shutdown()
        thread.join()
        rclpy.shutdown()
