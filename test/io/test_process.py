"""A recording through the pipeline: what is written, that it is the same every time, and what happens when it stops."""

from __future__ import annotations

import json
import shutil
import threading

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader

from seg_perception.engine.fake import FakeEngine
from seg_perception.errors import EngineError, RecordingError
from seg_perception.grid import GridConfig
from seg_perception.io import messages
from seg_perception.io.bag_writer import BagWriter
from seg_perception.io.recording import RecordingOptions, open_recording
from seg_perception.labels import Role
from seg_perception.offline.engine_pool import EnginePool
from seg_perception.offline.run import RunConfig, process
from seg_perception.offline.run_folder import RunFolder, read_run
from seg_perception.pipeline import Frame, Pipeline, PipelineConfig

CONFIG = RunConfig(pipeline=PipelineConfig(GridConfig(resolution_m=0.5)))
SETTINGS = {'version': 'x', 'model': {'name': 'fake', 'precision': 'fp32', 'sha256': 'abc'}}


class CountingEngine(FakeEngine):
    """Counts its runs; stops or fails after some."""

    def __init__(self, stop_after: int = 0, fail_after: int = 0) -> None:
        super().__init__()
        self.runs = 0
        self.stop = threading.Event()
        self._stop_after, self._fail_after = stop_after, fail_after

    def infer(self, n):
        self.runs += 1
        if self.runs == self._stop_after:
            self.stop.set()
        if self._fail_after and self.runs > self._fail_after:
            raise EngineError('the device is gone')
        return super().infer(n)


def run(path, out, engine=None, config=CONFIG, settings=SETTINGS, **options):
    engine = engine or CountingEngine()
    recording = open_recording(str(path), RecordingOptions(all_topics=True))
    try:
        return process(
            recording,
            EnginePool([engine]),
            RunFolder(out, 'run'),
            config,
            settings,
            stop=getattr(engine, 'stop', None),
            **options,
        )
    finally:
        recording.close()


def mcap_messages(folder):
    """Every message of the output bag by the mcap library: (topic, type, log time, bytes)."""
    with (folder / 'bag' / 'bag.mcap').open('rb') as file:
        return [(c.topic, s.name, m.log_time, m.data) for s, c, m in make_reader(file).iter_messages()]


def test_every_output_of_the_node_with_the_stamps_of_the_input(write_bag, made, tmp_path):
    summary = run(write_bag(4), tmp_path / 'out')
    assert summary.folder == tmp_path / 'out' / 'run'
    assert (summary.frames, summary.interrupted, summary.problems) == (4, False, [])
    found = mcap_messages(summary.folder)
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
            assert messages.stamp_of(decoded.header) == log_ns
            frame = 'base_link' if kind == messages.OCCUPANCY_GRID else made.frame_id
            assert decoded.header.frame_id == frame


def test_rosbags_reads_the_same_messages(write_bag, tmp_path):
    folder = run(write_bag(3), tmp_path / 'out').folder
    with AnyReader([folder / 'bag']) as reader:
        read = [(c.topic, c.msgtype, t, bytes(d)) for c, t, d in reader.messages()]
        for connection, _, data in reader.messages():
            reader.deserialize(data, connection.msgtype)
        latched = [c.topic for c in reader.connections if c.ext.offered_qos_profiles]
    assert sorted(read) == sorted(mcap_messages(folder))
    assert latched == ['/seg_perception/drivable_area']


def test_labels_masks_and_grid_are_those_of_the_pipeline(write_bag, made, tmp_path):
    folder = run(write_bag(5, odometry=True), tmp_path / 'out').folder
    engine = FakeEngine()
    pipeline = Pipeline(CONFIG.pipeline, engine)
    recording = open_recording(str(tmp_path / 'drive'))
    found = {(topic, t): data for topic, _, t, data in mcap_messages(folder)}
    for frame in recording.frames():
        result = pipeline.run([Frame(*frame[:2], *frame[3:])])
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


def test_the_same_bag_twice_gives_identical_bytes(write_bag, tmp_path):
    path = write_bag(6, odometry=True)
    first, second = (run(path, tmp_path / name).folder / 'bag' for name in 'ab')
    assert sorted(f.name for f in first.iterdir()) == ['bag.mcap', 'metadata.yaml']
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


def test_cameras_of_one_stamp_are_one_batch(tmp_path, made):
    with BagWriter(tmp_path / 'two') as bag:
        for pair in zip(made.messages(3, camera='left'), made.messages(3, camera='right'), strict=True):
            for m in pair:
                bag.write(m)
    engine = CountingEngine()
    summary = run(tmp_path / 'two', tmp_path / 'out', engine)
    assert (summary.frames, engine.runs) == (6, 3)
    topics = [topic for topic, *_ in mcap_messages(summary.folder)]
    assert topics.count('/seg_perception/left/labels') == topics.count('/seg_perception/right/labels') == 3
    assert topics.count('/seg_perception/drivable_area') == 3


def test_things_on_the_ground_on_request(write_bag, tmp_path):
    summary = run(write_bag(3), tmp_path / 'out', config=RunConfig(geometry=True))
    found = {}
    for topic, kind, _, data in mcap_messages(summary.folder):
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


@pytest.mark.parametrize('cut', [False, True])
def test_an_interrupted_run_resumes_to_the_same_bytes(write_bag, tmp_path, cut):
    """Also when it was killed, so that its bag has no end: then the labels before the cut are used."""
    path = write_bag(12, odometry=True)
    whole = run(path, tmp_path / 'whole').folder
    out = tmp_path / 'out'
    summary = run(path, out, CountingEngine(stop_after=7))
    assert (summary.interrupted, summary.frames) == (True, 7)
    assert not (out / 'run').exists()
    incomplete = out / 'run.incomplete'
    assert read_run(incomplete)['status'] == 'interrupted'
    assert len([1 for topic, *_ in mcap_messages(incomplete) if topic.endswith('/labels')]) == 7
    if cut:
        file = incomplete / 'bag' / 'bag.mcap'
        (incomplete / 'bag' / 'metadata.yaml').unlink()
        file.write_bytes(file.read_bytes()[:-3000])
    engine = CountingEngine()
    summary = run(path, out, engine, resume=True)
    assert summary.resumed + engine.runs == summary.frames == 12
    assert (summary.resumed == 7) if not cut else (0 < summary.resumed <= 7)
    assert (out / 'run' / 'bag' / 'bag.mcap').read_bytes() == (whole / 'bag' / 'bag.mcap').read_bytes()
    assert sorted(p.name for p in (out / 'run').iterdir()) == ['bag', 'report.html', 'run.json', 'video.mp4']
    assert not incomplete.exists()


def test_a_run_with_other_settings_is_not_resumed(write_bag, tmp_path):
    path = write_bag(4)
    run(path, tmp_path, CountingEngine(stop_after=2))
    engine = CountingEngine()
    summary = run(path, tmp_path, engine, settings={**SETTINGS, 'version': 'y'}, resume=True)
    assert (summary.resumed, engine.runs) == (0, 4)


def test_a_finished_run_is_not_replaced_unasked(write_bag, tmp_path):
    path = write_bag(2)
    run(path, tmp_path)
    with pytest.raises(RecordingError, match='exists; give another --out, or --overwrite, or --resume'):
        run(path, tmp_path)
    run(path, tmp_path, overwrite=True)


def test_a_failing_engine_leaves_a_folder_that_says_so(write_bag, tmp_path):
    path = write_bag(6)
    with pytest.raises(EngineError, match='the device is gone'):
        run(path, tmp_path, CountingEngine(fail_after=3))
    assert not (tmp_path / 'run').exists()
    assert read_run(tmp_path / 'run.incomplete')['status'] == 'failed: the device is gone'
    summary = run(path, tmp_path, resume=True)
    assert (summary.resumed, summary.frames) == (3, 6)


def test_without_calibration_labels_are_made_and_the_grid_is_missed_once(write_bag, tmp_path):
    summary = run(write_bag(3, info=False), tmp_path)
    topics = {topic for topic, *_ in mcap_messages(summary.folder)}
    assert '/seg_perception/front/labels' in topics
    assert '/seg_perception/drivable_area' not in topics
    (problem,) = summary.problems
    assert 'camera_info' in problem
    assert problem.endswith('(3 frames)')


def test_frames_of_changing_size_are_all_labelled(tmp_path, made):
    from seg_perception.frames import from_array

    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(next(made.messages(1)))
        for i in range(4):
            rgb = made.picture(i) if i < 2 else np.repeat(np.repeat(made.picture(i), 2, 0), 2, 1)
            bag.write(messages.camera_info('/front/camera_info', made.stamp(i), made.frame_id, made.camera))
            bag.write(messages.image('/front/image_raw', made.stamp(i), made.frame_id, from_array(rgb, 'rgb8')))
    summary = run(tmp_path / 'bag', tmp_path)
    found = [topic for topic, *_ in mcap_messages(summary.folder)]
    assert found.count('/seg_perception/front/labels') == 4
    assert found.count('/seg_perception/drivable_area') == 2
    assert 'camera_info is for 96x64 but the image is 192x128' in summary.problems[0]


def test_a_recording_without_a_readable_frame_is_an_error(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        data = np.frombuffer(b'no picture', np.uint8)
        bag.write(messages.compressed_image('/cam/image/compressed', 1, 'x', data, 'av1'))
    with pytest.raises(RecordingError, match=r"no frame could be read: .*format 'av1'"):
        run(tmp_path / 'bag', tmp_path)
    assert not (tmp_path / 'run').exists()


def test_an_output_that_cannot_be_written_is_an_error(write_bag, tmp_path):
    (tmp_path / 'taken').write_text('a file')
    with pytest.raises(RecordingError, match='cannot write there'):
        run(write_bag(1), tmp_path / 'taken')


def test_a_damaged_bag_is_processed_as_far_as_it_goes(write_bag, tmp_path):
    path = write_bag(9, storage='sqlite3')
    file = path / 'drive.db3'
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    summary = run(path, tmp_path / 'out')
    assert 0 < summary.frames < 9
    assert any('reading what is whole' in p for p in summary.problems)
    assert any('pages are missing at its end' in p for p in summary.problems)


def test_figures_of_every_frame(write_bag, made, tmp_path):
    data = read_run(run(write_bag(3), tmp_path).folder)
    figures = data['figures']
    assert figures['stamp_ns'] == [made.stamp(i) for i in range(3)]
    # 96x64 pixels: 24 rows of `other`, 40 of road, and a vehicle of 14x14 of which 4 rows stand before the sky
    other, vehicle = 24 * 96 - 4 * 14, 14 * 14
    assert figures['shares'][0] == pytest.approx(
        [1 - (other + vehicle) / 6144, 0, 0, vehicle / 6144, 0, other / 6144], abs=1e-6
    )
    assert figures['confidence'] == [1.0] * 3
    assert figures['uncertain'] == [0.0] * 3
    assert all(0 < v <= 1 for v in figures['grid_known'])
    assert data['status'] == 'complete'
    json.dumps(data, allow_nan=False)


def test_the_report_is_one_file_that_loads_nothing(write_bag, tmp_path):
    folder = run(write_bag(3), tmp_path).folder
    page = (folder / 'report.html').read_text()
    assert 'data:video/mp4;base64,' in page
    assert 'src="http' not in page
    assert '<script' not in page
    for text in (
        'Class shares, front',
        'Rate of processing',
        'Age of the outputs',
        'Least certain frames',
        'model.sha256',
    ):
        assert text in page
    assert page.count('<svg') >= 4
    assert 'NaN' not in page


def test_the_video_shows_every_frame_at_its_time(write_bag, tmp_path):
    folder = run(write_bag(4), tmp_path).folder
    recording = open_recording(str(folder / 'video.mp4'))
    frames = list(recording.frames())
    assert [f.stamp_ns - frames[0].stamp_ns for f in frames] == [i * 100_000_000 for i in range(4)]
    assert (frames[0].image.width, frames[0].image.height) == (96 + 64, 64)
    shutil.rmtree(folder)
