import numpy as np
import pytest

from seg_perception.camera import CameraModel, Pose
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.lane_metrics import ThingScorer
from seg_perception.postprocess import LaneLine, Lanes
from seg_perception.postprocess.ground import ground_table
from seg_perception.scene import CameraView, Footprint, SceneFrame
from seg_perception.scene import LaneLine as TrueLine

ROAD, LANE, VEHICLE, OTHER = 0, 1, 3, 5
CAMERA = CameraModel(480, 320, 400.0, 400.0, 239.5, 159.5)
POSE = Pose.mounted(0.0, 0.0, 1.5, 0.0, 0.0, 0.0)
X = np.arange(-10.0, 80.0)


def true_line(y_m, x=X):
    return TrueLine(np.column_stack([x, np.full_like(x, y_m)]), 'solid', 0.15)


def found(y_m, start_m=4.0, end_m=30.0):
    return LaneLine(1, np.array([y_m, 0.0, 0.0, 0.0]), np.eye(4), start_m, end_m, end_m - start_m)


def frame(lines, footprints=()):
    table = ground_table(CAMERA, POSE)
    labels = np.where(np.abs(table.y_m) < 6, ROAD, OTHER).astype(np.uint8)
    for line in lines:
        labels[np.abs(table.y_m - line.points_m[0, 1]) < 0.1] = LANE
    view = CameraView(np.zeros((320, 480, 3), np.uint8), labels)
    return SceneFrame(0, {'front': view}, Pose((0.0, 0.0, 0.0)), list(lines), list(footprints))


def score(lines, found_lines):
    scorer = ThingScorer()
    ordered = tuple(found_lines)
    scorer.add(frame(lines), 'front', (CAMERA, POSE), Lanes(0, ordered, None, None, None, None, None, None))
    return scorer.scores()


def test_lateral_error_is_by_range():
    scores = score([true_line(1.8)], [found(1.9)])
    assert scores.lane_found == 1.0
    assert scores.lane_false_per_100 == 0.0
    assert list(scores.lane_lateral_error_m) == ['0-15 m', '15-30 m']
    assert scores.lane_lateral_error_m['0-15 m']['median'] == pytest.approx(0.1)


def test_missed_and_false_lines_are_counted():
    scores = score([true_line(1.8), true_line(-1.8)], [found(1.8), found(4.0)])
    assert scores.lane_found == 0.5
    assert scores.lane_false_per_100 == 100.0


def test_a_line_through_a_junction_is_not_false():
    pieces = [true_line(1.8, np.arange(-10.0, 8.0)), true_line(1.8, np.arange(22.0, 80.0))]
    assert score(pieces, [found(1.8, 9.0, 21.0)]).lane_false_per_100 == 0.0


def test_nothing_to_measure_is_not_zero():
    scores = score([], [])
    assert scores.lane_found is None
    assert scores.lane_lateral_error_m == {}
    assert scores.outline_iou is None


def test_outlines_and_footprints_of_perfect_labels():
    box = Footprint(np.array([[12.0, -1.0], [16.0, -1.0], [16.0, 1.0], [12.0, 1.0]]), VEHICLE)
    truth = frame([true_line(4.0)], [box])
    labels = truth.cameras['front'].labels
    near = 159.5 + 400 * 1.5 / 12
    labels[140 : round(near), 239 - 33 : 240 + 33] = VEHICLE
    scorer = ThingScorer()
    scorer.add_regions(truth, 'front', (CAMERA, POSE), labels, DEFAULT_LABELS)
    scores = scorer.scores()
    assert scores.outline_iou > 0.95
    assert scores.footprint_error_m < 0.3


def test_a_shifted_outline_scores_less():
    truth = frame([])
    scorer = ThingScorer()
    shifted = np.roll(truth.cameras['front'].labels, 40, axis=1)
    scorer.add_regions(truth, 'front', (CAMERA, POSE), shifted, DEFAULT_LABELS)
    assert scorer.scores().outline_iou < 0.9
