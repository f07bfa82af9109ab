"""Small recordings of every kind, made here: 96x64 pictures in the palette's colours, so that FakeEngine labels them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader

from seg_perception.camera import CameraModel, Pose
from seg_perception.engine.base import Engine, Prediction
from seg_perception.engine.fake import FakeEngine
from seg_perception.errors import EngineError
from seg_perception.frames import Image, from_array
from seg_perception.grid import GridConfig
from seg_perception.io import messages
from seg_perception.io.bag_writer import BagWriter
from seg_perception.io.recording import RecordingOptions, TimedMessage, open_recording
from seg_perception.labels import DEFAULT_LABELS
from seg_perception.offline.engine_pool import EnginePool
from seg_perception.offline.run import RunConfig, RunSummary, process
from seg_perception.offline.run_folder import RunFolder
from seg_perception.pipeline import PipelineConfig

WIDTH, HEIGHT = 96, 64
PERIOD_NS = 100_000_000
START_NS = 1_700_000_000_000_000_000
CAMERA = CameraModel(WIDTH, HEIGHT, 80.0, 80.0, 47.5, 31.5, 'plumb_bob', (0.0,) * 5)
MOUNTED = Pose.mounted(1.0, 0.0, 1.4, 0.0, 0.1, 0.0)
FRAME_ID = 'front_optical'
RUN_CONFIG = RunConfig(pipeline=PipelineConfig(GridConfig(resolution_m=0.5)))
SETTINGS = {'version': 'x', 'model': {'name': 'fake', 'precision': 'fp32', 'sha256': 'abc'}}


def picture(i: int) -> np.ndarray:
    """Frame i, RGB: sky-like `other` above, road below, a vehicle that moves right by two pixels a frame."""
    palette = DEFAULT_LABELS.palette()
    rgb = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    rgb[:24] = palette[5]
    rgb[24:] = palette[0]
    rgb[20:34, 10 + 2 * i : 24 + 2 * i] = palette[3]
    return rgb


def stamp(i: int) -> int:
    """Stamp of frame i."""
    return START_NS + i * PERIOD_NS


def bag_messages(
    count: int,
    *,
    camera: str = 'front',
    info: bool = True,
    tf: bool = True,
    odometry: bool = False,
    compressed: str = '',
) -> Iterator[TimedMessage]:
    """Messages of one camera; they were recorded 5 ms after their stamps."""
    if tf:
        yield messages.static_transform(START_NS - 1, 'base_link', FRAME_ID, MOUNTED)
    for i in range(count):
        found = []
        if odometry:
            found.append(messages.odometry(stamp(i) + PERIOD_NS // 2, 'odom', 'base_link', Pose((float(i), 0.0, 0.0))))
        if info:
            found.append(messages.camera_info(f'/{camera}/camera_info', stamp(i), FRAME_ID, CAMERA))
        if compressed:
            data = cv2.imencode(f'.{compressed}', picture(i)[:, :, ::-1])[1].reshape(-1)
            topic = f'/{camera}/image_raw/compressed'
            found.append(messages.compressed_image(topic, stamp(i), FRAME_ID, data, compressed))
        else:
            image: Image = from_array(picture(i), 'rgb8')
            found.append(messages.image(f'/{camera}/image_raw', stamp(i), FRAME_ID, image))
        yield from (m._replace(stamp_ns=m.stamp_ns + 5_000_000) for m in found)


WriteBag = Callable[..., Path]


@pytest.fixture
def write_bag(tmp_path: Path) -> WriteBag:
    """Write a bag and return its folder; takes the arguments of `bag_messages` and the name and storage of the bag."""

    def write(count: int, name: str = 'drive', storage: str = 'mcap', **options: object) -> Path:
        path = tmp_path / name
        with BagWriter(path, storage=storage, latched=('/tf_static',)) as bag:
            for message in bag_messages(count, **options):
                bag.write(message)
        return path

    return write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five PNG frames with their calibration and mounting beside them; the names count without leading zeros."""
    path = tmp_path / 'frames'
    path.mkdir()
    for i in range(5):
        cv2.imwrite(str(path / f'frame{i * 5}.png'), picture(i)[:, :, ::-1])
    (tmp_path / 'camera_info.yaml').write_text(
        'image_width: 96\nimage_height: 64\ndistortion_model: plumb_bob\n'
        'camera_matrix: {rows: 3, cols: 3, data: [80, 0, 47.5, 0, 80, 31.5, 0, 0, 1]}\n'
        'distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}\n'
        'extrinsics: [1.0, 0.0, 1.4, 0.0, 0.1, 0.0]\n'
    )
    return path


class Made(NamedTuple):
    """What the tests need to know of the made recordings."""

    camera: CameraModel = CAMERA
    mounted: Pose = MOUNTED
    frame_id: str = FRAME_ID
    period_ns: int = PERIOD_NS
    picture: Callable[[int], np.ndarray] = staticmethod(picture)
    stamp: Callable[[int], int] = staticmethod(stamp)
    messages: Callable[..., Iterator[TimedMessage]] = staticmethod(bag_messages)


@pytest.fixture
def made() -> Made:
    """The truth of the recordings."""
    return Made()


@pytest.fixture(scope='session')
def model(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Path:
    """A model file for the size of the made pictures."""
    return make_model(tmp_path_factory.mktemp('model') / 'by_colour.onnx', size=(HEIGHT, WIDTH))


class CountingEngine(FakeEngine):
    """Counts its runs; stops or fails after some."""

    def __init__(self, stop_after: int = 0, fail_after: int = 0) -> None:
        super().__init__()
        self.runs = 0
        self.stop = threading.Event()
        self._stop_after, self._fail_after = stop_after, fail_after

    def infer(self, n: int) -> Prediction:
        self.runs += 1
        if self.runs == self._stop_after:
            self.stop.set()
        if self._fail_after and self.runs > self._fail_after:
            raise EngineError('the device is gone')
        return super().infer(n)


@pytest.fixture(scope='session')
def counting_engine() -> type[CountingEngine]:
    """An engine that counts its runs, and stops or fails after some."""
    return CountingEngine


@pytest.fixture(scope='session')
def process_run() -> Callable[..., RunSummary]:
    """process_run(path, out, engine, config, settings, **options): a recording into out/run, on a coarse grid."""

    def run(
        path: Path,
        out: Path,
        *engines: Engine,
        config: RunConfig = RUN_CONFIG,
        settings: Any = SETTINGS,
        **options: Any,
    ) -> RunSummary:
        pool = EnginePool(engines or [CountingEngine()])
        stop = getattr(engines[0], 'stop', None) if engines else None
        recording = open_recording(str(path), RecordingOptions(all_topics=True))
        try:
            return process(recording, pool, RunFolder(out, 'run'), config, settings, stop=stop, **options)
        finally:
            recording.close()

    return run


@pytest.fixture(scope='session')
def read_back() -> Callable[[Path], list[tuple[str, str, int, bytes]]]:
    """read_back(folder): every message of the output bag by the mcap library: (topic, type, log time, bytes)."""

    def read(folder: Path) -> list[tuple[str, str, int, bytes]]:
        with (folder / 'bag' / 'bag.mcap').open('rb') as file:
            return [(c.topic, s.name, m.log_time, m.data) for s, c, m in make_reader(file).iter_messages() if s]

    return read
