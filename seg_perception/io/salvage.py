"""What is still whole in an mcap file that was cut short or damaged."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.records import Channel, Message, Schema

from seg_perception.errors import RecordingError
from seg_perception.io.recording import TimedMessage

MAGIC = b'\x89MCAP0\r\n'
HEAD = struct.Struct('<BQ')
CHUNK_HEAD = struct.Struct('<QQQII')
MAX_CHUNK_BYTES = 4 << 30


class McapSalvage:
    """Reads records one after the other, with no need of the index at the end of the file."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self._path = path
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, tuple[str, str]] = {}

    def messages(self) -> Iterator[TimedMessage]:
        """Yield every whole message in file order.

        Raises:
            RecordingError: the file is not an mcap file.
        """
        self.problems.clear()
        with self._path.open('rb') as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise RecordingError(f'{self._path}: does not begin as an mcap file; record it again')
            yield from self._records(file, 'the file')

    def _records(self, file: BinaryIO, where: str) -> Iterator[TimedMessage]:
        """Yield the messages of whole records, down to the first record that is cut off."""
        while head := file.read(HEAD.size):
            offset = file.tell() - len(head)
            if len(head) < HEAD.size:
                self.problems.append(f'{self._path}: {where} ends inside a record at byte {offset}')
                return
            opcode, length = HEAD.unpack(head)
            if opcode == Opcode.CHUNK:
                yield from self._chunk(file, length)
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE):
                body = file.read(length) if length <= MAX_CHUNK_BYTES else b''
                if len(body) < length:
                    self.problems.append(f'{self._path}: {where} ends inside a record at byte {offset}')
                    return
                yield from self._record(opcode, body)
            elif opcode == Opcode.DATA_END:
                return
            elif not 0 < opcode <= Opcode.DATA_END or length > MAX_CHUNK_BYTES:
                self.problems.append(f'{self._path}: no valid record at byte {offset} of {where}; stopped there')
                return
            else:
                file.seek(length, io.SEEK_CUR)

    def _chunk(self, file: BinaryIO, length: int) -> Iterator[TimedMessage]:
        """Yield the messages of a chunk; of one that is cut off, those before the cut."""
        offset = file.tell()
        body = file.read(length) if length <= MAX_CHUNK_BYTES else file.read()
        try:
            _, _, size, crc, name_length = CHUNK_HEAD.unpack_from(body)
            start = CHUNK_HEAD.size + name_length
            compression = body[CHUNK_HEAD.size : start].decode()
            data = _decompress(body[start + 8 :], compression)
        except (struct.error, UnicodeDecodeError):
            self.problems.append(f'{self._path}: the chunk at byte {offset} has no whole head; left out')
            return
        if len(body) == length and (len(data) != size or (crc and zlib.crc32(data) != crc)):
            self.problems.append(f'{self._path}: the chunk at byte {offset} is damaged; left out')
            return
        yield from self._records(io.BytesIO(data), f'the chunk at byte {offset}')

    def _record(self, opcode: int, body: bytes) -> Iterator[TimedMessage]:
        stream = ReadDataStream(io.BytesIO(body))
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            self._schemas[schema.id] = schema.name
        elif opcode == Opcode.CHANNEL:
            channel = Channel.read(stream)
            self._channels[channel.id] = (channel.topic, self._schemas.get(channel.schema_id, ''))
        else:
            message = Message.read(stream, len(body))
            if message.channel_id in self._channels:
                topic, msgtype = self._channels[message.channel_id]
                yield TimedMessage(topic, msgtype, message.log_time, bytes(message.data))


def _decompress(data: bytes, compression: str) -> bytes:
    """Decompress as much as there is; a cut stream gives what lies before the cut."""
    try:
        if compression == 'zstd':
            return _zstd_prefix(data)
        if compression == 'lz4':
            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data))
    except (zstandard.ZstdError, RuntimeError):
        return b''
    return data if compression == '' else b''


def _zstd_prefix(data: bytes) -> bytes:
    """Feed small pieces, so that a damaged block costs only itself and what follows."""
    decoder = zstandard.ZstdDecompressor().decompressobj()
    parts = []
    for start in range(0, len(data), 4096):
        try:
            parts.append(decoder.decompress(data[start : start + 4096]))
        except zstandard.ZstdError:
            break
        if decoder.eof:
            break
    return b''.join(parts)
