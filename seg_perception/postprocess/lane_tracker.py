"""Lane lines over time, and the lane the vehicle is in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seg_perception.camera import Pose
from seg_perception.grid import Observation
from seg_perception.labels import LabelMap, Role
from seg_perception.postprocess.lane_fit import find_lines, with_pitch_error
from seg_perception.postprocess.lane_motion import followed, match
from seg_perception.postprocess.lane_points import MarkingPoints, join, marking_points
from seg_perception.postprocess.lane_types import LaneConfig, LaneLine, Lanes, stacked

MAX_STEP_M = 5.0
MAX_PAUSE_NS = 1_000_000_000
HOLD_NS = 200_000_000
"""Without odometry the last image of a camera counts this long beside the newer ones of others."""
CONFIRM_HITS = 2
REFERENCE_M = 6.0
"""Ego lines are chosen by their place here: near, yet in view of most cameras."""
REFERENCE_SIGMA_M = 0.5
"""A line that is less sure than this there, because its paint is far, says nothing about the vehicle's lane."""


@dataclass(slots=True)
class _Track:
    line: LaneLine
    hits: int = 1
    unseen_m: float = 0.0


class LaneTracker:
    """Finds the lane lines of each moment and follows them.

    With odometry each line is moved with the vehicle and joined with the new measurement by their covariances (a
    Kalman filter on the coefficients); a line that is new among known ones is given out from its second frame
    on, a known one for `coast_m` after its last.
    Without odometry each moment stands alone, with the last image of every camera, and only the ids are kept.
    Not thread-safe.
    """

    def __init__(self, config: LaneConfig, labels: LabelMap) -> None:
        self._config = config
        self._is_marking = labels.mask_lut(Role.LANE) > 0
        self._next_id = 1
        self.reset()

    def reset(self) -> None:
        """Forget all lines; ids are not used again."""
        self._tracks: list[_Track] = []
        self._held: dict[str, tuple[int, MarkingPoints]] = {}
        self._stamp_ns = 0
        self._pose: Pose | None = None

    def update(self, observations: Sequence[Observation]) -> Lanes:
        """Return the lane lines at the newest stamp, from one image per camera that has a new one.

        Cameras that look along the road forward or back give lines; others see none. No observation gives no line.

        Raises:
            CameraError: the calibration of a camera cannot be used.
        """
        if not observations:
            return Lanes(0, (), None, None, None, None, None, None)
        newest = max(observations, key=lambda o: o.stamp_ns)
        seen = {o.camera: (o.stamp_ns, self._points(o, newest)) for o in observations}
        if newest.odom_from_vehicle is None:
            held = {**self._held, **seen}
            seen = self._held = {c: s for c, s in held.items() if abs(newest.stamp_ns - s[0]) <= HOLD_NS}
        lines = find_lines(join([points for _, points in seen.values()]), self._config)
        if newest.odom_from_vehicle is None:
            self._tracks = [_Track(line, CONFIRM_HITS) for line in self._with_ids(lines)]
        else:
            self._follow(lines, newest.stamp_ns, newest.odom_from_vehicle)
        self._stamp_ns, self._pose = newest.stamp_ns, newest.odom_from_vehicle
        height = max(newest.vehicle_from_camera.translation_m[2], 0.1)
        given = [t.line for t in self._tracks if t.hits >= CONFIRM_HITS]
        sure = with_pitch_error(given, height, self._config.pitch_sigma_rad)
        return describe(newest.stamp_ns, sure, self._config)

    def _points(self, o: Observation, newest: Observation) -> MarkingPoints:
        points = marking_points(
            o.labels, o.confidence, self._is_marking, self._config, o.camera_model, o.vehicle_from_camera
        )
        if o is newest or o.odom_from_vehicle is None or newest.odom_from_vehicle is None:
            return points
        motion = newest.odom_from_vehicle.inverse() @ o.odom_from_vehicle
        on_ground = np.column_stack([points.table[:, :2], np.zeros(len(points.table))])
        points.table[:, :2] = motion.transform(on_ground)[:, :2]
        return points

    def _with_ids(self, lines: list[LaneLine]) -> list[LaneLine]:
        """Give each line the id of the nearest line of the last frame, or a new one."""
        known = [t.line for t in self._tracks]
        (last, _, last_ends), (new, _, ends) = stacked(known), stacked(lines)
        partner = match(last, last_ends, new, ends, self._config.max_gap_m).tolist()
        return [
            line._replace(id=self._new_id() if k < 0 else known[k].id) for line, k in zip(lines, partner, strict=True)
        ]

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _follow(self, lines: list[LaneLine], stamp_ns: int, pose: Pose) -> None:
        """Move all lines into the new vehicle frame, or forget them after a jump, and join them with the new ones."""
        last, step_m = self._pose, math.inf
        if last is not None and abs(stamp_ns - self._stamp_ns) <= MAX_PAUSE_NS:  # a camera that lags goes back a little
            step_m = math.dist(last.translation_m, pose.translation_m)
        if last is None or step_m > MAX_STEP_M or not self._tracks:
            self._tracks = [_Track(line._replace(id=self._new_id()), CONFIRM_HITS) for line in lines]
            return
        known = stacked([t.line for t in self._tracks])
        moved = np.subtract(last.translation_m, pose.translation_m, dtype=np.float64)
        partner = followed(*known, *stacked(lines), last.rotation, pose.rotation, moved, self._config.max_gap_m)
        for track, c, v, (start_m, end_m) in zip(self._tracks, known[0], known[1], known[2].tolist(), strict=True):
            track.line = track.line._replace(coefficients=c, covariance=v, x_start_m=start_m, x_end_m=end_m, seen=False)
            track.unseen_m += step_m
        for line, k in zip(lines, partner.tolist(), strict=True):
            if k < 0:
                self._tracks.append(_Track(line._replace(id=self._new_id())))
                continue
            track = self._tracks[k]
            joined = line._replace(id=track.line.id, coefficients=known[0][k], covariance=known[1][k])
            track.line, track.hits, track.unseen_m = joined, track.hits + 1, 0.0
        self._tracks = [t for t in self._tracks if self._alive(t)]

    def _alive(self, track: _Track) -> bool:
        if track.line.seen:
            return True
        ahead = track.line.x_end_m >= self._config.min_span_m
        return track.hits >= CONFIRM_HITS and track.unseen_m <= self._config.coast_m and ahead


def describe(stamp_ns: int, lines: Sequence[LaneLine], config: LaneConfig) -> Lanes:
    """Choose the ego lane's lines and say where the vehicle is in the lane."""
    ordered = tuple(sorted(lines, key=lambda line: -line.at_m(REFERENCE_M)))
    left, right = _ego(ordered, config)
    if left is None and right is None:
        return Lanes(stamp_ns, ordered, None, None, None, None, None, None)
    sides = [s.coefficients.tolist() for s in (left, right) if s is not None]
    middle = [sum(values) / len(sides) for values in zip(*sides, strict=True)]
    heading = math.atan(middle[1])
    curvature = 2 * middle[2] * math.cos(heading) ** 3
    if left is None or right is None:
        return Lanes(stamp_ns, ordered, left, right, None, -heading, curvature, None)
    seen = max(left.x_start_m, right.x_start_m)
    width = (left.at_m(seen) - right.at_m(seen)) * math.cos(heading)
    offset = -middle[0] * math.cos(heading)
    return Lanes(stamp_ns, ordered, left, right, offset, -heading, float(curvature), width)


def _ego(ordered: tuple[LaneLine, ...], config: LaneConfig) -> tuple[LaneLine | None, LaneLine | None]:
    """Return the closest pair around the vehicle that is as far apart as a lane is wide; else the closer line alone."""
    near = [(s.at_m(REFERENCE_M), s) for s in ordered if s.sigma_at_m(REFERENCE_M) <= REFERENCE_SIGMA_M]
    lefts = [(y, s) for y, s in near if 0 <= y <= config.max_lane_m]
    rights = [(y, s) for y, s in near if -config.max_lane_m <= y < 0]
    pairs = [
        (yl - yr, left, right)
        for yl, left in lefts
        for yr, right in rights
        if config.min_lane_m <= yl - yr <= config.max_lane_m
    ]
    if pairs:
        _, left, right = min(pairs, key=lambda p: p[0])
        return left, right
    alone = min(lefts + rights, key=lambda p: abs(p[0]), default=None)
    if alone is None:
        return None, None
    return (alone[1], None) if alone[0] >= 0 else (None, alone[1])
