"""Which topics of a bag are cameras, what they are called, and whose calibration is whose."""

from __future__ import annotations

import pytest

from seg_perception.io import messages
from seg_perception.io.bag_cameras import choose_cameras
from seg_perception.io.bag_source import Topic
from seg_perception.io.recording import RecordingOptions


@pytest.mark.parametrize(
    ('topics', 'cameras'),
    [
        (['/image_raw'], ['image_raw']),
        (['/front/image_raw', '/front/image_raw/compressed', '/rear/image/compressed'], ['front', 'rear']),
        (['/car/front/left/image', '/car/front/right/image'], ['left', 'right']),
        (['/a/cam/image_raw', '/b/cam/image_raw'], ['a_cam', 'b_cam']),
        (['/cam/left', '/cam/right'], ['cam_left', 'cam_right']),
    ],
)
def test_cameras_are_named_after_as_much_of_their_topics_as_tells_them_apart(topics, cameras):
    found = [Topic(t, messages.COMPRESSED_IMAGE if 'compressed' in t else messages.IMAGE, 1) for t in topics]
    assert [c.name for c in choose_cameras('bag', tuple(found), RecordingOptions(all_topics=True))] == cameras


@pytest.mark.parametrize(
    ('images', 'infos', 'expected'),
    [
        (['/front/image_raw'], ['/front/camera_info', '/rear/camera_info'], ['/front/camera_info']),
        (['/front/image_raw/compressed'], ['/front/camera_info', '/rear/camera_info'], ['/front/camera_info']),
        (['/front/image_raw'], ['/calibration'], ['/calibration']),
        (['/front/image_raw'], ['/calibration', '/other'], [None]),
        (['/front/image_raw', '/rear/image_raw'], ['/calibration'], [None, None]),
    ],
)
def test_a_calibration_that_stands_elsewhere_is_taken_only_when_nothing_else_is_there(images, infos, expected):
    topics = [*(Topic(t, messages.IMAGE, 1) for t in images), *(Topic(t, messages.CAMERA_INFO, 1) for t in infos)]
    cameras = choose_cameras('bag', tuple(topics), RecordingOptions(all_topics=True))
    assert [c.info_topic for c in cameras] == expected
