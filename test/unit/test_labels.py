from pathlib import Path

import numpy as np
import pytest

from seg_perception.errors import ModelError
from seg_perception.labels import DEFAULT_LABELS, VOID, LabelMap, Role, read_class_table


def test_masks_come_from_roles_and_void_is_in_none() -> None:
    labels = np.array([0, 1, 2, 3, 4, 5, VOID], np.uint8)
    assert DEFAULT_LABELS.mask_lut(Role.ROAD)[labels].tolist() == [255, 0, 0, 0, 0, 0, 0]
    assert DEFAULT_LABELS.mask_lut(Role.OBSTACLE)[labels].tolist() == [0, 0, 0, 255, 255, 0, 0]
    assert DEFAULT_LABELS.drivable_lut()[labels].tolist() == [True, True, False, False, False, False, False]
    assert DEFAULT_LABELS.ground_lut()[labels].tolist() == [True, True, True, False, False, False, False]
    assert DEFAULT_LABELS.palette()[[0, VOID]].tolist() == [[128, 64, 128], [0, 0, 0]]


def test_classes_survive_the_metadata_form() -> None:
    assert LabelMap.from_dicts(DEFAULT_LABELS.to_dicts()) == DEFAULT_LABELS


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'role': 'tree'}, 'role'),
        ({'id': 7}, 'ids are'),
        ({'id': 255}, '0..254'),
        ({'color': [0, 0, 300]}, 'colour'),
        ({'name': 'road'}, 'unique'),
    ],
)
def test_an_unusable_class_is_named(change: dict[str, object], said: str) -> None:
    entries = DEFAULT_LABELS.to_dicts()
    entries[5].update(change)
    with pytest.raises(ModelError, match=said):
        LabelMap.from_dicts(entries)


def test_a_missing_key_is_named() -> None:
    entries = DEFAULT_LABELS.to_dicts()
    del entries[2]['ground']
    with pytest.raises(ModelError, match='ground'):
        LabelMap.from_dicts(entries)


def test_class_table_needs_roles(tmp_path: Path) -> None:
    table = tmp_path / 'classes.csv'
    table.write_text('id,name\n0,road\n')
    with pytest.raises(ModelError, match=r"classes\.csv.*\['role'\]"):
        read_class_table(table)
    table.write_text('id,name,role\n0,road,road\n')
    assert read_class_table(table) == [{'id': '0', 'name': 'road', 'role': 'road'}]
    with pytest.raises(ModelError, match=r'none\.csv'):
        read_class_table(tmp_path / 'none.csv')


def test_a_class_table_as_spreadsheets_write_it(tmp_path: Path) -> None:
    table = tmp_path / 'classes.csv'
    table.write_bytes('\ufeffid, name, role\r\n0, road, road\r\n'.encode())
    assert read_class_table(table) == [{'id': '0', 'name': 'road', 'role': 'road'}]


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (b'id,name,role\n0,road,road\n0,car,obstacle\n', 'id 0 is there more than once'),
        (b'id,name,role\n0,road,road\n1,road,obstacle\n', 'name road is there more than once'),
        (b'id,name,role\nx,road,road\n', "class 'road' has no number as its id"),
        (b'\x89PNG\xff\xfe', 'cannot read the class table'),
    ],
)
def test_a_class_table_that_means_two_things_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    table = tmp_path / 'classes.csv'
    table.write_bytes(content)
    with pytest.raises(ModelError, match=said):
        read_class_table(table)
