"""The node in this process: what clocks, stamps, parameters and calibrations do to evidence and outputs."""

from __future__ import annotations

import array
import math
import time

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from seg_perception.engine.fake import FakeEngine
from seg_perception.io.messages import IMAGE
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.ros import convert

ROAD = np.full((64, 96, 3), DEFAULT_LABELS.classes[0].color, np.uint8)


def stamp(seconds):
    return convert.stamp_message(round(seconds * 1e9))


def calibration(f):
    info = CameraInfo(width=96, height=64, distortion_model='plumb_bob', d=[0.0] * 5)
    info.k = [f, 0.0, 47.5, 0.0, f, 31.5, 0.0, 0.0, 1.0]
    info.p = [f, 0.0, 47.5, 0.0, 0.0, f, 31.5, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


class Cameras:
    """Feeds a configured node as its worker does; the node stays inactive, so that the worker itself does nothing."""

    def __init__(self, node, monkeypatch):
        node.trigger_configure()
        self.node = node
        self.outputs = node.processor._outputs
        self.grids = []
        """Cells of every published grid."""
        for camera in node.inputs.values():
            camera.on_info(calibration(57.6))
        monkeypatch.setattr(self.outputs.grid, 'wanted', lambda: True)
        monkeypatch.setattr(self.outputs.grid._publisher, 'publish', self._published)

    def _published(self, message):
        self.grids.append(np.array(message.data, np.int8).reshape(message.info.height, message.info.width))

    def see(self, seconds, lag_s=0.0, **pictures):
        """Process one image per camera; the first one's stamp lags behind."""
        messages = {}
        for i, (name, pixels) in enumerate(pictures.items()):
            message = Image(height=64, width=96, step=288, encoding='rgb8', data=array.array('B', pixels.tobytes()))
            message.header.stamp = stamp(seconds - lag_s * (i == 0))
            data = bytes(serialize_message(message))
            self.node.inputs[name].on_image(data)
            messages[name] = convert.received(data, IMAGE)
        self.node.processor.run(messages)

    def drive(self, seconds, x, pitch=0.0):
        """Tell where the vehicle was, and how it nodded."""
        message = Odometry(child_frame_id='base_link')
        message.header.stamp, message.header.frame_id = stamp(seconds), 'odom'
        message.pose.pose.position.x = x
        message.pose.pose.orientation.y, message.pose.pose.orientation.w = math.sin(pitch / 2), math.cos(pitch / 2)
        self.node._poses._on_odometry(message)

    def grid_status(self):
        """Return what diagnostics say of the grid."""
        return next(iter(self.node._diagnostics._grid())).message

    def set(self, name, value):
        """Set a live parameter as the worker does."""
        assert self.node.set_parameters([Parameter(name, value=value)])[0].successful
        self.node.processor.configure(self.node.config, self.node._worker.engine)


def listen(monkeypatch, publisher, convert):
    """Return the list that what goes out of a publisher is put into; the node thinks that somebody listens."""
    got = []
    monkeypatch.setattr(publisher, 'get_subscription_count', lambda: 1)
    monkeypatch.setattr(publisher, 'publish', lambda message: got.append(convert(message)))
    return got


@pytest.fixture
def cameras(node, monkeypatch):
    return Cameras(node, monkeypatch)


def ahead(cells):
    """Cells at x 5 to 6 m, y -0.5 to 0.5 m, which `front` sees."""
    return set(cells[195:205, 50:60].flat)


def beside(cells):
    """Cells at x 2 to 2.5 m, y 5.5 to 6 m, which `left` sees."""
    return set(cells[255:260, 20:25].flat)


def test_labels_wait_for_nothing_that_is_made_of_them(cameras, monkeypatch):
    order = []
    images = cameras.outputs.cameras['front']._images
    for topic in ('labels', 'overlay'):
        monkeypatch.setattr(images[topic], 'get_subscription_count', lambda: 1)
        monkeypatch.setattr(images[topic], 'publish', lambda _, topic=topic: order.append(topic))
    monkeypatch.setattr(cameras.outputs.grid._publisher, 'publish', lambda _: order.append('grid'))
    cameras.see(10.0, front=ROAD)
    assert order == ['labels', 'grid', 'overlay']


def test_one_camera_going_back_in_time_leaves_the_grid_of_the_others(cameras):
    cameras.see(100.0, front=ROAD, left=ROAD)
    assert (ahead(cameras.grids[-1]), beside(cameras.grids[-1])) == ({0}, {0})
    cameras.see(94.0, left=ROAD)
    cameras.see(100.1, front=ROAD)
    assert all(ahead(cells) == {0} for cells in cameras.grids)
    problems = cameras.node.inputs['left'].status
    assert problems.counts['time_jump'] == 1
    assert 'behind the other cameras' in problems.problems.current['no_grid']


def test_a_recording_that_starts_over_clears_grid_and_transforms_once(cameras, monkeypatch):
    cleared_poses = []
    monkeypatch.setattr(cameras.node._poses, 'start_over', lambda: cleared_poses.append(len(cameras.grids)))
    cameras.see(100.0, front=ROAD, left=ROAD)
    cameras.see(94.0, left=ROAD)
    cameras.see(94.1, front=ROAD)
    cleared = [set(cells.flat) == {-1} for cells in cameras.grids]
    assert cleared == [False, True, False]
    assert cleared_poses == [1]
    assert (ahead(cameras.grids[-1]), beside(cameras.grids[-1])) == ({0}, {-1})
    cameras.see(94.2, left=ROAD)
    assert beside(cameras.grids[-1]) == {0}


def test_an_image_that_is_sent_again_proves_nothing_new(cameras):
    """A driver that hangs sends its last image for ever."""
    for seconds, grids in ((100.0, 1), (100.0, 1), (100.1, 2)):
        cameras.see(seconds, front=ROAD)
        assert len(cameras.grids) == grids
    assert cameras.node.inputs['front'].status.counts['out_of_order'] == 1


def test_evidence_of_cameras_without_stamps_ages_as_well(cameras):
    cameras.set('grid.hold_s', 0.2)
    cameras.see(0.0, front=ROAD, left=ROAD)
    assert (ahead(cameras.grids[-1]), beside(cameras.grids[-1])) == ({0}, {0})
    time.sleep(0.3)
    cameras.see(0.0, front=ROAD)
    assert (ahead(cameras.grids[-1]), beside(cameras.grids[-1])) == ({0}, {-1})
    assert 'stamp 0' in cameras.node.inputs['front'].status.problems.current['no_stamp']


def test_a_camera_that_lags_without_odometry_is_counted_and_shown(cameras):
    """Its images are older than `hold_s` when they come, so that the grid never has any of them."""
    cameras.set('grid.hold_s', 0.2)
    cameras.see(100.0, lag_s=0.3, front=ROAD, left=ROAD)
    assert ahead(cameras.grids[-1]) == {-1}
    assert beside(cameras.grids[-1]) == {0}
    status = cameras.node.inputs['front'].status
    assert status.counts['no_grid'] == 1
    assert '0.3 s behind the other cameras' in status.problems.current['no_grid']
    assert cameras.grid_status() == 'nothing from front; see there'


@pytest.mark.parametrize(('away_s', 'x_m'), [(0.0, 8.0), (0.6, 0.0)])
def test_when_odometry_begins_anew_the_grid_does_as_well(cameras, away_s, x_m):
    """What `left` saw before lies elsewhere now, or may do so."""
    for i in range(5):
        cameras.drive(100 + 0.1 * i, 0.0)
    cameras.see(100.4, front=ROAD, left=ROAD)
    assert beside(cameras.grids[-1]) == {0}
    for i in range(3):
        cameras.drive(100.5 + away_s + 0.05 * i, x_m)
    cameras.see(100.6 + away_s, front=ROAD)
    assert set(cameras.grids[-2].flat) == {-1}
    assert (ahead(cameras.grids[-1]), beside(cameras.grids[-1])) == ({0}, {-1})
    assert cameras.node.processor.odometry_counts()['odometry breaks'] == 1


def test_odometry_that_cannot_be_used_is_counted(cameras):
    for i in range(4):
        cameras.drive(100 + 0.1 * i, math.inf if i < 2 else 0.0)
    assert cameras.node.processor.odometry_counts() == {'odometry breaks': 0, 'bad odometry': 2}


def test_labels_that_come_too_late_are_not_in_the_grid(cameras, monkeypatch):
    """The engine hung; what was free when it began may not be free when it is done."""
    cameras.set('image_timeout_s', 0.1)
    engine, infer = cameras.node.processor.engine, FakeEngine.infer
    with monkeypatch.context() as hanging:
        hanging.setattr(engine, 'infer', lambda n: (time.sleep(0.2), infer(engine, n))[1])
        cameras.see(100.0, front=ROAD)
    assert cameras.grids == []
    assert 'more than image_timeout_s' in cameras.node.inputs['front'].status.problems.current['no_grid']
    cameras.see(100.3, front=ROAD)
    assert ahead(cameras.grids[-1]) == {0}
    assert 'no_grid' not in cameras.node.inputs['front'].status.problems.current


@pytest.mark.parametrize(('age_s', 'said'), [(3.0, '3.0 s behind'), (-3.0, '3.0 s ahead of')])
def test_an_image_of_another_time_is_not_in_the_grid(cameras, age_s, said):
    """It waited while the process was stopped, or the camera's clock is wrong."""
    cameras.set('image_timeout_s', 1.0)
    cameras.see(time.time() - age_s, front=ROAD)
    assert cameras.grids == []
    assert said in cameras.node.inputs['front'].status.problems.current['no_grid']
    cameras.see(time.time() + 0.01, left=ROAD)
    assert beside(cameras.grids[-1]) == {0}


def test_parameters_that_do_not_concern_the_grid_leave_its_evidence(cameras):
    cameras.see(100.0, front=ROAD, left=ROAD)
    cameras.set('overlay_alpha', 0.25)
    cameras.see(100.1, left=ROAD)
    assert ahead(cameras.grids[-1]) == {0}
    cameras.set('grid.half_life_s', 0.5)
    cameras.see(100.2, left=ROAD)
    assert ahead(cameras.grids[-1]) == {-1}


def xyz(data):
    cloud = deserialize_message(data, PointCloud2)
    return np.frombuffer(cloud.data, np.float32).reshape(-1, 4)[:, :3].copy()


def rings(data):
    """Points of the road as `front` sees it."""
    markers = deserialize_message(data, MarkerArray).markers
    return np.array([(p.x, p.y) for m in markers if m.ns == 'road/front' for p in m.points])


def test_things_seen_by_a_camera_that_lags_are_moved_with_the_vehicle(cameras, monkeypatch):
    """10 m/s: what `front` sees 0.1 s before `left` is 1 m nearer at the stamp of `left`."""
    points, markers = cameras.outputs.vehicle
    clouds = listen(monkeypatch, points._publisher, xyz)
    roads = listen(monkeypatch, markers._markers, rings)
    for i in range(3):
        cameras.drive(100.0 + 0.1 * i, 1.0 * i)
    cameras.see(100.0, front=ROAD)
    cameras.see(100.11, lag_s=0.1, front=ROAD, left=ROAD)
    assert len(clouds[1]) > len(clouds[0]) > 1000
    np.testing.assert_allclose(clouds[1][: len(clouds[0])], clouds[0] - [1.0, 0.0, 0.0], atol=1e-4)
    assert len(roads[0]) > 4
    np.testing.assert_allclose(roads[1], roads[0] - [1.0, 0.0], atol=1e-4)


def test_a_vehicle_that_nods_leaves_points_on_the_ground(cameras, monkeypatch):
    """It brakes between the stamps: 2 degrees are 0.7 m at 20 m, which a costmap's height filter would take away."""
    clouds = listen(monkeypatch, cameras.outputs.vehicle[0]._publisher, xyz)
    for i in range(3):
        cameras.drive(100.0 + 0.1 * i, 1.0 * i, pitch=0.035 * i)
    cameras.see(100.11, lag_s=0.1, front=ROAD, left=ROAD)
    assert np.ptp(clouds[0][:, 0]) > 10
    assert (clouds[0][:, 2] == 0).all()


def test_an_image_keeps_its_calibration_when_another_comes_while_it_is_labelled(cameras, monkeypatch):
    publisher = cameras.outputs.cameras['front']._info
    focal = listen(monkeypatch, publisher, lambda m: (m.k[0], m.p[0]))
    engine, infer = cameras.node.processor.engine, FakeEngine.infer
    for new in (100.0, 0.0):
        monkeypatch.setattr(
            engine,
            'infer',
            lambda n, new=new: (cameras.node.inputs['front'].on_info(calibration(new)), infer(engine, n))[1],
        )
        cameras.see(100.0 + new, front=ROAD)
    assert focal == [(57.6, 57.6), (100.0, 100.0)]


def test_the_calibration_of_the_raw_image_does_not_place_a_rectified_one(cameras):
    """image_proc publishes the raw camera's D beside the images that it has straightened."""
    front = cameras.node.inputs['front']
    front.topic = '/front/image_rect_color'
    distorted = calibration(57.6)
    distorted.d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    front.on_info(distorted)
    cameras.see(100.0, front=ROAD)
    assert cameras.grids == []
    assert 'take image_raw' in front.status.problems.current['bad_camera_info']
    front.on_info(calibration(57.6))
    cameras.see(100.1, front=ROAD)
    assert ahead(cameras.grids[-1]) == {0}


def test_points_do_not_cost_a_grid_that_nobody_listens_to(cameras, monkeypatch):
    clouds = listen(monkeypatch, cameras.outputs.vehicle[0]._publisher, xyz)
    monkeypatch.setattr(cameras.outputs.grid, 'wanted', lambda: False)
    mapper = cameras.node.processor._pipeline.mapper
    monkeypatch.setattr(mapper, 'update', lambda _: pytest.fail('the grid was computed'))
    cameras.see(100.0, front=ROAD)
    assert len(clouds[0]) > 1000
    assert cameras.grids == []
