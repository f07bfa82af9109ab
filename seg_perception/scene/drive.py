"""A seeded drive along a street: images, exact labels, odometry and exact truth of any moment."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import ConfigError
from seg_perception.scene.actors import moving_solids, static_solids
from seg_perception.scene.canvas import Placed
from seg_perception.scene.ground import LANE_M, LINE_WIDTH_M, Layout, build_ground, line_offsets
from seg_perception.scene.render import render
from seg_perception.scene.road import STEP_M, Road
from seg_perception.scene.truth import (
    DEFAULT_WINDOW,
    FirstObstacles,
    TruthGrid,
    Window,
    World,
    first_obstacles,
    truth_grid,
)
from seg_perception.scene.types import Float, Footprint, LaneLine, Mounting, SceneFrame, Solid

BEHIND_M = 45.0
AHEAD_M = 110.0
SPEED_MPS = 8.0


def default_camera() -> Mounting:
    """A 1280x720 camera with mild distortion behind the windscreen, 1.4 m high, looking 3 degrees down."""
    camera = CameraModel(1280, 720, 1010.0, 1008.0, 645.5, 356.2, 'plumb_bob', (-0.21, 0.052, 0.0004, -0.0003, 0.0))
    return camera, Pose.mounted(1.6, 0.0, 1.4, 0.0, math.radians(3.0), 0.0)


class Drive:
    """The same seed always gives the same street, traffic and pictures.

    Args:
        seed: chooses the street, its traffic and their looks.
        cameras: name -> (CameraModel, vehicle_from_camera); one `default_camera()` named 'front' when None.
        rate_hz: frames per second.
        length_m: how far the vehicle drives.
        straight: no curves.

    Raises:
        ConfigError: rate or length is not positive, or there is no camera.
    """

    def __init__(
        self,
        seed: int = 0,
        cameras: Mapping[str, Mounting] | None = None,
        rate_hz: float = 10.0,
        length_m: float = 160.0,
        straight: bool = False,
    ) -> None:
        self.cameras: dict[str, Mounting] = dict(cameras) if cameras is not None else {'front': default_camera()}
        if not self.cameras or not rate_hz > 0 or not 1.0 <= length_m <= 2000.0:
            raise ConfigError(
                f'a drive needs cameras, a rate above 0 and 1..2000 m; got {len(self.cameras)} cameras, '
                f'{rate_hz} Hz, {length_m} m'
            )
        self.rate_hz, self.length_m = rate_hz, length_m
        rng = np.random.default_rng(seed)
        self.layout = _layout(rng, length_m)
        self.road = Road(_curvature(rng, self.layout, length_m) * (not straight), -BEHIND_M)
        start, end = -BEHIND_M, length_m + AHEAD_M
        self.ground = build_ground(rng, self.layout, start, end)
        fixed = static_solids(rng, self.layout, start, end)
        self.solids = fixed + _without_collisions(moving_solids(rng, self.layout, length_m, SPEED_MPS), self)
        self._motion = (
            np.array([(s.station_m, s.offset_m) for s in self.solids]),
            np.array([(s.speed_mps, s.drift_mps) for s in self.solids]),
            np.array([s.yaw_rad for s in self.solids]),
        )
        self._lane_m = -LANE_M / 2 - (self.layout.lanes - 1) * LANE_M
        self._weave = rng.uniform(0.05, 0.2), rng.uniform(0.08, 0.2)

    def __len__(self) -> int:
        """Number of frames."""
        return int(self.length_m / SPEED_MPS * self.rate_hz)

    def odom_from_vehicle(self, time_s: float) -> Pose:
        """True pose of the vehicle's origin, on the ground, in the odom frame."""
        amplitude, frequency = self._weave
        station = SPEED_MPS * time_s
        offset = self._lane_m + amplitude * math.sin(2 * math.pi * frequency * time_s)
        slope = amplitude * 2 * math.pi * frequency * math.cos(2 * math.pi * frequency * time_s) / SPEED_MPS
        x, y = self.road.point(station, offset)
        heading = float(self.road.heading_rad(station)) + math.atan(slope)
        return Pose((float(x), float(y), 0.0), (0.0, 0.0, math.sin(heading / 2), math.cos(heading / 2)))

    def placed(self, time_s: float) -> list[Placed]:
        """Every solid at a moment, in the vehicle frame."""
        start, speed, yaw = self._motion
        station, offset = (start + speed * time_s).T
        inverse = self.odom_from_vehicle(time_s).inverse()
        points = np.column_stack([self.road.point(station, offset), np.zeros(len(station))])
        centres = inverse.transform(points)[:, :2]
        yaws = yaw + self.road.heading_rad(station) + inverse.yaw_rad
        return [_place(*item) for item in zip(self.solids, centres, yaws.tolist(), strict=True)]

    def frame(self, index: int) -> SceneFrame:
        """Render frame `index` (0 .. len - 1); the stamp is index / rate_hz."""
        time_s = index / self.rate_hz
        pose = self.odom_from_vehicle(time_s)
        placed = [p for p in self.placed(time_s) if np.linalg.norm(p.outlines_m[0], axis=1).min() < AHEAD_M]
        views = {name: render(m, self.ground, self.road, pose, placed, index) for name, m in self.cameras.items()}
        return SceneFrame(
            round(time_s * 1e9),
            views,
            pose,
            self._lane_lines(pose, SPEED_MPS * time_s),
            [Footprint(p.outlines_m[0], p.solid.label) for p in placed],
        )

    def truth(self, index: int, window: Window = DEFAULT_WINDOW, cameras: Sequence[str] = ()) -> TruthGrid:
        """The exact grid of frame `index` in the vehicle frame, as `cameras` (all when empty) see it."""
        chosen = {name: self.cameras[name] for name in cameras or self.cameras}
        return truth_grid(self._world(index / self.rate_hz), chosen, window)

    def first_obstacles(self, index: int, camera: str, bearings_rad: Float, limit_m: float) -> FirstObstacles:
        """Exact ranges on the ground from below a camera along bearings of the vehicle frame."""
        return first_obstacles(self._world(index / self.rate_hz), self.cameras[camera], bearings_rad, limit_m)

    def _world(self, time_s: float) -> World:
        return World(self.ground, self.road, self.odom_from_vehicle(time_s), self.placed(time_s))

    def _lane_lines(self, pose: Pose, station_m: float) -> list[LaneLine]:
        """Painted lines from 10 m behind to 80 m ahead; painting stops at junctions."""
        inverse = pose.inverse()
        stations: Float = np.arange(station_m - 10.0, station_m + 80.0, 1.0, dtype=np.float64)
        half = self.layout.side_half_m
        painted = np.array(
            [not any(-half - 6.0 < s - j < half + 1.0 for j in self.layout.junctions_m) for s in stations]
        )
        lines = []
        for offset, kind in line_offsets(self.layout):
            points = self.road.point(stations, offset)
            local = inverse.transform(np.column_stack([points, np.zeros(len(points))]))[:, :2]
            for run in np.split(np.arange(len(stations)), np.flatnonzero(np.diff(painted.astype(int))) + 1):
                if painted[run[0]] and len(run) > 1:
                    lines.append(LaneLine(local[run], kind, LINE_WIDTH_M))
        return lines


def _layout(rng: np.random.Generator, length_m: float) -> Layout:
    junctions = []
    station = float(rng.integers(45, 75))
    while station < length_m + 60:
        junctions.append(station)
        station += float(rng.integers(90, 130))
    return Layout(
        lanes=int(rng.integers(1, 3)),
        parking_m=float(rng.choice([0.0, 2.2])),
        pavement_m=float(rng.choice([2.6, 3.4, 4.2])),
        junctions_m=tuple(junctions),
        side_half_m=3.0,
    )


def _curvature(rng: np.random.Generator, layout: Layout, length_m: float) -> Float:
    """Straight near junctions, arcs of 70 to 180 m radius between them."""
    stations: Float = np.arange(-BEHIND_M, length_m + AHEAD_M + 1.0, STEP_M, dtype=np.float64)
    curvature: Float = np.zeros(len(stations), np.float64)
    edges = [-BEHIND_M, *layout.junctions_m, length_m + AHEAD_M + 60.0]
    for a, b in itertools.pairwise(edges):
        low, high = a + 30.0, b - 30.0
        if high - low < 20.0:
            continue
        arc = (stations > low) & (stations < high)
        curvature[arc] = rng.choice([-1, 1]) / rng.uniform(70.0, 180.0)
    width = round(16.0 / STEP_M)
    return np.asarray(np.convolve(np.pad(curvature, width, 'edge'), np.ones(width) / width, 'same')[width:-width])


def _place(solid: Solid, centre: Float, yaw: float) -> Placed:
    c, s = math.cos(yaw), math.sin(yaw)
    turn = np.array([[c, s], [-s, c]])
    return Placed(solid, centre, yaw, [part.outline_m @ turn + centre for part in solid.parts])


def _without_collisions(solids: list[Solid], drive: Drive) -> list[Solid]:
    """Drop a mover that would run into one before it in the list, at any time of the drive."""
    times = np.arange(0.0, drive.length_m / SPEED_MPS, 0.2)
    tracks: list[Float] = []
    kept = []
    for s in solids:
        track = np.column_stack([s.station_m + s.speed_mps * times, s.offset_m + s.drift_mps * times])
        near = any(
            ((np.abs(track[:, 0] - t[:, 0]) < 6.0) & (np.abs(track[:, 1] - t[:, 1]) < 2.6)).any() for t in tracks
        )
        if not near or not len(tracks):
            tracks.append(track)
            kept.append(s)
    return kept
