"""What the export writes is what TensorRT takes: the networks that are not shipped, and the two kinds of int8."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from seg_perception.engine import trt_api
from seg_perception.engine.onnxrt import read_spec
from seg_perception.engine.parity import reference_frame
from seg_perception.engine.plan import BuildOptions, BuiltPlan, build
from seg_perception.errors import EngineError
from seg_perception.labels import DEFAULT_LABELS

torch = pytest.importorskip('torch')
pytestmark = pytest.mark.timeout(400)

HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope='module', params=['unet', 'fcn'])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network's fp32 file."""
    from seg_perception.training.graph import DeployNetwork, write_graph
    from seg_perception.training.networks import build_network

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('export') / f'{request.param}.onnx'
    write_graph(DeployNetwork(build_network(request.param, len(DEFAULT_LABELS)), 1.0), HEIGHT, WIDTH, path)
    return path


def try_build(path: Path, precision: str) -> BuiltPlan:
    from seg_perception.training.export import attach_metadata

    facts = {'format': 1, 'name': path.stem, 'precision': precision, 'classes': DEFAULT_LABELS.to_dicts()}
    attach_metadata(path, {**facts, 'input_height': HEIGHT, 'input_width': WIDTH})
    trt = trt_api.load()
    return build(trt, path.read_bytes(), read_spec(path), BuildOptions(4), portable=True)


def quantized(source: Path, *, tensorrt: bool) -> Path:
    from seg_perception.training.quantize import quantize

    target = source.with_suffix('.int8-trt.onnx' if tensorrt else '.int8.onnx')
    frame = np.ascontiguousarray(cv2.resize(reference_frame(source), (WIDTH, HEIGHT))[..., ::-1])
    quantize(source, target, [frame], tensorrt=tensorrt)
    return target


def test_fp32(exported: Path) -> None:
    assert try_build(exported, 'fp32').network.describe() == 'fp32 100 %'


def test_int8_for_tensorrt(exported: Path) -> None:
    """The plan has as many int8 convolutions as the file, which keeps the first ones in float on purpose."""
    path = quantized(exported, tensorrt=True)
    graph = onnx.load(path).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    inputs = [made_by.get(node.input[0]) for node in graph.node if node.op_type.startswith('Conv')]
    in_file = inputs.count('DequantizeLinear') / len(inputs)
    assert in_file > 0.75
    assert try_build(path, 'int8').network.shares['int8'] == pytest.approx(in_file, abs=0.02)


def test_int8_for_onnxruntime_is_refused_with_the_way_out(exported: Path) -> None:
    with pytest.raises(
        EngineError, match=r'(De)?[qQ]uantizeLinear of node .*; TensorRT takes the \.int8-trt\.onnx file'
    ):
        try_build(quantized(exported, tensorrt=False), 'int8')
