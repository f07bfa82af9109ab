"""The grid on synthetic drives, against exact truth, and the command that measures it."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from seg_perception.camera import Pose
from seg_perception.cli.evaluate_grid import command
from seg_perception.errors import ConfigError
from seg_perception.grid import OccupancyGrid, trials
from seg_perception.grid.score import Scorer, in_vehicle_frame
from seg_perception.grid.trials import MODELS, TrialRunner, trial, true_labels
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.scene import FirstObstacles, TruthGrid, Window

WINDOW = Window(1.0, 0.0, 5.0, 0.0, 3.0)


@pytest.fixture(autouse=True)
def _few_frames(monkeypatch):
    monkeypatch.setattr(trials, 'FRAMES', 5)


@pytest.mark.parametrize('model', MODELS)
def test_bars_with_true_labels(model):
    """The bars that twenty drives must meet, on one."""
    runner = TrialRunner(true_labels(DEFAULT_LABELS))
    for _ in runner.run(trial(model, 3, 640)):
        pass
    score = runner.single.result()
    assert score.total.free_iou >= 0.97
    assert score.total.range_error_median <= 0.03
    assert score.total.range_error_p95 <= 0.06
    assert score.hidden_free_cells == 0
    assert score.total.bearings > 20


def test_a_wrong_pitch_shows_in_the_score():
    c, s = math.cos(0.035), math.sin(0.035)
    down = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    runner = TrialRunner(
        true_labels(DEFAULT_LABELS), mounting_error=lambda p: Pose.from_rotation(down @ p.rotation, p.translation_m)
    )
    for _ in runner.run(trial('plumb_bob', 3, 640)):
        pass
    assert runner.single.result().total.range_error_median > 0.08


def test_score_counts_cells_beyond_the_border():
    """One row of five cells: free, free, occupied, hidden, hidden; the grid calls all of them free."""
    truth = np.array([[0, 0, 100, -1, -1]] * 3, np.int8)
    scorer = Scorer()
    scorer.add_cells(np.zeros((3, 5), np.int8), TruthGrid(truth, truth == 100, truth >= 0, WINDOW), (0.0, 1.5))
    score = scorer.result()
    assert score.total.free_iou == pytest.approx(6 / 9)
    assert score.total.occupied_iou == 0.0
    assert score.false_free_cells == 0  # the occupied column touches the free one
    assert score.hidden_free_cells == 3  # the last column touches nothing visible
    assert score.hidden_free_worst_m == pytest.approx(2.0, abs=0.2)
    assert score.hidden_occupied_free_cells == 0


def test_score_of_ranges():
    truth = FirstObstacles(
        np.array([10.0, np.inf, np.inf, 20.0]),
        np.array([10.0, 5.0, np.inf, 20.0]),
        np.array([True, False, False, False]),
        np.array([True, True, False, False]),
        np.zeros(4),
    )
    scorer = Scorer()
    scorer.add_ranges(np.array([10.5, np.inf, 3.0, 3.0]), truth)
    total = scorer.result().total
    assert (total.bearings, total.missed) == (2, 1)
    assert total.range_error_median == pytest.approx((0.05 + 1.0) / 2)


def test_an_odom_grid_is_looked_up_in_the_vehicle_frame():
    """The vehicle stands at (10, 20) facing along odom y: one cell ahead is up in odom."""
    cells = np.full((4, 4), -1, np.int8)
    cells[2, 1] = 100  # odom x 9..10, y 20..21
    grid = OccupancyGrid(cells, 1.0, 8.0, 18.0, 'odom', 0, math.nan)
    facing_y = Pose((10.0, 20.0, 0.0), (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)))
    seen = in_vehicle_frame(grid, facing_y, Window(1.0, 0.0, 3.0, -1.0, 2.0))
    assert seen.tolist() == [[-1, -1, -1], [100, -1, -1], [-1, -1, -1]]


def test_a_networks_grid_is_measured_and_not_judged(make_model, tmp_path, monkeypatch):
    monkeypatch.setattr('seg_perception.cli.evaluate_grid.NETWORK_WIDTH', 160)
    monkeypatch.setattr('seg_perception.cli.evaluate_grid.MODELS', dict(list(MODELS.items())[:1]))
    model = make_model(tmp_path / 'm.onnx')
    result = CliRunner().invoke(command, ['--seeds', '1', '--no-sensitivity', '--model', str(model)])
    assert result.exception is None, result.output
    rows = [line.split() for line in result.output.splitlines() if line.startswith(('plumb_bob', 'two_cameras'))]
    assert 'two_cameras_overlap' in {row[0] for row in rows}
    assert not {'ok', 'MISSED'} & {word for row in rows for word in row}


def test_the_command_writes_measures_and_a_page(tmp_path):
    files = ['--json', str(tmp_path / 'grid.json'), '--report', str(tmp_path / 'grid.html')]
    result = CliRunner().invoke(command, ['--seeds', '1', '--label-width', '320', '--no-sensitivity', *files])
    assert result.exception is None, result.output
    configurations = json.loads((tmp_path / 'grid.json').read_text())['configurations']
    expected = {n + end for n in (*MODELS, 'two_cameras') for end in ('', '_fused')} | {f'{n}_perfect' for n in MODELS}
    assert set(configurations) == expected | {f'two_cameras_{p}' for p in ('overlap', 'left', 'right', 'seam')}
    assert configurations['two_cameras_seam']['free_iou'] > configurations['two_cameras']['free_iou'] - 0.02
    for name, measures in configurations.items():
        assert 0.7 < measures['free_iou'] <= 1
        if name == 'two_cameras_seam':
            continue
        assert 0 < measures['range_error_median'] <= measures['range_error_p95']
        assert isinstance(measures['false_free_cells'], int)
    assert configurations['plumb_bob']['hidden_free_cells'] == 0
    page = (tmp_path / 'grid.html').read_text()
    assert page.count('data:image/png') >= 3
    assert 'plumb_bob' in result.output
    assert 'nan' not in result.output


def test_bars_are_for_true_labels_only(tmp_path):
    model = tmp_path / 'model.onnx'
    model.write_bytes(b'')
    result = CliRunner().invoke(command, ['--check', '--model', str(model)])
    assert isinstance(result.exception, ConfigError)
