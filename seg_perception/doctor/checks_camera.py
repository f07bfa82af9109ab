"""A camera's images: publisher, QoS, content, order and rate."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import pairwise
from statistics import median

from seg_perception import frames
from seg_perception.doctor.findings import Finding, error, ok, warning
from seg_perception.doctor.matching import mismatches
from seg_perception.doctor.snapshot import CameraSnapshot, ImageSample, Snapshot, Topic
from seg_perception.errors import FrameError

RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


def check(snapshot: Snapshot, camera: CameraSnapshot) -> Iterator[Finding]:
    """Yield the findings of the image topic."""
    subject = f'camera {camera.name}'
    publisher = _publisher(snapshot, camera, subject)
    yield publisher
    yield from _qos(snapshot, camera.image, subject)
    if not camera.image.publishers:
        return
    if not camera.images:
        if any(p.type == _type(camera) for p in camera.image.publishers):
            yield _silent(snapshot, camera, subject)
        return
    yield _content(camera, subject)
    yield _order(camera, subject)
    yield _rate(snapshot, camera, subject)


def none_found() -> Finding:
    """Return the error of a system without any image topic."""
    return error(
        'camera',
        'publisher',
        'no image topic exists in this domain',
        'start the camera driver; is it on another machine (ROS_AUTOMATIC_DISCOVERY_RANGE, firewall, multicast)?',
    )


def image_topics(snapshot: Snapshot) -> list[str]:
    """Return the names of all image topics, compressed ones too, that are not outputs of the node."""
    outputs = {t.name for t in snapshot.node.outputs}
    return sorted(name for name, kind in snapshot.topics.items() if kind in (RAW, COMPRESSED) and name not in outputs)


def _type(camera: CameraSnapshot) -> str:
    return COMPRESSED if camera.compressed else RAW


def _publisher(snapshot: Snapshot, camera: CameraSnapshot, subject: str) -> Finding:
    topic = camera.image
    if not topic.publishers:
        return error(subject, 'publisher', f'nothing publishes {topic.name}', _nearest(snapshot, camera))
    wrong = sorted({p.type for p in topic.publishers} - {_type(camera)})
    if wrong:
        switch = {COMPRESSED: 'true', RAW: 'false'}.get(wrong[0])
        remedy = f'set `{camera.name}.compressed` to {switch}' if switch else 'set image_topic to an image topic'
        return error(subject, 'publisher', f'{topic.name} is {wrong[0]}; expected {_type(camera)}', remedy)
    names = sorted(p.node for p in topic.publishers)
    if len(names) > 1:
        return error(
            subject,
            'publisher',
            f'{len(names)} publishers on {topic.name}: {", ".join(names)}; their images mix',
            'stop all but one (a bag player beside the live driver?), or rename a topic',
        )
    return ok(subject, 'publisher', f'{topic.name} from {names[0]}')


def _nearest(snapshot: Snapshot, camera: CameraSnapshot) -> str:
    """Name what the user probably meant: an image topic of a similar name that no other camera has, else those there are."""
    taken = {other.image.name for other in snapshot.cameras}
    images = [name for name in image_topics(snapshot) if name not in taken]
    if not images:
        other = 'other ' if taken - {camera.image.name} else ''
        return f'start the camera driver; no {other}image topic exists (ros2 topic list -t)'
    close = difflib.get_close_matches(camera.image.name, images, 1, 0.3) or images[:1]
    compressed = f' and `{camera.name}.compressed` to true' if snapshot.topics[close[0]] == COMPRESSED else ''
    return f'start the camera driver, or set `{camera.name}.image_topic` to {close[0]}{compressed} (image topics: {", ".join(images)})'


def _qos(snapshot: Snapshot, topic: Topic, subject: str) -> Iterator[Finding]:
    """Yield an error for a pair that our node is part of, a warning for others on the topic."""
    for publisher, subscriber, reason in mismatches(topic):
        if reason.startswith('type'):
            continue  # `_publisher` says it with the remedy
        ours = subscriber.node == snapshot.node.name
        yield (error if ours else warning)(
            subject,
            'qos',
            f'{subscriber.node} gets nothing from {publisher.node} on {topic.name}: {reason}',
            'change one side: the subscriber to best effort and volatile, or the publisher to reliable',
        )


def _silent(snapshot: Snapshot, camera: CameraSnapshot, subject: str) -> Finding:
    text = (
        f'no image of {camera.image.publishers[0].node} on {camera.image.name} arrived in {snapshot.duration_s:.0f} s'
    )
    if camera.infos:
        text += f', while {len(camera.infos)} camera_info did: it sends none, or all are lost on the way'
    return error(
        subject,
        'rate',
        text,
        "look at the driver's log; is a trigger, a lifecycle activation or a paused player missing? Images over 512 KiB "
        'are lost when the driver runs without the shared-memory profile (docs/doctor.md)',
    )


def _content(camera: CameraSnapshot, subject: str) -> Finding:
    """Read the sampled images the way the node does."""
    try:
        sizes = [_size(sample, camera.compressed) for sample in camera.samples]
    except FrameError as problem:
        remedy = 'correct the driver: encoding, step and data size have to follow sensor_msgs/Image'
        return error(subject, 'image', str(problem), remedy)
    if len(set(sizes)) > 1:
        seen = ', '.join(f'{w}x{h}' for w, h in dict.fromkeys(sizes))
        return warning(
            subject, 'image', f'images change their size: {seen}', 'look for two publishers or a dynamic region'
        )
    sample = camera.samples[-1]
    return ok(subject, 'image', f'{sizes[-1][0]}x{sizes[-1][1]} {sample.encoding}')


def _size(sample: ImageSample, compressed: bool) -> tuple[int, int]:
    if compressed:
        image = frames.decompress(sample.data)
    else:
        image = frames.view(sample.data, sample.width, sample.height, sample.step, sample.encoding)
    return image.width, image.height


def image_size(camera: CameraSnapshot) -> tuple[int, int] | None:
    """Return width and height of the last image; None when there is none that can be read."""
    try:
        return _size(camera.samples[-1], camera.compressed) if camera.samples else None
    except FrameError:
        return None


def _order(camera: CameraSnapshot, subject: str) -> Finding:
    stamps = [a.stamp_ns for a in camera.images]
    steps = [b - a for a, b in pairwise(stamps)]
    back = [s for s in steps if s < 0]
    if back:
        return error(
            subject,
            'order',
            f'stamps go back {len(back)} times, by up to {-min(back) * 1e-9:.3f} s',
            'look for two publishers, a looping player, or a driver that stamps in several threads',
        )
    if 0 in steps and any(stamps):
        return warning(subject, 'order', f'{steps.count(0)} images repeat a stamp', 'look for a relay that sends twice')
    return ok(subject, 'order', f'{len(stamps)} stamps in order')


def _rate(snapshot: Snapshot, camera: CameraSnapshot, subject: str) -> Finding:
    """Judge the rate of arrival; the longest gap counts up to the end of the observation."""
    walls = [a.wall_ns for a in camera.images]
    gaps = [(b - a) * 1e-9 for a, b in pairwise(walls)]
    if not any(gaps):
        text = f'one image in {snapshot.duration_s:.0f} s'
        return error(subject, 'rate', text, "look at the driver's frame rate, its load and the network")
    rate = len(gaps) / sum(gaps)
    middle_s = median(gaps)
    longest_s = max(*gaps, (snapshot.ended_ns - walls[-1]) * 1e-9)
    timeout_s = float(snapshot.node.parameters.get('image_timeout_s', 1.0))
    text = f'{rate:.1f} images/s, longest gap {longest_s * 1e3:.0f} ms (median {middle_s * 1e3:.0f})'
    remedy = "raise the driver's frame rate; check exposure, USB or network bandwidth and load"
    if longest_s > timeout_s:
        return error(subject, 'rate', f'{text}: silent for longer than image_timeout_s ({timeout_s:g} s)', remedy)
    if rate < snapshot.min_rate_hz:
        return warning(subject, 'rate', f'{text}; expected at least {snapshot.min_rate_hz:g}', remedy)
    return ok(subject, 'rate', text)
