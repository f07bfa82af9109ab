"""Seeded trials of the grid against synthetic truth: which cameras, which errors, which labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.camera import EQUIDISTANT, PLUMB_BOB, RATIONAL, CameraModel, Pose
from seg_perception.grid.config import GridConfig
from seg_perception.grid.fusion import GridMapper
from seg_perception.grid.score import Scorer, in_vehicle_frame, measured_ranges, near_cells, near_mask
from seg_perception.grid.types import Observation, OccupancyGrid
from seg_perception.labels import LabelMap
from seg_perception.lane_metrics import ThingScorer
from seg_perception.postprocess import LaneConfig, Lanes, LaneTracker
from seg_perception.scene import CameraView, Drive, Mounting, SceneFrame, TruthGrid, Window

MODELS = {
    PLUMB_BOB: (1010.0, (-0.21, 0.052, 0.0004, -0.0003, 0.0)),
    RATIONAL: (720.0, (0.55, 0.12, 0.0002, -0.0002, 0.004, 0.9, 0.22, 0.02)),
    EQUIDISTANT: (600.0, (-0.012, 0.004, -0.002, 0.0003)),
}
"""Focal length in pixels of a 1280 pixel wide image (65, 83 and 121 degrees wide) and distortion."""

PITCH_DEG = (-2.0, 6.0)
ROLL_DEG = (-2.0, 2.0)
HEIGHT_M = (1.2, 1.6)
BEARINGS_RAD = np.radians(np.arange(-75.0, 75.1, 0.5))
FRAMES = 15
SCORE_EVERY = 5


class Labeller(NamedTuple):
    """Where labels come from: the truth, or a network that looks at the picture."""

    labels: LabelMap
    class_precision: Sequence[float] | None
    label: Callable[[CameraView], tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]
    """The view -> labels and confidence, uint8 [h, w] of any one size."""


class Trial(NamedTuple):
    """One drive of one camera set."""

    seed: int
    first_frame: int
    cameras: dict[str, Mounting]


class Outcome(NamedTuple):
    """One scored frame, for pictures."""

    trial: Trial
    view: CameraView
    single: OccupancyGrid  # in the vehicle frame
    fused: OccupancyGrid  # in the odom frame
    odom_from_vehicle: Pose
    truth: TruthGrid


def camera(model: str, width: int) -> CameraModel:
    """One of the trial cameras at 16:9 and the given width."""
    focal, distortion = MODELS[model]
    full = CameraModel(1280, 720, focal, focal * 0.998, 645.5, 356.2, model, distortion)
    return full.resized(width, width * 9 // 16)


def trial(model: str, seed: int, width: int) -> Trial:
    """A camera mounted at a height, pitch (positive is down) and roll that the seed draws."""
    rng = np.random.default_rng([seed, sorted(MODELS).index(model)])
    pitch, roll = (math.radians(rng.uniform(*limits)) for limits in (PITCH_DEG, ROLL_DEG))
    pose = Pose.mounted(1.6, 0.0, float(rng.uniform(*HEIGHT_M)), roll, pitch, 0.0)
    return Trial(seed, int(rng.integers(0, 150)), {'front': (camera(model, width), pose)})


def two_cameras(seed: int, width: int) -> Trial:
    """Two cameras 65 degrees wide, turned 25 degrees to either side: they share some 15 degrees ahead."""
    model = camera(PLUMB_BOB, width)
    pitch, yaw = math.radians(3.0), math.radians(25.0)
    cameras = {
        'left': (model, Pose.mounted(1.5, 0.4, 1.4, 0.0, pitch, yaw)),
        'right': (model, Pose.mounted(1.5, -0.4, 1.4, 0.0, pitch, -yaw)),
    }
    return Trial(seed, 40, cameras)


def true_labels(labels: LabelMap) -> Labeller:
    """The scene's own labels with full confidence."""
    return Labeller(labels, None, lambda view: (view.labels, np.full_like(view.labels, 255)))


class TrialRunner:
    """Runs trials of one configuration and scores single frames and the fused grid on the same frames.

    Args:
        mounting_error: applied to the pose that the grid is told, to measure what a wrong mounting costs.
    """

    def __init__(
        self,
        labeller: Labeller,
        config: GridConfig | None = None,
        mounting_error: Callable[[Pose], Pose] = lambda pose: pose,
    ) -> None:
        self.config = config or GridConfig()
        self.single, self.fused = Scorer(), Scorer()
        self.perfect = Scorer()  # the true grid itself: what cells of this size cost
        self.shared: dict[str, Scorer] = {}
        """Where all cameras look: the grid of all ('overlap'), of each alone, and of all beside the border ('seam')."""
        self.things = ThingScorer()
        self._labeller = labeller
        self._error = mounting_error
        c = self.config
        self._window = Window(c.resolution_m, c.x_min_m, c.x_max_m, c.y_min_m, c.y_max_m)

    def run(self, trial: Trial) -> Iterator[Outcome]:
        """Drive FRAMES frames; score and yield every SCORE_EVERY-th."""
        drive = Drive(trial.seed, trial.cameras)
        single, fused = (
            GridMapper(self.config, self._labeller.labels, self._labeller.class_precision) for _ in range(2)
        )
        tracker = LaneTracker(LaneConfig(), self._labeller.labels)
        for step in range(FRAMES):
            index = trial.first_frame + step
            frame = drive.frame(index)
            observations = [self._observe(name, frame.cameras[name], drive, index) for name in trial.cameras]
            grid = fused.update(observations)
            lanes = tracker.update(observations)
            if step % SCORE_EVERY != SCORE_EVERY - 1:
                continue
            single.reset()
            alone = single.update([o._replace(odom_from_vehicle=None) for o in observations])
            truth = drive.truth(index, self._window)
            outcome = Outcome(
                trial,
                frame.cameras[next(iter(trial.cameras))],
                alone,
                grid,
                frame.odom_from_vehicle,
                truth,
            )
            self._score(outcome, drive, index)
            if len(trial.cameras) > 1:
                self._score_shared(outcome, drive, index, observations)
            self._score_things(frame, drive, observations[0], lanes)
            yield outcome

    def _observe(self, name: str, view: CameraView, drive: Drive, index: int) -> Observation:
        labels, confidence = self._labeller.label(view)
        model, pose = drive.cameras[name]
        sized = model.resized(labels.shape[1], labels.shape[0])
        time_s = index / drive.rate_hz
        odom = drive.odom_from_vehicle(time_s)
        return Observation(name, round(time_s * 1e9), labels, confidence, sized, self._error(pose), odom)

    def _score_things(self, frame: SceneFrame, drive: Drive, first: Observation, lanes: Lanes) -> None:
        mounting = drive.cameras[first.camera]
        self.things.add(frame, first.camera, mounting, lanes)
        self.things.add_regions(frame, first.camera, mounting, first.labels, self._labeller.labels)

    def _score(self, outcome: Outcome, drive: Drive, index: int) -> None:
        name, (_, pose) = next(iter(outcome.trial.cameras.items()))
        eye = (pose.translation_m[0], pose.translation_m[1])
        first = drive.first_obstacles(index, name, BEARINGS_RAD, 35.0)
        perfect = outcome.single._replace(cells=outcome.truth.cells)
        grids = ((self.single, outcome.single), (self.fused, outcome.fused), (self.perfect, perfect))
        for scorer, grid in grids:
            cells = in_vehicle_frame(grid, outcome.odom_from_vehicle, self._window)
            scorer.add_cells(cells, outcome.truth, eye)
            scorer.add_ranges(measured_ranges(grid, outcome.odom_from_vehicle, eye, BEARINGS_RAD, first.near_m), first)

    def _score_shared(self, outcome: Outcome, drive: Drive, index: int, observations: Sequence[Observation]) -> None:
        pose, truth = outcome.odom_from_vehicle, outcome.truth
        seen = [drive.truth(index, self._window, [o.camera]).visible for o in observations]
        shared, some = np.logical_and.reduce(seen), np.logical_or.reduce(seen)
        firsts = [(o, drive.first_obstacles(index, o.camera, BEARINGS_RAD, 35.0)) for o in observations]
        grids = {'overlap': outcome.single}
        for o in observations:
            alone = GridMapper(self.config, self._labeller.labels, self._labeller.class_precision)
            grids[o.camera] = alone.update([o._replace(odom_from_vehicle=None)])
        for name, grid in grids.items():
            scorer = self.shared.setdefault(name, Scorer())
            scorer.add_part(grid.cells, truth, shared)
            for o, first in firsts:
                eye = o.vehicle_from_camera.translation_m[:2]
                edge = (
                    np.column_stack([np.cos(BEARINGS_RAD), np.sin(BEARINGS_RAD)])
                    * np.minimum(first.edge_m, 1e6)[:, None]
                    + eye
                )
                first = first._replace(edge_seen=first.edge_seen & near_cells(self._window, shared, edge))
                scorer.add_ranges(measured_ranges(grid, pose, eye, BEARINGS_RAD, first.near_m), first)
        beside = near_mask(shared) & near_mask(some & ~shared)
        self.shared.setdefault('seam', Scorer()).add_part(outcome.single.cells, truth, beside & some)
