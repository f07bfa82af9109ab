"""`seg_perception bench`: engine, whole frame, and the usual hand-written loop, in interleaved rounds."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from seg_perception.camera import Pose
from seg_perception.cli.option_types import OutputFile
from seg_perception.engine import BACKENDS, open_engine
from seg_perception.engine.siblings import variant
from seg_perception.frames import from_array
from seg_perception.grid import GridConfig, GridMapper, Observation
from seg_perception.paths import default_model
from seg_perception.pipeline import CameraResult, Frame, Pipeline, PipelineConfig
from seg_perception.scene import Drive, default_camera

WARM_UP = 5
EPILOG = """\b
Examples:
  seg_perception bench
  seg_perception bench --model engines/deeplab_accurate.onnx --json bench.json
  seg_perception bench --backend tensorrt --rounds 100
  seg_perception bench --grid
"""


@click.command(epilog=EPILOG)
@click.option('--model', type=click.Path(path_type=Path), help='ONNX model; the shipped fast one by default.')
@click.option('--backend', type=click.Choice(BACKENDS), default='auto', show_default=True, help='What runs the model.')
@click.option('--rounds', type=click.IntRange(1), default=30, show_default=True, help='Interleaved rounds.')
@click.option('--frames', type=click.IntRange(1), default=6, show_default=True, help='Frames in a round.')
@click.option('--threads', type=click.IntRange(0), default=0, help='CPU threads of the engine [default: one per core].')
@click.option('--grid', 'grid_table', is_flag=True, help='Time the grid over cells and cameras instead.')
@click.option('--json', 'json_file', type=OutputFile(), help='Write the figures to FILE.')
def command(
    model: Path | None,
    backend: str,
    rounds: int,
    frames: int,
    threads: int,
    grid_table: bool,
    json_file: Path | None,
) -> None:
    """Time what a frame of 1280x720 costs.

    engine_ms is the bare network; frame_ms goes from the serialised image message to all outputs published, every one
    subscribed by another process; labels_ms ends where labels, masks and confidence are out, which is what the
    hand-written loop makes; baseline_ms is cv_bridge, PyTorch eager on the same weights, NumPy argmax, cv_bridge
    (with PyTorch and the model's .pt checkpoint). Each is the median over rounds of a round's median; ratios are
    medians of the ratios within a round. things_ms is the part of frame_ms that lane lines, ego road, outlines and
    footprints cost, their messages and their place in the overlay included; noise_ms the same for the worst of some noise images.
    With --grid, grid_ms is one update of the shipped grid with odometry after every whole frame, and grid_share its share of
    that frame's time; a table follows for other sizes and more cameras.
    """
    path = model or default_model()
    if grid_table:
        figures = _grid_figures(path, backend, rounds * frames, threads)
        _print_grid(figures)
    else:
        figures = _frame_figures(path, backend, rounds, frames, threads)
        for key, value in figures.items():
            click.echo(f'  {key:<16}{value}')
    if json_file:
        json_file.write_text(json.dumps(figures, indent=2) + '\n')


def _frame_figures(path: Path, backend: str, rounds: int, frames: int, threads: int) -> dict[str, Any]:
    from seg_perception.ros.transport import use_own_domain

    use_own_domain()
    from seg_perception.ros.frame_path import FramePath

    engine = open_engine(path, backend, threads=threads)
    camera, pose = default_camera()
    rgb = Drive(7).frame(0).cameras['front'].image
    engine.input(1)[:] = 0
    with FramePath(engine, rgb, camera, pose) as frame_path:
        labels_ms: list[float] = []

        def frame_ms() -> float:
            whole = frame_path.frame_ms()
            labels_ms.append(frame_path.labels_ms)
            return whole

        timed: dict[str, Callable[[], float]] = {
            'engine': lambda: _timed(lambda: engine.infer(1)),
            'frame': frame_ms,
        }
        baseline, why_not = _baseline(path, frame_path)
        if baseline is not None:
            timed['baseline'] = baseline
        medians = _rounds(timed, rounds, frames)
        medians['labels'] = np.median(np.reshape(labels_ms[WARM_UP:], (rounds, frames)), axis=1)
        things = _things_ms(frame_path, rounds * frames)
        noise_ms = 0.0
        for labels in _noise(engine.spec.input_height, engine.spec.input_width, len(engine.spec.labels)):
            frame_path.show(labels)
            noise_ms = max(noise_ms, _median(_things_ms(frame_path, frames)[:, 0]))
    figures: dict[str, Any] = {
        'model': path.name,
        'backend': engine.info.backend,
        'device': engine.info.device,
        'precision': engine.info.precision,
        'input': f'{camera.width}x{camera.height} -> {engine.spec.input_width}x{engine.spec.input_height}',
        'engine_ms': _median(medians['engine']),
        'frame_ms': _median(medians['frame']),
        'overhead': _median(medians['frame'] / medians['engine'], 3),
        'labels_ms': _median(medians['labels']),
        'labels_overhead': _median(medians['labels'] / medians['engine'], 3),
        'things_ms': _median(things[:, 0]),
        'things_share': _median(things[:, 0] / things[:, 1], 3),
        'noise_ms': noise_ms,
        'noise_share': round(noise_ms / _median(things[:, 1]), 3),
        'baseline_ms': _median(medians['baseline']) if baseline else None,
        'speedup': _median(medians['baseline'] / medians['frame'], 2) if baseline else None,
        'labels_speedup': _median(medians['baseline'] / medians['labels'], 2) if baseline else None,
    }
    if why_not:
        figures['baseline'] = why_not
    engine.close()
    return figures


def _rounds(timed: dict[str, Callable[[], float]], rounds: int, frames: int) -> dict[str, Any]:
    """Return the median of every round, float [rounds], of each subject in milliseconds; the slow one runs fewer."""
    counts = {name: max(2, frames // 5) if name == 'baseline' else frames for name in timed}
    for measure in timed.values():
        for _ in range(WARM_UP):
            measure()
    medians: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, measure in timed.items():
            medians[name].append(float(np.median([measure() for _ in range(counts[name])])))
    return {name: np.array(values) for name, values in medians.items()}


def _things_ms(frame_path: Any, frames: int) -> Any:
    """Return float [frames, 2]: milliseconds of things and of the whole frame."""
    whole = ((frame_path.frame_ms(), frame_path.things_ms) for _ in range(WARM_UP + frames))
    return np.array([(things, frame) for frame, things in whole][WARM_UP:])


def _noise(height: int, width: int, classes: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield uint8 [height, width] of blocks of random classes, from single pixels to 32 of them."""
    rng = np.random.default_rng(0)
    for size in (1, 2, 4, 8, 16, 32):
        blocks = rng.integers(0, classes, (height // size + 1, width // size + 1), np.uint8)
        yield np.ascontiguousarray(blocks.repeat(size, 0).repeat(size, 1)[:height, :width])


def _timed(action: Callable[[], Any]) -> float:
    start_s = time.perf_counter()
    action()
    return (time.perf_counter() - start_s) * 1e3


def _median(values: Any, digits: int = 2) -> float:
    return round(float(np.median(values)), digits)


def _baseline(path: Path, frame_path: Any) -> tuple[Callable[[], float] | None, str]:
    """Return the hand-written loop, or why there is none."""
    checkpoint = path.with_name(f'{variant(path)[0]}.pt')
    if not checkpoint.exists():
        return None, f'left out: {checkpoint.name} with the same weights is not beside the model'
    try:
        from seg_perception.training.eager_loop import EagerLoop
    except ImportError as error:
        return None, f'left out: {error}'
    loop = EagerLoop(checkpoint)
    return lambda: loop.frame_ms(frame_path.serialised()), ''


def _grid_figures(path: Path, backend: str, rounds: int, threads: int) -> dict[str, Any]:
    """Time a whole frame and one grid update of every size in turn, with the labels the model gives for the frame."""
    from seg_perception.ros.transport import use_own_domain

    use_own_domain()
    from seg_perception.ros.frame_path import FramePath

    engine = open_engine(path, backend, threads=threads)
    camera, pose = default_camera()
    rgb = Drive(7).frame(0).cameras['front'].image
    frame = Frame('front', 1, from_array(rgb, 'rgb8'), camera, pose)
    seen = Pipeline(PipelineConfig(), engine).run([frame], want_grid=False).cameras[0]
    seen = seen._replace(labels=seen.labels.copy(), confidence=seen.confidence.copy())  # else the engine's own
    configs = [GridConfig(resolution_m=resolution_m) for resolution_m in (0.1, 0.2, 0.05)]
    with FramePath(engine, rgb, camera, pose) as frame_path:
        timed = {'frame': frame_path.frame_ms}
        for config in configs:
            for cameras in (1, 2, 4):
                mapper = GridMapper(config, engine.spec.labels, engine.spec.class_precision)
                timed[f'{config.columns}x{config.rows}.{cameras}'] = _GridDrive(seen, cameras, mapper).update_ms
        times = _rounds(timed, rounds, 1)
    engine.close()
    figures: dict[str, Any] = {'frame_ms': _median(times['frame'])}
    for name in list(timed)[1:]:
        end = '' if name == '400x400.1' else f'.{name}'
        figures[f'grid_ms{end}'] = _median(times[name])
        figures[f'grid_share{end}'] = _median(times[name] / times['frame'], 4)
    return figures


class _GridDrive:
    """A vehicle with 1, 2 or 4 cameras that turns through its own view at 10 m/s and 30 frames/s."""

    def __init__(self, seen: CameraResult, cameras: int, mapper: GridMapper) -> None:
        assert seen.camera_model is not None
        yaws = {1: (0.0,), 2: (-0.5, 0.5), 4: (-1.2, -0.4, 0.4, 1.2)}[cameras]
        poses = [Pose.mounted(1.6, 0.0, 1.4, 0.0, math.radians(3), yaw) for yaw in yaws]
        self._views = [
            Observation(str(i), 0, seen.labels, seen.confidence, seen.camera_model, pose, None)
            for i, pose in enumerate(poses)
        ]
        self._mapper, self._step = mapper, 0

    def update_ms(self) -> float:
        """Take the next image of every camera; return what that cost."""
        self._step += 1
        angle = 0.01 * self._step
        odom = Pose(
            (33 * math.sin(angle), -33 * math.cos(angle), 0.0), (0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2))
        )
        now = [o._replace(stamp_ns=self._step * 33_333_333, odom_from_vehicle=odom) for o in self._views]
        return _timed(lambda: self._mapper.update(now))


def _print_grid(figures: dict[str, Any]) -> None:
    click.echo(f'  frame {figures["frame_ms"]} ms')
    click.echo('  cells      cameras  grid ms  share of frame')
    for key, value in figures.items():
        if key.startswith('grid_ms'):
            _, cells, cameras = key.split('.') if '.' in key else ('', '400x400', '1')
            share = figures[key.replace('_ms', '_share')]
            click.echo(f'  {cells:<10} {cameras:>7} {value:>8} {share:>15.1%}')
