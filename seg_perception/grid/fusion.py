"""Evidence of all cameras over time -> one occupancy grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from seg_perception.camera import Pose
from seg_perception.errors import CameraError
from seg_perception.grid.ahead import free_ahead_m
from seg_perception.grid.cells import LEAST, Odds, add_evidence, occupancy, probabilities, vehicle_cells
from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import UNIT, Evidence, PixelEvidence
from seg_perception.grid.memory import MEMORY_UNIT, Look, OdomMemory
from seg_perception.grid.types import Observation, OccupancyGrid
from seg_perception.grid.visibility import PolarView, polar_view
from seg_perception.grid.walk import Visible, walk
from seg_perception.labels import LabelMap

TIME_JUMP_NS = 1_000_000_000
"""Stamps that go back further than this come from another recording; less is cameras out of step."""

LEAP_M, LEAP_MPS = 2.0, 60.0
LEAP_RAD, LEAP_RADPS = 0.5, 3.0
"""No vehicle moves or turns further than this between two images: offset plus rate."""


class GridMapper:
    """Keeps the evidence between frames.

    With odometry in every observation, evidence is log-odds of being drivable in an `OdomMemory` (Moravec and Elfes
    1985; Thrun, Burgard and Fox, Probabilistic Robotics, chapter 9). Without it, each camera's newest image counts for
    `hold_s`. Not thread-safe.
    """

    def __init__(self, config: GridConfig, labels: LabelMap, class_precision: Sequence[float] | None = None) -> None:
        self._config = config
        self._pixels = PixelEvidence(config, labels, class_precision)
        self._free_log_odds = math.log(config.free_probability / (1 - config.free_probability))
        self._occupied_log_odds = -math.log(config.occupied_probability / (1 - config.occupied_probability))
        self.visible: dict[str, Visible] = {}
        """What each camera of the last update saw, for `ground_points`; not to be changed."""
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._memory: OdomMemory | None = None  # None without odometry
        self._held: dict[str, tuple[int, Evidence]] = {}
        self._stamp_ns: int | None = None
        self._camera_stamps_ns: dict[str, int] = {}
        self._near_m: dict[str, float] = {}  # where each camera first sees the ground straight ahead
        self._pose: Pose | None = None

    def update(self, observations: Sequence[Observation], vehicle_pose: Pose | None = None) -> OccupancyGrid:
        """Add labelled images and return the grid as it is at the newest stamp.

        Args:
            observations: one image per camera that has a new one; not empty.
            vehicle_pose: odom_from_vehicle for the window; when None that of the newest observation there has been.

        Raises:
            CameraError: an observation has no stamp order, size or pose that can be used; the grid is unchanged.
        """
        if not observations:
            raise CameraError('no observation given; expected at least one labelled image')
        for o in observations:
            self._check_clock(o)
        views = [self._view(o) for o in observations]
        for late in self._late(observations).values():
            raise late
        newest = max(observations, key=lambda o: o.stamp_ns)
        with_odometry = all(o.odom_from_vehicle is not None for o in observations)
        if self._stamp_ns is not None and (
            newest.stamp_ns < self._stamp_ns - TIME_JUMP_NS or with_odometry != (self._memory is not None)
        ):
            self.reset()
        lags = self._stamp_ns is not None and newest.stamp_ns < self._stamp_ns
        pose = vehicle_pose or (self._pose if lags else newest.odom_from_vehicle)
        seen = [self._look(o, v) for o, v in zip(observations, views, strict=True)]
        self.visible = {o.camera: visible for o, visible in zip(observations, seen, strict=True)}
        stamp_ns = max(newest.stamp_ns, self._stamp_ns or newest.stamp_ns)
        if with_odometry and pose is not None:
            odds, unit = self._add_in_odom(observations, seen, stamp_ns, pose), MEMORY_UNIT
        else:
            pose = None
            odds, unit = self._combine_held(observations, seen, stamp_ns), UNIT
        self._stamp_ns, self._pose = stamp_ns, pose
        for o, view in zip(observations, views, strict=True):
            self._camera_stamps_ns[o.camera] = o.stamp_ns
            self._near_m[o.camera] = view.nearest_ahead_m
        return self._snapshot(odds, unit)

    def check(self, observations: Sequence[Observation]) -> dict[str, CameraError]:
        """Return what is wrong, by camera, with those that `update` would refuse; costs nothing for one that has not changed."""
        wrong = {}
        for o in observations:
            try:
                self._check_clock(o)
                self._view(o)
            except CameraError as error:
                wrong[o.camera] = error
        return wrong | self._late([o for o in observations if o.camera not in wrong])

    def _late(self, observations: Sequence[Observation]) -> dict[str, CameraError]:
        """Say which images are too far behind the newest one to count: without odometry nobody knows the way since then."""
        newest_ns = max((o.stamp_ns for o in observations), default=0)
        if self._stamp_ns is not None and newest_ns >= self._stamp_ns - TIME_JUMP_NS:
            newest_ns = max(newest_ns, self._stamp_ns)
        hold_s = self._config.hold_s
        return {
            o.camera: CameraError(
                f'camera {o.camera!r}: its stamp is {(newest_ns - o.stamp_ns) * 1e-9:.1f} s behind the other cameras; without '
                f'odometry expected at most hold_s, {hold_s} s: give odometry, or make the camera faster'
            )
            for o in observations
            if o.odom_from_vehicle is None and newest_ns - o.stamp_ns > hold_s * 1e9
        }

    def _check_clock(self, o: Observation) -> None:
        """Refuse a camera whose clock is behind the others'; one that goes back alone is a recording that starts over."""
        if self._stamp_ns is None or o.stamp_ns >= self._stamp_ns - TIME_JUMP_NS:
            return
        self._camera_stamps_ns.pop(o.camera, None)  # so that cameras that all go back end up alone
        recent_ns = self._stamp_ns - TIME_JUMP_NS
        if any(stamp >= recent_ns for stamp in self._camera_stamps_ns.values()):
            raise CameraError(
                f'camera {o.camera!r}: its stamp is {(self._stamp_ns - o.stamp_ns) * 1e-9:.1f} s behind the other cameras; '
                'synchronise the clocks'
            )

    def _leaps(self, stamp_ns: int, pose: Pose) -> bool:
        """Tell whether the pose moved as no vehicle does: odometry started over, so what is known lies elsewhere."""
        last = self._pose
        if last is None or self._stamp_ns is None:
            return False
        seconds = (stamp_ns - self._stamp_ns) * 1e-9
        turned = math.remainder(pose.yaw_rad - last.yaw_rad, 2 * math.pi)
        distance = math.dist(last.translation_m[:2], pose.translation_m[:2])
        return distance > LEAP_M + LEAP_MPS * seconds or abs(turned) > LEAP_RAD + LEAP_RADPS * seconds

    def _view(self, o: Observation) -> PolarView:
        shape = (o.camera_model.height, o.camera_model.width)
        if o.labels.shape != shape or o.confidence.shape != shape:
            raise CameraError(
                f'camera {o.camera!r}: labels are {o.labels.shape} and confidence {o.confidence.shape}; expected {shape}, '
                'the size of its camera model'
            )
        try:
            return polar_view(o.camera_model, o.vehicle_from_camera, self._config)
        except CameraError as error:
            raise CameraError(f'camera {o.camera!r}: {error}') from error

    def _look(self, o: Observation, view: PolarView) -> Visible:
        rows = slice(view.first_row, view.last_row + 1)
        return walk(view, self._pixels(o.labels[rows], o.confidence[rows]))

    def _add_in_odom(
        self, observations: Sequence[Observation], seen: Sequence[Visible], stamp_ns: int, pose: Pose
    ) -> Odds:
        if self._leaps(stamp_ns, pose):
            self.reset()
        if self._memory is None:
            self._memory = OdomMemory(self._config)
        self._memory.advance(pose, (stamp_ns - (self._stamp_ns or stamp_ns)) * 1e-9)
        self._memory.add(
            [
                Look(visible, o.odom_from_vehicle, (stamp_ns - o.stamp_ns) * 1e-9)
                for o, visible in zip(observations, seen, strict=True)
                if o.odom_from_vehicle is not None
            ]
        )
        return self._memory.odds

    def _combine_held(self, observations: Sequence[Observation], seen: Sequence[Visible], stamp_ns: int) -> Odds:
        config = self._config
        for o, visible in zip(observations, seen, strict=True):
            self._held[o.camera] = (o.stamp_ns, vehicle_cells(visible, config))
        limit = stamp_ns - round(config.hold_s * 1e9)
        self._held = {name: held for name, held in self._held.items() if held[0] >= limit}
        odds: Odds = np.zeros((config.rows, config.columns), np.int16)
        for _, cells in self._held.values():
            add_evidence(odds, 0, 0, cells, 1, LEAST)
        return odds

    def _snapshot(self, odds: Odds, unit: float) -> OccupancyGrid:
        config, pose = self._config, self._pose
        origin_m = self._memory.origin_m if self._memory else (config.x_min_m, config.y_min_m)
        limits = (math.ceil(self._free_log_odds / unit), math.floor(self._occupied_log_odds / unit))
        cells = probabilities(odds, unit) if config.probabilities else occupancy(odds, *limits)
        nearest_m = min(self._near_m.values(), default=math.inf)
        ahead = free_ahead_m(odds, origin_m, config, pose, limits, nearest_m)
        assert self._stamp_ns is not None
        return OccupancyGrid(
            cells, config.resolution_m, *origin_m, 'odom' if self._memory else 'vehicle', self._stamp_ns, ahead
        )
