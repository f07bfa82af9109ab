"""`seg_perception check-camera`: is the camera mounted as the configuration says?"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose
from seg_perception.cli.option_types import Number, OutputFile
from seg_perception.cli.recording_options import recording_options
from seg_perception.errors import CameraError, ConfigError, RecordingError
from seg_perception.frames import fits, to_rgb
from seg_perception.io.recording import RecordedFrame, RecordingOptions, open_recording
from seg_perception.mounting import Angles, MountingEstimate, estimate_mounting, mounted_angles, road_segments

CONFIGURED_COLOR, ESTIMATED_COLOR = (255, 210, 40), (60, 220, 255)
MAX_SPREAD_DEG = 1.0


EPILOG = """\b
Examples:
  seg_perception check-camera straight_drive.mcap --lane-width 3.5
  seg_perception check-camera scene:7 --out check.png
"""


@click.command(epilog=EPILOG)
@click.argument('recording')
@recording_options
@click.option('--lane-width', type=Number(2.0, 6.0), help='Distance of lane lines in metres: gives height and roll.')
@click.option(
    '--frames',
    'limit',
    default=60,
    show_default=True,
    type=click.IntRange(1),
    help='Images to look at, spread over the recording.',
)
@click.option(
    '--tolerance',
    default=0.5,
    show_default=True,
    type=Number(0.05),
    help='Degrees of pitch or yaw before the exit code is 3.',
)
@click.option(
    '--out',
    default='check_camera.png',
    show_default=True,
    type=OutputFile(),
    help='Picture with a metre grid.',
)
def command(recording: str, lane_width: float | None, limit: int, tolerance: float, out: Path, **options: Any) -> int:
    """Compare the configured camera pose with a recorded straight drive.

    RECORDING is a bag, video, folder of frames or scene:SEED. Lines that run along the road give pitch and yaw (good
    to some 0.2 degrees on a straight road), and with --lane-width the height and, roughly, the roll. The picture shows
    a grid of 1 m by 5 m on the ground as configured: lane lines must run along it, and a lane must be as wide as it is.
    """
    if not cv2.haveImageWriter(str(out)):
        raise ConfigError(f'{out}: no format for a picture; give a name that ends in .png or .jpg')
    frames = _read(recording, limit, options)
    first = frames[0]
    camera, pose = first.camera_model, first.vehicle_from_camera
    if camera is None:
        raise CameraError(f'{recording}: no calibration found; give --camera-info FILE')
    if pose is None:
        raise CameraError(f'{recording}: no camera pose found; give --extrinsics x,y,z,roll,pitch,yaw')
    wrong = next((f.image for f in frames if not fits(camera, f.image)), None)
    if wrong is not None:
        raise CameraError(
            f'{recording}: the calibration is for {camera.width}x{camera.height} and an image is '
            f'{wrong.width}x{wrong.height}; give --camera-info FILE of this image size'
        )
    segments = [road_segments(cv2.cvtColor(to_rgb(f.image), cv2.COLOR_RGB2GRAY), camera) for f in frames]
    estimate = estimate_mounting(segments, pose, lane_width)
    if estimate is None:
        raise RecordingError(
            f'{recording}: no lines that run along the road in {len(frames)} images; record a straight road with markings'
        )
    now = mounted_angles(pose)
    off = _print(now, pose.translation_m[2], estimate, len(frames))
    _print_horizon(camera, pose, estimate)
    better = _corrected(pose, estimate).mounting()
    click.echo('estimated extrinsics (m, rad): ' + ','.join(str(round(v, 4) + 0.0) for v in better))
    middle = frames[len(frames) // 2]
    picture = draw_check(to_rgb(middle.image), camera, pose, estimate)
    if not cv2.imwrite(str(out), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise ConfigError(f'{out}: cannot write the picture; free space or give another --out')
    click.echo(f'wrote {out}')
    return 3 if off > tolerance else 0


def _read(recording: str, limit: int, options: dict[str, Any]) -> list[RecordedFrame]:
    opened = open_recording(recording, RecordingOptions(**options))
    try:
        step = max(1, (opened.frame_count or limit) // limit)
        frames = list(itertools.islice(itertools.islice(opened.frames(), 0, None, step), limit))
    finally:
        opened.close()
    name = frames[0].camera if frames else ''
    frames = [f for f in frames if f.camera == name]
    if not frames:
        raise RecordingError(f'{recording}: holds no image; expected a drive along a straight road')
    return frames


def _print(now: Angles, height_m: float, estimate: MountingEstimate, frames: int) -> float:
    """Print the comparison; return the larger of the pitch and yaw differences in degrees."""
    click.echo(f'{estimate.frames} of {frames} images show lines along the road')
    click.echo(f'{"":10}{"configured":>12}{"estimated":>12}{"difference":>12}{"spread":>10}')
    found = estimate.angles
    spreads = (math.nan, estimate.pitch_spread_rad, estimate.yaw_spread_rad)
    for name, a, b, spread in zip(Angles._fields, now, found, spreads, strict=True):
        values = (math.degrees(v) for v in (a, b, b - a, spread))
        click.echo(
            f'{name.removesuffix("_rad") + " deg":10}'
            + ''.join(_cell(v, w) for v, w in zip(values, (12, 12, 12, 10), strict=True))
        )
    height = estimate.height_m
    click.echo(f'{"height m":10}' + ''.join(_cell(v, 12) for v in (height_m, height, height - height_m)))
    if max(estimate.pitch_spread_rad, estimate.yaw_spread_rad) > math.radians(MAX_SPREAD_DEG):
        click.echo(f'the direction varies by more than {MAX_SPREAD_DEG} degree: take a straighter or smoother stretch')
    return math.degrees(max(abs(found.pitch_rad - now.pitch_rad), abs(found.yaw_rad - now.yaw_rad)))


def _cell(value: float, width: int) -> str:
    return ('-' if math.isnan(value) else f'{value:.2f}').rjust(width)


def _print_horizon(camera: CameraModel, pose: Pose, estimate: MountingEstimate) -> None:
    rows = [horizon_row(camera, p) for p in (pose, _corrected(pose, estimate))]
    click.echo(
        'horizon at the middle column: '
        + ', '.join(f'{name} row {row:.0f}' for name, row in zip(('configured', 'estimated'), rows, strict=True))
        + f' of {camera.height}'
    )


def _corrected(pose: Pose, estimate: MountingEstimate) -> Pose:
    """Return the estimated mounting; what was not found is as configured."""
    x, y, z = pose.translation_m
    found, height = estimate.angles, estimate.height_m
    roll = mounted_angles(pose).roll_rad if math.isnan(found.roll_rad) else found.roll_rad
    return Pose.mounted(x, y, z if math.isnan(height) else height, roll, found.pitch_rad, found.yaw_rad)


def horizon_row(camera: CameraModel, pose: Pose) -> float:
    """Row at which the horizon crosses the middle column; NaN when it does not."""
    directions = _horizon_points(pose)
    pixels, valid = camera.project(directions)
    order = np.argsort(pixels[valid, 0])
    u, v = pixels[valid][order].T
    return float(np.interp(camera.cx, u, v, left=np.nan, right=np.nan)) if len(u) else math.nan


def _horizon_points(pose: Pose) -> npt.NDArray[np.float64]:
    forward = pose.rotation[:, 2]
    bearing = math.atan2(forward[1], forward[0]) + np.radians(np.linspace(-60, 60, 241))
    return np.asarray(np.column_stack([np.cos(bearing), np.sin(bearing), np.zeros(len(bearing))]) @ pose.rotation)


def draw_check(
    rgb: npt.NDArray[np.uint8], camera: CameraModel, pose: Pose, estimate: MountingEstimate
) -> npt.NDArray[np.uint8]:
    """Draw the configured ground grid and both horizons on a copy of the picture."""
    picture = rgb.copy()
    for y in range(-6, 7):
        line = np.column_stack([np.geomspace(1.0, 80.0, 120), np.full(120, float(y)), np.zeros(120)])
        _polyline(picture, camera, pose, line, CONFIGURED_COLOR, 2 if y == 0 else 1)
    for x in (5, 10, 15, 20, 25, 30, 40, 50):
        line = np.column_stack([np.full(60, float(x)), np.linspace(-6, 6, 60), np.zeros(60)])
        _polyline(picture, camera, pose, line, CONFIGURED_COLOR, 1)
        (pixel,), (valid,) = camera.project((np.array([[x, -6.2, 0.0]]) - pose.translation_m) @ pose.rotation)
        if valid and 0 <= pixel[0] < camera.width and 0 <= pixel[1] < camera.height:
            origin = (int(pixel[0]), int(pixel[1]))
            cv2.putText(picture, f'{x} m', origin, cv2.FONT_HERSHEY_SIMPLEX, 0.45, CONFIGURED_COLOR, 1, cv2.LINE_AA)
    for p, color in ((pose, CONFIGURED_COLOR), (_corrected(pose, estimate), ESTIMATED_COLOR)):
        far = _horizon_points(p) @ p.rotation.T * 1e4 + p.translation_m
        _polyline(picture, camera, p, far, color, 2)
    return picture


def _polyline(
    picture: npt.NDArray[np.uint8],
    camera: CameraModel,
    pose: Pose,
    points: npt.NDArray[np.float64],
    color: tuple[int, int, int],
    width: int,
) -> None:
    pixels, valid = camera.project((points - np.asarray(pose.translation_m)) @ pose.rotation)
    near = valid & (np.abs(pixels - (camera.cx, camera.cy)) < 4 * camera.width).all(axis=1)
    for run in np.split(np.flatnonzero(near), np.flatnonzero(np.diff(np.flatnonzero(near)) > 1) + 1):
        cv2.polylines(picture, [np.rint(pixels[run] * 16).astype(np.int32)], False, color, width, cv2.LINE_AA, 4)
