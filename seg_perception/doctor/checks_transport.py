"""Middleware: which one, which domain, and whether an image fits into its shared memory."""

from __future__ import annotations

from collections.abc import Iterator

from seg_perception.doctor.checks_camera import image_topics
from seg_perception.doctor.findings import Finding, error, ok, warning
from seg_perception.doctor.snapshot import CameraSnapshot, Snapshot, TransportSnapshot

SUBJECT = 'transport'
DEFAULT_SEGMENT_BYTES = 512 * 1024
"""Shared-memory segment of Fast DDS 2 when no profile sets another."""
PROFILE = 'export FASTRTPS_DEFAULT_PROFILES_FILE=$(ros2 pkg prefix seg_perception)/share/seg_perception/config/fastdds_shm.xml'
MAX_DOMAIN = 232
LOSS_ERROR = 0.02
"""Share of lost images from which the transport is called broken."""


def check(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the findings of the middleware as this process sees it."""
    transport = snapshot.transport
    if transport.failure:
        yield error(SUBJECT, 'rmw', transport.failure, _failure_remedy(transport))
        return
    yield _rmw(transport)
    yield _domain(snapshot)
    if 'fastrtps' in transport.rmw:
        yield _profile(snapshot)
    for camera in snapshot.cameras:
        yield from _loss(transport, camera)


def _failure_remedy(transport: TransportSnapshot) -> str:
    if transport.rmw and 'fastrtps' not in transport.rmw:
        return f'sudo apt install ros-$ROS_DISTRO-{transport.rmw.replace("_", "-")}, or unset RMW_IMPLEMENTATION'
    return 'source /opt/ros/$ROS_DISTRO/setup.bash, or pip install -r requirements/ros.txt'


def _rmw(transport: TransportSnapshot) -> Finding:
    if 'fastrtps' in transport.rmw:
        return ok(SUBJECT, 'rmw', transport.rmw)
    return warning(
        SUBJECT,
        'rmw',
        f'{transport.rmw}: the shared-memory profile of this package is for Fast DDS and has no effect',
        'configure its own shared memory for large images, or export RMW_IMPLEMENTATION=rmw_fastrtps_cpp everywhere',
    )


def _domain(snapshot: Snapshot) -> Finding:
    here = snapshot.transport.domain_id or '0'
    if not here.isdigit() or int(here) > MAX_DOMAIN:
        return error(SUBJECT, 'domain', f'ROS_DOMAIN_ID is {here!r}; expected 0 to {MAX_DOMAIN}', 'unset ROS_DOMAIN_ID')
    others = [d for d in snapshot.transport.domains_here if d != int(here)]
    found = image_topics(snapshot) or any(camera.image.publishers for camera in snapshot.cameras)
    if others and not found:
        names = ', '.join(map(str, others))
        return warning(
            SUBJECT,
            'domain',
            f'no camera in domain {here}, but programs on this machine run in domain {names}',
            f'export ROS_DOMAIN_ID={others[0]}   (the same in every terminal)',
        )
    return ok(SUBJECT, 'domain', f'ROS_DOMAIN_ID {here}')


def _profile(snapshot: Snapshot) -> Finding:
    """Judge this process's profile: what is started from here gets the same one."""
    transport = snapshot.transport
    if transport.profile_problem:
        return error(SUBJECT, 'profile', transport.profile_problem, PROFILE)
    segment = transport.segment_bytes or DEFAULT_SEGMENT_BYTES
    free = transport.shm_free_bytes
    if free is not None and transport.segment_bytes and free < transport.segment_bytes:
        return error(
            SUBJECT,
            'profile',
            f'/dev/shm has {_size(free)} free; one segment of the profile takes {_size(transport.segment_bytes)}',
            'give a container more (docker run --shm-size=1g or --ipc=host); delete /dev/shm/fastrtps_* when no ROS runs',
        )
    largest = max((s.wire_bytes for c in snapshot.cameras for s in c.samples), default=0)
    source = transport.profile_path or 'the default of Fast DDS'
    if largest > segment:
        return warning(
            SUBJECT,
            'profile',
            f'an image is {_size(largest)}, the shared-memory segment of what is started from this terminal '
            f'{_size(segment)} ({source}): its images would be lost',
            PROFILE,
        )
    return ok(SUBJECT, 'profile', f'shared-memory segment {_size(segment)} ({source})')


def lost(camera: CameraSnapshot) -> tuple[int, int] | None:
    """Return how many images did not arrive, of how many sent between the first and the last that did.

    By the publisher's sequence numbers where the middleware tells them; else, or when a single image came, by stamps
    that camera_info has and the images lack. None when neither says anything.
    """
    numbers = [a.sequence for a in camera.images if a.sequence is not None]
    if len(numbers) > 1 and len(camera.image.publishers) == 1:
        sent = max(numbers) - min(numbers) + 1
        return sent - len(set(numbers)), sent
    got = {a.stamp_ns for a in camera.images}
    stamps = {a.stamp_ns for a in camera.infos}
    if len(got) > 1:
        stamps = {s for s in stamps if min(got) <= s <= max(got)}
    return (len(stamps - got), len(stamps | got)) if got & stamps else None


def _loss(transport: TransportSnapshot, camera: CameraSnapshot) -> Iterator[Finding]:
    subject = f'camera {camera.name}'
    measured = lost(camera)
    size = max((s.wire_bytes for s in camera.samples), default=0)
    if measured is None:
        return
    missing, sent = measured
    share = missing / sent
    text = f'{missing} of {sent} images lost ({share:.0%}), {_size(size)} each'
    if not missing:
        yield ok(subject, 'loss', text)
    elif size > DEFAULT_SEGMENT_BYTES and 'fastrtps' in transport.rmw:
        remedy = f'start the camera driver with the shared-memory profile, in its terminal: {PROFILE}'
        yield (error if share > LOSS_ERROR else warning)(subject, 'loss', text, remedy)
    else:
        remedy = 'check the load of this machine (top) and the network: wired, jumbo frames, sysctl net.core.rmem_max'
        yield (error if share > LOSS_ERROR else warning)(subject, 'loss', text, remedy)


def _size(n: int) -> str:
    return f'{n / 2**20:.1f} MiB' if n >= 2**20 else f'{n / 1024:.0f} KiB'
