"""Every parameter of the grid and its default."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from seg_perception.errors import ConfigError

MAX_CELLS = 4_000_000
"""A grid beyond this is a mistake in the parameters (2000 x 2000 cells)."""


@dataclass(frozen=True, slots=True)
class GridConfig:
    """Size, visibility and evidence of the grid. The window is given in the vehicle frame (x forward, y left)."""

    resolution_m: float = 0.1
    x_min_m: float = 0.0
    x_max_m: float = 40.0
    y_min_m: float = -20.0
    y_max_m: float = 20.0
    ground_z_m: float = 0.0  # height of the ground in the vehicle frame
    min_confidence: float = 0.5  # a pixel at or below this says nothing
    max_row_m: float = 3.0  # ground that one pixel row covers beyond this length is unknown
    obstacle_depth_m: float = 0.3  # of an obstacle behind its contact with the ground; a cell and a pixel row at least
    half_life_s: float = 0.7  # with odometry: evidence halves in this time
    hold_s: float = 0.2  # without odometry: a camera's last image counts this long
    pitch_sigma_rad: float = 0.002  # pitch uncertainty; evidence weakens with the range error it causes
    free_probability: float = 0.65  # a cell is free from this probability of being drivable
    occupied_probability: float = 0.65  # a cell is occupied from this probability of not being drivable
    corridor_width_m: float = 2.0  # width of the strip whose free length is reported
    probabilities: bool = False  # cells hold 0..100 (probability of being occupied) instead of 0 / 100 / -1

    def __post_init__(self) -> None:
        for field in fields(self):
            if not math.isfinite(getattr(self, field.name)):
                raise ConfigError(f'grid.{field.name} is {getattr(self, field.name)}; expected a finite number')
        for name in ('resolution_m', 'max_row_m', 'obstacle_depth_m', 'half_life_s', 'corridor_width_m'):
            if getattr(self, name) <= 0:
                raise ConfigError(f'grid.{name} is {getattr(self, name)}; expected a value above 0')
        for name in ('hold_s', 'pitch_sigma_rad'):
            if getattr(self, name) < 0:
                raise ConfigError(f'grid.{name} is {getattr(self, name)}; expected 0 or more')
        if not 0 <= self.min_confidence < 1:
            raise ConfigError(f'grid.min_confidence is {self.min_confidence}; expected 0 <= value < 1')
        for name in ('free_probability', 'occupied_probability'):
            if not 0.5 < getattr(self, name) < 1:
                raise ConfigError(f'grid.{name} is {getattr(self, name)}; expected a value between 0.5 and 1')
        if self.x_max_m <= self.x_min_m or self.y_max_m <= self.y_min_m:
            raise ConfigError(
                f'grid window is x {self.x_min_m}..{self.x_max_m}, y {self.y_min_m}..{self.y_max_m} m; '
                'expected min < max'
            )
        if not 1 <= self.columns * self.rows <= MAX_CELLS:
            raise ConfigError(
                f'grid has {self.columns} x {self.rows} cells; expected 1 to {MAX_CELLS} in all: '
                'change resolution_m or the window'
            )

    @property
    def columns(self) -> int:
        """Cells along x."""
        return round((self.x_max_m - self.x_min_m) / self.resolution_m)

    @property
    def rows(self) -> int:
        """Cells along y."""
        return round((self.y_max_m - self.y_min_m) / self.resolution_m)
