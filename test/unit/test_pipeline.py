"""The one path from images to labels and grid, with an engine that labels by colour."""

import gc
import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from seg_perception.camera import CameraModel, Pose
from seg_perception.engine.fake import FakeEngine
from seg_perception.frames import from_array
from seg_perception.grid import FREE, OCCUPIED, UNKNOWN, GridConfig
from seg_perception.labels import DEFAULT_LABELS, VOID
from seg_perception.pipeline import Frame, Pipeline, PipelineConfig
from seg_perception.postprocess import RegionConfig, ground

CAMERA = CameraModel(192, 128, 160.0, 160.0, 95.5, 63.5)
POSE = Pose.mounted(0.0, 0.0, 1.5, 0.0, math.radians(5), 0.0)
ROAD, VEHICLE, OTHER = (DEFAULT_LABELS.classes[i].color for i in (0, 3, 5))


def picture() -> np.ndarray:
    """A road under a horizon with a vehicle right of the middle."""
    image = np.empty((128, 192, 3), np.uint8)
    image[:] = OTHER
    image[52:] = ROAD
    image[50:80, 120:150] = VEHICLE
    return image


def frame(camera: str = 'front', **changes: object) -> Frame:
    base = Frame(camera, 1_000_000_000, from_array(picture(), 'rgb8'), CAMERA, POSE, None)
    return base._replace(**changes)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline(PipelineConfig(GridConfig(x_max_m=20.0, y_min_m=-10.0, y_max_m=10.0)), FakeEngine())


def test_labels_come_at_the_networks_size_with_the_camera_that_fits(pipeline: Pipeline) -> None:
    result = pipeline.run([frame()]).cameras[0]
    assert result.labels.shape == result.confidence.shape == (64, 96)
    assert (result.labels[10, 40], result.labels[60, 40], result.labels[33, 67]) == (5, 0, 3)
    assert result.camera_model == CAMERA.resized(96, 64)
    assert result.stamp_ns == 1_000_000_000
    assert result.problem is None


def test_memory_does_not_grow_with_a_lens_that_changes_with_every_image(pipeline: Pipeline) -> None:
    def bytes_after(first: int) -> int:
        for i in range(first, first + 500):
            pipeline.label([frame(camera_model=replace(CAMERA, fx=160.0 + i * 1e-6))])
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = bytes_after(0)
        assert bytes_after(500) - before < 20_000
    finally:
        tracemalloc.stop()


def test_the_grid_is_free_ahead_occupied_at_the_vehicle_and_unknown_behind_it(pipeline: Pipeline) -> None:
    grid = pipeline.run([frame()]).grid
    assert grid is not None
    # Row 80 is where the vehicle meets the ground: pitch 5 degrees and (80 - 63.5) / 160 below the axis.
    contact_m = 1.5 / math.tan(math.radians(5) + math.atan((79.5 - 63.5) / 160))
    right = contact_m * (135 - 95.5) / 160

    def cell(x: float, y: float) -> int:
        return int(grid.cells[int((y - grid.origin_y_m) / 0.1), int((x - grid.origin_x_m) / 0.1)])

    assert cell(contact_m - 1.0, -right) == 0
    assert cell(contact_m + 0.15, -right) == 100
    assert cell(contact_m + 3.0, -right * (contact_m + 3.0) / contact_m) == -1
    assert cell(10.0, 1.0) == 0
    assert cell(1.0, 0.0) == -1


def test_where_the_hood_hides_the_road_nothing_is_concluded(pipeline: Pipeline) -> None:
    """Of 128 rows 0.25 are hood: the ground begins at row 96, and what is drawn below it as road is not."""
    plain = pipeline.run([frame()])
    result = Pipeline(pipeline.config, FakeEngine()).run([frame(hood=0.25)], want_ground=True)
    camera = result.cameras[0]
    assert (camera.labels[48:] == VOID).all()
    assert (camera.confidence[48:] == 0).all()
    assert (camera.labels[:48] == plain.cameras[0].labels[:48]).all()
    edge_m = 1.5 / math.tan(math.radians(5) + math.atan((95.5 - 63.5) / 160))
    assert plain.grid is not None
    assert result.grid is not None
    before = slice(0, int(edge_m / 0.1))
    assert (plain.grid.cells[100, before] == FREE).any()
    assert (result.grid.cells[:, before] == UNKNOWN).all()
    beyond = slice(int(edge_m / 0.1) + 3, 100)
    assert (result.grid.cells[100, beyond] == FREE).all()
    assert result.grid.free_ahead_m == plain.grid.free_ahead_m


def test_an_obstacle_that_goes_on_behind_the_hood_blocks_its_bearing(pipeline: Pipeline) -> None:
    image = picture()
    image[60:, 80:110] = VEHICLE
    grid = pipeline.run([frame(image=from_array(image, 'rgb8'), hood=0.25)]).grid
    assert grid is not None
    assert not (grid.cells[100] == FREE).any()
    assert (grid.cells[100] == OCCUPIED).any()


def test_cameras_of_one_batch_keep_their_order_and_stamps(pipeline: Pipeline) -> None:
    empty = from_array(np.full((10, 10, 3), ROAD, np.uint8), 'rgb8')
    result = pipeline.run([frame(), frame('left', stamp_ns=7, image=empty, camera_model=None)])
    assert [(c.camera, c.stamp_ns) for c in result.cameras] == [('front', 1_000_000_000), ('left', 7)]
    assert (result.cameras[1].labels == 0).all()


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'camera_model': None}, 'left: no camera_info'),
        ({'vehicle_from_camera': None}, 'left: no pose'),
        ({'camera_model': CAMERA.resized(100, 100)}, '100x100 but the image is 192x128'),
        ({'vehicle_from_camera': Pose.mounted(0, 0, -1, 0, 0, 0)}, 'above the ground'),
        ({'vehicle_from_camera': Pose.mounted(0, 0, 1, 0, -1.5, 0)}, 'sees no ground'),
    ],
)
def test_a_camera_that_cannot_feed_the_grid_says_why_and_the_other_one_does(
    pipeline: Pipeline, changes: dict[str, object], said: str
) -> None:
    alone = pipeline.run([frame()])
    pipeline.reset()
    both = pipeline.run([frame(), frame('left', **changes)])
    assert said in str(both.cameras[1].problem)
    assert (both.cameras[1].labels == both.cameras[0].labels).all()
    assert alone.grid is not None
    assert both.grid is not None
    assert (both.grid.cells == alone.grid.cells).all()
    assert pipeline.run([frame('left', **changes)]).grid is None


def test_without_odometry_a_camera_that_lags_says_that_it_adds_nothing(pipeline: Pipeline) -> None:
    """In the batch of the newest image, and alone after it; with odometry it does add."""
    ms, moving = 1_000_000, Pose((0.0, 0.0, 0.0))
    left = frame('left', stamp_ns=750 * ms)
    both = pipeline.run([left, frame()])
    alone = pipeline.run([frame('left', stamp_ns=790 * ms)])
    for result in (both.cameras[0], alone.cameras[0]):
        assert "camera 'left': its stamp is 0.2 s behind the other cameras" in str(result.problem)
    assert both.cameras[1].problem is None
    assert alone.grid is None
    assert pipeline.run([frame('left', stamp_ns=800 * ms)]).cameras[0].problem is None
    odometry = {'odom_from_vehicle': moving}
    with_odometry = pipeline.run([left._replace(**odometry), frame(stamp_ns=1_000 * ms, **odometry)])
    assert [r.problem for r in with_odometry.cameras] == [None, None]


def test_nothing_is_computed_for_a_grid_nobody_wants(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.mapper, 'update', lambda _: pytest.fail('the grid was computed'))
    result = pipeline.run([frame()], want_grid=False)
    assert result.grid is None
    assert result.cameras[0].problem is None


def test_cameras_are_judged_for_ground_points_without_a_grid(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.mapper, 'update', lambda _: pytest.fail('the grid was computed'))
    flying = frame('left', vehicle_from_camera=Pose.mounted(0, 0, -1, 0, 0, 0))
    result = pipeline.run([frame(), flying, frame('rear', camera_model=None)], want_grid=False, want_ground=True)
    assert result.grid is None
    assert result.cameras[0].problem is None
    assert 'above the ground' in str(result.cameras[1].problem)
    assert 'rear: no camera_info' in str(result.cameras[2].problem)


def test_lane_lines_come_when_asked_for(pipeline: Pipeline) -> None:
    image = picture()
    image[50:80, 120:150] = ROAD
    rows = np.arange(60, 128)
    for side in (-1, 1):  # lines 1.8 m to either side: ground at row v lies 1.5 m below the tilted ray
        v = (rows - 63.5) / 160
        depth = 1.5 / (v * math.cos(math.radians(5)) + math.sin(math.radians(5)))
        for row, column in zip(rows, 95.5 + side * 1.8 * 160 / depth, strict=True):
            image[row, max(0, round(column) - 1) : round(column) + 2] = DEFAULT_LABELS.classes[1].color
    seen = frame(image=from_array(image, 'rgb8'))
    assert pipeline.run([seen]).lanes is None
    lanes = pipeline.run([seen], want_lanes=True).lanes
    assert lanes is not None
    assert lanes.width_m == pytest.approx(3.6, abs=0.2)
    assert pipeline.run([seen._replace(camera_model=None)], want_lanes=True).lanes is None


def test_small_regions_are_cleaned_when_asked_for() -> None:
    image = picture()
    image[100:104, 40:44] = VEHICLE
    plain = Pipeline(PipelineConfig(), FakeEngine()).run([frame(image=from_array(image, 'rgb8'))])
    config = PipelineConfig(regions=RegionConfig(obstacle_px=10))
    cleaned = Pipeline(config, FakeEngine()).run([frame(image=from_array(image, 'rgb8'), camera_model=None)])
    assert plain.cameras[0].labels[51, 21] == 3
    assert cleaned.cameras[0].labels[51, 21] == 0
    assert cleaned.cameras[0].labels[33, 67] == 3


def test_a_camera_that_trembles_costs_no_new_tables_of_the_ground(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    intersect = ground._intersect
    monkeypatch.setattr(ground, '_intersect', lambda rays, pose: (built.append(len(rays)), intersect(rays, pose))[1])

    def tables(pitch_rad: float) -> bool:
        built.clear()
        pose = Pose.mounted(0.0, 0.0, 1.5, 0.0, math.radians(5.3) + pitch_rad, 0.0)  # no other test's
        pipeline.run([frame(vehicle_from_camera=pose)], want_lanes=True)
        return bool(built)

    assert [tables(pitch_rad) for pitch_rad in (0.0, 1e-4, -1e-4, 0.01, 0.0101)] == [True, False, False, True, False]
