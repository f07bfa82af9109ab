"""Everything the node publishes: images per camera, and what concerns the whole vehicle."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from nav_msgs.msg import OccupancyGrid as GridMessage
from rclpy.duration import Duration
from sensor_msgs.msg import PointCloud2

from seg_perception.grid import POINT, OccupancyGrid
from seg_perception.io import geometry
from seg_perception.labels import LabelMap
from seg_perception.ros import convert
from seg_perception.ros.camera_outputs import (
    LATCHED,
    RELIABLE,
    CameraOutputs,
    Processed,
)
from seg_perception.ros.config import NodeConfig
from seg_perception.ros.markers import MarkersOutput
from seg_perception.things import all_ground_points, is_placed, newest_of

ARRIVAL_S = 0.5
"""How long a closing node waits until its last grid has reached those who listen reliably."""


class VehicleOutput(Protocol):
    """A topic of the whole vehicle that is computed from labels with calibration and pose, e.g. points or markers.

    Add an implementation to `VEHICLE_OUTPUTS`; it is built with (node, config, labels) when the node is configured.
    """

    def __init__(self, node: Any, config: NodeConfig, labels: LabelMap) -> None: ...

    def wanted(self) -> bool:
        """Say whether anybody listens."""

    def publish(self, items: Sequence[Processed]) -> None:
        """Publish the results of one run; every item has `camera_model` and `vehicle_from_camera`."""

    def configure(self, config: NodeConfig) -> None:
        """Take new values of live parameters."""

    def values(self) -> dict[str, str]:
        """Return what diagnostics should show of the last run."""

    def close(self) -> None:
        """Destroy the publishers."""


class PointsOutput:
    """`~/points`: the labelled ground points of all cameras of a run, in base_frame."""

    def __init__(self, node: Any, config: NodeConfig, labels: LabelMap) -> None:
        self._node, self._config, self._labels = node, config, labels
        self._publisher = node.create_lifecycle_publisher(PointCloud2, '~/points', RELIABLE)
        convert.require_layout(PointCloud2, geometry.cloud(np.zeros(2, POINT), 1, config.base_frame))

    def wanted(self) -> bool:
        """Say whether anybody listens."""
        return bool(self._publisher.get_subscription_count())

    def publish(self, items: Sequence[Processed]) -> None:
        """Publish one cloud, stamped as its newest image."""
        results = [i.result for i in items]
        points = all_ground_points(results, self._config.grid, self._labels)
        if points is not None:
            self._publisher.publish(geometry.cloud(points, newest_of(results).stamp_ns, self._config.base_frame))

    def configure(self, config: NodeConfig) -> None:
        """Take new values of live parameters."""
        self._config = config

    def values(self) -> dict[str, str]:
        """Points add nothing to diagnostics."""
        return {}

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)


VEHICLE_OUTPUTS: list[type[VehicleOutput]] = [PointsOutput, MarkersOutput]


class GridOutput:
    """`~/drivable_area`. A latched grid outlives its evidence, so that it is turned unknown when nothing renews it.

    The worker publishes; anybody may withdraw, as a worker that hangs in its engine cannot.
    """

    def __init__(self, node: Any, config: NodeConfig) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(GridMessage, '~/drivable_area', LATCHED)
        self._out = convert.GridOut(config.base_frame, config.odom_frame)
        self._published_s: float | None = None
        self._lock = threading.RLock()
        self.free_ahead_m = math.nan

    def wanted(self) -> bool:
        """Say whether anybody listens."""
        return bool(self._publisher.get_subscription_count())

    def publish(self, grid: OccupancyGrid, ground_z_m: float) -> None:
        """Publish a grid; `ground_z_m` is the height of the ground in the vehicle frame."""
        with self._lock:
            self._publisher.publish(self._out.fill(grid, ground_z_m))
            self._published_s = time.monotonic()
            self.free_ahead_m = grid.free_ahead_m

    def withdraw(self) -> None:
        """Publish the last grid with every cell unknown, stamped now; once, and only when there was one."""
        with self._lock:
            if self._published_s is None:
                return
            self._published_s = None
            self.free_ahead_m = math.nan
            message = self._out.unknown(self._node.get_clock().now().to_msg())
            if message is not None:
                self._publisher.publish(message)

    def withdraw_stale(self, timeout_s: float) -> None:
        """Withdraw a grid that nothing has renewed for `timeout_s`, or that nobody listens to."""
        with self._lock:
            since_s = self._published_s
            if since_s is not None and (time.monotonic() - since_s > timeout_s or not self.wanted()):
                self.withdraw()

    def close(self) -> None:
        """Destroy the publisher, once a grid that was withdrawn has arrived."""
        self._publisher.wait_for_all_acked(Duration(seconds=ARRIVAL_S))
        self._node.destroy_lifecycle_publisher(self._publisher)


class Outputs:
    """All publishers of a configured node."""

    def __init__(self, node: Any, config: NodeConfig, labels: LabelMap) -> None:
        self.cameras = {name: CameraOutputs(node, name, labels) for name in config.cameras}
        self.grid = GridOutput(node, config)
        self.vehicle = [kind(node, config, labels) for kind in VEHICLE_OUTPUTS]

    def wants_geometry(self) -> bool:
        """Say whether anybody listens to something that needs the cameras' poses."""
        return self.grid.wanted() or any(o.wanted() for o in self.vehicle)

    def wants_lanes(self) -> bool:
        """Say whether anybody listens to something that shows lane lines."""
        markers = any(isinstance(o, MarkersOutput) and o.wanted() for o in self.vehicle)
        return markers or any(c.wants_overlay() for c in self.cameras.values())

    def publish_labels(self, items: Sequence[Processed], config: NodeConfig) -> None:
        """Publish the labels of one run, which nothing else has to wait for."""
        for item in items:
            self.cameras[item.result.camera].publish_labels(item, config)

    def publish_placed(self, items: Sequence[Processed], grid: OccupancyGrid | None, config: NodeConfig) -> None:
        """Publish the grid of one run and all that is computed from it or drawn."""
        if grid is not None:
            self.grid.publish(grid, config.grid.ground_z_m)
        placed = [i for i in items if is_placed(i.result)]
        if placed:
            for output in self.vehicle:
                if output.wanted():
                    output.publish(placed)
        for item in items:
            self.cameras[item.result.camera].publish_overlay(item, config)

    def configure(self, config: NodeConfig) -> None:
        """Take new values of live parameters."""
        for output in self.vehicle:
            output.configure(config)

    def values(self) -> dict[str, str]:
        """Return what diagnostics should show of the vehicle's outputs."""
        return {k: v for output in self.vehicle for k, v in output.values().items()}

    def close(self) -> None:
        """Destroy all publishers."""
        for camera in self.cameras.values():
            camera.close()
        for output in self.vehicle:
            output.close()
        self.grid.close()
