"""What TensorRT says, in words that tell a user what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seg_perception.engine.trt_api import TensorRt
from seg_perception.errors import EngineError, first_line


def parse_message(parser: Any, path: Path, trt: TensorRt) -> str:
    """Return one line that names the operators and nodes which the parser refused, and the way out."""
    problems, quantised = [], False
    for i in range(parser.num_errors):
        error = parser.get_error(i)
        text = first_line(error.desc())
        operator, node = error.node_operator(), error.node_name()
        reason = '' if text in ('', 'false', 'success') else f': {text}'
        where = f'operator {operator} of node {node!r}' if operator else 'the file'
        problems.append(where + reason)
        quantised = quantised or operator in ('QuantizeLinear', 'DequantizeLinear')
    listed = '; '.join(problems[:3]) + (f'; and {len(problems) - 3} more' if len(problems) > 3 else '')
    way_out = 'export without it, or run with backend onnxruntime'
    if quantised:
        way_out = 'TensorRT takes the .int8-trt.onnx file of a model, which the int8 export writes beside this one'
    return f'{path}: {trt} does not take {listed or "the graph"}; {way_out}'


def started(kind: Any, logger: Any, what: str) -> Any:
    """Return a new `Builder` or `Runtime`; `what` begins the message when TensorRT cannot make one.

    Raises:
        EngineError: TensorRT's reason, on one line.
    """
    try:
        return kind(logger)
    except (RuntimeError, TypeError) as error:  # pybind11 reports a failed factory as TypeError
        raise EngineError(explain(what, logger.errors[-1] if logger.errors else str(error))) from error


def build_message(errors: list[str], path: Path, trt: TensorRt) -> str:
    """Return one line with the first thing that the builder complained about, and the remedy."""
    reason = errors[0] if errors else 'no reason given'
    return explain(f'{path}: {trt} cannot build it', reason)


def explain(what: str, reason: str) -> str:
    """Return `what`, TensorRT's reason and, where the reason is a known one, the remedy; one line."""
    text = reason.lower()
    remedies = (
        (('out of memory', 'outofmemory'), 'close other GPU programs, or lower --batch or --workspace'),
        (('driver version is insufficient', 'cudaerror 35'), 'install or update the NVIDIA driver'),
        (('no cuda-capable device', 'no device', 'cudaerror 100'), 'no NVIDIA GPU is visible; check nvidia-smi'),
        (
            ('unsupported sm', 'compute capability'),
            'this TensorRT has no kernels for this GPU; use backend onnxruntime',
        ),
        (
            ('launch failure', 'illegal memory access', 'misaligned address', 'device-side assert', 'ecc error'),
            'the CUDA context is lost; restart the program',
        ),
        (('could not find any implementation', 'workspace limit'), 'raise --workspace, or use another precision'),
        (('magic tag', 'version tag', 'serialization assertion'), 'the plan is of another TensorRT; build it again'),
        (('cuinit failed', 'primaryctxretain failed'), 'the GPU does not answer; check nvidia-smi'),
    )
    remedy = next((r for words, r in remedies if any(w in text for w in words)), 'see docs/tensorrt.md')
    return f'{what} ({first_line(reason)}); {remedy}'
