"""What the running node says of itself when asked: parameters, lifecycle state, and its topics after remapping."""

from __future__ import annotations

import time
from typing import Any

from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python

from seg_perception.doctor.checks_camera import COMPRESSED, RAW
from seg_perception.doctor.snapshot import NodeSnapshot, Topic
from seg_perception.ros.probe_graph import Graph

ANSWER_S = 4.0
"""Longest wait for an answer; a vehicle under load answers late, and a node that hangs never does."""
TRIES = 3
"""An answer is lost when it comes before DDS has matched its reader; then the question is put again."""
CAMERA_OPTIONS = ('image_topic', 'info_topic', 'compressed', 'extrinsics')
NODE_OPTIONS = (
    'cameras',
    'model',
    'backend',
    'base_frame',
    'odometry',
    'odometry_timeout_s',
    'image_timeout_s',
    'use_sim_time',
)


def find_node(probe: Any, name: str) -> list[str]:
    """Return the full names of all nodes that `name` may mean, with or without its namespace."""
    return [n for n in probe.graph.nodes() if n == name or n.rpartition('/')[2] == name]


def ask_node(probe: Any, options: Any) -> NodeSnapshot:
    """Find the node and ask it; one that does not answer has no parameters and no state."""
    found = find_node(probe, options.node)
    name = found[0] if found else f'/{options.node.lstrip("/")}'
    if options.cameras_only or not found:
        return NodeSnapshot(name, expected=not options.cameras_only, odometry=Topic('/odom'))
    client = probe.node.create_client(GetParameters, f'{name}/get_parameters')
    parameters = _parameters(probe, client, NODE_OPTIONS)
    cameras = parameters.get('cameras') or ()
    parameters.update(_parameters(probe, client, [f'{c}.{o}' for c in cameras for o in CAMERA_OPTIONS]))
    subscribed = probe.graph.subscribed(name)
    odometry = [t for t, kind in subscribed.items() if kind == 'nav_msgs/msg/Odometry']
    return NodeSnapshot(
        name,
        count=found.count(name),
        state=_state(probe, name) if parameters else None,
        parameters=parameters,
        odometry=Topic(odometry[0] if odometry else f'{name.rpartition("/")[0]}/odom'),
    )


def _parameters(probe: Any, client: Any, names: Any) -> dict[str, Any]:
    """Ask for each parameter by itself: one that is declared without a value empties a joint answer."""
    if not names or not _wait(probe, client.service_is_ready):
        return {}
    answers: dict[str, Any] = {}
    for _ in range(TRIES):
        asked = [name for name in names if name not in answers]
        futures = {name: client.call_async(GetParameters.Request(names=[name])) for name in asked}
        _wait(probe, lambda waiting=futures: all(f.done() for f in waiting.values()))
        answers |= {name: f.result().values for name, f in futures.items() if f.done()}
        if len(answers) == len(names):
            break
    values = {name: parameter_value_to_python(v[0]) for name, v in answers.items() if v}
    return {name: value for name, value in values.items() if value is not None}


def _state(probe: Any, name: str) -> str | None:
    client = probe.node.create_client(GetState, f'{name}/get_state')
    if not _wait(probe, client.service_is_ready):
        return None
    future = client.call_async(GetState.Request())
    return str(future.result().current_state.label) if _wait(probe, future.done) else None


def _wait(probe: Any, condition: Any) -> bool:
    end = time.monotonic() + ANSWER_S
    while not condition() and time.monotonic() < end:
        probe.executor.spin_once(timeout_sec=0.05)
    return bool(condition())


def camera_topics(graph: Graph, node: NodeSnapshot) -> list[tuple[str, str, str, bool]]:
    """Return name, image topic, info topic and whether compressed of each camera of the node.

    Names are expanded as the node does. A remapped topic is found among those it subscribes to, when only one is left.
    """
    space = node.name.rpartition('/')[0]
    subscribed = graph.subscribed(node.name)
    found = []
    for name in node.parameters.get('cameras') or ():
        compressed = bool(node.parameters.get(f'{name}.compressed', False))
        default = f'{name}/image_raw' + ('/compressed' if compressed else '')
        image = _expand(str(node.parameters.get(f'{name}.image_topic') or default), space, node.name)
        info = _expand(str(node.parameters.get(f'{name}.info_topic') or f'{name}/camera_info'), space, node.name)
        found.append((name, image, info, compressed))
    for column, kinds in ((1, (RAW, COMPRESSED)), (2, ('sensor_msgs/msg/CameraInfo',))):
        expected = {camera[column] for camera in found}
        actual = {t for t, kind in subscribed.items() if kind in kinds}
        lacking, left = expected - actual, actual - expected
        if len(lacking) == len(left) == 1:
            renamed = {lacking.pop(): left.pop()}
            found = [(*c[:column], renamed.get(c[column], c[column]), *c[column + 1 :]) for c in found]  # type: ignore[misc]
    return found


def _expand(topic: str, space: str, node: str) -> str:
    if topic.startswith('~/'):
        return f'{node}/{topic[2:]}'
    return topic if topic.startswith('/') else f'{space}/{topic}'
