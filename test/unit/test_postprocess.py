import numpy as np

from seg_perception.labels import DEFAULT_LABELS, VOID, Role
from seg_perception.postprocess import masks, role_mask


def test_masks_follow_the_roles_of_the_model():
    labels = np.array([[0, 1, 2, 3, 4, 5, VOID]], np.uint8)
    result = masks(labels, DEFAULT_LABELS)
    assert result.road.tolist() == [[255, 0, 0, 0, 0, 0, 0]]
    assert result.lane.tolist() == [[0, 255, 0, 0, 0, 0, 0]]
    assert result.obstacle.tolist() == [[0, 0, 0, 255, 255, 0, 0]]


def test_role_mask_joins_roles():
    labels = np.array([[0, 1, 5]], np.uint8)
    assert role_mask(labels, DEFAULT_LABELS, Role.ROAD, Role.LANE).tolist() == [[255, 255, 0]]
