"""What every engine must do, whatever runs it: one suite over all backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from seg_perception.engine import Engine, open_engine
from seg_perception.engine.fake import FakeEngine
from seg_perception.errors import EngineError
from seg_perception.labels import DEFAULT_LABELS

ENGINES = ['fake', 'onnxruntime', 'tensorrt on a simulated GPU', pytest.param('tensorrt', marks=pytest.mark.gpu)]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tiny: Path) -> Iterator[Engine]:
    kind = request.param
    if kind == 'fake':
        opened: Engine = FakeEngine(32, 48, max_batch=3)
    elif kind == 'onnxruntime':
        opened = open_engine(tiny, 'onnxruntime', max_batch=3)
    else:
        if 'simulated' in kind:
            request.getfixturevalue('gpu')
        else:
            request.getfixturevalue('monkeypatch').setenv('SEG_PERCEPTION_CACHE', str(tiny.parent / 'plans'))
        try:
            opened = open_engine(tiny, 'tensorrt', max_batch=3)
        except EngineError as error:
            if 'simulated' in kind:
                raise
            pytest.skip(str(error))
    yield opened
    opened.close()


def paint(out: np.ndarray, left: int, right: int) -> None:
    """Fill the halves of one frame with the colours of two classes."""
    out[:, :24] = DEFAULT_LABELS.classes[left].color
    out[:, 24:] = DEFAULT_LABELS.classes[right].color


def test_each_pixel_of_each_frame_gets_its_own_class(engine: Engine) -> None:
    frames = engine.input(3)
    for i, (left, right) in enumerate([(0, 3), (1, 4), (2, 5)]):
        paint(frames[i], left, right)
    labels = engine.infer(3).labels
    assert labels.shape == (3, 32, 48)
    for i, (left, right) in enumerate([(0, 3), (1, 4), (2, 5)]):
        assert (labels[i, :, :24] == left).all()
        assert (labels[i, :, 24:] == right).all()


def test_a_small_batch_after_a_large_one_answers_for_its_own_frames(engine: Engine) -> None:
    for frame in engine.input(3):
        paint(frame, 0, 0)
    engine.infer(3)
    paint(engine.input(1)[0], 4, 2)
    labels = engine.infer(1).labels
    assert labels.shape == (1, 32, 48)
    assert (labels[0, 0, 0], labels[0, 0, 47]) == (4, 2)


def test_confidence_has_the_shape_of_the_labels_and_is_a_byte(engine: Engine) -> None:
    paint(engine.input(2)[0], 0, 1)
    labels, confidence = engine.infer(2)
    assert confidence.shape == labels.shape == (2, 32, 48)
    assert confidence.dtype == labels.dtype == np.uint8
    assert confidence[0].min() > 0


def test_input_is_the_engines_own_memory(engine: Engine) -> None:
    engine.input(1)[:] = 17
    assert engine.input(3)[0].min() == 17
    assert engine.input(1).flags.c_contiguous
    assert engine.input(1).dtype == np.uint8


@pytest.mark.parametrize('n', [0, 4])
@pytest.mark.parametrize('method', ['input', 'infer'])
def test_a_batch_that_does_not_fit_is_refused(engine: Engine, n: int, method: str) -> None:
    call: Callable[[int], object] = getattr(engine, method)
    with pytest.raises(EngineError, match=f'{n} frames in one batch; expected 1 to 3'):
        call(n)


def test_info_says_what_runs(engine: Engine) -> None:
    info = engine.info
    assert info.backend in ('fake', 'onnxruntime', 'tensorrt', 'tensorrt_rtx')
    assert info.fingerprint.startswith(engine.spec.sha256[:12])
    assert info.precision
    assert info.reason == ''


def test_closing_twice_is_allowed(engine: Engine) -> None:
    engine.close()
    engine.close()
