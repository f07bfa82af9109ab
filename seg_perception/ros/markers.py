"""`~/markers` and `~/lanes/left`, `~/lanes/right`: lane lines, the road's boundary and obstacles as things."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from nav_msgs.msg import Path
from visualization_msgs.msg import MarkerArray

from seg_perception.io import geometry
from seg_perception.labels import LabelMap
from seg_perception.postprocess import LaneLine, Lanes
from seg_perception.ros import convert
from seg_perception.ros.camera_outputs import RELIABLE, Processed
from seg_perception.ros.config import NodeConfig
from seg_perception.things import ROAD, Shape, Shown, lane_shapes, newest_of, region_shapes


class MarkersOutput:
    """Things on the ground in base_frame; computed only while somebody listens to one of the topics."""

    def __init__(self, node: Any, config: NodeConfig, labels: LabelMap) -> None:
        self._node, self._config, self._labels = node, config, labels
        self._markers = node.create_lifecycle_publisher(MarkerArray, '~/markers', RELIABLE)
        self._paths = {
            side: node.create_lifecycle_publisher(Path, f'~/lanes/{side}', RELIABLE) for side in ('left', 'right')
        }
        sample = Shape('road', 'front', 1, np.ones((2, 2)), 0.1, ROAD)
        convert.require_layout(MarkerArray, geometry.markers([sample], [sample.key], 1, 'base_link', 0.0, 1.0))
        line = LaneLine(1, np.ones(4), np.eye(4), 2.0, 12.0, 10.0)
        convert.require_layout(Path, geometry.path(line, 1, 'base_link', 0.0))
        self._shown = Shown()
        self._lanes: Lanes | None = None
        self._published_s = -math.inf

    def wanted(self) -> bool:
        """Say whether anybody listens."""
        return any(p.get_subscription_count() for p in (self._markers, *self._paths.values()))

    def publish(self, items: Sequence[Processed]) -> None:
        """Publish the things of one run, stamped as its newest image."""
        lanes = items[0].lanes
        if lanes is None:  # somebody has only just begun to listen
            return
        self._lanes, self._published_s, ground_z_m = lanes, time.monotonic(), self._config.grid.ground_z_m
        results = [i.result for i in items]
        place = (newest_of(results).stamp_ns, self._config.base_frame, ground_z_m)
        if self._markers.get_subscription_count():
            regions = region_shapes(results, self._labels, self._config.contours, ground_z_m)
            shapes = [*lane_shapes(lanes), *regions]
            gone = self._shown.update(shapes, {r.camera for r in results})
            self._markers.publish(geometry.markers(shapes, gone, *place, self._config.image_timeout_s))
        for side, line in (('left', lanes.ego_left), ('right', lanes.ego_right)):
            if self._paths[side].get_subscription_count():
                self._paths[side].publish(geometry.path(line, *place))

    def configure(self, config: NodeConfig) -> None:
        """Take new values of live parameters; those of lanes and contours are not among them."""
        self._config = config

    def values(self) -> dict[str, str]:
        """Return the vehicle's place in its lane; `unknown` where no lane is seen, nothing while none is looked for."""
        if self._lanes is None or time.monotonic() - self._published_s > self._config.image_timeout_s:
            return {}
        keys = ('offset_m', 'heading_rad', 'curvature_1pm', 'width_m')
        known = {k: getattr(self._lanes, k) for k in keys}
        return {f'lane_{k}': 'unknown' if v is None else f'{v:.4f}' for k, v in known.items()}

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._markers, *self._paths.values()):
            self._node.destroy_lifecycle_publisher(publisher)
