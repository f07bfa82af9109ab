"""Lane lines from label images whose markings are known exactly."""

import math

import cv2
import numpy as np
import pytest

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import CameraError, ConfigError
from seg_perception.grid import Observation
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.postprocess import LaneConfig, LaneTracker
from seg_perception.postprocess.ground import ground_table

ROAD, LANE, VEHICLE, OTHER = 0, 1, 3, 5
CAMERA = CameraModel(480, 320, 434.0, 512.0, 251.0, 172.0, 'plumb_bob', (-0.26, 0.07, 0.0, 0.0, -0.14))
MOUNT = Pose.mounted(0.0, 0.0, 1.2, 0.0, -0.02, 0.0)
SOLID = (1000.0, 0.0)
DASHES = (3.0, 6.0)


def street(lines, camera=CAMERA, mount=MOUNT, odom=None, width_m=0.15):
    """Labels of a road with `lines`: (coefficients of y(x), (dash, gap) in metres), in the frame that `odom` starts in."""
    table = ground_table(camera, mount)
    x, y = table.x_m.astype(float), table.y_m.astype(float)
    if odom is not None:
        moved = odom.transform(np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]))
        x, y = moved[:, 0].reshape(x.shape), moved[:, 1].reshape(x.shape)
    labels = np.where(np.isnan(x), OTHER, ROAD).astype(np.uint8)
    for coefficients, (dash, gap) in lines:
        painted = np.abs(y - np.polynomial.polynomial.polyval(x, coefficients)) < width_m / 2
        labels[painted & (np.mod(np.nan_to_num(x), dash + gap) < dash)] = LANE
    return labels


def observe(labels, stamp_ns=0, odom=None, camera=CAMERA, mount=MOUNT, confidence=255):
    return Observation('front', stamp_ns, labels, np.full_like(labels, confidence), camera, mount, odom)


def lanes_of(labels, config=None, **kwargs):
    return LaneTracker(config or LaneConfig(), DEFAULT_LABELS).update([observe(labels, **kwargs)])


def errors(line, coefficients, x):
    return np.abs(line.y_m(x) - np.polynomial.polynomial.polyval(x, coefficients))


@pytest.mark.parametrize(
    ('slope', 'half_curvature', 'rate'),
    [(0.0, 0.0, 0.0), (0.05, 0.003, 0.0), (-0.1, 0.0, 0.0), (0.0, -0.002, 4e-5)],
    ids=['straight', 'bend', 'heading', 'clothoid'],
)
def test_lines_are_found_to_centimetres(slope, half_curvature, rate):
    shape = (slope, half_curvature, rate)
    truth = {'left': ((1.8, *shape), DASHES), 'right': ((-1.7, *shape), SOLID), 'far': ((5.3, *shape), SOLID)}
    lanes = lanes_of(street(truth.values()))
    assert len(lanes.lines) == 3
    assert lanes.ego_left is lanes.lines[1]
    assert lanes.ego_right is lanes.lines[2]
    for line, key in zip(lanes.lines, ('far', 'left', 'right'), strict=True):
        x = np.arange(math.ceil(line.x_start_m), line.x_end_m)
        assert errors(line, truth[key][0], x[x <= 15]).max(initial=0) < 0.05
        assert errors(line, truth[key][0], x[x <= 30]).max() < 0.15


def test_the_place_in_the_lane_follows_from_both_sides():
    shape = (0.04, 0.002, 0.0)
    lanes = lanes_of(street([((2.2, *shape), SOLID), ((-1.4, *shape), SOLID)]))
    assert lanes.offset_m == pytest.approx(-0.4, abs=0.05)
    assert lanes.heading_rad == pytest.approx(-math.atan(0.04), abs=0.01)
    assert lanes.curvature_1pm == pytest.approx(0.004, abs=0.0008)
    assert lanes.width_m == pytest.approx(3.6, abs=0.05)


def test_markings_on_one_side_give_no_offset():
    lanes = lanes_of(street([((1.8, 0.02, 0.0, 0.0), SOLID)]))
    assert len(lanes.lines) == 1
    assert lanes.ego_left is lanes.lines[0]
    assert lanes.ego_right is None
    assert lanes.offset_m is None
    assert lanes.width_m is None
    assert lanes.heading_rad == pytest.approx(-0.02, abs=0.01)


def test_dashes_are_one_line_with_its_paint_measured():
    (line,) = lanes_of(street([((1.8, 0.0, 0.0, 0.0), DASHES)])).lines
    assert line.x_end_m - line.x_start_m > 25
    # A third is painted; far away a row of pixels is longer than a dash.
    assert 0.3 < line.painted_m / (line.x_end_m - line.x_start_m) < 0.5


def test_the_covariance_covers_the_error_of_a_wrong_pitch():
    """0.004 rad is twice the assumed deviation: the line is off by no more than three of its own."""
    truth = ((3.5, 0.0, 0.0, 0.0), SOLID)
    tilted = Pose.mounted(0.0, 0.0, 1.2, 0.0, -0.02 + 0.004, 0.0)
    (line,) = lanes_of(street([truth], mount=tilted)).lines
    x = np.array([10.0, 20.0, 30.0])
    error = errors(line, truth[0], x)
    assert error[2] > 0.1
    assert (error < 3 * line.sigma_m(x)).all()


def test_a_wide_far_gap_ends_a_line():
    labels = street([((1.8, 0.0, 0.0, 0.0), SOLID)])
    table = ground_table(CAMERA, MOUNT)
    labels[(labels == LANE) & (table.x_m > 14) & (table.x_m < 30)] = ROAD
    (line,) = lanes_of(labels).lines
    assert line.x_end_m < 15


def nothing():
    return np.full((320, 480), ROAD, np.uint8)


def noise():
    return np.random.default_rng(1).integers(0, 6, (320, 480)).astype(np.uint8)


def specks():
    return (np.random.default_rng(2).random((320, 480)) < 0.01).astype(np.uint8)


def blocks():
    coarse = np.random.default_rng(3).integers(0, 6, (53, 80)).astype(np.uint8)
    return cv2.resize(coarse, (480, 320), interpolation=cv2.INTER_NEAREST)


def zebra():
    """Stripes of 0.5 m along the road, a stop line before them."""
    table = ground_table(CAMERA, MOUNT)
    labels = nothing()
    across = np.abs(table.y_m) < 5
    labels[across & (table.x_m > 12) & (table.x_m < 15) & (np.mod(np.nan_to_num(table.y_m), 1.0) < 0.45)] = LANE
    labels[across & (table.x_m > 10) & (table.x_m < 10.4)] = LANE
    return labels


def arrows():
    """Straight-ahead arrows in three lanes: a shaft of 2 m and a head."""
    table = ground_table(CAMERA, MOUNT)
    labels = nothing()
    for y in (-3.5, 0.0, 3.5):
        beside = np.abs(table.y_m - y)
        labels[(beside < 0.08) & (table.x_m > 9) & (table.x_m < 11)] = LANE
        labels[(beside < (12.5 - table.x_m) * 0.3) & (table.x_m > 11) & (table.x_m < 12.5)] = LANE
    return labels


@pytest.mark.parametrize('image', [nothing, noise, specks, blocks, zebra, arrows])
def test_no_line_is_invented(image):
    lanes = lanes_of(image())
    assert lanes.lines == ()
    assert lanes.offset_m is None


def test_an_image_of_markings_alone_has_no_line():
    assert lanes_of(np.full((320, 480), LANE, np.uint8)).lines == ()


def test_a_zebra_does_not_bend_the_lines_that_lead_to_it():
    labels = street([((1.8, 0.0, 0.0, 0.0), SOLID), ((-1.8, 0.0, 0.0, 0.0), SOLID)])
    table = ground_table(CAMERA, MOUNT)
    labels[(table.x_m > 20) & (labels == LANE)] = ROAD
    labels[
        (np.abs(table.y_m) < 5) & (table.x_m > 21) & (table.x_m < 24) & (np.mod(np.nan_to_num(table.y_m), 1.0) < 0.5)
    ] = LANE
    lanes = lanes_of(labels)
    assert len(lanes.lines) == 2
    assert lanes.width_m == pytest.approx(3.6, abs=0.03)


def test_a_dash_behind_a_solid_line_belongs_to_another_road_and_one_before_it_does_not():
    table = ground_table(CAMERA, MOUNT)
    for offset_m, lines in ((-5.1, 1), (1.75, 2)):
        labels = street([((y, 0.0, 0.0, 0.0), SOLID) for y in (-1.75, offset_m)])
        rest = (np.abs(table.y_m - offset_m) < 0.5) & ((table.x_m < 9.0) | (table.x_m > 11.5))
        labels[(labels == LANE) & rest] = ROAD
        assert len(lanes_of(labels).lines) == lines, offset_m


def box_junction(start_m, end_m, right_m, left_m, spacing_m, slope):
    """Lines of paint, [2, 2] ends in metres: the outline of a box and both families of its diagonals."""
    corners = np.array([[start_m, right_m], [start_m, left_m], [end_m, left_m], [end_m, right_m]])
    lines = [np.stack(side) for side in zip(corners, np.roll(corners, 1, axis=0), strict=True)]
    x = np.linspace(start_m, end_m, 400)
    for slant in (slope, -slope):
        for offset_m in np.arange(-40.0, 40.0, spacing_m * math.hypot(1.0, slope)):
            y = offset_m + slant * x
            inside = np.flatnonzero((y > right_m) & (y < left_m))
            if len(inside) > 1:
                lines.append(np.column_stack([x, y])[inside[[0, -1]]])
    return lines


def paint(labels, lines, width_m=0.15):
    """Draw straight lines on the ground with cv2, in pieces of a quarter of a metre."""
    from_vehicle = MOUNT.inverse()
    for first, last in lines:
        length = np.hypot(*(last - first))
        along = (last - first) / length
        across = np.array([-along[1], along[0]]) * width_m / 2
        for at in np.arange(0.0, length, 0.25):
            piece = [
                first + along * (at + 0.25 * end) + side * across for end, side in ((0, 1), (1, 1), (1, -1), (0, -1))
            ]
            in_camera = from_vehicle.transform(np.column_stack([piece, np.zeros(4)]))
            pixels, valid = CAMERA.project(in_camera)
            if valid.all() and in_camera[:, 2].min() > 0.5:
                cv2.fillConvexPoly(labels, pixels.round().astype(np.int32), LANE)


@pytest.mark.parametrize('spacing_m', [1.0, 1.5, 2.5])
@pytest.mark.parametrize('slope', [0.7, 1.0, 1.4])
@pytest.mark.parametrize('place', [(2.0, 12.0, -5.0, 5.0), (6.0, 16.0, -2.0, 6.0), (12.0, 24.0, -6.0, 1.5)])
def test_a_box_junction_has_no_line(place, slope, spacing_m):
    labels = nothing()
    paint(labels, box_junction(*place, spacing_m, slope))
    assert np.count_nonzero(labels == LANE) > 500
    assert lanes_of(labels).lines == ()


def test_lines_that_lead_to_a_box_junction_are_found():
    labels = street([((y, 0.0, 0.0, 0.0), SOLID) for y in (-1.75, 1.75)])
    labels[(ground_table(CAMERA, MOUNT).x_m > 13) & (labels == LANE)] = ROAD
    paint(labels, box_junction(14.0, 24.0, -5.0, 5.0, 1.5, 1.0))
    lanes = lanes_of(labels)
    assert len(lanes.lines) == 2
    assert lanes.width_m == pytest.approx(3.5, abs=0.05)


def test_a_camera_that_sees_no_ground_sees_no_line():
    up = Pose.mounted(0.0, 0.0, 1.2, 0.0, -1.2, 0.0)
    assert lanes_of(np.full((320, 480), LANE, np.uint8), mount=up).lines == ()


def test_unsure_pixels_are_no_markings():
    labels = street([((1.8, 0.0, 0.0, 0.0), SOLID)])
    assert lanes_of(labels, confidence=90).lines == ()


def test_a_hidden_line_is_not_drawn_on():
    labels = street([((1.8, 0.0, 0.0, 0.0), SOLID), ((-1.8, 0.0, 0.0, 0.0), SOLID)])
    labels[:, 250:] = VEHICLE
    lanes = lanes_of(labels)
    assert lanes.ego_right is None
    assert len(lanes.lines) == 1


def test_an_image_that_has_not_its_cameras_size_is_refused():
    labels = np.full((160, 240), LANE, np.uint8)
    with pytest.raises(CameraError, match=r'\(160, 240\) but its camera \(320, 480\)'):
        lanes_of(labels)
    whole = observe(nothing())
    with pytest.raises(CameraError, match='expected one size'):
        LaneTracker(LaneConfig(), DEFAULT_LABELS).update([whole._replace(confidence=labels)])


def test_settings_are_checked():
    with pytest.raises(ConfigError, match=r'lanes\.max_range_m is 1000'):
        LaneConfig(max_range_m=1000)
    with pytest.raises(ConfigError, match='min < max'):
        LaneConfig(min_lane_m=4, max_lane_m=3)
