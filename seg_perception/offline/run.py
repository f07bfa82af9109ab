"""One recording through the pipeline: read, network, grid and bag, video; each in its own thread, in order."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seg_perception import draw
from seg_perception.camera import rows_above_hood
from seg_perception.errors import EngineError, RecordingError, SegPerceptionError
from seg_perception.grid import UNKNOWN, OccupancyGrid
from seg_perception.io.bag_writer import BagWriter
from seg_perception.io.recording import Recording
from seg_perception.offline import run_folder, statistics
from seg_perception.offline.earlier import EarlierRun
from seg_perception.offline.engine_pool import EnginePool
from seg_perception.offline.output_messages import LATCHED, OutputMessages
from seg_perception.offline.predict import predict
from seg_perception.offline.report import write_report
from seg_perception.offline.run_folder import RunFolder
from seg_perception.offline.sink import Sink
from seg_perception.offline.statistics import FrameFigures, LeastCertain
from seg_perception.offline.stored import Predicted, StoredEngine
from seg_perception.offline.video_picture import RunVideo, in_proportion
from seg_perception.pipeline import CameraResult, Frame, Pipeline, PipelineConfig, Result
from seg_perception.postprocess import Lanes, above_ground

AHEAD = 16
"""Batches that wait for a stage: as many as pass while the grid builds its tables, at its first frame."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What to make of a recording."""

    pipeline: PipelineConfig = field(default_factory=PipelineConfig)
    vehicle_frame: str = 'base_link'
    odom_frame: str = 'odom'
    geometry: bool = False
    """Find lane lines; write them, points and markers too."""
    video: bool = True
    hood: float = 0.0
    """Share of the image's height, from its bottom, that shows the vehicle itself; of every camera."""


class RunSummary(NamedTuple):
    """How a run ended."""

    folder: Path
    frames: int
    seconds: float
    """From the first frame read to the last file closed."""
    bare_ms: float | None
    """Time per frame of the network alone, measured before; None when nobody measured it."""
    interrupted: bool
    resumed: int
    """Frames whose labels came from the interrupted run."""
    problems: list[str]

    @property
    def network_multiple(self) -> float | None:
        """`seconds` as a multiple of what the network alone takes for all frames; None where it did not run for all."""
        if self.bare_ms is None or self.resumed:
            return None
        return self.seconds * 1e3 / (self.frames * self.bare_ms)


def process(
    recording: Recording,
    engines: EnginePool,
    folder: RunFolder,
    config: RunConfig,
    settings: dict[str, Any],
    *,
    resume: bool = False,
    overwrite: bool = False,
    stop: threading.Event | None = None,
    on_frames: Callable[[int], None] = lambda n: None,
) -> RunSummary:
    """Process every frame of `recording` into `folder`.

    Args:
        settings: what the result depends on; a run is only resumed with the same, and the report shows them.
        stop: when set, the files are finished after the frame at work, and the folder stays marked incomplete.
        on_frames: called in the calling thread with the number of frames just labelled.

    Raises:
        RecordingError: nothing can be read, or the output cannot be written; the folder stays marked incomplete.
        EngineError: the engine failed.
    """
    earlier_bag = folder.begin(settings, resume=resume, overwrite=overwrite)
    folder.write({'status': 'running', 'settings': settings})
    shape = (engines.spec.input_height, engines.spec.input_width)
    earlier = EarlierRun(earlier_bag, recording.cameras, shape) if earlier_bag else None
    run = _Run(recording, engines, folder.path, config)
    try:
        with contextlib.ExitStack() as stack:
            if earlier:
                stack.callback(earlier.close)
            run.label_all(earlier, stop or threading.Event(), on_frames)
        run.finish()
        summary = run.summary(folder, earlier)
        described = describe(run, summary, settings, engines)
        folder.write(described)
        write_report(folder.path, described, run.least_certain.pictures())
    except SegPerceptionError as error:
        run.abort(keep=isinstance(error, EngineError))  # then the files are good, and a second attempt goes on
        with contextlib.suppress(SegPerceptionError):
            folder.write({'status': f'failed: {error}', 'settings': settings})
        raise
    if summary.interrupted:
        return summary
    folder.finish()
    return summary._replace(folder=folder.final, seconds=run.seconds())


class _Run:
    """The stages behind the network, and what they gather."""

    def __init__(self, recording: Recording, engines: EnginePool, path: Path, config: RunConfig) -> None:
        self.recording, self._config, self._start_s = recording, config, 0.0
        self.figures: list[FrameFigures] = []
        self.least_certain = LeastCertain()
        self.problems: Counter[str] = Counter()
        self.interrupted = False
        self._engines = engines
        self._stored = StoredEngine(engines.spec, engines.info, engines.max_batch)
        self._pipeline = Pipeline(config.pipeline, self._stored)
        self._labels = engines.spec.labels
        self._messages = OutputMessages(
            self._labels, config.pipeline.grid, config.vehicle_frame, config.odom_frame, geometry=config.geometry
        )
        self._bag = BagWriter(path / run_folder.BAG, latched=LATCHED)
        for topic, msgtype in self._messages.topics(recording.cameras):
            self._bag.add_topic(topic, msgtype)
        self._video = RunVideo(path / run_folder.VIDEO, recording.cameras) if config.video else None
        self._encode: Sink[tuple[list[Any], OccupancyGrid | None, Lanes | None]] = Sink(self._draw, AHEAD)
        self._write: Sink[list[Predicted]] = Sink(self._take, AHEAD)

    def label_all(self, earlier: EarlierRun | None, stop: threading.Event, on_frames: Callable[[int], None]) -> None:
        """Run the network over all frames; the other stages follow behind."""
        self._start_s = time.perf_counter()
        for batch in predict(self.recording, self._engines, earlier):
            self._write.put(batch)
            on_frames(len(batch))
            if stop.is_set():
                self.interrupted = True
                return

    def finish(self) -> None:
        """Wait for the stages and close the files.

        Raises:
            RecordingError: nothing was read, or the disk is full.
        """
        self._write.close()
        self._encode.close()
        if not self.figures:
            why = '; '.join(self.recording.problems[:3]) or 'it holds no frame'
            raise RecordingError(f'{self.recording.source}: no frame could be read: {why}')
        self._bag.close()
        if self._video:
            self._video.close()

    def abort(self, *, keep: bool) -> None:
        """Close the files; without `keep` the bag gets no index, so that no reader takes it for whole."""
        closing: list[Callable[[], None]] = [self._write.close, self._encode.close]
        closing.append(self._bag.close if keep else self._bag.abort)
        closing += [self._video.close] if self._video else []
        for close in closing:
            with contextlib.suppress(Exception):  # the first error is the one to report
                close()

    def seconds(self) -> float:
        """Return the time since the first frame was asked for."""
        return time.perf_counter() - self._start_s

    def summary(self, folder: RunFolder, earlier: EarlierRun | None) -> RunSummary:
        """Say how it went."""
        problems = list(self.recording.problems)
        problems += [f'{text} ({count} frames)' for text, count in self.problems.items()]
        resumed = earlier.frames if earlier else 0
        return RunSummary(
            folder.path, len(self.figures), self.seconds(), self._engines.bare_ms, self.interrupted, resumed, problems
        )

    def _take(self, batch: list[Predicted]) -> None:
        """Grid, overlay, messages and figures of one batch."""
        self._stored.give(batch)
        frames = [_frame(p, self._config.hood) for p in batch]
        result = self._pipeline.run(frames, want_lanes=self._config.geometry)  # lanes cost as much as the grid
        overlays = [draw.overlay(p.rgb, r.labels, self._labels) for p, r in zip(batch, result.cameras, strict=True)]
        for r, picture in zip(result.cameras, overlays, strict=True):
            if result.lanes and r.camera_model and r.vehicle_from_camera:
                pose = above_ground(r.vehicle_from_camera, self._config.pipeline.grid.ground_z_m)
                draw.lane_lines(picture, result.lanes, r.camera_model, pose)
        for message in self._messages.of(result, [p.frame.frame_id for p in batch], overlays):
            self._bag.write(message)
        shown = [in_proportion(picture, p.aspect) for p, picture in zip(batch, overlays, strict=True)]
        self._encode.put(([*zip(result.cameras, shown, strict=True)], result.grid, result.lanes))
        self._gather(batch, result, shown)

    def _gather(self, batch: list[Predicted], result: Result, shown: list[Any]) -> None:
        free, known = None, None
        if result.grid is not None:
            free = statistics.finite(result.grid.free_ahead_m)
            known = float(np.mean(result.grid.cells != UNKNOWN))
        now = time.perf_counter()
        for p, r, picture in zip(batch, result.cameras, shown, strict=True):
            confidence, uncertain = statistics.confidence_figures(
                r.confidence[: rows_above_hood(len(r.labels), self._config.hood)]
            )
            shares = statistics.class_shares(r.labels, len(self._labels))
            self.figures.append(
                FrameFigures(
                    r.camera,
                    r.stamp_ns,
                    shares,
                    confidence,
                    uncertain,
                    free,
                    known,
                    p.engine_ms,
                    (now - p.read_s) * 1e3,
                    now - self._start_s,
                )
            )
            self.least_certain.offer(r, confidence, picture)
            if r.problem is not None:
                self.problems[_problem(r)] += 1

    def _draw(self, item: tuple[list[Any], OccupancyGrid | None, Lanes | None]) -> None:
        if self._video:
            self._video.write(*item)


def _frame(p: Predicted, hood: float) -> Frame:
    f = p.frame
    return Frame(f.camera, f.stamp_ns, f.image, f.camera_model, f.vehicle_from_camera, f.odom_from_vehicle, hood)


def describe(run: _Run, summary: RunSummary, settings: dict[str, Any], engines: EnginePool) -> dict[str, Any]:
    """Return what `run.json` holds and the report shows."""
    columns = {name: [getattr(f, name) for f in run.figures] for name in FrameFigures._fields}
    return {
        'status': 'interrupted' if summary.interrupted else 'complete',
        'source': run.recording.source,
        'kind': run.recording.kind,
        'cameras': list(run.recording.cameras),
        'frames': summary.frames,
        'announced_frames': run.recording.frame_count,
        'seconds': summary.seconds,
        'bare_network_ms': summary.bare_ms,
        'network_multiple': summary.network_multiple,
        'resumed_frames': summary.resumed,
        'problems': summary.problems,
        'engine': engines.info._asdict(),
        'classes': engines.spec.labels.to_dicts(),
        'settings': settings,
        'figures': columns,
    }


def _problem(r: CameraResult) -> str:
    """Say why the grid left a camera out, and which option gives what is missing."""
    if r.camera_model is None:
        return f'{r.problem}; give --camera-info FILE'
    if r.vehicle_from_camera is None:
        return f'{r.problem}; give --extrinsics x,y,z,roll,pitch,yaw'
    return str(r.problem)
