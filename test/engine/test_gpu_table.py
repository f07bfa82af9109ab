"""The table of `test/gpu/run_all.py`, on the simulated GPU: its figures and its gates."""

from __future__ import annotations

import importlib.util
import re
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seg_perception.labels import DEFAULT_LABELS


def load(name: str) -> types.ModuleType:
    path = Path(__file__).resolve().parents[1] / 'gpu' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def table() -> types.ModuleType:
    return load('table')


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / 'frames'
    folder.mkdir()
    for i, c in enumerate(DEFAULT_LABELS.classes[:3]):
        cv2.imwrite(str(folder / f'{i}.png'), np.full((64, 96, 3), c.color[::-1], np.uint8))
    return folder


def test_each_batch_has_a_row(table: types.ModuleType, gpu: Any, tiny: Path, frames: Path, capsys: Any) -> None:
    table.MOST_OVERHEAD = 1e6
    assert table.run(tiny.parent, frames, 3, 10) is False
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[: lines.index('== what TensorRT must meet')] if '%' in line]
    assert [row[2] for row in rows] == ['1', '1', '2', '3', '4', '5', '6']
    assert {row[3] for row in rows} == {'1.500'}
    assert {row[-1] for row in rows} == {'100.000%'}
    bars = [line.split() for line in lines[lines.index('== what TensorRT must meet') + 1 :]]
    assert {bar[-1] for bar in bars} == {'met'}
    assert [bar for bar in bars if 'GPU,' in bar] == [
        ['tiny.onnx', 'MB', 'more', 'on', 'GPU,', '10', 'frames', '0.00', 'at', 'most', '20.00', 'met']
    ]
    assert [bar[1:4] for bar in bars if bar[1] == 'infer'] == [['infer', '/', 'network,']]
    assert any('onnxruntime cuda not measured: CUDA was asked for' in line for line in lines)


def test_too_much_overhead_fails(table: types.ModuleType, gpu: Any, tiny: Path, frames: Path) -> None:
    table.MOST_OVERHEAD = 0.0
    assert table.run(tiny.parent, frames, 3, 0) is True


def test_labels_that_differ_fail(
    table: types.ModuleType, gpu: Any, tiny: Path, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.MOST_OVERHEAD = 1e6
    monkeypatch.setattr(table, 'label_agreement', lambda *_: 0.9949)
    assert table.run(tiny.parent, frames, 3, 0) is True


def test_what_could_not_be_measured_is_not_met(
    table: types.ModuleType, gpu: Any, tiny: Path, frames: Path, capsys: Any
) -> None:
    gpu.fail_at = 'Runtime'
    assert table.run(tiny.parent, frames, 3, 0) is True
    assert re.search(r'tiny.onnx +plan for 1 to 1 frames +not measured +opens +MISSED', capsys.readouterr().out)


def test_a_machine_without_gpu_wheels_takes_the_cpus_and_keeps_its_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all, asked = load('run_all'), []

    def pip(command: list[str], env: dict[str, str]) -> int:
        asked.append(command[-1])
        series = '.'.join(np.__version__.split('.')[:2])
        assert Path(command[command.index('--constraint') + 1]).read_text() == f'numpy~={series}.0\n'
        return int(command[-1] in ('onnxruntime-gpu', 'tensorrt-cu13'))

    monkeypatch.setattr(run_all, 'SITE', tmp_path / 'site')
    monkeypatch.setattr(run_all.subprocess, 'call', pip)
    monkeypatch.setattr(run_all, '_cuda_major', lambda nvcc: '13')
    absent = {'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings'}
    monkeypatch.setattr(run_all.importlib.util, 'find_spec', lambda name: None if name in absent else 'here')
    monkeypatch.setattr(run_all.sys, 'path', list(run_all.sys.path))
    run_all.prepare(None)
    assert asked == ['onnxruntime-gpu', 'onnxruntime', 'tensorrt-cu13', *run_all.RTX]
