"""`seg_perception demo`: a drive into the real node over real DDS, and what came out as video, picture and figures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.cli.option_types import Number
from seg_perception.cli.recording_options import HOOD_HELP, SixNumbers
from seg_perception.draw import footprints, grid_picture, grid_things, lane_lines, overlay
from seg_perception.errors import RecordingError, SegPerceptionError
from seg_perception.frames import fits, labels_to_size
from seg_perception.grid import Observation
from seg_perception.labels import DEFAULT_LABELS, LabelMap, Role
from seg_perception.metrics import binary_iou, confusion_matrix
from seg_perception.paths import default_model
from seg_perception.postprocess import ContourConfig, Footprint, LaneConfig, Lanes, LaneTracker, obstacle_footprints

if TYPE_CHECKING:
    from seg_perception.io.recording import RecordedFrame
    from seg_perception.ros.recorder import Recorder

CAMERA = 'front'
SCENE_RATE_HZ = 8.0
TRUTH_EVERY = 4
"""Of how many labelled frames of a synthetic drive one is compared with the truth, which has to be rendered again."""
READY_S, DRAIN_S = 60.0, 1.5
VIDEO_HEIGHT_PX = 540
UInt8 = npt.NDArray[np.uint8]


class Things(NamedTuple):
    """What stands on the ground or is painted on it, at the stamp of one image."""

    lanes: Lanes
    footprints: tuple[Footprint, ...]
    camera: CameraModel
    mounting: Pose


EPILOG = """\b
Examples:
  seg_perception demo
  seg_perception demo drive.mp4 --camera-info camera.yaml --extrinsics 1.6,0,1.4,0,0.05,0
"""


@click.command(epilog=EPILOG)
@click.argument('source', metavar='[INPUT]', default='scene:7')
@click.option(
    '--out', type=click.Path(path_type=Path), default=Path('out/demo'), show_default=True, help='Folder to write.'
)
@click.option(
    '--model', type=click.Path(path_type=Path, exists=True), help='ONNX model; the shipped fast one by default.'
)
@click.option('--rate', type=Number(0.1, 120), help="Frames per second [default: the recording's; scenes 8].")
@click.option('--topic', metavar='TOPIC', help='Image topic of a bag that has several.')
@click.option(
    '--camera-info', type=click.Path(path_type=Path, exists=True), help='Calibration YAML of a video or folder.'
)
@click.option('--extrinsics', type=SixNumbers(), help='Camera mounting in the vehicle (m, rad).')
@click.option('--hood', type=Number(0, 0.9), default=0.0, help=HOOD_HELP)
def command(
    source: str,
    out: Path,
    model: Path | None,
    rate: float | None,
    topic: str | None,
    camera_info: Path | None,
    extrinsics: tuple[float, float, float, float, float, float] | None,
    hood: float,
) -> None:
    """Play INPUT (scene:SEED, a bag, a video or a folder of frames) into the node and write OUT."""
    from seg_perception.io.messages import COMPRESSED_IMAGE
    from seg_perception.io.recording import RecordingOptions, open_recording

    model = model or default_model()
    is_scene = source.startswith('scene:')
    rate = rate or (SCENE_RATE_HZ if is_scene else None)
    topics = (topic,) if topic else ()
    options = RecordingOptions(topics, camera=CAMERA, camera_info=camera_info, extrinsics=extrinsics, rate_hz=rate)
    recording = open_recording(source, options)
    compressed = recording.image_topics[0].msgtype == COMPRESSED_IMAGE
    first = next(recording.frames(), None)
    recording.close()
    if first is None:
        raise RecordingError(f'{source}: no frame could be read' + ''.join(f': {p}' for p in recording.problems[:1]))
    out.mkdir(parents=True, exist_ok=True)
    play = [source, '--camera', CAMERA, '--wait', '10', '--subscribers', '2']  # the node and the recorder
    play += ['--fps', str(rate)] if rate else []
    play += ['--topic', topic] if topic else []
    play += ['--camera-info', str(camera_info)] if camera_info else []
    node = ['-p', f'cameras:=[{CAMERA}]', '-p', f'model:={model}', '-p', 'backend:=auto']
    node += ['-p', f'{CAMERA}.hood:={hood}', '-p', f'{CAMERA}.compressed:={str(compressed).lower()}']
    if first.vehicle_from_camera is not None:
        node += ['-p', f'{CAMERA}.extrinsics:={list(first.vehicle_from_camera.mounting())}']
    recorder = _drive(node, play, compressed)
    labels = _label_map(model)
    summary = _summary(recorder, source, model)
    if is_scene:
        click.echo('demo: rendering the truth of the labelled frames')
        summary['iou'] = _scene_iou(recorder, source, rate, labels)
    click.echo('demo: drawing and encoding')
    things = _things(recorder, labels, first, hood)
    files = _draw(recorder, out, labels, rate, things)
    (out / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
    _print(summary, [*files, out / 'summary.json'])


def _drive(node_arguments: list[str], play_arguments: list[str], compressed: bool) -> Recorder:
    """Run node, player and recorder on a DDS domain of their own until the recording ends."""
    from seg_perception.ros.transport import use_own_domain

    use_own_domain()
    import rclpy

    from seg_perception.ros.recorder import Recorder

    rclpy.init()
    recorder = Recorder(CAMERA, compressed=compressed)
    click.echo('demo: starting the node')
    with _running('seg_perception.ros.node', '--ros-args', *node_arguments) as node:
        end = time.monotonic() + READY_S
        while not recorder.node_is_ready():
            recorder.spin_for(0.2)
            if node.poll() is not None or time.monotonic() > end:
                raise SegPerceptionError('the node did not become ready; what it said is above')
        click.echo(f'demo: playing {play_arguments[0]} into it')
        with _running('seg_perception', 'play', *play_arguments) as player:
            while player.poll() is None:
                recorder.spin_for(0.2)
                if node.poll() is not None:
                    raise SegPerceptionError(f'the node ended with exit code {node.returncode}; what it said is above')
            if player.returncode:
                raise SegPerceptionError('the player failed; what it said is above')
        recorder.spin_for(DRAIN_S)
    if node.returncode:
        raise SegPerceptionError(f'the node ended with exit code {node.returncode}; expected 0')
    rclpy.try_shutdown()
    if not recorder.labelled:
        raise SegPerceptionError('no labels arrived; run `seg_perception doctor`')
    return recorder


@contextmanager
def _running(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, '-m', module, *arguments])
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _label_map(model: Path) -> LabelMap:
    from seg_perception.engine.onnxrt import read_spec

    return read_spec(model).labels


def _summary(recorder: Recorder, source: str, model: Path) -> dict[str, Any]:
    stamps = sorted(recorder.labelled)
    ages = [a.age_ms for a in recorder.labelled.values()]
    seconds = (stamps[-1] - stamps[0]) * 1e-9 or float('nan')
    camera = next((v for k, v in recorder.diagnostics.items() if k.endswith(CAMERA)), {})
    engine = next((v for k, v in recorder.diagnostics.items() if 'backend' in v), {})
    return {
        'input': source,
        'model': model.name,
        'backend': engine.get('backend'),
        'frames_in': int(camera.get('received', 0)),
        'processed': len(stamps),
        'skipped': int(camera.get('skipped', 0)),
        'grids': len(recorder.grids),
        'rate_hz': round((len(stamps) - 1) / seconds, 2),
        'age_p50_ms': round(float(np.percentile(ages, 50)), 1),
        'age_p99_ms': round(float(np.percentile(ages, 99)), 1),
    }


def _scene_iou(recorder: Recorder, source: str, rate: float | None, labels: LabelMap) -> dict[str, float]:
    """Compare with the truth of the drive; the odometry of an image's stamp tells which frame it is."""
    from seg_perception.io.recording import RecordingOptions
    from seg_perception.io.scene_drive import SceneRecording

    drive = SceneRecording(source, RecordingOptions(camera=CAMERA, rate_hz=rate)).drive
    counts = np.zeros((len(DEFAULT_LABELS), len(labels)), np.int64)
    track_m = np.array([drive.odom_from_vehicle(i / drive.rate_hz).translation_m[:2] for i in range(len(drive))])
    for stamp, answer in list(recorder.labelled.items())[::TRUTH_EVERY]:
        if stamp in recorder.odometry:
            i = int(np.linalg.norm(track_m - recorder.odometry[stamp].translation_m[:2], axis=1).argmin())
            truth = drive.frame(i).cameras[CAMERA].labels
            predicted = labels_to_size(answer.labels, truth.shape[1], truth.shape[0])
            counts += confusion_matrix(truth, predicted, *counts.shape)
    measured = {'drivable': (Role.ROAD, Role.LANE), 'lane': (Role.LANE,), 'obstacle': (Role.OBSTACLE,)}
    return {
        name: round(binary_iou(counts, _has_role(DEFAULT_LABELS, roles), _has_role(labels, roles)), 4)
        for name, roles in measured.items()
    }


def _has_role(labels: LabelMap, roles: tuple[Role, ...]) -> npt.NDArray[np.bool_]:
    return np.array([c.role in roles for c in labels.classes])


def _things(recorder: Recorder, labels: LabelMap, first: RecordedFrame, hood: float) -> dict[int, Things]:
    """Find lane lines and footprints as the node does, but afterwards: the node has no work of it while it is timed.

    There are none with a calibration of another size, of which the node has warned.
    """
    model, mounting = first.camera_model, first.vehicle_from_camera
    if model is None or mounting is None or not fits(model, first.image):
        return {}
    tracker, contours, things = LaneTracker(LaneConfig(), labels), ContourConfig(), {}
    for stamp in sorted(recorder.labelled.keys() & recorder.confidence.keys()):
        pixels = recorder.labelled[stamp].labels
        view = replace(model, hood=hood).resized(pixels.shape[1], pixels.shape[0])
        odom = recorder.odometry.get(stamp)
        lanes = tracker.update([Observation(CAMERA, stamp, pixels, recorder.confidence[stamp], view, mounting, odom)])
        found = obstacle_footprints(pixels, labels, contours, view, mounting)
        things[stamp] = Things(lanes, found, view, mounting)
    return things


def _draw(recorder: Recorder, out: Path, labels: LabelMap, rate: float | None, things: dict[int, Things]) -> list[Path]:
    from seg_perception.io.video import VideoWriter

    stamps = [s for s in sorted(recorder.labelled) if s in recorder.jpegs]
    if not stamps:
        raise SegPerceptionError('no camera image arrived beside the labels; run `seg_perception doctor`')
    pictures = (_compose(recorder, s, labels, things) for s in stamps)
    still = _compose(recorder, stamps[len(stamps) * 2 // 3], labels, things)
    fps = rate or max(1.0, (len(stamps) - 1) / ((stamps[-1] - stamps[0]) * 1e-9 or 1.0))
    video, picture = out / 'demo.mp4', out / 'demo.png'
    with VideoWriter(video, fps, (still.shape[1], still.shape[0])) as writer:
        for rgb in pictures:
            writer.write(rgb)
    cv2.imwrite(str(picture), cv2.cvtColor(still, cv2.COLOR_RGB2BGR))
    return [video, picture]


def _compose(recorder: Recorder, stamp: int, labels: LabelMap, things: dict[int, Things]) -> UInt8:
    """Overlay of one image beside the newest grid at its time, both with lane lines and footprints.

    No grid, no second picture.
    """
    bgr = np.asarray(cv2.imdecode(np.frombuffer(recorder.jpegs[stamp], np.uint8), cv2.IMREAD_COLOR))
    size = (bgr.shape[1] * VIDEO_HEIGHT_PX // bgr.shape[0] // 2 * 2, VIDEO_HEIGHT_PX)
    rgb = np.asarray(cv2.cvtColor(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB), np.uint8)
    left = overlay(rgb, recorder.labelled[stamp].labels, labels)
    here = things.get(stamp)
    if here is not None:
        lane_lines(left, here.lanes, here.camera, here.mounting)
        footprints(left, here.footprints, here.camera, here.mounting)
    if not recorder.grids:
        return left
    at = max((s for s in recorder.grids if s <= stamp), default=min(recorder.grids))
    grid = recorder.grids[at]
    vehicle = recorder.odometry.get(at) if grid.frame == 'odom' else None
    right = grid_picture(grid, VIDEO_HEIGHT_PX, grid_from_vehicle=vehicle)
    if at in things and (vehicle is not None or grid.frame != 'odom'):
        grid_things(right, grid, things[at].lanes, things[at].footprints, vehicle)
    return np.hstack([left, right])


def _print(summary: dict[str, Any], files: list[Path]) -> None:
    width = max(map(len, summary))
    for key, value in summary.items():
        click.echo(f'  {key:<{width}}  {value}')
    click.echo('demo: wrote ' + ', '.join(map(str, files)))
