"""Evidence over cameras and time."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from seg_perception.camera import CameraModel, Pose
from seg_perception.grid import FREE, OCCUPIED, UNKNOWN, GridConfig, GridMapper, Observation
from seg_perception.grid.memory import OdomMemory
from seg_perception.labels import DEFAULT_LABELS

ROAD, VEHICLE, OTHER = 0, 3, 5
CAMERA = CameraModel(320, 180, 250.0, 250.0, 159.5, 89.5)
POSE = Pose.mounted(1.0, 0.0, 1.4, 0.0, math.radians(5.0), 0.0)
CONFIG = GridConfig(resolution_m=0.2, x_max_m=24.0, y_min_m=-8.0, y_max_m=8.0)
V, U = np.mgrid[0 : CAMERA.height, 0 : CAMERA.width]
RAYS = CAMERA.rays(np.column_stack([U.ravel(), V.ravel()]).astype(float))[0]
STILL = Pose((0.0, 0.0, 0.0))
OPEN = np.zeros((180, 320), np.uint8)


def paint(rule, pose=POSE):
    """Labels by a rule on ground coordinates (vehicle frame); above the horizon is `other`."""
    rays = RAYS @ pose.rotation.T
    down = rays[:, 2] < -1e-6
    scale = np.where(down, -pose.translation_m[2] / np.where(down, rays[:, 2], -1.0), 0.0)
    x, y = pose.translation_m[0] + scale * rays[:, 0], pose.translation_m[1] + scale * rays[:, 1]
    return np.where(down, rule(x, y), OTHER).astype(np.uint8).reshape(V.shape)


def observe(labels, stamp_s, odom=None, name='front', pose=POSE):
    sure = np.full_like(labels, 255)
    return Observation(name, round(stamp_s * 1e9), labels, sure, CAMERA, pose, odom)


def wall(distance):
    return paint(lambda x, y: np.where(x < distance, ROAD, VEHICLE))


def at(grid, x, y):
    """Cell values at positions of the grid's frame."""
    column = np.floor((np.asarray(x) - grid.origin_x_m) / grid.resolution_m).astype(int)
    row = np.floor((np.asarray(y) - grid.origin_y_m) / grid.resolution_m).astype(int)
    return grid.cells[row, column]


def planar(x, y, yaw):
    return Pose((x, y, 0.0), (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)))


def mapper():
    return GridMapper(CONFIG, DEFAULT_LABELS)


def test_the_window_moves_by_whole_cells_and_keeps_what_it_saw():
    """A wall at odom x = 12 stays there while the vehicle drives 3 m in uneven steps and turns."""
    m = mapper()
    corners = []
    for i, x in enumerate(np.linspace(0.0, 3.07, 12)):
        yaw = 0.01 * i
        odom = planar(x, 0.0, yaw)
        labels = paint(
            lambda a, b, x=x, yaw=yaw: np.where(x + a * math.cos(yaw) - b * math.sin(yaw) < 12.0, ROAD, VEHICLE)
        )
        grid = m.update([observe(labels, 0.1 * i, odom=odom)])
        corners.append((grid.origin_x_m, grid.origin_y_m))
    assert grid.frame == 'odom'
    np.testing.assert_allclose(np.array(corners) / 0.2, np.round(np.array(corners) / 0.2), atol=1e-6)
    assert corners[-1][0] > corners[0][0] + 2.5
    ahead = grid.cells[round((0.5 - grid.origin_y_m) / 0.2)]
    assert grid.origin_x_m + np.flatnonzero(ahead == OCCUPIED)[0] * 0.2 == pytest.approx(12.0, abs=0.4)
    assert (at(grid, np.arange(6.0, 11.0), 0.5) == FREE).all()


def test_ground_that_left_the_view_is_remembered_and_then_forgotten():
    m = mapper()
    for i in range(5):
        m.update([observe(OPEN, 0.1 * i, odom=STILL)])
    moved = planar(3.0, 0.0, 0.0)
    assert at(m.update([observe(OPEN, 0.5, odom=moved)]), 4.5, 0.1) == FREE  # now nearer than the picture's bottom
    assert at(m.update([observe(OPEN, 4.0, odom=moved)]), 4.5, 0.1) == UNKNOWN


def test_an_obstacle_counts_at_once_and_what_it_hides_is_no_longer_free():
    m = mapper()
    for i in range(10):
        m.update([observe(OPEN, 0.1 * i, odom=STILL)])
    grid = m.update([observe(wall(9.0), 1.0, odom=STILL)])
    assert (grid.cells[40, 45:48] == OCCUPIED).any()
    assert (grid.cells[40, 50:] != FREE).all()


@pytest.mark.parametrize('odom', [None, STILL])
def test_as_a_probability_too_what_is_hidden_or_forgotten_is_unknown(odom):
    """50 of 100 is half the cost of a wall to a planner, -1 is unknown."""
    m = GridMapper(replace(CONFIG, probabilities=True), DEFAULT_LABELS)
    for i in range(5):
        grid = m.update([observe(wall(9.0), 0.1 * i, odom=odom)])
    assert (at(grid, *np.meshgrid(np.arange(10.0, 16.0, 0.2), np.arange(-1.0, 1.0, 0.2))) == UNKNOWN).all()
    blind = np.full_like(OPEN, 255)
    for i in range(100):
        grid = m.update([observe(blind, 1.0 + 0.1 * i, odom=odom)])
    assert (grid.cells == UNKNOWN).all()


def test_evidence_halves_in_its_half_life_however_often_images_come():
    """Eight cameras out of step at 30 images/s: a change by less than half a count must not be lost each time."""
    memory = OdomMemory(GridConfig(resolution_m=2.0, half_life_s=60.0))
    memory.odds[:] = np.iinfo(np.int16).max
    for _ in range(120 * 240):
        memory.advance(STILL, 1 / 240)
    assert memory.odds.max() == pytest.approx(np.iinfo(np.int16).max / 4, rel=0.02)


def test_a_car_that_crosses_leaves_nothing_behind():
    """Two seconds after it passed, no cell is occupied, whether the place was seen again or not."""
    for looks_again in (True, False):
        m = mapper()
        for i in range(15):
            left = -6.0 + i * 0.8
            crossing = paint(lambda x, y, left=left: np.where((x > 8) & (y > left) & (y < left + 4), VEHICLE, ROAD))
            grid = m.update([observe(crossing, 0.1 * i, odom=STILL)])
        assert (grid.cells == OCCUPIED).any()
        for i in range(21):
            seen = OPEN if looks_again else np.full_like(OPEN, 255)
            grid = m.update([observe(seen, 1.5 + 0.1 * i, odom=STILL)])
        assert not (grid.cells == OCCUPIED).any()


def test_the_contact_of_something_still_gets_no_nearer_with_every_look():
    """Seen from a creeping vehicle, the first occupied cell stays within half a row of the truth."""
    m = mapper()
    for i in range(40):
        x = 0.05 * i
        grid = m.update(
            [observe(paint(lambda a, b, x=x: np.where(a + x < 16.0, ROAD, VEHICLE)), 0.1 * i, odom=planar(x, 0, 0))]
        )
    ahead = grid.cells[round((0.1 - grid.origin_y_m) / 0.2)]
    first = grid.origin_x_m + np.flatnonzero(ahead == OCCUPIED)[0] * 0.2
    assert first == pytest.approx(16.0, abs=0.35)


def test_a_place_seen_free_once_is_no_longer_occupied():
    """A car ahead drives off; nor is its place free at once."""
    m = mapper()
    for i in range(10):
        m.update([observe(wall(9.0), 0.1 * i, odom=STILL)])
    gone = at(m.update([observe(wall(12.0), 1.0, odom=STILL)]), np.arange(9.1, 10.5, 0.2), 0.1)
    assert (gone != OCCUPIED).all()
    assert (gone == UNKNOWN).any()


@pytest.mark.parametrize('odom', [STILL, None])
def test_something_far_and_aslant_seen_once_is_one_piece_without_gaps(odom):
    """Its contact steps down the pixel rows, each of them a metre of ground, by labels that are not quite sure."""
    labels = paint(lambda x, y: np.where((x > 20.0 + 0.6 * y) & (np.abs(y) < 3.0), VEHICLE, ROAD))
    seen = observe(labels, 0.0, odom)
    seen.confidence[:] = 205
    precision = [0.98, 0.98, 0.2, 0.1, 0.05, 0.05]
    grid = GridMapper(GridConfig(), DEFAULT_LABELS, precision).update([seen])
    pieces, _, stats, _ = cv2.connectedComponentsWithStats((grid.cells == OCCUPIED).astype(np.uint8))
    assert pieces == 2, stats  # one, and all the rest
    assert stats[1, cv2.CC_STAT_HEIGHT] * 0.1 == pytest.approx(6.0, abs=1.0)


@pytest.mark.parametrize('clear', ['reset', 'time jump'])
def test_reset_and_time_jump_forget_everything(clear):
    m = mapper()
    for i in range(5):
        m.update([observe(OPEN, 100 + 0.1 * i, odom=STILL)])
    blind = np.full_like(OPEN, 255)
    if clear == 'reset':
        m.reset()
        grid = m.update([observe(blind, 100.5, odom=STILL)])
    else:
        grid = m.update([observe(blind, 50.0, odom=STILL)])
        assert grid.stamp_ns == 50_000_000_000
    assert (grid.cells == UNKNOWN).all()


def test_cameras_slightly_out_of_step_are_no_time_jump():
    m = mapper()
    for i in range(5):
        m.update([observe(OPEN, 100 + 0.1 * i, odom=STILL)])
    grid = m.update([observe(np.full_like(OPEN, 255), 100.35, odom=STILL, name='late')])
    assert grid.stamp_ns == 100_400_000_000
    assert at(grid, 8.0, 0.1) == FREE


def test_without_odometry_a_camera_counts_until_it_is_stale():
    left, right = (Pose.mounted(1.0, 0.0, 1.4, 0.0, math.radians(5.0), math.radians(a)) for a in (25.0, -25.0))
    m = mapper()
    both = m.update([observe(OPEN, 0.0, name='left', pose=left), observe(OPEN, 0.0, name='right', pose=right)])
    assert (at(both, 8.0, [4.0, -4.0]) == FREE).all()
    assert (at(m.update([observe(OPEN, 0.1, name='left', pose=left)]), 8.0, [4.0, -4.0]) == FREE).all()
    stale = m.update([observe(OPEN, 0.3, name='left', pose=left)])
    assert at(stale, 8.0, 4.0) == FREE
    assert at(stale, 8.0, -4.0) == UNKNOWN


def test_losing_odometry_starts_over_in_the_vehicle_frame():
    m = mapper()
    m.update([observe(OPEN, 0.0, odom=planar(5.0, 1.0, 0.3))])
    grid = m.update([observe(OPEN, 0.1)])
    assert (grid.frame, grid.origin_x_m, grid.origin_y_m) == ('vehicle', 0.0, -8.0)
    np.testing.assert_array_equal(grid.cells, mapper().update([observe(OPEN, 0.1)]).cells)


def test_overlapping_cameras_add_up_without_a_seam():
    left, right = (Pose.mounted(1.0, 0.0, 1.4, 0.0, math.radians(5.0), math.radians(a)) for a in (15.0, -15.0))
    views = {'left': left, 'right': right}
    seen = [
        observe(paint(lambda x, y: np.where(x < 12.0, ROAD, VEHICLE), p), 0.0, name=n, pose=p) for n, p in views.items()
    ]
    both = mapper().update(seen).cells
    alone = [mapper().update([o]).cells for o in seen]
    for cells in alone:
        assert (both[cells == FREE] == FREE).mean() > 0.995  # a contact that one sees a row nearer may differ
    overlap = (alone[0] == FREE) & (alone[1] == FREE)
    assert overlap.sum() > 200
    assert (both[overlap] == FREE).all()
    union = (alone[0] == FREE) | (alone[1] == FREE)
    rows = slice(30, 50)
    assert (both[rows, 20:55][union[rows, 20:55]] == FREE).all()


def test_a_late_pose_for_the_window_moves_only_the_window():
    m = mapper()
    grid = m.update([observe(wall(10.0), 0.0, odom=STILL)], planar(2.0, 0.0, 0.0))
    assert grid.origin_x_m == pytest.approx(2.0)
    assert at(grid, 8.0, 0.1) == FREE
    assert (at(grid, [10.1, 10.3], 0.1) == OCCUPIED).any()
