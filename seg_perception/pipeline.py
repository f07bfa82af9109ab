"""The one path from camera images to labels and grid; the node, the offline tools and the evaluator call it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose, rows_above_hood
from seg_perception.engine.base import Engine
from seg_perception.errors import CameraError
from seg_perception.frames import Image, fits, to_network
from seg_perception.grid import GridConfig, GridMapper, Observation, OccupancyGrid, Visible
from seg_perception.labels import VOID
from seg_perception.postprocess import LaneConfig, Lanes, LaneTracker, RegionConfig, above_ground, clean_labels


class Frame(NamedTuple):
    """One image of one camera, with what is known about where the camera was."""

    camera: str
    stamp_ns: int
    image: Image
    camera_model: CameraModel | None = None
    """Intrinsics at the image's size; None when no calibration has arrived."""
    vehicle_from_camera: Pose | None = None
    """Pose of the optical frame in the vehicle at the stamp; None when unknown."""
    odom_from_vehicle: Pose | None = None
    """Pose of the vehicle in odom at the stamp; None without odometry."""
    hood: float = 0.0
    """Share of the image's height, from its bottom, that shows the vehicle itself: void, and no ground is seen there."""


class CameraResult(NamedTuple):
    """Labels of one camera; the arrays are views of engine memory, valid until the next run."""

    camera: str
    stamp_ns: int
    labels: npt.NDArray[np.uint8]
    """[h, w] class ids at the network's size."""
    confidence: npt.NDArray[np.uint8]
    """[h, w] 255 x probability of the label."""
    camera_model: CameraModel | None
    """Intrinsics of `labels`."""
    vehicle_from_camera: Pose | None
    odom_from_vehicle: Pose | None
    problem: CameraError | None
    """Why this camera gives no evidence for grid and lanes; None when it does, or when nobody asked."""
    visible: Visible | None = None
    """What the grid saw with this camera, for `grid.ground_points`; None when it gave no evidence."""

    def observation(self) -> Observation:
        """Return what grid and lanes need.

        Raises:
            CameraError: `problem`, or calibration or pose is not known.
        """
        if self.problem:
            raise self.problem
        if self.camera_model is None or self.vehicle_from_camera is None:
            missing = 'camera_info' if self.camera_model is None else 'pose in the vehicle frame'
            raise CameraError(f'{self.camera}: no {missing} has arrived; the grid leaves this camera out')
        return Observation(
            self.camera,
            self.stamp_ns,
            self.labels,
            self.confidence,
            self.camera_model,
            self.vehicle_from_camera,
            self.odom_from_vehicle,
        )


def motion_to(newest: CameraResult, other: CameraResult) -> Pose | None:
    """Return the vehicle's pose at `other` in its frame at `newest`, along the ground: a body that nods lifts nothing off it.

    None where it did not move or nobody knows.
    """
    now, then = newest.odom_from_vehicle, other.odom_from_vehicle
    if now is None or then is None or now == then:
        return None
    moved = now.inverse() @ then
    (x, y, _), yaw = moved.translation_m, moved.yaw_rad
    return Pose((x, y, 0.0), (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)))


class Labelled(NamedTuple):
    """A batch of frames with their labels, not yet placed on the ground."""

    cameras: tuple[CameraResult, ...]
    preprocess_ms: float
    engine_ms: float


class Result(NamedTuple):
    """One run over a batch of frames."""

    cameras: tuple[CameraResult, ...]
    grid: OccupancyGrid | None
    """None when no camera of the batch has calibration and pose, or the grid was not asked for."""
    preprocess_ms: float
    engine_ms: float
    grid_ms: float
    lanes: Lanes | None = None
    """Lane lines in the vehicle frame, its z = 0 on the ground; None when they were not asked for or, as for the grid,
    no camera can be used."""


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """What the pipeline needs to know besides the model."""

    grid: GridConfig = field(default_factory=GridConfig)
    regions: RegionConfig = field(default_factory=RegionConfig)
    lanes: LaneConfig = field(default_factory=LaneConfig)


class Pipeline:
    """Images to labels to grid. Not thread-safe: one thread owns it and its engine."""

    def __init__(self, config: PipelineConfig, engine: Engine) -> None:
        self.config, self.engine = config, engine
        self._tracker = LaneTracker(config.lanes, engine.spec.labels)
        self._network_models: dict[str, tuple[tuple[CameraModel, float], CameraModel]] = {}  # the last of each camera
        self._poses: dict[str, Pose] = {}
        self.mapper = GridMapper(config.grid, engine.spec.labels, engine.spec.class_precision)

    def run(
        self,
        frames: Sequence[Frame],
        *,
        want_grid: bool = True,
        want_lanes: bool = False,
        want_ground: bool = False,
    ) -> Result:
        """Process one frame per camera as one batch: `label`, then `place`."""
        labelled = self.label(frames)
        return self.place(labelled, want_grid=want_grid, want_lanes=want_lanes, want_ground=want_ground)

    def label(self, frames: Sequence[Frame]) -> Labelled:
        """Label 1 to `engine.max_batch` frames, one per camera.

        Raises:
            EngineError: the engine failed.
        """
        start = time.perf_counter()
        buffer = self.engine.input(len(frames))
        for frame, out in zip(frames, buffer, strict=True):
            to_network(frame.image, out)
        prepared = time.perf_counter()
        labels, confidence = self.engine.infer(len(frames))
        inferred = time.perf_counter()
        results = tuple(self._result(f, labels[i], confidence[i]) for i, f in enumerate(frames))
        return Labelled(results, (prepared - start) * 1e3, (inferred - prepared) * 1e3)

    def place(
        self, labelled: Labelled, *, want_grid: bool = True, want_lanes: bool = False, want_ground: bool = False
    ) -> Result:
        """Place labels on the ground: grid and lane lines.

        Args:
            want_ground: say of each camera, as for the grid, why its labels cannot be placed on the ground.
        """
        start = time.perf_counter()
        results = list(labelled.cameras)
        usable = self._usable(results) if want_grid or want_lanes or want_ground else []
        grid = self._grid(usable, results) if want_grid and usable else None
        lanes = self._lanes(usable) if want_lanes and usable else None
        grid_ms = (time.perf_counter() - start) * 1e3
        return Result(tuple(results), grid, labelled.preprocess_ms, labelled.engine_ms, grid_ms, lanes)

    def reset(self) -> None:
        """Forget all evidence of the grid, and the lane lines."""
        self.mapper.reset()
        self._tracker.reset()

    def _result(self, frame: Frame, labels: npt.NDArray[np.uint8], confidence: npt.NDArray[np.uint8]) -> CameraResult:
        model, problem = None, None
        try:
            model = self._network_model(frame)
        except CameraError as error:
            problem = error
        if frame.hood:
            above = rows_above_hood(len(labels), frame.hood)
            labels, confidence = labels.copy(), confidence.copy()
            labels[above:], confidence[above:] = VOID, 0
        pose, classes = self._steady_pose(frame), self.engine.spec.labels
        labels = clean_labels(labels, classes, self.config.regions, model, pose).labels
        return CameraResult(
            frame.camera,
            frame.stamp_ns,
            labels,
            confidence,
            model,
            pose,
            frame.odom_from_vehicle,
            problem,
        )

    def _steady_pose(self, frame: Frame) -> Pose | None:
        """Return the camera's pose, the very same one while it only trembles: all tables are kept by pose."""
        pose, known = frame.vehicle_from_camera, self._poses.get(frame.camera)
        if pose is None:
            return None
        if known is not None and known.is_close(pose):
            return known
        self._poses[frame.camera] = pose
        return pose

    def _network_model(self, frame: Frame) -> CameraModel | None:
        camera = frame.camera_model
        if camera is None:
            return None
        if not fits(camera, frame.image):
            raise CameraError(
                f'{frame.camera}: camera_info is for {camera.width}x{camera.height} but the image is '
                f'{frame.image.width}x{frame.image.height}; publish the calibration of this image size'
            )
        key, known, spec = (camera, frame.hood), self._network_models.get(frame.camera), self.engine.spec
        if known is None or known[0] != key:
            resized = replace(camera, hood=frame.hood).resized(spec.input_width, spec.input_height)
            known = self._network_models[frame.camera] = key, resized
        return known[1]

    def _usable(self, results: list[CameraResult]) -> list[Observation]:
        """Return what can be placed on the ground; note in `results` why the other cameras cannot."""
        usable = []
        for i, r in enumerate(results):
            try:
                usable.append(r.observation())
            except CameraError as error:
                results[i] = r._replace(problem=error)
        wrong = self.mapper.check(usable)
        if wrong:
            results[:] = [r._replace(problem=wrong.get(r.camera, r.problem)) for r in results]
        return [o for o in usable if o.camera not in wrong]

    def _grid(self, usable: list[Observation], results: list[CameraResult]) -> OccupancyGrid:
        """Feed the grid; note in `results` what it saw."""
        grid = self.mapper.update(usable)
        for i, r in enumerate(results):
            results[i] = r._replace(visible=None if r.problem else self.mapper.visible[r.camera])
        return grid

    def _lanes(self, usable: list[Observation]) -> Lanes:
        on_ground = (above_ground(o.vehicle_from_camera, self.config.grid.ground_z_m) for o in usable)
        return self._tracker.update(
            [o._replace(vehicle_from_camera=pose) for o, pose in zip(usable, on_ground, strict=True)]
        )
