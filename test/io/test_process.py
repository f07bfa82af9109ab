"""A recording through the pipeline: what is written, and that it is the same every time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from seg_perception.engine.fake import FakeEngine
from seg_perception.grid import GridConfig
from seg_perception.io import messages
from seg_perception.io.bag_writer import BagWriter
from seg_perception.io.recording import open_recording
from seg_perception.labels import Role
from seg_perception.offline.run import RunConfig
from seg_perception.pipeline import Frame, Pipeline, PipelineConfig


def test_every_output_of_the_node_with_the_stamps_of_the_input(write_bag, made, tmp_path, process_run, read_back):
    summary = process_run(write_bag(4), tmp_path / 'out')
    assert summary.folder == tmp_path / 'out' / 'run'
    assert (summary.frames, summary.interrupted, summary.problems) == (4, False, [])
    found = read_back(summary.folder)
    expected = {
        **{f'/seg_perception/front/{t}': messages.IMAGE for t in ('labels', 'road', 'lane', 'obstacle', 'confidence')},
        '/seg_perception/front/camera_info': messages.CAMERA_INFO,
        '/seg_perception/front/overlay/compressed': messages.COMPRESSED_IMAGE,
        '/seg_perception/drivable_area': messages.OCCUPANCY_GRID,
    }
    assert {topic: kind for topic, kind, _, _ in found} == expected
    for topic, kind in expected.items():
        stamps = [t for name, _, t, _ in found if name == topic]
        assert stamps == [made.stamp(i) for i in range(4)]
        for _, _, log_ns, data in [f for f in found if f[0] == topic]:
            decoded = messages.deserialize(data, kind)
            assert messages.stamp_ns(decoded.header.stamp) == log_ns
            frame = 'base_link' if kind == messages.OCCUPANCY_GRID else made.frame_id
            assert decoded.header.frame_id == frame


def test_rosbags_reads_the_same_messages(write_bag, tmp_path, process_run, read_back):
    folder = process_run(write_bag(3), tmp_path / 'out').folder
    with AnyReader([folder / 'bag']) as reader:
        read = [(c.topic, c.msgtype, t, bytes(d)) for c, t, d in reader.messages()]
        for connection, _, data in reader.messages():
            reader.deserialize(data, connection.msgtype)
        latched = [c.topic for c in reader.connections if c.ext.offered_qos_profiles]
    assert sorted(read) == sorted(read_back(folder))
    assert latched == ['/seg_perception/drivable_area']


def test_labels_masks_and_grid_are_those_of_the_pipeline(write_bag, made, tmp_path, process_run, read_back):
    folder = process_run(write_bag(5, odometry=True), tmp_path / 'out').folder
    engine = FakeEngine()
    pipeline = Pipeline(PipelineConfig(GridConfig(resolution_m=0.5)), engine)
    recording = open_recording(str(tmp_path / 'drive'))
    found = {(topic, t): data for topic, _, t, data in read_back(folder)}
    for frame in recording.frames():
        result = pipeline.run([Frame(*frame[:2], *frame[3:7])])
        labels = result.cameras[0].labels

        def pixels(topic, stamp_ns=frame.stamp_ns):
            decoded = messages.deserialize(found[f'/seg_perception/front/{topic}', stamp_ns], messages.IMAGE)
            return decoded.data.reshape(decoded.height, decoded.width)

        np.testing.assert_array_equal(pixels('labels'), labels)
        np.testing.assert_array_equal(pixels('confidence'), result.cameras[0].confidence)
        for name, role in (('road', Role.ROAD), ('lane', Role.LANE), ('obstacle', Role.OBSTACLE)):
            np.testing.assert_array_equal(pixels(name) == 255, np.isin(labels, engine.spec.labels.ids(role)))
        grid = messages.deserialize(found['/seg_perception/drivable_area', frame.stamp_ns], messages.OCCUPANCY_GRID)
        np.testing.assert_array_equal(grid.data.reshape(result.grid.cells.shape), result.grid.cells)
        assert grid.header.frame_id == ('odom' if frame.odom_from_vehicle else 'base_link')
        assert grid.info.origin.position.x == result.grid.origin_x_m
    recording.close()
    assert (np.frombuffer(grid.data, np.int8) == 0).sum() > 10


def test_the_same_bag_twice_gives_identical_bytes(write_bag, tmp_path, process_run):
    path = write_bag(6, odometry=True)
    first, second = (process_run(path, tmp_path / name).folder / 'bag' for name in 'ab')
    assert sorted(f.name for f in first.iterdir()) == ['bag.mcap', 'metadata.yaml']
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


def test_several_engines_at_once_give_the_bytes_of_one(write_bag, tmp_path, process_run, counting_engine):
    path = write_bag(12, odometry=True)
    engines = [counting_engine() for _ in range(3)]
    one = process_run(path, tmp_path / 'one').folder / 'bag' / 'bag.mcap'
    several = process_run(path, tmp_path / 'several', *engines).folder / 'bag' / 'bag.mcap'
    assert sum(e.runs for e in engines) == 12
    assert one.read_bytes() == several.read_bytes()


def test_cameras_of_one_stamp_are_one_batch(tmp_path, made, process_run, counting_engine, read_back):
    with BagWriter(tmp_path / 'two') as bag:
        for pair in zip(made.messages(3, camera='left'), made.messages(3, camera='right'), strict=True):
            for m in pair:
                bag.write(m)
    engine = counting_engine()
    summary = process_run(tmp_path / 'two', tmp_path / 'out', engine)
    assert (summary.frames, engine.runs) == (6, 3)
    topics = [topic for topic, *_ in read_back(summary.folder)]
    assert topics.count('/seg_perception/left/labels') == topics.count('/seg_perception/right/labels') == 3
    assert topics.count('/seg_perception/drivable_area') == 3


def test_the_video_shows_cameras_in_their_own_proportions(tmp_path, process_run):
    """The network squeezes 16:9 into 3:2; people should not have to look at that."""
    (tmp_path / 'frames').mkdir()
    wide = np.zeros((90, 160, 3), np.uint8)
    for i in range(3):
        cv2.imwrite(str(tmp_path / 'frames' / f'{i}.png'), cv2.circle(wide.copy(), (80, 45), 40, (255, 255, 255), -1))
    folder = process_run(tmp_path / 'frames', tmp_path / 'out', FakeEngine(90, 120)).folder
    _, picture = cv2.VideoCapture(str(folder / 'video.mp4')).read()
    assert picture.shape == (90, 160, 3)
    _, column = np.nonzero(picture[30:, :, 1] > 100)  # below the time
    assert column.max() - column.min() == pytest.approx(80, abs=6)


def test_things_on_the_ground_on_request(write_bag, tmp_path, process_run, read_back):
    summary = process_run(write_bag(3), tmp_path / 'out', config=RunConfig(geometry=True))
    found = {}
    for topic, kind, _, data in read_back(summary.folder):
        found.setdefault(topic.removeprefix('/seg_perception/'), []).append(messages.deserialize(data, kind))
    cloud = found['points'][0]
    assert [f.name for f in cloud.fields] == ['x', 'y', 'z', 'label', 'confidence']
    assert (cloud.header.frame_id, cloud.point_step, len(cloud.data)) == ('base_link', 16, 16 * cloud.width)
    points = cloud.data.view([(n, '<f4') for n in 'xyz'] + [('label', 'u1'), ('confidence', 'u1'), ('rest', 'u2')])
    assert (points['x'] > 1.0).all()
    assert (points['confidence'] == 255).all()
    assert set(points['label']) == {0, 3}
    (vehicle,) = (m for m in found['markers'][0].markers if m.ns == 'obstacles/front')
    assert (vehicle.type, vehicle.action, vehicle.header.frame_id) == (4, 0, 'base_link')
    assert all(p.x > 3.0 and p.y > 0.0 for p in vehicle.points)
    assert any(m.ns == 'road/front' for m in found['markers'][0].markers)
    assert [len(found[f'lanes/{side}']) for side in ('left', 'right')] == [3, 3]
    assert [len(p.poses) for p in found['lanes/left']] == [0, 0, 0]
