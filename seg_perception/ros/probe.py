"""Takes the doctor's snapshot of a live system: asks the node, then listens to the cameras for a few seconds."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

from seg_perception.doctor import machine, snapshot
from seg_perception.doctor.checks_camera import COMPRESSED, RAW
from seg_perception.errors import ConfigError
from seg_perception.ros.convert import stamp_ns
from seg_perception.ros.listening import CameraEar
from seg_perception.ros.parameters import check_topic
from seg_perception.ros.probe_graph import Graph
from seg_perception.ros.probe_node import ask_node, camera_topics, find_node

SETTLE_S = 1.0
"""The graph counts as discovered when something is there and nothing changed for so long."""
DISCOVERY_S = 6.0
BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """What to look at."""

    node: str = 'seg_perception'
    """Name of the node; found in any namespace unless it begins with a slash."""
    cameras: tuple[str, ...] = ()
    """`name` or `name=topic`; empty for those of the node, or every image topic without it."""
    cameras_only: bool = False
    base_frame: str = ''
    """'' for the node's, else base_link."""
    duration_s: float = 4.0
    min_rate_hz: float = 5.0
    model: str = ''

    def __post_init__(self) -> None:
        if not 0.5 <= self.duration_s <= 600.0:
            raise ConfigError(f'duration is {self.duration_s} s; expected 0.5 to 600')
        if not self.min_rate_hz > 0:
            raise ConfigError(f'lowest rate is {self.min_rate_hz} Hz; expected more than 0')
        for camera in self.cameras:
            name, _, topic = camera.partition('=')
            if not name:
                raise ConfigError(f'camera is {camera!r}; expected NAME or NAME=TOPIC')
            check_topic('topic', topic or f'/{name.strip("/")}/image_raw')


class Listener:
    """Collects what comes over every topic of interest, stamped at reception."""

    def __init__(self, node: Any, odometry: str) -> None:
        self.clock_ns: list[int] = []
        self.diagnostics: dict[str, Any] = {}
        self.odometry: snapshot.OdometrySample | None = None
        self.edges: dict[str, dict[str, snapshot.Edge]] = {}
        node.create_subscription(Clock, '/clock', lambda m: self.clock_ns.append(stamp_ns(m.clock)), BEST_EFFORT)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, BEST_EFFORT)
        node.create_subscription(Odometry, odometry, self._on_odometry, BEST_EFFORT)
        self.tf_readable = self._listen_to_tf(node)

    def _listen_to_tf(self, node: Any) -> bool:
        try:
            message = importlib.import_module('tf2_msgs.msg').TFMessage
        except ImportError:
            return False
        node.create_subscription(message, '/tf', lambda m: self._on_tf(m, False), BEST_EFFORT)
        node.create_subscription(message, '/tf_static', lambda m: self._on_tf(m, True), LATCHED)
        return True

    def _on_diagnostics(self, message: Any) -> None:
        self.diagnostics.update({s.name: s for s in message.status})

    def _on_odometry(self, message: Any) -> None:
        arrival = snapshot.Arrival(stamp_ns(message.header.stamp), time.time_ns(), None, None)
        self.odometry = snapshot.OdometrySample(message.header.frame_id, message.child_frame_id, arrival)

    def _on_tf(self, message: Any, static: bool) -> None:
        for t in message.transforms:
            child, parent = t.child_frame_id.lstrip('/'), t.header.frame_id.lstrip('/')
            self.edges.setdefault(child, {})[parent] = snapshot.Edge(parent, static, stamp_ns(t.header.stamp))


class Probe:
    """A temporary ROS node; `close` it."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        name = f'seg_perception_doctor_{os.getpid()}'
        self.node = rclpy.create_node(
            name, context=self.context, enable_rosout=False, start_parameter_services=False, use_global_arguments=False
        )
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.graph = Graph(self.node)

    def spin(self, seconds: float) -> None:
        """Handle messages for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=min(left, 0.1))

    def discover(self, found: Callable[[], bool]) -> None:
        """Wait until no node or topic has appeared for a while and what is looked for is `found`.

        A participant whose first answers were lost announces itself again every three seconds.
        """
        end, changed, seen = time.monotonic() + DISCOVERY_S, time.monotonic(), None
        while time.monotonic() < end and not (seen and time.monotonic() - changed > SETTLE_S and found()):
            self.spin(0.1)
            now = self.graph.fingerprint()
            if now != seen:  # None while the doctor is alone
                changed, seen = time.monotonic(), now

    def close(self) -> None:
        """Leave the graph."""
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


def take(options: ProbeOptions) -> snapshot.Snapshot:
    """Look at the running system for `options.duration_s` and about a second more."""
    probe = Probe()
    try:
        return _take(probe, options)
    finally:
        probe.close()


def _take(probe: Probe, options: ProbeOptions) -> snapshot.Snapshot:
    probe.discover(lambda: options.cameras_only or bool(find_node(probe, options.node)))
    node = ask_node(probe, options)
    wanted = _cameras(probe.graph, node, options)
    listener = Listener(probe.node, node.odometry.name)
    ears = [CameraEar(probe.node, *camera, listener.clock_ns) for camera in wanted]
    probe.spin(options.duration_s)
    ended_ns = time.time_ns()
    topics = probe.graph.types()
    prefix = f'{node.name.rpartition("/")[2]}: '
    return snapshot.Snapshot(
        machine=machine.look(str(node.parameters.get('model') or options.model)),
        transport=machine.transport(rclpy.get_rmw_implementation_identifier()),
        duration_s=options.duration_s,
        ended_ns=ended_ns,
        clock=snapshot.ClockSnapshot(probe.graph.topic('/clock'), tuple(listener.clock_ns)),
        tf=snapshot.TfSnapshot(
            listener.tf_readable,
            probe.graph.topic('/tf'),
            probe.graph.topic('/tf_static'),
            {child: tuple(parents.values()) for child, parents in listener.edges.items()},
        ),
        node=_complete(node, probe.graph, listener, prefix),
        cameras=tuple(ear.heard(probe.graph, _mounted(node, ear.name)) for ear in ears),
        topics=topics,
        min_rate_hz=options.min_rate_hz,
        base_frame=options.base_frame or str(node.parameters.get('base_frame', 'base_link')),
    )


def _mounted(node: snapshot.NodeSnapshot, camera: str) -> bool:
    return bool(node.parameters.get(f'{camera}.extrinsics'))


def _cameras(graph: Graph, node: snapshot.NodeSnapshot, options: ProbeOptions) -> Sequence[tuple[str, str, str, bool]]:
    """Return name, image topic, info topic and whether compressed: as asked for, as the node has it, or all there are."""
    types = {t: kind for t, kind in graph.types().items() if not t.startswith(f'{node.name}/')}
    if options.cameras:
        pairs = [text.partition('=')[::2] for text in options.cameras]
        named = [(name, topic or f'/{name.strip("/")}/image_raw') for name, topic in pairs]
    elif node.parameters:
        return camera_topics(graph, node)
    else:
        raw = [t for t, kind in types.items() if kind == RAW]
        named = [(_short(t), t) for t in raw]
        named += [(_short(t), t) for t, kind in types.items() if kind == COMPRESSED and t.rpartition('/')[0] not in raw]
    return [(name, topic, _info_topic(topic), types.get(topic) == COMPRESSED) for name, topic in sorted(named)]


def _info_topic(image: str) -> str:
    return f'{image.removesuffix("/compressed").rpartition("/")[0]}/camera_info'


def _short(topic: str) -> str:
    return topic.removesuffix('/compressed').rpartition('/')[0].lstrip('/') or topic.lstrip('/')


def _complete(node: snapshot.NodeSnapshot, graph: Graph, listener: Listener, prefix: str) -> snapshot.NodeSnapshot:
    """Add what was heard while listening; one more node of the name may have announced itself meanwhile."""
    samples = tuple(
        snapshot.DiagnosticSample(s.name, s.level[0], s.message, {v.key: v.value for v in s.values})
        for name, s in sorted(listener.diagnostics.items())
        if name.startswith(prefix)
    )
    outputs = tuple(graph.topic(t) for t in graph.types() if t.startswith(f'{node.name}/'))
    return replace(
        node,
        count=max(node.count, graph.nodes().count(node.name)) if node.count else 0,
        diagnostics=samples,
        outputs=outputs,
        odometry=graph.topic(node.odometry.name),
        odometry_sample=listener.odometry,
    )
