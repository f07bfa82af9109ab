"""The real node with an engine that labels by colour: `python fake_node.py --ros-args ...`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from seg_perception.engine.base import Prediction
from seg_perception.engine.fake import FakeEngine
from seg_perception.errors import EngineError
from seg_perception.ros.node import main


class SlowEngine(FakeEngine):
    """Takes FAKE_ENGINE_S per run; fails at run FAKE_ENGINE_FAILS_AT and has a bug at run FAKE_ENGINE_BUG_AT."""

    runs = 0

    def infer(self, n: int) -> Prediction:
        SlowEngine.runs += 1
        print('batch of', n)
        if SlowEngine.runs == int(os.environ.get('FAKE_ENGINE_FAILS_AT', '0')):
            raise EngineError('the device fell off the bus')
        if SlowEngine.runs == int(os.environ.get('FAKE_ENGINE_BUG_AT', '0')):
            raise ZeroDivisionError('a bug')
        time.sleep(float(os.environ.get('FAKE_ENGINE_S', '0')))
        return super().infer(n)


def open_fake(model: Path, backend: str, *, max_batch: int, threads: int, progress: Any) -> Any:
    """Stand in for `seg_perception.engine.open_engine`; takes FAKE_ENGINE_OPEN_S, or builds for FAKE_ENGINE_BUILD_S."""
    print('opening the engine')
    time.sleep(float(os.environ.get('FAKE_ENGINE_OPEN_S', '0')))
    steps = int(float(os.environ.get('FAKE_ENGINE_BUILD_S', '0')) / 0.1)
    for i in range(steps):
        time.sleep(0.1)
        if not progress('a phase', i / steps):
            print('the build was given up')
            raise KeyboardInterrupt
    return SlowEngine(max_batch=max_batch)


if __name__ == '__main__':
    sys.exit(main([*sys.argv, '--ros-args', '-p', 'model:=fake'], engine_factory=open_fake))
