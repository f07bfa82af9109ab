"""Where the cameras are in the vehicle and where the vehicle is in the odometry frame, at an image's stamp."""

from __future__ import annotations

import bisect
import importlib
import math
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time

from seg_perception.camera import Pose
from seg_perception.errors import CameraError
from seg_perception.ros import convert
from seg_perception.ros.config import CameraConfig, NodeConfig

HISTORY = 512
"""Odometry messages that are kept: 2.5 s at 200 Hz."""

JUMP_BACK_NS = 500_000_000
"""A stamp further back than this is a restarted clock or recording; less is a message out of order."""

STILL_NS = 5_000_000
"""A pose whose motion is unknown stands for this long: 0.1 m at 20 m/s."""

GAP_NS = 500_000_000
"""Between poses further apart odometry was away, perhaps started anew elsewhere: what lies between is no motion."""

MOTION_S = 0.1
"""The motion that TF is extrapolated with is the mean over this time."""


class Transforms:
    """TF through tf2_ros; without that package every look-up says so."""

    def __init__(self, node: Any) -> None:
        try:
            self._tf2: Any = importlib.import_module('tf2_ros')
        except ImportError:
            self._tf2 = None
            return
        self._buffer = self._tf2.Buffer(cache_time=Duration(seconds=10.0))
        self._listener = self._tf2.TransformListener(self._buffer, node, spin_thread=False)

    def lookup(self, parent: str, child: str, stamp: Any, limit_s: float, *, moving: bool = False) -> Pose:
        """Return `parent_from_child` at `stamp`, or from the newest one that is at most `limit_s` older.

        Args:
            moving: the newest one is moved on to `stamp`; else it is taken as it is.

        Raises:
            CameraError: no tf2_ros, no such transform, or it is too old.
        """
        if self._tf2 is None:
            raise CameraError(
                f'TF {parent} <- {child} is needed but tf2_ros is not installed; install it, or give the camera '
                'extrinsics and take odometry from the topic'
            )
        try:
            return _pose(self._buffer.lookup_transform(parent, child, Time.from_msg(stamp)))
        except self._tf2.ExtrapolationException:
            return self._newest(parent, child, stamp, limit_s, moving)
        except self._tf2.TransformException as error:
            raise _no_transform(parent, child, error) from error

    def clear(self) -> None:
        """Forget all but static transforms, as time has gone back; tf2_ros for Python refuses older ones until then."""
        if self._tf2 is not None:
            self._buffer.clear()

    def close(self) -> None:
        """Stop listening."""
        if self._tf2 is not None:
            self._listener.unregister()

    def _newest(self, parent: str, child: str, stamp: Any, limit_s: float, moving: bool) -> Pose:
        try:
            newest = self._buffer.lookup_transform(parent, child, Time())
            age_s = (convert.stamp_ns(stamp) - convert.stamp_ns(newest.header.stamp)) * 1e-9
            if not 0 <= age_s <= limit_s:
                raise CameraError(
                    f'TF {parent} <- {child} is {age_s:.2f} s older than the image; expected at most {limit_s} s; '
                    'check its publisher, the clocks and use_sim_time'
                )
            if not moving:
                return _pose(newest)
            earlier = Time.from_msg(newest.header.stamp) - Duration(seconds=MOTION_S)
            before = self._buffer.lookup_transform(parent, child, earlier)
        except self._tf2.TransformException as error:
            raise _no_transform(parent, child, error) from error
        return interpolate(_pose(before), _pose(newest), 1 + age_s / MOTION_S)


def _pose(found: Any) -> Pose:
    return convert.pose(found.transform.translation, found.transform.rotation)


def _no_transform(parent: str, child: str, error: Exception) -> CameraError:
    return CameraError(
        f'no TF {parent} <- {child} ({error}); publish it, e.g. by robot_state_publisher, or give extrinsics'
    )


class OdometryBuffer:
    """Poses of the vehicle from nav_msgs/Odometry, interpolated to a stamp."""

    def __init__(self, base_frame: str, odom_frame: str) -> None:
        self._base_frame, self._odom_frame = base_frame, odom_frame
        self._history: deque[tuple[int, Pose]] = deque(maxlen=HISTORY)

    def add(self, message: Odometry) -> None:
        """Store a pose; one that comes late is left out, a stamp that goes far back starts a new history.

        Raises:
            CameraError: the pose is not finite, or it is that of another frame.
        """
        if message.header.frame_id not in ('', self._odom_frame):
            raise CameraError(
                f'odometry is in frame {message.header.frame_id!r}; expected {self._odom_frame!r}: set odom_frame or odometry'
            )
        if message.child_frame_id not in ('', self._base_frame):
            raise CameraError(
                f'odometry is of frame {message.child_frame_id!r}; expected {self._base_frame!r}: set base_frame or odometry'
            )
        pose = convert.pose(message.pose.pose.position, message.pose.pose.orientation)
        ns = convert.stamp_ns(message.header.stamp)
        if self._history and ns <= self._history[-1][0]:
            if self._history[-1][0] - ns < JUMP_BACK_NS:
                return
            self._history.clear()
        self._history.append((ns, pose))

    def __len__(self) -> int:
        return len(self._history)

    def at(self, ns: int, limit_s: float) -> Pose | None:
        """Return odom_from_vehicle, interpolated, or extrapolated from the last two poses for at most `limit_s`.

        Returns:
            None when the stamp is further away than that, or when the motion is not known yet, also after a gap of more
            than `GAP_NS` and `limit_s`.
        """
        history = list(self._history)
        limit_ns = limit_s * 1e9
        if not history or not history[0][0] - limit_ns <= ns <= history[-1][0] + limit_ns:
            return None
        i = min(max(bisect.bisect_left(history, ns, key=lambda entry: entry[0]), 1), len(history) - 1)
        (before_ns, before), (after_ns, after) = history[i - 1], history[i]
        if len(history) == 1 or after_ns - before_ns > max(GAP_NS, limit_ns):
            return next((pose for at_ns, pose in history[i - 1 : i + 1] if abs(ns - at_ns) <= STILL_NS), None)
        return interpolate(before, after, (ns - before_ns) / (after_ns - before_ns))


def interpolate(a: Pose, b: Pose, t: float) -> Pose:
    """Return the pose at `t` of the way from a (0) to b (1); outside 0..1 the motion goes on (slerp, Shoemake 1985)."""
    qa, qb = np.array(a.quaternion), np.array(b.quaternion)
    cosine = float(qa @ qb)
    if cosine < 0:
        qb, cosine = -qb, -cosine
    angle = math.acos(min(1.0, cosine))
    if angle < 1e-6:
        q = qa + t * (qb - qa)
    else:
        q = (math.sin((1 - t) * angle) * qa + math.sin(t * angle) * qb) / math.sin(angle)
    q /= np.linalg.norm(q)
    pa, pb = np.array(a.translation_m), np.array(b.translation_m)
    x, y, z = (float(v) for v in pa + t * (pb - pa))
    return Pose((x, y, z), (float(q[0]), float(q[1]), float(q[2]), float(q[3])))


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
                f'no odometry within {limit_s} s of the image; check its rate and that its stamps share the clock of the images'
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
