"""Recorded points and markers of cameras that were not triggered together."""

from __future__ import annotations

import numpy as np

from seg_perception.camera import CameraModel, Pose
from seg_perception.engine.fake import FakeEngine
from seg_perception.frames import from_array
from seg_perception.grid import GridConfig
from seg_perception.io import messages
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.offline.geometry_messages import GeometryMessages
from seg_perception.pipeline import Frame, Pipeline, PipelineConfig

CAMERA = CameraModel(96, 64, 57.6, 57.6, 47.5, 31.5)
ROAD = from_array(np.full((64, 96, 3), DEFAULT_LABELS.classes[0].color, np.uint8), 'rgb8')


def seen(*cameras: tuple[str, int, float]) -> dict[str, np.ndarray]:
    """Points and the road's outline by `front`, of cameras given as name, stamp (ms) and x of the vehicle in odom."""
    pipeline = Pipeline(PipelineConfig(GridConfig(x_max_m=20.0)), FakeEngine(max_batch=2))
    mounting = Pose.mounted(0.0, 0.0, 1.5, 0.0, 0.1, 0.0)
    result = pipeline.run(
        [Frame(name, ms * 1_000_000, ROAD, CAMERA, mounting, Pose((x, 0.0, 0.0))) for name, ms, x in cameras]
    )
    sent = {
        m.topic: m for m in GeometryMessages(DEFAULT_LABELS, GridConfig(x_max_m=20.0), 'base_link', '/n').of(result)
    }
    cloud, array = (messages.deserialize(sent[t].data, sent[t].msgtype) for t in ('/n/points', '/n/markers'))
    road = [(p.x, p.y) for m in array.markers if m.ns == 'road/front' for p in m.points]
    return {'points': cloud.data.view(np.float32).reshape(-1, 4)[:, :3], 'road': np.array(road)}


def test_what_a_camera_that_lags_saw_is_moved_with_the_vehicle() -> None:
    alone = seen(('front', 1000, 5.0))
    both = seen(('front', 1000, 5.0), ('late', 1100, 6.0))
    n = len(alone['points'])
    assert n > 1000
    assert len(alone['road']) > 4
    np.testing.assert_allclose(both['points'][:n], alone['points'] - [1.0, 0.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(both['road'], alone['road'] - [1.0, 0.0], atol=1e-4)


def test_what_one_camera_saw_stays_while_others_are_processed() -> None:
    pipeline = Pipeline(PipelineConfig(GridConfig(x_max_m=20.0)), FakeEngine())
    made = GeometryMessages(DEFAULT_LABELS, GridConfig(x_max_m=20.0), 'base_link', '/n')
    found = []
    for i, camera in enumerate(('front', 'late', 'front')):
        frame = Frame(camera, 10**9 + i, ROAD, CAMERA, Pose.mounted(0.0, 0.0, 1.5, 0.0, 0.1, 0.0))
        (array,) = (m for m in made.of(pipeline.run([frame])) if m.topic == '/n/markers')
        found.append([(m.ns, m.action) for m in messages.deserialize(array.data, array.msgtype).markers])
    assert found == [[('road/front', 0)], [('road/late', 0)], [('road/front', 0)]]
