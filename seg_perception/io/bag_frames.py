"""From the messages of a bag to frames in stamp order, each with its calibration and poses at its stamp."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator

from rosbags.serde import SerdeError

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import CameraError, FrameError
from seg_perception.frames import Image, decompress, view
from seg_perception.io import messages
from seg_perception.io.bag_cameras import Camera
from seg_perception.io.calibration import Calibration
from seg_perception.io.recording import RecordedFrame, RecordingOptions, TimedMessage
from seg_perception.io.still_camera import mounting
from seg_perception.io.transforms import PoseTrack, TransformTree

WINDOW_NS = 300_000_000
"""How far reading runs ahead of a frame, so that samples after its stamp have arrived and frames can be sorted."""


class FrameReader:
    """Takes messages in recording order and gives frames in stamp order, each with its pose and calibration."""

    def __init__(
        self, cameras: list[Camera], options: RecordingOptions, odom_topic: str | None, given: Calibration | None
    ) -> None:
        self._options = options
        self._by_topic = {c.topic: c.name for c in cameras}
        self._info_cameras: dict[str, list[str]] = {}
        for c in cameras:
            self._info_cameras.setdefault(c.info_topic or '', []).append(c.name)
        self._odom_topic = odom_topic
        self._given = given
        self._mounting = mounting(options) or (given.vehicle_from_camera if given else None)
        self._tree = TransformTree()
        self._odometry = PoseTrack()
        self._odometry_child = ''
        self._infos = {c.name: _InfoTrack() for c in cameras}
        self._waiting: list[tuple[int, int, int, TimedMessage]] = []
        self._taken = 0
        self.unusable: Counter[str] = Counter()
        """What could not be used, and how often."""

    def take(self, message: TimedMessage) -> Iterator[RecordedFrame]:
        """Take one message; return the frames that are now due."""
        if message.topic not in self._by_topic:
            self._note(message)
        elif messages.has_header(message):
            self._taken += 1
            stamp = messages.header_stamp(message.data)
            heapq.heappush(self._waiting, (stamp, self._taken, message.stamp_ns, message))
        else:
            self.unusable[unreadable(message)] += 1
        return self._due(message.stamp_ns - WINDOW_NS)

    def flush(self) -> Iterator[RecordedFrame]:
        """Return all frames that still wait."""
        return self._due(None)

    def _due(self, until_ns: int | None) -> Iterator[RecordedFrame]:
        while self._waiting and (until_ns is None or self._waiting[0][2] <= until_ns):
            stamp, _, _, message = heapq.heappop(self._waiting)
            try:
                yield self._frame(stamp, message)
            except FrameError as error:
                self.unusable[f'{message.topic}: {error}'] += 1

    def _frame(self, stamp_ns: int, message: TimedMessage) -> RecordedFrame:
        frame_id, image = decode_image(message)
        camera = self._by_topic[message.topic]
        model = self._given.camera_model if self._given else self._infos[camera].at(stamp_ns)
        pose = self._mounting or self._tree.lookup(self._options.vehicle_frame, frame_id, stamp_ns)
        return RecordedFrame(camera, stamp_ns, frame_id, image, model, pose, self._odom_from_vehicle(stamp_ns))

    def _odom_from_vehicle(self, stamp_ns: int) -> Pose | None:
        vehicle = self._options.vehicle_frame
        if self._odom_topic is None:
            return self._tree.lookup(self._options.odom_frame, vehicle, stamp_ns)
        pose = self._odometry.at(stamp_ns)
        if pose is None or self._odometry_child in ('', vehicle):
            return pose
        offset = self._tree.lookup(self._odometry_child, vehicle, stamp_ns)
        return None if offset is None else pose @ offset

    def _note(self, message: TimedMessage) -> None:
        try:
            if message.msgtype == messages.CAMERA_INFO:
                for name in self._info_cameras.get(message.topic, ()):
                    self._infos[name].add(message.data)
            elif message.msgtype == messages.TF:
                static = message.topic.endswith('tf_static')
                for t in messages.deserialize(message.data, messages.TF).transforms:
                    pose = messages.pose_of(t.transform.translation, t.transform.rotation)
                    self._tree.add(
                        t.header.frame_id, t.child_frame_id, messages.stamp_ns(t.header.stamp), pose, static=static
                    )
            elif message.topic == self._odom_topic:
                odometry = messages.deserialize(message.data, messages.ODOMETRY)
                pose = messages.pose_of(odometry.pose.pose.position, odometry.pose.pose.orientation)
                self._odometry_child = odometry.child_frame_id.lstrip('/')
                self._odometry.add(messages.stamp_ns(odometry.header.stamp), pose)
        except SerdeError:
            self.unusable[unreadable(message)] += 1
        except CameraError as error:
            self.unusable[f'{message.topic}: {error}'] += 1


class _InfoTrack:
    """The calibration of one camera over time; decoded only where it changes."""

    def __init__(self) -> None:
        self._raw: bytes | None = None
        self._changes: list[tuple[int, CameraModel | None]] = []

    def add(self, data: bytes) -> None:
        """Take one CameraInfo in.

        Raises:
            SerdeError: the bytes are no CameraInfo.
            CameraError: it is not a calibration; until the next one the camera has none.
        """
        raw = data[: messages.STAMP_BYTES.start] + data[messages.STAMP_BYTES.stop :]
        if raw == self._raw:
            return
        info = messages.deserialize(data, messages.CAMERA_INFO)
        self._raw, stamp = raw, messages.stamp_ns(info.header.stamp)
        try:
            self._changes.append((stamp, messages.camera_model_of(info)))
        except CameraError:
            self._changes.append((stamp, None))
            raise

    def at(self, stamp_ns: int) -> CameraModel | None:
        """Return the calibration that holds at a stamp: the last one before it, else the first."""
        before = [model for stamp, model in self._changes if stamp <= stamp_ns]
        return before[-1] if before else self._changes[0][1] if self._changes else None


def unreadable(message: TimedMessage) -> str:
    """Say that a message is left out, its bytes being none of its type."""
    return f'{message.topic} is no {message.msgtype}; left out'


def decode_image(message: TimedMessage) -> tuple[str, Image]:
    """Return frame id and pixels of a sensor_msgs/Image or CompressedImage.

    Raises:
        FrameError: the message or its pixels cannot be decoded.
    """
    try:
        decoded = messages.deserialize(message.data, message.msgtype)
    except Exception as error:  # the library raises whatever the damaged bytes lead to
        raise FrameError(f'message of {len(message.data)} bytes is not a {message.msgtype}') from error
    if message.msgtype == messages.COMPRESSED_IMAGE:
        try:
            return decoded.header.frame_id, decompress(decoded.data)
        except FrameError as error:
            raise FrameError(f'format {decoded.format!r}: {error}') from error
    picture = view(decoded.data, decoded.width, decoded.height, decoded.step, decoded.encoding)
    return decoded.header.frame_id, picture
