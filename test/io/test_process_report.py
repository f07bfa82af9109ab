"""Figures, report and video of a processed recording."""

from __future__ import annotations

import json
import shutil

import pytest

from seg_perception.io.recording import open_recording
from seg_perception.offline.run_folder import read_run


def test_figures_of_every_frame(write_bag, made, tmp_path, process_run):
    data = read_run(process_run(write_bag(3), tmp_path).folder)
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


def test_the_report_is_one_file_that_loads_nothing(write_bag, tmp_path, process_run):
    folder = process_run(write_bag(3), tmp_path).folder
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


def test_the_video_shows_every_frame_at_its_time(write_bag, tmp_path, process_run):
    folder = process_run(write_bag(4), tmp_path).folder
    recording = open_recording(str(folder / 'video.mp4'))
    frames = list(recording.frames())
    assert [f.stamp_ns - frames[0].stamp_ns for f in frames] == [i * 100_000_000 for i in range(4)]
    assert (frames[0].image.width, frames[0].image.height) == (96 + 64, 64)
    shutil.rmtree(folder)
