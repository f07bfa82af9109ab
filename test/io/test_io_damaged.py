"""Bags that were cut off or damaged give every whole frame before the cut, say what is missing, and never crash."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.typesys import Stores, get_typestore

from seg_perception.errors import RecordingError
from seg_perception.io import messages
from seg_perception.io.bag_writer import BagWriter
from seg_perception.io.recording import open_recording
from seg_perception.io.salvage import McapSalvage
from seg_perception.io.salvage_sqlite import SqliteSalvage

CUTS = 100
FRAMES = 120


def bag_file(folder: Path) -> Path:
    return next(p for p in folder.iterdir() if p.suffix in ('.mcap', '.db3'))


def read_cut(path: Path) -> tuple[list[int], list[str]]:
    """Stamps of the frames of a damaged bag and what was reported."""
    try:
        recording = open_recording(str(path))
    except RecordingError as error:
        return [], str(error).splitlines()
    try:
        return [f.stamp_ns for f in recording.frames()], recording.problems
    finally:
        recording.close()


def noisy_bag(path: Path, made, compression: CompressionMode, storage: StoragePlugin) -> None:
    """Write frames whose noise does not compress, so that they spread over the file."""
    rng = np.random.default_rng(3)
    writer = Writer(path, version=8, storage_plugin=storage)
    if compression != CompressionMode.NONE:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        known = {}
        for m in made.messages(FRAMES):
            if m.msgtype == messages.IMAGE:
                m = m._replace(data=m.data[:-18000] + rng.bytes(18000))
            if m.topic not in known:
                known[m.topic] = writer.add_connection(m.topic, m.msgtype, typestore=messages.typestore())
            writer.write(known[m.topic], m.stamp_ns, m.data)


def frame_ends(data: bytes, made) -> list[int]:
    """Offset behind the last byte of each frame in an uncompressed mcap file, found by its stamp and length."""
    ends = []
    for i in range(FRAMES):
        seconds, nanoseconds = divmod(made.stamp(i), 1_000_000_000)
        head = struct.pack('<BBBBiI', 0, 1, 0, 0, seconds, nanoseconds)
        size = struct.pack('<I', 96 * 64 * 3)
        at = data.index(head)
        while (start := data.index(size, at)) - at > 120:  # the camera_info of the same stamp
            at = data.index(head, at + 1)
        ends.append(start + 4 + 96 * 64 * 3)
    return ends


def test_mcap_cut_at_100_offsets_gives_every_whole_frame(tmp_path, made):
    noisy_bag(tmp_path / 'whole', made, CompressionMode.NONE, StoragePlugin.MCAP)
    file = bag_file(tmp_path / 'whole')
    data = file.read_bytes()
    ends = frame_ends(data, made)
    for cut in random.Random(1).sample(range(len(data)), CUTS):
        part = tmp_path / 'cut.mcap'
        part.write_bytes(data[:cut])
        stamps, problems = read_cut(part)
        whole = sum(end <= cut for end in ends)
        assert stamps == [made.stamp(i) for i in range(whole)], f'cut at {cut}'
        assert len(problems) == 1 or stamps, f'cut at {cut}'
        assert problems


def test_zstd_mcap_cut_at_100_offsets_gives_the_frames_of_all_whole_blocks(tmp_path, made):
    noisy_bag(tmp_path / 'whole', made, CompressionMode.STORAGE, StoragePlugin.MCAP)
    file = bag_file(tmp_path / 'whole')
    data = file.read_bytes()
    found = []
    for cut in sorted(random.Random(2).sample(range(len(data)), CUTS)):
        part = tmp_path / 'cut.mcap'
        part.write_bytes(data[:cut])
        stamps, problems = read_cut(part)
        assert stamps == [made.stamp(i) for i in range(len(stamps))]
        assert problems
        found.append((cut, len(stamps)))
    assert [n for _, n in found] == sorted(n for _, n in found)
    block = 131_072  # zstd gives nothing of a block that is not whole
    for cut, n in found:
        assert n >= min(FRAMES, (cut - 2 * block) // 18600), f'cut at {cut}'


def test_sqlite_cut_at_100_offsets_gives_every_whole_frame(tmp_path, made):
    noisy_bag(tmp_path / 'whole', made, CompressionMode.NONE, StoragePlugin.SQLITE3)
    file = bag_file(tmp_path / 'whole')
    data = file.read_bytes()
    (page,) = struct.unpack_from('>H', data, 16)
    rows = last_pages(file, page)
    for cut in random.Random(3).sample(range(len(data)), CUTS):
        part = tmp_path / 'cut.db3'
        part.write_bytes(data[:cut])
        stamps, problems = read_cut(part)
        whole = [made.stamp(i) for i, last in enumerate(rows) if last * page <= cut]
        assert stamps == whole, f'cut at {cut}'
        assert len(problems) == 1 or stamps, f'cut at {cut}'
        assert problems


def last_pages(file: Path, page: int) -> list[int]:
    """Number of the last page that each image row needs: its leaf's, or the highest of its overflow chain.

    SQLite itself says where the pages are (dbstat); the layout that the salvage assumes is not used.
    """
    with sqlite3.connect(file) as database:
        try:
            pages = database.execute(
                "SELECT path, pageno, pagetype, ncell FROM dbstat WHERE name='messages' ORDER BY path"
            ).fetchall()
        except sqlite3.OperationalError:
            pytest.skip('this SQLite has no dbstat table, which says where the rows are')
        topics = dict(database.execute('SELECT name, id FROM topics').fetchall())
        rows = database.execute('SELECT topic_id FROM messages ORDER BY id').fetchall()
    needed: list[int] = []
    leaves = [(path, number, cells) for path, number, kind, cells in pages if kind == 'leaf']
    for path, number, cells in leaves:
        for cell in range(cells):
            chain = [n for p, n, kind, _ in pages if kind == 'overflow' and p.startswith(f'{path}{cell:03x}+')]
            needed.append(max([number, *chain]))
    assert len(needed) == len(rows)
    image = topics['/front/image_raw']
    return [last for last, (topic,) in zip(needed, rows, strict=True) if topic == image]


@pytest.mark.parametrize(('salvage', 'storage'), [(McapSalvage, 'mcap'), (SqliteSalvage, 'sqlite3')])
def test_salvage_of_a_whole_bag_gives_every_message(write_bag, made, salvage, storage):
    path = write_bag(7, storage=storage, odometry=True)
    reader = salvage(bag_file(path))
    assert sorted(reader.messages()) == sorted(made.messages(7, odometry=True))
    assert reader.problems == []


def test_a_folder_without_metadata_is_read(write_bag, made):
    path = write_bag(3)
    (path / 'metadata.yaml').unlink()
    stamps, problems = read_cut(path)
    assert stamps == [made.stamp(i) for i in range(3)]
    assert 'metadata' in problems[0]


@pytest.mark.parametrize('size', [0, 8, 14, 40])
@pytest.mark.parametrize('topic', ['/odom', '/front/camera_info', '/tf_static', '/front/image_raw'])
def test_a_message_that_is_cut_short_costs_only_itself(tmp_path, made, topic, size):
    path, cut = tmp_path / 'drive', 0
    with BagWriter(path) as bag:
        for i, m in enumerate(made.messages(4, odometry=True)):
            if m.topic == topic and (i > 9 or topic == '/tf_static'):
                m, cut = m._replace(data=m.data[:size]), cut + 1
            bag.write(m)
    stamps, problems = read_cut(path)
    assert stamps == [made.stamp(i) for i in range(4 - cut if topic == '/front/image_raw' else 4)]
    assert cut == 1
    assert len(problems) == 1
    assert problems[0].startswith(f'{path}: 1 x {topic}')
    with contextlib.closing(open_recording(str(path))) as recording:
        left = list(recording.messages())
    unreadable = size < 40 or topic != '/front/image_raw'
    assert len(left) == 13 - unreadable
    assert [f'1 x {topic} is no ' in line for line in recording.problems] == [True] * unreadable


def test_a_chunk_with_a_wrong_checksum_costs_only_itself(tmp_path, made):
    """Written by the mcap library, as rosbag2 does: with checksums, one frame in a chunk."""
    path = tmp_path / 'drive.mcap'
    with path.open('wb') as file:
        writer = McapWriter(file, chunk_size=10_000)
        writer.start(profile='ros2')
        schema = writer.register_schema(name=messages.IMAGE, encoding='ros2msg', data=b'')
        channel = writer.register_channel(topic='/front/image_raw', message_encoding='cdr', schema_id=schema)
        for m in made.messages(10, tf=False, info=False):
            writer.add_message(channel, log_time=m.stamp_ns, data=m.data, publish_time=m.stamp_ns)
        writer.finish()
    data = bytearray(path.read_bytes())
    with path.open('rb') as file:
        chunk = make_reader(file).get_summary().chunk_indexes[4]
    data[chunk.chunk_start_offset + chunk.chunk_length - 20] ^= 0xFF
    path.write_bytes(data)
    stamps, problems = read_cut(path)
    assert stamps == [made.stamp(i) for i in range(10) if i != 4]
    assert any('reading what is whole' in p for p in problems)
    assert any(f'chunk at byte {chunk.chunk_start_offset + 9}' in p for p in problems)


def test_rosbag1_cut_at_random_offsets(tmp_path, made):
    ros1 = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / 'whole.bag'
    with Rosbag1Writer(path) as writer:
        known = {}
        for m in made.messages(FRAMES, tf=False):
            if m.topic not in known:
                known[m.topic] = writer.add_connection(m.topic, m.msgtype, typestore=ros1)
            writer.write(known[m.topic], m.stamp_ns, messages.typestore().cdr_to_ros1(m.data, m.msgtype))
    data = path.read_bytes()
    for cut in random.Random(4).sample(range(len(data) // 2, len(data)), 25):
        part = tmp_path / 'cut.bag'
        part.write_bytes(data[:cut])
        stamps, problems = read_cut(part)
        assert stamps == [made.stamp(i) for i in range(len(stamps))]
        assert len(stamps) >= (cut - 20_000) // 19_500 - 1, f'cut at {cut}'
        assert problems


@pytest.mark.parametrize('suffix', ['.mcap', '.db3', '.bag'])
@pytest.mark.parametrize('content', [b'', b'something else entirely, long enough to be a header of any of them' * 4])
def test_foreign_files_are_refused_in_one_line(tmp_path, suffix, content):
    path = tmp_path / f'odd{suffix}'
    path.write_bytes(content)
    with pytest.raises(RecordingError) as caught:
        open_recording(str(path))
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_a_bag_compressed_as_a_file_says_how_to_open_it(tmp_path, write_bag):
    path = write_bag(1)
    alone = tmp_path / 'drive.mcap.zstd'
    shutil.copy(bag_file(path), alone)
    with pytest.raises(RecordingError, match=r'give the bag folder with its metadata\.yaml'):
        open_recording(str(alone))
