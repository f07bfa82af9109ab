"""A synthetic drive as a recording: `scene:SEED`, with calibration, camera pose and odometry."""

from __future__ import annotations

from collections.abc import Iterator

from seg_perception.errors import ConfigError, RecordingError
from seg_perception.frames import from_array
from seg_perception.io.recording import (
    FIRST_STAMP_NS,
    SCENE_PREFIX,
    RecordedFrame,
    RecordingOptions,
    TimedMessage,
)
from seg_perception.io.still_camera import as_messages, image_topic
from seg_perception.scene import Drive, default_camera

DEFAULT_RATE_HZ = 10.0


class SceneRecording:
    """Renders while it is read; see `seg_perception.io.recording.Recording`. `drive` holds the truth."""

    kind = 'scene'

    def __init__(self, source: str, options: RecordingOptions) -> None:
        self.source = source
        self.problems: list[str] = []
        self._options = options
        seed = source.removeprefix(SCENE_PREFIX)
        if not seed.isdecimal():
            raise RecordingError(f'{source}: the seed {seed!r} is not a whole number; write for example scene:7')
        if options.camera_info or options.extrinsics:
            raise ConfigError(f'{source}: a synthetic drive brings its own calibration and pose; leave yours out')
        self.drive = Drive(int(seed), {options.camera_name: default_camera()}, options.rate_hz or DEFAULT_RATE_HZ)
        self.cameras = tuple(self.drive.cameras)
        self.image_topics = tuple(map(image_topic, self.cameras))
        self.frame_count: int | None = len(self.drive) * len(self.cameras)

    def frames(self) -> Iterator[RecordedFrame]:
        """Yield all frames; frame i of `drive` has the stamp FIRST_STAMP_NS + i / rate."""
        for i in range(len(self.drive)):
            moment = self.drive.frame(i)
            stamp = FIRST_STAMP_NS + moment.stamp_ns
            for name, seen in moment.cameras.items():
                model, pose = self.drive.cameras[name]
                image = from_array(seen.image, 'rgb8')
                yield RecordedFrame(name, stamp, f'{name}_optical_frame', image, model, pose, moment.odom_from_vehicle)

    def messages(self) -> Iterator[TimedMessage]:
        """Yield images, camera_info, odometry, /tf and /tf_static."""
        return as_messages(self.frames(), self._options)

    def close(self) -> None:
        """Nothing to close."""
