"""Where camera and vehicle are: odometry interpolation, and TF through a stand-in for tf2_ros."""

from __future__ import annotations

import contextlib
import math
import sys
import types

import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry

from seg_perception.camera import Pose
from seg_perception.errors import CameraError
from seg_perception.io.transforms import interpolate
from seg_perception.ros.config import CameraConfig, NodeConfig
from seg_perception.ros.odometry import OdometryBuffer
from seg_perception.ros.tf import PoseSource, Transforms

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


class Listener:
    """Counts the listeners that are still subscribed."""

    open = 0

    def __init__(self, buffer, node, spin_thread):
        Listener.open += 1

    def unregister(self):
        Listener.open -= 1


@pytest.fixture
def tf2(monkeypatch):
    """A tf2_ros that knows a camera, and until it is cleared a vehicle at 5 m/s; valid from 5.0 to 10.0 s."""
    module = types.ModuleType('tf2_ros')
    module.TransformException = type('TransformException', (Exception,), {})
    module.ExtrapolationException = type('ExtrapolationException', (module.TransformException,), {})

    class Buffer:
        def __init__(self, cache_time):
            self.moving = True

        def clear(self):
            self.moving = False

        def set_transform(self, transform, authority):
            pass

        set_transform_static = set_transform

        def lookup_transform(self, parent, child, time):
            if parent == 'odom' and not self.moving:
                raise module.TransformException('nothing yet')
            if (parent, child) == ('base_link', 'new_optical') and time.nanoseconds:
                raise module.ExtrapolationException('only one transform')
            if (parent, child) == ('base_link', 'new_optical'):
                raise module.TransformException('no common time')
            if (parent, child) not in (('base_link', 'front_optical'), ('odom', 'base_link')):
                raise module.TransformException(f'"{child}" passed to lookupTransform does not exist')
            ns = time.nanoseconds or 10 * 10**9
            if not 5 * 10**9 <= ns <= 10 * 10**9:
                raise module.ExtrapolationException('outside of what is known')
            found = TransformStamped()
            found.header.stamp = Time(sec=ns // 10**9, nanosec=ns % 10**9)
            found.transform.translation.z = 1.5
            found.transform.translation.x = 5.0 * ns * 1e-9 if parent == 'odom' else 0.0
            return found

    Listener.open = 0
    module.Buffer, module.TransformListener = Buffer, Listener
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)


@pytest.mark.usefixtures('tf2')
def test_tf_at_the_stamp_or_a_little_older():
    tf = Transforms(node=None)
    for stamp in (Time(sec=9), Time(sec=10, nanosec=150 * MS)):
        assert tf.lookup('base_link', 'front_optical', stamp, 0.2).translation_m == (0.0, 0.0, 1.5)


@pytest.mark.usefixtures('tf2')
def test_tf_that_is_too_old_or_missing():
    tf = Transforms(node=None)
    with pytest.raises(CameraError, match=r'is 1.00 s older than the image; expected at most 0.2 s'):
        tf.lookup('base_link', 'front_optical', Time(sec=11), 0.2)
    with pytest.raises(CameraError, match='no TF base_link <- left_optical'):
        tf.lookup('base_link', 'left_optical', Time(sec=9), 0.2)


@pytest.mark.usefixtures('tf2')
def test_tf_that_has_no_newest_transform_is_an_error_of_the_camera():
    with pytest.raises(CameraError, match=r'no TF base_link <- new_optical \(no common time\)'):
        Transforms(node=None).lookup('base_link', 'new_optical', Time(sec=9), 0.2)


@pytest.mark.usefixtures('tf2')
def test_odometry_from_tf_goes_on_to_the_image():
    """At 5 m/s the vehicle is 0.75 m further 150 ms after the newest transform, whose x is 50 m."""
    poses = PoseSource(None, NodeConfig(odometry='tf'), {'front': CameraConfig()}, lambda _: None)
    for stamp, x in ((Time(sec=9), 45.0), (Time(sec=10, nanosec=150 * MS), 50.75)):
        assert poses.odom_from_vehicle(stamp, 0.2).translation_m == pytest.approx((x, 0.0, 1.5))
    with pytest.raises(CameraError, match='older than the image'):
        poses.odom_from_vehicle(Time(sec=11), 0.2)


@pytest.mark.usefixtures('tf2')
def test_odometry_from_tf_of_before_time_went_back_is_forgotten():
    poses = PoseSource(None, NodeConfig(odometry='tf'), {'front': CameraConfig()}, lambda _: None)
    poses.odom_from_vehicle(Time(sec=9), 0.2)
    poses.start_over()
    with pytest.raises(CameraError, match='nothing yet'):
        poses.odom_from_vehicle(Time(sec=9), 0.2)


def transform(seconds, x_m=0.0, parent='odom', child='base_link'):
    found = TransformStamped(child_frame_id=child)
    ns = round(seconds * 1e9)
    found.header.stamp, found.header.frame_id = Time(sec=ns // 10**9, nanosec=ns % 10**9), parent
    found.transform.translation.x, found.transform.rotation.w = x_m, 1.0
    return found


def hear(poses, *seconds, x_m=0.0):
    """Receive transforms, as the listener of tf2_ros passes them on."""
    for at in seconds:
        poses._tf.set_transform(transform(at, x_m), 'somebody')


@pytest.mark.usefixtures('tf2')
def test_tf_is_not_stretched_over_a_time_without_it():
    """tf2 interpolates from before to after, however long that is, and starts the motion in between."""
    poses = PoseSource(None, NodeConfig(odometry='tf'), {'front': CameraConfig()}, lambda _: None)
    poses._tf.set_transform_static(transform(0.0, parent='base_link', child='front_optical'), 'somebody')
    hear(poses, 5.0, 5.4, 9.95, 10.0)
    message = transform(8.0, parent='front_optical')
    assert poses.vehicle_from_camera('front', message, 0.2).translation_m == (0.0, 0.0, 1.5)
    assert poses.odom_from_vehicle(Time(sec=10), 0.2).translation_m[0] == pytest.approx(50.0)
    for stamp in (Time(sec=5, nanosec=500 * MS), Time(sec=9, nanosec=900 * MS), Time(sec=10, nanosec=50 * MS)):
        with pytest.raises(CameraError, match=r"breaks off at the image's stamp: its parts are 4.55 s apart"):
            poses.odom_from_vehicle(stamp, 0.2)
    with pytest.raises(CameraError, match='begun anew since the image'):
        poses.odom_from_vehicle(Time(sec=5, nanosec=200 * MS), 0.2)
    assert poses.odom_from_vehicle(Time(sec=9, nanosec=970 * MS), 0.2).translation_m[0] == pytest.approx(49.85)


@pytest.mark.usefixtures('tf2')
def test_a_camera_by_tf_is_not_placed_over_a_time_without_it():
    poses = PoseSource(None, NodeConfig(odometry='none'), {'front': CameraConfig()}, lambda _: None)
    for seconds in (5.0, 5.3, 9.0, 9.3):
        poses._tf.set_transform(transform(seconds, parent='base_link', child='front_optical'), 'somebody')
    for seconds in (5.1, 9.0, 9.1):
        image = transform(seconds, parent='front_optical')
        assert poses.vehicle_from_camera('front', image, 0.2).translation_m == (0.0, 0.0, 1.5)
    with pytest.raises(CameraError, match='breaks off'):
        poses.vehicle_from_camera('front', transform(8.9, parent='front_optical'), 0.2)


@pytest.mark.usefixtures('tf2')
def test_tf_that_leaps_moves_nothing_with_it():
    """tf2 alone would carry on at 100 m/s what happened between two transforms."""
    poses = PoseSource(None, NodeConfig(odometry='tf'), {'front': CameraConfig()}, lambda _: None)
    hear(poses, *(9.0 + 0.05 * i for i in range(20)))
    began = poses.odometry_began()
    hear(poses, 10.0, x_m=10.0)
    assert poses.odometry_began() != began
    for ms in (-20, 50):
        ns = 10**10 + ms * MS
        with pytest.raises(CameraError, match='breaks off'):
            poses.odom_from_vehicle(Time(sec=ns // 10**9, nanosec=ns % 10**9), 0.2)


@pytest.mark.usefixtures('tf2')
def test_tf_with_nan_does_not_hide_that_odometry_is_away():
    poses = PoseSource(None, NodeConfig(odometry='tf'), {'front': CameraConfig()}, lambda _: None)
    hear(poses, 5.0)
    hear(poses, *(5.1 + 0.1 * i for i in range(45)), x_m=math.nan)
    hear(poses, 10.0)
    with pytest.raises(CameraError, match='breaks off'):
        poses.odom_from_vehicle(Time(sec=8), 0.2)


@pytest.mark.usefixtures('tf2')
def test_cameras_of_one_frame_are_found():
    """Two drivers with their default frame_id: what the left camera sees is placed before the front one."""
    poses = PoseSource(None, NodeConfig(odometry='none'), {c: CameraConfig() for c in 'abc'}, lambda _: None)
    for camera, frame in (('a', 'front_optical'), ('b', 'front_optical'), ('c', 'base_link')):
        with contextlib.suppress(CameraError):
            poses.vehicle_from_camera(camera, transform(8.0, parent=frame), 0.2)
    assert [poses.in_one_place_with(c) for c in 'abc'] == [['b'], ['a'], []]


@pytest.mark.usefixtures('tf2')
def test_closing_ends_the_listener():
    poses = PoseSource(None, NodeConfig(odometry='tf'), {'front': CameraConfig()}, lambda _: None)
    assert Listener.open == 1
    poses.close()
    assert Listener.open == 0


def test_without_tf2_ros_every_lookup_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    with pytest.raises(CameraError, match='tf2_ros is not installed'):
        Transforms(node=None).lookup('base_link', 'front_optical', Time(), 0.2)
