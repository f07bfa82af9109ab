import numpy as np
import pytest

from seg_perception.camera import CameraModel, Pose
from seg_perception.errors import ConfigError
from seg_perception.labels import DEFAULT_LABELS, VOID, Role
from seg_perception.postprocess import RegionConfig, clean_labels, ego_road, role_mask

ROAD, LANE, PAVEMENT, VEHICLE, PERSON, OTHER = range(6)
CAMERA = CameraModel(160, 120, 150.0, 150.0, 79.5, 59.5)
MOUNT = Pose.mounted(0.0, 0.0, 1.5, 0.0, 0.0, 0.0)


def test_masks_follow_the_roles_of_the_model():
    labels = np.array([[0, 1, 2, 3, 4, 5, VOID]], np.uint8)
    road, lane, obstacle = (
        role_mask(labels, DEFAULT_LABELS, r).tolist() for r in (Role.ROAD, Role.LANE, Role.OBSTACLE)
    )
    assert road == [[255, 0, 0, 0, 0, 0, 0]]
    assert lane == [[0, 255, 0, 0, 0, 0, 0]]
    assert obstacle == [[0, 0, 0, 255, 255, 0, 0]]


def test_role_mask_joins_roles():
    labels = np.array([[0, 1, 5]], np.uint8)
    assert role_mask(labels, DEFAULT_LABELS, Role.ROAD, Role.LANE).tolist() == [[255, 255, 0]]


def test_cleaning_is_off_by_default():
    labels = np.array([[ROAD, VEHICLE, ROAD]], np.uint8)
    result = clean_labels(labels, DEFAULT_LABELS, RegionConfig())
    assert result.labels is labels
    assert result.regions == {}


def test_specks_and_holes_take_the_label_around_them():
    labels = np.full((9, 12), ROAD, np.uint8)
    labels[:, 8:] = OTHER
    labels[2, 2] = OTHER
    labels[6:8, 3:5] = VEHICLE
    labels[4, 10] = LANE
    result = clean_labels(labels, DEFAULT_LABELS, RegionConfig(other_px=3, obstacle_px=3, lane_px=3))
    expected = np.full((9, 12), ROAD, np.uint8)
    expected[:, 8:] = OTHER
    expected[6:8, 3:5] = VEHICLE
    assert result.labels.tolist() == expected.tolist()
    assert result.removed_px == 2
    assert result.regions[Role.OBSTACLE].areas_px.tolist() == [4]
    assert result.regions[Role.LANE].areas_px.tolist() == []
    assert Role.ROAD not in result.regions


def test_void_is_neither_filled_nor_spread():
    labels = np.full((5, 7), VOID, np.uint8)
    labels[1:4, 2:5] = ROAD
    labels[2, 4] = VEHICLE
    result = clean_labels(labels, DEFAULT_LABELS, RegionConfig(obstacle_px=2))
    expected = np.full((5, 7), VOID, np.uint8)
    expected[1:4, 2:5] = ROAD
    assert result.labels.tolist() == expected.tolist()


def test_an_image_of_specks_only_is_left_as_it_is():
    labels = np.full((4, 4), OTHER, np.uint8)
    result = clean_labels(labels, DEFAULT_LABELS, RegionConfig(other_px=100))
    assert result.labels is labels
    assert result.regions[Role.OTHER].areas_px.tolist() == []


def test_least_size_in_square_metres_follows_the_distance():
    """A 4 x 4 pixel patch covers 0.03 m2 at 4 m and over 2 m2 at 20 m: only the near one is a speck."""
    labels = np.full((120, 160), ROAD, np.uint8)
    labels[:60] = OTHER
    labels[114:118, 80:84] = PAVEMENT
    labels[69:73, 80:84] = PAVEMENT
    result = clean_labels(labels, DEFAULT_LABELS, RegionConfig(other_m2=0.2, other_px=10**6), CAMERA, MOUNT)
    assert (result.labels[114:118, 80:84] == ROAD).all()
    assert (result.labels[69:73, 80:84] == PAVEMENT).all()
    assert (result.labels[:60] == OTHER).all()
    # A pixel `v` rows under the horizon covers height^2 x focal / v^3 of ground.
    far_patch_m2 = sum(4 * 1.5**2 * 150 / v**3 for v in (9.5, 10.5, 11.5, 12.5))
    assert result.regions[Role.OTHER].areas_m2.tolist() == [np.inf, pytest.approx(far_patch_m2, rel=0.02)]


def test_least_size_of_an_obstacle_is_upright():
    """10 x 10 pixels touching the ground at 4.5 m are 0.09 m2 of obstacle; at 22.5 m they are 2.25 m2."""
    labels = np.full((120, 160), ROAD, np.uint8)
    labels[100:110, 40:50] = PERSON
    labels[60:70, 100:110] = PERSON
    result = clean_labels(labels, DEFAULT_LABELS, RegionConfig(obstacle_m2=0.5), CAMERA, MOUNT)
    assert (result.labels[100:110, 40:50] == ROAD).all()
    assert (result.labels[60:70, 100:110] == PERSON).all()


@pytest.mark.parametrize('calibrated', [False, True])
def test_ego_road_is_the_component_in_front(calibrated):
    labels = np.full((120, 160), OTHER, np.uint8)
    labels[70:, 50:110] = ROAD
    labels[70:, 80] = LANE
    labels[65:, 130:] = ROAD
    geometry = (CAMERA, MOUNT) if calibrated else ()
    expected = np.zeros((120, 160), np.uint8)
    expected[70:, 50:110] = 255
    assert (ego_road(labels, DEFAULT_LABELS, *geometry) == expected).all()


def test_no_road_in_front_gives_no_ego_road():
    labels = np.full((120, 160), OTHER, np.uint8)
    labels[65:, 130:] = ROAD
    assert not ego_road(labels, DEFAULT_LABELS).any()
    assert not ego_road(labels, DEFAULT_LABELS, CAMERA, MOUNT).any()


@pytest.mark.parametrize('value', [-1, float('nan')])
def test_least_size_must_be_a_number_from_zero(value):
    with pytest.raises(ConfigError, match=r'regions\.road_m2'):
        RegionConfig(road_m2=value)
