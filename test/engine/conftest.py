"""A small real model, and a simulated GPU to run it on."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest


def _load(name: str) -> types.ModuleType:
    """Import a file beside this one; test folders are no packages."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f'{name}.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """A machine with a GPU, as far as pycuda and TensorRT can tell; its plan cache is empty and temporary."""
    pytest.importorskip(
        'tensorrt_rtx_bindings', reason='TensorRT-RTX, whose types the simulated GPU has, is not installed'
    )
    simulated = _load('simulated_gpu').SimulatedGpu()
    simulated.tensorrt = _load('simulated_tensorrt').simulate(simulated)
    package = types.ModuleType('pycuda')
    package.driver = simulated.driver
    monkeypatch.setitem(sys.modules, 'pycuda', package)
    monkeypatch.setitem(sys.modules, 'pycuda.driver', simulated.driver)
    monkeypatch.setitem(sys.modules, 'tensorrt', simulated.tensorrt)
    monkeypatch.setenv('SEG_PERCEPTION_CACHE', str(tmp_path / 'plans'))
    return simulated


@pytest.fixture
def tiny(tmp_path: Path, make_model: Callable[..., Path]) -> Path:
    """A model file in fp32."""
    return make_model(tmp_path / 'tiny.onnx')
