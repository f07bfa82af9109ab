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
from seg_perception.ros import convert
from seg_perception.ros.config import CameraConfig, NodeConfig
from seg_perception.ros.odometry import GAP_NS, MOTION_S, OdometryBuffer, interpolate

KEPT_GAPS = 64
"""Gaps of a frame that are remembered: at most 20 fit in what tf2 keeps, whose oldest is never asked for."""


class Samples:
    """When the transforms of each moving frame were, as tf2 does not tell between which it interpolates."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._newest_ns: dict[str, int] = {}
        self._gaps: dict[str, deque[tuple[int, int]]] = {}

    def add(self, transform: Any, *, static: bool) -> None:
        """Note a transform; those that tf2 leaves out, because they hold NaN, do not end a gap."""
        child = transform.child_frame_id.removeprefix('/')
        self._parents[child] = transform.header.frame_id.removeprefix('/')
        if static:
            return
        try:
            _pose(transform)
        except CameraError:
            return
        ns = convert.stamp_ns(transform.header.stamp)
        last_ns = self._newest_ns.get(child, ns)
        if ns - last_ns > GAP_NS:
            self._gaps.setdefault(child, deque(maxlen=KEPT_GAPS)).append((last_ns, ns))
        self._newest_ns[child] = max(ns, last_ns)

    def clear(self) -> None:
        """Forget all times."""
        self._newest_ns.clear()
        self._gaps.clear()

    def require(self, parent: str, child: str, ns: int, limit_s: float) -> None:
        """Check that no frame between the two was away for longer than `GAP_NS` and `limit_s` at a time.

        Raises:
            CameraError: one was.
        """
        if not self._gaps:
            return
        limit_ns = max(GAP_NS, limit_s * 1e9)
        for frame in set(self._to_root(parent)) ^ set(self._to_root(child)):
            for before_ns, after_ns in list(self._gaps.get(frame, ())):
                if before_ns < ns < after_ns and after_ns - before_ns > limit_ns:
                    raise CameraError(
                        f'TF {parent} <- {child}: nothing came of {frame!r} for {(after_ns - before_ns) * 1e-9:.1f} s around '
                        "the image's stamp; check its publisher"
                    )

    def _to_root(self, frame: str) -> list[str]:
        way: list[str] = []
        while frame in self._parents and frame not in way:
            way.append(frame)
            frame = self._parents[frame]
        return way


class Transforms:
    """TF through tf2_ros; without that package every look-up says so."""

    def __init__(self, node: Any) -> None:
        try:
            self._tf2: Any = importlib.import_module('tf2_ros')
        except ImportError:
            self._tf2 = None
            return
        self._samples = Samples()
        self._buffer = self._tf2.Buffer(cache_time=Duration(seconds=10.0))
        self._listener = self._tf2.TransformListener(self, node, spin_thread=False)

    def set_transform(self, transform: Any, authority: str) -> None:
        """Take a transform of /tf; the listener calls it."""
        self._samples.add(transform, static=False)
        self._buffer.set_transform(transform, authority)

    def set_transform_static(self, transform: Any, authority: str) -> None:
        """Take a transform of /tf_static; the listener calls it."""
        self._samples.add(transform, static=True)
        self._buffer.set_transform_static(transform, authority)

    def lookup(self, parent: str, child: str, stamp: Any, limit_s: float, *, moving: bool = False) -> Pose:
        """Return `parent_from_child` at `stamp`, or from the newest one that is at most `limit_s` older.

        Args:
            moving: the newest one is moved on to `stamp`; else it is taken as it is.

        Raises:
            CameraError: no tf2_ros, no such transform, it is too old, or `stamp` lies where transforms were missing.
        """
        if self._tf2 is None:
            raise CameraError(
                f'TF {parent} <- {child} is needed but tf2_ros is not installed; install it, or give the camera '
                'extrinsics and take odometry from the topic'
            )
        try:
            return self._at(parent, child, Time.from_msg(stamp), limit_s)
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

    def _at(self, parent: str, child: str, time: Time, limit_s: float) -> Pose:
        found = self._buffer.lookup_transform(parent, child, time)
        self._samples.require(parent, child, time.nanoseconds, limit_s)
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
            newest = self._at(parent, child, time, limit_s)
            if not moving:
                return newest
            before = self._at(parent, child, time - Duration(seconds=MOTION_S), limit_s)
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
        self._odometry = OdometryBuffer(config.base_frame, config.odom_frame)
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
        frame_id = convert.require_frame_id(message, camera)
        return self._tf.lookup(self._config.base_frame, frame_id, message.header.stamp, limit_s)

    def odom_from_vehicle(self, stamp: Any, limit_s: float) -> Pose | None:
        """Return the vehicle's pose, or None without odometry.

        Raises:
            CameraError: there is odometry, but not at this stamp.
        """
        if self._config.odometry == 'tf':
            assert self._tf is not None
            return self._tf.lookup(self._config.odom_frame, self._config.base_frame, stamp, limit_s, moving=True)
        if not len(self._odometry):
            return None
        pose = self._odometry.at(convert.stamp_ns(stamp), limit_s)
        if pose is None:
            raise CameraError(
                f'no odometry within {limit_s} s of the image, or too little to know the motion; check its rate and that its '
                'stamps share the clock of the images'
            )
        return pose

    def start_over(self) -> None:
        """Forget transforms of before time went back; odometry sees by itself that it did."""
        if self._tf is not None:
            self._tf.clear()

    def _on_odometry(self, message: Odometry) -> None:
        try:
            self._odometry.add(message)
            self._report(None)
        except CameraError as error:
            self._report(str(error))

    def close(self) -> None:
        """Unsubscribe."""
        if self._tf is not None:
            self._tf.close()
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
