"""TensorRT's own parser and builder, on the CPU: what it takes, what it refuses, and what the user reads then."""

from __future__ import annotations

import logging
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from seg_perception.engine import siblings, trt_api
from seg_perception.engine.onnxrt import read_spec
from seg_perception.engine.plan import BuildOptions, BuiltPlan, build
from seg_perception.engine.trt_api import TensorRt
from seg_perception.engine.trt_messages import explain
from seg_perception.errors import ConfigError, EngineError

ENGINES = Path(__file__).resolve().parents[2] / 'engines'
SHIPPED = [p for p in sorted(ENGINES.glob('*.onnx')) if siblings.for_tensorrt(p) == p]


@pytest.fixture(scope='module')
def trt() -> TensorRt:
    pytest.importorskip('tensorrt_rtx_bindings', reason='TensorRT-RTX is not installed')
    found = trt_api.load()
    if not found.is_rtx:
        pytest.skip(f'{found} builds on a GPU only; these tests use TensorRT-RTX')
    return found


def build_portable(trt: TensorRt, model: Path, options: BuildOptions, **arguments: object) -> BuiltPlan:
    return build(trt, model.read_bytes(), read_spec(model), options, portable=True, **arguments)


@pytest.mark.parametrize('model', SHIPPED, ids=lambda path: path.name)
@pytest.mark.parametrize('batch', [1, 6])
def test_every_shipped_graph_builds_in_its_precision(trt: TensorRt, model: Path, batch: int) -> None:
    built = build_portable(trt, model, BuildOptions(batch))
    assert len(built.data) > 100_000
    spec = read_spec(model)
    assert not built.network.missed(spec.precision), f'{spec.precision} is claimed; {built.network.describe()}'
    assert built.network.layers > 30


@pytest.mark.parametrize('model', SHIPPED, ids=lambda path: path.name)
def test_bytes_come_from_floats_as_tensorrt_documents_it(trt: TensorRt, model: Path) -> None:
    logger = trt_api.get_logger(trt)
    network = trt_api.create_network(trt, trt.module.Builder(logger))
    parser = trt.module.OnnxParser(network, logger)
    assert parser.parse(model.read_bytes())
    trt_api.bytes_from_floats(trt, network)
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    sources = {layer.get_output(0).name: layer.get_input(0).dtype.name for layer in layers if layer.type.name == 'CAST'}
    assert (sources['labels'], sources['confidence']) == ('FLOAT', 'FLOAT')


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_the_graphs_types_decide_the_precision(
    trt: TensorRt, tmp_path: Path, make_model: Callable[..., Path], precision: str
) -> None:
    built = build_portable(trt, make_model(tmp_path / 'm.onnx', precision=precision), BuildOptions())
    assert built.network.describe() == f'{precision} 100 %'


@pytest.mark.parametrize('operator', ['Det', 'NonZero'])
def test_an_operator_that_tensorrt_lacks_is_named_with_its_node(
    trt: TensorRt, tiny: Path, tmp_path: Path, make_model: Callable[..., Path], operator: str
) -> None:
    odd = make_model(tmp_path / 'odd.onnx', extra=operator)
    with pytest.raises(EngineError) as failure:
        build(trt, odd.read_bytes(), read_spec(tiny), BuildOptions(), portable=True)
    text = str(failure.value)
    assert f"does not take operator {operator} of node 'odd_one'" in text
    assert 'run with backend onnxruntime' in text
    assert '\n' not in text


def test_bytes_that_are_no_model(trt: TensorRt, tiny: Path) -> None:
    with pytest.raises(EngineError, match=r'does not take the file: .*Failed to parse the ONNX model'):
        build(trt, b'no model', read_spec(tiny), BuildOptions(), portable=True)


def test_a_graph_with_other_bindings(
    trt: TensorRt, tiny: Path, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    other = read_spec(make_model(tmp_path / 'm.onnx'))
    graph = tiny.read_bytes().replace(b'confidence', b'konfidence')
    with pytest.raises(EngineError, match=r'TensorRT sees .*konfidence.*; expected uint8 image'):
        build(trt, graph, other, BuildOptions(), portable=True)


def test_a_dla_that_is_not_there(trt: TensorRt, tiny: Path) -> None:
    with pytest.raises(EngineError, match='DLA core 1 was asked for; this machine has 0; leave out --dla'):
        build_portable(trt, tiny, BuildOptions(dla_core=1))


def test_too_little_workspace_names_the_remedy(trt: TensorRt, tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(tmp_path / 'm.onnx')
    with pytest.raises(EngineError, match=r'cannot build it .*workspace.*; raise --workspace'):
        build_portable(trt, model, BuildOptions(max_batch=16, workspace_mib=1))


def test_a_build_for_this_gpu_without_a_driver_says_so(trt: TensorRt, tiny: Path) -> None:
    if Path('/dev/nvidia0').exists():
        pytest.skip('this machine has a GPU')
    with pytest.raises(EngineError, match=r'driver version is insufficient.*; install or update the NVIDIA driver'):
        build(trt, tiny.read_bytes(), read_spec(tiny), BuildOptions())


def test_a_builder_beside_another_complains_to_its_own_caller(
    trt: TensorRt, tiny: Path, caplog: pytest.LogCaptureFixture
) -> None:
    earlier = trt.module.Builder(trt_api.get_logger(trt))
    with caplog.at_level(logging.WARNING, 'seg_perception'), pytest.raises(EngineError, match='raise --workspace'):
        build_portable(trt, tiny, BuildOptions(max_batch=16, workspace_mib=1))
    assert 'logger' not in caplog.text
    del earlier


def test_progress_is_shown_and_may_stop_the_build(trt: TensorRt, tiny: Path) -> None:
    seen: list[tuple[str, float]] = []

    def progress(phase: str, done: float) -> bool:
        seen.append((phase, done))
        return len(seen) < 3

    with pytest.raises(KeyboardInterrupt):
        build_portable(trt, tiny, BuildOptions(), progress=progress)
    assert len(seen) >= 3
    assert all(0 < done <= 1 for _, done in seen)


def test_ctrl_c_stops_the_build_and_works_as_before_afterwards(trt: TensorRt, tiny: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt(phase: str, done: float) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return True

    with pytest.raises(KeyboardInterrupt):
        build_portable(trt, tiny, BuildOptions(), progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_broken_progress_display_does_not_end_the_process(trt: TensorRt, tiny: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_portable(trt, tiny, BuildOptions(), progress=lambda phase, done: 1 / 0)


def test_a_timing_cache_changes_nothing_where_nothing_is_timed(trt: TensorRt, tiny: Path, tmp_path: Path) -> None:
    build_portable(trt, tiny, BuildOptions(timing_cache=tmp_path / 'timings'))
    assert not (tmp_path / 'timings').exists()


def test_profiles() -> None:
    assert BuildOptions(4).profile == (1, 4, 4)
    assert BuildOptions(6, typical_batch=2).profile == (1, 2, 6)
    assert BuildOptions(4, typical_batch=2, dla_core=0).profile == (4, 4, 4)


@pytest.mark.parametrize(
    'arguments',
    [{'max_batch': 0}, {'max_batch': 2, 'typical_batch': 3}, {'workspace_mib': -1}, {'dla_core': -1}],
)
def test_options_out_of_range(arguments: dict) -> None:
    with pytest.raises(ConfigError, match='expected'):
        BuildOptions(**arguments)


@pytest.mark.parametrize(
    ('reason', 'remedy'),
    [
        ('Error Code 2: OutOfMemory (Requested size was 1 bytes)', 'close other GPU programs'),
        ('cudaError 35: CUDA driver version is insufficient for CUDA runtime version', 'update the NVIDIA driver'),
        ('no CUDA-capable device is detected', 'check nvidia-smi'),
        (
            'Serialization assertion stdVersionRead == serializationVersion failed. Version tag does not match',
            'build it again',
        ),
        ('Target GPU SM 53 is not supported: unsupported SM', 'use backend onnxruntime'),
        ('something new', 'see docs/tensorrt.md'),
    ],
)
def test_known_reasons_come_with_a_remedy(reason: str, remedy: str) -> None:
    text = explain('TensorRT cannot start', reason + '\nsecond line')
    assert re.search(f'cannot start .*; .*{remedy}', text)
    assert 'second line' not in text
