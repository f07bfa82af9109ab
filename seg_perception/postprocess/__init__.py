"""From label images to things: masks, clean regions, outlines, obstacle footprints and lane lines."""

from seg_perception.postprocess.contours import (
    ContourConfig,
    Footprint,
    Outline,
    drivable_outlines,
    obstacle_footprints,
)
from seg_perception.postprocess.ground import above_ground
from seg_perception.postprocess.lane_tracker import LaneTracker
from seg_perception.postprocess.lane_types import LaneConfig, LaneLine, Lanes
from seg_perception.postprocess.masks import role_mask
from seg_perception.postprocess.regions import CleanLabels, RegionConfig, RoleRegions, clean_labels, ego_road

__all__ = [
    'CleanLabels',
    'ContourConfig',
    'Footprint',
    'LaneConfig',
    'LaneLine',
    'LaneTracker',
    'Lanes',
    'Outline',
    'RegionConfig',
    'RoleRegions',
    'above_ground',
    'clean_labels',
    'drivable_outlines',
    'ego_road',
    'obstacle_footprints',
    'role_mask',
]
