"""What goes into the grid and what comes out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.camera import CameraModel, Pose

FREE, OCCUPIED, UNKNOWN = 0, 100, -1
"""Cell values of nav_msgs/OccupancyGrid."""


class Observation(NamedTuple):
    """One labelled image of one camera. The arrays are read during `update` and not kept."""

    camera: str
    stamp_ns: int
    labels: npt.NDArray[np.uint8]  # [h, w] class ids
    confidence: npt.NDArray[np.uint8]  # [h, w] 255 x probability
    camera_model: CameraModel  # at the size of `labels`
    vehicle_from_camera: Pose  # optical frame in the vehicle frame at the stamp
    odom_from_vehicle: Pose | None  # at the stamp; None without odometry


class OccupancyGrid(NamedTuple):
    """A snapshot of the grid; the caller owns `cells`."""

    cells: npt.NDArray[np.int8]  # [height (y), width (x)]: 0 free, 100 occupied, -1 unknown
    resolution_m: float
    origin_x_m: float  # the corner of cell (0, 0), in `frame`
    origin_y_m: float
    frame: str  # 'vehicle' or 'odom'
    stamp_ns: int  # of the newest image used
    free_ahead_m: float  # from the vehicle's origin along its x axis; NaN when nothing ahead is known


FLOAT32, UINT8 = 7, 2
"""Datatypes of sensor_msgs/PointField."""
POINT_FIELDS = (
    ('x', 0, FLOAT32),
    ('y', 4, FLOAT32),
    ('z', 8, FLOAT32),
    ('label', 12, UINT8),
    ('confidence', 13, UINT8),
)
"""Name, byte offset and datatype in a record of `POINT`."""
POINT = np.dtype(
    {
        'names': [name for name, _, _ in POINT_FIELDS],
        'formats': ['<f4' if kind == FLOAT32 else 'u1' for _, _, kind in POINT_FIELDS],
        'offsets': [offset for _, offset, _ in POINT_FIELDS],
        'itemsize': 16,
    }
)
"""A labelled point on the ground, as in the data of a sensor_msgs/PointCloud2: metres, class id, 255 x probability."""

GroundPoints = npt.NDArray[np.void]
"""[N] records of `POINT`."""
