"""The node's outputs as JPEG pictures and numbers, for `seg_perception view`. Subscribes only while somebody looks."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import OccupancyGrid as GridMessage
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from seg_perception.draw import grid_picture
from seg_perception.errors import FrameError
from seg_perception.frames import jpeg, to_rgb
from seg_perception.ros import convert
from seg_perception.ros.base_frame import BaseFrame

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
GRID = 'grid'
"""Name of the grid's picture; cameras cannot collide with it because theirs carry the prefix `camera `."""
SEARCH_S = 1.0
JPEG_QUALITY = 80
RATE_WINDOW = 30


class Picture(NamedTuple):
    """The newest picture of one stream."""

    number: int
    """Counts up by one for every picture."""
    jpeg: bytes


class _Stream:
    def __init__(self) -> None:
        self.picture = Picture(0, b'')
        self.arrivals_s: deque[float] = deque(maxlen=RATE_WINDOW)
        self.size = (0, 0)
        self.problem = ''

    def facts(self, now_s: float) -> dict[str, Any]:
        times = list(self.arrivals_s)
        span = times[-1] - times[0] if len(times) > 1 else 0.0
        return {
            'rate_hz': (len(times) - 1) / span if span > 0 else None,
            'silent_s': now_s - times[-1] if times else None,
            'width': self.size[0],
            'height': self.size[1],
            'problem': self.problem,
        }


class Viewer:
    """A ROS node in a thread of its own. `look` and `look_away` are called from another one."""

    def __init__(self, node: str, changed: Callable[[], None]) -> None:
        """Start the thread.

        Args:
            node: name of the perception node, in any namespace unless it begins with a slash.
            changed: called from the thread after every new picture.
        """
        self._wanted_node, self._changed = node, changed
        self._context = Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node(
            f'seg_perception_view_{os.getpid()}', context=self._context, use_global_arguments=False
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._streams: dict[str, _Stream] = {}
        self._diagnostics: dict[str, Any] = {}
        self._subscriptions: dict[str, Any] = {}
        self._looking = False
        self._target: str | None = None
        """Full name of the perception node; '' when it does not run, None before the first search."""
        self._base_frame: BaseFrame | None = None
        self._search = self._node.create_timer(SEARCH_S, self._find)
        self._wake = self._node.create_guard_condition(self._find)
        self._thread = threading.Thread(target=self._spin, name='viewer', daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Subscribe to what there is, and to what appears."""
        self._looking = True
        self._wake.trigger()

    def look_away(self) -> None:
        """Unsubscribe from everything."""
        self._looking = False
        self._wake.trigger()

    def pictures(self) -> dict[str, Picture]:
        """Return the newest picture of every stream."""
        return {name: s.picture for name, s in list(self._streams.items()) if s.picture.number}

    def status(self) -> dict[str, Any]:
        """Return rates, ages and the node's own diagnostics, as JSON takes them."""
        now_s = time.monotonic()
        return {
            'node': self._target,
            'streams': {name: s.facts(now_s) for name, s in list(self._streams.items())},
            'diagnostics': [
                {
                    'name': s.name.partition(': ')[2],
                    'level': s.level[0],
                    'message': s.message,
                    'values': {v.key: v.value for v in s.values},
                }
                for s in list(self._diagnostics.values())
            ],
        }

    def close(self) -> None:
        """Leave the graph and end the thread."""
        self._context.try_shutdown()
        self._thread.join()
        self._node.destroy_node()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass
        finally:
            self._executor.shutdown()

    def _find(self) -> None:
        """Subscribe to outputs that appeared since the last search, or drop all when nobody looks."""
        if not self._looking:
            for subscription in self._subscriptions.values():
                self._node.destroy_subscription(subscription)
            self._subscriptions.clear()
            self._streams.clear()
            return
        if '/diagnostics' not in self._subscriptions:
            self._subscribe('/diagnostics', DiagnosticArray, self._on_diagnostics, QoSProfile(depth=10))
        target = self._find_node()
        self._aim_at(target)
        for topic, _ in self._node.get_topic_names_and_types() if target else ():
            if topic in self._subscriptions or not topic.startswith(f'{target}/'):
                continue
            rest = topic[len(target) + 1 :]
            if rest == 'drivable_area' and self._base_frame and self._base_frame.name:
                self._subscribe(topic, GridMessage, self._on_grid, LATCHED)
            elif rest.endswith('/overlay'):
                name = f'camera {rest.removesuffix("/overlay")}'
                self._subscribe(topic, Image, lambda m, name=name: self._on_image(name, m), NEWEST)

    def _aim_at(self, target: str) -> None:
        """Ask a node that has appeared for its vehicle frame, by which its grid is drawn."""
        if target != self._target:
            if self._base_frame:
                self._base_frame.close()
            self._target = target
            self._base_frame = BaseFrame(self._node, target, self._wake.trigger) if target else None
        if self._base_frame:
            self._base_frame.ask()
        else:
            self._diagnostics.clear()

    def _subscribe(self, topic: str, kind: Any, callback: Any, qos: QoSProfile) -> None:
        self._subscriptions[topic] = self._node.create_subscription(kind, topic, callback, qos)

    def _find_node(self) -> str:
        names = [f'{s.rstrip("/")}/{n}' for n, s in self._node.get_node_names_and_namespaces()]
        return next((n for n in names if self._wanted_node in (n, n.rpartition('/')[2])), '')

    def _on_diagnostics(self, message: Any) -> None:
        prefix = f'{self._wanted_node.rpartition("/")[2]}: '
        self._diagnostics.update({s.name: s for s in message.status if s.name.startswith(prefix)})

    def _on_image(self, name: str, message: Any) -> None:
        stream = self._streams.setdefault(name, _Stream())
        try:
            rgb = to_rgb(convert.image(message))
        except FrameError as error:
            stream.problem = str(error)
            return
        self._show(stream, rgb)

    def _on_grid(self, message: Any) -> None:
        assert self._base_frame  # known before the subscription
        frame = self._base_frame.grid_frame(message.header.frame_id)  # 'odom' draws no vehicle
        picture = grid_picture(convert.occupancy_grid(message, frame))
        self._show(self._streams.setdefault(GRID, _Stream()), picture)

    def _show(self, stream: _Stream, rgb: Any) -> None:
        stream.problem = ''
        stream.size = rgb.shape[1], rgb.shape[0]
        stream.arrivals_s.append(time.monotonic())
        stream.picture = Picture(stream.picture.number + 1, jpeg(rgb, JPEG_QUALITY))
        self._changed()
