"""Start-up check: a new engine must label a reference frame as ONNX Runtime on the CPU does.

A wrong plan does not crash; it labels wrongly and fast. The frame is a rendered road scene, stored with the models.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.engine.base import Engine
from seg_perception.errors import EngineError
from seg_perception.frames import decompress, from_array, to_network
from seg_perception.paths import share_file

LOG = logging.getLogger(__name__)
REFERENCE = 'reference.png'
MIN_AGREEMENT = {'fp32': 0.99, 'fp16': 0.99, 'int8': 0.97}
"""Least share of pixels with the same label, by the precision of the graph."""


class DisagreementError(EngineError):
    """An engine labels the reference frame otherwise than ONNX Runtime does."""


class Parity(NamedTuple):
    """How one engine's answer compares with another's."""

    agreement: float
    """Share 0..1 of pixels with the same label."""
    confidence_difference: float
    """Mean absolute difference of the confidence, 0..255."""


def reference_frame(model: Path) -> npt.NDArray[np.uint8]:
    """Return the reference image, uint8 [H, W, 3] BGR: the one beside the model, else the shipped one.

    Raises:
        ConfigError: there is none.
        FrameError: it is not an image.
    """
    beside = model.parent / REFERENCE
    path = beside if beside.exists() else share_file(f'engines/{REFERENCE}')
    return decompress(path.read_bytes()).pixels


def compare(engine: Engine, other: Engine, frame: npt.NDArray[np.uint8]) -> Parity:
    """Run one frame, uint8 [H, W, 3] BGR, through two engines of the same input size; the worst item counts.

    The smallest and the largest batch are run, because an engine can be right for one frame and wrong for four.
    """
    expected, expected_confidence = _run(other, frame, 1)
    agreement, difference = 1.0, 0.0
    for n in sorted({1, engine.max_batch}):
        labels, confidence = _run(engine, frame, n)
        same = (labels == expected).reshape(n, -1).mean(axis=1)
        apart = np.abs(confidence.astype(np.int16) - expected_confidence).reshape(n, -1).mean(axis=1)
        agreement, difference = min(agreement, float(same.min())), max(difference, float(apart.max()))
    return Parity(agreement, difference)


def check(engine: Engine, other: Engine, frame: npt.NDArray[np.uint8]) -> Parity:
    """Compare two engines and refuse the first when it disagrees.

    Raises:
        DisagreementError: label agreement is under the limit of the graph's precision.
    """
    parity = compare(engine, other, frame)
    limit = MIN_AGREEMENT.get(engine.spec.precision, MIN_AGREEMENT['fp16'])
    if parity.agreement < limit:
        raise DisagreementError(
            f'{engine.spec.path}: {engine.info.backend} agrees with ONNX Runtime on {parity.agreement:.2%} of the '
            f'reference frame; expected {limit:.0%}; the plan is refused; use a higher precision, or `seg_perception build --force`'
        )
    LOG.info(
        '%s agrees with ONNX Runtime on %.2f %% of the reference frame (confidence differs by %.1f of 255)',
        engine.info.backend,
        parity.agreement * 100,
        parity.confidence_difference,
    )
    return parity


def _run(engine: Engine, frame: npt.NDArray[np.uint8], n: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    for out in engine.input(n):
        to_network(from_array(frame, 'bgr8'), out)
    prediction = engine.infer(n)
    return prediction.labels.copy(), prediction.confidence.copy()
