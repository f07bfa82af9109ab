"""A folder of frames as a recording; the order is that of the numbers in the names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from seg_perception.errors import FrameError, RecordingError
from seg_perception.frames import decompress
from seg_perception.io.recording import FIRST_STAMP_NS, IMAGE_SUFFIXES, RecordedFrame, RecordingOptions, TimedMessage
from seg_perception.io.still_camera import as_messages, calibration_of, image_topic

DEFAULT_RATE_HZ = 10.0


class FolderRecording:
    """Frames as files; see `seg_perception.io.recording.Recording`."""

    kind = 'folder'

    def __init__(self, path: Path, options: RecordingOptions) -> None:
        self.source = str(path)
        self.problems: list[str] = []
        self.cameras = (options.camera_name,)
        self.image_topics = (image_topic(options.camera_name),)
        self._options = options
        self._files = sorted((p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), key=_natural)
        if not self._files:
            raise RecordingError(f'{path}: no image in this folder; expected {", ".join(IMAGE_SUFFIXES)}')
        self._model, self._pose = calibration_of(path, options)
        self.frame_count: int | None = len(self._files)

    def frames(self) -> Iterator[RecordedFrame]:
        """Yield all frames; a file that is no image is left out and named in `problems`."""
        period_ns = 1e9 / (self._options.rate_hz or DEFAULT_RATE_HZ)
        frame_id = f'{self._options.camera_name}_optical_frame'
        stems = Counter(f.stem for f in self._files)
        for i, file in enumerate(self._files):
            try:
                image = decompress(file.read_bytes(), upright=True)
            except (OSError, FrameError) as error:
                self.problems.append(f'{file}: left out: {error}')
                continue
            stamp = FIRST_STAMP_NS + round(i * period_ns)
            name = file.stem if stems[file.stem] == 1 else file.name
            yield RecordedFrame(self._options.camera_name, stamp, frame_id, image, self._model, self._pose, None, name)

    def messages(self) -> Iterator[TimedMessage]:
        """Yield images, camera_info and /tf_static."""
        return as_messages(self.frames(), self._options)

    def close(self) -> None:
        """Nothing to close."""


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(t), '') if t.isdigit() else (-1, t) for t in re.split(r'(\d+)', path.name)]
