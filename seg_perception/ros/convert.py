"""Between ROS messages and the core; the only module that knows the fields of image, calibration and grid messages.

Messages that go out are filled in place: each owns an `array.array`, which rclpy copies without looking at every
element, and a NumPy view of it.
"""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import numpy.typing as npt
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion
from nav_msgs.msg import OccupancyGrid as GridMessage
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.serde import SerdeError
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header

from seg_perception import frames
from seg_perception.camera import CameraModel
from seg_perception.errors import CameraError, ConfigError, FrameError
from seg_perception.grid import OccupancyGrid
from seg_perception.io import messages

try:
    from cv_bridge import CvBridge
except ImportError:  # without it `frames.view` reads the same bytes
    CvBridge = None

BRIDGED = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
"""Encodings, with their channels, of which every cv_bridge gives a view."""

_bridge = CvBridge() if CvBridge is not None else None

stamp_ns, pose, camera_model = messages.stamp_ns, messages.pose_of, messages.camera_model_of
"""rclpy's messages have the fields of those in bags."""


def stamp_message(ns: int) -> Time:
    """Return nanoseconds as builtin_interfaces/Time."""
    return Time(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


def received(data: bytes, msgtype: str) -> Any:
    """Read the CDR of a sensor_msgs/Image or CompressedImage; its `data` is a view, its `header` that of rclpy.

    rclpy would copy the pixels twice, also those of images that are skipped.

    Raises:
        FrameError: it is not such a message.
    """
    try:
        message = messages.deserialize(data, msgtype)
    except SerdeError as error:
        raise FrameError(f'{len(data)} bytes are no {msgtype} ({error}); check the type of the topic') from error
    stamp = message.header.stamp
    message.header = Header(stamp=Time(sec=stamp.sec, nanosec=stamp.nanosec), frame_id=message.header.frame_id)
    return message


def image(message: Any) -> frames.Image:
    """View the pixels of sensor_msgs/Image without a copy; the view lives as long as the message.

    cv_bridge reads the plain layouts. It does not know about row padding and YUV everywhere, so the rest is read here.

    Raises:
        FrameError: unknown encoding, zero size, short step or short data.
    """
    width, height, encoding = message.width, message.height, message.encoding
    checked = frames.view(message.data, width, height, message.step, encoding)
    if _bridge is None or BRIDGED.get(encoding, 0) * width != message.step or message.is_bigendian:
        return checked
    return checked._replace(pixels=_bridge.imgmsg_to_cv2(message, 'passthrough'))


def fill_camera_info(out: CameraInfo, model: CameraModel, source: CameraInfo) -> None:
    """Describe an image of `model` in `out`: no binning, no region; R and the scaled P come from the camera's own."""
    out.width, out.height = model.width, model.height
    out.distortion_model = model.distortion_model
    out.d = [float(v) for v in model.distortion]
    out.k = model.matrix.reshape(-1)
    out.r = source.r
    fx, fy = source.k[0], source.k[4]
    scale_x, scale_y = model.fx / fx, model.fy / fy
    p = np.array(source.p, np.float64).reshape(3, 4)
    # Offsets of the rectified principal point from the raw one scale like the image, whatever was cropped.
    offset_x, offset_y = (p[0, 2] - source.k[2]) * scale_x, (p[1, 2] - source.k[5]) * scale_y
    p[0] *= scale_x
    p[1] *= scale_y
    p[0, 2], p[1, 2] = model.cx + offset_x, model.cy + offset_y
    out.p = p.reshape(-1)


class ImageOut:
    """One sensor_msgs/Image that is filled again for every frame; `pixels` is its memory."""

    def __init__(self, height: int, width: int, encoding: str) -> None:
        channels = 3 if encoding == 'rgb8' else 1
        self.message = ImageMessage(height=height, width=width, encoding=encoding, step=width * channels)
        self.message.data = array.array('B', bytes(height * width * channels))
        flat = np.frombuffer(self.message.data, np.uint8)
        self.pixels: npt.NDArray[np.uint8] = flat.reshape((height, width, 3) if channels == 3 else (height, width))


class GridOut:
    """One nav_msgs/OccupancyGrid that is filled again for every update."""

    def __init__(self, base_frame: str, odom_frame: str) -> None:
        self.message = GridMessage()
        self.message.info.origin.orientation = Quaternion(w=1.0)
        self._frames = {'vehicle': base_frame, 'odom': odom_frame}
        self._cells: npt.NDArray[np.int8] = np.zeros((0, 0), np.int8)

    def fill(self, grid: OccupancyGrid, ground_z_m: float) -> GridMessage:
        """Describe `grid`, which lies at `ground_z_m` in the vehicle frame; the message is valid until the next call.

        A grid in odom lies at 0 there, as maps do.
        """
        message = self.message
        if self._cells.shape != grid.cells.shape:
            message.data = array.array('b', bytes(grid.cells.size))
            self._cells = np.frombuffer(message.data, np.int8).reshape(grid.cells.shape)
            message.info.height, message.info.width = grid.cells.shape
        self._cells[:] = grid.cells
        message.header.stamp = stamp_message(grid.stamp_ns)
        message.header.frame_id = self._frames[grid.frame]
        message.info.resolution = grid.resolution_m
        message.info.origin.position.x = grid.origin_x_m
        message.info.origin.position.y = grid.origin_y_m
        message.info.origin.position.z = ground_z_m if grid.frame == 'vehicle' else 0.0
        return message

    def unknown(self, stamp: Time) -> GridMessage | None:
        """Return the last grid with every cell unknown; None when there was none."""
        if not self._cells.size:
            return None
        self._cells[:] = -1
        self.message.header.stamp = stamp
        return self.message


def occupancy_grid(message: GridMessage, frame: str) -> OccupancyGrid:
    """Return the core's view of nav_msgs/OccupancyGrid; `frame` is what `OccupancyGrid.frame` calls that of its header."""
    info = message.info
    cells = np.array(message.data, np.int8).reshape(info.height, info.width)
    x, y = info.origin.position.x, info.origin.position.y
    return OccupancyGrid(cells, info.resolution, x, y, frame, stamp_ns(message.header.stamp), float('nan'))


def require_layout(kind: type, data: bytes) -> None:
    """Check that the installed message definition has the fields that `io.geometry` writes.

    Raises:
        ConfigError: it has others.
    """
    try:
        same = len(serialize_message(deserialize_message(data, kind))) == len(data)
    except (RuntimeError, MemoryError):
        same = False
    if not same:
        raise ConfigError(
            f'{kind.__module__}.{kind.__name__} has other fields in this ROS release than in Humble to Jazzy; '
            'use one of these, or adapt io/geometry.py'
        )


def require_frame_id(message: Any, camera: str) -> str:
    """Return header.frame_id.

    Raises:
        CameraError: it is empty, so that TF cannot be asked.
    """
    if not message.header.frame_id:
        raise CameraError(
            f'{camera}: images have no frame_id, so TF cannot place the camera; set it in the driver or give extrinsics'
        )
    return str(message.header.frame_id)
