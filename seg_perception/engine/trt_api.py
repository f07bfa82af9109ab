"""The installed TensorRT, and the only place that knows how its versions differ.

What is the same everywhere, and all that the rest of the package uses: `Builder`, `OnnxParser`, `Runtime`,
optimization profiles, the progress monitor, the engine inspector, and execution by tensor name
(`set_input_shape`, `set_tensor_address`, `execute_async_v3`). What differs:

======================  =======================  ======================  ==================================
Point                   tensorrt 10.3 to 10.x    tensorrt 11             tensorrt_rtx 1.x
======================  =======================  ======================  ==================================
Imported as             tensorrt                 tensorrt                tensorrt_rtx, tensorrt_rtx_bindings
Strongly typed network  flag, must be asked for  always; flag ignored    always; flag accepted
Precision flags         exist, not used here     removed                 none
Kernels                 chosen by timing on GPU  chosen by timing        compiled when a context is created
Timing cache            yes                      yes                     none: nothing is timed
Target                  the GPU at hand          the GPU at hand         `set_compute_capability`; portable
                                                                         from 8.0 on when not set
CUDA graphs             by the caller            by the caller           `cuda_graph_strategy` of the context
DLA                     up to 10.7               11.4.1 on AGX Orin      none
Inspector's types       `Format/Datatype`        `DataType`, `Format`    `Format/Datatype`
======================  =======================  ======================  ==================================

Sources: NVIDIA's migration guide from 10.x to 11.x, its pages on DLA, the TensorRT-RTX developer guide, and the
sources of the Python bindings (github.com/NVIDIA/TensorRT, python/src, v10.3.0 to v11.1). The RTX column was run here
(builder only, no GPU); for the others each call was compared with the bindings of 10.0 to 11.4.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections import deque
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

from seg_perception.engine.base import NotInstalledError
from seg_perception.errors import EngineError, first_line

LOG = logging.getLogger(__name__)
MODULES = ('tensorrt', 'tensorrt_rtx', 'tensorrt_rtx_bindings')


class TensorRt(NamedTuple):
    """An imported TensorRT library."""

    module: Any
    """The Python module; untyped, because NVIDIA ships no stubs for most versions."""
    flavour: str
    """'tensorrt' or 'tensorrt_rtx'."""
    version: str

    def __str__(self) -> str:
        return f'{"TensorRT-RTX" if self.is_rtx else "TensorRT"} {self.version}'

    @property
    def is_rtx(self) -> bool:
        """Whether kernels are compiled on the vehicle and nothing is timed while building."""
        return self.flavour == 'tensorrt_rtx'


def load() -> TensorRt:
    """Import the first TensorRT that works: the full library before TensorRT-RTX.

    Raises:
        EngineError: none is installed, or one is and cannot be loaded.
    """
    broken = []
    for name in MODULES:
        try:
            module: ModuleType = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError, RuntimeError) as error:
            broken.append(f'{name}: {first_line(error)}')
            continue
        if not hasattr(module, 'OnnxParser') or not hasattr(module, 'IProgressMonitor'):
            broken.append(f'{name} {getattr(module, "__version__", "?")} is older than 10')
            continue
        return TensorRt(module, 'tensorrt_rtx' if 'rtx' in name else 'tensorrt', str(module.__version__))
    if broken:
        raise EngineError(f'TensorRT cannot be loaded ({"; ".join(broken)}); install TensorRT 10.3 or newer')
    raise NotInstalledError(
        'TensorRT is not installed; on a Jetson install the packages of JetPack (`sudo apt install tensorrt '
        'python3-libnvinfer`), on an RTX desktop `pip install tensorrt_rtx_cu13_bindings tensorrt_rtx_cu13_libs`'
    )


def get_logger(trt: TensorRt) -> Any:
    """Return the TensorRT logger of this process: it writes to `logging` and keeps the last errors in `errors`.

    There is one, because TensorRT goes on using the first that it was given and ignores all others. `errors` is
    emptied here, so that they are those of what follows.
    """
    logger = _the_logger(trt.module.ILogger)
    logger.errors.clear()
    return logger


@functools.lru_cache
def _the_logger(severity: Any) -> Any:
    class Recorder(severity):
        def __init__(self) -> None:
            severity.__init__(self)
            self.errors: deque[str] = deque(maxlen=100)

        def log(self, level: Any, text: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                self.errors.append(text)
                LOG.debug('%s', text)  # raised as an EngineError by the caller, so not twice
            elif level == severity.WARNING:
                LOG.warning('%s', text)
            elif level == severity.INFO:
                LOG.debug('%s', text)

    return Recorder()


def create_network(trt: TensorRt, builder: Any) -> Any:
    """Create a strongly typed network: the graph's own types decide the precision."""
    flags = trt.module.NetworkDefinitionCreationFlag
    return builder.create_network(1 << int(flags.STRONGLY_TYPED))


def bytes_from_floats(trt: TensorRt, network: Any) -> None:
    """Let each uint8 output of a parsed network be cast from floats.

    An exported graph casts its int64 class ids to uint8; TensorRT documents conversions to uint8 from float32 and
    float16 only (`DataType::kUINT8` in NvInferRuntimeBase.h, 8.5 to 11.1).
    """
    outputs = {network.get_output(i).name for i in range(network.num_outputs)}
    for layer in [network.get_layer(i) for i in range(network.num_layers)]:
        if layer.type.name == 'CAST' and layer.get_output(0).name in outputs:
            source = layer.get_input(0)
            if source.dtype.name not in ('FLOAT', 'HALF'):
                layer.set_input(0, network.add_cast(source, trt.module.DataType.FLOAT).get_output(0))


def target_current_gpu(trt: TensorRt, config: Any) -> None:
    """Build for the GPU at hand only; the full library does nothing else."""
    if trt.is_rtx:
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.module.ComputeCapability.CURRENT, 0)


def timing_cache(trt: TensorRt, config: Any, data: bytes) -> Any:
    """Attach a timing cache that starts from `data`, or an empty one where `data` does not fit; None for RTX."""
    if trt.is_rtx:
        return None
    cache = config.create_timing_cache(data)
    # False: a cache of another GPU or version is refused, not mixed in.
    if cache is None or not config.set_timing_cache(cache, False):
        LOG.warning('the timing cache is of another GPU or TensorRT; it is begun anew')
        cache = config.create_timing_cache(b'')
        config.set_timing_cache(cache, False)
    return cache


def create_context(trt: TensorRt, engine: Any) -> Any:
    """Create the execution context, with the library's own CUDA graph replay where it has one."""
    if not trt.is_rtx:
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = trt.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)


def layer_types(layer: dict[str, Any]) -> Sequence[str]:
    """Return the type descriptions of a layer's inputs and outputs as the inspector gives them."""
    tensors = [*layer.get('Inputs', ()), *layer.get('Outputs', ())]
    return [
        str(value)
        for tensor in tensors
        if isinstance(tensor, dict)
        for key, value in tensor.items()
        if key.lower() in ('format/datatype', 'datatype', 'data type')
    ]
