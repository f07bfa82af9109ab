"""Lane lines over time, and the lane the vehicle is in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seg_perception.camera import Pose
from seg_perception.grid import Observation
from seg_perception.labels import LabelMap
from seg_perception.postprocess.lane_fit import find_lines, with_pitch_error
from seg_perception.postprocess.lane_points import MarkingPoints, join, marking_points
from seg_perception.postprocess.lane_solve import SCALE_M, UNSCALE
from seg_perception.postprocess.lane_types import LaneConfig, LaneLine, Lanes

Float64 = npt.NDArray[np.float64]

SAME_LINE_M = 0.6
MUCH_M = 2.5
"""Lines this far apart in the middle are two, whatever their ends say."""
MAX_STEP_M = 5.0
MAX_PAUSE_NS = 1_000_000_000
HOLD_NS = 200_000_000
"""Without odometry the last image of a camera counts this long beside the newer ones of others."""
CONFIRM_HITS = 2
FORGET = 1.3
"""Growth of the variance from one frame to the next: older paint says less about the line ahead."""
STEP_VARIANCE = np.diag(np.square([0.03, 0.003, 2e-4, 5e-6]))
"""What odometry and the uneven road add to each coefficient in one frame."""
THIRDS = np.linspace(0.0, 1.0, 4)
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
        self._labels = labels
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
            self._advance(newest.stamp_ns, newest.odom_from_vehicle)
            self._merge(lines, first_hits=1 if self._tracks else CONFIRM_HITS)
        self._stamp_ns, self._pose = newest.stamp_ns, newest.odom_from_vehicle
        height = max(newest.vehicle_from_camera.translation_m[2], 0.1)
        given = [t.line for t in self._tracks if t.hits >= CONFIRM_HITS]
        sure = with_pitch_error(given, height, self._config.pitch_sigma_rad)
        return describe(newest.stamp_ns, sure, self._config)

    def _points(self, o: Observation, newest: Observation) -> MarkingPoints:
        points = marking_points(
            o.labels, o.confidence, self._labels, self._config, o.camera_model, o.vehicle_from_camera
        )
        if o is newest or o.odom_from_vehicle is None or newest.odom_from_vehicle is None:
            return points
        moved = _move(newest.odom_from_vehicle.inverse() @ o.odom_from_vehicle, points.x_m, points.y_m)
        return points._replace(x_m=moved[:, 0], y_m=moved[:, 1])

    def _with_ids(self, lines: list[LaneLine]) -> list[LaneLine]:
        """Give each line the id of the nearest line of the last frame, or a new one."""
        partner = _match([t.line for t in self._tracks], lines, self._config.max_gap_m)
        result = []
        for i, line in enumerate(lines):
            known = partner.get(i)
            if known is None:
                self._next_id += 1
            result.append(line._replace(id=self._next_id - 1 if known is None else self._tracks[known].line.id))
        return result

    def _advance(self, stamp_ns: int, pose: Pose) -> None:
        """Move all lines into the new vehicle frame, or forget them after a jump."""
        last = self._pose
        if last is None or abs(stamp_ns - self._stamp_ns) > MAX_PAUSE_NS:  # a camera that lags goes back a little
            self._tracks = []
            return
        back = pose.rotation.T
        moved_m = back @ np.subtract(last.translation_m, pose.translation_m)
        step = math.hypot(*moved_m[:2])
        if step > MAX_STEP_M:
            self._tracks = []
        carried = _carry([t.line for t in self._tracks], (back @ last.rotation)[:2, :2], moved_m[:2])
        for track, line in zip(self._tracks, carried, strict=True):
            track.line = line
            track.unseen_m += step

    def _merge(self, lines: list[LaneLine], first_hits: int) -> None:
        partner = _match([t.line for t in self._tracks], lines, self._config.max_gap_m)
        known = [self._tracks[j] for j in partner.values()]
        fused = _fuse([t.line for t in known], [lines[i] for i in partner])
        for track, line in zip(known, fused, strict=True):
            track.line, track.hits, track.unseen_m = line, track.hits + 1, 0.0
        for i, line in enumerate(lines):
            if i not in partner:
                self._tracks.append(_Track(line._replace(id=self._next_id), first_hits))
                self._next_id += 1
        self._tracks = [t for t in self._tracks if self._alive(t)]

    def _alive(self, track: _Track) -> bool:
        if track.line.seen:
            return True
        ahead = track.line.x_end_m >= self._config.min_span_m
        return track.hits >= CONFIRM_HITS and track.unseen_m <= self._config.coast_m and ahead


def _move(motion: Pose, x: Float64, y: Float64) -> Float64:
    return motion.transform(np.column_stack([x, y, np.zeros_like(x)]))[:, :2]


def _match(known: list[LaneLine], new: list[LaneLine], max_gap_m: float) -> dict[int, int]:
    """Pair new lines (keys) with known ones (values), closest pairs first; a junction between them keeps them apart."""
    pairs = []
    for i, line in enumerate(new):
        for j, other in enumerate(known):
            low, high = max(line.x_start_m, other.x_start_m), min(line.x_end_m, other.x_end_m)
            if low - high > max_gap_m:
                continue
            middle = (low + high) / 2
            distance = abs(line.at_m(middle) - other.at_m(middle))
            if low < high and distance < MUCH_M:
                distance = line.apart_m(other, low, high)
            pairs.append((distance, i, j))
    result: dict[int, int] = {}
    for distance, i, j in sorted(pairs):
        if distance < SAME_LINE_M and i not in result and j not in result.values():
            result[i] = j
    return result


def _carry(lines: Sequence[LaneLine], turn: Float64, shift_m: Float64) -> list[LaneLine]:
    """Express lines in the new vehicle frame: shapes through four points each, covariances through the shift along x.

    Args:
        turn, shift_m: [2, 2] and [2] from the old frame to the new one.
    """
    if not lines:
        return []
    coefficients, covariances = np.array([s.coefficients for s in lines]), np.array([s.covariance for s in lines])
    start, span = np.array([(s.x_start_m, max(s.span_m, 1.0)) for s in lines]).T[:, :, None]
    x = start + span * THIRDS
    c0, c1, c2, c3 = coefficients.T[:, :, None]
    y = c0 + x * (c1 + x * (c2 + x * c3))
    moved_x, moved_y = np.tensordot(turn, np.array([x, y]), 1) + shift_m[:, None, None]
    scaled = moved_x / SCALE_M
    square = scaled * scaled
    powers = np.array([np.ones_like(scaled), scaled, square, square * scaled]).transpose(1, 2, 0)
    coefficients = np.linalg.solve(powers, moved_y[:, :, None])[:, :, 0] * UNSCALE
    shift = _shift(-float(shift_m[0]))
    covariances = shift @ covariances @ shift.T * FORGET + STEP_VARIANCE
    ends = np.maximum(0.0, moved_x[:, [0, -1]]).tolist()
    return [
        line._replace(coefficients=c, covariance=v, x_start_m=first, x_end_m=last, seen=False)
        for line, c, v, (first, last) in zip(lines, coefficients, covariances, ends, strict=True)
    ]


def _shift(dx_m: float) -> Float64:
    """Matrix that turns the coefficients of y(x) into those of y(x + dx)."""
    d, d2, d3 = dx_m, dx_m**2, dx_m**3
    return np.array([[1.0, d, d2, d3], [0.0, 1.0, 2 * d, 3 * d2], [0.0, 0.0, 1.0, 3 * d], [0.0, 0.0, 0.0, 1.0]])


def _fuse(predicted: Sequence[LaneLine], measured: Sequence[LaneLine]) -> list[LaneLine]:
    """Join pairs of independent estimates of one line by their information; the range is what is seen now."""
    if not predicted:
        return []
    before, covariance = np.array([p.coefficients for p in predicted]), np.array([p.covariance for p in predicted])
    now, noise = np.array([m.coefficients for m in measured]), np.array([m.covariance for m in measured])
    # Covariances are symmetric: the gain is the transpose of this.
    gain = np.linalg.solve(covariance + noise, covariance).transpose(0, 2, 1)
    joined = before + (gain @ (now - before)[:, :, None])[:, :, 0]
    covariance = covariance - gain @ covariance
    return [
        m._replace(id=p.id, coefficients=c, covariance=v)
        for p, m, c, v in zip(predicted, measured, joined, covariance, strict=True)
    ]


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
    near = [(s.at_m(REFERENCE_M), s) for s in ordered if s.sigma_m(REFERENCE_M) <= REFERENCE_SIGMA_M]
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
