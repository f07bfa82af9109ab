"""Which backend is taken, and what the user is told about it."""

from __future__ import annotations

import logging
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from seg_perception.engine import open_engine, trt_api
from seg_perception.engine.plan import BuildOptions
from seg_perception.errors import ConfigError, EngineError


def test_auto_takes_tensorrt_when_it_works(gpu: Any, tiny: Path) -> None:
    engine = open_engine(tiny)
    assert (engine.info.backend, engine.info.reason) == ('tensorrt', '')
    engine.close()


@pytest.mark.parametrize(
    ('call', 'reason'),
    [
        ('init', 'CUDA cannot open the GPU'),
        ('mem_alloc', 'out of memory'),
        ('build', 'cannot build it'),
        ('Runtime', 'cannot start'),
    ],
)
def test_auto_falls_back_and_says_why_once(
    gpu: Any, tiny: Path, caplog: pytest.LogCaptureFixture, call: str, reason: str
) -> None:
    gpu.fail_at = call
    with caplog.at_level(logging.WARNING, 'seg_perception'):
        engine = open_engine(tiny)
    assert engine.info.backend == 'onnxruntime'
    assert reason in engine.info.reason
    assert sum('no TensorRT, so ONNX Runtime runs tiny.onnx' in r.message for r in caplog.records) == 1
    engine.infer(1)
    assert gpu.leaks() == {}


def test_tensorrt_never_falls_back(gpu: Any, tiny: Path) -> None:
    gpu.fail_at = 'init'
    with pytest.raises(EngineError, match='CUDA cannot open the GPU'):
        open_engine(tiny, 'tensorrt')


def test_onnxruntime_does_not_touch_the_gpu(gpu: Any, tiny: Path) -> None:
    gpu.fail_at = 'init'
    assert open_engine(tiny, 'onnxruntime').info.reason == ''


def test_missing_pycuda_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'pycuda', None)
    monkeypatch.delitem(sys.modules, 'pycuda.driver', raising=False)
    with pytest.raises(EngineError, match='pip install pycuda'):
        open_engine(tiny, 'tensorrt')


def test_a_missing_driver_is_named(gpu: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoDriver:
        def find_spec(self, name: str, *_: object) -> None:
            if name == 'pycuda.driver':
                raise ImportError('libcuda.so.1: cannot open shared object file')

    monkeypatch.delitem(sys.modules, 'pycuda.driver')
    monkeypatch.setattr(sys.modules['pycuda'], '__path__', [], raising=False)
    monkeypatch.setattr(sys, 'meta_path', [NoDriver(), *sys.meta_path])
    with pytest.raises(EngineError, match=r'libcuda.so.1.*check the NVIDIA driver \(`nvidia-smi`\)'):
        open_engine(tiny, 'tensorrt')


def test_a_pycuda_that_lacks_a_module_of_its_own_is_no_reason_to_stand_still(
    gpu: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoPytools:
        def find_spec(self, name: str, *_: object) -> None:
            if name == 'pycuda.driver':
                raise ModuleNotFoundError("No module named 'pytools'", name='pytools')

    monkeypatch.delitem(sys.modules, 'pycuda.driver')
    monkeypatch.setattr(sys.modules['pycuda'], '__path__', [], raising=False)
    monkeypatch.setattr(sys, 'meta_path', [NoPytools(), *sys.meta_path])
    engine = open_engine(tiny)
    assert (engine.info.backend, "No module named 'pytools'" in engine.info.reason) == ('onnxruntime', True)


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_missing_tensorrt_names_the_packages(gpu: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, *trt_api.MODULES)
    with pytest.raises(EngineError, match=r'not installed; on a Jetson .*apt install.*tensorrt_rtx_cu13_bindings'):
        open_engine(tiny, 'tensorrt')
    assert gpu.leaks() == {}


def test_a_tensorrt_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    old = types.ModuleType('tensorrt')
    old.__version__ = '8.5.2'
    monkeypatch.setitem(sys.modules, 'tensorrt', old)
    without(monkeypatch, 'tensorrt_rtx', 'tensorrt_rtx_bindings')
    with pytest.raises(EngineError, match=r'tensorrt 8\.5\.2 is older than 10.*install TensorRT 10\.3 or newer'):
        trt_api.load()


def test_tensorrt_comes_before_tensorrt_rtx(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(trt_api.load()) == 'TensorRT 10.3.0'
    without(monkeypatch, 'tensorrt')
    assert str(trt_api.load()).startswith('TensorRT-RTX 1.')


def test_unknown_backend(tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r"backend is 'cuda'; expected one of \('auto', 'tensorrt', 'onnxruntime'\)"):
        open_engine(tiny, 'cuda')


def test_contradicting_batches(gpu: Any, tiny: Path) -> None:
    with pytest.raises(ConfigError, match='max_batch is 2 but the plan is to be built for 4'):
        open_engine(tiny, 'tensorrt', max_batch=2, options=BuildOptions(4))
