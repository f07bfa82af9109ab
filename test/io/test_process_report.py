"""Figures, report and video of a processed recording."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from seg_perception.io.recording import open_recording
from seg_perception.offline.run_folder import read_run
from seg_perception.offline.statistics import LeastCertain, confidence_figures
from seg_perception.pipeline import CameraResult


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
    assert all(v > 2.0 for v in figures['free_ahead_m'])
    assert data['status'] == 'complete'
    json.dumps(data, allow_nan=False)


def test_pixels_under_one_half_are_uncertain():
    assert confidence_figures(np.array([[127, 128], [255, 0]], np.uint8)) == (pytest.approx(0.5), 0.5)


def test_the_least_certain_frame_of_each_second_and_camera_is_shown():
    kept, blank = LeastCertain(), np.zeros((1, 1, 3), np.uint8)
    seen = [(0.9, 'front', 0.0), (0.5, 'front', 0.4), (0.7, 'front', 0.9), (0.6, 'left', 0.0)]
    seen += [(0.8, 'front', float(s)) for s in range(1, 9)]
    for confidence, camera, at_s in seen:
        result = CameraResult(camera, round(at_s * 1e9), blank[..., 0], blank[..., 0], None, None, None, None)
        kept.offer(result, confidence, blank)
    found = [(p.confidence, p.camera, p.stamp_ns) for p in kept.pictures()]
    assert found[:3] == [(0.5, 'front', 400_000_000), (0.6, 'left', 0), (0.8, 'front', 1_000_000_000)]
    assert len(found) == 6


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
