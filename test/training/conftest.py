"""A tiny street to train on: sky, road, a bright line and a box, drawn by the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

CLASSES = 'id,name,role\n0,Sky,other\n1,Road,road\n2,Line,lane\n3,Box,obstacle\n4,Nothing,void\n'
MAPPING = {
    'layout': 'folder',
    'classes': {'other': ['Sky'], 'road': ['Road'], 'lane_marking': ['Line'], 'vehicle': ['Box']},
    'ignore': ['Nothing'],
}
SIZE = (72, 96)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a BGR image and its label ids."""
    rng = np.random.default_rng(seed)
    h, w = SIZE
    horizon = int(rng.integers(h // 3, h // 2))
    image = np.full((h, w, 3), (200, 160, 120), np.uint8)
    label = np.zeros((h, w), np.uint8)
    image[horizon:], label[horizon:] = (70, 70, 70), 1
    x = int(rng.integers(10, w - 40))
    image[horizon:, x : x + 5], label[horizon:, x : x + 5] = (240, 240, 240), 2
    bx, by = int(rng.integers(0, w - 24)), horizon - 4
    cv2.rectangle(image, (bx, by), (bx + 20, by + 16), (30, 30, 200), -1)
    cv2.rectangle(label, (bx, by), (bx + 20, by + 16), 3, -1)
    label[:2] = 4
    noise = rng.integers(-8, 9, image.shape)
    return np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8), label


def write_dataset(root: Path, names: list[str]) -> None:
    """Write images/, labels/ and classes.csv with one drawn frame per name."""
    for folder in ('images', 'labels'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / 'classes.csv').write_text(CLASSES, encoding='utf-8')
    for seed, name in enumerate(names):
        image, label = draw(seed)
        cv2.imwrite(str(root / 'images' / f'{name}.png'), image)
        cv2.imwrite(str(root / 'labels' / f'{name}.png'), label)


def write_run(folder: Path, **changes: object) -> Path:
    """Write a data set and a training YAML for a run of seconds; return the YAML's path."""
    write_dataset(folder / 'street', [f'a_{i}' for i in range(6)] + [f'b_{i}' for i in range(2)])
    (folder / 'street.yaml').write_text(yaml.safe_dump(MAPPING), encoding='utf-8')
    config: dict[str, object] = {
        'datasets': [{'root': 'street', 'mapping': 'street.yaml', 'select': '^b_'}],
        'network': {'width': 0.25},
        'input_height': 64,
        'input_width': 96,
        'crop_height': 64,
        'crop_width': 64,
        'batch': 4,
        'steps': 6,
        'epoch_steps': 3,
        'warmup_steps': 2,
        'rate': 0.003,
        'backbone_rate': 1.0,
    }
    path = folder / 'run.yaml'
    path.write_text(yaml.safe_dump(config | changes), encoding='utf-8')
    return path


@pytest.fixture
def street_frame() -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Seed -> BGR image and its label ids."""
    return draw


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """A folder with the data set street/ (three frames to train, one to select) and its mapping street.yaml."""
    write_dataset(tmp_path / 'street', ['a_0', 'a_1', 'a_2', 'b_0'])
    (tmp_path / 'street.yaml').write_text(yaml.safe_dump(MAPPING), encoding='utf-8')
    return tmp_path


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., Path]:
    """Changed training values -> path of a training YAML with its data beside it."""
    return lambda **changes: write_run(tmp_path, **changes)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small lose more to waiting for each other's threads than they gain."""
    torch = pytest.importorskip('torch', reason='training needs PyTorch')
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
