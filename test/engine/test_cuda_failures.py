"""A GPU that fails at any call: the message says at what and what to do, and nothing stays allocated."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seg_perception.engine import open_engine
from seg_perception.engine.cuda import Session
from seg_perception.engine.fake import FakeEngine
from seg_perception.engine.measure import memory_growth, time_engine
from seg_perception.errors import EngineError

OPENING = [
    ('init', r'CUDA cannot open the GPU \(cuInit failed: no CUDA-capable device .*check nvidia-smi'),
    ('Device', 'CUDA cannot open the GPU'),
    ('retain', 'CUDA cannot open the GPU'),
    ('push', 'CUDA cannot open the GPU'),
    ('Stream', 'CUDA cannot open the GPU'),
    ('Builder', r'TensorRT 10.3.0 cannot start \(pybind11'),
    ('build', 'TensorRT 10.3.0 cannot build it'),
    ('Runtime', r'TensorRT 10.3.0 cannot start \(createInferRuntime: .*CUDA error 35'),
    ('deserialize', r'cannot load the plan \(.*out of memory\); close other GPU programs'),
    ('create_execution_context', 'cannot prepare the plan'),
    ('pagelocked_empty', r'CUDA cannot allocate 0.0 MB \(.*out of memory\); close other GPU programs'),
    ('mem_alloc', r'CUDA cannot allocate 0.0 MB \(.*out of memory\); close other GPU programs'),
    ('memcpy_htod_async', 'CUDA cannot copy the frames to the GPU'),
    ('set_input_shape', 'cannot take 1 frames'),
    ('execute', 'cannot run the network'),
    ('memcpy_dtoh_async', 'CUDA cannot copy the labels from the GPU'),
    ('synchronize', 'CUDA cannot copy the labels from the GPU .*launch failure.*; the CUDA context is lost; restart'),
]


@pytest.mark.parametrize(('call', 'message'), OPENING, ids=[call for call, _ in OPENING])
def test_a_failure_while_opening_is_explained_and_leaks_nothing(gpu: Any, tiny: Path, call: str, message: str) -> None:
    gpu.fail_at = call
    with pytest.raises(EngineError, match=message) as failure:
        open_engine(tiny, 'tensorrt', max_batch=2)
    assert '\n' not in str(failure.value)
    del failure
    assert gpu.leaks() == {}


RUNNING = [
    ('memcpy_htod_async', 'copy the frames to the GPU'),
    ('execute', 'run the network'),
    ('memcpy_dtoh_async', 'copy the labels from the GPU'),
    ('synchronize', 'copy the labels from the GPU'),
]


@pytest.mark.parametrize(('call', 'message'), RUNNING, ids=[call for call, _ in RUNNING])
def test_a_failure_while_running_is_explained_and_closing_frees_all(
    gpu: Any, tiny: Path, call: str, message: str
) -> None:
    engine = open_engine(tiny, 'tensorrt', max_batch=2)
    engine.infer(1)
    gpu.fail_at = call
    with pytest.raises(EngineError, match=message):
        engine.infer(1)
    engine.close()
    assert gpu.leaks() == {}


def test_closing_frees_all_even_when_every_free_fails(gpu: Any, tiny: Path) -> None:
    engine = open_engine(tiny, 'tensorrt')
    gpu.fail_at = 'free'
    engine.close()
    assert {k: v for k, v in gpu.leaks().items() if k != 'memory'} == {}


def test_the_primary_context_is_retained_once_and_current_only_while_open(gpu: Any, tiny: Path) -> None:
    for _ in range(3):
        open_engine(tiny, 'tensorrt').close()
    assert gpu.retained == 1
    assert gpu.leaks() == {}


FORGETFUL = """
import sys, types
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from simulated_gpu import SimulatedGpu
from simulated_tensorrt import simulate
gpu = SimulatedGpu()
gpu.tensorrt = simulate(gpu)
package = types.ModuleType('pycuda')
package.driver = gpu.driver
sys.modules.update({'pycuda': package, 'pycuda.driver': gpu.driver, 'tensorrt': gpu.tensorrt})
import atexit
atexit.register(lambda: print('left', gpu.leaks()))
from seg_perception.engine import open_engine
engine = open_engine(Path(sys.argv[2]), 'tensorrt')
raise SystemExit('a bug')
"""


def test_a_program_that_forgets_to_close_ends_without_pycudas_abort(gpu: Any, tiny: Path) -> None:
    run = subprocess.run(
        [sys.executable, '-c', FORGETFUL, str(Path(__file__).parent), str(tiny)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (run.returncode, run.stdout) == (1, 'left {}\n'), run.stderr


def test_a_thousand_frames_allocate_nothing(gpu: Any, tiny: Path) -> None:
    engine = open_engine(tiny, 'tensorrt')
    before = set(gpu.memory)
    assert memory_growth(engine, 1000).device_mb == 0
    assert set(gpu.memory) == before
    engine.close()


def test_infer_waits_for_the_labels(gpu: Any, tiny: Path) -> None:
    engine = open_engine(tiny, 'tensorrt')
    waits = gpu.waits
    engine.infer(1)
    assert gpu.waits == waits + 1
    assert all(stream.queue == [] for stream in gpu.streams.values())
    engine.close()


def test_shared_memory_is_mapped_and_never_copied(gpu: Any, tiny: Path) -> None:
    gpu.integrated = 1
    gpu.fail_at = 'memcpy_htod_async'  # any copy would fail
    engine = open_engine(tiny, 'tensorrt')
    assert len(gpu.memory) == 3, 'one allocation for each of image, labels and confidence'
    engine.input(1)[:] = (220, 20, 60)
    assert (engine.infer(1).labels == 4).all()
    engine.close()
    assert gpu.leaks() == {}


@pytest.mark.parametrize('call', ['infer', 'close'])
def test_another_thread_is_refused(gpu: Any, tiny: Path, call: str) -> None:
    engine = open_engine(tiny, 'tensorrt')
    errors: list[Exception] = []

    def run() -> None:
        try:
            engine.infer(1) if call == 'infer' else engine.close()
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert 'opened in another thread' in str(errors[0])
    engine.close()
    assert gpu.leaks() == {}


def test_a_session_reports_the_machine(gpu: Any) -> None:
    session = Session()
    assert session.gpu == ('Simulated GPU', '8.7', '12.6.0', '12.6')
    buffer = session.allocate((2, 3))
    assert np.array_equal(buffer.host, np.zeros((2, 3)))
    session.close()
    assert gpu.leaks() == {}


def test_the_networks_own_time_comes_from_cuda_events(gpu: Any, tiny: Path) -> None:
    engine = open_engine(tiny, 'tensorrt', max_batch=2)
    timing = time_engine(engine, 2, runs=3, warm_up=1)
    assert (timing.batch, timing.network_ms) == (2, 1.5)
    assert timing.overhead == timing.infer_ms / 1.5
    engine.close()


def test_an_engine_without_cuda_events_has_no_time_of_its_own() -> None:
    timing = time_engine(FakeEngine(), 1, runs=3, warm_up=1)
    assert (timing.network_ms, timing.overhead) == (None, None)
    assert timing.infer_p99_ms >= timing.infer_ms > 0
