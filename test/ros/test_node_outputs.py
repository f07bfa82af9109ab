"""What comes out of the running node: topics, encodings, stamps, frame ids and values on a known scene."""

from __future__ import annotations

import numpy as np
import pytest
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from seg_perception.labels import DEFAULT_LABELS

ROAD, LANE, VEHICLE, OTHER = 0, 1, 3, 5
IMAGES = ('labels', 'road', 'lane', 'obstacle', 'confidence', 'overlay')


def scene() -> np.ndarray:
    """Labels [64, 96]: buildings above the horizon, a road with one line, a car on its left."""
    labels = np.full((64, 96), OTHER, np.uint8)
    labels[30:] = ROAD
    labels[30:, 46:50] = LANE
    labels[34:44, 20:32] = VEHICLE
    return labels


def painted(labels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(DEFAULT_LABELS.palette()[labels])


def pixels(message: Image) -> np.ndarray:
    channels = 3 if message.encoding == 'rgb8' else 1
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows.reshape(message.height, message.width, channels).squeeze()


@pytest.mark.usefixtures('shared_node')
def test_every_output_of_a_camera(client):
    client.send_info('front')
    topics = {f'front/{t}': Image for t in IMAGES} | {
        'front/camera_info': CameraInfo,
        'drivable_area': OccupancyGrid,
        'points': PointCloud2,
    }
    out = client.results('front', painted(scene()), topics)
    labels = scene()
    for name, expected in {
        'labels': labels,
        'road': np.where(labels == ROAD, 255, 0),
        'lane': np.where(labels == LANE, 255, 0),
        'obstacle': np.where(labels == VEHICLE, 255, 0),
        'confidence': np.full((64, 96), 255),
    }.items():
        message = out[f'front/{name}']
        assert (message.encoding, message.header.frame_id) == ('mono8', 'front_optical')
        np.testing.assert_array_equal(pixels(message), expected, err_msg=name)
    assert out['front/overlay'].encoding == 'rgb8'
