"""Each kind of bad input: one message, a diagnostics state, a counter; other cameras go on and no cell becomes free."""

from __future__ import annotations

import math

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image

from seg_perception.labels import DEFAULT_LABELS

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
ROAD = np.full((64, 96, 3), DEFAULT_LABELS.classes[0].color, np.uint8)


@pytest.fixture
def listening(client, shared_node):
    """Somebody listens to both cameras and to the grid."""
    client.listen('/seg_perception/front/labels', Image)
    client.listen('/seg_perception/left/labels', Image)
    grids = client.listen('/seg_perception/drivable_area', OccupancyGrid, LATCHED)
    client.settle('front', ROAD)
    client.settle('left', ROAD)
    grids.clear()
    return shared_node


def bad_image(client, text, pixels=ROAD, **fields):
    """Send bad images to `front` until three are counted; check state and message, and that `left` works meanwhile."""
    before = client.count('camera front', 'bad image')
    status = client.status(
        'camera front',
        lambda s: text in s.message and int({v.key: v.value for v in s.values}['bad image']) >= before + 3,
        each=lambda: client.send('front', pixels, **fields),
    )
    assert status.level == DiagnosticStatus.ERROR
    assert client.results('left', ROAD, {'left/labels': Image})
    client.settle('front', ROAD)


@pytest.mark.parametrize(
    ('fields', 'text'),
    [
        ({'encoding': 'rgb32'}, "encoding 'rgb32' is not supported"),
        ({'height': 65}, 'image data is 18432 bytes; expected 18720'),
        ({'step': 100}, 'step is 100 bytes; expected at least 288'),
        ({'width': 0, 'height': 0}, 'image is 0x0; expected a positive size'),
    ],
)
def test_unusable_image(client, listening, fields, text):
    bad_image(client, text, **fields)
    said = listening.text().count('front: image left out: ')
    assert 1 <= said < client.count('camera front', 'bad image'), 'said, but not for every image'


@pytest.mark.parametrize('entry', [math.nan, 0.0])
def test_unusable_calibration_gives_labels_but_no_grid(client, listening, entry):
    k = [entry, 0.0, 47.5, 0.0, 57.6, 31.5, 0.0, 0.0, 1.0]
    client.status(
        'camera front',
        lambda s: s.level == DiagnosticStatus.WARN and 'camera_info cannot be used' in s.message,
        each=lambda: (client.send_info('front', k=k), client.send('front', ROAD)),
    )
    grids, labels = (client.received[f'/seg_perception/{t}'] for t in ('drivable_area', 'front/labels'))
    for _ in range(2):  # what was on its way is not looked at
        grids.clear()
        labels.clear()
        client.wait(lambda: len(labels) >= 3, 'labels without calibration', lambda: client.send('front', ROAD))
    assert not any(0 in g.data for g in grids)
    client.settle('front', ROAD)


def test_calibration_of_another_size(client, listening):
    status = client.status(
        'camera front',
        lambda s: 'camera_info is for 48x32, the image is 96x64' in s.message,
        each=lambda: (client.send_info('front', 48, 32), client.send('front', ROAD)),
    )
    assert status.level == DiagnosticStatus.WARN
    client.settle('front', ROAD)


def test_camera_without_pose(client, listening):
    """`rear` has no extrinsics and nobody publishes its TF: labels, a warning, and nothing in the grid."""
    out = client.results('rear', ROAD, {'rear/labels': Image})
    assert not np.any(out['rear/labels'].data)
    status = client.status(
        'camera rear', lambda s: 'no grid from this camera: ' in s.message, each=lambda: client.send('rear', ROAD)
    )
    assert status.level == DiagnosticStatus.WARN
    assert 'TF base_link <- rear_optical' in status.message
    assert client.count('camera rear', 'no pose') > 0
    client.ignore('/seg_perception/rear/labels')


def test_camera_that_stops_turns_the_grid_unknown_and_comes_back(client, listening):
    grids = client.received['/seg_perception/drivable_area']
    before = client.count('camera front', 'stale'), client.count('camera front', 'restart')
    client.wait(lambda: any(0 in g.data for g in grids), 'free cells', lambda: client.send('front', ROAD))
    client.wait(lambda: set(grids[-1].data) == {-1}, 'an unknown grid after the cameras stopped')
    status = client.status('camera front', lambda s: 'no image on /front/image_raw for more than 0.5 s' in s.message)
    assert status.level == DiagnosticStatus.ERROR
    client.status('camera front', lambda s: s.message == 'ok', each=lambda: client.send('front', ROAD))
    assert client.count('camera front', 'stale') == before[0] + 1
    assert client.count('camera front', 'restart') == before[1] + 1


def test_camera_that_changes_its_resolution(client, listening):
    before = client.count('camera front', 'size change')
    big = np.full((128, 192, 3), DEFAULT_LABELS.classes[0].color, np.uint8)
    client.results('front', big, {'front/labels': Image})
    client.wait(lambda: client.count('camera front', 'size change') == before + 1, 'a counted size change')
    client.results('front', ROAD, {'front/labels': Image})


def test_time_that_jumps_back_clears_the_grid(client, listening):
    grids = client.received['/seg_perception/drivable_area']
    before = client.count('camera left', 'time jump')
    client.status('camera front', lambda s: 'no image' in s.message, each=lambda: client.send('left', ROAD))
    client.wait(lambda: any(0 in g.data for g in grids), 'free cells', lambda: client.send('left', ROAD))
    grids.clear()
    labels = client.received['/seg_perception/left/labels']
    client.wait(
        lambda: any(m.header.stamp.sec == 1000 for m in labels),
        'labels of the old time',
        lambda: client.send('left', ROAD, stamp=Time(sec=1000)),
    )
    client.wait(lambda: any(set(g.data) == {-1} for g in grids), 'an unknown grid at the jump')
    assert client.count('camera left', 'time jump') == before + 1
    assert 'time went back by' in listening.text()
    stamps = client.status(
        'camera left',
        lambda s: 'behind the node' in s.message,
        each=lambda: client.send('left', ROAD, stamp=Time(sec=1000)),
    )
    assert stamps.level == DiagnosticStatus.WARN


def test_image_out_of_order_is_left_out(client, listening):
    before = client.count('camera front', 'out of order')
    labels = client.received['/seg_perception/front/labels']
    new = client.results('front', ROAD, {'front/labels': Image})['front/labels'].header.stamp
    old = (
        Time(sec=new.sec, nanosec=new.nanosec - 100_000_000)
        if new.nanosec >= 100_000_000
        else Time(sec=new.sec - 1, nanosec=new.nanosec + 900_000_000)
    )
    client.wait(
        lambda: client.count('camera front', 'out of order') > before,
        'a counted image',
        lambda: client.send('front', ROAD, stamp=old),
    )
    assert not any(m.header.stamp == old for m in labels)
