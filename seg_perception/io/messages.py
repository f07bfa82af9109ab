"""Serialised ROS 2 messages without ROS: types and CDR by rosbags' type store.

All functions return a `TimedMessage` whose recording time is the stamp. Frames follow REP 103 and REP 105.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from seg_perception.camera import CameraModel, Pose
from seg_perception.frames import Image
from seg_perception.io.recording import TimedMessage

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
TF = 'tf2_msgs/msg/TFMessage'
ODOMETRY = 'nav_msgs/msg/Odometry'
OCCUPANCY_GRID = 'nav_msgs/msg/OccupancyGrid'
CLOCK = 'rosgraph_msgs/msg/Clock'
HEADER_BYTES = 16
"""Of a message that begins with a std_msgs/Header: encapsulation, stamp and the length of the frame id."""
STAMP_BYTES = slice(4, 12)
"""Where CDR holds the stamp of a message that begins with a std_msgs/Header."""
TF_TOPIC, TF_STATIC_TOPIC = '/tf', '/tf_static'
ODOM_TOPIC = '/odom'


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """Return the type store used for reading and writing: Humble's; these types are the same in Jazzy."""
    return get_typestore(Stores.ROS2_HUMBLE)


def new(msgtype: str, *values: Any) -> Any:
    """Build a message from its fields in order."""
    return typestore().types[msgtype](*values)


def deserialize(data: bytes, msgtype: str) -> Any:
    """Decode CDR; arrays are views of `data`."""
    return typestore().deserialize_cdr(memoryview(data), msgtype)  # of bytes it would copy


def has_header(message: TimedMessage) -> bool:
    """Say whether the fixed part of a std_msgs/Header is there, so that its stamp can be read."""
    return len(message.data) >= HEADER_BYTES


def is_readable(message: TimedMessage) -> bool:
    """Say whether its bytes are such a message; of an image only the beginning is looked at, as decoding it is dear."""
    if message.msgtype in (IMAGE, COMPRESSED_IMAGE):
        return has_header(message)
    try:
        deserialize(message.data, message.msgtype)
    except SerdeError:
        return False
    return True


def pack(topic: str, msgtype: str, stamp_ns: int, message: Any) -> TimedMessage:
    """Serialise one message."""
    return TimedMessage(topic, msgtype, stamp_ns, bytes(typestore().serialize_cdr(message, msgtype)))


def time_of(stamp_ns: int) -> Any:
    """Return builtin_interfaces/Time."""
    return new('builtin_interfaces/msg/Time', stamp_ns // 1_000_000_000, stamp_ns % 1_000_000_000)


def header(stamp_ns: int, frame_id: str) -> Any:
    """Return std_msgs/Header."""
    return new('std_msgs/msg/Header', time_of(stamp_ns), frame_id)


def stamp_ns(time: Any) -> int:
    """Return a builtin_interfaces/Time, also one of rclpy, in nanoseconds."""
    return int(time.sec) * 1_000_000_000 + int(time.nanosec)


def image(topic: str, stamp_ns: int, frame_id: str, picture: Image) -> TimedMessage:
    """Serialise sensor_msgs/Image in the picture's own encoding, without row padding."""
    pixels = np.ascontiguousarray(picture.pixels)
    step = pixels.nbytes // pixels.shape[0]
    fields = (picture.height, picture.width, picture.encoding, 0, step, pixels.reshape(-1))
    return pack(topic, IMAGE, stamp_ns, new(IMAGE, header(stamp_ns, frame_id), *fields))


def compressed_image(topic: str, stamp_ns: int, frame_id: str, data: npt.NDArray[np.uint8], form: str) -> TimedMessage:
    """Serialise sensor_msgs/CompressedImage of already compressed bytes."""
    return pack(topic, COMPRESSED_IMAGE, stamp_ns, new(COMPRESSED_IMAGE, header(stamp_ns, frame_id), form, data))


def camera_info(topic: str, stamp_ns: int, frame_id: str, camera: CameraModel) -> TimedMessage:
    """Serialise sensor_msgs/CameraInfo of an unrectified image."""
    k = camera.matrix
    fields = (
        camera.height,
        camera.width,
        camera.distortion_model,
        np.asarray(camera.distortion, np.float64),
        k.reshape(-1),
        np.eye(3).reshape(-1),
        np.column_stack([k, np.zeros(3)]).reshape(-1),
        0,
        0,
        new('sensor_msgs/msg/RegionOfInterest', 0, 0, 0, 0, False),
    )
    return pack(topic, CAMERA_INFO, stamp_ns, new(CAMERA_INFO, header(stamp_ns, frame_id), *fields))


def pose_message(pose: Pose) -> Any:
    """Return geometry_msgs/Pose."""
    point = new('geometry_msgs/msg/Point', *pose.translation_m)
    return new('geometry_msgs/msg/Pose', point, new('geometry_msgs/msg/Quaternion', *pose.quaternion))


def static_transform(stamp_ns: int, parent: str, child: str, parent_from_child: Pose) -> TimedMessage:
    """Serialise one transform on /tf_static."""
    return _transform(TF_STATIC_TOPIC, stamp_ns, parent, child, parent_from_child)


def moving_transform(stamp_ns: int, parent: str, child: str, parent_from_child: Pose) -> TimedMessage:
    """Serialise one transform on /tf."""
    return _transform(TF_TOPIC, stamp_ns, parent, child, parent_from_child)


def _transform(topic: str, stamp_ns: int, parent: str, child: str, parent_from_child: Pose) -> TimedMessage:
    transform = new(
        'geometry_msgs/msg/Transform',
        new('geometry_msgs/msg/Vector3', *parent_from_child.translation_m),
        new('geometry_msgs/msg/Quaternion', *parent_from_child.quaternion),
    )
    stamped = new('geometry_msgs/msg/TransformStamped', header(stamp_ns, parent), child, transform)
    return pack(topic, TF, stamp_ns, new(TF, [stamped]))


def odometry(stamp_ns: int, odom_frame: str, vehicle_frame: str, odom_from_vehicle: Pose) -> TimedMessage:
    """Serialise nav_msgs/Odometry on /odom; covariances and twist stay zero, which means unknown."""
    zero = new('geometry_msgs/msg/Vector3', 0.0, 0.0, 0.0)
    unknown = np.zeros(36)
    message = new(
        ODOMETRY,
        header(stamp_ns, odom_frame),
        vehicle_frame,
        new('geometry_msgs/msg/PoseWithCovariance', pose_message(odom_from_vehicle), unknown),
        new('geometry_msgs/msg/TwistWithCovariance', new('geometry_msgs/msg/Twist', zero, zero), unknown),
    )
    return pack(ODOM_TOPIC, ODOMETRY, stamp_ns, message)


def camera_model_of(message: Any) -> CameraModel:
    """Return the model of the image that belongs to a sensor_msgs/CameraInfo, also one of rclpy.

    Raises:
        CameraError: not calibrated, NaN, unknown distortion model, or a region outside the sensor.
    """
    roi = message.roi
    return CameraModel.from_camera_info(
        int(message.width),
        int(message.height),
        message.k,
        message.d,
        str(message.distortion_model),
        (int(message.binning_x), int(message.binning_y)),
        (int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
    )


def pose_of(position: Any, orientation: Any) -> Pose:
    """Read a geometry_msgs position (Point or Vector3) and Quaternion, also those of rclpy.

    Raises:
        CameraError: NaN, or not a unit quaternion.
    """
    o = orientation
    return Pose(
        (float(position.x), float(position.y), float(position.z)), (float(o.x), float(o.y), float(o.z), float(o.w))
    )


def clock(stamp_ns: int) -> TimedMessage:
    """Serialise rosgraph_msgs/Clock."""
    return pack('/clock', CLOCK, stamp_ns, new(CLOCK, time_of(stamp_ns)))


def header_stamp(data: bytes) -> int:
    """Read the stamp of a serialised message that begins with a std_msgs/Header, in nanoseconds."""
    seconds, nanoseconds = struct.unpack_from('<iI' if data[1] & 1 else '>iI', data, STAMP_BYTES.start)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def with_header_stamp(data: bytes, stamp_ns: int) -> bytes:
    """Return a serialised message that begins with a std_msgs/Header with another stamp."""
    stamp = struct.pack('<iI' if data[1] & 1 else '>iI', stamp_ns // 1_000_000_000, stamp_ns % 1_000_000_000)
    return b''.join((data[: STAMP_BYTES.start], stamp, memoryview(data)[STAMP_BYTES.stop :]))


def frame_id_of(message: TimedMessage) -> str:
    """Read the frame id of a message that begins with a std_msgs/Header, without decoding the rest."""
    data = message.data
    (size,) = struct.unpack_from('<I' if data[1] & 1 else '>I', data, 12)
    return bytes(data[16 : 16 + size]).rstrip(b'\0').decode(errors='replace')
