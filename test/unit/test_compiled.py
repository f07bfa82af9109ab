"""Compiled loops: what is kept on disk, what is not trusted, and that an index outside an array is an error."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seg_perception import compiled

ADD = """
from seg_perception.compiled import compiled
from {folder}.constant import STEP

@compiled('int64[::1](int64[::1], int64)')
def stepped(values, count):
    out = values.copy()
    for i in range(count):
        out[i] += STEP
    return out
"""

EVERY_LOOP = """
import math
import numpy as np

from seg_perception import draw
from seg_perception.camera import EQUIDISTANT, CameraModel, Pose
from seg_perception.engine.fake import FakeEngine
from seg_perception.frames import from_array
from seg_perception.pipeline import Frame, Pipeline, PipelineConfig
from seg_perception.postprocess import ContourConfig
from seg_perception.things import all_ground_points, lane_shapes, region_shapes

engine, config, rng = FakeEngine(120, 180), PipelineConfig(), np.random.default_rng(0)
labels = engine.spec.labels
cameras = [CameraModel(180, 120, 140.0, 140.0, 89.5, 59.5), CameraModel(180, 120, 70.0, 70.0, 89.5, 59.5, EQUIDISTANT, (0.0,) * 4)]
for moving in (False, True):
    pipeline = Pipeline(config, engine)
    for step, size in enumerate((1, 2, 3, 5, 8, 20, 60, 200)):
        frames = []
        for i, camera in enumerate(cameras):
            blocks = rng.integers(0, len(labels), (120 // size + 1, 180 // size + 1)).repeat(size, 0).repeat(size, 1)
            picture = labels.palette()[blocks[:120, :180]]
            # Far off the middle: the window moves, and the view wraps around the circle.
            pose = Pose.mounted(1.5, 0.0, 1.4, rng.normal(0, 0.1), 0.2, i * math.pi)
            odom = Pose((step * 1.7, -step * 0.9, 0.0), (0.0, 0.0, math.sin(0.1 * step), math.cos(0.1 * step))) if moving else None
            frames.append(Frame(str(i), 10**9 + step * 10**8, from_array(picture, 'rgb8'), camera, pose, odom))
        result = pipeline.run(frames, want_lanes=True)
        assert result.grid is not None and result.lanes is not None
        all_ground_points(result.cameras, config.grid, labels)
        list(lane_shapes(result.lanes)), list(region_shapes(result.cameras, labels, ContourConfig(), 0.0))
        draw.overlay(picture, result.cameras[1].labels, labels)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / 'loops'
    folder.mkdir()
    (folder / '__init__.py').touch()
    (folder / 'constant.py').write_text('STEP = 1\n')
    (folder / 'add.py').write_text(ADD.format(folder='loops'))
    return folder


def run(package: Path, cache: Path, count: int = 2) -> subprocess.CompletedProcess[str]:
    code = f'import numpy as np; from loops.add import stepped; print(stepped(np.zeros(2, np.int64), {count}).tolist())'
    path = os.pathsep.join([str(package.parent), *sys.path])
    environment = {**os.environ, 'NUMBA_CACHE_DIR': str(cache), 'PYTHONPATH': path}
    return subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, env=environment, timeout=100, check=False
    )


def test_code_is_kept_and_a_constant_changed_in_another_file_is_noticed(package: Path, tmp_path: Path) -> None:
    cache = tmp_path / 'cache'
    assert run(package, cache).stdout == '[1, 1]\n'
    kept = {p: p.stat().st_mtime_ns for p in cache.rglob('*.nbc')}
    assert len(kept) == 1
    assert run(package, cache).stdout == '[1, 1]\n'
    assert {p: p.stat().st_mtime_ns for p in cache.rglob('*.nbc')} == kept
    (package / 'constant.py').write_text('STEP = 5\n')
    assert run(package, cache).stdout == '[5, 5]\n'


def test_an_index_outside_an_array_is_an_error_where_bounds_are_checked(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(package, tmp_path / 'cache')
    monkeypatch.setenv('NUMBA_BOUNDSCHECK', '1')
    done = run(package, tmp_path / 'cache', count=3)
    assert done.returncode == 1
    assert 'IndexError' in done.stderr


@pytest.mark.timeout(400)
def test_no_compiled_loop_of_the_package_leaves_its_arrays(tmp_path: Path) -> None:
    environment = {**os.environ, 'NUMBA_CACHE_DIR': str(tmp_path), 'NUMBA_BOUNDSCHECK': '1'}
    done = subprocess.run(
        [sys.executable, '-c', EVERY_LOOP], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_directory_that_others_may_write_to_is_not_used(package: Path, tmp_path: Path) -> None:
    cache = tmp_path / 'cache'
    run(package, cache)
    (kept,) = cache.iterdir()
    kept.chmod(0o777)
    done = run(package, cache)
    assert done.stdout == '[1, 1]\n'
    assert 'others may write to it' in done.stderr
    assert 'NUMBA_CACHE_DIR' in done.stderr


def test_without_a_place_for_it_code_is_compiled_at_every_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / 'file'
    blocked.touch()
    monkeypatch.setenv('NUMBA_CACHE_DIR', str(blocked))
    compiled._directory.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            double = compiled.compiled('float64[::1](float64[::1])')(lambda values: values * 2)
    finally:
        compiled._directory.cache_clear()
    assert double(np.ones(2)).tolist() == [2.0, 2.0]
    assert 'what is compiled is not kept' in caplog.text
