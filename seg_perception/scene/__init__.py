"""Seeded synthetic street drives with exact truth: pictures, labels, grid, lane lines, footprints, odometry.

Not a simulator: flat ground, no weather, solids are prisms. It is the truth that the grid, the lane lines and the
masks are measured against, the demo's drive, and test data that everybody may share.
"""

from seg_perception.scene.drive import Drive, default_camera
from seg_perception.scene.truth import FirstObstacles, TruthGrid, Window
from seg_perception.scene.types import CameraView, Footprint, LaneLine, Mounting, SceneFrame

__all__ = [
    'CameraView',
    'Drive',
    'FirstObstacles',
    'Footprint',
    'LaneLine',
    'Mounting',
    'SceneFrame',
    'TruthGrid',
    'Window',
    'default_camera',
]
