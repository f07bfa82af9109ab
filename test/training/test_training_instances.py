"""Things copied between frames, and the sampling of what is seldom."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip('torch', reason='training needs PyTorch')

from seg_perception.labels import DEFAULT_LABELS
from seg_perception.training.augment import photometric
from seg_perception.training.config import AugmentConfig, DatasetConfig, TrainConfig
from seg_perception.training.datasets import Sample, load
from seg_perception.training.instances import find_instances, paste_instances
from seg_perception.training.stream import CropDataset

OTHER, ROAD, VEHICLE = 5, 0, 3
GROUND = DEFAULT_LABELS.ground_lut()
HORIZON = 60


def frame(*boxes: tuple[int, int, int, int]) -> Sample:
    """A road under a sky with red boxes x0, y0, x1, y1 (exclusive) of source class 7 on it."""
    target = np.full((160, 200), OTHER, np.uint8)
    target[HORIZON:] = ROAD
    image = np.full((160, 200, 3), 90, np.uint8)
    source = np.zeros((160, 200), np.uint16)
    for x0, y0, x1, y1 in boxes:
        box = (slice(y0, y1), slice(x0, x1))
        image[box], target[box], source[box] = (200, 20, 20), VEHICLE, 7
    return Sample(image, target, source)


def test_only_whole_things_that_stand_on_ground_are_copied() -> None:
    standing = (40, 70, 70, 110)
    cut_off, flying = (0, 70, 30, 110), (150, 5, 190, 40)
    groups = find_instances([frame(standing, cut_off, flying)], DEFAULT_LABELS, GROUND)
    assert [len(group) for group in groups] == [1]
    (instance,) = groups[0]
    assert instance.image.shape == (40, 30, 3)
    assert (instance.mask == 255).all()
    assert instance.target == VEHICLE
    assert instance.drop == pytest.approx((110 - HORIZON) / 160)


def test_a_pasted_thing_stands_on_the_ground_at_a_size_that_fits() -> None:
    groups = find_instances([frame((40, 70, 70, 110))], DEFAULT_LABELS, GROUND)
    empty = frame()
    seen = 0
    for seed in range(60):
        result, middle = paste_instances(empty, groups, GROUND, np.random.default_rng(seed))
        pasted = (result.target == VEHICLE).astype(np.uint8)
        np.testing.assert_array_equal(result.image[cv2.dilate(pasted, np.ones((9, 9))) == 0], 90)
        count, _, stats, _ = cv2.connectedComponentsWithStats(pasted)
        x, y, w, h, area = stats[1]
        whole = x > 0 and x + w < 200 and area == w * h and y > 0
        if count == 2 and whole:
            seen += 1
            assert result.image[y + h // 2, x + w // 2, 0] > 120
            # 40 px high at 50 px under the horizon; the scale varies by exp(0.2).
            assert h == pytest.approx(40 / 50 * (y + h - HORIZON), rel=0.3)
            assert middle is not None
    assert seen > 5
    assert (empty.target != VEHICLE).all()


def test_without_ground_nothing_is_pasted() -> None:
    groups = find_instances([frame((40, 70, 70, 110))], DEFAULT_LABELS, GROUND)
    sky = frame()._replace(target=np.full((160, 200), OTHER, np.uint8))
    assert paste_instances(sky, groups, GROUND, np.random.default_rng(0)) == (sky, None)


def write_seldom(folder: Path) -> TrainConfig:
    """Nine frames with a car on the left, one with a lorry on the right; both are vehicles."""
    for kind in ('images', 'labels'):
        (folder / 'street' / kind).mkdir(parents=True)
    table = 'id,name,role\n0,Sky,other\n1,Road,road\n2,Car,obstacle\n3,Lorry,obstacle\n'
    (folder / 'street' / 'classes.csv').write_text(table, encoding='utf-8')
    for index in range(10):
        label = np.zeros((96, 192), np.uint8)
        label[32:] = 1
        if index == 8:
            label[40:64, 160:176] = 3
        else:
            label[40:64, 16:32] = 2
        cv2.imwrite(str(folder / 'street' / 'images' / f'{index}.png'), np.repeat(label[..., None] * 60, 3, 2))
        cv2.imwrite(str(folder / 'street' / 'labels' / f'{index}.png'), label)
    mapping = {'classes': {'other': ['Sky'], 'road': ['Road'], 'vehicle': ['Car', 'Lorry']}}
    (folder / 'street.yaml').write_text(yaml.safe_dump(mapping), encoding='utf-8')
    data = DatasetConfig('street', 'street.yaml', select='9')
    plain = AugmentConfig(1, 1, 1, *[0.0] * 10)
    return TrainConfig((data,), augment=plain, input_height=96, input_width=192, crop_height=32, crop_width=32, rare=1)


@pytest.mark.parametrize(('rare_by', 'least', 'most'), [('source', 0.16, 0.36), ('class', 0.04, 0.2)])
def test_a_seldom_kind_of_vehicle_is_centred_on_more_often(
    tmp_path: Path, rare_by: str, least: float, most: float
) -> None:
    config = replace(write_seldom(tmp_path), rare_by=rare_by)
    stream = CropDataset(config, load(config.datasets, tmp_path, tmp_path, config.classes))
    # A lorry's pixels are 180 in the images, a car's 120.
    lorries = np.mean([bool((stream[k][0] == 180).any()) for k in range(200)])
    assert least < lorries < most


def test_dusk_takes_light_from_the_ground_first() -> None:
    config = AugmentConfig(color=0, dark=1, shadow=0, blur=0, noise=0, jpeg=0)
    gray = np.full((60, 80, 3), 150, np.uint8)
    results = [photometric(gray, config, np.random.default_rng(seed)) for seed in range(40)]
    change = np.array([float(r[-1].mean()) - float(r[0].mean()) for r in results])
    assert 0.2 < (change < -5).mean() < 0.8
    assert (change < 5).mean() > 0.8
