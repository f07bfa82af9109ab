"""Everything the checks look at, as plain values: taken from a live system, or written down in a test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Qos(NamedTuple):
    """The policies of rmw_qos_profile_t that decide whether two endpoints match."""

    reliability: str = 'best_effort'
    """'reliable' or 'best_effort'."""
    durability: str = 'volatile'
    """'volatile' or 'transient_local'."""
    deadline_s: float = math.inf
    liveliness: str = 'automatic'
    """'automatic' or 'manual_by_topic'."""
    lease_s: float = math.inf


class Endpoint(NamedTuple):
    """One publisher or subscriber of a topic."""

    node: str
    """Full name of its node."""
    type: str
    """Such as 'sensor_msgs/msg/Image'."""
    qos: Qos


class Topic(NamedTuple):
    """Who publishes and who subscribes."""

    name: str
    publishers: tuple[Endpoint, ...] = ()
    subscribers: tuple[Endpoint, ...] = ()
    """Without the doctor's own."""


class Arrival(NamedTuple):
    """One message as it came in."""

    stamp_ns: int
    """header.stamp."""
    wall_ns: int
    """System time at reception."""
    clock_ns: int | None
    """Newest value of /clock at reception; None before the first."""
    sequence: int | None
    """Number given by the publisher's middleware, where rclpy tells it."""


class ImageSample(NamedTuple):
    """The fields of sensor_msgs/Image, or of CompressedImage with `width`, `height`, `step` 0."""

    data: bytes
    encoding: str
    width: int = 0
    height: int = 0
    step: int = 0
    frame_id: str = ''
    wire_bytes: int = 0
    """Size of the serialised message."""


class InfoSample(NamedTuple):
    """The fields of sensor_msgs/CameraInfo that the node uses."""

    width: int
    height: int
    k: tuple[float, ...]
    d: tuple[float, ...]
    distortion_model: str
    binning: tuple[int, int] = (0, 0)
    roi: tuple[int, int, int, int] = (0, 0, 0, 0)
    """x_offset, y_offset, width, height."""
    frame_id: str = ''


TF, TF_STATIC, CLOCK, ODOM = Topic('/tf'), Topic('/tf_static'), Topic('/clock'), Topic('/odom')


@dataclass(frozen=True, slots=True)
class CameraSnapshot:
    """One camera's two topics and what came over them."""

    name: str
    image: Topic
    info: Topic
    compressed: bool = False
    extrinsics: bool = False
    """The node places the camera by parameters, not by TF."""
    images: tuple[Arrival, ...] = ()
    samples: tuple[ImageSample, ...] = ()
    """A few images: the first of every size, and the last."""
    infos: tuple[Arrival, ...] = ()
    calibration: InfoSample | None = None
    """The newest one."""


class Edge(NamedTuple):
    """One transform from parent to child."""

    parent: str
    static: bool
    stamp_ns: int
    """Newest stamp."""


@dataclass(frozen=True, slots=True)
class TfSnapshot:
    """The frames of /tf and /tf_static."""

    readable: bool
    """Whether tf2_msgs is installed; without it only the topics are seen."""
    dynamic: Topic = TF
    static: Topic = TF_STATIC
    edges: Mapping[str, tuple[Edge, ...]] = field(default_factory=dict)
    """By child frame; more than one when parents differ."""


@dataclass(frozen=True, slots=True)
class ClockSnapshot:
    """The /clock topic."""

    topic: Topic = CLOCK
    times_ns: tuple[int, ...] = ()


class OdometrySample(NamedTuple):
    """The fields of nav_msgs/Odometry that the node uses."""

    frame_id: str
    child_frame_id: str
    arrival: Arrival


class DiagnosticSample(NamedTuple):
    """One diagnostic_msgs/DiagnosticStatus of the node."""

    name: str
    level: int
    """0 OK, 1 WARN, 2 ERROR, 3 STALE."""
    message: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """The running node, as its services and /diagnostics describe it."""

    name: str
    expected: bool = True
    """Whether the user expects the node to run."""
    count: int = 0
    """Nodes of this name; 0 when it does not run."""
    state: str | None = None
    """Lifecycle state such as 'active'; None when the service did not answer."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Empty when the services did not answer."""
    diagnostics: tuple[DiagnosticSample, ...] = ()
    """The newest of each name."""
    outputs: tuple[Topic, ...] = ()
    """Topics under the node's name that it publishes."""
    odometry: Topic = ODOM
    odometry_sample: OdometrySample | None = None


@dataclass(frozen=True, slots=True)
class TransportSnapshot:
    """Middleware settings of the process that took the snapshot."""

    rmw: str
    domain_id: str = ''
    """ROS_DOMAIN_ID as set; '' when it is not."""
    domains_here: tuple[int, ...] = ()
    """Domains that have participants on this machine, by their UDP ports."""
    builtin: str = ''
    """FASTDDS_BUILTIN_TRANSPORTS."""
    profile_path: str = ''
    """FASTRTPS_DEFAULT_PROFILES_FILE."""
    profile_problem: str = ''
    segment_bytes: int | None = None
    """Shared-memory segment of the profile; None when no profile sets one."""
    shm_free_bytes: int | None = None
    failure: str = ''
    """Why ROS could not be started; '' when it runs."""


@dataclass(frozen=True, slots=True)
class MachineSnapshot:
    """Versions, accelerator and model."""

    versions: Mapping[str, str | None] = field(default_factory=dict)
    """Installed version by package; None when absent."""
    gpu: str = ''
    """Name of the GPU; '' without one."""
    tensorrt: str = ''
    """'tensorrt 10.3.0'; '' when it cannot be loaded."""
    tensorrt_problem: str = ''
    model_path: str = ''
    model_problem: str = ''
    model_facts: str = ''
    plans: tuple[str, ...] = ()
    """One line for each cached plan of the model."""
    plan_problem: str = ''


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at the whole system."""

    machine: MachineSnapshot
    transport: TransportSnapshot
    duration_s: float = 0.0
    """How long messages were collected."""
    ended_ns: int = 0
    """System time at the end of that; 0 when unknown."""
    clock: ClockSnapshot = field(default_factory=ClockSnapshot)
    tf: TfSnapshot = field(default_factory=lambda: TfSnapshot(readable=False))
    node: NodeSnapshot = field(default_factory=lambda: NodeSnapshot('/seg_perception', expected=False))
    cameras: tuple[CameraSnapshot, ...] = ()
    topics: Mapping[str, str] = field(default_factory=dict)
    """Type of every topic of the graph that has a publisher."""
    min_rate_hz: float = 5.0
    base_frame: str = 'base_link'

    @property
    def simulated_time(self) -> bool:
        """Whether stamps are to be compared with /clock: the node's use_sim_time, or without a node, whether /clock has a publisher."""
        if self.node.parameters:
            return bool(self.node.parameters.get('use_sim_time', False))
        return bool(self.clock.topic.publishers)
