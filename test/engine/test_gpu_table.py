"""The table of `test/gpu/run_all.py`, on the simulated GPU: its figures and its gates."""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from seg_perception.labels import DEFAULT_LABELS


@pytest.fixture
def table() -> types.ModuleType:
    path = Path(__file__).resolve().parents[1] / 'gpu' / 'table.py'
    spec = importlib.util.spec_from_file_location('table', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    rows = [line.split() for line in lines if line.startswith('tiny.onnx') and '%' in line]
    assert [row[2] for row in rows] == ['1', '1', '2', '3', '4', '5', '6']
    assert {row[3] for row in rows} == {'1.500'}
    assert {row[-1] for row in rows} == {'100.000%'}
    assert any('memory grew by' in line and '0.0 MB on the GPU over 10 frames' in line for line in lines)
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
