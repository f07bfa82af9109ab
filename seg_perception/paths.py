"""Where the files that ship with the package are: the install's share directory, or the source tree."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from seg_perception.errors import ConfigError

PACKAGE = 'seg_perception'
DEFAULT_MODEL = 'engines/deeplab_fast.onnx'


def share_file(relative: str) -> Path:
    """Return the path of a shipped file such as 'engines/deeplab_fast.onnx'.

    Looks into each prefix of AMENT_PREFIX_PATH (a colcon or ROS install), the prefix of this Python
    (`pip install .`), and the source tree, in this order.

    Raises:
        ConfigError: it is in none of them.
    """
    prefixes = [*filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)), sys.prefix]
    candidates = [Path(prefix) / 'share' / PACKAGE / relative for prefix in prefixes]
    candidates.append(Path(__file__).resolve().parent.parent / relative)
    for path in candidates:
        if path.exists():
            return path
    raise ConfigError(
        f'{relative} is not installed; looked at {", ".join(map(str, candidates))}; reinstall the package'
    )


def default_model() -> Path:
    """Return the model that the node and the tools take when none is given."""
    return share_file(DEFAULT_MODEL)


def changeable_by_others(path: Path) -> str:
    """Say how others than this user and root could change a file or directory that holds code; '' when nobody can."""
    status = path.stat()
    if status.st_uid not in (os.getuid(), 0):
        return f'belongs to user {status.st_uid}, not to {os.getuid()}'
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f'others may write to it; run `chmod go-w {path}`'
    return ''
