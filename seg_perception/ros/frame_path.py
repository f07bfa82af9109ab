"""The node's whole path of a frame, without the camera: serialised image in, messages out to a listener. For `bench`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import rclpy
from nav_msgs.msg import OccupancyGrid as GridMessage
from nav_msgs.msg import Path
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from seg_perception import draw
from seg_perception.camera import CameraModel, Pose
from seg_perception.engine import Engine
from seg_perception.io import messages
from seg_perception.postprocess import LaneTracker
from seg_perception.ros import convert
from seg_perception.ros.markers import MarkersOutput
from seg_perception.ros.node import PerceptionNode, start
from seg_perception.ros.outputs import Outputs
from seg_perception.ros.startup import init_ros
from seg_perception.ros.transport import send_in_background

CAMERA = 'bench'
OUTPUTS = {
    **{f'{CAMERA}/{t}': Image for t in ('labels', 'road', 'lane', 'obstacle', 'confidence', 'overlay')},
    f'{CAMERA}/camera_info': CameraInfo,
    'drivable_area': GridMessage,
    'points': PointCloud2,
    'markers': MarkerArray,
    'lanes/left': Path,
    'lanes/right': Path,
}
LISTENER_S = 20.0
THINGS = ((LaneTracker, 'update'), (MarkersOutput, 'publish'), (draw, 'lane_lines'))
"""What makes lane lines, ego road, outlines and footprints out of labels, publishes them and draws them."""
LABELS = (Outputs, 'publish_labels')


class _Staged:
    """An engine that answers, after the real one has run, with the labels it is given."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.labels: npt.NDArray[np.uint8] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def close(self) -> None:
        """It is closed by whoever opened it, in the thread that did."""

    def infer(self, count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        answer = self._engine.infer(count)
        if self.labels is None:
            return answer
        return self.labels[None], np.full_like(self.labels[None], 255)


class FramePath:
    """A configured node in this process and a listener of all its outputs in another; used from one thread."""

    def __init__(self, engine: Engine, rgb: npt.NDArray[np.uint8], camera: CameraModel, pose: Pose) -> None:
        """Take one picture, uint8 [H, W, 3] RGB of `camera`, as the image of every frame."""
        send_in_background()
        mounting = ', '.join(f'{v:.6f}' for v in pose.mounting())
        rclpy.init(args=['--ros-args', '-p', f'cameras:=[{CAMERA}]', '-p', f'{CAMERA}.extrinsics:=[{mounting}]'])
        self._engine = _Staged(engine)
        self._node = PerceptionNode(lambda *_, **__: cast(Engine, self._engine))
        start(self._node)
        assert self._node.processor is not None
        self._processor = self._node.processor
        self._input = self._node.inputs[CAMERA]
        info = CameraInfo(width=camera.width, height=camera.height, distortion_model=camera.distortion_model)
        info.d, info.k = list(camera.distortion), camera.matrix.reshape(-1)
        info.p = np.hstack([camera.matrix, np.zeros((3, 1))]).reshape(-1)
        self._input.on_info(info)
        out = convert.ImageOut(camera.height, camera.width, 'rgb8')
        out.pixels[:] = rgb
        out.message.encoding, out.message.header.frame_id = 'bgr8', 'bench_optical_frame'
        self._message = out.message
        self.things_ms = 0.0
        """Of the last frame: what things on the ground cost (`THINGS`)."""
        self.labels_ms = 0.0
        """Of the last frame: from its bytes to labels, masks, confidence and their calibration published."""
        self._start_s = 0.0
        self._untimed = [(owner, name, getattr(owner, name)) for owner, name in (*THINGS, LABELS)]
        for owner, name, action in self._untimed:
            setattr(owner, name, self._ended(action) if (owner, name) == LABELS else self._timed(action))
        self._listener = subprocess.Popen([sys.executable, '-m', __name__])
        try:
            self._await_listener()
        except BaseException:
            self.close()
            raise

    def serialised(self) -> bytes:
        """Return the next camera image as it comes over DDS, stamped now."""
        self._message.header.stamp = self._node.get_clock().now().to_msg()
        return bytes(serialize_message(self._message))

    def frame_ms(self) -> float:
        """Return the time of one frame, from its bytes to all outputs published."""
        data = self.serialised()
        self.things_ms = 0.0
        self._start_s = time.perf_counter()
        self._processor.run({CAMERA: convert.received(data, messages.IMAGE)})
        return (time.perf_counter() - self._start_s) * 1e3

    def show(self, labels: npt.NDArray[np.uint8] | None) -> None:
        """Take labels, uint8 [h, w] of the network's size, as what the network sees from now on; None ends that."""
        self._engine.labels = labels

    def _timed(self, action: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(action)
        def timed(*args: Any) -> Any:
            start_s = time.perf_counter()
            result = action(*args)
            self.things_ms += (time.perf_counter() - start_s) * 1e3
            return result

        return timed

    def _ended(self, action: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(action)
        def ended(*args: Any) -> Any:
            result = action(*args)
            self.labels_ms = (time.perf_counter() - self._start_s) * 1e3
            return result

        return ended

    def _await_listener(self) -> None:
        end = time.monotonic() + LISTENER_S
        topics = [f'/seg_perception/{t}' for t in OUTPUTS]
        while any(self._node.count_subscribers(t) == 0 for t in topics):
            if time.monotonic() > end:
                raise RuntimeError(f'the listener did not subscribe within {LISTENER_S:.0f} s')
            time.sleep(0.1)

    def __enter__(self) -> FramePath:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the listener and the node."""
        for owner, name, action in self._untimed:
            setattr(owner, name, action)
        self._listener.terminate()
        self._listener.wait(10)
        self._node.close()
        rclpy.try_shutdown()


def _listen() -> None:
    """Receive everything and read none of it: a Python loop that did would take 10 ms a frame of the cores that are measured."""
    stop = init_ros(None)
    node = Node('bench_listener')
    for topic, kind in OUTPUTS.items():
        node.create_subscription(kind, f'/seg_perception/{topic}', lambda _: None, qos_profile_sensor_data)
    stop.wait()
    rclpy.try_shutdown()


if __name__ == '__main__':
    _listen()
