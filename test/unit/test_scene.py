"""The scene's labels and truth against a second, brute-force way of computing them."""

import math

import numpy as np
import pytest

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import ConfigError
from seg_perception.grid.trials import trial
from seg_perception.scene import Drive, Window, default_camera
from seg_perception.scene.order import far_to_near
from seg_perception.scene.types import LANE_MARKING, OTHER, PAVEMENT, ROAD

CAMERA = CameraModel(320, 180, 250.0, 249.0, 161.0, 89.0, 'plumb_bob', (-0.21, 0.052, 0.0004, -0.0003, 0.0))
POSE = Pose.mounted(1.6, 0.1, 1.4, math.radians(1.5), math.radians(4.0), math.radians(-2.0))

COARSE = Window(resolution_m=0.4)


@pytest.fixture(scope='module')
def drive():
    return Drive(1, {'front': (CAMERA, POSE)}, length_m=60.0)


def _first_hit(drive, index, pixels, camera=CAMERA, pose=POSE):
    """Label of the first thing each pixel's ray meets: every prism by half-spaces, then the ground."""
    rays = camera.rays(pixels)[0] @ pose.rotation.T
    eye = np.array(pose.translation_m)
    nearest = np.where(rays[:, 2] < 0, -eye[2] / np.minimum(rays[:, 2], -1e-9), np.inf)
    hit = eye + nearest[:, None] * rays
    odom = drive.odom_from_vehicle(index / drive.rate_hz).transform(np.nan_to_num(hit, posinf=0, neginf=0))
    place = drive.road.coordinates(odom[None, :, 0].astype(np.float32), odom[None, :, 1].astype(np.float32))[0]
    row = np.clip(((place[:, 0] - drive.ground.start_m) / 0.05).astype(int), 0, drive.ground.labels.shape[0] - 1)
    column = np.clip(((place[:, 1] + 32.0) / 0.05).astype(int), 0, drive.ground.labels.shape[1] - 1)
    label = np.where(np.isfinite(nearest), drive.ground.labels[row, column], OTHER)
    for p in drive.placed(index / drive.rate_hz):
        for part, outline in zip(p.solid.parts, p.outlines_m, strict=True):
            near, far = np.full(len(rays), 1e-6), nearest.copy()
            for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True):
                normal = np.array([b[1] - a[1], a[0] - b[0], 0.0])
                near, far = _cut(near, far, rays @ normal, normal[:2] @ a - normal @ eye)
            near, far = _cut(near, far, rays[:, 2], part.z_max_m - eye[2])
            near, far = _cut(near, far, -rays[:, 2], eye[2] - part.z_min_m)
            met = near < far
            label[met], nearest[met] = p.solid.label, near[met]
    return label


def _cut(near, far, speed, gap):
    with np.errstate(divide='ignore', invalid='ignore'):
        t = gap / speed
    return np.where(speed < 0, np.maximum(near, t), near), np.where(speed > 0, np.minimum(far, t), far)


@pytest.mark.parametrize('index', [3, 40])
def test_every_label_is_what_the_pixels_ray_meets_first(drive, index):
    """Below the crowns of trees, which are pictures. A ray that grazes an edge may fall to either side."""
    labels = drive.frame(index).cameras['front'].labels
    v, u = np.mgrid[85:180, 0:320]
    expected = _first_hit(drive, index, np.column_stack([u.ravel(), v.ravel()]).astype(float)).reshape(v.shape)
    wrong = labels[85:] != expected
    near_horizon = np.zeros_like(wrong)
    near_horizon[:12] = True  # ground far beyond the painted patch
    assert (wrong & ~near_horizon).mean() < 5e-4
    assert set(np.unique(labels)) >= {ROAD, LANE_MARKING, PAVEMENT, OTHER}


def test_labels_are_as_exact_in_the_last_column():
    camera, pose = trial('plumb_bob', 1, 1280).cameras['front']
    drive = Drive(1, {'front': (camera, pose)})
    pixels = np.array([(1279.0, row) for row in range(420, 720)])
    for index in range(104, 112):
        labels = drive.frame(index).cameras['front'].labels[420:, 1279]
        np.testing.assert_array_equal(labels, _first_hit(drive, index, pixels, camera, pose))


def test_a_camera_that_looks_up_sees_houses_and_sky_only():
    up = Pose.mounted(1.6, 0.0, 1.4, 0.0, math.radians(-40.0), 0.0)
    view = Drive(1, {'up': (CAMERA, up)}, length_m=20.0).frame(3).cameras['up']
    assert (view.labels == OTHER).all()
    assert np.unique(view.image.reshape(-1, 3), axis=0).shape[0] > 100


def test_the_same_seed_gives_the_same_drive_in_any_order(drive):
    again = Drive(1, {'front': (CAMERA, POSE)}, length_m=60.0)
    later, first = again.frame(9), again.frame(2)
    for a, b in ((drive.frame(2), first), (drive.frame(9), later)):
        np.testing.assert_array_equal(a.cameras['front'].image, b.cameras['front'].image)
        np.testing.assert_array_equal(a.cameras['front'].labels, b.cameras['front'].labels)
    other = Drive(2, {'front': (CAMERA, POSE)}, length_m=60.0).frame(2)
    assert (other.cameras['front'].labels != first.cameras['front'].labels).any()


def test_solid_lines_are_painted_where_the_truth_says(drive):
    frame = drive.frame(0)
    labels = frame.cameras['front'].labels
    checked = 0
    for line in frame.lane_lines:
        points = np.column_stack([line.points_m, np.zeros(len(line.points_m))])
        distance = np.linalg.norm(line.points_m, axis=1)
        pixels, valid = CAMERA.project(POSE.inverse().transform(points))
        near = valid & (distance < 12) & (points[:, 0] > 4) & (np.abs(pixels - (160, 90)) < (158, 88)).all(axis=1)
        if line.kind == 'solid':
            checked += near.sum()
            assert (labels[tuple(np.rint(pixels[near]).astype(int).T[::-1])] == LANE_MARKING).all()
    assert checked > 5


def test_odometry_follows_the_drive(drive):
    poses = [drive.odom_from_vehicle(i / 10).translation_m for i in range(30)]
    steps = np.linalg.norm(np.diff(poses, axis=0), axis=1)
    np.testing.assert_allclose(steps, 0.8, atol=0.05)


def test_truth_hides_what_stands_behind_something(drive):
    """Walking along every ray on the truth grid, nothing is visible behind a solid as tall as the camera."""
    truth = drive.truth(3, COARSE)
    window = truth.window
    tall = [p for p in drive.placed(0.3) if p.solid.parts[0].z_max_m > 1.4]
    assert truth.visible.any()
    eye = np.array(POSE.translation_m[:2])
    hidden = 0
    for p in tall:
        centre = p.outlines_m[0].mean(axis=0)
        beyond = centre + (centre - eye) / np.linalg.norm(centre - eye) * (np.ptp(p.outlines_m[0], axis=0).max() + 0.5)
        column, row = ((beyond - (window.x_min_m, window.y_min_m)) / 0.4).astype(int)
        if 0 <= column < 100 and 0 <= row < 100:
            hidden += 1
            assert not truth.visible[row, column]
    assert hidden > 3


def test_visible_free_cells_show_road_in_the_picture(drive):
    truth, labels = drive.truth(3, COARSE), drive.frame(3).cameras['front'].labels
    row, column = np.nonzero(truth.cells == 0)
    points = np.column_stack([column * 0.4 + 0.2, row * 0.4 - 19.8, np.zeros(len(row))])
    pixels = np.rint(CAMERA.project(POSE.inverse().transform(points))[0]).astype(int)
    shown = labels[np.clip(pixels[:, 1], 0, 179), np.clip(pixels[:, 0], 0, 319)]
    near = points[:, 0] < 15
    assert np.isin(shown[near], (ROAD, LANE_MARKING)).mean() > 0.99


def test_a_long_wall_is_drawn_before_what_stands_in_front_of_its_far_end():
    """By distance of centres, or of nearest points, the wall would be drawn over the box."""
    wall = np.array([[2.0, 3.0], [40.0, 3.0], [40.0, 4.0], [2.0, 4.0]])
    box = np.array([[30.0, 2.4], [31.0, 2.4], [31.0, 2.9], [30.0, 2.9]])
    assert far_to_near([box, wall], np.zeros(2)) == [1, 0]
    assert far_to_near([wall, box], np.zeros(2)) == [0, 1]


def test_the_default_camera_looks_down_three_degrees():
    _, pose = default_camera()
    assert pose.rotation[2, 2] == pytest.approx(-math.sin(math.radians(3)))


@pytest.mark.parametrize('wrong', [{'cameras': {}}, {'rate_hz': 0.0}, {'length_m': 0.0}, {'length_m': 1e6}])
def test_an_impossible_drive_is_refused(wrong):
    with pytest.raises(ConfigError, match='a drive needs'):
        Drive(0, **wrong)
