"""One way to read anything that holds camera images: bags, videos, folders of frames, synthetic drives.

`open_recording` gives a `Recording`. Its `frames()` feed `Pipeline` offline; its `messages()` are the same
recording as a live camera would publish it.
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import ConfigError, RecordingError
from seg_perception.frames import Image

FIRST_STAMP_NS = 1_000_000_000
"""Stamp of the first frame of a recording without a clock; zero would mean "latest" to TF."""

DEFAULT_CAMERA = 'front'
CAMERA_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
"""A camera's name is part of topics and parameters."""

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.ppm', '.tif', '.tiff', '.webp')
BAG_SUFFIXES = ('.mcap', '.db3', '.bag')
COMPRESSED_BAG_SUFFIXES = ('.zstd', '.zst', '.gz', '.lz4', '.bz2', '.xz')
SCENE_PREFIX = 'scene:'


class RecordedFrame(NamedTuple):
    """One image in stamp order, with what the recording says about its camera at that moment."""

    camera: str
    stamp_ns: int
    frame_id: str
    image: Image
    camera_model: CameraModel | None
    """Intrinsics; None when the recording has no usable calibration for this camera."""
    vehicle_from_camera: Pose | None
    """Pose of the optical frame in the vehicle; None when unknown."""
    odom_from_vehicle: Pose | None
    """Pose of the vehicle in odom at the stamp; None without odometry around it."""
    name: str = ''
    """Name of a file's frame, without its ending unless that tells it from another; '' where frames have none."""


class TimedMessage(NamedTuple):
    """One serialised ROS 2 message."""

    topic: str
    msgtype: str
    """'package/msg/Name'."""
    stamp_ns: int
    """When it was recorded."""
    data: bytes
    """CDR, encapsulation header included."""


class ImageTopic(NamedTuple):
    """Where `Recording.messages` puts the images of one camera."""

    topic: str
    msgtype: str


@dataclass(frozen=True, slots=True)
class RecordingOptions:
    """How to read a recording; what is None is found in it."""

    topics: tuple[str, ...] = ()
    """Image topics of a bag; empty takes the only one there is."""
    all_topics: bool = False
    """Take every image topic of a bag."""
    camera: str | None = None
    """Name of the only camera; None takes it from a bag's topic, and 'front' where there is none."""
    camera_info: Path | None = None
    """Calibration YAML; None looks beside a folder or video and in a bag."""
    extrinsics: tuple[float, float, float, float, float, float] | None = None
    """x, y, z in metres and roll, pitch, yaw in radians of the camera body in the vehicle (`Pose.mounted`)."""
    rate_hz: float | None = None
    """Frames per second of a folder (default 10), or instead of a video's own stamps."""
    odom_topic: str | None = None
    """nav_msgs/Odometry topic of a bag; None takes the only one there is."""
    vehicle_frame: str = 'base_link'
    odom_frame: str = 'odom'

    def __post_init__(self) -> None:
        if self.rate_hz is not None and not 0 < self.rate_hz <= 1000:
            raise ConfigError(f'rate is {self.rate_hz} Hz; expected more than 0 and at most 1000')
        if self.extrinsics is not None and (len(self.extrinsics) != 6 or not all(map(math.isfinite, self.extrinsics))):
            raise ConfigError(
                f'extrinsics are {self.extrinsics}; expected 6 finite numbers x, y, z (m), roll, pitch, yaw (rad)'
            )
        if self.camera is not None and not CAMERA_NAME.fullmatch(self.camera):
            raise ConfigError(f'camera is {self.camera!r}; expected letters, digits and _, a letter first')

    def check_for(self, source: str, *, bag: bool) -> None:
        """Refuse what says nothing about such a recording: it would be left out unseen.

        Raises:
            ConfigError: topics for something other than a bag, or a rate for a bag.
        """
        if bag and self.rate_hz is not None:
            raise ConfigError(f'{source}: a bag has stamps of its own; leave the rate ({self.rate_hz:g} Hz) out')
        named = [*self.topics, *filter(None, [self.odom_topic])]
        if named and not bag:
            raise ConfigError(f'{source}: is no bag and has no topics; leave {", ".join(named)} out')

    @property
    def camera_name(self) -> str:
        """Name of the camera of a recording that does not name it."""
        return self.camera or DEFAULT_CAMERA


class Recording(Protocol):
    """An open recording. Iterating twice reads it twice and gives the same frames."""

    @property
    def source(self) -> str:
        """What was opened, as the user wrote it."""

    @property
    def kind(self) -> str:
        """'bag', 'video', 'folder' or 'scene'."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras, in order of their topics."""

    @property
    def image_topics(self) -> tuple[ImageTopic, ...]:
        """Topics of the images in `messages`."""

    @property
    def frame_count(self) -> int | None:
        """Number of frames the recording announces; None when it does not say."""

    @property
    def problems(self) -> list[str]:
        """What could not be read, one line each; grows while reading."""

    def frames(self) -> Iterator[RecordedFrame]:
        """Yield all frames in stamp order."""

    def messages(self) -> Iterator[TimedMessage]:
        """Yield the recording as ROS 2 messages in recording order: images, camera_info, TF, odometry."""

    def close(self) -> None:
        """Close files; calling it twice is allowed."""


def open_recording(source: str, options: RecordingOptions | None = None) -> Recording:
    """Open a bag (directory, .mcap, .db3, .bag), a video, a folder of frames, or `scene:SEED`.

    Raises:
        RecordingError: it does not exist, holds no image, or several image topics and none was named.
        CameraError: a calibration file is unusable.
        ConfigError: an option that says nothing about such a recording.
    """
    options = options or RecordingOptions()
    if source.startswith(SCENE_PREFIX):
        options.check_for(source, bag=False)
        from seg_perception.io.scene_drive import SceneRecording

        return SceneRecording(source, options)
    path = Path(source)
    if not path.exists():
        raise RecordingError(f'{source}: no such file or folder; give a bag, a video, a folder of frames or scene:SEED')
    options.check_for(source, bag=is_bag(path))
    if is_bag(path):
        from seg_perception.io.bag import BagRecording

        return BagRecording(path, options)
    if path.is_dir():
        from seg_perception.io.folder import FolderRecording

        return FolderRecording(path, options)
    if path.suffix in COMPRESSED_BAG_SUFFIXES:
        raise RecordingError(
            f'{source}: {path.suffix} alone is not a recording; give the bag folder with its metadata.yaml, or unpack it'
        )
    from seg_perception.io.video import VideoRecording

    return VideoRecording(path, options)


def is_bag(path: Path) -> bool:
    """Tell whether `path` is a bag file, or a folder of a rosbag2."""
    if path.is_dir():
        return (path / 'metadata.yaml').exists() or any(p.suffix in ('.mcap', '.db3') for p in path.iterdir())
    return path.suffix in BAG_SUFFIXES


def expand_sources(patterns: Sequence[str]) -> list[str]:
    """Expand globs, keep the order given, drop repetitions.

    Raises:
        RecordingError: a pattern matches nothing.
    """
    found: list[str] = []
    for pattern in patterns:
        if pattern.startswith(SCENE_PREFIX) or Path(pattern).exists():
            matches = [pattern]
        else:
            matches = sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise RecordingError(f'{pattern}: no such file or folder, and no file matches it as a pattern')
        found += matches
    return list(dict.fromkeys(found))
