"""Message conversion without a running node."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image

from seg_perception.errors import FrameError
from seg_perception.grid import OccupancyGrid
from seg_perception.ros import convert
from seg_perception.ros.status import LOG_PERIOD_S, CameraStatus, Problems


@pytest.mark.parametrize('big_endian', [0, 1])
def test_packed_and_padded_images_are_views_of_the_message(big_endian):
    message = Image(height=2, width=3, encoding='mono8', step=4, is_bigendian=big_endian)
    message.data = [1, 2, 3, 99, 4, 5, 6, 99]
    np.testing.assert_array_equal(convert.image(message).pixels, [[1, 2, 3], [4, 5, 6]])
    message.step, message.data = 3, [1, 2, 3, 4, 5, 6]
    picture = convert.image(message)
    np.testing.assert_array_equal(picture.pixels, [[1, 2, 3], [4, 5, 6]])
    message.data[0] = 7
    assert picture.pixels[0, 0] == 7


def test_big_endian_flag_of_8_bit_images_is_ignored():
    message = Image(height=1, width=2, encoding='bgr8', step=6, is_bigendian=1)
    message.data = [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(convert.image(message).pixels, [[[1, 2, 3], [4, 5, 6]]])


def test_zero_size_is_refused():
    with pytest.raises(FrameError, match='expected a positive size'):
        convert.image(Image(encoding='bgr8'))


def test_region_and_binning_of_camera_info():
    """A 100x50 region at (10, 20) of a 200x100 sensor, binned by 2: the centre moves with it, then halves."""
    info = CameraInfo(width=200, height=100, k=[80.0, 0.0, 99.5, 0.0, 80.0, 49.5, 0.0, 0.0, 1.0])
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 10, 20, 100, 50
    info.binning_x = info.binning_y = 2
    model = convert.camera_model(info)
    assert (model.width, model.height, model.fx, model.cx, model.cy) == (50, 25, 40.0, 44.5, 14.5)
    info.p = [80.0, 0.0, 105.5, 8.0, 0.0, 80.0, 47.5, 0.0, 0.0, 0.0, 1.0, 0.0]  # rectified: 6 right, 2 up
    out = CameraInfo()
    convert.fill_camera_info(out, model, info)
    assert (out.width, out.height, out.binning_x, out.roi.width) == (50, 25, 0, 0)
    assert out.p.tolist() == [40.0, 0.0, 47.5, 4.0, 0.0, 40.0, 13.5, 0.0, 0.0, 0.0, 1.0, 0.0]


def test_grid_message_is_row_major_from_the_corner():
    cells = np.array([[0, 100, -1], [-1, -1, 0]], np.int8)
    grid = OccupancyGrid(cells, 0.5, 1.0, -2.0, 'odom', 3_000_000_007, 4.0)
    message = convert.GridOut('base_link', 'odom').fill(grid, -0.3)
    assert (message.info.width, message.info.height, message.info.resolution) == (3, 2, 0.5)
    assert list(message.data) == [0, 100, -1, -1, -1, 0]
    assert (message.header.frame_id, message.header.stamp) == ('odom', Time(sec=3, nanosec=7))
    corner = message.info.origin.position
    assert (corner.x, corner.y, corner.z) == (1.0, -2.0, 0.0)


def test_grid_of_the_vehicle_lies_on_the_ground():
    grid = OccupancyGrid(np.zeros((1, 1), np.int8), 0.5, 1.0, -2.0, 'vehicle', 1, 4.0)
    out = convert.GridOut('base_link', 'odom')
    corner = out.fill(grid, -0.3).info.origin.position
    assert (corner.x, corner.y, corner.z) == (1.0, -2.0, -0.3)
    assert out.unknown(Time(sec=2)).info.origin.position.z == -0.3
    assert out.fill(grid._replace(frame='odom'), -0.3).info.origin.position.z == 0.0


def test_withdrawn_grid_keeps_its_place_and_knows_nothing():
    out = convert.GridOut('base_link', 'odom')
    assert out.unknown(Time(sec=9)) is None
    out.fill(OccupancyGrid(np.zeros((2, 2), np.int8), 0.5, 1.0, -2.0, 'vehicle', 0, 4.0), 0.0)
    message = out.unknown(Time(sec=9))
    assert list(message.data) == [-1] * 4
    assert (message.header.frame_id, message.header.stamp.sec) == ('base_link', 9)


def test_a_problem_is_counted_always_and_said_once_in_a_while(monkeypatch):
    lines, now_s = [], [100.0]
    monkeypatch.setattr('seg_perception.ros.status.time.monotonic', lambda: now_s[0])
    problems = Problems(lines.append, ('bad_image',))
    for _ in range(50):
        problems.report('bad_image', 'short data')
    assert (lines, problems.counts['bad_image']) == (['short data'], 50)
    assert problems.current == {'bad_image': 'short data'}
    now_s[0] += LOG_PERIOD_S
    problems.report('bad_image', 'short data')
    assert len(lines) == 2
    problems.clear('bad_image')
    assert problems.current == {}


def test_age_percentiles():
    status = CameraStatus('front', print)
    assert np.isnan(status.age_percentiles_ms()).all()
    for age in range(101):
        status.processed(float(age))
    assert status.age_percentiles_ms() == (50.0, 99.0)
