import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import CameraError, ConfigError
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.postprocess import ContourConfig, drivable_outlines, obstacle_footprints
from seg_perception.postprocess.ground import ground_places, ground_table, plane_directions

ROAD, LANE, PAVEMENT, VEHICLE, PERSON, OTHER = range(6)
CAMERA = CameraModel(480, 320, 400.0, 400.0, 239.5, 139.5, 'plumb_bob', (-0.2, 0.05, 0.0, 0.0))
MOUNT = Pose.mounted(0.5, 0.2, 1.5, 0.01, 0.03, -0.02)


def to_pixels(points):
    """Project [N, 2] ground points."""
    world = np.column_stack([points, np.zeros(len(points))])
    return CAMERA.project(MOUNT.inverse().transform(world))[0]


def paint(labels, class_id, points):
    cv2.fillPoly(labels, [np.round(to_pixels(np.asarray(points, float))).astype(np.int32)], class_id)


def scene():
    labels = np.full((320, 480), OTHER, np.uint8)
    ahead = np.arange(3.0, 40.1, 1.0)
    paint(labels, ROAD, [*((x, 4.0) for x in ahead), *((x, -4.0) for x in ahead[::-1])])
    return labels


def test_pixels_reach_the_ground_where_they_came_from():
    places = ground_places(plane_directions(CAMERA), MOUNT)
    rows, columns = [160, 230, 310], [100, 240, 400]
    seen = places[rows, columns]
    pixels = to_pixels(np.column_stack([seen.real, seen.imag]))
    assert pixels == pytest.approx(np.column_stack([columns, rows]), abs=0.05)
    assert np.isnan(places[10]).all()


def test_ground_area_of_the_road_is_its_size():
    labels = scene()
    area = ground_table(CAMERA, MOUNT).area_m2[labels == ROAD].sum()
    assert area == pytest.approx(37 * 8, rel=0.1)


def test_outline_of_the_road_is_its_border_in_metres():
    outlines = drivable_outlines((scene() == ROAD).astype(np.uint8), ContourConfig(max_range_m=30.0), CAMERA, MOUNT)
    assert len(outlines) == 1
    ring = outlines[0].ring_m
    assert outlines[0].holes_m == ()
    distance = np.hypot(*(ring - (0.5, 0.2)).T)
    assert distance.max() <= 30.0
    inside = (ring[:, 0] > 5) & (distance < 25)
    assert np.abs(np.abs(ring[inside, 1]) - 4.0).max() < 0.25
    area = cv2.contourArea(ring.astype(np.float32))
    visible = 8 * 27 - 10  # the lower corners of the image cut the road off
    assert area == pytest.approx(visible, rel=0.07)


def test_a_vehicle_on_the_road_is_a_hole():
    mask = np.zeros((40, 60), np.uint8)
    mask[5:35, 5:55] = 255
    mask[10:30, 20:30] = 0
    (outline,) = drivable_outlines(mask, ContourConfig())
    assert outline.ring_m is None
    assert sorted(map(tuple, outline.ring_px)) == [(5, 5), (5, 34), (54, 5), (54, 34)]
    (hole,) = outline.holes_px
    # cv2 gives a hole's border on the pixels around it
    assert hole.min(axis=0).tolist() == [19, 9]
    assert hole.max(axis=0).tolist() == [30, 30]


def test_specks_have_no_outline():
    rng = np.random.default_rng(3)
    mask = np.where(rng.random((120, 160)) < 0.02, 255, 0).astype(np.uint8)
    assert drivable_outlines(mask, ContourConfig()) == ()
    assert drivable_outlines(np.zeros((8, 8), np.uint8), ContourConfig()) == ()


def test_footprint_is_the_near_side_of_a_box():
    labels = scene()
    near = to_pixels(np.array([[15.0, 1.0], [15.0, -1.0]]))
    left, right = near[:, 0]
    bottom = int(near[:, 1].max())
    labels[bottom - 60 : bottom + 1, math.ceil(left) : math.floor(right) + 1] = VEHICLE
    (footprint,) = obstacle_footprints(labels, DEFAULT_LABELS, ContourConfig(), CAMERA, MOUNT)
    assert footprint.class_id == VEHICLE
    assert footprint.contact_seen
    assert footprint.contact_m[[0, -1]] == pytest.approx(np.array([[15.0, 1.0], [15.0, -1.0]]), abs=0.7)


def test_a_camera_that_sees_ground_beyond_the_range_alone_has_no_footprint():
    """A telephoto lens sees the road from 60 m on."""
    tele = replace(CAMERA, fx=4000.0, fy=4000.0, distortion=())
    assert (
        obstacle_footprints(np.full((320, 480), VEHICLE, np.uint8), DEFAULT_LABELS, ContourConfig(), tele, MOUNT) != ()
    )
    near = ContourConfig(max_range_m=5.0)
    assert obstacle_footprints(np.full((320, 480), VEHICLE, np.uint8), DEFAULT_LABELS, near, tele, MOUNT) == ()


@pytest.mark.parametrize('roll_deg', [0, 30, 90, 180, -100])
def test_a_rolled_camera_places_the_front_of_a_box_right_or_not_at_all(roll_deg):
    """Upside down, the lowest pixel of a box is its top, which meets the ground far behind it."""
    mount = Pose.mounted(0.5, 0.2, 1.5, math.radians(roll_deg), 0.1, 0.0)
    labels = np.full((320, 480), ROAD, np.uint8)
    box = np.array([(x, y, z) for x in (10.0, 12.0) for y in (-1.0, 1.0) for z in (0.0, 1.0)])
    hull = cv2.convexHull(CAMERA.project(mount.inverse().transform(box))[0].astype(np.float32)[:, None])
    cv2.fillConvexPoly(labels, np.round(hull).astype(np.int32), VEHICLE)
    found = obstacle_footprints(labels, DEFAULT_LABELS, ContourConfig(), CAMERA, mount)
    assert len(found) == (abs(roll_deg) < 45)
    for footprint in found:
        assert footprint.contact_m[:, 0].min() == pytest.approx(10.0, abs=0.6)


def test_view_under_the_body_does_not_split_or_move_a_footprint():
    labels = scene()
    labels[150:220, 200:280] = VEHICLE
    labels[205:220, 215:265] = ROAD
    (footprint,) = obstacle_footprints(labels, DEFAULT_LABELS, ContourConfig(), CAMERA, MOUNT)
    wheels = np.array([[200, 219.5], [279, 219.5]])
    assert to_pixels(footprint.contact_m[[0, -1]]) == pytest.approx(wheels, abs=0.05)
    assert len(footprint.contact_m) == 4 or len(footprint.contact_m) == 2


def test_two_obstacles_that_overlap_in_the_image_are_split_by_range():
    labels = scene()
    labels[120:300, 100:200] = VEHICLE
    labels[120:165, 200:300] = VEHICLE
    near, far = obstacle_footprints(labels, DEFAULT_LABELS, ContourConfig(), CAMERA, MOUNT)
    assert near.contact_m[:, 0].max() < 5.0
    assert far.contact_m[:, 0].min() > 12.0


def test_an_obstacle_cut_by_the_lower_edge_says_so():
    labels = scene()
    labels[100:320, 200:300] = PERSON
    (footprint,) = obstacle_footprints(labels, DEFAULT_LABELS, ContourConfig(), CAMERA, MOUNT)
    assert footprint.class_id == PERSON
    assert not footprint.contact_seen


def test_an_obstacle_cut_by_the_hood_says_so_and_is_seen_above_it():
    labels = scene()
    labels[100:250, 200:300] = PERSON
    hooded = replace(CAMERA, hood=1 - 250 / CAMERA.height)
    (footprint,) = obstacle_footprints(labels, DEFAULT_LABELS, ContourConfig(), hooded, MOUNT)
    assert not footprint.contact_seen
    (whole,) = obstacle_footprints(labels, DEFAULT_LABELS, ContourConfig(), CAMERA, MOUNT)
    assert whole.contact_seen
    assert footprint.contact_m == pytest.approx(whole.contact_m)


def test_obstacles_above_the_horizon_and_specks_have_no_footprint():
    labels = scene()
    labels[5:40, 100:200] = VEHICLE
    labels[250, 100] = PERSON
    assert obstacle_footprints(labels, DEFAULT_LABELS, ContourConfig(), CAMERA, MOUNT) == ()


def test_range_of_a_setting_is_checked():
    with pytest.raises(ConfigError, match=r'contours\.max_range_m is 0'):
        ContourConfig(max_range_m=0)


def test_a_footprint_whose_ends_are_out_of_range_keeps_its_middle():
    flat = CameraModel(480, 320, 400.0, 400.0, 239.5, 139.5)
    labels = np.full((320, 480), OTHER, np.uint8)
    labels[140:153, 20:460] = VEHICLE  # its lower edge is one image row, 46 m ahead: the corners are beyond 50 m
    (footprint,) = obstacle_footprints(labels, DEFAULT_LABELS, ContourConfig(), flat, Pose.mounted(0, 0, 1.5, 0, 0, 0))
    distance_m = np.hypot(*footprint.contact_m.T[:2])
    assert len(footprint.contact_m) >= 2
    assert (distance_m <= 50.0).all()


def test_labels_of_another_size_than_the_camera_have_no_footprints():
    with pytest.raises(CameraError, match=r'\(160, 480\).*\(320, 480\)'):
        obstacle_footprints(scene()[:160], DEFAULT_LABELS, ContourConfig(), CAMERA, MOUNT)
