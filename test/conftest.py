"""For all tests."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seg_perception.labels import DEFAULT_LABELS

os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'  # Humble checks the type of every field that is set; Jazzy only when asked

OLD = int(pytest.__version__.split('.')[0]) < 7
"""Ubuntu 22.04 has pytest 6, whose hooks and nodes know paths of another kind only."""


def _module(path, parent):
    """Keep launch_testing to test/launch: it imports every module by itself, and one that skips would skip its whole folder."""
    if Path(path).parent.name == 'launch':
        return None
    return pytest.Module.from_parent(parent, **{'fspath' if OLD else 'path': path})


if OLD:

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(path, parent):
        return _module(path, parent)

else:

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(module_path, parent):
        return _module(module_path, parent)


@pytest.fixture(scope='session')
def make_model() -> Callable[..., Path]:
    """The function that writes models: see `model_by_colour`."""
    return model_by_colour


def model_by_colour(
    path: Path, *, precision: str = 'fp32', extra: str = '', flip: bool = False, size: tuple[int, int] = (32, 48)
) -> Path:
    """Write an ONNX model that labels each pixel with the class of the nearest palette colour, as FakeEngine does.

    Args:
        extra: name of an operator to put between network and output, to have something that TensorRT refuses.
        flip: answer with another class everywhere.
        size: height and width.
    """
    onnx = pytest.importorskip('onnx', reason='onnx is not installed')
    byte, real = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    kind = onnx.TensorProto.FLOAT16 if precision == 'fp16' else real
    palette = np.array([c.color for c in DEFAULT_LABELS.classes], np.float32)
    if flip:
        palette = np.roll(palette, 1, axis=0)
    dtype = np.float16 if precision == 'fp16' else np.float32
    # Nearest colour: the largest of 2 p.x - |p|^2.
    weights = {
        'weight': (2 * palette / 255).reshape(-1, 3, 1, 1).astype(dtype),
        'bias': (-(palette**2).sum(1) / 255**2).astype(dtype),
        'scale': np.array(1 / 255, dtype),
        'axes': np.array([1], np.int64),
        'white': np.array(255, np.float32),
    }
    last = 'odd' if extra else 'scores'
    steps = [
        ('Cast', ['image'], 'pixels', {'to': kind}),
        ('Mul', ['pixels', 'scale'], 'scaled', {}),
        ('Transpose', ['scaled'], 'planes', {'perm': [0, 3, 1, 2]}),
        ('Conv', ['planes', 'weight', 'bias'], 'scores', {}),
        *([(extra, ['scores'], 'odd', {'name': 'odd_one'})] if extra else ()),
        ('ArgMax', [last], 'best', {'axis': 1, 'keepdims': 0}),
        ('Cast', ['best'], 'labels', {'to': byte}),
        ('Cast', [last], 'wide', {'to': real}),
        ('Softmax', ['wide'], 'shares', {'axis': 1}),
        ('ReduceMax', ['shares', 'axes'], 'share', {'keepdims': 0}),
        ('Mul', ['share', 'white'], 'bytes', {}),
        ('Cast', ['bytes'], 'confidence', {'to': byte}),
    ]
    helper, shape = onnx.helper, ('N', *size)
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output], **attributes) for kind, inputs, output, attributes in steps],
        'by_colour',
        [helper.make_tensor_value_info('image', byte, [*shape, 3])],
        [helper.make_tensor_value_info(name, byte, list(shape)) for name in ('labels', 'confidence')],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    facts = {'format': 1, 'name': path.stem, 'precision': precision, 'classes': DEFAULT_LABELS.to_dicts()}
    facts |= {'input_height': size[0], 'input_width': size[1]}
    helper.set_model_props(model, {'seg_perception': json.dumps(facts)})
    onnx.save(model, path)
    return path
