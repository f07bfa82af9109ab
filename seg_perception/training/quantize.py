"""int8 by explicit quantise/dequantise pairs, one file for each kind of runtime.

ONNX Runtime's CPU kernels are fast with unsigned activations; TensorRT takes symmetric signed ones only, and float biases.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

CPU_TYPES = ('Conv', 'Add', 'Concat', 'Clip', 'Relu', 'ReduceMean', 'Resize')
TENSORRT_TYPES = ('Conv',)
CPU_FLOAT_CONVS, TENSORRT_FLOAT_CONVS = 6, 8
"""Convolutions at the beginning that stay in float because quantised they cost accuracy (see docs/models.md)."""


class _Frames(CalibrationDataReader):
    """Feeds frames one at a time."""

    def __init__(self, frames: Sequence[npt.NDArray[np.uint8]]) -> None:
        self._frames = iter(frames)

    def get_next(self) -> dict[str, Any] | None:
        frame = next(self._frames, None)
        return None if frame is None else {'image': frame[None]}


def quantize(source: Path, target: Path, frames: Sequence[npt.NDArray[np.uint8]], *, tensorrt: bool) -> None:
    """Write an int8 copy of an fp32 model file.

    Args:
        frames: uint8 [H, W, 3] RGB at the network's size, the real images that fix the ranges.
        tensorrt: symmetric signed activations and float biases, else unsigned for ONNX Runtime's CPU.
    """
    model = onnx.load(source)
    convs = [node.name for node in model.graph.node if node.op_type == 'Conv']
    float_convs = TENSORRT_FLOAT_CONVS if tensorrt else CPU_FLOAT_CONVS
    exclude = [*convs[:float_convs], convs[-1], *_outside(model, convs)]
    options = {'ActivationSymmetric': tensorrt, 'WeightSymmetric': True, 'QuantizeBias': not tensorrt}
    with tempfile.TemporaryDirectory() as folder:
        inferred = Path(folder) / 'inferred.onnx'
        onnx.save(onnx.shape_inference.infer_shapes(model), str(inferred))
        level = logging.root.level
        logging.root.setLevel(logging.ERROR)
        try:
            quantize_static(
                inferred,
                target,
                _Frames(frames),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(TENSORRT_TYPES if tensorrt else CPU_TYPES),
                per_channel=True,
                activation_type=QuantType.QInt8 if tensorrt else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=exclude,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options=options,
            )
        finally:
            logging.root.setLevel(level)


def _outside(model: onnx.ModelProto, convs: Sequence[str]) -> list[str]:
    """Return the nodes before the first and after the last convolution: they work on the image and on probabilities."""
    names = [node.name for node in model.graph.node]
    return names[: names.index(convs[0])] + names[names.index(convs[-1]) + 1 :]
