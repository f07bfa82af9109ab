"""Camera geometry against OpenCV's own projections and against hand-computed values."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from seg_perception.camera import OPTICAL_FROM_BODY, STEADY_M, STEADY_RAD, CameraModel, Pose, max_angle_rad
from seg_perception.errors import CameraError

PLUMB = CameraModel(640, 360, 500.0, 495.0, 322.0, 178.0, 'plumb_bob', (-0.21, 0.05, 0.0004, -0.0003, 0.01))
RATIONAL = CameraModel(
    640, 360, 360.0, 359.0, 322.0, 178.0, 'rational_polynomial', (0.55, 0.12, 0.0002, -0.0002, 0.004, 0.9, 0.22, 0.02)
)
FISHEYE = CameraModel(640, 360, 300.0, 299.0, 322.0, 178.0, 'equidistant', (-0.012, 0.004, -0.002, 0.0003))
MODELS = [PLUMB, RATIONAL, FISHEYE]


def _points():
    rng = np.random.default_rng(3)
    return np.column_stack([rng.uniform(-3, 3, 200), rng.uniform(-1.5, 1.5, 200), rng.uniform(4, 30, 200)])


@pytest.mark.parametrize('camera', [PLUMB, RATIONAL])
def test_projects_as_opencv(camera):
    points = _points()
    expected = cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera.matrix, np.array(camera.distortion))[0][:, 0]
    pixels, valid = camera.project(points)
    assert valid.all()
    np.testing.assert_allclose(pixels, expected, atol=1e-6)


def test_projects_a_fisheye_as_opencv():
    points = _points()
    expected = cv2.fisheye.projectPoints(
        points[:, None], np.zeros(3), np.zeros(3), FISHEYE.matrix, np.array(FISHEYE.distortion)
    )[0][:, 0]
    np.testing.assert_allclose(FISHEYE.project(points)[0], expected, atol=1e-6)


@pytest.mark.parametrize('camera', MODELS)
def test_rays_invert_projection_over_the_whole_picture(camera):
    u, v = np.meshgrid(np.linspace(0, 639, 23), np.linspace(0, 359, 17))
    pixels = np.column_stack([u.ravel(), v.ravel()])
    rays, valid = camera.rays(pixels)
    assert valid.all()
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1.0)
    np.testing.assert_allclose(camera.project(rays * 7.0)[0], pixels, atol=0.02)


def test_behind_the_camera_is_not_valid():
    assert not PLUMB.project(np.array([[0.0, 0.0, -5.0], [0.0, 0.0, 0.0]]))[1].any()


def test_what_the_distortion_folds_over_is_not_valid():
    """k1 = -0.5 alone turns back where 1 - 1.5 r^2 = 0: at r = 0.816, inside this wide picture."""
    folding = CameraModel(640, 360, 250.0, 250.0, 319.5, 179.5, 'plumb_bob', (-0.5, 0.0, 0.0, 0.0))
    assert max_angle_rad(folding) == pytest.approx(math.atan(math.sqrt(2 / 3)), abs=1e-3)
    pixels, valid = folding.project(np.array([[0.7, 0.0, 1.0], [1.1, 0.0, 1.0]]))
    assert valid.tolist() == [True, False]
    assert 0 <= pixels[1, 0] < 640  # the fold lies inside the picture and must still be refused
    assert not folding.rays(np.array([[639.0, 359.0]]))[1].any()
    late = replace(folding, distortion=(0.0, 0.0, 0.0, 0.0, -0.05))  # 1 - 7 x 0.05 r^6 = 0
    assert max_angle_rad(late) == pytest.approx(math.atan((1 / 0.35) ** (1 / 6)), abs=1e-3)


def test_camera_info_with_region_and_binning():
    """A region moves the principal point; binning by two maps pixel centre 0.5 to 0."""
    k = [1000.0, 0, 640.0, 0, 900.0, 360.0, 0, 0, 1]
    camera = CameraModel.from_camera_info(1280, 720, k, [], '', binning=(2, 2), roi=(100, 60, 800, 600))
    assert (camera.width, camera.height) == (400, 300)
    assert (camera.fx, camera.fy) == (500.0, 450.0)
    assert (camera.cx, camera.cy) == ((540.0 + 0.5) / 2 - 0.5, (300.0 + 0.5) / 2 - 0.5)


def test_pixels_that_fill_no_bin_stretch_nothing():
    k = [1000.0, 0, 640.0, 0, 900.0, 360.0, 0, 0, 1]
    camera = CameraModel.from_camera_info(1283, 723, k, [], '', binning=(4, 4))
    assert (camera.width, camera.height) == (320, 180)
    assert (camera.fx, camera.fy) == (250.0, 225.0)
    assert (camera.cx, camera.cy) == ((640.0 + 0.5) / 4 - 0.5, (360.0 + 0.5) / 4 - 0.5)


def test_resizing_keeps_where_things_are():
    point = np.array([[0.4, -0.2, 2.0]])
    (full,), _ = PLUMB.project(point)
    (half,), _ = PLUMB.resized(320, 180).project(point)
    np.testing.assert_allclose(half, (full + 0.5) / 2 - 0.5)


def test_the_hood_keeps_its_place_when_the_picture_is_resized_or_cropped():
    hooded = replace(PLUMB, hood=0.25)
    assert hooded.ground_height == 270
    assert hooded.resized(320, 180).ground_height == 135
    assert hooded.cropped(0, 100, 640, 200).ground_height == 170
    assert hooded.cropped(0, 0, 640, 200).ground_height == 200


@pytest.mark.parametrize(
    'change',
    [
        {'fx': 0.0},
        {'fx': math.nan},
        {'width': 0},
        {'distortion': (0.1, 0.2)},
        {'distortion': (math.inf, 0.0, 0.0, 0.0)},
        {'distortion_model': 'kannala'},
        {'hood': 1.0},
        {'hood': math.nan},
    ],
)
def test_an_unusable_calibration_is_refused(change):
    values = {'width': 640, 'height': 360, 'fx': 500.0, 'fy': 500.0, 'cx': 320.0, 'cy': 180.0}
    with pytest.raises(CameraError, match=r'.+'):
        CameraModel(**(values | change))


@pytest.mark.parametrize('region', [(600, 0, 100, 100), (0, 1, 640, 360), (-1, 0, 10, 10), (0, 0, 10, 0)])
def test_a_crop_outside_the_picture_is_refused(region):
    assert PLUMB.cropped(0, 0, 640, 360) == PLUMB
    with pytest.raises(CameraError, match='does not fit'):
        PLUMB.cropped(*region)


def test_mounting_angles():
    """Positive pitch looks down, positive yaw to the left, positive roll lowers the right side."""
    assert Pose.mounted(0, 0, 1, 0, math.radians(10), 0).rotation[2, 2] == pytest.approx(-math.sin(math.radians(10)))
    assert Pose.mounted(0, 0, 1, 0, 0, math.radians(10)).rotation[1, 2] == pytest.approx(math.sin(math.radians(10)))
    right_of_camera = Pose.mounted(0, 0, 1, math.radians(10), 0, 0).rotation[:, 0]
    assert right_of_camera[2] == pytest.approx(-math.sin(math.radians(10)))


def test_a_mounting_turns_about_fixed_axes_first_roll_then_pitch_then_yaw():
    angles = (0.3, -0.2, 0.5)
    roll, pitch, yaw = (cv2.Rodrigues(axis * angle)[0] for axis, angle in zip(np.eye(3), angles, strict=True))
    pose = Pose.mounted(1.0, 2.0, 3.0, *angles)
    np.testing.assert_allclose(pose.rotation, yaw @ pitch @ roll @ OPTICAL_FROM_BODY.T, atol=1e-12)
    assert pose.mounting() == pytest.approx((1.0, 2.0, 3.0, *angles))
    vehicle = Pose.from_rotation(yaw @ pitch @ roll, (0.0, 0.0, 0.0))
    assert vehicle.yaw_rad == pytest.approx(0.5)


@pytest.mark.parametrize(('times', 'close'), [(0.9, True), (1.1, False)])
def test_a_pose_that_only_trembles_is_close(times, close):
    here = Pose.mounted(1.0, 0.0, 1.4, 0.0, 0.1, 0.0)
    moved = Pose.mounted(1.0, 0.0, 1.4 + times * STEADY_M, 0.0, 0.1, 0.0)
    turned = Pose.mounted(1.0, 0.0, 1.4, 0.0, 0.1, times * STEADY_RAD)
    assert (here.is_close(moved), here.is_close(turned)) == (close, close)
    the_same = replace(turned, quaternion=tuple(-q for q in turned.quaternion))
    assert here.is_close(the_same) == close


def test_a_ground_point_ahead_lands_where_geometry_says():
    """1.4 m high, level, 10 m ahead: 0.14 focal lengths below the principal point."""
    camera = CameraModel(640, 360, 500.0, 500.0, 320.0, 180.0)
    pose = Pose.mounted(1.0, 0.0, 1.4, 0.0, 0.0, 0.0)
    (pixel,), _ = camera.project(pose.inverse().transform(np.array([[11.0, 0.0, 0.0]])))
    np.testing.assert_allclose(pixel, (320.0, 180.0 + 500.0 * 0.14))


def test_poses_compose_and_invert():
    a, b = Pose.mounted(1, 2, 3, 0.1, -0.2, 0.3), Pose.mounted(-1, 0.5, 0.2, -0.4, 0.1, 2.0)
    point = np.array([[0.3, -0.7, 2.0]])
    np.testing.assert_allclose((a @ b).transform(point), a.transform(b.transform(point)))
    np.testing.assert_allclose(a.inverse().transform(a.transform(point)), point, atol=1e-12)


@pytest.mark.parametrize(
    ('translation', 'quaternion'),
    [((math.nan, 0, 0), (0, 0, 0, 1)), ((0, 0, 0), (0, 0, 0, 0)), ((0, 0, 0), (0, 0, 0, 2))],
)
def test_a_broken_pose_is_refused(translation, quaternion):
    with pytest.raises(CameraError, match='unit quaternion'):
        Pose(translation, quaternion)
