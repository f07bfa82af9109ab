"""The first half of offline processing: frames decoded in one thread, the network in others."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.engine.base import Engine, Prediction
from seg_perception.frames import Image, fits, to_network
from seg_perception.io.prefetch import Prefetch
from seg_perception.io.recording import RecordedFrame, Recording
from seg_perception.offline.earlier import EarlierRun
from seg_perception.offline.engine_pool import EnginePool
from seg_perception.offline.stored import Predicted

AHEAD = 4
"""Batches decoded before the network takes them."""

UInt8 = npt.NDArray[np.uint8]


class _Prepared(NamedTuple):
    frames: list[RecordedFrame]
    inputs: list[UInt8]
    aspects: list[float]
    read_s: float


def predict(recording: Recording, engines: EnginePool, earlier: EarlierRun | None = None) -> Iterator[list[Predicted]]:
    """Yield every frame with its prediction; images of one stamp come together, at most `engines.max_batch`.

    Decoding and resizing run in a thread of their own.

    Raises:
        EngineError: the engine failed.
        RecordingError: the recording failed.
    """
    shape = (engines.spec.input_height, engines.spec.input_width, 3)
    with Prefetch(_prepared(recording, shape, engines.max_batch), AHEAD) as batches:
        yield from engines.map(_predicted, _with_stored(batches, earlier))


def _with_stored(
    batches: Iterable[_Prepared], earlier: EarlierRun | None
) -> Iterator[tuple[_Prepared, Prediction | None]]:
    for batch in batches:
        stored = earlier.take(batch.frames) if earlier else None
        earlier = earlier if stored else None
        yield batch, stored


def _predicted(engine: Engine, item: tuple[_Prepared, Prediction | None]) -> list[Predicted]:
    batch, stored = item
    start = time.perf_counter()
    labels, confidence = stored or _infer(engine, batch.inputs)
    share_ms = 0.0 if stored else (time.perf_counter() - start) * 1e3 / len(batch.frames)
    return [
        Predicted(frame, rgb, labels[i].copy(), confidence[i].copy(), share_ms, batch.read_s, batch.aspects[i])
        for i, (frame, rgb) in enumerate(zip(batch.frames, batch.inputs, strict=True))
    ]


def _infer(engine: Engine, inputs: list[UInt8]) -> Prediction:
    for memory, rgb in zip(engine.input(len(inputs)), inputs, strict=True):
        np.copyto(memory, rgb)
    return engine.infer(len(inputs))


def _prepared(recording: Recording, shape: tuple[int, int, int], max_batch: int) -> Iterator[_Prepared]:
    frames: list[RecordedFrame] = []
    inputs: list[UInt8] = []
    aspects: list[float] = []
    for frame in recording.frames():
        if frames and (frame.stamp_ns != frames[0].stamp_ns or len(frames) == max_batch):
            yield _Prepared(frames, inputs, aspects, time.perf_counter())
            frames, inputs, aspects = [], [], []
        rgb = np.empty(shape, np.uint8)
        to_network(frame.image, rgb)
        frames.append(_shrunk(frame, rgb))
        inputs.append(rgb)
        aspects.append(frame.image.width / frame.image.height)
    if frames:
        yield _Prepared(frames, inputs, aspects, time.perf_counter())


def _shrunk(frame: RecordedFrame, rgb: UInt8) -> RecordedFrame:
    """Let the frame carry the network's input in place of the big image; a calibration of another size stays seen."""
    camera, height, width = frame.camera_model, rgb.shape[0], rgb.shape[1]
    if camera is not None and not fits(camera, frame.image):
        return frame
    return frame._replace(
        image=Image(rgb, 'rgb8', width, height),
        camera_model=camera.resized(width, height) if camera else None,
    )
