"""The node as a process: start, lifecycle, services, parameters, overload, a failing engine, and how it ends."""

from __future__ import annotations

import itertools
import signal

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import OccupancyGrid, Odometry
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

from seg_perception.labels import DEFAULT_LABELS

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
ROAD = np.full((64, 96, 3), DEFAULT_LABELS.classes[0].color, np.uint8)
CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP = 1, 3, 4, 2


def values(status):
    return {v.key: v.value for v in status.values}


@pytest.fixture
def start(node_process, client, tmp_path):
    """Start a node of its own, ready to be talked to."""
    nodes = []

    def run(ready='running', **kwargs):
        nodes.append(node_process(tmp_path, **kwargs))
        client.status('engine', lambda s: s.message == ready)
        return nodes[-1]

    yield run
    for node in nodes:
        node.stop()
    for topic in [t for t in client.received if t.startswith('/seg_perception/')]:
        client.ignore(topic)


def change(client, transition):
    request = ChangeState.Request()
    request.transition.id = transition
    return client.call('change_state', ChangeState, request).success


def state(client):
    return client.call('get_state', GetState, GetState.Request()).current_state.label


def set_parameter(client, name, kind, **value):
    parameter = Parameter(name=name, value=ParameterValue(type=kind, **value))
    return client.call('set_parameters', SetParameters, SetParameters.Request(parameters=[parameter])).results[0]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_exit_code_0(start, number):
    node = start(params={})
    assert node.stop(number) == 0, node.text()
    assert 'Traceback' not in node.text()


@pytest.mark.parametrize(
    ('params', 'text'),
    [
        ({'cameras': '[front, front]'}, "cameras names 'front' twice; give each camera its own name"),
        ({'grid.resolution_m': '99.0'}, 'grid.resolution_m out of range Min: 0.01, Max: 5.0'),
        ({'grid.x_min_m': '50.0'}, 'expected min < max'),
        ({'backend': 'cuda'}, "backend is 'cuda'; expected one of auto, tensorrt, onnxruntime"),
        ({'front.extrinsics': '[1.0, 2.0]'}, 'front.extrinsics is [1.0, 2.0]; expected 6 finite numbers'),
        ({'front.hood': '1.5'}, 'front.hood out of range Min: 0.0, Max: 0.9'),
        ({'grid.resolution': '0.1'}, 'parameter grid.resolution does not exist; did you mean grid.resolution_m?'),
        ({'overlay_alpha': 'half'}, "'overlay_alpha' to 'half' of type 'STRING', expecting type 'DOUBLE'"),
    ],
)
def test_unusable_parameters_end_it_with_one_line(node_process, tmp_path, params, text):
    node = node_process(tmp_path, params=params)
    assert node.process.wait(20) == 1
    assert text in node.text()
    assert len(node.text().strip().splitlines()) == 1


def test_one_picture_for_two_cameras_ends_it_with_the_reason(node_process, tmp_path):
    node = node_process(tmp_path, {'cameras': '[front, left]', 'left.image_topic': '/front/image_raw'})
    assert node.process.wait(20) == 1
    assert 'cameras front and left both take /front/image_raw' in node.text()
    assert 'Traceback' not in node.text()


def test_unreadable_and_foreign_models_end_it_with_the_reason(node_process, tmp_path):
    foreign = tmp_path / 'foreign.onnx'
    foreign.write_bytes(b'not a model')
    for path, text in ((tmp_path / 'none.onnx', 'cannot read the model'), (foreign, 'foreign.onnx')):
        node = node_process(
            tmp_path, params={'model': str(path), 'backend': 'onnxruntime'}, command=['-m', 'seg_perception.ros.node']
        )
        assert node.process.wait(30) == 1
        assert text in node.text()
        assert 'Traceback' not in node.text()


def test_lifecycle_without_autostart(start, client):
    node = start(ready='not configured', params={'autostart': 'false', 'diagnostics_period_s': '0.1'})
    assert state(client) == 'unconfigured'
    assert change(client, CONFIGURE)
    assert state(client) == 'inactive'
    assert change(client, ACTIVATE)
    assert state(client) == 'active'
    client.results('front', ROAD, {'front/labels': Image})
    assert change(client, DEACTIVATE)
    before = client.count('camera front', 'processed')
    received = client.count('camera front', 'received')
    client.wait(
        lambda: client.count('camera front', 'received') > received + 2, 'images', lambda: client.send('front', ROAD)
    )
    assert client.count('camera front', 'processed') == before
    assert change(client, CLEANUP)
    assert state(client) == 'unconfigured'
    assert change(client, CONFIGURE)
    assert change(client, ACTIVATE)
    client.results('front', ROAD, {'front/labels': Image})
    assert node.stop() == 0


def test_a_transition_that_the_state_does_not_have_is_refused(start, client):
    """A lifecycle manager configures whatever it finds, also a node that has started itself."""
    node = start(params={})
    assert not change(client, CONFIGURE)
    assert not change(client, CLEANUP)
    assert state(client) == 'active'
    client.results('front', ROAD, {'front/labels': Image})
    assert change(client, DEACTIVATE)
    assert not change(client, DEACTIVATE)
    assert state(client) == 'inactive'
    assert 'transition 4 is refused: the node is inactive, which allows cleanup, activate, shutdown' in node.text()
    assert node.stop() == 0


def test_services_and_live_parameters(start, client):
    start(params={'front.extrinsics': '[0.0, 0.0, 1.5, 0.0, 0.1, 0.0]', 'diagnostics_period_s': '0.1'})
    grids = client.listen('/seg_perception/drivable_area', OccupancyGrid, LATCHED)
    client.results('front', ROAD, {'drivable_area': OccupancyGrid})
    assert client.call('reset_grid', Trigger, Trigger.Request()).success
    client.wait(lambda: set(grids[-1].data) == {-1}, 'an unknown grid after the reset')

    labels = client.listen('/seg_perception/front/labels', Image)
    client.results('front', ROAD, {'front/labels': Image})
    assert client.call('set_enabled', SetBool, SetBool.Request(data=False)).success
    client.status('engine', lambda s: s.message == 'disabled')
    labels.clear()
    received = client.count('camera front', 'received')
    client.wait(
        lambda: client.count('camera front', 'received') > received + 2, 'images', lambda: client.send('front', ROAD)
    )
    assert labels == []
    assert client.call('set_enabled', SetBool, SetBool.Request(data=True)).success

    double, string, integer = (getattr(ParameterType, f'PARAMETER_{t}') for t in ('DOUBLE', 'STRING', 'INTEGER'))
    assert set_parameter(client, 'output_size', string, string_value='camera').successful
    big = np.full((128, 192, 3), DEFAULT_LABELS.classes[0].color, np.uint8)
    client.wait(lambda: any(m.width == 192 for m in labels), 'labels of camera size', lambda: client.send('front', big))
    assert set_parameter(client, 'grid.resolution_m', double, double_value=0.2).successful
    client.wait(lambda: grids[-1].info.width == 200, 'a coarser grid', lambda: client.send('front', ROAD))
    for name, kind, value, reason in (
        ('grid.x_max_m', double, {'double_value': -5.0}, 'expected min < max'),
        ('overlay_alpha', double, {'double_value': 2.0}, 'out of range'),
        ('max_batch', integer, {'integer_value': 2}, 'read-only'),
    ):
        result = set_parameter(client, name, kind, **value)
        assert not result.successful
        assert reason in result.reason


def test_overload_skips_old_images_and_counts_them(start, client):
    """The engine takes 0.2 s and images come much faster: what comes out is new, and nothing piles up."""
    start(params={'diagnostics_period_s': '0.1'}, FAKE_ENGINE_S='0.2')
    labels = client.listen('/seg_perception/front/labels', Image)
    sent = []

    def send():
        sent.append(client.send('front', ROAD).header.stamp)

    client.wait(lambda: len(labels) >= 4, 'four results under overload', send)
    status = values(client.status('camera front', lambda s: int(values(s)['skipped']) > 0))
    assert int(status['received']) <= len(sent)
    assert int(status['processed']) + int(status['skipped']) >= int(status['received']) - 2
    positions = [sent.index(m.header.stamp) for m in labels]
    assert positions == sorted(positions)
    assert all(b - a >= 2 for a, b in itertools.pairwise(positions)), 'images in between were skipped'


def test_fresh_cameras_go_through_the_engine_as_one_batch(start, client):
    node = start(params={'cameras': '[front, left, right]', 'max_batch': '2'}, FAKE_ENGINE_S='0.1')
    lists = [client.listen(f'/seg_perception/{c}/labels', Image) for c in ('front', 'left', 'right')]
    client.wait(
        lambda: all(len(messages) >= 3 for messages in lists) and 'batch of 2' in node.text(),
        'results of three cameras, two of them at once',
        lambda: [client.send(c, ROAD) for c in ('front', 'left', 'right')],
    )
    assert 'batch of 3' not in node.text()


def test_grid_moves_with_odometry(start, client):
    """The vehicle stands at x = 100.04 m in odom: whole cells of 0.1 m, the window 0 to 40 m ahead of it."""
    start(params={'front.extrinsics': '[0.0, 0.0, 1.5, 0.0, 0.1, 0.0]', 'diagnostics_period_s': '0.1'})
    publisher = client.publisher('/odom', Odometry)
    grids = client.listen('/seg_perception/drivable_area', OccupancyGrid, LATCHED)

    def drive():
        message = Odometry(child_frame_id='base_link')
        message.header.stamp = client.stamp()
        message.pose.pose.position.x, message.pose.pose.orientation.w = 100.04, 1.0
        publisher.publish(message)
        client.send_info('front')
        client.send('front', ROAD, stamp=message.header.stamp)

    client.wait(lambda: any(g.header.frame_id == 'odom' and 0 in g.data for g in grids), 'a grid in odom', drive)
    grid = next(g for g in grids if g.header.frame_id == 'odom' and 0 in g.data)
    assert (grid.info.origin.position.x, grid.info.origin.position.y) == pytest.approx((100.0, -20.0))
    # Images after odometry has ended are not placed anywhere.
    status = client.status(
        'camera front', lambda s: 'no odometry within 0.2 s' in s.message, each=lambda: client.send('front', ROAD)
    )
    assert status.level == DiagnosticStatus.WARN


def test_failing_engine_is_opened_again(start, client):
    node = start(params={'diagnostics_period_s': '0.1'}, FAKE_ENGINE_FAILS_AT='2')
    labels = client.listen('/seg_perception/front/labels', Image)
    client.wait(lambda: len(labels) >= 3, 'results before and after the failure', lambda: client.send('front', ROAD))
    assert client.count('engine', 'engine errors') == 1
    assert 'engine failed: the device fell off the bus; opening it again' in node.text()


def test_bug_ends_the_node_visibly(start, client):
    node = start(params={'diagnostics_period_s': '0.1'}, FAKE_ENGINE_BUG_AT='2')
    client.listen('/seg_perception/front/labels', Image)
    client.wait(lambda: node.process.poll() is not None, 'the end of the node', lambda: client.send('front', ROAD))
    assert node.process.returncode == 1
    assert 'Traceback' in node.text()
    assert 'ZeroDivisionError: a bug' in node.text()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_while_the_engine_is_being_opened(node_process, client, tmp_path, number):
    node = node_process(tmp_path, params={}, FAKE_ENGINE_OPEN_S='60')
    client.wait(lambda: 'opening the engine' in node.text(), 'the engine being opened')
    assert node.stop(number) == 0, node.text()
    assert 'Traceback' not in node.text()


def test_a_build_is_given_up_when_the_node_is_stopped(node_process, client, tmp_path):
    node = node_process(tmp_path, params={}, FAKE_ENGINE_BUILD_S='60')
    client.wait(lambda: 'opening the engine' in node.text(), 'the engine being built')
    assert node.stop(signal.SIGINT) == 0, node.text()
    assert 'the build was given up' in node.text()
    assert 'Traceback' not in node.text()


def test_unreadable_parameter_file_ends_it_with_one_line(node_process, tmp_path):
    bad = tmp_path / 'params.yaml'
    bad.write_text('/**:\n  ros__parameters:\n')
    node = node_process(
        tmp_path, params={}, command=['-m', 'seg_perception.ros.node', '--ros-args', '--params-file', str(bad)]
    )
    assert node.process.wait(20) == 1
    assert "Couldn't parse params file" in node.text()
    assert 'Traceback' not in node.text()


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        ('front.extrinsics:=[1,0,1,0,0,0]', 'write every number with a point, such as 1.0'),
        ('front.extrinsics:=[1.6,0,1.4,0,0,0]', 'write every number of a list with a point, such as 1.0'),
        ("front.image_topic:='bad topic'", "front.image_topic is 'bad topic'; topic name must not contain"),
    ],
)
def test_a_parameter_that_ros_does_not_take_is_one_line_with_the_remedy(node_process, tmp_path, given, said):
    node = node_process(tmp_path, params={}, command=['-m', 'seg_perception.ros.node', '--ros-args', '-p', given])
    assert node.process.wait(20) == 1
    assert said in node.text()
    assert 'Traceback' not in node.text()
