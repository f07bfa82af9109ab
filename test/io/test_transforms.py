"""Poses between recorded samples: straight, by the short way round, and never guessed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from seg_perception.camera import Pose
from seg_perception.io.transforms import KEEP_NS, MAX_GAP_NS, PoseTrack, TransformTree, interpolate


def heading(yaw_rad: float, x: float = 0.0) -> Pose:
    return Pose((x, 0.0, 0.0), (0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)))


@pytest.mark.parametrize('sign', [1, -1], ids=['q', '-q'])
@pytest.mark.parametrize('yaw_rad', [0.8, 1e-7])
def test_a_pose_between_two_turns_at_a_constant_rate_by_the_short_way(yaw_rad: float, sign: int) -> None:
    end = heading(yaw_rad, 4.0)
    end = replace(end, quaternion=tuple(sign * q for q in end.quaternion))  # the same rotation
    between = interpolate(heading(0.0, 2.0), end, 0.25)
    assert between.yaw_rad == pytest.approx(yaw_rad / 4)
    assert between.translation_m == pytest.approx((2.5, 0.0, 0.0))


def test_a_track_interpolates_over_short_gaps_only() -> None:
    track = PoseTrack()
    for stamp_ns in (0, MAX_GAP_NS, 2 * MAX_GAP_NS + 1):
        track.add(stamp_ns, heading(0.0, stamp_ns / MAX_GAP_NS))
    at = [track.at(stamp_ns) for stamp_ns in (-1, 0, MAX_GAP_NS // 2, MAX_GAP_NS + 9, 2 * MAX_GAP_NS + 2)]
    assert [None if p is None else p.translation_m[0] for p in at] == [None, 0.0, pytest.approx(0.5), None, None]


def test_a_sample_of_the_same_stamp_replaces_the_former() -> None:
    track = PoseTrack()
    for x in (1.0, 2.0):
        track.add(5, heading(0.0, x))
    assert track.at(5) == heading(0.0, 2.0)


def test_a_clock_that_starts_over_forgets_what_was() -> None:
    track = PoseTrack()
    track.add(2 * KEEP_NS, heading(0.0, 1.0))
    track.add(0, heading(0.0, 2.0))
    assert (track.at(2 * KEEP_NS), track.at(0)) == (None, heading(0.0, 2.0))


def test_frames_are_connected_through_what_both_hang_from() -> None:
    tree = TransformTree()
    tree.add('/base_link', 'camera', 0, heading(0.0, 2.0), static=True)
    tree.add('base_link', 'mast', 7, heading(0.0, 5.0), static=False)
    assert tree.lookup('camera', '/mast', 7).translation_m == pytest.approx((3.0, 0.0, 0.0))
    assert tree.lookup('mast', 'camera', 7).translation_m == pytest.approx((-3.0, 0.0, 0.0))
    assert tree.lookup('camera', 'mast', 8) is None
    assert tree.lookup('mast', 'camera', 8) is None
    assert tree.lookup('camera', 'wheel', 7) is None
