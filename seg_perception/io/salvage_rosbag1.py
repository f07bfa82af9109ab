"""What is still whole in a rosbag1 file that was cut short: its records one after the other, without the index.

The record layout is that of http://wiki.ros.org/Bags/Format/2.0.
"""

from __future__ import annotations

import bz2
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import lz4.frame

from seg_perception.errors import RecordingError
from seg_perception.io.recording import TimedMessage

MAGIC = b'#ROSBAG V2.0\n'
MESSAGE, CHUNK, CONNECTION = 2, 5, 7


class Rosbag1Salvage:
    """Reads whole records; messages are in ROS 1's serialisation, their types in ROS 2's notation."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self._path = path
        self._connections: dict[bytes, tuple[str, str]] = {}

    def messages(self) -> Iterator[TimedMessage]:
        """Yield every whole message in file order.

        Raises:
            RecordingError: the file is not a rosbag1 file.
        """
        self.problems.clear()
        with self._path.open('rb') as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise RecordingError(f'{self._path}: does not begin as a rosbag 2.0 file; record it again')
            yield from self._records(file)

    def _records(self, file: BinaryIO) -> Iterator[TimedMessage]:
        while True:
            header, whole = _sized(file)
            body, whole_body = _sized(file) if whole else (b'', False)
            fields = _fields(header)
            op = fields.get(b'op', b'\x00')[0] if whole else 0
            if op == CHUNK:
                yield from self._records(io.BytesIO(_decompress(body, fields.get(b'compression', b''))))
            elif op == CONNECTION and whole_body:
                topic, msgtype = (
                    f.get(n, b'').decode(errors='replace') for f, n in ((fields, b'topic'), (_fields(body), b'type'))
                )
                self._connections[fields.get(b'conn', b'')] = (topic, msgtype.replace('/', '/msg/'))
            elif op == MESSAGE and whole_body and len(fields.get(b'time', b'')) == 8:
                seconds, nanoseconds = struct.unpack('<II', fields[b'time'])
                known = self._connections.get(fields.get(b'conn', b''))
                if known:
                    yield TimedMessage(*known, seconds * 1_000_000_000 + nanoseconds, body)
            if not whole_body:
                if header:
                    self.problems.append(f'{self._path}: ends inside a record')
                return


def _sized(file: BinaryIO) -> tuple[bytes, bool]:
    """Return a length-prefixed field, and whether it is whole."""
    prefix = file.read(4)
    if len(prefix) < 4:
        return b'', False
    (size,) = struct.unpack('<I', prefix)
    data = file.read(size)
    return data, len(data) == size


def _fields(header: bytes) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    while len(header) >= 4:
        (size,) = struct.unpack_from('<I', header)
        name, _, value = header[4 : 4 + size].partition(b'=')
        fields[name] = value
        header = header[4 + size :]
    return fields


def _decompress(data: bytes, compression: bytes) -> bytes:
    """Decompress as much as there is; a cut stream gives what lies before the cut."""
    try:
        if compression == b'bz2':
            return bz2.BZ2Decompressor().decompress(data)
        if compression == b'lz4':
            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data))
    except (OSError, RuntimeError):
        return b''
    return data
