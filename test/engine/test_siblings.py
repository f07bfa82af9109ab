"""Which file of a model is loaded for the path that was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from seg_perception.engine import siblings
from seg_perception.errors import EngineError

ALL = ('m.onnx', 'm.fp16.onnx', 'm.int8.onnx', 'm.int8-trt.onnx')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ALL:
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ('given', 'tensorrt', 'on_cpu', 'on_cuda'),
    [
        ('m.onnx', 'm.onnx', 'm.onnx', 'm.onnx'),
        ('m.fp16.onnx', 'm.fp16.onnx', 'm.onnx', 'm.fp16.onnx'),
        ('m.int8.onnx', 'm.int8-trt.onnx', 'm.int8.onnx', 'm.int8.onnx'),
        ('m.int8-trt.onnx', 'm.int8-trt.onnx', 'm.int8.onnx', 'm.int8.onnx'),
    ],
)
def test_each_backend_loads_the_file_that_suits_it(
    folder: Path, given: str, tensorrt: str, on_cpu: str, on_cuda: str
) -> None:
    assert siblings.for_tensorrt(folder / given).name == tensorrt
    assert siblings.for_onnxruntime(folder / given, on_cpu=True).name == on_cpu
    assert siblings.for_onnxruntime(folder / given, on_cpu=False).name == on_cuda


@pytest.mark.parametrize('given', ALL)
def test_alone_a_file_is_loaded_as_given(tmp_path: Path, given: str) -> None:
    path = tmp_path / given
    path.touch()
    assert siblings.for_tensorrt(path) == path
    assert siblings.for_onnxruntime(path, on_cpu=True) == path


def test_the_file_of_a_precision(folder: Path) -> None:
    assert siblings.of_precision(folder / 'm.int8.onnx', 'fp16').name == 'm.fp16.onnx'
    assert siblings.of_precision(folder / 'm.onnx', 'int8').name == 'm.int8-trt.onnx'
    with pytest.raises(EngineError, match=r'other.int8-trt.onnx: not found, so int8 cannot be built'):
        siblings.of_precision(folder / 'other.onnx', 'int8')
