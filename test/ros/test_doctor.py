"""The doctor against real faults over DDS: it runs as the command that a user types."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from seg_perception.errors import ConfigError
from seg_perception.paths import default_model
from seg_perception.ros.probe import ProbeOptions

HERE = Path(__file__).parent
PROFILE = str(HERE.parent.parent / 'config' / 'fastdds_shm.xml')
FIRST_DOMAIN = 1 + (os.getpid() + 40) % 90
FAKE_NODE = [str(HERE / 'fake_node.py'), '--ros-args', '-p', 'image_timeout_s:=5.0']
TIMEOUT_S = 200.0
pytestmark = pytest.mark.timeout(240)  # a dozen processes start here, each of which imports rclpy


class Report(NamedTuple):
    """What `doctor --json` said."""

    code: int
    findings: list[dict[str, Any]]

    def of(self, subject: str, status: str) -> dict[str, str]:
        """Return the texts of a subject's findings of one status, by check."""
        return {f['check']: f['text'] for f in self.findings if (f['subject'], f['status']) == (subject, status)}


def environment(domain: int, **changes: str) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if 'DEFAULT_PROFILES_FILE' not in k and k != 'RMW_IMPLEMENTATION'}
    return {**env, 'ROS_DOMAIN_ID': str(domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', **changes}


@contextmanager
def running(command: list[str], first_line: str, **env: str) -> Iterator[None]:
    """Run a Python program from the moment it has printed `first_line` until the end of the block."""
    domain = int(env.pop('domain'))
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**environment(domain, **env), 'PYTHONUNBUFFERED': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    drain = threading.Thread(target=process.stdout.read, daemon=True)  # a full pipe would stop the program
    try:
        heard = ''
        for line in process.stdout:
            heard += line
            if first_line in line:
                break
        else:
            raise AssertionError(f'{command} ended: {heard}')
        drain.start()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT_S)
        if drain.ident is not None:
            drain.join()
        process.stdout.close()


def cameras(scenario: str, domain: int, **env: str) -> Any:
    return running([str(HERE / 'faulty_cameras.py'), scenario], 'ready', domain=str(domain), **env)


def start_doctor(domain: int, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, '-m', 'seg_perception', 'doctor', '--json', *arguments],
        env=environment(domain, **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> Report:
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode in (0, 3), err
    return Report(process.returncode, json.loads(out)['findings'])


@pytest.fixture(scope='module')
def without_node() -> dict[str, Report]:
    """Reports on cameras with one fault each: of their domain, of another one, and with a broken environment."""
    domain = FIRST_DOMAIN
    with cameras('one_fault_each', domain):
        runs = {
            'all': start_doctor(domain, '--cameras-only', '--duration', '3'),
            'other domain': start_doctor(
                domain + 1, '--duration', '1', FASTRTPS_DEFAULT_PROFILES_FILE='/nowhere/profile.xml'
            ),
            'rmw': start_doctor(domain, '--duration', '1', RMW_IMPLEMENTATION='rmw_nobody_cpp'),
        }
        return {name: finish(run) for name, run in runs.items()}  # ends the cameras before the next test


@pytest.mark.parametrize(
    ('camera', 'check', 'status', 'text'),
    [
        ('encoding', 'image', 'error', "'bayer_magic' is not supported"),
        ('short_step', 'image', 'error', 'step is 10 bytes'),
        ('short_data', 'image', 'error', 'image data is 100 bytes; expected 9216'),
        ('corrupt', 'image', 'error', 'cannot be decoded'),
        ('other_size', 'camera_info', 'error', 'for 128x96, the image is 64x48'),
        ('no_info', 'camera_info', 'error', 'nothing publishes /no_info/camera_info'),
        ('zero_focal', 'camera_info', 'error', 'focal lengths are 0.0'),
        ('nan_focal', 'camera_info', 'error', 'NaN'),
        ('past', 'stamps', 'error', '3600 s behind system time'),
        ('future', 'stamps', 'error', 'in the future of system time'),
        ('zero_stamp', 'stamps', 'error', 'stamp 0'),
        ('slow', 'rate', 'warning', 'expected at least 5'),
        ('silent', 'rate', 'error', 'sends none, or all are lost'),
        ('no_frame', 'pose', 'error', 'no frame_id'),
        ('doubled', 'publisher', 'error', '2 publishers on /doubled/image_raw'),
        ('unheard', 'qos', 'warning', 'best_effort is offered, reliable requested'),
        ('good', 'pose', 'error', 'nothing publishes /tf_static or /tf'),
    ],
)
def test_each_camera_fault_is_found(
    without_node: dict[str, Report], camera: str, check: str, status: str, text: str
) -> None:
    assert text in without_node['all'].of(f'camera {camera}', status)[check]


def test_a_good_camera_beside_them_lacks_only_its_pose(without_node: dict[str, Report]) -> None:
    assert list(without_node['all'].of('camera good', 'error')) == ['pose']
    assert without_node['all'].code == 3


def test_every_problem_comes_with_a_remedy(without_node: dict[str, Report]) -> None:
    reports = without_node.values()
    assert [f for r in reports for f in r.findings if f['status'] != 'ok' and not f['remedy']] == []


def test_cameras_in_another_domain_are_pointed_out(without_node: dict[str, Report]) -> None:
    report = without_node['other domain']
    assert re.search(rf'run in domain .*\b{FIRST_DOMAIN}\b', report.of('transport', 'warning')['domain'])
    assert 'no image topic' in report.of('camera', 'error')['publisher']


def test_a_node_that_does_not_run_is_an_error(without_node: dict[str, Report]) -> None:
    assert 'does not run' in without_node['other domain'].of('node', 'error')['running']


def test_a_profile_that_does_not_exist_is_an_error(without_node: dict[str, Report]) -> None:
    assert '/nowhere/profile.xml' in without_node['other domain'].of('transport', 'error')['profile']


def test_a_middleware_that_is_not_installed_is_an_error_and_the_rest_is_checked(
    without_node: dict[str, Report],
) -> None:
    report = without_node['rmw']
    assert 'rmw_nobody_cpp, which cannot be started' in report.of('transport', 'error')['rmw']
    assert 'versions' in report.of('machine', 'ok')


@pytest.fixture(scope='module')
def with_node() -> dict[str, Report]:
    """Reports on two nodes of one name under a stopped clock, and on a live camera beside a replay."""
    stopped, replayed = FIRST_DOMAIN + 2, FIRST_DOMAIN + 3
    parameters = ['-p', 'use_sim_time:=true', '-p', 'front.extrinsics:=[0.0, 0.0, 1.5, 0.0, 0.0, 0.0]', '-p']
    asleep = [*FAKE_NODE, *parameters, 'cameras:=[front, fron]', '-p', 'autostart:=false']
    awake = [*FAKE_NODE, *parameters, 'cameras:=[front, live]', '-p', 'backend:=tensorrt']
    with ExitStack() as stack:
        stack.enter_context(cameras('clock_stopped', stopped))
        stack.enter_context(cameras('clock_replayed', replayed))
        stack.enter_context(running(asleep, 'unconfigured', domain=str(stopped)))
        stack.enter_context(running(asleep, 'unconfigured', domain=str(stopped)))
        stack.enter_context(running(awake, 'configured', domain=str(replayed)))
        runs = {'stopped': start_doctor(stopped), 'replayed': start_doctor(replayed)}
        return {name: finish(run) for name, run in runs.items()}  # ends the cameras before the next test


def test_a_stopped_clock_is_found(with_node: dict[str, Report]) -> None:
    assert '/clock of /driver stands at 1000.000 s' in with_node['stopped'].of('clock', 'error')['clock']


def test_an_unconfigured_node_is_found_with_the_commands(with_node: dict[str, Report]) -> None:
    finding = next(f for f in with_node['stopped'].findings if f['check'] == 'state')
    assert finding['status'] == 'error'
    assert finding['text'].startswith('unconfigured')
    assert finding['remedy'].endswith('ros2 lifecycle set /seg_perception activate')


def test_two_nodes_of_one_name_are_found(with_node: dict[str, Report]) -> None:
    assert '2 nodes are called /seg_perception' in with_node['stopped'].of('node', 'error')['running']


def test_a_camera_without_a_topic_is_not_pointed_to_that_of_another(with_node: dict[str, Report]) -> None:
    finding = next(f for f in with_node['stopped'].findings if f['subject'] == 'camera fron')
    assert finding['text'] == 'nothing publishes /fron/image_raw'
    assert 'no other image topic exists' in finding['remedy'], '/front/image_raw is that of front'


def test_a_missing_model_is_found(with_node: dict[str, Report]) -> None:
    assert 'fake: cannot read the model' in with_node['stopped'].of('machine', 'error')['model']


def test_a_backend_that_cannot_run_here_is_found(with_node: dict[str, Report]) -> None:
    if Path('/proc/driver/nvidia').exists():
        pytest.skip('this machine has an NVIDIA GPU')
    assert 'backend is tensorrt' in with_node['replayed'].of('machine', 'error')['tensorrt']


def test_a_live_camera_in_a_replay_is_told_from_a_replayed_one(with_node: dict[str, Report]) -> None:
    report = with_node['replayed']
    assert 'this camera is live and the node is on simulated time' in report.of('camera live', 'error')['stamps']
    assert 'old on arrival by /clock' in report.of('camera front', 'ok')['stamps']
    assert 'extrinsics' in report.of('camera front', 'ok')['pose']


def measured_loss(domain: int, **env: str) -> tuple[int, int, str, str]:
    """Images lost and sent, status and remedy, of a 720p camera at 30 Hz for six seconds."""
    with cameras('large', domain, **env):
        report = finish(start_doctor(domain, '--cameras-only', '--duration', '6', **env))
    finding = next(f for f in report.findings if (f['subject'], f['check']) == ('camera front', 'loss'))
    missing, sent, share = map(int, re.findall(r'^(\d+) of (\d+) images lost \((\d+)%\)', finding['text'])[0])
    assert share == pytest.approx(100 * missing / sent, abs=0.51)
    return missing, sent, finding['status'], finding['remedy']


def test_images_larger_than_the_default_segment_are_measured_as_lost_and_the_remedy_helps() -> None:
    missing, sent, status, remedy = measured_loss(FIRST_DOMAIN + 4)
    assert (missing / sent > 0.02, status) == (True, 'error')
    assert 'FASTRTPS_DEFAULT_PROFILES_FILE' in remedy
    with_remedy, of, _, _ = measured_loss(FIRST_DOMAIN + 6, FASTRTPS_DEFAULT_PROFILES_FILE=PROFILE)
    assert with_remedy / of < missing / sent / 2


def test_a_healthy_system_is_healthy() -> None:
    try:
        default_model()
    except ConfigError as error:
        pytest.skip(str(error))
    domain = FIRST_DOMAIN + 5
    node = ['-m', 'seg_perception.ros.node', '--ros-args', '-p', 'image_timeout_s:=5.0', '-p', 'backend:=onnxruntime']
    node += ['-p', 'front.extrinsics:=[0.0, 0.0, 1.5, 0.0, 0.0, 0.0]']
    profile = {'FASTRTPS_DEFAULT_PROFILES_FILE': PROFILE}
    with cameras('healthy', domain, **profile), running(node, 'configured', domain=str(domain), **profile):
        report = finish(start_doctor(domain, **profile))
    assert [(f['check'], f['text']) for f in report.findings if f['status'] == 'error'] == []
    assert report.code == 0
    assert report.of('node', 'ok')['state'] == 'active'
    assert 'camera_info' in report.of('camera front', 'ok')


@pytest.mark.parametrize('camera', ['=/image_raw', 'front=/x y', 'a b'])
def test_a_camera_that_cannot_be_one_is_refused(camera: str) -> None:
    with pytest.raises(ConfigError, match="'"):
        ProbeOptions(cameras=(camera,))


def test_a_camera_is_heard_where_rclpy_tells_nothing_but_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import Image

    from seg_perception.ros import listening

    heard: list[Any] = []
    node = type('Node', (), {'create_subscription': lambda *arguments, **_: heard.append(arguments[3])})()
    monkeypatch.setattr(listening, 'Subscription', object)  # as in Humble, which has no `CallbackType`
    ear = listening.CameraEar(node, 'front', '/front/image_raw', '/front/camera_info', False, [])
    message = Image()
    message.header.stamp.sec = 7
    heard[0](serialize_message(message))
    assert [(a.stamp_ns, a.sequence) for a in ear._arrivals] == [(7_000_000_000, None)]
