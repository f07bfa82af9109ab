"""What comes out of the running node: topics, encodings, stamps, frame ids and values on a known scene."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from nav_msgs.msg import OccupancyGrid
from rcl_interfaces.srv import DescribeParameters
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_srvs.srv import Trigger

from seg_perception import draw
from seg_perception.labels import DEFAULT_LABELS

ROAD, LANE, VEHICLE, OTHER = 0, 1, 3, 5
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
pytestmark = pytest.mark.usefixtures('shared_node')


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


def cells(grid: OccupancyGrid) -> np.ndarray:
    return np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width)


def test_labels_masks_and_confidence_have_the_values_stamp_and_frame_of_the_image(client):
    labels = scene()
    expected = {
        'labels': labels,
        'road': np.where(labels == ROAD, 255, 0),
        'lane': np.where(labels == LANE, 255, 0),
        'obstacle': np.where(labels == VEHICLE, 255, 0),
        'confidence': np.full((64, 96), 255),
    }
    out = client.results('front', painted(labels), {f'front/{t}': Image for t in expected})
    assert len({(m.header.stamp.sec, m.header.stamp.nanosec) for m in out.values()}) == 1
    for name, values in expected.items():
        message = out[f'front/{name}']
        assert (message.encoding, message.step, message.header.frame_id) == ('mono8', 96, 'front_optical')
        np.testing.assert_array_equal(pixels(message), values, err_msg=name)


def test_overlay_is_the_tinted_image(client):
    message = client.results('front', painted(scene()), {'front/overlay': Image})['front/overlay']
    assert (message.encoding, message.header.frame_id) == ('rgb8', 'front_optical')
    np.testing.assert_array_equal(pixels(message), draw.overlay(painted(scene()), scene(), DEFAULT_LABELS, 0.5))


def test_camera_info_describes_the_label_image(client):
    """A camera of twice the network's size: pixel centres map as 2 (c + 0.5) - 0.5, focal lengths halve."""
    big = np.repeat(np.repeat(painted(scene()), 2, axis=0), 2, axis=1)
    out = client.results('left', big, {'left/camera_info': CameraInfo, 'left/labels': Image})
    info = out['left/camera_info']
    assert (info.width, info.height, info.header.frame_id) == (96, 64, 'left_optical')
    f = 192 * 0.6 / 2
    assert info.k.tolist() == pytest.approx([f, 0, 47.5, 0, f, 31.5, 0, 0, 1])
    assert info.p.tolist() == pytest.approx([f, 0, 47.5, 0, 0, f, 31.5, 0, 0, 0, 1, 0])
    assert info.header.stamp == out['left/labels'].header.stamp
    np.testing.assert_array_equal(pixels(out['left/labels']), scene())


def test_grid_is_latched_metric_and_free_only_where_road_is_seen(client):
    """Camera at 1.5 m, pitched 0.1 rad down, 96x64 with f = 57.6: the lowest row meets the ground at 2.0 m."""
    client.call('reset_grid', Trigger, Trigger.Request())
    grid = client.results('front', painted(scene()), {'drivable_area': OccupancyGrid})['drivable_area']
    assert grid.header.frame_id == 'base_link'
    assert (grid.info.width, grid.info.height) == (400, 400)
    assert grid.info.resolution == pytest.approx(0.1)
    assert (grid.info.origin.position.x, grid.info.origin.position.y) == (0.0, -20.0)
    assert grid.info.origin.orientation.w == 1.0
    values = cells(grid)
    assert set(np.unique(values)) == {-1, 0, 100}
    assert (values[:, :15] == -1).all(), 'nearer than the image reaches'
    assert (values[195:205, 30:60] == 0).all(), 'road ahead from 3 m to 6 m'
    assert (values[:, 390:] == -1).all(), 'further than a pixel row resolves'
    again = []
    late = client.node.create_subscription(OccupancyGrid, '/seg_perception/drivable_area', again.append, LATCHED)
    client.wait(lambda: again, 'the latched grid')
    client.node.destroy_subscription(late)


def test_points_carry_label_and_confidence_in_the_vehicle_frame(client):
    cloud = client.results('front', painted(scene()), {'points': PointCloud2})['points']
    assert cloud.header.frame_id == 'base_link'
    assert [(f.name, f.offset, f.datatype) for f in cloud.fields] == [
        ('x', 0, 7),
        ('y', 4, 7),
        ('z', 8, 7),
        ('label', 12, 2),
        ('confidence', 13, 2),
    ]
    kinds = {'names': ['x', 'y', 'z', 'label'], 'formats': ['<f4', '<f4', '<f4', 'u1'], 'offsets': [0, 4, 8, 12]}
    points = np.frombuffer(cloud.data, np.dtype({**kinds, 'itemsize': cloud.point_step}))
    assert len(points) == cloud.width > 100
    assert (points['z'] == 0).all()
    near = points[(points['x'] < 6) & (np.abs(points['y']) < 0.15)]
    assert set(near['label']) == {LANE}


def test_compressed_images(client):
    publisher = client.publisher('/jpeg/image_raw/compressed', CompressedImage)
    labels = client.listen('/seg_perception/jpeg/labels', Image)
    png = cv2.imencode('.png', painted(scene())[..., ::-1])[1]

    def publish() -> None:
        message = CompressedImage(format='png', data=array.array('B', png.tobytes()))
        message.header.stamp = client.stamp()
        publisher.publish(message)

    client.wait(lambda: labels, 'labels of a compressed image', publish)
    np.testing.assert_array_equal(pixels(labels[0]), scene())


@pytest.mark.parametrize('encoding', ['bgr8', 'rgba8', 'bgra8'])
def test_colour_orders_with_row_padding(client, encoding):
    rgb = painted(scene())
    order = {'bgr8': [2, 1, 0], 'rgba8': [0, 1, 2, 0], 'bgra8': [2, 1, 0, 0]}[encoding]
    padded = np.zeros((64, 104, len(order)), np.uint8)
    padded[:, :96] = rgb[..., order]
    out = client.results('front', padded, {'front/labels': Image}, encoding=encoding, width=96)
    np.testing.assert_array_equal(pixels(out['front/labels']), scene())


@pytest.mark.parametrize(
    ('encoding', 'code'), [('nv12', None), ('yuv422_yuy2', cv2.COLOR_RGB2YUV_YUY2), ('uyvy', cv2.COLOR_RGB2YUV_UYVY)]
)
def test_yuv_encodings_keep_the_classes(client, encoding, code):
    """Two flat classes only: colour is shared between neighbours in these encodings."""
    labels = np.full((64, 96), VEHICLE, np.uint8)
    labels[32:] = ROAD
    rgb = painted(labels)
    if encoding == 'nv12':
        i420 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
        u, v = i420[64:].reshape(2, 32, 48)
        data = np.vstack([i420[:64], np.stack([u, v], axis=-1).reshape(32, 96)])
        out = client.results('front', data, {'front/labels': Image}, encoding='nv12', height=64)
    else:
        out = client.results('front', cv2.cvtColor(rgb, code), {'front/labels': Image}, encoding=encoding)
    assert (pixels(out['front/labels']) == labels).mean() > 0.95


def test_cameras_are_answered_each_under_its_own_name(client):
    """Two cameras in one process, each with its own picture."""
    other = np.full((64, 96), ROAD, np.uint8)
    client.listen('/seg_perception/front/labels', Image).clear()
    left = client.results('left', painted(other), {'left/labels': Image})['left/labels']
    front = client.results('front', painted(scene()), {'front/labels': Image})['front/labels']
    np.testing.assert_array_equal(pixels(left), other)
    np.testing.assert_array_equal(pixels(front), scene())


def test_nothing_is_computed_for_a_camera_without_listeners(client):
    for topic in [t for t in client.received if t.startswith('/seg_perception/')]:
        client.ignore(topic)
    before = client.count('camera rear', 'idle'), client.count('camera rear', 'processed')
    client.wait(
        lambda: client.count('camera rear', 'idle') > before[0],
        'idle images',
        lambda: client.send('rear', painted(scene())),
    )
    assert client.count('camera rear', 'processed') == before[1]


def test_grid_that_nobody_listened_to_is_not_found_free_by_the_next_listener(client):
    client.results('front', painted(scene()), {'drivable_area': OccupancyGrid})
    client.ignore('/seg_perception/drivable_area')
    client.status('grid', lambda s: {v.key: v.value for v in s.values}['free ahead m'] == 'unknown')
    grids = client.listen('/seg_perception/drivable_area', OccupancyGrid, LATCHED)
    client.wait(lambda: grids, 'the latched grid')
    assert set(grids[0].data) == {-1}


def test_best_effort_listeners_are_served_too(client):
    got = client.listen('/seg_perception/front/road', Image, QoSProfile(depth=1, reliability=2))
    client.wait(lambda: got, 'a road mask', lambda: client.send('front', painted(scene())))
    client.ignore('/seg_perception/front/road')


def test_parameters_describe_themselves(client):
    names = ['grid.min_confidence', 'backend', 'overlay_alpha', 'front.extrinsics']
    out = client.call('describe_parameters', DescribeParameters, DescribeParameters.Request(names=names)).descriptors
    assert [d.read_only for d in out] == [False, True, False, True]
    assert all(len(d.description) > 20 for d in out)
    assert (out[0].floating_point_range[0].from_value, out[0].floating_point_range[0].to_value) == (0.0, 0.999)
    assert out[1].additional_constraints == 'one of: auto, tensorrt, onnxruntime'
