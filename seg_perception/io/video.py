"""Videos in and out, by the ffmpeg libraries inside PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.errors import RecordingError, first_line
from seg_perception.frames import from_array
from seg_perception.io.recording import FIRST_STAMP_NS, RecordedFrame, RecordingOptions, TimedMessage
from seg_perception.io.still_camera import as_messages, calibration_of, image_topic

CLOCK_HZ = 90_000
"""Ticks per second of the videos written."""


class VideoRecording:
    """A video file; stamps are its own presentation times. See `seg_perception.io.recording.Recording`."""

    kind = 'video'

    def __init__(self, path: Path, options: RecordingOptions) -> None:
        self.source = str(path)
        self.problems: list[str] = []
        self.cameras = (options.camera_name,)
        self._path = path
        self.image_topics = (image_topic(options.camera_name),)
        self._options = options
        self._model, self._pose = calibration_of(path, options)
        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                self.frame_count: int | None = stream.frames or None
                self._rate = float(stream.average_rate or stream.guessed_rate or 25)
        except (av.FFmpegError, IndexError, OSError) as error:
            raise RecordingError(
                f'{path}: no video stream in it ({first_line(error)}); give a bag, a video or a folder of frames'
            ) from error

    def frames(self) -> Iterator[RecordedFrame]:
        """Yield all frames; where the file is damaged, those before the damage."""
        frame_id = f'{self._options.camera_name}_optical_frame'
        last = FIRST_STAMP_NS - 1
        count = 0
        try:
            with av.open(str(self._path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = 'AUTO'
                for i, frame in enumerate(container.decode(stream)):
                    stamp = max(self._stamp(frame, i), last + 1)
                    last, count = stamp, count + 1
                    image = from_array(frame.to_ndarray(format='bgr24'))
                    yield RecordedFrame(
                        self._options.camera_name, stamp, frame_id, image, self._model, self._pose, None
                    )
        except (av.FFmpegError, OSError) as error:
            self.problems.append(f'{self._path}: {first_line(error)} after frame {count}; the rest is left out')
        if self.frame_count is not None and count < self.frame_count:
            self.problems.append(f'{self._path}: announces {self.frame_count} frames; {count} could be read')

    def messages(self) -> Iterator[TimedMessage]:
        """Yield images, camera_info and /tf_static."""
        return as_messages(self.frames(), self._options)

    def close(self) -> None:
        """Nothing stays open between readings."""

    def _stamp(self, frame: av.VideoFrame, index: int) -> int:
        if self._options.rate_hz is not None or frame.pts is None or frame.time_base is None:
            return FIRST_STAMP_NS + round(index * 1e9 / (self._options.rate_hz or self._rate))
        since_start_ns: int = round(frame.pts * frame.time_base * 1_000_000_000)
        return FIRST_STAMP_NS + since_start_ns


class VideoWriter:
    """Writes RGB frames of one size as H.264 that browsers play.

    Two threads at most and a fast preset: it runs beside the network on the same cores.
    """

    def __init__(self, path: Path, fps: float, size: tuple[int, int], *, crf: int = 24) -> None:
        """Open `path` (.mp4) for frames of `size` (width, height), both rounded down to even numbers.

        Args:
            crf: 0 to 51; fewer is more like the frames, and larger.

        Raises:
            RecordingError: the file cannot be written.
        """
        width, height = (v // 2 * 2 for v in size)
        if width < 2 or height < 2 or not fps > 0:
            raise RecordingError(f'{path}: cannot write a video of {size[0]}x{size[1]} at {fps} fps')
        self._path = path
        self._size = (width, height)
        self._closed = False
        try:
            path.touch()  # ffmpeg would open it only with the first frame
            self._container = av.open(str(path), 'w', format='mp4', options={'movflags': '+faststart'})
            stream = self._container.add_stream('libx264', rate=Fraction(fps).limit_denominator(1000))
            stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
            stream.codec_context.time_base = Fraction(1, CLOCK_HZ)
            self._frame_ticks = max(1, round(CLOCK_HZ / fps))
            self._next_tick = 0
            stream.options = {'crf': str(crf), 'preset': 'ultrafast', 'threads': '1'}
            self._stream = stream
        except (av.FFmpegError, OSError) as error:
            raise _unwritable(path, error) from error

    def write(self, rgb: npt.NDArray[np.uint8], time_s: float | None = None) -> None:
        """Append one frame, uint8 [H, W, 3] RGB, shown at `time_s` after the start; None: one frame after the last.

        Raises:
            RecordingError: the disk is full or the file is gone; or the frame is of another size.
        """
        width, height = self._size
        if rgb.shape[0] < height or rgb.shape[1] < width or rgb.shape[0] > height + 1 or rgb.shape[1] > width + 1:
            raise RecordingError(f'{self._path}: frame of {rgb.shape[1]}x{rgb.shape[0]} in a video of {width}x{height}')
        planes = cv2.cvtColor(rgb[:height, :width], cv2.COLOR_RGB2YUV_I420)  # half of what ffmpeg takes for it
        frame = av.VideoFrame.from_ndarray(planes, format='yuv420p')
        frame.pts = self._next_tick if time_s is None else max(self._next_tick, round(time_s * CLOCK_HZ))
        frame.time_base = Fraction(1, CLOCK_HZ)
        self._next_tick = frame.pts + (self._frame_ticks if time_s is None else 1)
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise _unwritable(self._path, error) from error

    def close(self) -> None:
        """Finish the file; calling it twice is allowed.

        Raises:
            RecordingError: the disk is full.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        except (av.FFmpegError, OSError) as error:
            raise _unwritable(self._path, error) from error

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _unwritable(path: Path, error: Exception) -> RecordingError:
    reason = getattr(error, 'strerror', None) or first_line(error)
    return RecordingError(f'{path}: cannot write the video ({reason}); free space or give another --out')
