"""The real node as a process, and a client that talks to it over DDS."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

with warnings.catch_warnings():  # PyPI's rclpy brings a lark that imports a deprecated module
    warnings.simplefilter('ignore', DeprecationWarning)
    rclpy = pytest.importorskip('rclpy', reason='rclpy is not installed')
    pytest.importorskip('rosidl_generator_py')

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from seg_perception.engine.fake import FakeEngine
from seg_perception.ros.node import PerceptionNode

HERE = Path(__file__).parent
DOMAIN = 1 + os.getpid() % 100
"""Linux has ports for domains 0 to 101; the process id keeps concurrent test runs apart."""
PROFILE = HERE.parent.parent / 'config' / 'fastdds_shm.xml'
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TIMEOUT_S = 40.0

os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = os.environ['FASTDDS_DEFAULT_PROFILES_FILE'] = str(PROFILE)


class NodeProcess:
    """`fake_node.py` (or any module) running with parameters."""

    def __init__(self, folder: Path, params: dict[str, Any], command: list[str] | None = None, **env: str) -> None:
        self.log = folder / 'node.log'
        arguments = [a for k, v in params.items() for a in ('-p', f'{k}:={v}')]
        with self.log.open('w') as out:
            self.process = subprocess.Popen(
                [sys.executable, *(command or [str(HERE / 'fake_node.py')]), '--ros-args', *arguments],
                env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN), 'PYTHONUNBUFFERED': '1', **env},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def text(self) -> str:
        """Return what the node has printed."""
        return self.log.read_text()

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)


class Client:
    """A participant that plays cameras and listens to the node."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = rclpy.create_node('client', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.received: dict[str, list[Any]] = {}
        self._subscriptions: dict[str, Any] = {}
        self._publishers: dict[str, Any] = {}
        self._stamp_ns = 0
        self.listen('/diagnostics', DiagnosticArray, QoSProfile(depth=10))

    def wait(self, condition: Callable[[], Any], what: str, each: Callable[[], None] = lambda: None) -> Any:
        """Spin until `condition` gives something true; run `each` every 50 ms meanwhile."""
        end = time.monotonic() + TIMEOUT_S
        next_s = 0.0
        while time.monotonic() < end:
            if time.monotonic() >= next_s:
                each()
                next_s = time.monotonic() + 0.05
            self.executor.spin_once(timeout_sec=0.01)
            found = condition()
            if found:
                return found
        raise AssertionError(f'waited {TIMEOUT_S} s for {what}; last diagnostics: {self.statuses()}')

    def stamp(self) -> Time:
        """Return the time now, later than any stamp before."""
        self._stamp_ns = max(time.time_ns(), self._stamp_ns + 1_000_000)
        return Time(sec=self._stamp_ns // 10**9, nanosec=self._stamp_ns % 10**9)

    def listen(self, topic: str, kind: Any, qos: QoSProfile = QoSProfile(depth=5)) -> list[Any]:  # noqa: B008
        """Subscribe and return the list that messages go to."""
        if topic not in self._subscriptions:
            messages: list[Any] = []
            self.received[topic] = messages
            self._subscriptions[topic] = self.node.create_subscription(kind, topic, messages.append, qos)
        return self.received[topic]

    def ignore(self, topic: str) -> None:
        """Unsubscribe."""
        self.node.destroy_subscription(self._subscriptions.pop(topic))
        self.received.pop(topic)

    def publisher(self, topic: str, kind: Any, qos: QoSProfile = BEST_EFFORT) -> Any:
        """Return the publisher of a topic, with the node subscribed to it."""
        if topic not in self._publishers:
            self._publishers[topic] = self.node.create_publisher(kind, topic, qos)
            self.wait(self._publishers[topic].get_subscription_count, f'a subscriber of {topic}')
        return self._publishers[topic]

    def send(
        self, camera: str, pixels: np.ndarray, encoding: str = 'rgb8', stamp: Time | None = None, **fields: Any
    ) -> Any:
        """Publish an image of a camera and return the message."""
        message = image_message(pixels, encoding, stamp or self.stamp(), f'{camera}_optical', **fields)
        self.publisher(f'/{camera}/image_raw', Image).publish(message)
        return message

    def send_info(self, camera: str, width: int = 96, height: int = 64, **fields: Any) -> None:
        """Publish a pinhole calibration of a camera."""
        info = camera_info(width, height)
        for name, value in fields.items():
            setattr(info, name, value)
        info.header.stamp = self.stamp()
        self.publisher(f'/{camera}/camera_info', CameraInfo).publish(info)

    def results(self, camera: str, pixels: np.ndarray, topics: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Publish an image and its calibration until one and the same stamp has come back on all `topics` (name: type)."""
        sent: dict[int, Any] = {}

        def publish() -> None:
            self.send_info(camera, kwargs.get('width', pixels.shape[1]), kwargs.get('height', pixels.shape[0]))
            message = self.send(camera, pixels, **kwargs)
            sent[stamp_ns(message.header.stamp)] = message

        lists = {
            t: self.listen(f'/seg_perception/{t}', kind, LATCHED if t == 'drivable_area' else QoSProfile(depth=5))
            for t, kind in topics.items()
        }
        for messages in lists.values():
            messages.clear()

        def complete() -> dict[str, Any] | None:
            by_stamp = {t: {stamp_ns(m.header.stamp): m for m in messages} for t, messages in lists.items()}
            common = set(sent).intersection(*by_stamp.values())
            return {t: found[max(common)] for t, found in by_stamp.items()} if common else None

        return dict(self.wait(complete, f'results on {list(topics)}', publish))

    def settle(self, camera: str, pixels: np.ndarray) -> None:
        """Publish good images and calibration until diagnostics say that the camera is well."""
        self.status(
            f'camera {camera}',
            lambda s: s.message == 'ok',
            each=lambda: (self.send_info(camera, pixels.shape[1], pixels.shape[0]), self.send(camera, pixels)),
        )

    def statuses(self) -> dict[str, DiagnosticStatus]:
        """Return the newest status of each part of the node."""
        messages = self.received['/diagnostics']
        return {s.name.removeprefix('seg_perception: '): s for m in messages[-1:] for s in m.status}

    def status(self, part: str, condition: Callable[[DiagnosticStatus], bool], **kwargs: Any) -> DiagnosticStatus:
        """Wait for a status of `part`, made after this call, that meets `condition`."""
        start_ns = time.time_ns()
        messages = self.received['/diagnostics']

        def found() -> DiagnosticStatus | None:
            fresh = messages and stamp_ns(messages[-1].header.stamp) >= start_ns
            status = self.statuses().get(part) if fresh else None
            return status if status is not None and condition(status) else None

        return self.wait(found, f'a status of {part}', **kwargs)

    def count(self, part: str, key: str) -> int:
        """Return a counter as the next diagnostics message says it."""
        return int(values(self.status(part, lambda s: key in values(s)))[key])

    def call(self, name: str, kind: Any, request: Any) -> Any:
        """Call a service of the node."""
        client = self.node.create_client(kind, f'/seg_perception/{name}')
        try:
            self.wait(client.service_is_ready, f'service {name}')
            future = client.call_async(request)
            self.wait(future.done, f'an answer of {name}')
            return future.result()
        finally:
            self.node.destroy_client(client)

    def close(self) -> None:
        """Leave DDS."""
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


def stamp_ns(stamp: Time) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {v.key: v.value for v in status.values}


def image_message(pixels: np.ndarray, encoding: str, stamp: Time, frame_id: str, **fields: Any) -> Image:
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.step = pixels.strides[0]
    message.data = array.array('B', pixels.tobytes())
    message.header.stamp, message.header.frame_id = stamp, frame_id
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def camera_info(width: int, height: int) -> CameraInfo:
    f, cx, cy = width * 0.6, (width - 1) / 2, (height - 1) / 2
    info = CameraInfo(width=width, height=height, distortion_model='plumb_bob', d=[0.0] * 5)
    info.k = [f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


@pytest.fixture
def node_process() -> type[NodeProcess]:
    """For tests that need a node of their own."""
    return NodeProcess


MOUNTED = '[0.0, 0.0, 1.5, 0.0, 0.1, 0.0]'


@pytest.fixture(scope='session')
def client() -> Iterator[Client]:
    """One participant for all tests."""
    c = Client()
    yield c
    c.close()


@pytest.fixture(scope='module')
def shared_node(tmp_path_factory: pytest.TempPathFactory, client: Client) -> Iterator[NodeProcess]:
    """One node with several cameras: front and left mounted by parameters, rear by TF, jpeg compressed.

    Tests with a node of their own must not use it: both would have the same name.
    """
    params = {
        'cameras': '[front, left, rear, jpeg]',
        'front.extrinsics': MOUNTED,
        'left.extrinsics': '[0.0, 0.0, 1.5, 0.0, 0.1, 1.5]',
        'jpeg.extrinsics': MOUNTED,
        'jpeg.compressed': 'true',
        'diagnostics_period_s': '0.1',
        'image_timeout_s': '0.5',
    }
    node = NodeProcess(tmp_path_factory.mktemp('shared'), params)
    client.status('engine', lambda s: s.message == 'running')
    yield node
    for topic in [t for t in client.received if t.startswith('/seg_perception/')]:
        client.ignore(topic)
    assert node.stop(signal.SIGTERM) == 0, node.text()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A node in this process with two cameras and a fake engine, not configured yet."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN))
    mounted = '[0.0, 0.0, 1.5, 0.0, 0.1, {yaw}]'
    params = {
        'model': 'fake',
        'cameras': '[front, left]',
        'front.extrinsics': mounted.format(yaw=0.0),
        'left.extrinsics': mounted.format(yaw=1.2),
        'grid.hold_s': '60.0',
        'image_timeout_s': '60.0',
    }
    rclpy.init(args=['--ros-args', *(a for k, v in params.items() for a in ('-p', f'{k}:={v}'))])
    made = PerceptionNode(lambda *_, **__: FakeEngine())
    yield made
    made.close()
    made.destroy_node()
    rclpy.try_shutdown()
