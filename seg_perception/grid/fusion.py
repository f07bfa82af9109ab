"""Evidence of all cameras over time -> one occupancy grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import Pose
from seg_perception.errors import CameraError
from seg_perception.grid.ahead import corridor, free_ahead_m, nearest_ahead_m
from seg_perception.grid.config import GridConfig
from seg_perception.grid.evidence import GAP, SOLID, PixelEvidence
from seg_perception.grid.types import FREE, OCCUPIED, UNKNOWN, Observation, OccupancyGrid
from seg_perception.grid.visibility import FAR_OUT, PolarView, polar_view, visible_codes
from seg_perception.labels import LabelMap

TIME_JUMP_NS = 1_000_000_000
"""Stamps that go back further than this come from another recording; less is cameras out of step."""

MEMORY = 2.0
"""Largest log-odds that a cell remembers: a few images turn it over."""

GAIN = 0.4
"""Share of an image's log-odds that enters the memory: consecutive images are not independent."""

LEAP_M, LEAP_MPS = 2.0, 60.0
LEAP_RAD, LEAP_RADPS = 0.5, 3.0
"""No vehicle moves or turns further than this between two images: offset plus rate."""

Odds = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


class GridMapper:
    """Keeps the evidence between frames.

    With odometry in every observation, evidence is log-odds of being drivable in a square window aligned with the odom
    axes, as wide as the longer side of the configured one so that it reaches as far ahead at every heading. It moves
    with the vehicle by whole cells and forgets with `half_life_s` (Moravec and Elfes 1985; Thrun, Burgard
    and Fox, Probabilistic Robotics, chapter 9). Without it, each camera's newest image counts for `hold_s`.
    Not thread-safe.
    """

    def __init__(self, config: GridConfig, labels: LabelMap, class_precision: Sequence[float] | None = None) -> None:
        self._config = config
        self._pixels = PixelEvidence(config, labels, class_precision)
        self._free_threshold = math.log(config.free_probability / (1 - config.free_probability))
        self._occupied_threshold = -math.log(config.occupied_probability / (1 - config.occupied_probability))
        self.visible: dict[str, Codes] = {}
        """Polar codes of each camera of the last update, for `ground_points`; not to be changed."""
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._odds: Odds = np.zeros((self._config.rows, self._config.columns), np.float32)
        self._stamp_ns: int | None = None
        self._camera_stamps_ns: dict[str, int] = {}
        self._near_m: dict[str, float] = {}  # where each camera first sees the ground straight ahead
        self._pose: Pose | None = None
        self._cell: tuple[int, int] | None = None  # window's corner in whole cells of the odom frame
        self._held: dict[str, tuple[int, Odds]] = {}

    def update(self, observations: Sequence[Observation], vehicle_pose: Pose | None = None) -> OccupancyGrid:
        """Add labelled images and return the grid as it is at the newest stamp.

        Args:
            observations: one image per camera that has a new one; not empty.
            vehicle_pose: odom_from_vehicle for the window; the newest observation's when None.

        Raises:
            CameraError: an observation has no stamp order, size or pose that can be used; the grid is unchanged.
        """
        if not observations:
            raise CameraError('no observation given; expected at least one labelled image')
        for o in observations:
            self._check_clock(o)
        views = [self._view(o) for o in observations]
        newest = max(observations, key=lambda o: o.stamp_ns)
        with_odometry = all(o.odom_from_vehicle is not None for o in observations)
        pose = vehicle_pose or newest.odom_from_vehicle
        if self._stamp_ns is not None and (
            newest.stamp_ns < self._stamp_ns - TIME_JUMP_NS or with_odometry != (self._cell is not None)
        ):
            self.reset()
        seen = [self._look(o, v) for o, v in zip(observations, views, strict=True)]
        self.visible = {o.camera: codes for o, codes in zip(observations, seen, strict=True)}
        stamp_ns = max(newest.stamp_ns, self._stamp_ns or newest.stamp_ns)
        if with_odometry and pose is not None:
            if self._leaps(stamp_ns, pose):
                self.reset()
            self._advance(stamp_ns, pose)
            self._add_in_odom(observations, views, seen, stamp_ns)
        else:
            self._combine_held(observations, views, seen, stamp_ns)
        self._stamp_ns, self._pose = stamp_ns, pose
        for o, view in zip(observations, views, strict=True):
            self._camera_stamps_ns[o.camera] = o.stamp_ns
            self._near_m[o.camera] = nearest_ahead_m(view, o)
        return self._snapshot(pose if with_odometry else None)

    def check(self, observation: Observation) -> None:
        """Find out whether `update` would take an observation; costs nothing for a camera that has not changed.

        Raises:
            CameraError: what is wrong with it.
        """
        self._check_clock(observation)
        self._view(observation)

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
        moved = last.inverse() @ pose
        turned = math.atan2(moved.rotation[1, 0], moved.rotation[0, 0])
        distance = math.hypot(*moved.translation_m[:2])
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

    def _look(self, o: Observation, view: PolarView) -> Codes:
        """Polar codes of one image."""
        rows = slice(view.first_row, view.last_row + 1)
        return visible_codes(view, self._pixels.codes(o.labels[rows], o.confidence[rows]))

    def _weigh(self, codes: Codes, weight: Odds) -> Odds:
        odds: Odds = np.take(self._pixels.log_odds, codes)
        odds *= weight
        return odds

    def _advance(self, stamp_ns: int, pose: Pose) -> None:
        """Let evidence fade and shift the window by whole cells, so that no cell is ever resampled."""
        config = self._config
        if self._stamp_ns is not None:
            self._odds *= 0.5 ** ((stamp_ns - self._stamp_ns) * 1e-9 / config.half_life_s)
        centre = pose.transform(
            np.array([[(config.x_min_m + config.x_max_m) / 2, (config.y_min_m + config.y_max_m) / 2, 0.0]])
        )[0]
        side = max(config.columns, config.rows)
        corner = (
            round(centre[0] / config.resolution_m - side / 2),
            round(centre[1] / config.resolution_m - side / 2),
        )
        if self._cell is None:
            self._odds = np.zeros((side, side), np.float32)
        if self._cell is not None and corner != self._cell:
            self._shift(corner[0] - self._cell[0], corner[1] - self._cell[1])
        self._cell = corner

    def _shift(self, dx: int, dy: int) -> None:
        moved = np.zeros_like(self._odds)
        rows, columns = moved.shape
        if abs(dx) < columns and abs(dy) < rows:
            moved[max(0, -dy) : rows - max(0, dy), max(0, -dx) : columns - max(0, dx)] = self._odds[
                max(0, dy) : rows - max(0, -dy), max(0, dx) : columns - max(0, -dx)
            ]
        self._odds = moved

    def _add_in_odom(
        self, observations: Sequence[Observation], views: Sequence[PolarView], seen: Sequence[Codes], stamp_ns: int
    ) -> None:
        """Turn what each camera saw into the window's axes and add it.

        An obstacle that is seen now counts at once: what was free at its contact and behind it is forgotten first.
        """
        turned = []
        for o, view, codes in zip(observations, views, seen, strict=True):
            matrix = self._vehicle_cell_from_odom_cell(o)
            # The way from cell to polar sample is smooth, so turning it loses nothing; turning cells would round twice.
            field = _warp(view.cell_field, matrix, self._odds.shape, cv2.INTER_LINEAR, FAR_OUT)
            weight = _warp(view.weight, matrix, self._odds.shape, cv2.INTER_NEAREST, 0.0)
            moved = np.asarray(cv2.remap(codes, field, None, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 0), np.uint8)
            np.minimum(self._odds, 0, out=self._odds, where=(moved > SOLID) & (moved != GAP))
            age_s = (stamp_ns - o.stamp_ns) * 1e-9
            weight *= 0.5 ** (age_s / self._config.half_life_s)
            evidence = self._weigh(moved, weight)
            # The contact is as likely before as behind the place it is given, so the stretch before it may take back
            # an older, nearer contact, but never becomes free.
            evidence *= GAIN
            np.minimum(evidence, np.maximum(-self._odds, 0), out=evidence, where=moved == GAP)
            turned.append(evidence)
        for evidence in turned:
            self._odds += evidence
        np.clip(self._odds, -MEMORY, MEMORY, out=self._odds)

    def _vehicle_cell_from_odom_cell(self, o: Observation) -> npt.NDArray[np.float64]:
        """The 2x3 matrix from (column, row) of the odom window to (column, row) of the vehicle window."""
        assert o.odom_from_vehicle is not None
        assert self._cell is not None
        config = self._config
        rotation, shift = o.odom_from_vehicle.rotation, o.odom_from_vehicle.translation_m
        yaw = math.atan2(rotation[1, 0], rotation[0, 0])
        c, s = math.cos(yaw), math.sin(yaw)
        left = (self._cell[0] + 0.5) * config.resolution_m - shift[0]
        low = (self._cell[1] + 0.5) * config.resolution_m - shift[1]
        return np.array(
            [
                [c, s, (c * left + s * low - config.x_min_m) / config.resolution_m - 0.5],
                [-s, c, (-s * left + c * low - config.y_min_m) / config.resolution_m - 0.5],
            ]
        )

    def _combine_held(
        self, observations: Sequence[Observation], views: Sequence[PolarView], seen: Sequence[Codes], stamp_ns: int
    ) -> None:
        for o, view, codes in zip(observations, views, seen, strict=True):
            cells = cv2.remap(codes, view.cell_map, None, cv2.INTER_NEAREST, None, cv2.BORDER_CONSTANT, 0)
            cells[cells == GAP] = 0
            self._held[o.camera] = (o.stamp_ns, self._weigh(np.asarray(cells, np.uint8), view.weight))
        limit = stamp_ns - round(self._config.hold_s * 1e9)
        self._held = {name: held for name, held in self._held.items() if held[0] >= limit}
        self._odds.fill(0)
        for _, e in self._held.values():
            self._odds += e

    def _snapshot(self, pose: Pose | None) -> OccupancyGrid:
        config = self._config
        cells = np.full(self._odds.shape, UNKNOWN, np.int8)
        if config.probabilities:
            known = np.abs(self._odds) > 1e-3
            cells[known] = np.rint(100 / (1 + np.exp(self._odds[known])))
        else:
            np.copyto(cells, FREE, where=self._odds >= self._free_threshold)
            np.copyto(cells, OCCUPIED, where=self._odds <= self._occupied_threshold)
        x, y = config.x_min_m, config.y_min_m
        if self._cell is not None:
            x, y = (v * config.resolution_m for v in self._cell)
        assert self._stamp_ns is not None
        nearest_m = min(self._near_m.values(), default=math.inf)
        odds_ahead = corridor(self._odds, (x, y), config, pose)
        ahead = free_ahead_m(odds_ahead, config, self._free_threshold, self._occupied_threshold, nearest_m)
        return OccupancyGrid(
            cells, config.resolution_m, x, y, 'vehicle' if pose is None else 'odom', self._stamp_ns, ahead
        )


def _warp(
    image: Odds, matrix: npt.NDArray[np.float64], shape: tuple[int, ...], interpolation: int, outside: float
) -> Odds:
    flags = interpolation | cv2.WARP_INVERSE_MAP
    size = (shape[1], shape[0])
    border = (outside,) * 4
    return np.asarray(cv2.warpAffine(image, matrix, size, None, flags, cv2.BORDER_CONSTANT, border), np.float32)
