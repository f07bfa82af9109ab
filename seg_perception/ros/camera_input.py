"""One camera's subscriptions and its slot for the newest image."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_perception import frames
from seg_perception.camera import CameraModel
from seg_perception.errors import CameraError, ConfigError, FrameError
from seg_perception.io import messages
from seg_perception.ros import convert
from seg_perception.ros.config import CameraConfig
from seg_perception.ros.status import CameraStatus

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Sensor data, only the newest: matches reliable and best-effort cameras."""

JUMP_BACK_NS = 500_000_000
"""A stamp further back than this is a restarted clock or recording; less is an image out of order."""


class Calibration(NamedTuple):
    """What a camera has said of itself; replaced as a whole, as another thread reads it."""

    info: CameraInfo | None = None
    """The newest sensor_msgs/CameraInfo."""
    model: CameraModel | None = None
    """Its camera model; None when it cannot be used."""


class CameraInput:
    """Keeps the newest image of one camera until the worker takes it.

    The callbacks run in the executor's thread and only store; all decoding happens in `frame`, in the worker's thread.
    """

    def __init__(
        self, node: Any, name: str, config: CameraConfig, status: CameraStatus, arrived: Callable[[], None]
    ) -> None:
        """Subscribe.

        Args:
            arrived: called after a new image was stored.
        """
        self.name, self.config, self.status = name, config, status
        self.calibration = Calibration()
        self.enabled = True
        self._arrived = arrived
        self._slot: deque[bytes] = deque(maxlen=1)  # shared by two threads: append and popleft are atomic
        self._last_ns: int | None = None
        self._size: tuple[int, int] | None = None
        self._node = node
        messages.typestore()  # takes a tenth of a second: now, not with the first image
        image_type = CompressedImage if config.compressed else Image
        topic = config.image_topic or f'{name}/image_raw' + ('/compressed' if config.compressed else '')
        info_topic = config.info_topic or f'{name}/camera_info'
        self._subscriptions = [
            node.create_subscription(image_type, topic, self.on_image, NEWEST, raw=True),
            node.create_subscription(CameraInfo, info_topic, self.on_info, NEWEST),
        ]
        self.topic = self._subscriptions[0].topic_name

    def on_image(self, data: bytes) -> None:
        """Store a serialised image; one that was not taken yet gives way and is counted."""
        self.status.counts['received'] += 1
        self.status.last_arrival_s = time.monotonic()
        if not self.enabled:
            return
        if self._slot:
            self.status.counts['skipped'] += 1
        self._slot.append(data)
        self._arrived()

    def on_info(self, info: CameraInfo) -> None:
        """Follow the calibration; the model is rebuilt only when something changed."""
        known = self.calibration
        if known.info is not None and _same(known.info, info):
            self.calibration = known._replace(info=info)
            return
        try:
            if 'image_rect' in self.topic and any(info.d):
                raise CameraError(
                    f'D is that of the raw image, {self.topic} is rectified by its name (image_proc); take image_raw, or publish '
                    'a camera_info of the rectified image: K of P, D of zeros'
                )
            self.calibration = Calibration(info, convert.camera_model(info))
            self.status.problems.clear('bad_camera_info')
        except CameraError as error:
            self.calibration = Calibration(info)
            self.status.problems.report('bad_camera_info', f'camera_info cannot be used: {error}')

    def take(self) -> Any:
        """Return the waiting message, or None, and empty the slot."""
        try:
            data = self._slot.popleft()
        except IndexError:  # also when the other thread was faster
            return None
        try:
            return convert.received(data, messages.COMPRESSED_IMAGE if self.config.compressed else messages.IMAGE)
        except FrameError as error:
            self.status.problems.report('bad_image', f'image left out: {error}')
            return None

    def in_order(self, message: Any) -> bool:
        """Check an image's stamp against the last one; False when the image is to be left out.

        An image of the same stamp is the same image: a driver that hangs, or a relay that sends twice.
        """
        ns = convert.stamp_ns(message.header.stamp)
        last, self._last_ns = self._last_ns, ns
        if last is None or ns > last:
            return True
        if last - ns < JUMP_BACK_NS:
            self._last_ns = last
            age = f'is {(last - ns) * 1e-6:.0f} ms older than' if ns < last else 'has the stamp of'
            text = f'image {age} the one before; left out; check for two publishers, a relay, or a driver that hangs'
            self.status.problems.note('out_of_order', text)
            return False
        return True

    def jumped_back_s(self, message: Any) -> float:
        """Return by how many seconds the stamp went back, 0.0 when it did not; call before `in_order`."""
        ns = convert.stamp_ns(message.header.stamp)
        back = 0 if self._last_ns is None else self._last_ns - ns
        return back * 1e-9 if back >= JUMP_BACK_NS else 0.0

    def is_ahead(self, ns: int, within_s: float) -> bool:
        """Say whether the camera, heard of in the last `within_s`, has a clock that is far ahead of a stamp."""
        arrival_s = self.status.last_arrival_s
        if self._last_ns is None or arrival_s is None or time.monotonic() - arrival_s > within_s:
            return False
        return self._last_ns - ns >= JUMP_BACK_NS

    def decode(self, message: Any) -> frames.Image:
        """Return the pixels of a message, and note a change of size.

        Raises:
            FrameError: they cannot be used.
        """
        picture = frames.decompress(message.data) if self.config.compressed else convert.image(message)
        size = (picture.width, picture.height)
        if self._size not in (None, size):
            text = f'image size changed from {self._size} to {size}; expecting a camera_info of the new size'
            self.status.problems.note('size_change', text)
        self._size = size
        return picture

    def close(self) -> None:
        """Unsubscribe and forget the waiting image."""
        self._slot.clear()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


def _same(a: CameraInfo, b: CameraInfo) -> bool:
    """Compare everything but the header. NaN differs from itself, so that a bad calibration is reported every time."""
    return (
        a.width == b.width
        and a.height == b.height
        and a.distortion_model == b.distortion_model
        and list(a.d) == list(b.d)
        and all(x == y for x, y in zip(a.k, b.k, strict=True))
        and all(x == y for x, y in zip(a.p, b.p, strict=True))
        and (a.binning_x, a.binning_y) == (b.binning_x, b.binning_y)
        and a.roi == b.roi
    )


def require_own_topics(inputs: Mapping[str, CameraInput]) -> None:
    """Refuse one picture for two cameras, which would show what one sees in two places.

    Raises:
        ConfigError: which cameras take the same topic.
    """
    cameras: dict[str, str] = {}
    for name, camera in inputs.items():
        if camera.topic in cameras:
            raise ConfigError(
                f'cameras {cameras[camera.topic]} and {name} both take {camera.topic}; give each its own image_topic'
            )
        cameras[camera.topic] = name
