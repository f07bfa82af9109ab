"""/clock, use_sim_time, and whether stamps belong to the clock that the node compares them with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from seg_perception.doctor.findings import Finding, error, ok, warning
from seg_perception.doctor.snapshot import Arrival, CameraSnapshot, Snapshot

SUBJECT = 'clock'
FUTURE_S = 0.05
LATE_S = 0.5
OTHER_CLOCK_S = 10.0
"""Stamps further off than this are not late: they come from another clock."""
SIM_ON = 'start the node with use_sim_time:=true (ros2 param set {node} use_sim_time true)'
SIM_OFF = 'start the node with use_sim_time:=false (ros2 param set {node} use_sim_time false)'


def check(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the findings of /clock, then of each camera's stamps against the clock in use."""
    stopped = _stopped(snapshot)
    if stopped:
        yield stopped
    elif snapshot.simulated_time:
        times = snapshot.clock.times_ns
        yield ok(SUBJECT, 'clock', f'simulated time from /clock, {(times[-1] - times[0]) * 1e-9:.1f} s passed')
    else:
        yield ok(SUBJECT, 'clock', 'system time')
    if len(snapshot.clock.topic.publishers) > 1:
        names = ', '.join(sorted(p.node for p in snapshot.clock.topic.publishers))
        yield error(SUBJECT, 'clock', f'several nodes publish /clock: {names}', 'stop all but one')
    for camera in snapshot.cameras:
        if camera.images:
            yield _stamps(snapshot, camera, stopped is not None)


def _stopped(snapshot: Snapshot) -> Finding | None:
    """Return the error when simulated time is used and stands still: then no timer of the node fires."""
    if not snapshot.simulated_time:
        return None
    node, clock = snapshot.node, snapshot.clock
    if not clock.topic.publishers:
        return error(
            SUBJECT,
            'clock',
            f'{node.name} has use_sim_time true and nothing publishes /clock',
            f'play the recording with `ros2 bag play --clock`, or {SIM_OFF.format(node=node.name)}',
        )
    if len(set(clock.times_ns)) < 2:
        at = f'stands at {clock.times_ns[-1] * 1e-9:.3f} s' if clock.times_ns else 'says nothing'
        publisher = clock.topic.publishers[0].node
        return error(
            SUBJECT,
            'clock',
            f'/clock of {publisher} {at} during {snapshot.duration_s:.0f} s',
            'resume the player or the simulation (space bar in `ros2 bag play`)',
        )
    return None


def offsets_s(arrivals: Sequence[Arrival], simulated: bool) -> list[float]:
    """Return by how much reception was later than the stamp, for each arrival that the clock can judge."""
    pairs = ((a.clock_ns if simulated else a.wall_ns, a.stamp_ns) for a in arrivals)
    return [(now - stamp) * 1e-9 for now, stamp in pairs if now is not None]


def _stamps(snapshot: Snapshot, camera: CameraSnapshot, clock_stopped: bool) -> Finding:
    subject = f'camera {camera.name}'
    if not any(a.stamp_ns for a in camera.images):
        return error(subject, 'stamps', 'every image has stamp 0', 'set header.stamp in the camera driver')
    wall = median(offsets_s(camera.images, simulated=False))
    if clock_stopped or not snapshot.simulated_time:
        offset, clock = wall, 'system time'
    else:
        judged = offsets_s(camera.images, simulated=True)
        if not judged:
            return ok(subject, 'stamps', 'no image came after the first /clock message')
        offset, clock = median(judged), '/clock'
    if abs(offset) > OTHER_CLOCK_S:
        return _other_clock(snapshot, subject, offset, clock, wall)
    if offset < -FUTURE_S:
        return error(
            subject,
            'stamps',
            f'images are stamped {-offset:.2f} s in the future of {clock}',
            'synchronise the clocks of both machines (chronyc tracking), or correct the stamping of the driver',
        )
    if offset > LATE_S:
        return warning(
            subject,
            'stamps',
            f'images arrive {offset:.2f} s after their stamp',
            'look for a queue between camera and node (depth 1, best effort), and synchronise clocks (chronyc tracking)',
        )
    return ok(subject, 'stamps', f'{offset * 1e3:.0f} ms old on arrival by {clock}')


def _other_clock(snapshot: Snapshot, subject: str, offset: float, clock: str, wall: float) -> Finding:
    node = snapshot.node.name
    direction = 'behind' if offset > 0 else 'ahead of'
    text = f'stamps are {abs(offset):.0f} s {direction} {clock}'
    if clock == '/clock' and abs(wall) <= OTHER_CLOCK_S:
        text += ', but agree with the system time: this camera is live and the node is on simulated time'
        return error(subject, 'stamps', text, SIM_OFF.format(node=node))
    if clock == 'system time' and snapshot.clock.topic.publishers:
        return error(subject, 'stamps', f'{text}, and /clock is published: a replay', SIM_ON.format(node=node))
    return error(
        subject,
        'stamps',
        text,
        f'for a replay publish /clock (ros2 bag play --clock) and {SIM_ON.format(node=node)}; '
        'for a live camera set the clock of its machine (chronyc tracking)',
    )
