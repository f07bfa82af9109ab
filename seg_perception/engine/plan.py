"""From an ONNX graph to a TensorRT plan: parse, profile, build; with progress, and errors that name the node."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from seg_perception.engine import trt_api
from seg_perception.engine.precision import Achieved, from_network
from seg_perception.engine.trt_api import TensorRt
from seg_perception.engine.trt_messages import build_message, parse_message, started
from seg_perception.engine.trt_progress import ProgressFn, stoppable
from seg_perception.errors import ConfigError, EngineError
from seg_perception.model import ModelSpec

LOG = logging.getLogger(__name__)
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What changes a plan, besides the graph."""

    max_batch: int = 1
    typical_batch: int = 0
    """Batch that kernels are tuned for; 0 tunes for `max_batch`, the slowest case, which bounds a frame's age."""
    workspace_mib: int = 0
    """Scratch memory the builder may use; 0 leaves TensorRT's limit, all of the GPU."""
    dla_core: int | None = None
    """Deep-learning accelerator to use, with the GPU for what it cannot do; None for the GPU alone."""
    timing_cache: Path | None = None
    """File of kernel timings to start from and to extend, so that the next build is quicker."""

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise ConfigError(f'max_batch is {self.max_batch}; expected 1 or more')
        if not 0 <= self.typical_batch <= self.max_batch:
            raise ConfigError(f'typical_batch is {self.typical_batch}; expected 0 to max_batch ({self.max_batch})')
        if self.workspace_mib < 0:
            raise ConfigError(f'workspace is {self.workspace_mib} MiB; expected 0 (no limit) or more')
        if self.dla_core is not None and self.dla_core < 0:
            raise ConfigError(f'DLA core is {self.dla_core}; expected 0 or more')

    @property
    def profile(self) -> tuple[int, int, int]:
        """Smallest, typical and largest batch; all the same on a DLA, which has no dynamic shapes."""
        smallest = self.max_batch if self.dla_core is not None else 1
        return smallest, max(smallest, self.typical_batch or self.max_batch), self.max_batch


class BuiltPlan(NamedTuple):
    """A serialised engine, not yet tried."""

    data: bytes
    network: Achieved
    """Precision of the parsed network's convolutions: what the build was asked for."""
    seconds: float


def build(
    trt: TensorRt,
    model: bytes,
    spec: ModelSpec,
    options: BuildOptions,
    progress: ProgressFn | None = None,
    *,
    portable: bool = False,
) -> BuiltPlan:
    """Parse and build a model.

    Args:
        progress: called from TensorRT's thread; Ctrl-C stops the build too, when this is the main thread.
        portable: build for every GPU that TensorRT-RTX knows, which needs no GPU; the full library cannot.

    Raises:
        EngineError: the parser or the builder refuses the graph; the message names the node.
        KeyboardInterrupt: stopped.
    """
    start = time.monotonic()
    logger = trt_api.get_logger(trt)
    builder = started(trt.module.Builder, logger, f'{trt} cannot start')
    network = trt_api.create_network(trt, builder)
    parser = trt.module.OnnxParser(network, logger)
    if not parser.parse(model):
        raise EngineError(parse_message(parser, spec.path, trt))
    _check_bindings(network, spec)
    trt_api.bytes_from_floats(trt, network)
    config = _configure(trt, builder, spec, options, portable)
    cache = trt_api.timing_cache(trt, config, _read_timings(options.timing_cache)) if options.timing_cache else None
    with stoppable(trt, config, progress) as stopped:
        plan = builder.build_serialized_network(network, config)
    if stopped():
        raise KeyboardInterrupt
    if plan is None:
        raise EngineError(build_message(list(logger.errors), spec.path, trt))
    if cache is not None and options.timing_cache:
        _write_timings(options.timing_cache, bytes(cache.serialize()))
    return BuiltPlan(bytes(plan), from_network(network), time.monotonic() - start)


def _configure(trt: TensorRt, builder: Any, spec: ModelSpec, options: BuildOptions, portable: bool) -> Any:
    config = builder.create_builder_config()
    # Detailed, because otherwise the finished plan does not tell the precision of its layers.
    config.profiling_verbosity = trt.module.ProfilingVerbosity.DETAILED
    if not portable:
        trt_api.target_current_gpu(trt, config)
    if options.workspace_mib:
        config.set_memory_pool_limit(trt.module.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    if options.dla_core is not None:
        cores = builder.num_DLA_cores
        if options.dla_core >= cores:
            raise EngineError(f'DLA core {options.dla_core} was asked for; this machine has {cores}; leave out --dla')
        config.default_device_type = trt.module.DeviceType.DLA
        config.DLA_core = options.dla_core
        config.set_flag(trt.module.BuilderFlag.GPU_FALLBACK)
    shape = (spec.input_height, spec.input_width, 3)
    profile = builder.create_optimization_profile()
    profile.set_shape('image', *((n, *shape) for n in options.profile))
    config.add_optimization_profile(profile)
    return config


def _check_bindings(network: Any, spec: ModelSpec) -> None:
    h, w = spec.input_height, spec.input_width
    expected = {'image': (h, w, 3), 'labels': (h, w), 'confidence': (h, w)}
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    found = {t.name: (t.dtype.name, tuple(t.shape)) for t in tensors}
    # TensorRT may know an output's size only at run time; what it knows must agree.
    wrong = [
        name
        for name, size in expected.items()
        if name not in found
        or found[name][0] != 'UINT8'
        or len(found[name][1]) != len(size) + 1
        or any(a not in (-1, b) for a, b in zip(found[name][1][1:], size, strict=False))
    ]
    if wrong or len(found) != len(expected):
        raise EngineError(
            f'{spec.path}: TensorRT sees {found}; expected uint8 image [N, {h}, {w}, 3], labels and confidence '
            f'[N, {h}, {w}]; export the model again'
        )


def _write_timings(path: Path, timings: bytes) -> None:
    """Write the timing cache; a file that cannot be written is no reason to lose the plan."""
    try:
        path.write_bytes(timings)
    except OSError as error:
        LOG.warning('%s: cannot write the timing cache (%s)', path, error.strerror)


def _read_timings(path: Path) -> bytes:
    if not path.exists():
        return b''
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f'{path}: cannot read the timing cache ({error.strerror})') from error
