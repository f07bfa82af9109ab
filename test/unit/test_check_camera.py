"""A wrong mounting is found from a straight synthetic drive."""

import math

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from seg_perception.camera import Pose
from seg_perception.cli.check_camera import command, horizon_row
from seg_perception.errors import CameraError, ConfigError, RecordingError
from seg_perception.mounting import estimate_mounting, mounted_angles, road_segments
from seg_perception.scene import Drive, default_camera

CAMERA = default_camera()[0].resized(960, 540)
TRUE = Pose.mounted(1.6, 0.0, 1.4, math.radians(1.0), math.radians(2.0), math.radians(0.5))
CALIBRATION = f"""
image_width: {CAMERA.width}
image_height: {CAMERA.height}
camera_name: front
camera_matrix: {{rows: 3, cols: 3, data: [{CAMERA.fx}, 0, {CAMERA.cx}, 0, {CAMERA.fy}, {CAMERA.cy}, 0, 0, 1]}}
distortion_model: plumb_bob
distortion_coefficients: {{rows: 1, cols: 5, data: {list(CAMERA.distortion)}}}
rectification_matrix: {{rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}}
projection_matrix: {{rows: 3, cols: 4, data: [{CAMERA.fx}, 0, {CAMERA.cx}, 0, 0, {CAMERA.fy}, {CAMERA.cy}, 0, 0, 0, 1, 0]}}
"""


@pytest.fixture(scope='module')
def images():
    drive = Drive(0, {'front': (CAMERA, TRUE)}, length_m=80.0, straight=True)
    return [drive.frame(i).cameras['front'].image for i in range(0, 96, 12)]


@pytest.fixture(scope='module')
def recording(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp('drive')
    for i, image in enumerate(images):
        cv2.imwrite(str(folder / f'{i:04d}.png'), image[..., ::-1])
    (folder.parent / 'camera_info.yaml').write_text(CALIBRATION)
    return folder


def test_pitch_yaw_and_height_are_found(images):
    configured = Pose.mounted(1.6, 0.0, 1.3, 0.0, math.radians(4.5), math.radians(-1.0))
    segments = [road_segments(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY), CAMERA) for i in images]
    estimate = estimate_mounting(segments, configured, lane_width_m=3.5)
    assert math.degrees(estimate.angles.pitch_rad) == pytest.approx(2.0, abs=0.15)
    assert math.degrees(estimate.angles.yaw_rad) == pytest.approx(0.5, abs=0.6)  # the vehicle weaves
    assert estimate.height_m == pytest.approx(1.4, abs=0.1)
    without = estimate_mounting(segments, configured)
    assert math.isnan(without.height_m)
    assert math.isnan(without.angles.roll_rad)


def test_three_lines_a_lane_apart_give_the_roll():
    """Segments computed from the lines themselves: everything comes back exactly."""
    true = Pose.mounted(1.6, 0.0, 1.3, math.radians(2.0), math.radians(3.0), math.radians(-1.0))
    lines = []
    for y in (-1.6, 2.0, 5.6):
        for near, far in ((5.0, 8.0), (8.0, 12.0), (12.0, 20.0)):
            ends = true.inverse().transform(np.array([[near, y, 0.0], [far, y, 0.0]]))
            lines.append(ends / np.linalg.norm(ends, axis=1, keepdims=True))
    configured = Pose.mounted(1.6, 0.0, 1.4, 0.0, 0.0, 0.0)
    estimate = estimate_mounting([np.array(lines)] * 2, configured, lane_width_m=3.6)
    assert tuple(math.degrees(a) for a in estimate.angles) == pytest.approx((2.0, 3.0, -1.0), abs=0.15)
    assert estimate.height_m == pytest.approx(1.3, abs=0.02)
    assert len(estimate.lines) == 3


def test_angles_of_a_pose_are_those_it_was_mounted_with():
    assert mounted_angles(TRUE) == pytest.approx((math.radians(1.0), math.radians(2.0), math.radians(0.5)))


def test_the_horizon_of_a_level_camera_is_at_its_principal_point():
    assert horizon_row(CAMERA, Pose.mounted(0, 0, 1, 0, 0, 0)) == pytest.approx(CAMERA.cy, abs=0.6)


@pytest.mark.parametrize(('pitch_deg', 'code'), [(2.0, 0), (4.0, 3)])
def test_the_exit_code_tells_a_wrong_pitch(recording, tmp_path, pitch_deg, code):
    out = tmp_path / 'check.png'
    extrinsics = f'1.6,0,1.4,0.0175,{math.radians(pitch_deg)},0.0087'
    info = str(recording.parent / 'camera_info.yaml')
    arguments = [
        str(recording),
        '--camera-info',
        info,
        '--extrinsics',
        extrinsics,
        '--tolerance',
        '0.9',
        '--out',
        str(out),
    ]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert result.exception is None, result.output
    assert result.return_value == code
    assert 'pitch deg' in result.output
    picture = cv2.imread(str(out))
    assert picture.shape == (540, 960, 3)
    assert (picture != cv2.imread(str(recording / '0004.png'))).any(axis=2).mean() > 0.01


def test_the_estimate_can_be_given_as_extrinsics(recording, tmp_path):
    arguments = [str(recording), '--camera-info', str(recording.parent / 'camera_info.yaml'), '--lane-width', '3.5']
    arguments += ['--out', str(tmp_path / 'check.png'), '--extrinsics']
    first = CliRunner().invoke(command, [*arguments, '1.6,0,1.2,0,0.08,0'], standalone_mode=False)
    (line,) = [t for t in first.output.splitlines() if t.startswith('estimated extrinsics (m, rad): 1.6,0.0,')]
    again = CliRunner().invoke(command, [*arguments, line.rpartition(' ')[2]], standalone_mode=False)
    assert (first.return_value, again.return_value) == (3, 0), again.output


def test_without_calibration_or_pose_it_says_what_to_give(recording, tmp_path):
    info = str(recording.parent / 'camera_info.yaml')
    result = CliRunner().invoke(command, [str(recording), '--camera-info', info])
    assert isinstance(result.exception, CameraError)
    assert '--extrinsics' in str(result.exception)


def test_a_calibration_of_another_image_size_is_refused(recording, tmp_path):
    (tmp_path / 'half.yaml').write_text(CALIBRATION.replace('width: 960', 'width: 480'))
    arguments = [str(recording), '--camera-info', str(tmp_path / 'half.yaml'), '--extrinsics', '0,0,1.4,0,0,0']
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, CameraError)
    assert 'the calibration is for 480x540 and an image is 960x540' in str(result.exception)


def test_a_picture_goes_into_a_new_folder_and_needs_a_format(recording, tmp_path):
    arguments = [str(recording), '--camera-info', str(recording.parent / 'camera_info.yaml')]
    arguments += ['--extrinsics', f'1.6,0,1.4,0.0175,{math.radians(2)},0.0087', '--out']
    result = CliRunner().invoke(command, [*arguments, str(tmp_path / 'new' / 'x.png')], standalone_mode=False)
    assert result.exception is None, result.output
    assert (tmp_path / 'new' / 'x.png').is_file()
    result = CliRunner().invoke(command, [*arguments, str(tmp_path / 'x.txt')])
    assert isinstance(result.exception, ConfigError)
    assert 'ends in .png or .jpg' in str(result.exception)


def test_pictures_without_a_road_are_refused(tmp_path):
    folder = tmp_path / 'grey'
    folder.mkdir()
    cv2.imwrite(str(folder / '0.png'), np.full((540, 960, 3), 120, np.uint8))
    (tmp_path / 'info.yaml').write_text(CALIBRATION)
    arguments = [str(folder), '--camera-info', str(tmp_path / 'info.yaml'), '--extrinsics', '0,0,1.4,0,0,0']
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, RecordingError)
    assert 'straight road' in str(result.exception)
