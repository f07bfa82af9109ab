"""Backends behind one protocol; `open_engine` is the only place that chooses one."""

from __future__ import annotations

from pathlib import Path

from seg_perception.engine.base import Engine, EngineInfo, Prediction
from seg_perception.errors import ConfigError

BACKENDS = ('auto', 'tensorrt', 'onnxruntime')

__all__ = ['BACKENDS', 'Engine', 'EngineInfo', 'Prediction', 'open_engine']


def open_engine(model: Path, backend: str = 'auto', *, max_batch: int = 1, threads: int = 0) -> Engine:
    """Open `model` with the first backend that works under the policy.

    Args:
        backend: 'auto' takes TensorRT when it works, else ONNX Runtime (CUDA, then CPU) and says why;
            'tensorrt' never falls back; 'onnxruntime' does not try TensorRT.

    Raises:
        ModelError: the file is unreadable or foreign.
        EngineError: the backend that was asked for cannot run it.
        ConfigError: `backend` is none of these.
    """
    if backend not in BACKENDS:
        raise ConfigError(f'backend is {backend!r}; expected one of {BACKENDS}')
    from seg_perception.engine.onnxrt import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, max_batch=max_batch, threads=threads)
