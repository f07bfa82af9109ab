"""perception.launch.py: the installed node starts, answers under its namespace, and ends with exit code 0."""

# ruff: noqa: E402, PT009

import array
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

import launch_testing.actions
import launch_testing.asserts
import rclpy
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from sensor_msgs.msg import Image

from launch import LaunchDescription

TIMEOUT_S = 60.0


@pytest.mark.launch_test
def generate_test_description():
    """Start the launch file as a user would."""
    arguments = {'namespace': 'car', 'cameras': '[left, right]', 'backend': 'onnxruntime', 'log_level': 'warn'}
    source = PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'perception.launch.py'))
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return LaunchDescription([include, launch_testing.actions.ReadyToTest()])


class TestRunningNode(unittest.TestCase):
    """While it runs."""

    def setUp(self):
        rclpy.init()
        self.node = rclpy.create_node('launch_test')

    def tearDown(self):
        self.node.destroy_node()
        rclpy.shutdown()

    def test_images_of_every_camera_are_labelled(self):
        """Both cameras of the argument exist, under the namespace."""
        got = {}
        publishers = {}
        for name in ('left', 'right'):
            publishers[name] = self.node.create_publisher(Image, f'/car/{name}/image_raw', 1)
            topic = f'/car/seg_perception/{name}/labels'
            self.node.create_subscription(Image, topic, lambda m, name=name: got.setdefault(name, m), 1)
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end and len(got) < 2:
            for publisher in publishers.values():
                message = Image(height=48, width=64, step=192, encoding='rgb8', data=array.array('B', bytes(48 * 192)))
                message.header.stamp = self.node.get_clock().now().to_msg()
                publisher.publish(message)
            rclpy.spin_once(self.node, timeout_sec=0.1)
        self.assertEqual(set(got), {'left', 'right'})
        self.assertEqual({m.encoding for m in got.values()}, {'mono8'})


@launch_testing.post_shutdown_test()
class TestAfterShutdown(unittest.TestCase):
    """When it has ended."""

    def test_exit_codes(self, proc_info):
        """SIGINT ends the node with 0."""
        launch_testing.asserts.assertExitCodes(proc_info)
