"""The look-up tables of a view: at its border, for tiny views, for cameras that see nothing."""

import math

import numpy as np
import pytest

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import CameraError
from seg_perception.grid import FREE, OCCUPIED, GridConfig, GridMapper, Observation, visibility
from seg_perception.labels import DEFAULT_LABELS

CAMERA = CameraModel(320, 180, 250.0, 250.0, 159.5, 89.5)
POSE = Pose.mounted(0.0, 0.0, 1.4, 0.0, math.radians(4), 0.0)
ROAD, VEHICLE = 0, 3


def wall_at(distance_m: float) -> np.ndarray:
    labels = np.full((180, 320), VEHICLE, np.uint8)
    foot = CAMERA.project(POSE.inverse().transform(np.array([[distance_m, 0.0, 0.0]])))[0][0, 1]
    labels[math.ceil(foot) :] = ROAD
    return labels


def observation(labels: np.ndarray, stamp_s: float, yaw: float) -> Observation:
    sure = np.full(labels.shape, 255, np.uint8)
    odom = Pose((0.0, 0.0, 0.0), (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)))
    return Observation('front', round(stamp_s * 1e9), labels, sure, CAMERA, POSE, odom)


@pytest.mark.parametrize('yaw', np.linspace(-3.0, 3.0, 7))
def test_nothing_behind_a_wall_is_free_whatever_the_heading(yaw: float) -> None:
    mapper = GridMapper(GridConfig(), DEFAULT_LABELS)
    for i in range(3):
        grid = mapper.update([observation(wall_at(8.0), i * 0.1, yaw)])
    y, x = np.nonzero(grid.cells == FREE)
    x_m, y_m = grid.origin_x_m + (x + 0.5) * 0.1, grid.origin_y_m + (y + 0.5) * 0.1
    ahead_m = math.cos(yaw) * x_m + math.sin(yaw) * y_m
    assert len(x) > 100
    assert ahead_m.max() < 8.2


@pytest.mark.parametrize(
    'config',
    [
        GridConfig(resolution_m=5.0, max_row_m=0.02),
        GridConfig(x_max_m=0.2, y_min_m=-0.1, y_max_m=0.1),
        GridConfig(max_row_m=0.03),
    ],
)
def test_a_view_of_a_few_cells_gives_a_grid_or_a_clear_refusal(config: GridConfig) -> None:
    for height_m in (0.06, 0.3, 1.4, 5.0):
        pose = Pose.mounted(0.0, 0.0, height_m, 0.0, math.radians(4), 0.0)
        try:
            grid = GridMapper(config, DEFAULT_LABELS).update(
                [observation(wall_at(8.0), 0.0, 0.0)._replace(vehicle_from_camera=pose)]
            )
            assert grid.cells.shape == (config.rows, config.columns)
        except CameraError as error:
            assert 'no ground' in str(error)  # noqa: PT017


def test_a_camera_that_sees_nothing_is_refused_without_building_its_tables_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    up = observation(wall_at(8.0), 0.0, 0.0)._replace(vehicle_from_camera=Pose.mounted(0, 0, 1.23, 0, -1.5, 0))
    mapper = GridMapper(GridConfig(), DEFAULT_LABELS)
    assert 'no ground' in str(mapper.check([up])['front'])
    monkeypatch.setattr(visibility, '_build_view', lambda *_: pytest.fail('built again'))
    assert 'no ground' in str(mapper.check([up])['front'])


@pytest.mark.parametrize('yaw', [0.0, math.pi / 4, math.pi / 2, 3.0])
def test_a_long_window_reaches_as_far_ahead_at_every_heading(yaw: float) -> None:
    config = GridConfig(x_max_m=40.0, y_min_m=-10.0, y_max_m=10.0)
    mapper = GridMapper(config, DEFAULT_LABELS)
    for i in range(4):
        grid = mapper.update([observation(wall_at(12.0), i * 0.1, yaw)])
    assert grid.free_ahead_m == pytest.approx(12.0, abs=0.6)


def test_odometry_that_starts_over_forgets_what_now_lies_elsewhere() -> None:
    mapper = GridMapper(GridConfig(), DEFAULT_LABELS)
    far = Pose((10.0, 0.0, 0.0), (0.0, 0.0, math.sin(math.pi / 4), math.cos(math.pi / 4)))
    mapper.update([observation(wall_at(12.0), 0.0, 0.0)._replace(odom_from_vehicle=far)])
    blind = observation(np.full((180, 320), 255, np.uint8), 0.1, 0.0)
    assert (mapper.update([blind]).cells == -1).all()


def test_a_camera_with_another_clock_does_not_wipe_the_others_grid() -> None:
    mapper = GridMapper(GridConfig(), DEFAULT_LABELS)
    late = observation(wall_at(12.0), 0.0, 0.0)._replace(camera='left')
    for i in range(3):
        grid = mapper.update([observation(wall_at(12.0), 5.0 + i * 0.1, 0.0)])
        with pytest.raises(CameraError, match=r"'left'.*5\.\d s behind the other cameras"):
            mapper.update([late])
    assert grid.free_ahead_m == pytest.approx(12.0, abs=0.6)


def test_a_camera_that_lags_adds_what_it_saw_and_moves_nothing_else() -> None:
    """At 20 m/s a camera 0.3 s late was 6 m further back: neither the window nor the free distance goes there."""

    def at(seconds: float, camera: str) -> Observation:
        x_m = 20 * seconds
        labels = wall_at(30.0 - x_m)
        return observation(labels, 1 + seconds, 0.0)._replace(
            camera=camera, odom_from_vehicle=Pose((x_m, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
        )

    mapper, alone = (GridMapper(GridConfig(), DEFAULT_LABELS) for _ in range(2))
    for i in range(10):
        expected = alone.update([at(i * 0.1, 'front')])
        on_time = mapper.update([at(i * 0.1, 'front')])
        late = mapper.update([at(max(0.0, i * 0.1 - 0.3), 'late')])
        assert late.stamp_ns == on_time.stamp_ns
        assert (late.origin_x_m, late.origin_y_m) == (expected.origin_x_m, expected.origin_y_m)
        assert late.free_ahead_m == pytest.approx(expected.free_ahead_m, abs=0.5)
        assert (late.cells == FREE).sum() > 1000


def test_a_recording_of_two_cameras_that_starts_over_is_followed() -> None:
    mapper = GridMapper(GridConfig(), DEFAULT_LABELS)
    for name in ('front', 'left'):
        mapper.update([observation(wall_at(12.0), 60.0, 0.0)._replace(camera=name)])
    with pytest.raises(CameraError, match='behind'):
        mapper.update([observation(wall_at(6.0), 0.0, 0.0)])
    mapper.update([observation(wall_at(6.0), 0.0, 0.0)._replace(camera='left')])
    grid = mapper.update([observation(wall_at(6.0), 0.1, 0.0)])
    assert grid.stamp_ns == 100_000_000


def test_free_distance_needs_known_ground_near_the_vehicle() -> None:
    unsure_near = observation(wall_at(12.0), 0.0, 0.0)
    near = CAMERA.project(POSE.inverse().transform(np.array([[8.0, 0.0, 0.0]])))[0][0, 1]
    unsure_near.confidence[math.ceil(near) :] = 0
    assert math.isnan(GridMapper(GridConfig(), DEFAULT_LABELS).update([unsure_near]).free_ahead_m)


def test_a_corridor_narrower_than_a_cell_still_sees_the_obstacle() -> None:
    mapper = GridMapper(GridConfig(resolution_m=0.4, corridor_width_m=0.1), DEFAULT_LABELS)
    assert mapper.update([observation(np.full((180, 320), VEHICLE, np.uint8), 0.0, 0.0)]).free_ahead_m < 5.0


def pole_at(x_m: float, y_m: float, width_m: float) -> np.ndarray:
    """A pole that stands on open road and reaches to the picture's top."""
    labels = np.full((180, 320), ROAD, np.uint8)
    ends = np.array([[x_m, y_m + width_m / 2, 0.0], [x_m, y_m - width_m / 2, 0.0]])
    (left, foot), (right, _) = CAMERA.project(POSE.inverse().transform(ends))[0]
    labels[: math.ceil(foot), math.floor(left) : math.ceil(right) + 1] = VEHICLE
    return labels


@pytest.mark.parametrize('x_m', [6.02, 6.2, 6.5, 6.8, 7.0])
@pytest.mark.parametrize('with_odometry', [True, False])
def test_a_pole_narrower_than_a_cell_is_not_missed_between_centres(x_m: float, with_odometry: bool) -> None:
    seen = observation(pole_at(x_m, 0.06, 0.08), 0.0, 0.0)
    if not with_odometry:
        seen = seen._replace(odom_from_vehicle=None)
    grid = GridMapper(GridConfig(resolution_m=1.0, x_max_m=20.0, y_min_m=-10.0, y_max_m=10.0), DEFAULT_LABELS).update(
        [seen]
    )
    row, column = np.nonzero(grid.cells == OCCUPIED)
    assert len(row) > 0
    assert (abs(grid.origin_x_m + column + 0.5 - x_m) <= 1.6).all()
    assert (abs(grid.origin_y_m + row + 0.5) <= 1.0).all()


@pytest.mark.parametrize('with_odometry', [True, False])
def test_an_obstacle_whose_edge_is_uncertain_is_occupied_at_that_edge(with_odometry: bool) -> None:
    seen = observation(wall_at(14.0), 0.0, 0.0)
    foot = math.ceil(CAMERA.project(POSE.inverse().transform(np.array([[14.0, 0.0, 0.0]])))[0][0, 1])
    seen.confidence[foot - 2 : foot + 1] = 110
    if not with_odometry:
        seen = seen._replace(odom_from_vehicle=None)
    grid = GridMapper(GridConfig(), DEFAULT_LABELS).update([seen])
    row = round(-grid.origin_y_m / 0.1)
    occupied = grid.origin_x_m + np.flatnonzero(grid.cells[row] == OCCUPIED) * 0.1
    assert occupied.min() == pytest.approx(14.0, abs=0.5)  # a pixel row is 0.57 m there


def test_half_sure_road_at_the_foot_of_an_obstacle_is_not_free_and_elsewhere_is() -> None:
    seen = observation(wall_at(14.0), 0.0, 0.0)
    seen.confidence[:] = 200
    row = slice(195, 205)
    half_sure = GridMapper(GridConfig(), DEFAULT_LABELS).update([seen._replace(odom_from_vehicle=None)]).cells[row]
    seen.confidence[:] = 255
    sure = GridMapper(GridConfig(), DEFAULT_LABELS).update([seen._replace(odom_from_vehicle=None)]).cells[row]
    assert (half_sure[:, 50:122] == FREE).all()
    assert (half_sure[:, 130:140] != FREE).all()  # a pixel row is 0.57 m there
    assert (sure[:, 130:135] == FREE).all()


def test_a_pose_that_trembles_costs_no_new_tables_and_a_moved_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    build = visibility._build_view
    monkeypatch.setattr(visibility, '_build_view', lambda *a: (built.append(a), build(*a))[1])
    mapper = GridMapper(GridConfig(resolution_m=0.3), DEFAULT_LABELS)
    rng = np.random.default_rng(0)
    for i in range(20):
        x, y, z, pitch = (0.0005 * rng.standard_normal() for _ in range(4))
        pose = Pose.mounted(x, y, 1.37 + z, 0.0, math.radians(4) + 0.05 * pitch, 0.0)
        if i % 2:
            pose = Pose(pose.translation_m, tuple(-q for q in pose.quaternion))
        mapper.update([observation(wall_at(8.0), i * 0.1, 0.0)._replace(vehicle_from_camera=pose)])
    assert len(built) == 1
    moved = Pose.mounted(0.0, 0.0, 1.37, 0.0, math.radians(4.2), 0.0)
    mapper.update([observation(wall_at(8.0), 3.0, 0.0)._replace(vehicle_from_camera=moved)])
    assert len(built) == 2


@pytest.mark.parametrize('yaw', np.linspace(-3.0, 3.0, 5))
def test_a_wide_low_camera_has_a_grid_at_every_heading(yaw: float) -> None:
    """Its farthest pixel row covers more ground than the tables' margin."""
    camera = CameraModel(384, 256, 149.0, 149.0, 191.5, 127.5)
    labels, sure = np.zeros((256, 384), np.uint8), np.full((256, 384), 255, np.uint8)
    odom = Pose((10.0, 3.0, 0.0), (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)))
    mounted = Pose.mounted(2.4, 1.0, 0.76, 0.0, 0.34, 0.0)
    grid = GridMapper(GridConfig(), DEFAULT_LABELS).update(
        [Observation('front', 1, labels, sure, camera, mounted, odom)]
    )
    assert (grid.cells == FREE).sum() > 1000
