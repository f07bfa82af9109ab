"""What happened, per camera: counters, current problems, ages. Each problem is said once in a while, counted always."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable

import numpy as np

LOG_PERIOD_S = 5.0
AGES = 256
"""Images over which age percentiles are taken."""


class Problems:
    """Problems that hold now and how often each kind has occurred.

    One line is logged when a kind begins and every `LOG_PERIOD_S` while it lasts. Used from the executor's and the
    worker's thread: every kind is written by one of them only, and readers take a copy.
    """

    def __init__(self, log: Callable[[str], None], counters: tuple[str, ...]) -> None:
        self._log = log
        self.counts: Counter[str] = Counter(dict.fromkeys(counters, 0))
        self.current: dict[str, str] = {}
        self._logged_s: dict[str, float] = {}

    def report(self, kind: str, text: str) -> None:
        """Count an occurrence that makes `kind` hold until it is cleared."""
        self.current[kind] = text
        self.note(kind, text)

    def note(self, kind: str, text: str) -> None:
        """Count an event that is over at once."""
        self.counts[kind] += 1
        now_s = time.monotonic()
        if now_s - self._logged_s.get(kind, -LOG_PERIOD_S) >= LOG_PERIOD_S:
            self._logged_s[kind] = now_s
            self._log(text)

    def clear(self, kind: str) -> None:
        """Say that `kind` holds no more."""
        self.current.pop(kind, None)


class CameraStatus:
    """Counters, problems and timing of one camera."""

    COUNTERS = (
        'received',
        'processed',
        'skipped',
        'idle',
        'bad_image',
        'bad_camera_info',
        'camera_info_mismatch',
        'no_camera_info',
        'no_pose',
        'no_grid',
        'same_frame',
        'out_of_order',
        'time_jump',
        'size_change',
        'stale',
        'restart',
        'stamp',
        'no_stamp',
    )

    def __init__(self, name: str, log: Callable[[str], None]) -> None:
        self.name = name
        self.problems = Problems(lambda text: log(f'{name}: {text}'), self.COUNTERS)
        self.counts = self.problems.counts
        self.last_arrival_s: float | None = None
        """time.monotonic() of the newest image."""
        self._ages_ms: deque[float] = deque(maxlen=AGES)

    def processed(self, age_ms: float) -> None:
        """Note an image whose results are out, `age_ms` after its stamp."""
        self.counts['processed'] += 1
        self._ages_ms.append(age_ms)

    def age_percentiles_ms(self) -> tuple[float, float]:
        """Return p50 and p99 of the age at publication over the last images; NaN when there are none."""
        ages = list(self._ages_ms)
        if not ages:
            return float('nan'), float('nan')
        p50, p99 = np.percentile(ages, (50, 99))
        return float(p50), float(p99)
