"""What the node would have published for a result, as serialised messages under the node's names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from seg_perception.frames import from_array, jpeg
from seg_perception.grid import GridConfig, OccupancyGrid
from seg_perception.io import messages
from seg_perception.io.recording import TimedMessage
from seg_perception.labels import MASKS, LabelMap
from seg_perception.offline.geometry_messages import GeometryMessages
from seg_perception.pipeline import CameraResult, Result
from seg_perception.postprocess import role_mask

NODE = '/seg_perception'
GRID_TOPIC = f'{NODE}/drivable_area'
JPEG_QUALITY = 85
LATCHED = (GRID_TOPIC,)
UInt8 = npt.NDArray[np.uint8]


class OutputMessages:
    """Turns results into messages, always in the same order."""

    def __init__(self, labels: LabelMap, grid: GridConfig, base_frame: str, odom_frame: str, *, geometry: bool) -> None:
        messages.typestore()  # takes a tenth of a second: now, not with the first frame
        self._geometry = GeometryMessages(labels, grid, base_frame, NODE) if geometry else None
        self._labels = labels
        self._frames = {'vehicle': base_frame, 'odom': odom_frame}
        self._ground_z_m = {'vehicle': grid.ground_z_m, 'odom': 0.0}

    def topics(self, cameras: Sequence[str]) -> list[tuple[str, str]]:
        """Return (topic, type) of all outputs."""
        images = ('labels', *MASKS, 'confidence')
        found = [(f'{NODE}/{c}/{t}', messages.IMAGE) for c in cameras for t in images]
        found += [(f'{NODE}/{c}/camera_info', messages.CAMERA_INFO) for c in cameras]
        found += [(f'{NODE}/{c}/overlay/compressed', messages.COMPRESSED_IMAGE) for c in cameras]
        found.append((GRID_TOPIC, messages.OCCUPANCY_GRID))
        return [*found, *self._geometry.topics()] if self._geometry else found

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
        return [*found, *self._geometry.of(result)] if self._geometry else found

    def _camera(self, r: CameraResult, frame_id: str, picture: UInt8) -> list[TimedMessage]:
        base = f'{NODE}/{r.camera}'
        images = {'labels': r.labels, **{n: role_mask(r.labels, self._labels, role) for n, role in MASKS.items()}}
        images['confidence'] = r.confidence
        found = [
            messages.image(f'{base}/{name}', r.stamp_ns, frame_id, from_array(pixels, 'mono8'))
            for name, pixels in images.items()
        ]
        if r.camera_model is not None:
            found.append(messages.camera_info(f'{base}/camera_info', r.stamp_ns, frame_id, r.camera_model))
        data = np.frombuffer(jpeg(picture, JPEG_QUALITY), np.uint8)
        topic = f'{base}/overlay/compressed'
        found.append(messages.compressed_image(topic, r.stamp_ns, frame_id, data, 'rgb8; jpeg compressed bgr8'))
        return found

    def _grid_message(self, grid: OccupancyGrid) -> TimedMessage:
        new = messages.new
        height, width = grid.cells.shape
        origin = new(
            'geometry_msgs/msg/Pose',
            new('geometry_msgs/msg/Point', grid.origin_x_m, grid.origin_y_m, self._ground_z_m[grid.frame]),
            new('geometry_msgs/msg/Quaternion', 0.0, 0.0, 0.0, 1.0),
        )
        info = new('nav_msgs/msg/MapMetaData', messages.time_of(0), grid.resolution_m, width, height, origin)
        header = messages.header(grid.stamp_ns, self._frames[grid.frame])
        message = new(messages.OCCUPANCY_GRID, header, info, grid.cells.reshape(-1))
        return messages.pack(GRID_TOPIC, messages.OCCUPANCY_GRID, grid.stamp_ns, message)
