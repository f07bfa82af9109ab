"""Messages kept in a temporary file, for recordings that are made more slowly than they are played."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator

from seg_perception.errors import RecordingError
from seg_perception.io.recording import Recording, TimedMessage


class Spool:
    """All messages of a recording, read once and played from disk as often as wanted.

    Has `messages` and `image_topics` of `Recording`.
    """

    def __init__(self, recording: Recording, on_message: Callable[[TimedMessage], None]) -> None:
        """Read the whole recording.

        Raises:
            RecordingError: the temporary folder is full.
        """
        self.image_topics = recording.image_topics
        self._index: list[tuple[str, str, int, int]] = []
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the object)
        try:
            for m in recording.messages():
                self._file.write(m.data)
                self._index.append((m.topic, m.msgtype, m.stamp_ns, len(m.data)))
                on_message(m)
            self._file.flush()
        except OSError as error:
            self._file.close()
            raise RecordingError(
                f'{tempfile.gettempdir()}: cannot keep {recording.source} there ({error.strerror}); set TMPDIR'
            ) from error

    def close(self) -> None:
        """Delete the file; calling it twice is allowed."""
        self._file.close()

    def messages(self) -> Iterator[TimedMessage]:
        """Yield the messages in the order they were read."""
        self._file.seek(0)
        for topic, msgtype, stamp_ns, size in self._index:
            yield TimedMessage(topic, msgtype, stamp_ns, self._file.read(size))
