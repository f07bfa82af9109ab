"""Backends behind one protocol; `open_engine` is the only place that chooses one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from seg_perception.engine.base import Engine, EngineInfo, NotInstalledError, Prediction
from seg_perception.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from seg_perception.engine.plan import BuildOptions
    from seg_perception.engine.trt_progress import ProgressFn

LOG = logging.getLogger(__name__)
BACKENDS = ('auto', 'tensorrt', 'onnxruntime')

__all__ = ['BACKENDS', 'Engine', 'EngineInfo', 'NotInstalledError', 'Prediction', 'open_engine']


def open_engine(
    model: Path,
    backend: str = 'auto',
    *,
    max_batch: int = 1,
    threads: int = 0,
    plan: Path | None = None,
    options: BuildOptions | None = None,
    progress: ProgressFn | None = None,
) -> Engine:
    """Open `model` with the first backend that works under the policy.

    Which file of a model is loaded: see `seg_perception.engine.siblings`. Missing TensorRT plans are built.

    Args:
        backend: 'auto' takes TensorRT when it works, else ONNX Runtime (CUDA, then CPU) and says why;
            'tensorrt' never falls back; 'onnxruntime' does not try TensorRT.
        threads: threads of ONNX Runtime on the CPU; 0 lets it take one per core.
        plan: a TensorRT plan to load instead of the cached one; only with `backend` 'tensorrt'.
        options: how plans are built; None for the defaults with `max_batch`.
        progress: called with phase and share done while a plan is built, which takes minutes on a Jetson; returning
            False stops it. The log tells the phase every ten seconds when this is None.

    Raises:
        ModelError: the file is unreadable or foreign.
        EngineError: the backend that was asked for cannot run it.
        ConfigError: `backend` is none of these, or the arguments contradict each other.
        KeyboardInterrupt: `progress` or Ctrl-C stopped a build.
    """
    if backend not in BACKENDS:
        raise ConfigError(f'backend is {backend!r}; expected one of {BACKENDS}')
    if plan is not None and backend != 'tensorrt':
        raise ConfigError(f'plan is {plan} with backend {backend!r}; set backend to tensorrt to use it')
    reason = ''
    if backend != 'onnxruntime':
        try:
            return _tensorrt(model, max_batch, plan, options, progress)
        except EngineError as error:
            if backend == 'tensorrt':
                raise
            reason = str(error)
            level = logging.INFO if isinstance(error, NotInstalledError) else logging.WARNING
            LOG.log(level, 'no TensorRT, so ONNX Runtime runs %s: %s', model.name, reason)
    from seg_perception.engine.onnxrt import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, max_batch=max_batch, threads=threads, reason=reason)


def _tensorrt(
    model: Path, max_batch: int, plan: Path | None, options: BuildOptions | None, progress: ProgressFn | None
) -> Engine:
    from seg_perception.engine.plan import BuildOptions
    from seg_perception.engine.provision import open_tensorrt

    options = options or BuildOptions(max_batch=max_batch)
    if options.max_batch != max_batch:
        raise ConfigError(f'max_batch is {max_batch} but the plan is to be built for {options.max_batch}')
    return open_tensorrt(model, options, plan=plan, progress=progress)
