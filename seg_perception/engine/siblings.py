"""The files of one model: which of them a backend should load for the path that was given.

    x.onnx            fp32
    x.fp16.onnx       half precision
    x.int8.onnx       quantised with unsigned activations, which ONNX Runtime's CPU kernels are fast with
    x.int8-trt.onnx   quantised with signed, symmetric activations, the only ones that TensorRT takes

The path that is given is the one that is loaded, with these exceptions, each only when the other file exists:
TensorRT given `x.int8.onnx` loads `x.int8-trt.onnx`; ONNX Runtime given `x.int8-trt.onnx` loads `x.int8.onnx`;
ONNX Runtime on the CPU given `x.fp16.onnx` loads `x.onnx`, because a CPU computes fp16 by way of fp32.
"""

from __future__ import annotations

from pathlib import Path

from seg_perception.errors import EngineError

SUFFIXES = {'fp32': '', 'fp16': '.fp16', 'int8': '.int8', 'int8-trt': '.int8-trt'}


def variant(model: Path) -> tuple[str, str]:
    """Return the common stem and the variant of a file name: ('x', 'fp16') for `x.fp16.onnx`."""
    stem = model.name.removesuffix('.onnx')
    for name, suffix in SUFFIXES.items():
        if suffix and stem.endswith(suffix):
            return stem.removesuffix(suffix), name
    return stem, 'fp32'


def sibling(model: Path, name: str) -> Path:
    """Return the path of another variant of `model`, whether it exists or not."""
    return model.with_name(f'{variant(model)[0]}{SUFFIXES[name]}.onnx')


def for_tensorrt(model: Path) -> Path:
    """Return the file that TensorRT should load for `model`."""
    signed = sibling(model, 'int8-trt')
    return signed if variant(model)[1] == 'int8' and signed.exists() else model


def for_onnxruntime(model: Path, *, on_cpu: bool) -> Path:
    """Return the file that ONNX Runtime should load for `model`."""
    replacement = {'int8-trt': 'int8', 'fp16': 'fp32' if on_cpu else 'fp16'}.get(variant(model)[1])
    other = sibling(model, replacement) if replacement else model
    return other if other.exists() else model


def of_precision(model: Path, precision: str) -> Path:
    """Return the file of `model` that TensorRT builds in `precision` ('fp32', 'fp16' or 'int8').

    Raises:
        EngineError: it does not exist.
    """
    wanted = sibling(model, 'int8-trt' if precision == 'int8' else precision)
    if not wanted.exists():
        raise EngineError(f'{wanted}: not found, so {precision} cannot be built; export the model in that precision')
    return wanted
