"""Lane lines over time."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from seg_perception.camera import Pose
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.postprocess import LaneConfig, LaneTracker

_spec = importlib.util.spec_from_file_location('lanes_scene', Path(__file__).with_name('test_lanes.py'))
lanes_scene = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lanes_scene)
SOLID, DASHES, ROAD = lanes_scene.SOLID, lanes_scene.DASHES, lanes_scene.ROAD
TRUTH = [((1.8, 0.0, 0.001, 0.0), DASHES), ((-1.8, 0.0, 0.001, 0.0), SOLID)]


def pose_at(x_m):
    """The vehicle follows the curve y = 0.001 x^2."""
    heading = math.atan(0.002 * x_m)
    return Pose((x_m, 0.001 * x_m**2, 0.0), (0.0, 0.0, math.sin(heading / 2), math.cos(heading / 2)))


def drive(tracker, frames, step_m=1.0, blind=(), odometry=True):
    results = []
    for i in range(frames):
        pose = pose_at(i * step_m)
        labels = np.full((320, 480), ROAD, np.uint8) if i in blind else lanes_scene.street(TRUTH, odom=pose)
        seen = lanes_scene.observe(labels, i * 50_000_000, pose if odometry else None)
        results.append(tracker.update([seen]))
    return results


@pytest.fixture
def tracker():
    return LaneTracker(LaneConfig(), DEFAULT_LABELS)


@pytest.mark.parametrize('odometry', [True, False])
def test_ids_stay_with_their_lines(tracker, odometry):
    results = drive(tracker, 12, odometry=odometry)
    assert {(r.ego_left.id, r.ego_right.id) for r in results} == {(1, 2)}


def test_tracked_lines_stay_where_they_are_and_get_surer(tracker):
    results = drive(tracker, 12)
    for result in results:
        assert result.width_m == pytest.approx(3.6, abs=0.04)
        assert result.offset_m == pytest.approx(0.0, abs=0.05)
        assert result.curvature_1pm == pytest.approx(0.002, abs=0.0006)
    assert results[-1].ego_left.sigma_m(2.0) < results[0].ego_left.sigma_m(2.0)


def test_a_line_that_is_no_longer_seen_is_kept_for_a_few_metres(tracker):
    results = drive(tracker, 12, step_m=0.9, blind=range(6, 12))
    kept = [r.ego_right is not None for r in results]
    assert kept == [True] * 9 + [False] * 3
    assert not results[7].ego_right.seen
    assert results[7].ego_right.y_m(10.0) == pytest.approx(-1.8 + 0.001 * 100, abs=0.05)


def test_a_new_line_among_known_ones_needs_a_second_frame(tracker):
    drive(tracker, 2)
    lines = [*TRUTH, ((5.4, 0.0, 0.001, 0.0), SOLID)]
    counts = []
    for i in (2, 3):
        pose = pose_at(float(i))
        seen = lanes_scene.observe(lanes_scene.street(lines, odom=pose), i * 50_000_000, pose)
        counts.append(len(tracker.update([seen]).lines))
    assert counts == [2, 3]


def test_a_jump_in_time_or_place_forgets_all_lines(tracker):
    first = drive(tracker, 3)[-1]
    far = Pose((500.0, 0.0, 0.0))
    labels = lanes_scene.street(TRUTH)
    after = tracker.update([lanes_scene.observe(labels, 200_000_000, far)])
    assert {line.id for line in after.lines}.isdisjoint(line.id for line in first.lines)
    tracker.update([lanes_scene.observe(labels, 1_150_000_000, far)])
    earlier = tracker.update([lanes_scene.observe(labels, 0, far)])
    assert {line.id for line in earlier.lines}.isdisjoint(line.id for line in after.lines)


def test_a_camera_that_lags_does_not_cost_the_lines_of_the_others(tracker):
    """Its image is 30 ms older than the last one of the camera that sees lines, and shows none."""
    drive(tracker, 6)
    side = lanes_scene.observe(np.full((320, 480), ROAD, np.uint8), 5 * 50_000_000 - 30_000_000, pose_at(4.4))
    for i in (6, 7):
        lagging = tracker.update([side])
        assert (lagging.ego_left.id, lagging.ego_right.id) == (1, 2)
        assert lagging.width_m == pytest.approx(3.6, abs=0.04)
        seen = lanes_scene.observe(lanes_scene.street(TRUTH, odom=pose_at(float(i))), i * 50_000_000, pose_at(float(i)))
        result = tracker.update([seen])
        assert (result.ego_left.id, result.ego_right.id) == (1, 2)
        assert result.offset_m == pytest.approx(0.0, abs=0.05)
        side = side._replace(stamp_ns=seen.stamp_ns - 30_000_000, odom_from_vehicle=pose_at(i - 0.6))


def test_without_odometry_a_camera_between_does_not_cost_the_lines_of_another_and_a_stopped_one_has_none(tracker):
    def seen(labels, stamp_ms, camera):
        return lanes_scene.observe(labels, stamp_ms * 1_000_000, None)._replace(camera=camera)

    road, empty = lanes_scene.street(TRUTH), np.full((320, 480), ROAD, np.uint8)
    alone = tracker.update([seen(road, 0, 'front')])
    between = tracker.update([seen(empty, 20, 'left')])
    again = tracker.update([seen(road, 33, 'front')])
    for result in (between, again):
        assert [line.id for line in result.lines] == [line.id for line in alone.lines]
        assert result.width_m == pytest.approx(alone.width_m)
    assert tracker.update([seen(empty, 400, 'left')]).lines == ()


def test_no_observation_gives_no_line(tracker):
    assert tracker.update([]).lines == ()


def test_cameras_forward_and_back_see_the_same_lines(tracker):
    back_mount = Pose.mounted(-1.0, 0.0, 1.2, 0.0, -0.02, math.pi)
    lines = [((1.8, 0.0, 0.0, 0.0), SOLID), ((-1.8, 0.0, 0.0, 0.0), SOLID)]
    back = lanes_scene.observe(lanes_scene.street(lines, mount=back_mount), mount=back_mount)
    front = lanes_scene.observe(lanes_scene.street(lines))
    lanes = tracker.update([front, back._replace(camera='back')])
    assert len(lanes.lines) == 2
    assert lanes.ego_left.x_start_m < -20
    assert lanes.ego_left.x_end_m > 20
    assert lanes.width_m == pytest.approx(3.6, abs=0.05)
