"""Where a camera is in the vehicle: parameters, or a chain of transforms at the image's time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from seg_perception.doctor.findings import Finding, error, ok, warning
from seg_perception.doctor.matching import mismatches
from seg_perception.doctor.snapshot import CameraSnapshot, Edge, Snapshot, TfSnapshot


def check(snapshot: Snapshot, camera: CameraSnapshot) -> Iterator[Finding]:
    """Yield the findings of the way from the camera to the vehicle frame."""
    subject = f'camera {camera.name}'
    if camera.extrinsics:
        yield ok(subject, 'pose', f'from the parameter `{camera.name}.extrinsics`')
        return
    if not camera.samples:
        return
    yield from _qos(snapshot, subject)
    yield _pose(snapshot, camera, subject)


def _pose(snapshot: Snapshot, camera: CameraSnapshot, subject: str) -> Finding:
    frame, base, tf = camera.samples[-1].frame_id, snapshot.base_frame, snapshot.tf
    by_parameter = f'or set `{camera.name}.extrinsics` to [x, y, z, roll, pitch, yaw]'
    if not frame:
        text = 'images have no frame_id, so TF cannot place the camera'
        return error(subject, 'pose', text, f'set it in the driver, {by_parameter}')
    publish = (
        f'ros2 run tf2_ros static_transform_publisher --frame-id {base} --child-frame-id {frame} --x ... --z ... '
        f'--roll -1.5708 --yaw -1.5708   (an optical frame that looks ahead; docs/bringup.md), {by_parameter}'
    )
    if not (tf.static.publishers or tf.dynamic.publishers):
        return error(subject, 'pose', f'nothing publishes /tf_static or /tf: {base} <- {frame} is unknown', publish)
    if not tf.readable:
        return warning(
            subject,
            'pose',
            f'{base} <- {frame} cannot be checked: tf2_msgs is not installed',
            f'sudo apt install ros-$ROS_DISTRO-tf2-ros, {by_parameter}',
        )
    way = chain(tf.edges, frame, base)
    if not way.complete:
        return error(subject, 'pose', _broken(tf, way, frame, base), publish)
    doubled = [child for child in way.frames if len({e.parent for e in tf.edges.get(child, ())}) > 1]
    if doubled:
        parents = ', '.join(sorted({e.parent for e in tf.edges[doubled[0]]}))
        text = f'frame {doubled[0]!r} has several parents: {parents}'
        return error(subject, 'pose', text, 'stop one of the two publishers; a frame has one parent')
    return _age(snapshot, camera, way, subject)


def _qos(snapshot: Snapshot, subject: str) -> Iterator[Finding]:
    for topic in (snapshot.tf.static, snapshot.tf.dynamic):
        for publisher, subscriber, reason in mismatches(topic):
            if subscriber.node == snapshot.node.name:
                yield error(
                    subject,
                    'qos',
                    f'{subscriber.node} gets nothing from {publisher.node} on {topic.name}: {reason}',
                    'publish /tf_static reliable and transient local, as tf2_ros does',
                )


class Way(NamedTuple):
    """The frames from a camera up to the vehicle, or as far as they are known."""

    frames: tuple[str, ...]
    complete: bool


def chain(edges: Mapping[str, tuple[Edge, ...]], frame: str, base: str) -> Way:
    """Walk from `frame` to its parents until `base`, a root or a loop."""
    frames = [frame]
    while frames[-1] != base:
        parents = edges.get(frames[-1])
        if not parents or parents[-1].parent in frames:
            return Way(tuple(frames), complete=False)
        frames.append(parents[-1].parent)
    return Way(tuple(frames), complete=True)


def _broken(tf: TfSnapshot, way: Way, frame: str, base: str) -> str:
    known = sorted({*tf.edges, *(e.parent for edges in tf.edges.values() for e in edges)})
    seen = f'frames in TF: {", ".join(known)}' if known else 'TF is empty'
    if len(way.frames) == 1 and frame not in known:
        return f'no transform {base} <- {frame}: frame {frame!r} is not in TF ({seen})'
    return f'no transform {base} <- {frame}: the chain ends at {way.frames[-1]!r} ({" -> ".join(way.frames)}; {seen})'


def _age(snapshot: Snapshot, camera: CameraSnapshot, way: Way, subject: str) -> Finding:
    """Compare the newest stamp of every moving link with the newest image."""
    path = ' -> '.join(way.frames)
    limit_s = float(snapshot.node.parameters.get('odometry_timeout_s', 0.2))
    image_ns = camera.images[-1].stamp_ns
    links = [(child, snapshot.tf.edges[child][-1]) for child in way.frames[:-1]]
    for child, edge in links:
        age_s = (image_ns - edge.stamp_ns) * 1e-9
        if not edge.static and age_s > limit_s:
            return error(
                subject,
                'pose',
                f'the transform {edge.parent} <- {child} is {age_s:.2f} s older than the image; expected at most {limit_s:g} s',
                'check the rate and the clock of its publisher (ros2 run tf2_ros tf2_monitor), use_sim_time included',
            )
    kinds = 'static' if all(edge.static for _, edge in links) else 'moving, up to date'
    return ok(subject, 'pose', f'TF {path} ({kinds})')
