"""How a data set's classes relate to the model's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seg_perception.errors import ConfigError
from seg_perception.labels import VOID, LabelMap, read_class_table
from seg_perception.paths import share_file
from seg_perception.training.config import read_yaml

CITYSCAPES_IDS = [
    'unlabeled',
    'ego vehicle',
    'rectification border',
    'out of roi',
    'static',
    'dynamic',
    'ground',
    'road',
    'sidewalk',
    'parking',
    'rail track',
    'building',
    'wall',
    'fence',
    'guard rail',
    'bridge',
    'tunnel',
    'pole',
    'polegroup',
    'traffic light',
    'traffic sign',
    'vegetation',
    'terrain',
    'sky',
    'person',
    'rider',
    'car',
    'truck',
    'bus',
    'caravan',
    'trailer',
    'train',
    'motorcycle',
    'bicycle',
]
"""Names of ids 0..33 of gtFine labelIds (cityscapesScripts, labels.py)."""


SHIPPED = 'config/training'
"""Folder of the mappings that ship with the package."""


class ClassMapping(NamedTuple):
    """From the ids in a data set's label images to what the network learns."""

    lut: npt.NDArray[np.uint8]
    """[256] from the data set's ids to target ids."""
    known: npt.NDArray[np.bool_]
    """[256] ids that the class table has."""


def mapping_file(folder: Path, name: str) -> Path:
    """Return where the mapping is that a training YAML calls `name`.

    Relative to `folder`, that of the YAML; or in `folder` itself, as a run keeps its mappings; or among the shipped ones.

    Raises:
        ConfigError: it is in none of them.
    """
    for path in (folder / name, folder / Path(name).name):
        if path.is_file():
            return path
    try:
        return share_file(f'{SHIPPED}/{name}')
    except ConfigError as error:
        raise ConfigError(
            f'{folder / name}: no such mapping, and none of this name is shipped; put it there, or name it by its whole path'
        ) from error


def read_mapping(path: Path, ids: Mapping[str, int], labels: LabelMap, sets: list[tuple[int, ...]]) -> ClassMapping:
    """Read a class mapping; new sets of classes are appended to `sets`.

    Args:
        ids: the data set's classes, name to id.

    Raises:
        ConfigError: a class name is not in the model or the data set, or a data-set class is mapped twice or not at all.
    """
    data = read_yaml(path)
    lut, known = np.full(256, VOID, np.uint8), np.zeros(256, np.bool_)
    known[list(ids.values())] = True
    seen: dict[str, str] = {}
    for target, names in [*_entries(data, path), ('', data.get('ignore') or [])]:
        value = VOID if target == '' else _target_id(target, labels, sets, path)
        for name in names:
            if name not in ids:
                raise ConfigError(f'{path}: class {name!r} is not in the data set; it has {sorted(ids)}')
            if name in seen:
                raise ConfigError(f'{path}: class {name!r} is mapped to {seen[name]!r} and to {target!r}; keep one')
            seen[name] = target
            lut[ids[name]] = value
    missing = sorted(set(ids) - set(seen))
    if missing:
        raise ConfigError(
            f'{path}: classes {missing} of the data set are not mapped; map them or put them under ignore'
        )
    return ClassMapping(lut, known)


def _entries(data: Mapping[str, Any], path: Path) -> list[tuple[str, list[str]]]:
    classes = data.get('classes')
    if not isinstance(classes, dict) or not all(isinstance(names, list) for names in classes.values()):
        raise ConfigError(f'{path}: classes is {classes!r}; expected model class -> list of data-set classes')
    return list(classes.items())


def _target_id(target: str, labels: LabelMap, sets: list[tuple[int, ...]], path: Path) -> int:
    ids = {c.name: c.id for c in labels.classes}
    names = target.split('|')
    for name in names:
        if name not in ids:
            raise ConfigError(f'{path}: class {name!r} is not one of the model: {list(ids)}')
    if len(names) == 1:
        return ids[names[0]]
    members = tuple(sorted(ids[name] for name in names))
    if members not in sets:
        sets.append(members)
    return len(labels) + sets.index(members)


def dataset_ids(root: Path, layout: str) -> dict[str, int]:
    """Return the data set's classes, name to id.

    Raises:
        ModelError: its `classes.csv` cannot be used.
    """
    if layout == 'cityscapes':
        return {name: index for index, name in enumerate(CITYSCAPES_IDS)}
    return {row['name']: int(row['id']) for row in read_class_table(root / 'classes.csv')}
