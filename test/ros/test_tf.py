"""Where camera and vehicle are: odometry interpolation, and TF through a stand-in for tf2_ros."""

from __future__ import annotations

import math
import sys
import types

import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry

from seg_perception.camera import Pose
from seg_perception.errors import CameraError
from seg_perception.ros.tf import OdometryBuffer, Transforms, interpolate

MS = 1_000_000


def odometry(ns, x, yaw=0.0, child='base_link'):
    message = Odometry(child_frame_id=child)
    message.header.stamp = Time(sec=ns // 10**9, nanosec=ns % 10**9)
    message.pose.pose.position.x = x
    message.pose.pose.orientation.z, message.pose.pose.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
    return message


def buffer(*entries):
    b = OdometryBuffer('base_link')
    for entry in entries:
        b.add(odometry(*entry))
    return b


@pytest.mark.parametrize(('ns', 'x'), [(0, 0.0), (50 * MS, 0.5), (100 * MS, 1.0), (250 * MS, 4.0), (400 * MS, 7.0)])
def test_odometry_is_interpolated_and_goes_on_for_a_while(ns, x):
    b = buffer((0, 0.0), (100 * MS, 1.0), (200 * MS, 3.0))
    assert b.at(ns, 0.2).translation_m == pytest.approx((x, 0.0, 0.0))


@pytest.mark.parametrize('ns', [-300 * MS, 401 * MS])
def test_odometry_too_far_from_the_stamp_is_not_used(ns):
    assert buffer((0, 0.0), (100 * MS, 1.0), (200 * MS, 3.0)).at(ns, 0.2) is None


def test_odometry_that_goes_back_in_time_starts_afresh():
    b = buffer((5000 * MS, 50.0), (1000 * MS, 1.0))
    assert len(b) == 1
    assert b.at(1000 * MS, 0.1).translation_m[0] == 1.0


def test_odometry_of_another_frame_or_with_nan_is_refused():
    b = OdometryBuffer('base_link')
    with pytest.raises(CameraError, match="odometry is of frame 'camera'; expected 'base_link'"):
        b.add(odometry(0, 0.0, child='camera'))
    with pytest.raises(CameraError, match='not a finite translation'):
        b.add(odometry(0, math.nan))


def test_rotation_is_interpolated_along_the_arc():
    turned = Pose((0.0, 0.0, 0.0), (0.0, 0.0, math.sin(0.5), math.cos(0.5)))
    for sign in (1, -1):  # q and -q are the same rotation
        other = Pose(turned.translation_m, tuple(sign * q for q in turned.quaternion))
        half = interpolate(Pose((0.0, 0.0, 0.0)), other, 0.5)
        assert 2 * math.atan2(half.quaternion[2], half.quaternion[3]) == pytest.approx(0.5)
    beyond = interpolate(Pose((0.0, 0.0, 0.0)), turned, 1.5)
    assert 2 * math.atan2(beyond.quaternion[2], beyond.quaternion[3]) == pytest.approx(1.5)


@pytest.fixture
def tf2(monkeypatch):
    """A tf2_ros that knows one moving transform, valid up to 10.0 s."""
    module = types.ModuleType('tf2_ros')
    module.TransformException = type('TransformException', (Exception,), {})
    module.ExtrapolationException = type('ExtrapolationException', (module.TransformException,), {})

    class Buffer:
        def __init__(self, cache_time):
            pass

        def lookup_transform(self, parent, child, time):
            if (parent, child) != ('base_link', 'front_optical'):
                raise module.TransformException(f'"{child}" passed to lookupTransform does not exist')
            if time.nanoseconds > 10 * 10**9:
                raise module.ExtrapolationException('into the future')
            found = TransformStamped()
            found.header.stamp.sec = 10
            found.transform.translation.z = 1.5
            return found

    module.Buffer, module.TransformListener = Buffer, lambda *args, **kwargs: None
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


def test_without_tf2_ros_every_lookup_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    with pytest.raises(CameraError, match='tf2_ros is not installed'):
        Transforms(node=None).lookup('base_link', 'front_optical', Time(), 0.2)
