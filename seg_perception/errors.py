"""Every error this package raises on purpose.

A message names what was found, what was expected and what to do about it, in one line.
Code that runs per frame catches `FrameError` and `CameraError` only: anything else is a
start-up failure or a bug and must surface.
"""


class SegPerceptionError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(SegPerceptionError):
    """A parameter, YAML file or command-line value is unknown, of the wrong type or out of range."""


class ModelError(SegPerceptionError):
    """A model file is missing, unreadable, or does not follow the network contract."""


class EngineError(SegPerceptionError):
    """An inference backend cannot be opened, built or run."""


class FrameError(SegPerceptionError):
    """One image cannot be used: unknown encoding, short data, zero size, corrupt compression."""


class CameraError(SegPerceptionError):
    """A calibration or pose cannot be used: NaN, zero focal length, other size, missing pose."""


class RecordingError(SegPerceptionError):
    """A bag, video or folder cannot be read or written."""


class DataError(SegPerceptionError):
    """A labelled data set is inconsistent: unknown label id, missing label, other size, empty split."""


def first_line(error: BaseException | str) -> str:
    """Return the beginning of what a library's error says, for a message of one line; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:240]
