"""Where the vehicle was at a stamp: odometry messages interpolated, carried on, refused."""

from __future__ import annotations

import math

import pytest
from builtin_interfaces.msg import Time
from nav_msgs.msg import Odometry

from seg_perception.camera import Pose
from seg_perception.errors import CameraError
from seg_perception.io.transforms import interpolate
from seg_perception.ros.odometry import OdometryBuffer

MS = 1_000_000


def odometry(ns, x, yaw=0.0, child='base_link', frame='odom'):
    message = Odometry(child_frame_id=child)
    message.header.frame_id = frame
    message.header.stamp = Time(sec=ns // 10**9, nanosec=ns % 10**9)
    message.pose.pose.position.x = x
    message.pose.pose.orientation.z, message.pose.pose.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
    return message


def buffer(*entries, limit_s=0.2):
    b = OdometryBuffer('base_link', 'odom')
    for entry in entries:
        b.add(odometry(*entry), limit_s)
    return b


@pytest.mark.parametrize(('ns', 'x'), [(0, 0.0), (50 * MS, 0.5), (100 * MS, 1.0), (250 * MS, 4.0), (400 * MS, 7.0)])
def test_odometry_is_interpolated_and_goes_on_for_a_while(ns, x):
    b = buffer((0, 0.0), (100 * MS, 1.0), (200 * MS, 3.0))
    assert b.at(ns, 0.2).translation_m == pytest.approx((x, 0.0, 0.0))


@pytest.mark.parametrize('ns', [-300 * MS, -10 * MS, 401 * MS])
def test_odometry_too_far_from_the_stamp_is_not_used(ns):
    assert buffer((0, 0.0), (100 * MS, 1.0), (200 * MS, 3.0)).at(ns, 0.2) is None


def test_odometry_that_goes_back_in_time_starts_afresh():
    b = buffer((5000 * MS, 50.0), (5100 * MS, 51.0), (1000 * MS, 1.0))
    assert len(b) == 1
    assert b.at(1000 * MS, 0.1).translation_m[0] == 1.0


def test_a_late_odometry_message_does_not_cost_the_history():
    b = buffer((0, 0.0), (100 * MS, 1.0), (200 * MS, 2.0), (150 * MS, 99.0))
    assert b.at(250 * MS, 0.2).translation_m[0] == pytest.approx(2.5)
    assert b.at(50 * MS, 0.2).translation_m[0] == pytest.approx(0.5)


def test_the_first_odometry_message_says_nothing_about_motion():
    b = buffer((1000 * MS, 1.0))
    assert b.at(1003 * MS, 0.2).translation_m[0] == 1.0
    assert b.at(1100 * MS, 0.2) is None
    assert b.at(900 * MS, 0.2) is None


def test_odometry_that_comes_back_after_a_gap_does_not_move_from_where_it_was():
    """Its node died at x = 100 m and starts anew at 0: the vehicle does not go back 33 m/s."""
    b = buffer((9900 * MS, 99.0), (10000 * MS, 100.0), (13000 * MS, 0.0))
    assert b.at(13003 * MS, 0.2).translation_m[0] == 0.0
    assert b.at(13100 * MS, 0.2) is None
    assert b.at(12900 * MS, 0.2) is None
    assert b.at(11500 * MS, 0.2) is None
    b.add(odometry(13100 * MS, 1.0), 0.2)
    assert b.at(13200 * MS, 0.2).translation_m[0] == pytest.approx(2.0)
    assert b.at(9950 * MS, 0.2) is None
    assert b.breaks == 1


@pytest.mark.parametrize(('x', 'yaw'), [(5.0, 0.0), (0.2, 0.6)])
def test_odometry_that_leaps_is_not_interpolated(x, yaw):
    """Its node started anew within 20 ms: nothing moves 5 m or turns by 34 degrees in that time."""
    b = buffer((0, 0.0), (20 * MS, 0.1), (40 * MS, x, yaw), (60 * MS, x + 0.1, yaw))
    assert b.breaks == 1
    assert b.at(30 * MS, 0.2) is None
    assert b.at(50 * MS, 0.2).translation_m[0] == pytest.approx(x + 0.05)


def test_a_fast_turning_vehicle_does_not_leap():
    assert buffer(*((i * 20 * MS, 1.0 * i, 3.1 - 0.1 * i) for i in range(60))).breaks == 0


def test_slow_odometry_is_interpolated_as_far_as_the_timeout_allows():
    b = buffer((1000 * MS, 0.0), (2000 * MS, 10.0), (3000 * MS, 20.0), limit_s=1.0)
    assert b.at(2500 * MS, 1.0).translation_m[0] == pytest.approx(15.0)
    b = buffer((1000 * MS, 0.0), (2000 * MS, 10.0), (3000 * MS, 20.0))
    assert b.at(2500 * MS, 0.2) is None


def test_stamps_that_jitter_do_not_throw_the_vehicle_ahead():
    """10 m/s at 200 Hz; the last stamp is 4 ms early, which alone would look like 50 m/s."""
    b = buffer(*((i * 5 * MS, 0.05 * i) for i in range(40)), (196 * MS, 0.05 * 40))
    assert b.at(346 * MS, 0.2).translation_m[0] == pytest.approx(3.46, abs=0.12)


def test_motion_is_carried_on_no_longer_than_it_was_seen_at_the_start():
    b = buffer((0, 0.0), (5 * MS, 0.1))
    assert b.at(10 * MS, 0.2).translation_m[0] == pytest.approx(0.2)
    assert b.at(20 * MS, 0.2) is None


def test_odometry_of_another_frame_or_with_nan_is_refused():
    b = OdometryBuffer('base_link', 'odom')
    with pytest.raises(CameraError, match="odometry is in frame 'map'; expected 'odom': set odom_frame or odometry"):
        b.add(odometry(0, 0.0, frame='map'), 0.2)
    b.add(odometry(0, 0.0, frame=''), 0.2)
    with pytest.raises(CameraError, match="odometry is of frame 'camera'; expected 'base_link'"):
        b.add(odometry(0, 0.0, child='camera'), 0.2)
    with pytest.raises(CameraError, match='not a finite translation'):
        b.add(odometry(0, math.nan), 0.2)


def test_rotation_is_interpolated_along_the_arc():
    turned = Pose((0.0, 0.0, 0.0), (0.0, 0.0, math.sin(0.5), math.cos(0.5)))
    for sign in (1, -1):  # q and -q are the same rotation
        other = Pose(turned.translation_m, tuple(sign * q for q in turned.quaternion))
        half = interpolate(Pose((0.0, 0.0, 0.0)), other, 0.5)
        assert 2 * math.atan2(half.quaternion[2], half.quaternion[3]) == pytest.approx(0.5)
    beyond = interpolate(Pose((0.0, 0.0, 0.0)), turned, 1.5)
    assert 2 * math.atan2(beyond.quaternion[2], beyond.quaternion[3]) == pytest.approx(1.5)
