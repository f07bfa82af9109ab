"""Things on the ground as serialised sensor_msgs/PointCloud2, visualization_msgs/MarkerArray and nav_msgs/Path.

Their CDR (OMG DDS-XTypes, plain CDR version 1) is written at once: rclpy would convert each of the hundreds of small parts, for
four times as long in all, and copy a cloud once more.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import numpy as np

from seg_perception.grid import POINT, POINT_FIELDS, GroundPoints
from seg_perception.postprocess import LaneLine
from seg_perception.things import Shape

LINE_STRIP, ADD, DELETE = 4, 0, 2
"""visualization_msgs/Marker."""
ENCAPSULATION = b'\0\1\0\0'
"""Little endian; alignment counts from its end."""
EMPTY = struct.pack('<I4x', 1)
"""A string, padded."""
AFTER_POINTS = b''.join(
    [struct.pack('<I', 0), EMPTY, struct.pack('<2I', 0, 0), 2 * EMPTY, struct.pack('<2I', 0, 0), 3 * EMPTY, bytes(5)]
)
"""Fields of a Marker from `colors` on: no texture, text or mesh."""


def cloud(points: GroundPoints, stamp_ns: int, frame_id: str) -> bytes:
    """Return a PointCloud2 with x, y, z (float32, metres), label and confidence (uint8)."""
    out = bytearray(ENCAPSULATION + _header(stamp_ns, frame_id))
    _align(out, 4)
    out += struct.pack('<3I', 1, len(points), len(POINT_FIELDS))
    for name, offset, datatype in POINT_FIELDS:
        _align(out, 4)
        out += _string(name)
        _align(out, 4)
        out += struct.pack('<IB3xI', offset, datatype, 1)
    out += struct.pack('<?3x3I', False, POINT.itemsize, points.nbytes, points.nbytes)
    is_dense = b'\1'
    return b''.join((out, points.view(np.uint8).data, is_dense))


def markers(
    shapes: Sequence[Shape],
    gone: Sequence[tuple[str, int]],
    stamp_ns: int,
    frame_id: str,
    ground_z_m: float,
    lifetime_s: float,
) -> bytes:
    """Return a MarkerArray: deletions of the keys in `gone`, then one line strip per shape, at `ground_z_m`."""
    header, seconds = _header(stamp_ns, frame_id), math.floor(lifetime_s)
    lifetime = (seconds, round((lifetime_s - seconds) * 1e9))
    places = np.full((sum(len(s.points_m) for s in shapes), 3), ground_z_m, '<f8')
    if shapes:
        np.concatenate([s.points_m for s in shapes], out=places[:, :2])
    out, data, start = bytearray(ENCAPSULATION + struct.pack('<I', len(gone) + len(shapes))), places.tobytes(), 0
    for key in gone:
        _begin_marker(out, header, key, DELETE)
        out += bytes(80 + 16 + 8 + 4 + 4) + AFTER_POINTS
    for s in shapes:
        _begin_marker(out, header, s.key, ADD)
        no_turn = (0.0, 0.0, 0.0, 1.0)
        out += struct.pack('<10d4fiI4xI', 0, 0, 0, *no_turn, s.width_m, 0, 0, *s.color, *lifetime, len(s.points_m))
        end = start + 24 * len(s.points_m)
        if end > start:
            _align(out, 8)
        out += data[start:end]
        out += AFTER_POINTS
        start = end
    return bytes(out)


def path(line: LaneLine | None, stamp_ns: int, frame_id: str, ground_z_m: float) -> bytes:
    """Return a Path of poses along a lane line, at most four metres apart; empty when it is not seen."""
    header = _header(stamp_ns, frame_id)
    out = bytearray(ENCAPSULATION + header)
    _align(out, 4)
    if line is None:
        out += struct.pack('<I', 0)
    else:
        points = line.points_m()
        out += struct.pack('<I', len(points))
        for (x, y), yaw in zip(points.tolist(), line.yaw_rad(points[:, 0]).tolist(), strict=True):
            out += header
            _align(out, 8)
            out += struct.pack('<7d', x, y, ground_z_m, 0, 0, math.sin(yaw / 2), math.cos(yaw / 2))
    return bytes(out)


def _begin_marker(out: bytearray, header: bytes, key: tuple[str, int], action: int) -> None:
    """Write the fields of a Marker before `pose`."""
    namespace, number = key
    _align(out, 4)
    out += header
    _align(out, 4)
    out += _string(namespace)
    _align(out, 4)
    out += struct.pack('<3i', number, LINE_STRIP, action)
    _align(out, 8)


def _header(stamp_ns: int, frame_id: str) -> bytes:
    return struct.pack('<iI', stamp_ns // 1_000_000_000, stamp_ns % 1_000_000_000) + _string(frame_id)


def _string(text: str) -> bytes:
    encoded = text.encode() + b'\0'
    return struct.pack('<I', len(encoded)) + encoded


def _align(out: bytearray, size: int) -> None:
    out += bytes(-(len(out) - len(ENCAPSULATION)) % size)
