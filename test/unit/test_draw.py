from typing import NamedTuple

import numpy as np
import pytest

from seg_perception import draw
from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import ConfigError, FrameError
from seg_perception.labels import DEFAULT_LABELS, VOID
from seg_perception.postprocess import Footprint, LaneLine, Lanes

ROAD, PAVEMENT, OTHER = 0, 2, 5


class Grid(NamedTuple):
    """The fields of an OccupancyGrid that a picture needs."""

    cells: np.ndarray
    resolution_m: float = 1.0
    origin_x_m: float = 1.0
    origin_y_m: float = 1.0
    frame: str = 'odom'


def test_overlay_blends_class_colours_and_leaves_the_rest():
    rgb = np.full((2, 4, 3), 100, np.uint8)
    labels = np.array([[ROAD, PAVEMENT, OTHER, VOID]] * 2, np.uint8)
    picture = draw.overlay(rgb, labels, DEFAULT_LABELS, alpha=0.5)
    assert picture[0].tolist() == [[114, 82, 114], [172, 68, 166], [100, 100, 100], [100, 100, 100]]
    assert (rgb == 100).all()


def test_overlay_takes_labels_of_another_size():
    rgb = np.zeros((4, 8, 3), np.uint8)
    picture = draw.overlay(rgb, np.array([[ROAD, OTHER]], np.uint8), DEFAULT_LABELS, alpha=1.0)
    assert (picture[:, :4] == (128, 64, 128)).all()
    assert (picture[:, 4:] == 0).all()


def test_overlay_refuses_bad_input():
    labels = np.zeros((2, 2), np.uint8)
    with pytest.raises(ConfigError, match='alpha is 2'):
        draw.overlay(np.zeros((2, 2, 3), np.uint8), labels, DEFAULT_LABELS, alpha=2)
    with pytest.raises(FrameError, match='uint8'):
        draw.overlay(np.zeros((2, 2), np.uint8), labels, DEFAULT_LABELS)


def test_grid_picture_has_forward_up_and_left_on_the_left():
    cells = np.full((4, 6), -1, np.int8)
    cells[3, 5] = 100
    cells[0, 5] = 0
    picture = draw.grid_picture(Grid(cells), height_px=120, tick_m=100.0)
    assert picture.shape == (120, 80, 3)
    assert tuple(picture[12, 10]) == draw.OCCUPIED_RGB
    assert tuple(picture[10, 70]) == draw.FREE_RGB
    assert tuple(picture[110, 70]) == draw.UNKNOWN_RGB


def test_grid_points_land_on_their_cells():
    cells = np.full((4, 6), -1, np.int8)
    cells[1, 2] = 100
    grid = Grid(cells)
    picture = draw.grid_picture(grid, height_px=120, tick_m=100.0)
    column, row = draw.grid_pixels(grid, np.array([[3.5, 2.5]]), 120)[0].round().astype(int)
    assert tuple(picture[row, column]) == draw.OCCUPIED_RGB
    assert (picture == draw.OCCUPIED_RGB).all(axis=2).sum() == 20 * 20


def test_vehicle_is_drawn_in_its_own_frame_only():
    cells = np.full((8, 8), -1, np.int8)

    def blue(frame):
        picture = draw.grid_picture(Grid(cells, 1.0, -4.0, -4.0, frame), height_px=160, tick_m=100.0)
        return (picture == draw.VEHICLE_RGB).all(axis=2).any()

    assert blue('vehicle')
    assert not blue('odom')


def test_grid_picture_refuses_a_zero_size():
    with pytest.raises(ConfigError, match='height_px 0'):
        draw.grid_picture(Grid(np.zeros((2, 2), np.int8)), height_px=0)


def lanes_at(*offsets_m):
    lines = tuple(
        LaneLine(i, np.array([y, 0.0, 0.0, 0.0]), np.eye(4), 4.0, 20.0, 16.0) for i, y in enumerate(offsets_m)
    )
    return Lanes(0, lines, lines[0], None, None, None, None, None)


def test_lane_lines_are_drawn_where_the_camera_sees_them():
    camera = CameraModel(100, 80, 100.0, 100.0, 49.5, 39.5)
    picture = np.zeros((160, 200, 3), np.uint8)
    draw.lane_lines(picture, lanes_at(1.0, -3.0), camera, Pose.mounted(0.0, 0.0, 1.5, 0.0, 0.0, 0.0))
    # 1 m left at 5 m: 200 px focal length gives 40 px left of and 60 px below the middle of (99.5, 79.5)
    assert picture[138:142, 58:62, 0].max() > 150
    assert picture[138:142, :56].max() == picture[138:142, 63:100].max() == 0
    assert (picture[:78] == 0).all()
    assert picture[90:, 130:, 2].max() > 150


def test_lane_lines_are_drawn_into_the_grid():
    grid = Grid(np.full((20, 30), -1, np.int8), 1.0, 0.0, -10.0, 'vehicle')
    picture = draw.grid_picture(grid, height_px=300, tick_m=100.0)
    draw.grid_things(picture, grid, lanes_at(3.0))
    assert (picture[150, 69:71] == draw.EGO_RGB).all(axis=1).any()
    draw.grid_things(picture, grid, lanes_at(3.0), (), Pose((0.0, -6.0, 0.0)))
    assert (picture[150, 129:131] == draw.EGO_RGB).all(axis=1).any()


def test_footprints_are_drawn_into_image_and_grid():
    camera = CameraModel(200, 160, 200.0, 200.0, 99.5, 79.5)
    found = (
        Footprint(3, np.array([[5.0, 1.0], [5.0, -1.0]]), True),
        Footprint(3, np.array([[-5.0, 0.0], [-5.0, 1.0]]), True),
    )
    picture = np.zeros((160, 200, 3), np.uint8)
    draw.footprints(picture, found, camera, Pose.mounted(0.0, 0.0, 1.5, 0.0, 0.0, 0.0))
    rows, columns = np.nonzero(picture.any(axis=2))
    assert (rows.min(), rows.max()) == (pytest.approx(139.5, abs=1.5), pytest.approx(139.5, abs=1.5))
    assert (columns.min(), columns.max()) == (pytest.approx(59.5, abs=1.5), pytest.approx(139.5, abs=1.5))
    grid = Grid(np.full((20, 30), -1, np.int8), 1.0, 0.0, -10.0, 'vehicle')
    above = draw.grid_picture(grid, height_px=300, tick_m=100.0)
    draw.grid_things(above, grid, Lanes(0, (), None, None, None, None, None, None), found)
    assert (above[249:251, 100] == draw.FOOTPRINT_RGB).all(axis=1).any()


def test_the_grid_has_a_line_every_ten_metres():
    grid = Grid(np.zeros((40, 40), np.int8), 1.0, 0.0, -20.0, 'odom')
    line = (draw.grid_picture(grid, height_px=400) != draw.FREE_RGB).any(axis=2)
    assert np.flatnonzero(line[350, 50:350]).tolist() == [50, 150, 250]
    assert np.flatnonzero(line[50:350, 350]).tolist() == [50, 150, 250]


def test_the_distances_of_the_grid_do_not_cover_each_other():
    grid = Grid(np.zeros((40, 40), np.int8), 1.0, 0.0, -20.0, 'odom')
    bright = (draw.grid_picture(grid, height_px=400) > 200).all(axis=2)
    along_x, along_y = bright[:, :44], bright[:14, 44:]
    assert [along_x[row - 14 : row].any() for row in (400, 300, 200, 100)] == [True] * 4
    assert [along_y[:, column - 44 : column - 4].any() for column in (100, 200, 300)] == [True] * 3
    assert not bright[14:, 44:].any()
