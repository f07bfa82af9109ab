"""Labels of calibrated cameras -> drivable-area occupancy grid in metres. See docs/grid.md."""

from seg_perception.grid.config import GridConfig
from seg_perception.grid.fusion import GridMapper
from seg_perception.grid.points import ground_points
from seg_perception.grid.types import (
    FREE,
    OCCUPIED,
    POINT,
    POINT_FIELDS,
    UNKNOWN,
    GroundPoints,
    Observation,
    OccupancyGrid,
)
from seg_perception.grid.walk import Visible

__all__ = [
    'FREE',
    'OCCUPIED',
    'POINT',
    'POINT_FIELDS',
    'UNKNOWN',
    'GridConfig',
    'GridMapper',
    'GroundPoints',
    'Observation',
    'OccupancyGrid',
    'Visible',
    'ground_points',
]
