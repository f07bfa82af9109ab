"""The messages of a bag, whatever its format and however damaged: rosbag2 (mcap, sqlite3, compressed) and rosbag1.

Whole bags are read by `rosbags`. When it refuses, what is still whole is read without the bag's index.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from rosbags.rosbag1 import Reader as Rosbag1Reader
from rosbags.rosbag2 import Reader as Rosbag2Reader

from seg_perception.errors import RecordingError
from seg_perception.io import messages
from seg_perception.io.recording import TimedMessage
from seg_perception.io.salvage import McapSalvage
from seg_perception.io.salvage_rosbag1 import Rosbag1Salvage
from seg_perception.io.salvage_sqlite import SqliteSalvage

FROM_ROS1 = (messages.IMAGE, messages.COMPRESSED_IMAGE, messages.CAMERA_INFO, messages.TF, messages.ODOMETRY)
ROS1_TYPES = {'tf/msg/tfMessage': messages.TF}
ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
SALVAGE: dict[str, type[McapSalvage] | type[SqliteSalvage] | type[Rosbag1Salvage]] = {
    '.mcap': McapSalvage,
    '.db3': SqliteSalvage,
    '.bag': Rosbag1Salvage,
}


class Topic(NamedTuple):
    """One topic of a bag."""

    name: str
    msgtype: str
    messages: int


class BagSource:
    """Reads serialised ROS 2 messages; of a rosbag1 those of the types in `FROM_ROS1`, converted."""

    def __init__(self, path: Path) -> None:
        """Open a bag file, or the folder of a rosbag2.

        Raises:
            RecordingError: nothing of it can be read.
        """
        self.path = path
        self.problems: list[str] = []
        self.ros1 = path.suffix == '.bag'
        self._reader: Any = None
        try:
            reader = (Rosbag1Reader if self.ros1 else Rosbag2Reader)(path)
            reader.open()
            self._reader = reader
            self.topics = self._indexed_topics()
        except Exception as error:  # on damaged data the libraries raise whatever comes first
            self.problems.append(f'{path}: {_one_line(error)}; reading what is whole')
            self.topics = self._salvaged_topics(error)

    def close(self) -> None:
        """Close the files; calling it twice is allowed."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def messages(self, topics: Collection[str]) -> Iterator[TimedMessage]:
        """Yield the messages of `topics` in order of recording time (of a damaged bag: in file order).

        When the bag turns out to be damaged on the way, what is left of it is salvaged.
        """
        last = -1
        at_last: set[str] = set()
        if self._reader is not None:
            try:
                for message in self._indexed(topics):
                    if message.stamp_ns != last:
                        last, at_last = message.stamp_ns, set()
                    at_last.add(message.topic)
                    yield message
                return
            except Exception as error:  # as above
                self.problems.append(f'{self.path}: {_one_line(error)}; reading what is whole')
        for message in self._salvaged():
            if message.topic in topics and (message.stamp_ns, message.topic not in at_last) > (last, False):
                yield message

    def _indexed_topics(self) -> tuple[Topic, ...]:
        counts: dict[tuple[str, str], int] = {}
        for c in self._reader.connections:
            key = (c.topic, ROS1_TYPES.get(c.msgtype, c.msgtype))
            counts[key] = counts.get(key, 0) + c.msgcount
        return tuple(Topic(name, msgtype, count) for (name, msgtype), count in sorted(counts.items()))

    def _indexed(self, topics: Collection[str]) -> Iterator[TimedMessage]:
        wanted = [
            c
            for c in self._reader.connections
            if c.topic in topics and self._known(ROS1_TYPES.get(c.msgtype, c.msgtype))
        ]
        if not wanted:
            return
        for connection, stamp_ns, data in self._reader.messages(connections=wanted):
            msgtype = ROS1_TYPES.get(connection.msgtype, connection.msgtype)
            yield TimedMessage(connection.topic, msgtype, stamp_ns, self._cdr(data, msgtype))

    def _known(self, msgtype: str) -> bool:
        return not self.ros1 or msgtype in FROM_ROS1

    def _cdr(self, data: bytes, msgtype: str) -> bytes:
        # The five types differ from their ROS 1 forms only in Header.seq, which the converter leaves out.
        return bytes(messages.typestore().ros1_to_cdr(data, msgtype)) if self.ros1 else bytes(data)

    def _salvaged_topics(self, error: Exception) -> tuple[Topic, ...]:
        counts: dict[tuple[str, str], int] = {}
        for message in self._salvaged():
            key = (message.topic, message.msgtype)
            counts[key] = counts.get(key, 0) + 1
        if not counts:
            raise RecordingError(
                f'{self.path}: no message can be read ({_one_line(error)}); record it again or restore it'
            ) from error
        return tuple(Topic(name, msgtype, count) for (name, msgtype), count in sorted(counts.items()))

    def _salvaged(self) -> Iterator[TimedMessage]:
        readers = [SALVAGE[p.suffix](p) for p in self._files()]
        for message in chain.from_iterable(r.messages() for r in readers):
            msgtype = ROS1_TYPES.get(message.msgtype, message.msgtype)
            data = message.data
            if data[:4] == ZSTD_MAGIC:
                data = zstandard.ZstdDecompressor().decompress(data)
            if self._known(msgtype):
                yield message._replace(msgtype=msgtype, data=self._cdr(data, msgtype))
        for line in chain.from_iterable(r.problems for r in readers):
            if line not in self.problems:
                self.problems.append(line)

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        files = [p for p in self.path.iterdir() if p.suffix in SALVAGE]
        return sorted(files, key=lambda p: [int(t) if t.isdigit() else 0 for t in re.split(r'(\d+)', p.name)])


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())[:160].rstrip('.') or type(error).__name__
