"""Data sets, their class mappings, and what is wrong with them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from seg_perception.errors import ConfigError, DataError, ModelError, SegPerceptionError
from seg_perception.labels import DEFAULT_LABELS, VOID
from seg_perception.training.augment import FOREIGN, cover_with_hood, crop, paste_foreign, photometric
from seg_perception.training.config import (
    AugmentConfig,
    DatasetConfig,
    change_values,
    parse_train_config,
    read_yaml,
)
from seg_perception.training.datasets import Sample, find_pairs, load

STREET = DatasetConfig('street', 'street.yaml', select='^b_')
Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]


def load_street(folder: Path, config: DatasetConfig = STREET) -> object:
    return load([config], folder, folder, DEFAULT_LABELS)


def test_split_and_mapping(street: Path, street_frame: Draw) -> None:
    loaded = load([STREET], street, street, DEFAULT_LABELS)
    assert (len(loaded.train), len(loaded.select)) == (3, 1)
    raw = street_frame(3)[1]
    expected = np.array([5, 0, 1, 3, VOID], np.uint8)[raw]
    np.testing.assert_array_equal(loaded.select[0].target, expected)


def test_ambiguous_class_becomes_a_set(street: Path) -> None:
    mapping = {'classes': {'road|lane_marking': ['Road', 'Line'], 'other': ['Sky', 'Box']}, 'ignore': ['Nothing']}
    (street / 'street.yaml').write_text(yaml.safe_dump(mapping), encoding='utf-8')
    loaded = load([STREET], street, street, DEFAULT_LABELS)
    assert loaded.targets.sets.tolist() == [[True, True, False, False, False, False]]
    assert set(np.unique(loaded.train[0].target)) == {5, 6, VOID}


def test_a_mapping_is_one_of_the_folder_or_a_shipped_one(street: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    with pytest.raises(ConfigError, match=r'elsewhere/street.yaml: no such mapping, and none of this name is shipped'):
        load([STREET], street, elsewhere, DEFAULT_LABELS)
    (street / 'street' / 'classes.csv').write_text(
        'id,name,role\n0,Sky,other\n1,Road,road\n2,Sidewalk,other\n3,Car,obstacle\n4,Void,void\n', encoding='utf-8'
    )
    shipped = DatasetConfig('street', 'camvid_no_lanes.yaml', select='^b_')
    with pytest.raises(ConfigError, match=r"camvid_no_lanes.yaml: class 'Pedestrian' is not in the data set"):
        load([shipped], street, elsewhere, DEFAULT_LABELS)


def break_unknown_id(root: Path) -> None:
    label = np.zeros((72, 96), np.uint8)
    label[10, 10] = 77
    cv2.imwrite(str(root / 'street' / 'labels' / 'a_0.png'), label)


def break_missing_label(root: Path) -> None:
    (root / 'street' / 'labels' / 'a_1.png').unlink()


def break_size(root: Path) -> None:
    cv2.imwrite(str(root / 'street' / 'labels' / 'a_0.png'), np.zeros((10, 12), np.uint8))


def break_color_label(root: Path) -> None:
    cv2.imwrite(str(root / 'street' / 'labels' / 'a_0.png'), np.zeros((72, 96, 3), np.uint8))


def break_image(root: Path) -> None:
    (root / 'street' / 'images' / 'a_0.png').write_bytes(b'no image')


def break_roles(root: Path) -> None:
    (root / 'street' / 'classes.csv').write_text('id,name\n0,Sky\n', encoding='utf-8')


def break_no_images(root: Path) -> None:
    for path in (root / 'street' / 'images').iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ('damage', 'kind', 'words'),
    [
        (break_unknown_id, DataError, r'labels/a_0.png: ids \[77\] are not in the class table'),
        (break_missing_label, DataError, r'a_1.png: no label image at .*labels/a_1.png'),
        (break_size, DataError, r'labels/a_0.png: 12x10; its image is 96x72'),
        (break_color_label, DataError, r'labels/a_0.png: uint8 \(72, 96, 3\); expected one 8-bit channel'),
        (break_image, DataError, r'images/a_0.png: cannot be decoded'),
        (break_roles, ModelError, r"classes.csv: the class table lacks \['role'\]"),
        (break_no_images, DataError, r'images: no images'),
    ],
)
def test_bad_files_are_named(street: Path, damage: object, kind: type[SegPerceptionError], words: str) -> None:
    damage(street)  # type: ignore[operator]
    with pytest.raises(kind, match=words):
        load_street(street)


@pytest.mark.parametrize(
    ('config', 'words'),
    [
        (DatasetConfig('street', 'street.yaml', match='zzz'), "match 'zzz' leaves no image of 4"),
        (DatasetConfig('street', 'street.yaml', select='zzz'), "select 'zzz' finds none of 4"),
        (DatasetConfig('street', 'street.yaml'), 'no data set has a selection split'),
    ],
)
def test_empty_splits_are_refused(street: Path, config: DatasetConfig, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_street(street, config)


@pytest.mark.parametrize(
    ('classes', 'words'),
    [
        ({'road': ['Road', 'Street']}, "class 'Street' is not in the data set"),
        ({'roads': ['Road']}, "class 'roads' is not one of the model"),
        (
            {'road': ['Road'], 'other': ['Road', 'Sky', 'Line', 'Box']},
            "class 'Road' is mapped to 'other' and to 'road'",
        ),
        ({'road': ['Road']}, r"classes \['Box', 'Line', 'Sky'\] of the data set are not mapped"),
    ],
)
def test_bad_mappings_are_refused(street: Path, classes: dict[str, list[str]], words: str) -> None:
    mapping = {'classes': classes, 'ignore': ['Nothing']}
    (street / 'street.yaml').write_text(yaml.safe_dump(mapping), encoding='utf-8')
    with pytest.raises(ConfigError, match=words):
        load_street(street)


def test_cityscapes_layout_and_list(tmp_path: Path) -> None:
    image = tmp_path / 'leftImg8bit' / 'train' / 'ulm' / 'ulm_000000_000019_leftImg8bit.png'
    label = tmp_path / 'gtFine' / 'train' / 'ulm' / 'ulm_000000_000019_gtFine_labelIds.png'
    for path in (image, label):
        path.parent.mkdir(parents=True)
        path.write_bytes(b'')
    assert find_pairs(tmp_path, 'cityscapes') == [(image, label)]
    (tmp_path / 'pairs.txt').write_text(f'{image} {label}\n', encoding='utf-8')
    assert find_pairs(tmp_path, 'list') == [(image, label)]
    (tmp_path / 'pairs.txt').write_text(f'{image}\n', encoding='utf-8')
    with pytest.raises(DataError, match=r'pairs.txt:1: 1 words; expected two paths'):
        find_pairs(tmp_path, 'list')


def test_crop_keeps_labels_on_their_pixels(street_frame: Draw) -> None:
    image, label = street_frame(1)
    config = AugmentConfig(scale_min=1, scale_max=1, aspect=1, flip=1)
    result = crop(Sample(image, label), config, (72, 96), (72, 96), None, np.random.default_rng(0))
    np.testing.assert_array_equal(result.target, label[:, ::-1])
    np.testing.assert_array_equal(result.image, image[:, ::-1])


def test_outside_of_the_frame_is_void(street_frame: Draw) -> None:
    image, label = street_frame(1)
    config = AugmentConfig(scale_min=0.5, scale_max=0.5, aspect=1, flip=0)
    result = crop(Sample(image, label), config, (72, 96), (72, 96), None, np.random.default_rng(0))
    assert (result.target[:17] == VOID).all()
    assert (result.image[:17] == 0).all()
    assert set(np.unique(result.target[20:50, 26:70])) <= {0, 1, 2, 3, 4}


def test_foreign_objects_lie_on_ground_and_change_the_image_there(street_frame: Draw) -> None:
    image, label = street_frame(2)
    ground = np.zeros(256, np.bool_)
    ground[[1, 2]] = True
    result = paste_foreign(Sample(image, label), image[::-1], ground, np.random.default_rng(5))
    pasted = result.target == FOREIGN
    assert pasted.any()
    np.testing.assert_array_equal(result.target[~pasted], label[~pasted])
    assert (result.image[pasted] != image[pasted]).any()
    sky = Sample(image, np.zeros_like(label))
    assert paste_foreign(sky, image, ground, np.random.default_rng(5)) is sky


def test_photometric_repeats_with_its_seed_and_differs_with_another(street_frame: Draw) -> None:
    image, _ = street_frame(3)
    config = AugmentConfig(color=1, dark=1, shadow=1, blur=1, noise=1, jpeg=1)
    first, again, other = (photometric(image, config, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.shape == image.shape
    assert first.dtype == np.uint8


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'stepz': 5}, r"unknown keys \['stepz'\]"),
        ({'input_height': 100}, 'input_height is 100; expected a positive multiple of 32'),
        ({'loss': {'hard_fraction': 0}}, r'hard_fraction is 0; expected \(0, 1\]'),
        ({'loss': {'class_weights': [1, 2]}}, r'class_weights is .*; expected 6 numbers'),
        ({'augment': {'flip': 2}}, 'augment.flip is 2; expected 0..1'),
        ({'augment': 3}, 'augment is 3; expected a mapping'),
        ({'seed': 'x'}, "seed is 'x'; expected a whole number"),
        ({'datasets': [{'root': 'x', 'mapping': 'x', 'match': '('}]}, r"match is '\('; expected a regular expression"),
        ({'workers': 0}, 'workers is 0; expected at least 1'),
        ({'rate': 'fast'}, "could not convert string to float: 'fast'"),
        ({'datasets': []}, 'datasets is .*; expected at least one'),
        ({'datasets': [{'root': 'x'}]}, 'mapping'),
    ],
)
def test_bad_training_values_are_named(change: dict[str, object], words: str) -> None:
    base: dict[str, object] = {'datasets': [{'root': 'street', 'mapping': 'street.yaml'}]}
    with pytest.raises(ConfigError, match=words):
        parse_train_config(base | change, 'run.yaml')


def test_a_rate_without_a_point_is_a_number() -> None:
    changed = change_values({'datasets': [{'root': 'x', 'mapping': 'x.yaml'}]}, ['rate=8e-4', 'augment.flip=1e-1'])
    config = parse_train_config(changed, 'run.yaml')
    assert (config.rate, config.augment.flip) == (8e-4, 0.1)


def test_yaml_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'none.yaml: cannot read'):
        read_yaml(tmp_path / 'none.yaml')
    (tmp_path / 'film.yaml').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ConfigError, match=r'film.yaml: cannot read'):
        read_yaml(tmp_path / 'film.yaml')
    (tmp_path / 'bad.yaml').write_text('a: [1', encoding='utf-8')
    with pytest.raises(ConfigError, match=r'bad.yaml: not YAML'):
        read_yaml(tmp_path / 'bad.yaml')


def test_shipped_configurations_parse() -> None:
    folder = Path(__file__).parents[2] / 'config' / 'training'
    runs = [p for p in folder.glob('*.yaml') if 'datasets' in read_yaml(p)]
    assert runs
    for path in runs:
        config = parse_train_config(read_yaml(path), str(path))
        for entry in config.datasets:
            assert (folder / entry.mapping).is_file()


def test_values_can_be_changed_on_the_command_line() -> None:
    changed = change_values({'steps': 5, 'loss': {'dice': 1}}, ['steps=7', 'loss.dice=0.5', 'network.name=unet'])
    assert changed == {'steps': 7, 'loss': {'dice': 0.5}, 'network': {'name': 'unet'}}
    with pytest.raises(ConfigError, match="'steps' is not a change; expected KEY=VALUE"):
        change_values({}, ['steps'])
    with pytest.raises(ConfigError, match='steps is not a section; it is 5'):
        change_values({'steps': 5}, ['steps.x=7'])


def test_the_hood_is_void_and_leaves_the_rest_alone(street_frame: Draw) -> None:
    image, label = street_frame(4)
    covered = cover_with_hood(Sample(image, np.zeros_like(label)), np.random.default_rng(1))
    hood = covered.target == VOID
    assert 0 < hood.mean() < 0.3
    assert not hood[:48].any()
    np.testing.assert_array_equal(covered.image[~hood], image[~hood])
