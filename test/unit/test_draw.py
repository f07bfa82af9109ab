from typing import NamedTuple

import numpy as np
import pytest

from seg_perception import draw
from seg_perception.errors import ConfigError, FrameError
from seg_perception.labels import DEFAULT_LABELS, VOID

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
