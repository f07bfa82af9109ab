"""A bag as a recording: camera topics chosen, images decoded, calibration, TF and odometry looked up at their stamps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from seg_perception.errors import RecordingError
from seg_perception.io import messages
from seg_perception.io.bag_cameras import Camera, choose_cameras, info_topic_of
from seg_perception.io.bag_frames import FrameReader, unreadable
from seg_perception.io.bag_source import BagSource
from seg_perception.io.calibration import read_calibration
from seg_perception.io.recording import ImageTopic, RecordedFrame, RecordingOptions, TimedMessage
from seg_perception.io.still_camera import mounting


class BagRecording:
    """A rosbag2 or rosbag1; see `seg_perception.io.recording.Recording`."""

    kind = 'bag'

    def __init__(self, path: Path, options: RecordingOptions) -> None:
        self.source = str(path)
        self._options = options
        self._bag = BagSource(path)
        self.problems = self._bag.problems
        try:
            self._cameras = choose_cameras(self.source, self._bag.topics, options)
            self._odom_topic = self._choose_odometry()
            self._given = read_calibration(options.camera_info) if options.camera_info else None
        except BaseException:
            self._bag.close()
            raise
        self.cameras = tuple(c.name for c in self._cameras)
        types = {t.name: t.msgtype for t in self._bag.topics}
        self.image_topics = tuple(
            ImageTopic(self._image_topic(c, types[c.topic]), types[c.topic]) for c in self._cameras
        )
        names = {c.topic for c in self._cameras}
        self.frame_count: int | None = sum(t.messages for t in self._bag.topics if t.name in names)

    def frames(self) -> Iterator[RecordedFrame]:
        """Yield all frames in stamp order; those that cannot be decoded are left out and counted in `problems`."""
        reader = FrameReader(self._cameras, self._options, self._odom_topic, self._given)
        for early in self._early():
            reader.take(early)
        for message in self._stamped():
            yield from reader.take(message)
        yield from reader.flush()
        self._report(reader.unusable)

    def messages(self) -> Iterator[TimedMessage]:
        """Yield the chosen cameras, TF and odometry as recorded; a calibration or pose of the options replaces its own.

        With a camera name in the options, its topics are `/<name>/image_raw` (or `.../compressed`) and
        `/<name>/camera_info`.
        """
        images = {c.topic: c for c in self._cameras}
        infos = {c.info_topic: c for c in self._cameras if c.info_topic}
        mounted = mounting(self._options) or (self._given.vehicle_from_camera if self._given else None)
        posed: set[str] = set()
        damaged: Counter[str] = Counter()
        for message in self._stamped():
            if not messages.is_readable(message):
                damaged[unreadable(message)] += 1
            elif message.topic in images:
                camera = images[message.topic]
                frame_id = messages.frame_id_of(message)
                if mounted and frame_id not in posed:
                    posed.add(frame_id)
                    yield messages.static_transform(message.stamp_ns, self._options.vehicle_frame, frame_id, mounted)
                if self._given:
                    info = messages.camera_info(
                        self._info_topic(camera),
                        messages.header_stamp(message.data),
                        frame_id,
                        self._given.camera_model,
                    )
                    yield info._replace(stamp_ns=message.stamp_ns)
                yield message._replace(topic=self._image_topic(camera, message.msgtype))
            elif message.topic in infos and not self._given:
                yield message._replace(topic=self._info_topic(infos[message.topic]))
            elif message.topic not in infos:
                yield message
        self._report(damaged)

    def _image_topic(self, camera: Camera, msgtype: str) -> str:
        if not self._options.camera:
            return camera.topic
        return f'/{camera.name}/image_raw' + ('/compressed' if msgtype == messages.COMPRESSED_IMAGE else '')

    def _info_topic(self, camera: Camera) -> str:
        if self._options.camera:
            return f'/{camera.name}/camera_info'
        return camera.info_topic or info_topic_of(camera.topic)

    def close(self) -> None:
        """Close the bag."""
        self._bag.close()

    def _stamped(self) -> Iterator[TimedMessage]:
        """Yield messages; an image or camera_info of stamp 0, which means "not set", has the time of its recording."""
        images = {c.topic for c in self._cameras}
        cameras = images | {c.info_topic for c in self._cameras}
        found: Counter[str] = Counter()
        last: dict[str, int] = {}
        for message in self._bag.messages(self._topics()):
            if message.topic in cameras and messages.has_header(message):
                stamp = messages.header_stamp(message.data)
                if stamp == 0:
                    found[f'{message.topic}: stamp 0; took the time of recording'] += 1
                    message = message._replace(data=messages.with_header_stamp(message.data, message.stamp_ns))
                elif message.topic in images and last.get(message.topic) == stamp:
                    found[f'{message.topic}: same stamp as the image before; they cannot be told apart'] += 1
                last[message.topic] = stamp
            yield message
        self._report(found)

    def _early(self) -> Iterator[TimedMessage]:
        """Yield what holds for the whole recording, though it may have been recorded after the first image."""
        static = {t.name for t in self._bag.topics if t.msgtype == messages.TF and t.name.endswith('tf_static')}
        yield from filter(messages.is_readable, self._bag.messages(static))
        for camera in self._cameras:
            if camera.info_topic:
                yield from islice(filter(messages.is_readable, self._bag.messages({camera.info_topic})), 1)

    def _report(self, found: Counter[str]) -> None:
        """Add to `problems` what is not there yet: a recording may be read more than once."""
        lines = (f'{self.source}: {count} x {text}' for text, count in found.items())
        self.problems += [line for line in lines if line not in self.problems]

    def _topics(self) -> set[str]:
        names = {c.topic for c in self._cameras} | {c.info_topic for c in self._cameras if c.info_topic}
        names |= {t.name for t in self._bag.topics if t.msgtype == messages.TF}
        return names | ({self._odom_topic} if self._odom_topic else set())

    def _choose_odometry(self) -> str | None:
        found = [t.name for t in self._bag.topics if t.msgtype == messages.ODOMETRY]
        asked = self._options.odom_topic
        if asked is not None and asked not in found:
            raise RecordingError(f'{self.source}: no nav_msgs/Odometry on {asked!r}; found {found or "none"}')
        if asked is None and len(found) > 1:
            self.problems.append(
                f'{self.source}: several odometry topics ({", ".join(found)}), none used; name one with --odom-topic'
            )
            return None
        return asked or (found[0] if found else None)
