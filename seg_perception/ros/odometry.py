"""Where the vehicle was at a stamp, from poses that come now and then."""

from __future__ import annotations

import bisect
import math
from collections import deque

from nav_msgs.msg import Odometry

from seg_perception.camera import Pose
from seg_perception.errors import CameraError
from seg_perception.io.transforms import interpolate
from seg_perception.ros import convert

HISTORY = 512
"""Odometry messages that are kept: 2.5 s at 200 Hz."""

JUMP_BACK_NS = 500_000_000
"""A stamp further back than this is a restarted clock or recording; less is a message out of order."""

STILL_NS = 5_000_000
"""A pose whose motion is unknown stands for this long: 0.1 m at 20 m/s."""

GAP_NS = 500_000_000
"""Between poses further apart odometry was away, perhaps started anew elsewhere: what lies between is no motion."""

LEAP_M, LEAP_MPS = 1.0, 60.0
LEAP_RAD, LEAP_RADPS = 0.2, 3.0
"""No vehicle moves or turns further than this between two poses (offset plus rate): odometry started anew elsewhere."""

MOTION_S = 0.1
"""Poses are extrapolated with the mean motion over this time: that between two stamps 5 ms apart is mostly jitter."""


class OdometryBuffer:
    """Poses of the vehicle from nav_msgs/Odometry, interpolated to a stamp."""

    def __init__(self, base_frame: str, odom_frame: str) -> None:
        self._base_frame, self._odom_frame = base_frame, odom_frame
        self._history: deque[tuple[int, Pose]] = deque(maxlen=HISTORY)
        self.breaks = 0
        """How often the poses did not go on from those before."""

    def add(self, message: Odometry, limit_s: float) -> None:
        """Store a pose; one that comes late is left out, one that does not go on from the last starts a new history.

        Args:
            limit_s: a time without odometry that is no break, where it is longer than `GAP_NS`.

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
        if self._history:
            last_ns, last = self._history[-1]
            if 0 <= last_ns - ns < JUMP_BACK_NS:
                return
            if broken(ns - last_ns, last, pose, limit_s):
                self._history = deque(maxlen=HISTORY)  # a new one, as another thread may read the old one
                self.breaks += 1
        self._history.append((ns, pose))

    def __len__(self) -> int:
        return len(self._history)

    def at(self, ns: int, limit_s: float) -> Pose | None:
        """Return odom_from_vehicle, interpolated, or extrapolated from the last poses for at most `limit_s`.

        Returns:
            None when the stamp is before the first pose or too long after the last, or when the motion is not known yet.
        """
        history = list(self._history)
        if not history or not history[0][0] - STILL_NS <= ns <= history[-1][0] + limit_s * 1e9:
            return None
        i = min(max(bisect.bisect_left(history, ns, key=_stamp_ns), 1), len(history) - 1)
        (before_ns, before), (after_ns, after) = history[i - 1], history[i]
        still = next((pose for at_ns, pose in history[i - 1 : i + 1] if abs(ns - at_ns) <= STILL_NS), None)
        if ns < history[0][0] or len(history) == 1:
            return still
        if ns > after_ns:
            first = bisect.bisect_left(history, after_ns - MOTION_S * 1e9, key=_stamp_ns)
            before_ns, before = history[min(first, i - 1)]
            if after_ns - before_ns < min(ns - after_ns, MOTION_S / 2 * 1e9):
                return still
        return interpolate(before, after, (ns - before_ns) / (after_ns - before_ns))


def broken(ns: int, before: Pose, after: Pose, limit_s: float) -> bool:
    """Tell whether a pose `ns` nanoseconds after another does not go on from it: time went back, a gap or a leap lies between."""
    if not 0 <= ns <= max(GAP_NS, limit_s * 1e9):
        return True
    # A turn is twice the change of its quaternion, whose sign says nothing.
    turned = 2 * min(math.dist(before.quaternion, q) for q in (after.quaternion, [-v for v in after.quaternion]))
    distance = math.dist(before.translation_m, after.translation_m)
    return distance > LEAP_M + LEAP_MPS * ns * 1e-9 or turned > LEAP_RAD + LEAP_RADPS * ns * 1e-9


def _stamp_ns(entry: tuple[int, Pose]) -> int:
    return entry[0]
