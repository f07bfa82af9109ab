"""The one protocol that all inference backends follow.

An engine owns its input and output memory. The caller writes frames into `input(n)`, calls
`infer(n)`, and reads the result before the next call. An engine is used by one thread, the
one that opened it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from seg_perception.errors import EngineError
from seg_perception.model import ModelSpec


class NotInstalledError(EngineError):
    """A backend's library is not on this machine: the usual case on a desktop, worth a warning on a vehicle only."""


class Prediction(NamedTuple):
    """Views into the engine's output memory, valid until the next `infer`."""

    labels: npt.NDArray[np.uint8]
    """[N, H, W] class ids."""
    confidence: npt.NDArray[np.uint8]
    """[N, H, W] 255 x the probability of the label."""


class EngineInfo(NamedTuple):
    """What runs, as logs, reports and diagnostics say it."""

    backend: str
    """'tensorrt', 'tensorrt_rtx', 'onnxruntime' or 'fake'."""
    device: str
    """'cuda' with the card's name, or 'cpu'."""
    precision: str
    """Precision that was achieved: fp32, fp16, int8 or mixed, e.g. 'int8 61 %, fp16 39 %'."""
    fingerprint: str
    """First 12 hex digits of the model's SHA-256, with the plan's key where there is a plan."""
    reason: str
    """Why this backend was taken; '' when it was the first choice."""


class Engine(Protocol):
    """A network ready to run."""

    @property
    def spec(self) -> ModelSpec:
        """Sizes and classes of the model."""

    @property
    def info(self) -> EngineInfo:
        """Backend, device, precision, and the reason for the choice."""

    @property
    def max_batch(self) -> int:
        """Largest N of `input` and `infer`."""

    def input(self, n: int) -> npt.NDArray[np.uint8]:
        """Return the input memory for `n` frames: uint8 [n, H, W, 3] RGB, to be written in place.

        Raises:
            EngineError: `n` is not 1 to `max_batch`.
        """

    def infer(self, n: int) -> Prediction:
        """Run the first `n` frames of the input memory.

        Raises:
            EngineError: `n` is not 1 to `max_batch`; or the device failed and the engine must be closed and opened again.
        """

    def close(self) -> None:
        """Release device memory; calling it twice is allowed."""


def check_batch(n: int, max_batch: int) -> None:
    """Refuse a batch that an engine has no memory for; a shorter view would silently drop cameras.

    Raises:
        EngineError: `n` is not 1 to `max_batch`.
    """
    if not 1 <= n <= max_batch:
        raise EngineError(
            f'{n} frames in one batch; expected 1 to {max_batch}; open the engine with a larger max_batch'
        )
