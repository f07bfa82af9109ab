"""Which topics of a bag are cameras, what they are called, and which camera_info belongs to them."""

from __future__ import annotations

from typing import NamedTuple

from seg_perception.errors import RecordingError
from seg_perception.io import messages
from seg_perception.io.bag_source import Topic
from seg_perception.io.recording import RecordingOptions

IMAGE_TYPES = (messages.IMAGE, messages.COMPRESSED_IMAGE)


class Camera(NamedTuple):
    """One image topic and what belongs to it."""

    name: str
    topic: str
    info_topic: str | None


def choose_cameras(source: str, topics: tuple[Topic, ...], options: RecordingOptions) -> list[Camera]:
    """Pick the image topics, name their cameras, and find their camera_info.

    Raises:
        RecordingError: no image topic, several and none named, or a named one is not there.
    """
    images = [t for t in topics if t.msgtype in IMAGE_TYPES and t.messages]
    listed = ', '.join(f'{t.name} ({t.messages} x {t.msgtype.split("/")[-1]})' for t in images)
    if not images:
        there = ', '.join(f'{t.name} ({t.msgtype})' for t in topics if t.messages) or 'no message at all'
        raise RecordingError(
            f'{source}: no image in this bag, only {there}; record sensor_msgs/Image or CompressedImage'
        )
    missing = [t for t in options.topics if t not in {i.name for i in images}]
    if missing:
        raise RecordingError(f'{source}: no images on {", ".join(missing)}; image topics are {listed}')
    chosen = list(options.topics) or _raw_first([t.name for t in images])
    if len(chosen) > 1 and not options.topics and not options.all_topics:
        raise RecordingError(f'{source}: several image topics: {listed}; choose with --topic, or take --all-topics')
    if options.camera and len(chosen) > 1:
        raise RecordingError(f'{source}: one camera name ({options.camera}) for {len(chosen)} image topics: {listed}')
    infos = [t.name for t in topics if t.msgtype == messages.CAMERA_INFO]
    names = [options.camera] if options.camera else _camera_names(chosen)
    only = infos[0] if len(infos) == 1 and len(chosen) == 1 else None
    return [
        Camera(n, t, next((i for i in infos if i == info_topic_of(t)), only))
        for n, t in zip(names, chosen, strict=True)
    ]


def _base(topic: str) -> str:
    """Return the image_transport base topic: without the transport at its end."""
    parent, _, last = topic.rpartition('/')
    return parent if last in ('compressed', 'theora', 'compressedDepth', 'ffmpeg') and parent else topic


def info_topic_of(topic: str) -> str:
    """Return the camera_info topic that image_transport's convention puts beside an image topic."""
    return _base(topic).rpartition('/')[0] + '/camera_info'


def _raw_first(topics: list[str]) -> list[str]:
    """Leave out the compressed form of an image that is there raw."""
    return [t for t in topics if _base(t) == t or _base(t) not in topics]


def _camera_names(topics: list[str]) -> list[str]:
    """Name cameras after the namespace of their topic: /front/image_raw is 'front'; with more of it when not unique."""
    parts = [[p for p in _base(t).split('/') if p] for t in topics]
    spaces = [p[:-1] or p for p in parts]
    short = [s[-1] for s in spaces]
    if len(set(short)) == len(short):
        return short
    long = ['_'.join(s) for s in spaces]
    return long if len(set(long)) == len(long) else ['_'.join(p) for p in parts]
