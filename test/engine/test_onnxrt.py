"""Files that are not models of this package, and requests that ONNX Runtime cannot meet."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from seg_perception.engine import onnxrt
from seg_perception.engine.onnxrt import OnnxRuntimeEngine, read_spec
from seg_perception.errors import ConfigError, EngineError, ModelError


def test_a_model_describes_itself(tiny: Path) -> None:
    spec = read_spec(tiny)
    assert (spec.name, spec.precision, spec.input_height, spec.input_width) == ('tiny', 'fp32', 32, 48)
    assert [c.name for c in spec.labels.classes][:2] == ['road', 'lane_marking']
    assert len(spec.sha256) == 64


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'absent.onnx: cannot read the model \(No such file or directory\)'):
        OnnxRuntimeEngine(tmp_path / 'absent.onnx')


@pytest.mark.parametrize('data', [b'', b'PK\x03\x04 a zip', bytes(1000)])
def test_a_file_that_is_no_onnx(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / 'bad.onnx'
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r'bad.onnx: .*export'):
        OnnxRuntimeEngine(path)


def test_a_truncated_model(tiny: Path) -> None:
    tiny.write_bytes(tiny.read_bytes()[:-40])
    with pytest.raises(ModelError, match=r'tiny.onnx: ONNX Runtime cannot load it'):
        OnnxRuntimeEngine(tiny)


def edit(path: Path, change: object) -> None:
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)


def without_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def other_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info('scores', onnx.TensorProto.FLOAT, None))


def missing_output(model: onnx.ModelProto) -> None:
    del model.graph.output[1]


def fixed_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def other_size(model: onnx.ModelProto) -> None:
    text = model.metadata_props[0].value
    model.metadata_props[0].value = text.replace('"input_width": 48', '"input_width": 64')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (without_metadata, 'no `seg_perception` metadata, so its classes are unknown; export it'),
        (other_output, r"inputs and outputs are .*scores.*; expected \['confidence', 'image', 'labels'\]"),
        (missing_output, '`confidence` is absent; expected tensor'),
        (fixed_batch, r'`image` is .*\[1, 32, 48, 3\].*expected tensor\(uint8\) \[N, 32, 48, 3\] with any N'),
        (other_size, r'`image` is .*; expected tensor\(uint8\) \[N, 32, 64, 3\]'),
    ],
)
def test_a_graph_that_breaks_the_contract(tiny: Path, change: object, message: str) -> None:
    edit(tiny, change)
    with pytest.raises(ModelError, match=message):
        OnnxRuntimeEngine(tiny)


def test_cuda_that_is_not_there(tiny: Path) -> None:
    with pytest.raises(EngineError, match=r'CUDA was asked for.*onnxruntime-gpu'):
        OnnxRuntimeEngine(tiny, device='cuda')


@pytest.mark.parametrize('arguments', [{'max_batch': 0}, {'threads': -1}, {'device': 'gpu'}])
def test_arguments_out_of_range(tiny: Path, arguments: dict) -> None:
    with pytest.raises(ConfigError, match='expected 1 or more'):
        OnnxRuntimeEngine(tiny, **arguments)


def test_a_closed_engine_says_so(tiny: Path) -> None:
    engine = OnnxRuntimeEngine(tiny)
    engine.close()
    with pytest.raises(EngineError, match='the engine is closed'):
        engine.infer(1)


@pytest.fixture
def broken_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime that lists CUDA and cannot use it, as with a missing cuDNN."""
    real = onnxrt._session

    def session(path: Path, data: bytes, options: object, providers: list) -> object:
        if onnxrt.CUDA in providers:
            raise ModelError(f'{path}: ONNX Runtime cannot load it (libcudnn.so.9: cannot open shared object file)')
        return real(path, data, options, providers)

    monkeypatch.setattr(onnxrt, '_session', session)
    monkeypatch.setattr(onnxrt.ort, 'get_available_providers', lambda: [onnxrt.CUDA, onnxrt.CPU])


def test_broken_cuda_falls_back_to_the_cpu_with_the_reason(
    broken_cuda: None, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert OnnxRuntimeEngine(tiny).info.device == 'cpu'
    assert 'cannot use CUDA, so the CPU runs tiny.onnx' in caplog.text
    assert 'libcudnn.so.9' in caplog.text


def test_broken_cuda_that_was_asked_for_is_an_error(broken_cuda: None, tiny: Path) -> None:
    with pytest.raises(EngineError, match=r'cannot use it .*libcudnn.so.9.*check CUDA and cuDNN'):
        OnnxRuntimeEngine(tiny, device='cuda')
