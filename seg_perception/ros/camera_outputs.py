"""The images that the node publishes for one camera. Nothing is computed for a topic that nobody listens to."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from seg_perception import draw
from seg_perception.camera import CameraModel
from seg_perception.frames import labels_to_size
from seg_perception.labels import MASKS, LabelMap
from seg_perception.pipeline import CameraResult, Frame
from seg_perception.postprocess import Lanes, above_ground, role_mask
from seg_perception.ros import convert
from seg_perception.ros.config import NodeConfig

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks

RELIABLE = QoSProfile(depth=1)
"""Reliable matches both kinds of subscribers; with one message kept it never blocks the node."""
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""For late joiners; Nav2's static layer asks for it."""
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
"""A subscriber whose QoS does not fit is told so by its own process, and by `doctor`. Were it told here as well, rclpy's executor
would ask for two events of every publisher at every message that comes in: a quarter of what receiving an image costs."""

UInt8 = npt.NDArray[np.uint8]


class Processed(NamedTuple):
    """One camera's part of a run, with what its messages need."""

    frame: Frame
    result: CameraResult
    rgb: UInt8
    """[h, w, 3] the network's input; a view of engine memory, valid until the next run."""
    message: Any
    """The image message; its header is that of all outputs."""
    info: CameraInfo | None
    """The calibration that belongs to the image."""
    lanes: Lanes | None = None
    """Lane lines of the whole run; None when nobody wants them."""


class CameraOutputs:
    """Topics of one camera. Messages are reused: publishing copies them before it returns."""

    def __init__(self, node: Any, camera: str, labels: LabelMap) -> None:
        self._node, self._labels = node, labels
        topics = ('labels', *MASKS, 'confidence', 'overlay')
        self._images = {t: node.create_lifecycle_publisher(Image, f'~/{camera}/{t}', RELIABLE) for t in topics}
        self._info = node.create_lifecycle_publisher(CameraInfo, f'~/{camera}/camera_info', RELIABLE)
        self._label_info = _label_info_publisher(node, camera)
        self._buffers: dict[str, convert.ImageOut] = {}
        self._info_message = CameraInfo()
        self._described: tuple[CameraModel, CameraInfo] | None = None

    def wanted(self) -> bool:
        """Say whether anybody listens to any of the topics."""
        return any(p.get_subscription_count() for p in (*self._images.values(), self._info))

    def wants_overlay(self) -> bool:
        """Say whether anybody looks at the overlay."""
        return bool(self._images['overlay'].get_subscription_count())

    def publish_label_info(self) -> None:
        """Publish the classes, latched, where vision_msgs is installed."""
        if self._label_info is not None:
            publisher, messages = self._label_info
            classes = [messages.VisionClass(class_id=c.id, class_name=c.name) for c in self._labels.classes]
            publisher.publish(messages.LabelInfo(class_map=classes))

    def publish_labels(self, item: Processed, config: NodeConfig) -> None:
        """Publish labels, masks, confidence and their calibration, as far as they are listened to."""
        height, width = item.result.labels.shape
        if config.output_size == 'camera':
            width, height = item.frame.image.width, item.frame.image.height
        for topic, publisher in self._images.items():
            if topic != 'overlay' and publisher.get_subscription_count():
                values = item.result.confidence if topic == 'confidence' else item.result.labels
                self._send(topic, self._mono(topic, labels_to_size(values, width, height)), item)
        if self._info.get_subscription_count():
            self._publish_info(item, (width, height))

    def publish_overlay(self, item: Processed, config: NodeConfig) -> None:
        """Publish the picture, if anybody looks at it."""
        if not self.wants_overlay():
            return
        r = item.result
        out = self._buffer('overlay', item.rgb.shape, 'rgb8')
        picture = draw.overlay(item.rgb, r.labels, self._labels, config.overlay_alpha, out.pixels)
        if item.lanes and r.camera_model and r.vehicle_from_camera:
            pose = above_ground(r.vehicle_from_camera, config.grid.ground_z_m)
            draw.lane_lines(picture, item.lanes, r.camera_model, pose)
        self._send('overlay', out.message, item)

    def _send(self, topic: str, message: Image, item: Processed) -> None:
        message.header = item.message.header
        self._images[topic].publish(message)

    def _mono(self, topic: str, values: UInt8) -> Image:
        out = self._buffer(topic, values.shape, 'mono8')
        if topic in MASKS:
            role_mask(values, self._labels, MASKS[topic], out=out.pixels)
        else:
            np.copyto(out.pixels, values)
        return out.message

    def _buffer(self, topic: str, shape: tuple[int, ...], encoding: str) -> convert.ImageOut:
        out = self._buffers.get(topic)
        if out is None or out.pixels.shape != shape:
            out = self._buffers[topic] = convert.ImageOut(shape[0], shape[1], encoding)
        return out

    def _publish_info(self, item: Processed, size: tuple[int, int]) -> None:
        model = item.result.camera_model
        if model is None or item.info is None:
            return
        model = model.resized(*size)
        if self._described is None or self._described[0] != model or self._described[1] is not item.info:
            convert.fill_camera_info(self._info_message, model, item.info)
            self._described = (model, item.info)
        self._info_message.header = item.message.header
        self._info.publish(self._info_message)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (*self._images.values(), self._info, *(self._label_info or ())[:1]):
            self._node.destroy_lifecycle_publisher(publisher)


def _label_info_publisher(node: Any, camera: str) -> tuple[Any, Any] | None:
    try:
        messages = importlib.import_module('vision_msgs.msg')
    except ImportError:
        return None
    return node.create_lifecycle_publisher(messages.LabelInfo, f'~/{camera}/label_info', LATCHED), messages
