"""The self-check finds an engine that labels otherwise than the graph says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from seg_perception.engine import parity
from seg_perception.engine.fake import FakeEngine
from seg_perception.engine.onnxrt import OnnxRuntimeEngine
from seg_perception.errors import FrameError


def wrong_in(engine: FakeEngine, pixels: int, item: int = 0) -> FakeEngine:
    """Make `engine` answer the next class in the first pixels of one item of a batch."""
    right = engine.infer

    def infer(n: int) -> object:
        labels, confidence = right(n)
        if item < n:
            flat = labels[item].reshape(-1)
            flat[:pixels] = (flat[:pixels] + 1) % 6
        return type(right(n))(labels, confidence)

    engine.infer = infer
    return engine


@pytest.fixture
def frame() -> np.ndarray:
    return parity.reference_frame(Path('engines/none.onnx'))


def test_the_shipped_reference_frame_is_a_picture(frame: np.ndarray) -> None:
    assert frame.shape == (360, 640, 3)
    assert frame.std() > 30


def test_an_engine_agrees_with_itself(tiny: Path, frame: np.ndarray) -> None:
    engines = OnnxRuntimeEngine(tiny, max_batch=2), OnnxRuntimeEngine(tiny)
    assert parity.check(*engines, frame) == (1.0, 0.0)


@pytest.mark.parametrize(('wrong', 'refused'), [(40, False), (41, True)])
def test_one_percent_of_wrong_labels_is_the_limit(frame: np.ndarray, wrong: int, refused: bool) -> None:
    right, engine = FakeEngine(40, 100), wrong_in(FakeEngine(40, 100), wrong)
    if refused:
        with pytest.raises(
            parity.DisagreementError, match=r'agrees .* on 98\.9\d% of the reference frame; expected 99%'
        ):
            parity.check(engine, right, frame)
    else:
        assert parity.check(engine, right, frame).agreement == pytest.approx(0.99)


def test_the_last_item_of_the_largest_batch_counts(frame: np.ndarray) -> None:
    engine = wrong_in(FakeEngine(40, 100, max_batch=4), 4000, item=3)
    assert parity.compare(engine, FakeEngine(40, 100), frame).agreement == 0.0


def test_an_engine_that_is_right_for_a_black_picture_only_is_found_out(frame: np.ndarray) -> None:
    engine = FakeEngine(40, 100)
    right = engine.infer
    engine.infer = lambda n: right(n)._replace(labels=(right(n).labels + engine.input(n).any()) % 6)
    assert parity.compare(engine, FakeEngine(40, 100), frame).agreement == 0.0


def test_confidence_is_compared_where_labels_agree(frame: np.ndarray) -> None:
    engine = FakeEngine(40, 100)
    right = engine.infer
    engine.infer = lambda n: right(n)._replace(confidence=right(n).confidence // 2)
    found = parity.compare(engine, FakeEngine(40, 100), frame)
    assert found.agreement == 1.0
    assert found.confidence_difference > 10


def test_int8_may_differ_more(frame: np.ndarray) -> None:
    engine = wrong_in(FakeEngine(40, 100), 100)
    engine.spec = engine.spec.__class__(engine.spec.path, 'm', 'int8', 40, 100, engine.spec.labels, engine.spec.sha256)
    assert parity.check(engine, FakeEngine(40, 100), frame).agreement == pytest.approx(0.975)


def test_another_model_is_found_out(
    tiny: Path, tmp_path: Path, make_model: Callable[..., Path], frame: np.ndarray
) -> None:
    other = make_model(tmp_path / 'other.onnx', flip=True)
    with pytest.raises(parity.DisagreementError):
        parity.check(OnnxRuntimeEngine(other), OnnxRuntimeEngine(tiny), frame)


def test_a_reference_beside_the_model_comes_first(tiny: Path) -> None:
    cv2.imwrite(str(tiny.parent / 'reference.png'), np.full((8, 9, 3), 5, np.uint8))
    assert parity.reference_frame(tiny).shape == (8, 9, 3)
    shutil.copy(tiny, tiny.parent / 'reference.png')
    with pytest.raises(FrameError, match='cannot be decoded'):
        parity.reference_frame(tiny)
