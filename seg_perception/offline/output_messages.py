"""What the node would have published for a result, as serialised messages under the node's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.errors import CameraError
from seg_perception.frames import from_array
from seg_perception.grid import GridConfig, GroundPoints, Observation, OccupancyGrid, ground_points
from seg_perception.io import messages
from seg_perception.io.recording import TimedMessage
from seg_perception.labels import LabelMap, Role
from seg_perception.pipeline import CameraResult, Result

NODE = '/seg_perception'
GRID_TOPIC = f'{NODE}/drivable_area'
POINTS_TOPIC = f'{NODE}/points'
JPEG_QUALITY = 85
LATCHED = (GRID_TOPIC,)
POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
FLOAT32, UINT8 = 7, 2
"""sensor_msgs/PointField datatypes."""
MASKS = {'road': Role.ROAD, 'lane': Role.LANE, 'obstacle': Role.OBSTACLE}
POINT = np.dtype(
    {
        'names': ['x', 'y', 'z', 'label', 'confidence'],
        'formats': ['<f4', '<f4', '<f4', 'u1', 'u1'],
        'offsets': [0, 4, 8, 12, 13],
        'itemsize': 16,
    }
)


UInt8 = npt.NDArray[np.uint8]


class OutputMessages:
    """Turns results into messages, always in the same order."""

    def __init__(self, labels: LabelMap, grid: GridConfig, base_frame: str, odom_frame: str, *, points: bool) -> None:
        self._labels, self._grid, self._want_points = labels, grid, points
        self._luts = {name: labels.mask_lut(role) for name, role in MASKS.items()}
        self._frames = {'vehicle': base_frame, 'odom': odom_frame}
        self._base_frame = base_frame

    def topics(self, cameras: Sequence[str]) -> list[tuple[str, str]]:
        """Return (topic, type) of all outputs."""
        images = ('labels', *MASKS, 'confidence')
        found = [(f'{NODE}/{c}/{t}', messages.IMAGE) for c in cameras for t in images]
        found += [(f'{NODE}/{c}/camera_info', messages.CAMERA_INFO) for c in cameras]
        found += [(f'{NODE}/{c}/overlay/compressed', messages.COMPRESSED_IMAGE) for c in cameras]
        found.append((GRID_TOPIC, messages.OCCUPANCY_GRID))
        return [*found, (POINTS_TOPIC, POINT_CLOUD)] if self._want_points else found

    def of(self, result: Result, frame_ids: Sequence[str], overlays: Sequence[UInt8]) -> list[TimedMessage]:
        """Return the messages of one run; stamps are the images' own.

        Args:
            frame_ids: of the images.
            overlays: uint8 [h, w, 3] RGB, one per camera; goes out as JPEG, as image_transport would send it.
        """
        per_camera = zip(result.cameras, frame_ids, overlays, strict=True)
        found = [m for r, frame_id, picture in per_camera for m in self._camera(r, frame_id, picture)]
        if result.grid is not None:
            found.append(self._grid_message(result.grid))
        cloud = self._points(result) if self._want_points else None
        return [*found, cloud] if cloud else found

    def _camera(self, r: CameraResult, frame_id: str, picture: UInt8) -> list[TimedMessage]:
        base = f'{NODE}/{r.camera}'
        images = {'labels': r.labels, **{n: cv2.LUT(r.labels, lut) for n, lut in self._luts.items()}}
        images['confidence'] = r.confidence
        found = [
            messages.image(f'{base}/{name}', r.stamp_ns, frame_id, from_array(np.asarray(pixels, np.uint8), 'mono8'))
            for name, pixels in images.items()
        ]
        if r.camera_model is not None:
            found.append(messages.camera_info(f'{base}/camera_info', r.stamp_ns, frame_id, r.camera_model))
        jpeg = cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[
            1
        ]
        data = np.asarray(jpeg, np.uint8).reshape(-1)
        topic = f'{base}/overlay/compressed'
        found.append(messages.compressed_image(topic, r.stamp_ns, frame_id, data, 'rgb8; jpeg compressed bgr8'))
        return found

    def _grid_message(self, grid: OccupancyGrid) -> TimedMessage:
        new = messages.new
        height, width = grid.cells.shape
        origin = new(
            'geometry_msgs/msg/Pose',
            new('geometry_msgs/msg/Point', grid.origin_x_m, grid.origin_y_m, 0.0),
            new('geometry_msgs/msg/Quaternion', 0.0, 0.0, 0.0, 1.0),
        )
        info = new('nav_msgs/msg/MapMetaData', messages.time_of(0), grid.resolution_m, width, height, origin)
        header = messages.header(grid.stamp_ns, self._frames[grid.frame])
        message = new(messages.OCCUPANCY_GRID, header, info, grid.cells.reshape(-1))
        return messages.pack(GRID_TOPIC, messages.OCCUPANCY_GRID, grid.stamp_ns, message)

    def _points(self, result: Result) -> TimedMessage | None:
        clouds, stamps = [], []
        for r in result.cameras:
            if r.camera_model is None or r.vehicle_from_camera is None or r.problem is not None:
                continue
            seen = Observation(
                r.camera, r.stamp_ns, r.labels, r.confidence, r.camera_model, r.vehicle_from_camera, r.odom_from_vehicle
            )
            try:
                clouds.append(ground_points(seen, self._grid, self._labels))
                stamps.append(r.stamp_ns)
            except CameraError:
                continue  # the result says why the grid leaves this camera out
        if not clouds:
            return None
        merged = GroundPoints(*(np.concatenate(parts) for parts in zip(*clouds, strict=True)))
        return messages.pack(POINTS_TOPIC, POINT_CLOUD, max(stamps), self._cloud(merged, max(stamps)))

    def _cloud(self, points: GroundPoints, stamp_ns: int) -> Any:
        packed = np.zeros(len(points.xyz), POINT)
        for axis, name in enumerate('xyz'):
            packed[name] = points.xyz[:, axis]
        packed['label'], packed['confidence'] = points.label, points.confidence
        fields = [
            messages.new('sensor_msgs/msg/PointField', name, offset, kind, 1)
            for name, offset, kind in zip(
                POINT.names or (), (0, 4, 8, 12, 13), (FLOAT32,) * 3 + (UINT8,) * 2, strict=True
            )
        ]
        header = messages.header(stamp_ns, self._base_frame)
        data = packed.view(np.uint8).reshape(-1)
        return messages.new(
            POINT_CLOUD, header, 1, len(packed), fields, False, POINT.itemsize, packed.nbytes, data, True
        )
