"""Poses at a moment from recorded TF and odometry: chains of frames, interpolation, never extrapolation."""

from __future__ import annotations

import bisect
import math

from seg_perception.camera import Pose

MAX_GAP_NS = 500_000_000
"""Largest distance of two samples between which a pose is interpolated."""

KEEP_NS = 10_000_000_000
"""How long samples are kept behind the newest one."""


class PoseTrack:
    """Samples of one moving pose, looked up by stamp."""

    def __init__(self) -> None:
        self._stamps: list[int] = []
        self._poses: list[Pose] = []

    def add(self, stamp_ns: int, pose: Pose) -> None:
        """Insert a sample; one of the same stamp replaces the former. A jump back in time starts again."""
        if self._stamps and stamp_ns < self._stamps[-1] - KEEP_NS:
            self._stamps.clear()
            self._poses.clear()
        i = bisect.bisect_left(self._stamps, stamp_ns)
        if i < len(self._stamps) and self._stamps[i] == stamp_ns:
            self._poses[i] = pose
            return
        self._stamps.insert(i, stamp_ns)
        self._poses.insert(i, pose)
        old = bisect.bisect_left(self._stamps, self._stamps[-1] - KEEP_NS)
        if old > 1024:
            del self._stamps[:old], self._poses[:old]

    def at(self, stamp_ns: int) -> Pose | None:
        """Return the pose at `stamp_ns`; None before the first sample, after the last, or inside a long gap."""
        i = bisect.bisect_left(self._stamps, stamp_ns)
        if i == len(self._stamps):
            return None
        if self._stamps[i] == stamp_ns:
            return self._poses[i]
        if i == 0 or self._stamps[i] - self._stamps[i - 1] > MAX_GAP_NS:
            return None
        start, end = self._stamps[i - 1], self._stamps[i]
        return interpolate(self._poses[i - 1], self._poses[i], (stamp_ns - start) / (end - start))


def interpolate(a: Pose, b: Pose, t: float) -> Pose:
    """Return the pose at `t` of the way from a (0) to b (1); outside 0..1 the motion goes on (slerp, Shoemake 1985)."""
    cosine = sum(p * q for p, q in zip(a.quaternion, b.quaternion, strict=True))
    sign, angle = math.copysign(1.0, cosine), math.acos(min(1.0, abs(cosine)))  # q and -q are the same rotation
    small = angle < 1e-6
    wa = 1 - t if small else math.sin((1 - t) * angle) / math.sin(angle)
    wb = sign * (t if small else math.sin(t * angle) / math.sin(angle))
    qx, qy, qz, qw = (wa * p + wb * q for p, q in zip(a.quaternion, b.quaternion, strict=True))
    norm = math.hypot(qx, qy, qz, qw)
    x, y, z = (p + t * (q - p) for p, q in zip(a.translation_m, b.translation_m, strict=True))
    return Pose((x, y, z), (qx / norm, qy / norm, qz / norm, qw / norm))


class TransformTree:
    """The frames of one recording. Static transforms hold always, moving ones between their samples."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}
        self._static: dict[str, Pose] = {}
        self._moving: dict[str, PoseTrack] = {}

    def add(self, parent: str, child: str, stamp_ns: int, parent_from_child: Pose, *, static: bool) -> None:
        """Take one transform in; frame ids are compared without a leading slash."""
        parent, child = parent.lstrip('/'), child.lstrip('/')
        self._parents[child] = parent
        if static:
            self._static[child] = parent_from_child
        else:
            self._moving.setdefault(child, PoseTrack()).add(stamp_ns, parent_from_child)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Pose | None:
        """Return `target_from_source` at a stamp; None when the frames are not connected at that moment."""
        up_target, up_source = self._ancestors(target.lstrip('/')), self._ancestors(source.lstrip('/'))
        common = next((frame for frame in up_source if frame in up_target), None)
        if common is None:
            return None
        from_target = self._chain(up_target[: up_target.index(common)], stamp_ns)
        from_source = self._chain(up_source[: up_source.index(common)], stamp_ns)
        if from_target is None or from_source is None:
            return None
        return from_target.inverse() @ from_source

    def _ancestors(self, frame: str) -> list[str]:
        chain = [frame]
        while (parent := self._parents.get(chain[-1])) is not None and parent not in chain:
            chain.append(parent)
        return chain

    def _chain(self, frames: list[str], stamp_ns: int) -> Pose | None:
        """Return the pose of the first of `frames` in the parent of the last."""
        result = Pose((0.0, 0.0, 0.0))
        for frame in frames:
            step = self._static[frame] if frame in self._static else self._moving[frame].at(stamp_ns)
            if step is None:
                return None
            result = step @ result
        return result
