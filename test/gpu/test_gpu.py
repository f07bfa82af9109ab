"""On a real GPU: every shipped graph labels as on the CPU, in every batch, and memory stays flat.

Times are gates of `run_all.py`, not of a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from seg_perception.engine import Engine, open_engine, parity, siblings
from seg_perception.engine.cuda import Session
from seg_perception.engine.measure import memory_growth
from seg_perception.engine.onnxrt import OnnxRuntimeEngine
from seg_perception.errors import EngineError
from seg_perception.frames import from_array, to_network
from seg_perception.scene import Drive

ENGINES = Path(__file__).resolve().parents[2] / 'engines'
SHIPPED = [p for p in sorted(ENGINES.glob('*.onnx')) if siblings.for_tensorrt(p) == p]
LEAST_AGREEMENT = {'fp32': 0.995, 'fp16': 0.995, 'int8': 0.97}
pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1800)]


@pytest.fixture(scope='module', autouse=True)
def _gpu() -> None:
    try:
        Session().close()
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope='module', params=SHIPPED, ids=lambda path: path.name)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    opened = open_engine(request.param, 'tensorrt', max_batch=6)
    yield opened
    opened.close()


def test_the_plan_has_the_precision_that_was_asked_for(engine: Engine) -> None:
    assert not engine.achieved.missed(engine.spec.precision), engine.info.precision


def test_street_scenes_get_the_labels_of_the_cpu(engine: Engine) -> None:
    reference = OnnxRuntimeEngine(engine.spec.path, device='cpu', exact=True)
    drive, shares = Drive(21), []
    for i in range(0, len(drive), 20):
        image = from_array(drive.frame(i).cameras['front'].image, 'rgb8')
        for each in (engine, reference):
            to_network(image, each.input(1)[0])
        shares.append((engine.infer(1).labels == reference.infer(1).labels).mean())
    assert np.mean(shares) >= LEAST_AGREEMENT[engine.spec.precision]


@pytest.mark.parametrize('n', range(1, 7))
def test_a_frame_is_labelled_alike_in_every_batch(engine: Engine, n: int) -> None:
    frame = from_array(parity.reference_frame(engine.spec.path), 'bgr8')
    to_network(frame, engine.input(1)[0])
    alone = engine.infer(1).labels[0].copy()
    for out in engine.input(n):
        to_network(frame, out)
    labels = engine.infer(n).labels
    assert (labels == alone).reshape(n, -1).mean(axis=1).min() >= LEAST_AGREEMENT[engine.spec.precision]


def test_memory_stays_flat_over_ten_thousand_frames(engine: Engine) -> None:
    growth = memory_growth(engine, 10_000)
    assert growth.host_mb < 20
    assert growth.device_mb < 20
