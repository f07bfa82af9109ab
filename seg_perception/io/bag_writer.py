"""Writes rosbag2 folders (mcap, chunks compressed with zstd): the same messages give the same bytes."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.rosbag2.errors import WriterError

from seg_perception.errors import RecordingError
from seg_perception.io import messages
from seg_perception.io.recording import TimedMessage

BAG_VERSION = 8
"""Metadata version that Humble's rosbag2 and everything newer reads."""


class BagWriter:
    """One bag folder being written; it is whole only after `close`."""

    def __init__(self, path: Path, *, latched: tuple[str, ...] = (), storage: str = 'mcap') -> None:
        """Create the folder `path`.

        Args:
            latched: topics whose last message late subscribers get when the bag is played (transient local).
            storage: 'mcap' or 'sqlite3'.

        Raises:
            RecordingError: it exists, or cannot be created.
        """
        self._path = path
        self._latched = latched
        self._connections: dict[str, Any] = {}
        plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
        try:
            self._writer = Writer(path, version=BAG_VERSION, storage_plugin=plugin)
            if storage == 'mcap':
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except (OSError, WriterError) as error:
            raise self._failed(error) from error

    def add_topic(self, topic: str, msgtype: str) -> None:
        """Announce a topic, also when no message of it may follow."""
        if topic not in self._connections:
            qos = [_qos(latched=True)] if topic in self._latched else []
            self._connections[topic] = self._writer.add_connection(
                topic, msgtype, typestore=messages.typestore(), offered_qos_profiles=qos
            )

    def write(self, message: TimedMessage) -> None:
        """Append one message.

        Raises:
            RecordingError: the disk is full or the file is gone.
        """
        try:
            self.add_topic(message.topic, message.msgtype)
            self._writer.write(self._connections[message.topic], message.stamp_ns, message.data)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Write the index and metadata; only now is the bag whole.

        Raises:
            RecordingError: the disk is full.
        """
        try:
            self._writer.close()
        except OSError as error:
            raise self._failed(error) from error

    def abort(self) -> None:
        """Close the file without index and metadata: no reader takes it for a whole bag."""
        self._writer.abort()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _failed(self, error: Exception) -> RecordingError:
        reason = getattr(error, 'strerror', None) or str(error)
        return RecordingError(f'{self._path}: cannot write the bag ({reason}); free space or give another --out')


def _qos(*, latched: bool) -> Qos:
    forever = QosTime(2147483647, 4294967295)
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    return Qos(
        QosHistory.KEEP_LAST,
        1,
        QosReliability.RELIABLE,
        durability,
        forever,
        forever,
        QosLiveliness.AUTOMATIC,
        forever,
        False,
    )
