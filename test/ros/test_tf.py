"""Where camera and vehicle are: TF through a stand-in for tf2_ros."""

from __future__ import annotations

import contextlib
import math
import sys
import types

import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped

from seg_perception.errors import CameraError
from seg_perception.ros.config import CameraConfig, NodeConfig
from seg_perception.ros.tf import PoseSource, Transforms

MS = 1_000_000


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
