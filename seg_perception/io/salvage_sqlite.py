"""What is still whole in a rosbag2 .db3 that was cut short: its pages are read one by one, without the tree.

SQLite refuses such a file, and the tree's inner pages may lie behind the cut. The layout of pages, cells and
records is that of https://www.sqlite.org/fileformat2.html (sections 1.3, 1.5, 1.6, 2.1).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seg_perception.errors import RecordingError
from seg_perception.io.recording import TimedMessage

MAGIC = b'SQLite format 3\x00'
FILE_HEADER_BYTES = 100
LEAF_TABLE_PAGE = 0x0D
INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)


class SqliteSalvage:
    """Reads the whole rows of the tables `topics` and `messages`."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        self._path = path
        self._cut_rows = self._pages_missing = 0

    def messages(self) -> Iterator[TimedMessage]:
        """Yield every whole message in order of recording time.

        Raises:
            RecordingError: the file is not an SQLite database.
        """
        self.problems.clear()
        self._cut_rows = self._pages_missing = 0
        with self._path.open('rb') as file:
            header = file.read(FILE_HEADER_BYTES)
            if header[: len(MAGIC)] != MAGIC:
                raise RecordingError(f'{self._path}: does not begin as an SQLite file; record it again')
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield from self._messages(data)
        if self._cut_rows or self._pages_missing:
            missing = f'{self._pages_missing} pages are missing at its end'
            self.problems.append(f'{self._path}: {missing}, {self._cut_rows} messages are cut off')

    def _messages(self, data: mmap.mmap) -> Iterator[TimedMessage]:
        pages = Pages(data)
        self._pages_missing = max(0, pages.announced - pages.count)
        topics: dict[int, tuple[str, str]] = {}
        index: list[tuple[int, int, int, int]] = []
        for number in range(1, pages.count + 1):
            for rowid, cell in pages.cells(number):
                row = pages.row(cell, with_blob=False)
                if row is None:
                    self._cut_rows += 1
                elif _is_topic(row):
                    topics[rowid] = (row[1], row[2])
                elif _is_message(row):
                    index.append((row[2], rowid, row[1], cell))
        for stamp, _, topic_id, cell in sorted(index):
            row = pages.row(cell, with_blob=True)
            if row is None:
                self._cut_rows += 1
            elif topic_id in topics:
                yield TimedMessage(*topics[topic_id], stamp, row[3])


def _is_topic(row: list[Any]) -> bool:
    return len(row) >= 4 and isinstance(row[1], str) and row[1].startswith('/') and isinstance(row[2], str)


def _is_message(row: list[Any]) -> bool:
    return len(row) == 4 and isinstance(row[1], int) and isinstance(row[2], int) and isinstance(row[3], bytes)


class Pages:
    """The pages of an SQLite file, as far as they are there."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        (size,) = struct.unpack_from('>H', data, 16) if len(data) >= FILE_HEADER_BYTES else (0,)
        self._page = 65536 if size == 1 else size
        self.count = len(data) // self._page if self._page >= 512 else 0
        self.announced: int = struct.unpack_from('>I', data, 28)[0] if self.count else 0
        self._usable = self._page - (data[20] if self.count else 0)

    def cells(self, number: int) -> Iterator[tuple[int, int]]:
        """Yield (row id, offset in the file) of each row of a leaf page; nothing for other pages."""
        start = (number - 1) * self._page
        head = start + (FILE_HEADER_BYTES if number == 1 else 0)
        if self._data[head] != LEAF_TABLE_PAGE:
            return
        (cells,) = struct.unpack_from('>H', self._data, head + 3)
        if 8 + 2 * cells > self._page - (head - start):
            return
        for offset in struct.unpack_from(f'>{cells}H', self._data, head + 8):
            if offset < self._usable - 4:
                _, after = _varint(self._data, start + offset)
                rowid, _ = _varint(self._data, after)
                yield rowid, start + offset

    def row(self, cell: int, *, with_blob: bool) -> list[Any] | None:
        """Return the columns of a row; None when part of it is cut off or not a row.

        Args:
            with_blob: False leaves a large last column empty and its overflow pages unread.
        """
        size, position = _varint(self._data, cell)
        _, position = _varint(self._data, position)
        local, overflow = self._local(size)
        payload = bytes(self._data[position : position + local])
        if overflow and with_blob:
            rest = self._chain(struct.unpack_from('>I', self._data, position + local)[0], size - local)
            if rest is None:
                return None
            payload += rest
        return _columns(payload, complete=with_blob or not overflow)

    def _local(self, size: int) -> tuple[int, bool]:
        """Return how many bytes of a payload are on the leaf page, and whether the rest overflows (section 1.6)."""
        if size <= self._usable - 35:
            return size, False
        least = (self._usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (self._usable - 4)
        return (local if local <= self._usable - 35 else least), True

    def _chain(self, number: int, size: int) -> bytes | None:
        """Return `size` bytes of a chain of overflow pages; None when a page of it is not there."""
        parts = []
        while size > 0:
            if not 1 <= number <= self.count:
                return None
            start = (number - 1) * self._page
            (number,) = struct.unpack_from('>I', self._data, start)
            parts.append(self._data[start + 4 : start + 4 + min(size, self._usable - 4)])
            size -= self._usable - 4
        return b''.join(parts)


def _varint(data: Any, position: int) -> tuple[int, int]:
    value = 0
    for i in range(9):
        byte = data[position + i]
        if i == 8:
            return (value << 8) | byte, position + 9
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, position + i + 1
    raise AssertionError('unreachable: a varint has at most nine bytes')


def _columns(payload: bytes, *, complete: bool) -> list[Any] | None:
    """Decode a record (section 2.1); None when it is no record or ends early."""
    try:
        head, position = _varint(payload, 0)
        types = []
        while position < head:
            kind, position = _varint(payload, position)
            types.append(kind)
        values: list[Any] = []
        for i, kind in enumerate(types):
            width = _width(kind)
            if position + width > len(payload) and (complete or i < len(types) - 1):
                return None
            values.append(_value(kind, payload[position : position + width]))
            position += width
    except (IndexError, UnicodeDecodeError, ValueError):
        return None
    return values


def _width(kind: int) -> int:
    if kind >= 12:
        return (kind - 12) // 2
    return INTEGER_BYTES[kind] if kind < 7 else 8 if kind == 7 else 0


def _value(kind: int, data: bytes) -> Any:
    if kind >= 12:
        return data.decode() if kind % 2 else data
    if kind in (8, 9):
        return kind - 8
    return int.from_bytes(data, 'big', signed=True) if 1 <= kind <= 6 else None
