"""The grid on label images painted by hand: what is seen, what is hidden, what is refused."""

import math

import numpy as np
import pytest

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import CameraError, ConfigError
from seg_perception.grid import FREE, OCCUPIED, UNKNOWN, GridConfig, GridMapper, Observation, ground_points
from seg_perception.labels import DEFAULT_LABELS, VOID

ROAD, MARKING, PAVEMENT, VEHICLE, OTHER = 0, 1, 2, 3, 5
CAMERA = CameraModel(320, 180, 250.0, 250.0, 159.5, 89.5)
POSE = Pose.mounted(1.0, 0.0, 1.4, 0.0, math.radians(5.0), 0.0)
CONFIG = GridConfig(resolution_m=0.2, x_max_m=24.0, y_min_m=-8.0, y_max_m=8.0)


def paint(rule, camera=CAMERA, pose=POSE):
    """Labels by a rule on ground coordinates (vehicle frame); above the horizon is `other`."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    rays = camera.rays(np.column_stack([u.ravel(), v.ravel()]).astype(float))[0] @ pose.rotation.T
    down = rays[:, 2] < -1e-6
    scale = np.where(down, -pose.translation_m[2] / np.where(down, rays[:, 2], -1.0), 0.0)
    x, y = pose.translation_m[0] + scale * rays[:, 0], pose.translation_m[1] + scale * rays[:, 1]
    return np.where(down, rule(x, y), OTHER).astype(np.uint8).reshape(v.shape)


def observe(labels, stamp_s=0.0, confidence=255, odom=None, name='front', camera=CAMERA, pose=POSE):
    certainty = np.broadcast_to(np.asarray(confidence, np.uint8), labels.shape)
    return Observation(name, round(stamp_s * 1e9), labels, np.ascontiguousarray(certainty), camera, pose, odom)


def grid_of(labels, config=CONFIG, **kwargs):
    return GridMapper(config, DEFAULT_LABELS).update([observe(labels, **kwargs)])


def at(grid, x, y):
    """Cell values at positions of the grid's frame."""
    column = np.floor((np.asarray(x) - grid.origin_x_m) / grid.resolution_m).astype(int)
    row = np.floor((np.asarray(y) - grid.origin_y_m) / grid.resolution_m).astype(int)
    return grid.cells[row, column]


def wall(distance):
    """Everything at or beyond a distance ahead is the face of something tall."""
    return paint(lambda x, y: np.where(x < distance, ROAD, VEHICLE))


def test_open_road_is_free_in_view_and_unknown_elsewhere():
    grid = grid_of(np.zeros((180, 320), np.uint8))
    assert grid.cells.shape == (80, 120)
    assert (grid.origin_x_m, grid.origin_y_m, grid.frame) == (0.0, -8.0, 'vehicle')
    assert (at(grid, np.arange(5.1, 20.0), 0.1) == FREE).all()
    assert (at(grid, 6.0, [-6.0, 6.0]) == UNKNOWN).all()  # outside the picture's sides
    assert (at(grid, [0.1, 1.0, 2.0], 0.1) == UNKNOWN).all()  # nearer than the picture's bottom
    assert (grid.cells != OCCUPIED).all()


@pytest.mark.parametrize('distance', [6.0, 11.0, 17.0])
def test_an_obstacle_is_at_its_contact_and_hides_what_is_behind(distance):
    row_m = (distance - 1.0) ** 2 / (1.4 * 250)
    grid = grid_of(wall(distance))
    ahead = grid.cells[40]
    first = grid.origin_x_m + np.flatnonzero(ahead == OCCUPIED)[0] * 0.2
    last_free = grid.origin_x_m + (np.flatnonzero(ahead == FREE)[-1] + 1) * 0.2
    assert first == pytest.approx(distance, abs=0.5 * row_m + 0.2)
    assert last_free <= distance + 0.1
    assert last_free >= distance - 1.5 * row_m - 0.5
    behind = ahead[math.ceil((distance + 0.5 * row_m + 0.8) / 0.2) :]
    assert (behind == UNKNOWN).all()


@pytest.mark.parametrize('side_m', [1.45, 1.5, 1.56, 1.62])
def test_the_side_of_a_lorry_seen_aslant_fills_the_cells_it_covers_and_not_those_it_touches(side_m):
    odom = Pose((0.03, 0.07, 0.0), (0.0, 0.0, 0.1, math.sqrt(0.99)))
    labels = paint(lambda x, y: np.where((y > side_m) & (x > 6), VEHICLE, ROAD))
    grid = grid_of(labels, GridConfig(**_window() | {'resolution_m': 0.1}), odom=odom)
    row, column = np.nonzero(grid.cells == OCCUPIED)
    centres = np.column_stack([grid.origin_x_m + (column + 0.5) * 0.1, grid.origin_y_m + (row + 0.5) * 0.1, 0.0 * row])
    x, y, _ = odom.inverse().transform(centres).T
    beside = (x > 7) & (x < 12)
    assert beside.sum() > 20
    assert np.sort(y[beside])[:5].mean() > side_m - 0.025


def test_lane_markings_are_drivable():
    grid = grid_of(paint(lambda x, y: np.where(np.abs(y) < 0.3, MARKING, ROAD)))
    assert (at(grid, np.arange(5.1, 15.0), 0.1) == FREE).all()


def test_pavement_is_occupied_and_seen_across():
    grid = grid_of(paint(lambda x, y: np.where((x > 7) & (x < 9), PAVEMENT, ROAD)))
    assert (at(grid, [7.5, 8.0, 8.5], 0.1) == OCCUPIED).all()
    assert (at(grid, [6.0, 10.0, 12.0], 0.1) == FREE).all()


def test_uncertain_pixels_are_unknown_and_block_nothing():
    confidence = np.where(paint(lambda x, y: (x > 7) & (x < 9)) == 1, 100, 255)
    grid = grid_of(np.zeros((180, 320), np.uint8), confidence=confidence)
    assert (at(grid, [7.5, 8.0, 8.5], 0.1) == UNKNOWN).all()
    assert (at(grid, [6.0, 10.0, 12.0], 0.1) == FREE).all()


@pytest.mark.parametrize('value', [VOID, 77])
def test_void_and_foreign_labels_are_never_free(value):
    grid = grid_of(np.full((180, 320), value, np.uint8))
    assert (grid.cells == UNKNOWN).all()


def test_an_obstacle_cut_off_by_the_pictures_bottom_still_blocks():
    """Something right before the bumper fills the middle columns down to the last row."""
    labels = np.zeros((180, 320), np.uint8)
    labels[60:, 140:180] = VEHICLE
    grid = grid_of(labels)
    ahead = grid.cells[39:41]
    assert (ahead != FREE).all()
    occupied = np.flatnonzero((ahead == OCCUPIED).any(axis=0)) * 0.2
    view_begins = 1.0 + 1.4 / math.tan(math.radians(5.0) + math.atan(90 / 250))
    assert occupied.max() < view_begins + 0.2  # the contact is nearer than anything seen
    assert at(grid, 8.0, 2.0) == FREE


def test_cells_coarser_than_a_row_are_unknown():
    """A row covers r^2 / (h f) metres: 0.5 m at 13 m from this camera."""
    grid = grid_of(np.zeros((180, 320), np.uint8), GridConfig(**_window(), max_row_m=0.5))
    ahead = grid.cells[40]
    assert 1.0 + math.sqrt(0.5 * 1.4 * 250) == pytest.approx((np.flatnonzero(ahead == FREE)[-1] + 1) * 0.2, abs=0.7)


def _window():
    return {'resolution_m': 0.2, 'x_max_m': 24.0, 'y_min_m': -8.0, 'y_max_m': 8.0}


def test_pitch_and_roll_of_the_mounting_are_used():
    pose = Pose.mounted(1.0, 0.3, 1.2, math.radians(4.0), math.radians(-1.0), math.radians(6.0))
    labels = paint(lambda x, y: np.where(x < 9.0, ROAD, VEHICLE), pose=pose)
    grid = grid_of(labels, pose=pose)
    for row in (30, 40, 50):
        assert np.flatnonzero(grid.cells[row] == OCCUPIED)[0] * 0.2 == pytest.approx(9.0, abs=0.35)


def test_what_the_distortion_folds_over_is_not_used():
    folding = CameraModel(320, 180, 125.0, 125.0, 159.5, 89.5, 'plumb_bob', (-0.5, 0.0, 0.0, 0.0))
    grid = grid_of(np.zeros((180, 320), np.uint8), camera=folding)
    row, column = np.nonzero(grid.cells != UNKNOWN)
    points = np.column_stack([column * 0.2 + 0.1, row * 0.2 - 7.9, np.zeros(len(row))])
    optical = POSE.inverse().transform(points)
    angle = np.arctan2(np.hypot(optical[:, 0], optical[:, 1]), optical[:, 2])
    assert len(row) > 100
    assert angle.max() < math.atan(math.sqrt(2 / 3)) + 0.03


def test_probabilities():
    grid = grid_of(wall(8.0), GridConfig(**_window(), probabilities=True))
    assert 0 <= at(grid, 5.1, 0.1) < 20
    assert at(grid, 8.1, 0.1) > 80
    assert at(grid, 15.0, 0.1) == UNKNOWN


def test_a_useless_class_is_unknown():
    """A class that is drivable half of the time says nothing."""
    mapper = GridMapper(CONFIG, DEFAULT_LABELS, [0.5, 0.95, 0.1, 0.02, 0.02, 0.05])
    assert (mapper.update([observe(np.zeros((180, 320), np.uint8))]).cells == UNKNOWN).all()
    with pytest.raises(ConfigError, match='one per class'):
        GridMapper(CONFIG, DEFAULT_LABELS, [0.9, 0.1])


def test_free_distance_ahead():
    assert grid_of(wall(11.0)).free_ahead_m == pytest.approx(11.0, abs=0.8)
    assert math.isnan(grid_of(np.full((180, 320), VOID, np.uint8)).free_ahead_m)
    near = np.zeros((180, 320), np.uint8)
    near[60:] = VEHICLE
    assert grid_of(near).free_ahead_m < 4.1


@pytest.mark.parametrize('odom', [None, Pose((3.0, 0.0, 0.0))])
def test_a_window_behind_the_vehicle_has_a_grid_and_no_free_distance(odom):
    behind = GridConfig(resolution_m=0.2, x_min_m=-10.0, x_max_m=-1.4, y_min_m=-3.0, y_max_m=16.0)
    left = Pose.mounted(-0.5, 0.0, 1.4, 0.0, 0.2, math.pi / 2)
    grid = grid_of(np.full((CAMERA.height, CAMERA.width), PAVEMENT, np.uint8), behind, pose=left, odom=odom)
    assert (grid.cells == OCCUPIED).sum() > 100
    assert math.isnan(grid.free_ahead_m)


def test_ground_points_carry_label_and_place():
    labels = paint(lambda x, y: np.where(x > 9, VEHICLE, np.where(y > 1, PAVEMENT, ROAD)))
    points = ground_points(observe(labels), CONFIG, DEFAULT_LABELS)
    x, y, z, label = (points[name] for name in ('x', 'y', 'z', 'label'))
    assert (z == 0).all()
    assert (label[(x < 8) & (y > 1.2)] == PAVEMENT).all()
    assert (label[(x < 8) & (y < 0.8)] == ROAD).all()
    assert x.max() < 9.9
    assert set(label) == {ROAD, PAVEMENT, VEHICLE}
    assert (points['confidence'] == 255).all()


@pytest.mark.parametrize(
    ('pose', 'message'),
    [
        (Pose.mounted(1, 0, -0.2, 0, 0, 0), 'above the ground'),
        (Pose.mounted(1, 0, 1.4, 0, math.radians(-60), 0), 'sees no ground'),
        (Pose.mounted(1, 0, 1.4, 0, 0, math.radians(180)), 'sees no ground'),
    ],
)
def test_a_camera_that_cannot_see_ground_is_refused_and_changes_nothing(pose, message):
    mapper = GridMapper(CONFIG, DEFAULT_LABELS)
    labels = np.zeros((180, 320), np.uint8)
    before = mapper.update([observe(labels, 0.0)])
    with pytest.raises(CameraError, match=message):
        mapper.update([observe(labels, 0.05), observe(labels, 0.05, name='bad', pose=pose)])
    assert list(mapper.check([observe(labels, 0.05), observe(labels, 0.05, name='bad', pose=pose)])) == ['bad']
    np.testing.assert_array_equal(mapper.update([observe(labels, 0.05)]).cells, before.cells)


def test_labels_of_another_size_than_the_camera_are_refused():
    with pytest.raises(CameraError, match='size of its camera model'):
        grid_of(np.zeros((90, 160), np.uint8))
    with pytest.raises(CameraError, match='at least one'):
        GridMapper(CONFIG, DEFAULT_LABELS).update([])
    whole = observe(np.zeros((180, 320), np.uint8), 0.0)
    with pytest.raises(CameraError, match='as in camera_info'):
        ground_points(
            whole._replace(labels=whole.labels[:, :160], confidence=whole.confidence[:, :160]), CONFIG, DEFAULT_LABELS
        )
    with pytest.raises(CameraError, match='one size'):
        ground_points(whole._replace(confidence=whole.confidence[:90]), CONFIG, DEFAULT_LABELS)
    mapper = GridMapper(CONFIG, DEFAULT_LABELS)
    mapper.update([whole])
    with pytest.raises(CameraError, match='expected one size'):
        ground_points(whole._replace(labels=whole.labels[:90]), CONFIG, DEFAULT_LABELS, mapper.visible[whole.camera])


@pytest.mark.parametrize(
    'wrong',
    [
        {'resolution_m': 0.0},
        {'resolution_m': 0.001},
        {'resolution_m': 1000.0},
        {'x_max_m': 0.0},
        {'x_max_m': math.nan},
        {'min_confidence': 1.0},
        {'free_probability': 0.5},
        {'half_life_s': 0.0},
        {'pitch_sigma_rad': -0.1},
    ],
)
def test_an_absurd_grid_is_refused(wrong):
    with pytest.raises(ConfigError, match=r'grid'):
        GridConfig(**wrong)
