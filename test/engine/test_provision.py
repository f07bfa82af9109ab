"""Opening a model with TensorRT: build once, reuse, rebuild when anything changed and say why, refuse wrong labels."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seg_perception.engine import open_engine
from seg_perception.engine.cache import PlanCache
from seg_perception.engine.plan import BuildOptions
from seg_perception.engine.provision import open_tensorrt
from seg_perception.errors import ConfigError, EngineError, ModelError


def start(model: Path, **arguments: Any) -> None:
    """One start of a node: open, run a frame, close."""
    engine = open_engine(model, 'tensorrt', **arguments)
    engine.input(1)[:] = (220, 20, 60)
    assert (engine.infer(1).labels == 4).all()
    engine.close()


def only_plan() -> Path:
    (path,) = [path for path, _ in PlanCache().entries()]
    return path


def test_the_second_start_builds_nothing(gpu: Any, tiny: Path) -> None:
    start(tiny)
    start(tiny)
    assert gpu.builds == 1


def other_version(gpu: Any, model: Path) -> None:
    gpu.tensorrt.__version__ = '10.13.2'


def other_gpu(gpu: Any, model: Path) -> None:
    gpu.driver.Device.name = lambda self: 'Another GPU'


def other_driver(gpu: Any, model: Path) -> None:
    gpu.driver.get_driver_version = lambda: 13000


def other_model(gpu: Any, model: Path) -> None:
    data = model.read_bytes()
    model.write_bytes(data + b'\xb2\x06\x00')  # an empty unknown field: another file, the same graph


def flipped_byte(gpu: Any, model: Path) -> None:
    data = bytearray(only_plan().read_bytes())
    data[len(data) // 2] ^= 0x10
    only_plan().write_bytes(data)


def truncated(gpu: Any, model: Path) -> None:
    only_plan().write_bytes(only_plan().read_bytes()[:100])


def lost_fingerprint(gpu: Any, model: Path) -> None:
    only_plan().with_suffix('.json').unlink()


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (other_version, 'tensorrt: 10.3.0 -> 10.13.2'),
        (other_gpu, 'gpu: Simulated GPU -> Another GPU'),
        (other_driver, 'driver: 12.6 -> 13.0'),
        (other_model, 'model_sha256: '),
        (flipped_byte, 'is corrupt: its SHA-256 is not the one that was written'),
        (truncated, 'has 100 bytes; expected'),
        (lost_fingerprint, '.json is missing or unreadable'),
    ],
)
def test_a_stale_plan_is_rebuilt_and_the_log_says_why(
    gpu: Any,
    tiny: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Any, Path], None],
    reason: str,
) -> None:
    start(tiny)
    change(gpu, tiny)
    with caplog.at_level(logging.WARNING, 'seg_perception'):
        start(tiny)
    assert gpu.builds == 2
    assert reason in caplog.text
    caplog.clear()
    start(tiny)
    assert gpu.builds == 2


def test_two_nodes_at_once_build_one_plan(gpu: Any, tiny: Path) -> None:
    barrier, errors = threading.Barrier(2), []

    def node() -> None:
        try:
            barrier.wait()
            start(tiny)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=node) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert gpu.builds == 1


def test_each_batch_size_has_its_own_plan(gpu: Any, tiny: Path) -> None:
    start(tiny, max_batch=1)
    start(tiny, max_batch=4)
    start(tiny, max_batch=1)
    assert gpu.builds == 2


def test_wrong_labels_refuse_the_plan_now_and_at_the_next_start(gpu: Any, tiny: Path) -> None:
    gpu.wrong_labels = True
    with pytest.raises(EngineError, match=r'agrees with ONNX Runtime on 0\.00% of the reference frame; expected 99%'):
        start(tiny)
    gpu.wrong_labels = False
    with pytest.raises(EngineError, match=r'at an earlier start: .*agrees with ONNX Runtime on 0\.00%'):
        start(tiny)
    assert gpu.builds == 1, 'minutes of building again would give the same plan'
    open_tensorrt(tiny, BuildOptions(), rebuild=True).close()
    start(tiny)
    assert gpu.leaks() == {}


def test_a_cache_that_cannot_be_written_to_does_not_stop_the_vehicle(
    gpu: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('seg_perception.engine.cache.os.replace', full)
    with caplog.at_level(logging.WARNING, 'seg_perception'):
        start(tiny)
    assert 'No space left on device' in caplog.text
    assert 'built again at the next start' in caplog.text


def test_a_plan_at_an_explicit_path(gpu: Any, tiny: Path, tmp_path: Path) -> None:
    plan = tmp_path / 'carried.plan'
    open_tensorrt(tiny, BuildOptions(), save_to=plan).close()
    PlanCache().clean()
    start(tiny, plan=plan)
    assert gpu.builds == 1
    other_gpu(gpu, tiny)
    with pytest.raises(EngineError, match=r'carried.plan: cannot be used here \(gpu: Simulated GPU -> Another GPU\)'):
        start(tiny, plan=plan)
    assert gpu.builds == 1


def test_an_explicit_plan_needs_the_tensorrt_backend(tiny: Path) -> None:
    with pytest.raises(ConfigError, match='set backend to tensorrt'):
        open_engine(tiny, 'auto', plan=Path('x.plan'))


def test_a_missed_precision_is_said(gpu: Any, tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    gpu.inspector = '{"Layers": [{"Outputs": [{"Format/Datatype": "Half"}]}]}'
    with caplog.at_level(logging.WARNING, 'seg_perception'):
        engine = open_engine(tiny, 'tensorrt')
    assert 'asked for fp32, got fp16 100 %' in caplog.text
    assert engine.info.precision == 'fp16 100 %'
    engine.close()


def test_info_names_model_plan_gpu_and_library(gpu: Any, tiny: Path) -> None:
    engine = open_engine(tiny, 'tensorrt')
    assert engine.info.backend == 'tensorrt'
    assert engine.info.device == 'cuda Simulated GPU'
    assert engine.info.fingerprint.startswith(f'{engine.spec.sha256[:12]} plan ')
    engine.close()


def test_a_foreign_model_is_a_model_error_on_every_backend(gpu: Any, tmp_path: Path) -> None:
    path = tmp_path / 'foreign.onnx'
    path.write_bytes(b'not a model')
    for backend in ('auto', 'tensorrt', 'onnxruntime'):
        with pytest.raises(ModelError, match=r'foreign.onnx'):
            open_engine(path, backend)
    assert gpu.leaks() == {}


@pytest.mark.parametrize('stored', [b'no timing cache', b'of another GPU'])
def test_timings_that_do_not_fit_are_begun_anew(
    gpu: Any, tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, stored: bytes
) -> None:
    file = tmp_path / 'timings'
    file.write_bytes(stored)
    gpu.stale_timings = True
    with caplog.at_level(logging.WARNING, 'seg_perception'):
        start(tiny, options=BuildOptions(timing_cache=file))
    assert 'it is begun anew' in caplog.text
    assert file.read_bytes() == b'+', 'what this build has timed, and nothing else'


def test_timings_that_cannot_be_written_cost_no_plan(
    gpu: Any, tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, 'seg_perception'):
        start(tiny, options=BuildOptions(timing_cache=tmp_path / 'none' / 'timings'))
    assert 'cannot write the timing cache (No such file or directory)' in caplog.text


def test_timings_are_extended(gpu: Any, tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / 'timings'
    for expected in (b'+', b'++'):
        open_tensorrt(tiny, BuildOptions(timing_cache=file), rebuild=True).close()
        assert file.read_bytes() == expected


def test_a_dla_plan_runs_on_its_core_and_always_whole(gpu: Any, tiny: Path) -> None:
    engine = open_engine(tiny, 'tensorrt', max_batch=3, options=BuildOptions(3, dla_core=1))
    assert gpu.built_for_dla
    assert gpu.runtimes[-1].DLA_core == 1
    engine.input(3)[:] = (220, 20, 60)
    assert engine.infer(1).labels.shape == (1, 32, 48)
    assert (engine.infer(1).labels == 4).all()
    engine.close()
