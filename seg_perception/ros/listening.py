"""What the doctor hears of one camera."""

from __future__ import annotations

import time
from typing import Any

from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_perception.doctor import snapshot
from seg_perception.io import messages
from seg_perception.ros.convert import stamp_ns
from seg_perception.ros.probe_graph import Graph

DEEP = QoSProfile(depth=60, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Two seconds of images: what is missing was lost on the way, not while the doctor was busy."""
MAX_SIZES = 3
"""Images of so many different sizes are kept for reading, besides the last."""


class CameraEar:
    """Two subscriptions. Images stay serialised, so that listening costs little and loses nothing itself."""

    def __init__(self, node: Any, name: str, image: str, info: str, compressed: bool, clock_ns: list[int]) -> None:
        """Subscribe.

        Args:
            clock_ns: times of /clock so far; read only.
        """
        self.name, self._image, self._info, self._compressed = name, image, info, compressed
        self._clock_ns = clock_ns
        self._type = CompressedImage if compressed else Image
        self._arrivals: list[snapshot.Arrival] = []
        self._infos: list[snapshot.Arrival] = []
        self._first_of_size: dict[int, bytes] = {}
        self._last = b''
        self._calibration: Any = None
        numbered = hasattr(Subscription, 'CallbackType')  # Humble tells nothing of a message but its bytes
        on_image = self._on_numbered_image if numbered else self._on_image
        node.create_subscription(self._type, image, on_image, DEEP, raw=True)
        node.create_subscription(CameraInfo, info, self._on_info, DEEP)

    def _on_numbered_image(self, data: bytes, info: dict[str, Any]) -> None:
        self._on_image(data, info.get('publication_sequence_number'))

    def _on_image(self, data: bytes, sequence: int | None = None) -> None:
        self._arrivals.append(self._arrival(messages.header_stamp(data), sequence))
        self._last = data
        if len(self._first_of_size) < MAX_SIZES:
            self._first_of_size.setdefault(len(data), data)

    def _on_info(self, message: Any) -> None:
        self._infos.append(self._arrival(stamp_ns(message.header.stamp), None))
        self._calibration = message

    def _arrival(self, ns: int, sequence: int | None) -> snapshot.Arrival:
        # 0 is what middleware without sequence numbers leaves in the field.
        return snapshot.Arrival(ns, time.time_ns(), self._clock_ns[-1] if self._clock_ns else None, sequence or None)

    def heard(self, graph: Graph, extrinsics: bool) -> snapshot.CameraSnapshot:
        """Return what was heard."""
        kept = [d for d in self._first_of_size.values() if d is not self._last]
        samples = [self._sample(d) for d in (*kept, self._last) if d]
        return snapshot.CameraSnapshot(
            self.name,
            graph.topic(self._image),
            graph.topic(self._info),
            self._compressed,
            extrinsics,
            tuple(self._arrivals),
            tuple(samples),
            tuple(self._infos),
            None if self._calibration is None else _calibration(self._calibration),
        )

    def _sample(self, data: bytes) -> snapshot.ImageSample:
        m = deserialize_message(data, self._type)
        if self._compressed:
            return snapshot.ImageSample(bytes(m.data), m.format, frame_id=m.header.frame_id, wire_bytes=len(data))
        return snapshot.ImageSample(
            bytes(m.data), m.encoding, m.width, m.height, m.step, m.header.frame_id, wire_bytes=len(data)
        )


def _calibration(m: Any) -> snapshot.InfoSample:
    roi = m.roi
    return snapshot.InfoSample(
        m.width,
        m.height,
        tuple(float(v) for v in m.k),
        tuple(float(v) for v in m.d),
        m.distortion_model,
        (m.binning_x, m.binning_y),
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
        m.header.frame_id,
    )
