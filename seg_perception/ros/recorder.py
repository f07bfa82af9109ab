"""Keeps what a running node publishes for one camera, so that it can be drawn and measured afterwards."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid as GridMessage
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from seg_perception import frames
from seg_perception.camera import Pose
from seg_perception.grid import OccupancyGrid
from seg_perception.ros import convert
from seg_perception.ros.base_frame import BaseFrame

KEEP_ALL = QoSProfile(depth=1000)
JPEG_QUALITY = 92


class Labelled(NamedTuple):
    """One answer of the node."""

    labels: npt.NDArray[np.uint8]  # [h, w] class ids
    age_ms: float  # from the image's stamp to the arrival of its labels here


class Recorder(Node):
    """Subscribes to a camera and to the node's outputs; everything is kept by the stamp of its image, in ns."""

    def __init__(self, camera: str, *, compressed: bool = False) -> None:
        super().__init__('seg_perception_recorder')
        self.jpegs: dict[int, bytes] = {}
        """Of a compressed camera as it sent them, which may be PNG."""
        self.labelled: dict[int, Labelled] = {}
        self.confidence: dict[int, npt.NDArray[np.uint8]] = {}
        self.grids: dict[int, OccupancyGrid] = {}
        self.odometry: dict[int, Pose] = {}
        self.diagnostics: dict[str, dict[str, str]] = {}
        self._label_topic = f'/seg_perception/{camera}/labels'
        if compressed:
            topic = f'/{camera}/image_raw/compressed'
            self.create_subscription(CompressedImage, topic, self._on_compressed, qos_profile_sensor_data)
        else:
            self.create_subscription(Image, f'/{camera}/image_raw', self._on_image, qos_profile_sensor_data)
        self.create_subscription(Image, self._label_topic, self._on_labels, KEEP_ALL)
        self.create_subscription(Image, f'/seg_perception/{camera}/confidence', self._on_confidence, KEEP_ALL)
        self.create_subscription(GridMessage, '/seg_perception/drivable_area', self._on_grid, KEEP_ALL)
        self.create_subscription(Odometry, '/odom', self._on_odometry, KEEP_ALL)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, KEEP_ALL)
        self._base_frame = BaseFrame(self, '/seg_perception')
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self)

    def spin_for(self, seconds: float) -> None:
        """Receive for a while."""
        end = time.monotonic() + seconds
        while rclpy.ok() and (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def node_is_ready(self) -> bool:
        """Say whether the perception node has opened its model and named its vehicle frame: ask until it has.

        Its outputs exist only once the model is open.
        """
        self._base_frame.ask()
        return bool(self._base_frame.name) and int(self.count_publishers(self._label_topic)) > 0

    def _on_image(self, message: Image) -> None:
        rgb = frames.to_rgb(convert.image(message))
        self.jpegs[convert.stamp_ns(message.header.stamp)] = frames.jpeg(rgb, JPEG_QUALITY)

    def _on_compressed(self, message: CompressedImage) -> None:
        self.jpegs[convert.stamp_ns(message.header.stamp)] = bytes(message.data)

    def _on_labels(self, message: Image) -> None:
        stamp = convert.stamp_ns(message.header.stamp)
        age_ms = (self.get_clock().now().nanoseconds - stamp) * 1e-6
        self.labelled[stamp] = Labelled(convert.image(message).pixels.copy(), age_ms)

    def _on_confidence(self, message: Image) -> None:
        self.confidence[convert.stamp_ns(message.header.stamp)] = convert.image(message).pixels.copy()

    def _on_grid(self, message: GridMessage) -> None:
        grid = convert.occupancy_grid(message, self._base_frame.grid_frame(message.header.frame_id))
        self.grids[grid.stamp_ns] = grid

    def _on_odometry(self, message: Odometry) -> None:
        pose = message.pose.pose
        self.odometry[convert.stamp_ns(message.header.stamp)] = convert.pose(pose.position, pose.orientation)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values: dict[str, Any] = {v.key: v.value for v in status.values}
            self.diagnostics[status.name] = values | {'message': status.message}
