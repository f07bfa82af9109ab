"""Processing that is interrupted, fails, or meets bad input: what is kept, and what is said."""

from __future__ import annotations

import numpy as np
import pytest

from seg_perception.errors import EngineError, RecordingError
from seg_perception.io import messages
from seg_perception.io.bag_writer import BagWriter
from seg_perception.offline.run_folder import read_run


@pytest.mark.parametrize('cut', [False, True])
def test_an_interrupted_run_resumes_to_the_same_bytes(
    write_bag, tmp_path, cut, process_run, counting_engine, read_back
):
    """Also when it was killed, so that its bag has no end: then the labels before the cut are used."""
    path = write_bag(12, odometry=True)
    whole = process_run(path, tmp_path / 'whole').folder
    out = tmp_path / 'out'
    summary = process_run(path, out, counting_engine(stop_after=7))
    assert (summary.interrupted, summary.frames) == (True, 7)
    assert not (out / 'run').exists()
    incomplete = out / 'run.incomplete'
    assert read_run(incomplete)['status'] == 'interrupted'
    assert len([1 for topic, *_ in read_back(incomplete) if topic.endswith('/labels')]) == 7
    if cut:
        file = incomplete / 'bag' / 'bag.mcap'
        (incomplete / 'bag' / 'metadata.yaml').unlink()
        file.write_bytes(file.read_bytes()[:-3000])
    engine = counting_engine()
    summary = process_run(path, out, engine, resume=True)
    assert summary.resumed + engine.runs == summary.frames == 12
    assert (summary.resumed == 7) if not cut else (0 < summary.resumed <= 7)
    assert (out / 'run' / 'bag' / 'bag.mcap').read_bytes() == (whole / 'bag' / 'bag.mcap').read_bytes()
    assert sorted(p.name for p in (out / 'run').iterdir()) == ['bag', 'report.html', 'run.json', 'video.mp4']
    assert not incomplete.exists()


def test_a_run_with_other_settings_is_not_resumed(write_bag, tmp_path, process_run, counting_engine):
    path = write_bag(4)
    process_run(path, tmp_path, counting_engine(stop_after=2))
    engine = counting_engine()
    summary = process_run(path, tmp_path, engine, settings={'version': 'other'}, resume=True)
    assert (summary.resumed, engine.runs) == (0, 4)


def test_a_finished_run_is_not_replaced_unasked(write_bag, tmp_path, process_run):
    path = write_bag(2)
    process_run(path, tmp_path)
    with pytest.raises(RecordingError, match='exists; give another --out, or --overwrite, or --resume'):
        process_run(path, tmp_path)
    process_run(path, tmp_path, overwrite=True)


def test_a_failing_engine_leaves_a_folder_that_says_so(write_bag, tmp_path, process_run, counting_engine):
    path = write_bag(6)
    with pytest.raises(EngineError, match='the device is gone'):
        process_run(path, tmp_path, counting_engine(fail_after=3))
    assert not (tmp_path / 'run').exists()
    assert read_run(tmp_path / 'run.incomplete')['status'] == 'failed: the device is gone'
    summary = process_run(path, tmp_path, resume=True)
    assert (summary.resumed, summary.frames) == (3, 6)


def test_a_failing_engine_of_several_loses_no_frame_before_it(write_bag, tmp_path, process_run, counting_engine):
    path = write_bag(12)
    with pytest.raises(EngineError, match='the device is gone'):
        process_run(path, tmp_path, counting_engine(fail_after=2), counting_engine(fail_after=2))
    summary = process_run(path, tmp_path, resume=True)
    assert summary.frames == 12
    assert 2 <= summary.resumed <= 4


def test_without_calibration_labels_are_made_and_the_grid_is_missed_once(write_bag, tmp_path, process_run, read_back):
    summary = process_run(write_bag(3, info=False), tmp_path)
    topics = {topic for topic, *_ in read_back(summary.folder)}
    assert '/seg_perception/front/labels' in topics
    assert '/seg_perception/drivable_area' not in topics
    (problem,) = summary.problems
    assert 'no camera_info' in problem
    assert problem.endswith('give --camera-info FILE (3 frames)')


def test_frames_of_changing_size_are_all_labelled(tmp_path, made, process_run, read_back):
    from seg_perception.frames import from_array

    with BagWriter(tmp_path / 'bag') as bag:
        bag.write(next(made.messages(1)))
        for i in range(4):
            rgb = made.picture(i) if i < 2 else np.repeat(np.repeat(made.picture(i), 2, 0), 2, 1)
            bag.write(messages.camera_info('/front/camera_info', made.stamp(i), made.frame_id, made.camera))
            bag.write(messages.image('/front/image_raw', made.stamp(i), made.frame_id, from_array(rgb, 'rgb8')))
    summary = process_run(tmp_path / 'bag', tmp_path)
    found = [topic for topic, *_ in read_back(summary.folder)]
    assert found.count('/seg_perception/front/labels') == 4
    assert found.count('/seg_perception/drivable_area') == 2
    assert 'camera_info is for 96x64 but the image is 192x128' in summary.problems[0]


def test_a_recording_without_a_readable_frame_is_an_error(tmp_path, process_run):
    with BagWriter(tmp_path / 'bag') as bag:
        data = np.frombuffer(b'no picture', np.uint8)
        bag.write(messages.compressed_image('/cam/image/compressed', 1, 'x', data, 'av1'))
    with pytest.raises(RecordingError, match=r"no frame could be read: .*format 'av1'"):
        process_run(tmp_path / 'bag', tmp_path)
    assert not (tmp_path / 'run').exists()


def test_an_output_that_cannot_be_written_is_an_error(write_bag, tmp_path, process_run):
    (tmp_path / 'taken').write_text('a file')
    with pytest.raises(RecordingError, match='cannot write there'):
        process_run(write_bag(1), tmp_path / 'taken')


def test_a_damaged_bag_is_processed_as_far_as_it_goes(write_bag, tmp_path, process_run):
    path = write_bag(9, storage='sqlite3')
    file = path / 'drive.db3'
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    summary = process_run(path, tmp_path / 'out')
    assert 0 < summary.frames < 9
    assert any('reading what is whole' in p for p in summary.problems)
    assert any('pages are missing at its end' in p for p in summary.problems)
