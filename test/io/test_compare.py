"""Two runs compared: figures that can be counted by hand, and the gate."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from seg_perception.engine.fake import FakeEngine
from seg_perception.errors import ConfigError, RecordingError
from seg_perception.grid import GridConfig
from seg_perception.io.bag_writer import BagWriter
from seg_perception.io.recording import RecordingOptions, open_recording
from seg_perception.labels import DEFAULT_LABELS, LabelMap
from seg_perception.offline.compare import compare_runs
from seg_perception.offline.compare_page import write_comparison
from seg_perception.offline.engine_pool import EnginePool
from seg_perception.offline.run import RunConfig, process
from seg_perception.offline.run_folder import RunFolder, read_run
from seg_perception.offline.thresholds import Thresholds, read_thresholds
from seg_perception.pipeline import PipelineConfig

SETTINGS = {'version': 'x', 'model': {'name': 'fake', 'precision': 'fp32', 'sha256': 'abc'}}


class PatchEngine(FakeEngine):
    """Calls a patch in the lower left corner pavement, from a frame on."""

    def __init__(self, height=0, width=0, first=0, labels=DEFAULT_LABELS):
        super().__init__()
        self.spec = replace(self.spec, labels=labels)
        self._patch, self._first, self._count = (height, width), first, 0

    def infer(self, n):
        prediction = super().infer(n)
        if self._count >= self._first and self._patch[0]:
            prediction.labels[:, -self._patch[0] :, : self._patch[1]] = 2
        self._count += 1
        return prediction


@pytest.fixture
def made_run(write_bag, tmp_path):
    """Process six frames with an engine and return the run's folder."""
    path = write_bag(6)

    def make(name, engine, source=path):
        recording = open_recording(str(source))
        config = RunConfig(pipeline=PipelineConfig(GridConfig(resolution_m=0.5)), video=False)
        summary = process(recording, EnginePool([engine]), RunFolder(tmp_path, name), config, SETTINGS)
        recording.close()
        return summary.folder

    return make


def test_a_run_equals_itself(made_run):
    a, b = made_run('a', PatchEngine()), made_run('b', PatchEngine())
    found = compare_runs(a, b)
    assert (found.frames, found.only_a, found.only_b, found.grids, found.problems) == (6, 0, 0, 6, [])
    assert (found.label_disagreement, found.worst_frame_disagreement, found.class_iou_loss) == (0, 0, 0)
    assert (found.grid_disagreement, found.grid_disagreement_cells, found.grid_disagreement_m2) == (0, 0, 0)
    assert found.missing_frames == 0


def test_a_patch_of_another_class_is_counted_exactly(made_run):
    """16x24 of 96x64 pixels, in four of six frames, are road in A and pavement in B."""
    a, b = made_run('a', PatchEngine()), made_run('b', PatchEngine(16, 24, first=2))
    found = compare_runs(a, b)
    share = 16 * 24 / (96 * 64)
    assert found.worst_frame_disagreement == pytest.approx(share)
    assert found.label_disagreement == pytest.approx(share * 4 / 6)
    assert found.over_time['label_disagreement'] == pytest.approx([0, 0, share, share, share, share])
    assert found.over_time['seconds'] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    rows = {c['name']: c for c in found.classes}
    road = 1 - (24 * 96 + 10 * 14) / 6144
    assert rows['road']['share_a'] == pytest.approx(road)
    assert rows['road']['share_b'] == pytest.approx(road - share * 4 / 6)
    assert rows['road']['iou'] == pytest.approx((road - share * 4 / 6) / road)
    assert rows['road']['only_a'] == rows['pavement']['only_b'] == pytest.approx(share * 4 / 6)
    assert (rows['pavement']['iou'], rows['vehicle']['iou'], rows['person']['iou']) == (0.0, 1.0, None)
    assert found.class_iou_loss == pytest.approx(1 - rows['road']['iou'])


def test_cells_that_are_free_in_one_grid_only(made_run):
    """The patch lies left of the vehicle's path: its cells are free with road, not with pavement."""
    a, b = made_run('a', PatchEngine()), made_run('b', PatchEngine(20, 40))
    found = compare_runs(a, b)
    assert found.grid_disagreement_cells > 3
    assert found.grid_disagreement_m2 == pytest.approx(found.grid_disagreement_cells * 0.25)
    assert 0 < found.grid_disagreement < 1
    assert all(v > 0 for v in found.over_time['grid_disagreement'])


def test_cameras_of_equal_stamps_each_keep_their_own_disagreement(tmp_path, made):
    """Two cameras, three frames each: in B the patch is in the images of `left` only."""
    with BagWriter(tmp_path / 'two', latched=('/tf_static',)) as writer:
        for pair in zip(made.messages(3, camera='front'), made.messages(3, camera='left'), strict=True):
            for message in pair:
                writer.write(message)

    class LeftPatch(FakeEngine):
        def infer(self, n):
            prediction = super().infer(n)
            prediction.labels[n - 1, -16:, :24] = 2
            return prediction

    runs = []
    for name, engine in (('a', FakeEngine()), ('b', LeftPatch())):
        recording = open_recording(str(tmp_path / 'two'), RecordingOptions(all_topics=True))
        summary = process(recording, EnginePool([engine]), RunFolder(tmp_path, name), RunConfig(video=False), SETTINGS)
        recording.close()
        runs.append(summary.folder)
    found = compare_runs(*runs)
    share = 16 * 24 / (96 * 64)
    at = {'front': 0.0, 'left': share}
    assert sorted(found.over_time['camera']) == ['front'] * 3 + ['left'] * 3
    assert found.over_time['label_disagreement'] == pytest.approx([at[c] for c in found.over_time['camera']])
    write_comparison(tmp_path / 'comparison.html', found, [], [(r, read_run(r)) for r in runs])
    page = (tmp_path / 'comparison.html').read_text()
    assert all(f'</i>{camera}</span>' in page for camera in at)


def test_frames_of_one_run_only_are_counted(made_run, write_bag):
    a = made_run('a', PatchEngine())
    b = made_run('b', PatchEngine(), write_bag(4, name='short'))
    found = compare_runs(a, b)
    assert (found.frames, found.only_a, found.only_b) == (4, 2, 0)
    assert found.missing_frames == pytest.approx(2 / 6)


def test_runs_that_cannot_be_compared_are_refused(made_run, tmp_path, folder):
    a = made_run('a', PatchEngine())
    with pytest.raises(RecordingError, match='no processed run here'):
        compare_runs(a, tmp_path / 'nothing')
    fewer = made_run('b', PatchEngine(labels=LabelMap(DEFAULT_LABELS.classes[:4])))
    with pytest.raises(RecordingError, match='compare runs of the same classes'):
        compare_runs(a, fewer)
    other = made_run('c', PatchEngine(), folder)
    with pytest.raises(RecordingError, match='no frame has the same camera and stamp'):
        compare_runs(a, other)


def test_thresholds_are_checked_one_by_one(made_run):
    a, b = made_run('a', PatchEngine()), made_run('b', PatchEngine(16, 24))
    found = compare_runs(a, b)
    checks = {c.name: c.ok for c in found.check(Thresholds(label_disagreement=0.07, worst_frame_disagreement=0.06))}
    assert checks == {'label_disagreement': True, 'worst_frame_disagreement': False}


def test_a_threshold_without_anything_to_compare_is_not_met(write_bag, made_run):
    """No calibration, no grid: a gate on the grid must not pass by silence."""
    path = write_bag(3, name='blind', info=False)
    a, b = made_run('a', PatchEngine(), path), made_run('b', PatchEngine(), path)
    (check,) = compare_runs(a, b).check(Thresholds(grid_disagreement=0.5))
    assert (check.found, check.ok, check.verdict) == (None, False, 'nothing to compare')


@pytest.mark.parametrize(
    ('text', 'message'),
    [('speed: 1', 'unknown thresholds speed'), ('slowdown: fast', "slowdown is 'fast'"), ('slowdown: -1', 'is -1')],
)
def test_bad_thresholds_are_refused(tmp_path, text, message):
    file = tmp_path / 'gate.yaml'
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_thresholds(file)


def test_the_command_writes_json_and_html_and_its_exit_code_is_the_gate(made_run, tmp_path):
    a, b = made_run('a', PatchEngine()), made_run('b', PatchEngine(16, 24))
    gate = tmp_path / 'gate.yaml'
    gate.write_text('label_disagreement: 0.01\nmissing_frames: 0\n')
    files = ['--json', str(tmp_path / 'd.json'), '--html', str(tmp_path / 'd.html')]

    def compare(*arguments):
        command = [sys.executable, '-m', 'seg_perception', 'compare', *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    done = compare(a, b, '--thresholds', gate, *files)
    assert done.returncode == 3, done.stderr
    assert 'label_disagreement              0.0625    0.0100  EXCEEDED' in done.stdout
    data = json.loads((tmp_path / 'd.json').read_text())
    assert data['label_disagreement'] == 0.0625
    assert [c['ok'] for c in data['checks']] == [False, True]
    page = (tmp_path / 'd.html').read_text()
    assert 'exceeded' in page
    assert 'src=' not in page
    assert page.count('<svg') >= 2
    assert compare(a, a, '--thresholds', gate).returncode == 0
    assert compare(a, b).returncode == 0


def test_charts_have_gaps_where_nothing_is_known():
    from seg_perception.offline.charts import Series, line_chart

    x = np.arange(5.0)
    chart = line_chart(x, [Series('free', np.array([1, 2, np.nan, 4, 5.0]), '#000')], 'm')
    path = chart.split('d="')[1].split('"')[0]
    assert path.count('M') == 2
    assert 'nan' not in chart
    long = line_chart(np.arange(10_000.0), [Series('a', np.ones(10_000), '#000')], '')
    assert long.split('d="')[1].split('"')[0].count('L') < 600
