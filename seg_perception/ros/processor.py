"""From waiting image messages to published results, in the thread that owns the engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sensor_msgs.msg import CameraInfo

from seg_perception.engine import Engine
from seg_perception.errors import CameraError, FrameError
from seg_perception.frames import fits
from seg_perception.pipeline import Frame, Labelled, Pipeline, PipelineConfig, Result
from seg_perception.ros import convert
from seg_perception.ros.camera_input import Calibration, CameraInput
from seg_perception.ros.camera_outputs import Processed
from seg_perception.ros.config import NodeConfig
from seg_perception.ros.outputs import Outputs
from seg_perception.ros.tf import PoseSource

CLOCK_LIMIT_S = 10.0
"""Stamps further from the node's clock than this are from another clock."""
NO_EVIDENCE = {'no_camera_info', 'bad_camera_info', 'camera_info_mismatch', 'no_pose'}
"""Problems that already say why a camera gives the grid nothing."""


class Processor:
    """Decodes, runs the pipeline, publishes and keeps the books. Not thread-safe."""

    def __init__(
        self,
        node: Any,
        config: NodeConfig,
        inputs: dict[str, CameraInput],
        poses: PoseSource,
        engine: Engine,
        outputs: Outputs,
    ) -> None:
        self._clock, self._log = node.get_clock(), node.get_logger()
        self._inputs, self._poses, self._outputs = inputs, poses, outputs
        self.engine_ms = self.frame_ms = 0.0
        """Times of the last run: engine alone, and message in to messages out."""
        self._odometry_breaks = 0
        self._odometry_began = poses.odometry_began()
        self._pipeline = Pipeline(_pipeline_config(config), engine)
        self.configure(config, engine)

    def configure(self, config: NodeConfig, engine: Engine) -> None:
        """Take a new configuration or a reopened engine; evidence is forgotten only where it no longer fits."""
        self._outputs.configure(config)
        needed = _pipeline_config(config)
        if self._pipeline.engine is not engine or self._pipeline.config != needed:
            self._pipeline = Pipeline(needed, engine)
        self.config, self.engine = config, engine

    def reset(self) -> None:
        """Forget the grid's evidence and withdraw the published grid."""
        self._pipeline.reset()
        self._outputs.grid.withdraw()

    def expire(self) -> None:
        """Withdraw a published grid that no image has renewed in time."""
        self._outputs.grid.withdraw_stale(self.config.image_timeout_s)

    def odometry_counts(self) -> dict[str, int]:
        """Return what diagnostics should show of odometry."""
        return {'odometry breaks': self._odometry_breaks, 'bad odometry': self._poses.bad_odometry}

    def run(self, messages: dict[str, Any]) -> None:
        """Process the newest message of each camera, `max_batch` cameras at a time.

        Raises:
            EngineError: the engine failed and must be opened again.
        """
        start = time.perf_counter()
        self.expire()
        self._follow_odometry()
        geometry = self._outputs.wants_geometry()
        ready = []
        for name, message in messages.items():
            if not geometry and not self._outputs.cameras[name].wanted():
                self._inputs[name].status.counts['idle'] += 1
                continue
            calibration = self._inputs[name].calibration
            frame = self._frame(self._inputs[name], message, calibration, geometry)
            if frame is not None:
                ready.append((frame, message, calibration.info))
        for first in range(0, len(ready), self.engine.max_batch):
            self._run_batch(ready[first : first + self.engine.max_batch], geometry, start)
        if ready:
            self.frame_ms = (time.perf_counter() - start) * 1e3

    def _run_batch(self, batch: Sequence[tuple[Frame, Any, CameraInfo | None]], geometry: bool, start: float) -> None:
        labelled = self._pipeline.label([frame for frame, _, _ in batch])
        rgb = self.engine.input(len(batch))
        items = [
            Processed(frame, r, rgb[i], message, info)
            for i, ((frame, message, info), r) in enumerate(zip(batch, labelled.cameras, strict=True))
        ]
        self._outputs.publish_labels(items, self.config)
        result = self._pipeline.place(
            self._in_time(labelled, time.perf_counter() - start),
            want_grid=self._outputs.grid.wanted(),
            want_lanes=geometry and self._outputs.wants_lanes(),
            want_ground=geometry,
        )
        placed = [i._replace(result=r, lanes=result.lanes) for i, r in zip(items, result.cameras, strict=True)]
        self._outputs.publish_placed(placed, result.grid, self.config)
        self.engine_ms = result.engine_ms
        self._note(result, geometry)

    def _in_time(self, labelled: Labelled, took_s: float) -> Labelled:
        """Leave labels that say how it was, not how it is, out of the grid: a hanging engine or process, or a slow camera.

        Stamps further than `CLOCK_LIMIT_S` from the node's clock are of a recording, whose time that clock does not tell.
        """
        limit_s, now_ns = self.config.image_timeout_s, self._clock.now().nanoseconds
        if took_s > limit_s:
            text = f'the labels took {took_s:.1f} s, more than image_timeout_s; raise it, or take a faster model'
            return labelled._replace(cameras=tuple(r._replace(problem=CameraError(text)) for r in labelled.cameras))
        ages_s = [(now_ns - r.stamp_ns) * 1e-9 for r in labelled.cameras]
        if not any(limit_s < abs(age_s) <= CLOCK_LIMIT_S for age_s in ages_s):
            return labelled
        cameras = [
            r._replace(problem=_too_old(age_s, limit_s)) if limit_s < abs(age_s) <= CLOCK_LIMIT_S else r
            for r, age_s in zip(labelled.cameras, ages_s, strict=True)
        ]
        return labelled._replace(cameras=tuple(cameras))

    def _note(self, result: Result, geometry: bool) -> None:
        now_ns = self._clock.now().nanoseconds
        for r in result.cameras:
            status = self._inputs[r.camera].status
            age_s = (now_ns - r.stamp_ns) * 1e-9
            status.processed(age_s * 1e3)
            if abs(age_s) > CLOCK_LIMIT_S:
                text = (
                    f"image stamps are {age_s:.1f} s behind the node's clock; for a recording, play it with --clock and "
                    'set use_sim_time; else synchronise the clocks'
                )
                status.problems.report('stamp', text)
            else:
                status.problems.clear('stamp')
            unexplained = geometry and r.problem is not None and not NO_EVIDENCE & status.problems.current.keys()
            _hold(status.problems, 'no_grid', unexplained, f'no grid from this camera: {r.problem}')

    def _frame(self, camera: CameraInput, message: Any, calibration: Calibration, geometry: bool) -> Frame | None:
        """Decode a message and add where its camera was; None when the image cannot be used."""
        self._require_stamp(camera, message)
        self._follow_clock(camera, message)
        if not camera.in_order(message):
            return None
        problems = camera.status.problems
        try:
            picture = camera.decode(message)
        except FrameError as error:
            problems.report('bad_image', f'image left out: {error}')
            return None
        problems.clear('bad_image')
        stamp_ns, hood = convert.stamp_ns(message.header.stamp), camera.config.hood
        frame = Frame(camera.name, stamp_ns, picture, calibration.model, hood=hood)
        return self._located(camera, message, frame, calibration) if geometry else frame

    def _require_stamp(self, camera: CameraInput, message: Any) -> None:
        """Stamp an image of stamp 0, which means "not set", with the time now: evidence without a time would never age."""
        missing = convert.stamp_ns(message.header.stamp) == 0
        if missing:
            message.header.stamp = self._clock.now().to_msg()
        text = 'images have stamp 0, so they get the time at which they are processed; set header.stamp in the driver'
        _hold(camera.status.problems, 'no_stamp', missing, text)

    def _follow_clock(self, camera: CameraInput, message: Any) -> None:
        """Start afresh when time goes back, but not for the clock of one camera while others go on."""
        back_s = camera.jumped_back_s(message)
        if not back_s:
            return
        ns, fresh_s = convert.stamp_ns(message.header.stamp), self.config.image_timeout_s
        ahead = [c.name for c in self._inputs.values() if c is not camera and c.is_ahead(ns, fresh_s)]
        if ahead:
            text = f'time went back by {back_s:.1f} s, but not for {", ".join(ahead)}; synchronise the clocks'
        else:
            text = f'time went back by {back_s:.1f} s; the grid starts afresh'
            self._poses.start_over()
            self._odometry_began = self._poses.odometry_began()
            self.reset()
        camera.status.problems.note('time_jump', text)

    def _follow_odometry(self) -> None:
        """Start afresh with odometry that does: evidence of before lies elsewhere."""
        began = self._poses.odometry_began()
        if began != self._odometry_began:
            self._odometry_began = began
            self._odometry_breaks += 1
            self._log.warning(
                'odometry was away, or leapt: the grid starts afresh; check what publishes it',
                throttle_duration_sec=5.0,
            )
            self.reset()

    def _located(self, camera: CameraInput, message: Any, frame: Frame, calibration: Calibration) -> Frame:
        """Add poses; without them the camera still gives labels, but no evidence to the grid."""
        problems, model, picture = camera.status.problems, calibration.model, frame.image
        limit_s = self.config.odometry_timeout_s
        missing = calibration.info is None
        _hold(
            problems,
            'no_camera_info',
            missing,
            'no camera_info yet, so no grid from this camera; publish its calibration',
        )
        mismatch = model is not None and not fits(model, picture)
        text = '' if model is None else f'camera_info is for {model.width}x{model.height}'
        text += (
            f', the image is {picture.width}x{picture.height}: no grid from this camera; publish the right calibration'
        )
        _hold(problems, 'camera_info_mismatch', mismatch, text)
        try:
            pose = self._poses.vehicle_from_camera(camera.name, message, limit_s)
            odom = self._poses.odom_from_vehicle(message.header.stamp, limit_s)
        except CameraError as error:
            problems.report('no_pose', f'no grid from this camera: {error}')
            return frame
        problems.clear('no_pose')
        others = self._poses.in_one_place_with(camera.name)
        text = f'images have the frame_id of {", ".join(others)} as well, so TF places them alike; give each camera its own'
        _hold(problems, 'same_frame', bool(others), text)
        return frame._replace(vehicle_from_camera=pose, odom_from_vehicle=odom)


def _pipeline_config(config: NodeConfig) -> PipelineConfig:
    return PipelineConfig(config.grid, config.regions, config.lanes)


def _too_old(age_s: float, limit_s: float) -> CameraError:
    where = 'behind' if age_s > 0 else 'ahead of'
    return CameraError(
        f"the image's stamp is {abs(age_s):.1f} s {where} the node's clock, more than image_timeout_s, {limit_s} s; synchronise "
        'the clocks, or make the camera faster'
    )


def _hold(problems: Any, kind: str, holds: bool, text: str) -> None:
    if holds:
        problems.report(kind, text)
    else:
        problems.clear(kind)
