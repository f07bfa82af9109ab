"""`seg_perception bench` as a process; what it measures is not tested, what it writes is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

MILLISECONDS = ('engine_ms', 'frame_ms', 'labels_ms', 'things_ms', 'noise_ms')


@pytest.fixture(scope='module')
def bench(tmp_path_factory):
    """Bench one frame; return its figures and what it printed."""
    file = tmp_path_factory.mktemp('bench') / 'bench.json'
    done = subprocess.run(
        [sys.executable, '-m', 'seg_perception', 'bench', '--rounds', '1', '--frames', '1', '--json', str(file)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text()), done.stdout


def test_every_time_is_measured_and_the_ratios_are_theirs(bench):
    figures, _ = bench
    assert all(figures[key] > 0 for key in MILLISECONDS)
    assert figures['labels_ms'] < figures['frame_ms'], 'labels are out before the rest'
    assert figures['overhead'] == pytest.approx(figures['frame_ms'] / figures['engine_ms'], abs=0.005)
    assert figures['input'] == '1280x720 -> 480x320'


def test_the_hand_written_loop_is_measured_or_said_to_be_left_out(bench):
    figures, _ = bench
    if figures['baseline_ms'] is None:
        assert figures['baseline'].startswith('left out: ')
        assert figures['speedup'] is None
    else:
        assert figures['speedup'] == pytest.approx(figures['baseline_ms'] / figures['frame_ms'], abs=0.02)


def test_the_table_shows_the_figures_of_the_file(bench):
    figures, printed = bench
    shown = dict(line.split(maxsplit=1) for line in printed.splitlines() if line.startswith('  '))
    assert shown == {key: str(value) for key, value in figures.items()}
