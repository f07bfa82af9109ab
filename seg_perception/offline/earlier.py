"""Labels of an interrupted run, read back from its bag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seg_perception.engine.base import Prediction
from seg_perception.errors import FrameError, RecordingError
from seg_perception.io import messages
from seg_perception.io.bag_frames import decode_image
from seg_perception.io.bag_source import BagSource
from seg_perception.io.recording import RecordedFrame, TimedMessage
from seg_perception.offline.output_messages import NODE

LOOK_AHEAD = 256
"""Images read beyond a frame that is not found; then the run had not come that far."""

UInt8 = npt.NDArray[np.uint8]


class EarlierRun:
    """Gives the predictions of a run that was interrupted, in the order in which they were made."""

    def __init__(self, bag: Path, cameras: Sequence[str], shape: tuple[int, int]) -> None:
        """Open the bag; one in which nothing can be read holds no predictions."""
        self._shape = shape
        self._found: dict[tuple[str, int], UInt8] = {}
        topics = {f'{NODE}/{c}/{t}' for c in cameras for t in ('labels', 'confidence')}
        try:
            self._bag: BagSource | None = BagSource(bag)
            self._messages: Iterator[TimedMessage] = self._bag.messages(topics)
        except (RecordingError, OSError):
            self._bag, self._messages = None, iter(())
        self.frames = 0

    def take(self, frames: Sequence[RecordedFrame]) -> Prediction | None:
        """Return labels and confidence of a batch; None from the first batch on that is not whole."""
        labels, confidence = [], []
        for frame in frames:
            pair = [self._image(f'{NODE}/{frame.camera}/{t}', frame.stamp_ns) for t in ('labels', 'confidence')]
            if pair[0] is None or pair[1] is None:
                self.close()
                return None
            labels.append(pair[0])
            confidence.append(pair[1])
        self.frames += len(frames)
        return Prediction(np.stack(labels), np.stack(confidence))

    def close(self) -> None:
        """Close the bag; calling it twice is allowed."""
        if self._bag is not None:
            self._bag.close()
        self._bag, self._messages = None, iter(())
        self._found.clear()

    def _image(self, topic: str, stamp_ns: int) -> UInt8 | None:
        key = (topic, stamp_ns)
        while key not in self._found and len(self._found) < LOOK_AHEAD:
            message = next(self._messages, None)
            if message is None:
                return None
            try:
                pixels = decode_image(message)[1].pixels
            except FrameError:
                return None
            if pixels.shape == self._shape:
                self._found[message.topic, messages.header_stamp(message.data)] = pixels
        return self._found.pop(key, None)
