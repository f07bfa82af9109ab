"""replay.launch.py: a folder of frames is played into the node; both end with exit code 0."""

# ruff: noqa: E402, PT009

import tempfile
import time
import unittest
from pathlib import Path

import pytest

pytest.importorskip('launch_testing', reason="ROS's launch_testing is not installed (it is not on PyPI)")
pytest.importorskip('launch_ros', reason="ROS's launch_ros is not installed (it is not on PyPI)")
packages = pytest.importorskip('ament_index_python.packages')
try:
    SHARE = Path(packages.get_package_share_directory('seg_perception'))
except packages.PackageNotFoundError:
    pytest.skip('seg_perception is not installed in a ROS workspace; build it with colcon', allow_module_level=True)

import cv2
import launch_testing.actions
import launch_testing.asserts
import numpy as np
import rclpy
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from sensor_msgs.msg import Image

from launch import LaunchDescription

TIMEOUT_S = 60.0


@pytest.mark.launch_test
def generate_test_description():
    """Play frames made here, with the recorded stamps and /clock."""
    folder = Path(tempfile.mkdtemp(prefix='seg_perception_replay_'))
    for i in range(20):
        cv2.imwrite(str(folder / f'{i:03d}.png'), np.full((96, 128, 3), 2 * i, np.uint8))
    arguments = {'input': str(folder), 'camera': 'rear', 'rviz': 'false', 'play_options': '--clock --fps 10 --loop'}
    source = PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'replay.launch.py'))
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return LaunchDescription([include, launch_testing.actions.ReadyToTest()])


class TestReplay(unittest.TestCase):
    """While it plays."""

    def test_frames_are_labelled(self):
        """Labels of the played camera arrive."""
        rclpy.init()
        node = rclpy.create_node('launch_test')
        try:
            got = []
            node.create_subscription(Image, '/seg_perception/rear/labels', got.append, 1)
            end = time.monotonic() + TIMEOUT_S
            while time.monotonic() < end and not got:
                rclpy.spin_once(node, timeout_sec=0.1)
            self.assertTrue(got)
        finally:
            node.destroy_node()
            rclpy.shutdown()


@launch_testing.post_shutdown_test()
class TestAfterShutdown(unittest.TestCase):
    """When it was interrupted."""

    def test_exit_codes(self, proc_info):
        """SIGINT ends player and node with 0."""
        launch_testing.asserts.assertExitCodes(proc_info)
