"""What a comparison of two runs may show at most: the regression gate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import yaml

from seg_perception.errors import ConfigError, first_line


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a comparison may show at most; None is not checked. Shares are between 0 and 1."""

    label_disagreement: float | None = None
    """Mean share of pixels with another class."""
    worst_frame_disagreement: float | None = None
    """The same of the worst frame."""
    class_iou_loss: float | None = None
    """1 - IoU of A and B, of the class that differs most among those that cover 0.1 % of A."""
    grid_disagreement: float | None = None
    """Mean share of the cells known in either grid that are free in one and not in the other."""
    free_ahead_m: float | None = None
    """Mean absolute difference of the free distance ahead, metres."""
    slowdown: float | None = None
    """Network time of B over that of A."""
    missing_frames: float | None = None
    """Share of A's frames that B does not have."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None and not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
                raise ConfigError(f'threshold {f.name} is {value!r}; expected a number of 0 or more')


def read_thresholds(path: Path) -> Thresholds:
    """Read the thresholds' YAML: a mapping of the names of `Thresholds`.

    Raises:
        ConfigError: unreadable, an unknown name, or a value out of range.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8')) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f'{path}: cannot read the thresholds ({first_line(error)})') from error
    names = [f.name for f in fields(Thresholds)]
    unknown = sorted(set(values) - set(names)) if isinstance(values, Mapping) else [str(values)]
    if unknown:
        raise ConfigError(f'{path}: unknown thresholds {", ".join(map(str, unknown))}; expected {", ".join(names)}')
    return Thresholds(**values)


class Check(NamedTuple):
    """One threshold against what was found."""

    name: str
    found: float | None
    limit: float
    ok: bool
    """False also when there was nothing to compare."""

    @property
    def verdict(self) -> str:
        """'ok', 'exceeded' or 'nothing to compare'."""
        return 'ok' if self.ok else 'exceeded' if self.found is not None else 'nothing to compare'
