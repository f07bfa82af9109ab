"""Small real models, and a simulated GPU to run them on."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from seg_perception.labels import DEFAULT_LABELS

HEIGHT, WIDTH = 32, 48


def tiny_model(
    path: Path, *, precision: str = 'fp32', extra: str = '', metadata: dict | None = None, flip: bool = False
) -> Path:
    """Write a model that labels each pixel with the class of the nearest palette colour, as FakeEngine does.

    Args:
        extra: name of an operator to put between network and output, to have something that TensorRT refuses.
        flip: answer with another class everywhere.
    """
    float_type = {'fp32': TensorProto.FLOAT, 'fp16': TensorProto.FLOAT16}[precision]
    dtype = helper.tensor_dtype_to_np_dtype(float_type)
    palette = np.array([c.color for c in DEFAULT_LABELS.classes], np.float32)
    if flip:
        palette = np.roll(palette, 1, axis=0)
    # Nearest colour: the largest of 2 p.x - |p|^2.
    weights = {
        'weight': (2 * palette / 255).reshape(-1, 3, 1, 1).astype(dtype),
        'bias': (-(palette**2).sum(1) / 255**2).astype(dtype),
        'scale': np.array(1 / 255, dtype),
        'axes': np.array([1], np.int64),
        'white': np.array(255, np.float32),
    }
    node = helper.make_node
    nodes = [
        node('Cast', ['image'], ['pixels'], to=float_type, name='cast_in'),
        node('Mul', ['pixels', 'scale'], ['scaled'], name='scale_in'),
        node('Transpose', ['scaled'], ['planes'], perm=[0, 3, 1, 2], name='to_planes'),
        node('Conv', ['planes', 'weight', 'bias'], ['scores'], name='head'),
    ]
    last = 'scores'
    if extra:
        nodes.append(node(extra, ['scores'], ['odd'], name='odd_one'))
        last = 'odd'
    nodes += [
        node('ArgMax', [last], ['best'], axis=1, keepdims=0, name='argmax'),
        node('Cast', ['best'], ['labels'], to=TensorProto.UINT8, name='cast_labels'),
        node('Cast', [last], ['wide'], to=TensorProto.FLOAT, name='widen'),
        node('Softmax', ['wide'], ['shares'], axis=1, name='softmax'),
        node('ReduceMax', ['shares', 'axes'], ['share'], keepdims=0, name='largest'),
        node('Mul', ['share', 'white'], ['byte'], name='to_byte'),
        node('Cast', ['byte'], ['confidence'], to=TensorProto.UINT8, name='cast_confidence'),
    ]
    facts = {'format': 1, 'name': 'tiny', 'precision': precision, 'input_height': HEIGHT, 'input_width': WIDTH}
    return write_graph(path, nodes, weights, {**facts, 'classes': DEFAULT_LABELS.to_dicts(), **(metadata or {})})


def write_graph(
    path: Path, nodes: list, weights: dict, metadata: dict | None, size: tuple = ('N', HEIGHT, WIDTH)
) -> Path:
    """Write nodes from `image` to `labels` and `confidence` as an ONNX file."""
    byte = TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        'tiny',
        [helper.make_tensor_value_info('image', byte, [*size, 3])],
        [helper.make_tensor_value_info(name, byte, list(size)) for name in ('labels', 'confidence')],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    if metadata is not None:
        helper.set_model_props(model, {'seg_perception': json.dumps(metadata)})
    onnx.save(model, path)
    return path


def _load_simulator() -> types.ModuleType:
    """Import the file beside this one; test folders are no packages."""
    pytest.importorskip(
        'tensorrt_rtx_bindings', reason='TensorRT-RTX, whose types the simulated GPU has, is not installed'
    )
    spec = importlib.util.spec_from_file_location('simulated_gpu', Path(__file__).with_name('simulated_gpu.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """A machine with a GPU, as far as pycuda and TensorRT can tell; its plan cache is empty and temporary."""
    simulated = _load_simulator().SimulatedGpu()
    package = types.ModuleType('pycuda')
    package.driver = simulated.driver
    monkeypatch.setitem(sys.modules, 'pycuda', package)
    monkeypatch.setitem(sys.modules, 'pycuda.driver', simulated.driver)
    monkeypatch.setitem(sys.modules, 'tensorrt', simulated.tensorrt)
    monkeypatch.setenv('SEG_PERCEPTION_CACHE', str(tmp_path / 'plans'))
    return simulated


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model file in fp32."""
    return tiny_model(tmp_path / 'tiny.onnx')


@pytest.fixture
def make_model() -> Callable[..., Path]:
    """The function that writes models: see `tiny_model`."""
    return tiny_model
