"""Where the cameras are in the vehicle and where the vehicle is in the odometry frame, at an image's stamp."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time

from seg_perception.camera import Pose
from seg_perception.errors import CameraError
from seg_perception.io.transforms import interpolate
from seg_perception.ros import convert
from seg_perception.ros.config import CameraConfig, NodeConfig
from seg_perception.ros.odometry import MOTION_S, OdometryBuffer, broken

CACHE_S = 10.0
"""How far back tf2 is asked to remember."""
KEPT_BREAKS = 32
"""Breaks of a frame that are remembered; gaps of half a second fit `CACHE_S` no more often than that."""


class Samples:
    """Where the transforms of each moving frame break off, as tf2 interpolates whatever lies between."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._newest: dict[str, tuple[int, Pose]] = {}
        self._breaks: dict[str, deque[tuple[int, int]]] = {}  # stamps before and after

    def add(self, transform: Any, limit_s: float) -> None:
        """Note a transform of a frame that moves; those that tf2 leaves out, because they hold NaN, do not end a gap."""
        self.attach(transform)
        try:
            pose = _pose(transform)
        except CameraError:
            return
        child, ns = transform.child_frame_id.removeprefix('/'), convert.stamp_ns(transform.header.stamp)
        last_ns, last = self._newest.get(child, (ns, pose))
        if ns < last_ns:
            return
        if broken(ns - last_ns, last, pose, limit_s):
            self._breaks.setdefault(child, deque(maxlen=KEPT_BREAKS)).append((last_ns, ns))
        self._newest[child] = ns, pose

    def attach(self, transform: Any) -> None:
        """Note which frame is whose parent."""
        self._parents[transform.child_frame_id.removeprefix('/')] = transform.header.frame_id.removeprefix('/')

    def clear(self) -> None:
        """Forget all times."""
        self._newest.clear()
        self._breaks.clear()

    def breaks(self, parent: str, child: str) -> list[tuple[int, int]]:
        """Return the stamps before and after every break of the way between two frames."""
        if not self._breaks:
            return []
        way = set(self._to_root(parent)) ^ set(self._to_root(child))
        return [b for frame in way for b in list(self._breaks.get(frame, ()))]

    def _to_root(self, frame: str) -> list[str]:
        way: list[str] = []
        while frame in self._parents and frame not in way:
            way.append(frame)
            frame = self._parents[frame]
        return way


class Transforms:
    """TF through tf2_ros; without that package every look-up says so."""

    def __init__(self, node: Any) -> None:
        self._samples, self._limit_s = Samples(), 0.0
        try:
            self._tf2: Any = importlib.import_module('tf2_ros')
        except ImportError:
            self._tf2 = None
            return
        self._buffer = self._tf2.Buffer(cache_time=Duration(seconds=CACHE_S))
        self._listener = self._tf2.TransformListener(self, node, spin_thread=False)

    def set_transform(self, transform: Any, authority: str) -> None:
        """Take a transform of /tf; the listener calls it."""
        self._samples.add(transform, self._limit_s)
        self._buffer.set_transform(transform, authority)

    def set_transform_static(self, transform: Any, authority: str) -> None:
        """Take a transform of /tf_static; the listener calls it."""
        self._samples.attach(transform)
        self._buffer.set_transform_static(transform, authority)

    def last_break_ns(self, parent: str, child: str) -> int:
        """Return the stamp with which `parent_from_child` began anew after a gap or a leap; 0 when it never did."""
        return max((after_ns for _, after_ns in self._samples.breaks(parent, child)), default=0)

    def lookup(self, parent: str, child: str, stamp: Any, limit_s: float, *, moving: bool = False) -> Pose:
        """Return `parent_from_child` at `stamp`, or from the newest one that is at most `limit_s` older.

        Args:
            moving: the newest one is moved on to `stamp`; else it is taken as it is.

        Raises:
            CameraError: no tf2_ros, no such transform, it is too old, or it broke off around `stamp`.
        """
        self._limit_s = limit_s
        if self._tf2 is None:
            raise CameraError(
                f'TF {parent} <- {child} is needed but tf2_ros is not installed; install it, or give the camera '
                'extrinsics and take odometry from the topic'
            )
        try:
            return self._at(parent, child, Time.from_msg(stamp))
        except self._tf2.ExtrapolationException:
            return self._newest(parent, child, stamp, limit_s, moving)
        except self._tf2.TransformException as error:
            raise _no_transform(parent, child, error) from error

    def clear(self) -> None:
        """Forget all but static transforms, as time has gone back; tf2_ros for Python refuses older ones until then."""
        if self._tf2 is not None:
            self._buffer.clear()
            self._samples.clear()

    def close(self) -> None:
        """Stop listening."""
        if self._tf2 is not None:
            self._listener.unregister()

    def _at(self, parent: str, child: str, time: Time, until: Time | None = None) -> Pose:
        """Return the pose at `time`, when there was no break at it, or from it on until another time."""
        found = self._buffer.lookup_transform(parent, child, time)
        end_ns = (until or time).nanoseconds
        for before_ns, after_ns in self._samples.breaks(parent, child):
            if before_ns < end_ns and time.nanoseconds < after_ns:
                raise CameraError(
                    f"TF {parent} <- {child} breaks off at the image's stamp: its parts are {(after_ns - before_ns) * 1e-9:.2f} s "
                    'apart, or further than a vehicle moves in that time; check its publisher'
                )
        return _pose(found)

    def _newest(self, parent: str, child: str, stamp: Any, limit_s: float, moving: bool) -> Pose:
        try:
            time = Time.from_msg(self._buffer.lookup_transform(parent, child, Time()).header.stamp)
            age_s = (convert.stamp_ns(stamp) - time.nanoseconds) * 1e-9
            if not 0 <= age_s <= limit_s:
                raise CameraError(
                    f'TF {parent} <- {child} is {age_s:.2f} s older than the image; expected at most {limit_s} s; '
                    'check its publisher, the clocks and use_sim_time'
                )
            newest = self._at(parent, child, time)
            if not moving:
                return newest
            before = self._at(parent, child, time - Duration(seconds=MOTION_S), until=time)
        except self._tf2.TransformException as error:
            raise _no_transform(parent, child, error) from error
        return interpolate(before, newest, 1 + age_s / MOTION_S)


def _pose(found: Any) -> Pose:
    return convert.pose(found.transform.translation, found.transform.rotation)


def _no_transform(parent: str, child: str, error: Exception) -> CameraError:
    return CameraError(
        f'no TF {parent} <- {child} ({error}); publish it, e.g. by robot_state_publisher, or give extrinsics'
    )


class PoseSource:
    """Answers both questions from parameters, TF or odometry, as configured."""

    def __init__(
        self, node: Any, config: NodeConfig, cameras: dict[str, CameraConfig], report: Callable[[str | None], None]
    ) -> None:
        """Subscribe to what is needed.

        Args:
            report: called with what is wrong with an odometry message, or with None when it can be used.
        """
        self._config, self._report = config, report
        self._mounted = {n: Pose.mounted(*c.extrinsics) for n, c in cameras.items() if c.extrinsics}
        needs_tf = config.odometry == 'tf' or len(self._mounted) < len(cameras)
        self._tf = Transforms(node) if needs_tf else None
        self._frames: dict[str, str] = {}  # of the cameras that TF places
        self._odometry = OdometryBuffer(config.base_frame, config.odom_frame)
        self._limit_s = config.odometry_timeout_s
        self.bad_odometry = 0
        """Odometry messages that could not be used."""
        self._node = node
        self._subscription = (
            node.create_subscription(
                Odometry, 'odom', self._on_odometry, QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
            )
            if config.odometry == 'topic'
            else None
        )

    def vehicle_from_camera(self, camera: str, message: Any, limit_s: float) -> Pose:
        """Return the pose of a camera's optical frame in the vehicle.

        Raises:
            CameraError: TF does not know it.
        """
        if camera in self._mounted:
            return self._mounted[camera]
        assert self._tf is not None
        self._frames[camera] = frame_id = convert.require_frame_id(message, camera)
        return self._tf.lookup(self._config.base_frame, frame_id, message.header.stamp, limit_s)

    def in_one_place_with(self, camera: str) -> list[str]:
        """Return the other cameras whose images have the same frame_id, so that TF cannot tell them apart."""
        frame_id = self._frames.get(camera)
        return [c for c, f in self._frames.items() if f == frame_id and c != camera]

    def odom_from_vehicle(self, stamp: Any, limit_s: float) -> Pose | None:
        """Return the vehicle's pose, or None without odometry.

        Raises:
            CameraError: there is odometry, but not at this stamp.
        """
        if self._config.odometry == 'tf':
            assert self._tf is not None
            moved = self._tf.lookup(self._config.odom_frame, self._config.base_frame, stamp, limit_s, moving=True)
            if convert.stamp_ns(stamp) < self.odometry_began():
                raise CameraError(
                    'odometry by TF has begun anew since the image, so that its pose means nothing any more'
                )
            return moved
        self._limit_s = limit_s
        if not len(self._odometry):
            return None
        pose = self._odometry.at(convert.stamp_ns(stamp), limit_s)
        if pose is None:
            raise CameraError(
                f'no odometry within {limit_s} s of the image, or too little to know the motion; check its rate and that its '
                'stamps share the clock of the images'
            )
        return pose

    def odometry_began(self) -> int:
        """Return a number that changes when odometry begins anew, after a gap or with a leap: what was placed before lies elsewhere."""
        if self._config.odometry == 'tf':
            assert self._tf is not None
            return self._tf.last_break_ns(self._config.odom_frame, self._config.base_frame)
        return self._odometry.breaks

    def start_over(self) -> None:
        """Forget transforms of before time went back; odometry sees by itself that it did."""
        if self._tf is not None:
            self._tf.clear()

    def _on_odometry(self, message: Odometry) -> None:
        try:
            self._odometry.add(message, self._limit_s)
            self._report(None)
        except CameraError as error:
            self.bad_odometry += 1
            self._report(str(error))

    def close(self) -> None:
        """Unsubscribe."""
        if self._tf is not None:
            self._tf.close()
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
