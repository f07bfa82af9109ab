"""Folders of labelled images: finding, checking, mapping to the model's classes, decoding into memory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from seg_perception.errors import ConfigError, DataError
from seg_perception.io.recording import IMAGE_SUFFIXES
from seg_perception.labels import DEFAULT_LABELS, LabelMap
from seg_perception.scene import Drive
from seg_perception.training.config import DatasetConfig, read_yaml
from seg_perception.training.mapping import ClassMapping, dataset_ids, mapping_file, read_mapping


class Pair(NamedTuple):
    """One labelled image."""

    image: Path
    label: Path


class Targets(NamedTuple):
    """What an id of a mapped label image means; ids from `len(classes)` on are sets of classes."""

    sets: npt.NDArray[np.bool_]
    """[K, C]: row k lists the classes that satisfy id C + k."""


class Sample(NamedTuple):
    """One decoded frame."""

    image: npt.NDArray[np.uint8]
    """[H, W, 3] RGB."""
    target: npt.NDArray[np.uint8]
    """[H, W] class id, C + k for a set, or VOID."""
    source: npt.NDArray[np.uint16] | None = None
    """[H, W] index into `Loaded.sources`, the class in the data set's own words; None once augmented."""


def find_pairs(root: Path, layout: str) -> list[Pair]:
    """List the images of a data set, each with its label image, sorted by name.

    Layouts: 'folder' (images/ and labels/, same stem), 'cityscapes' (leftImg8bit/ and gtFine/), 'list' (pairs.txt,
    two paths a line).

    Raises:
        DataError: a folder is missing, there are no images, or an image has no label.
    """
    if layout == 'folder':
        pairs = [Pair(p, root / 'labels' / f'{p.stem}.png') for p in _images(root / 'images')]
    elif layout == 'cityscapes':
        pairs = [Pair(p, _cityscapes_label(root, p)) for p in _images(root / 'leftImg8bit')]
    elif layout == 'list':
        pairs = _read_list(root / 'pairs.txt')
    else:
        raise ConfigError(f"layout is {layout!r}; expected 'folder', 'cityscapes' or 'list'")
    for pair in pairs:
        if not pair.label.is_file():
            raise DataError(f'{pair.image}: no label image at {pair.label}; label it or move the image away')
    return pairs


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f'{folder}: no such folder; expected images there')
    found = sorted(p for p in folder.rglob('*') if p.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f'{folder}: no images; expected {", ".join(IMAGE_SUFFIXES)}')
    return found


def _cityscapes_label(root: Path, image: Path) -> Path:
    relative = image.relative_to(root / 'leftImg8bit')
    return root / 'gtFine' / relative.with_name(image.stem.replace('_leftImg8bit', '_gtFine_labelIds') + '.png')


def _read_list(path: Path) -> list[Pair]:
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except OSError as error:
        raise DataError(f'{path}: cannot read ({error.strerror}); write two paths a line, image and label') from error
    pairs = []
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if len(parts) not in (0, 2):
            raise DataError(f'{path}:{number}: {len(parts)} words; expected two paths, image and label')
        if parts:
            pairs.append(Pair(path.parent / parts[0], path.parent / parts[1]))
    return pairs


def choose(pairs: Sequence[Pair], config: DatasetConfig) -> tuple[list[Pair], list[Pair]]:
    """Split into training and selection images by the patterns of `config`.

    Raises:
        DataError: the patterns leave no training image, or `select` finds none.
    """
    kept = [p for p in pairs if re.search(config.match, p.image.stem)]
    if config.exclude:
        kept = [p for p in kept if not re.search(config.exclude, p.image.stem)]
    select = [p for p in kept if config.select and re.search(config.select, p.image.stem)]
    train = [p for p in kept if p not in set(select)][:: config.every]
    if not train:
        raise DataError(f'{config.root}: match {config.match!r} leaves no image of {len(pairs)} to train on')
    if config.select and not select:
        raise DataError(f'{config.root}: select {config.select!r} finds none of {len(kept)} images')
    return train, select


def read_label(pair: Pair, mapping: ClassMapping, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Read a label image of a data set's own ids, uint8 [H, W]; `shape` is that of its image.

    Raises:
        DataError: unreadable, not one 8-bit channel, of another size than the image, or with an unknown id.
    """
    raw = cv2.imread(str(pair.label), cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise DataError(f'{pair.label}: cannot be decoded; expected a PNG of class ids')
    if raw.ndim != 2 or raw.dtype != np.uint8:
        raise DataError(f'{pair.label}: {raw.dtype} {raw.shape}; expected one 8-bit channel of class ids')
    if raw.shape != shape:
        raise DataError(f'{pair.label}: {raw.shape[1]}x{raw.shape[0]}; its image is {shape[1]}x{shape[0]}')
    unknown = np.unique(raw)[~mapping.known[np.unique(raw)]]
    if len(unknown):
        raise DataError(f'{pair.label}: ids {unknown.tolist()} are not in the class table; add them or correct it')
    return np.asarray(raw, np.uint8)


def read_sample(pair: Pair, mapping: ClassMapping, source_lut: npt.NDArray[np.uint16]) -> Sample:
    """Decode an image and its mapped label.

    Args:
        source_lut: [256] from the data set's ids to `Loaded.sources`.

    Raises:
        DataError: see `read_label`; also an image that cannot be decoded.
    """
    image = cv2.imread(str(pair.image), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(f'{pair.image}: cannot be decoded; expected {", ".join(IMAGE_SUFFIXES)}')
    raw = read_label(pair, mapping, (image.shape[0], image.shape[1]))
    return Sample(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), mapping.lut[raw], source_lut[raw])


def _source_lut(ids: Mapping[str, int], sources: list[str]) -> npt.NDArray[np.uint16]:
    """Return [256] from the ids of a data set to places in `sources`, where its new names are appended."""
    sources.extend(name for name in ids if name not in sources)
    lut = np.zeros(256, np.uint16)
    for name, value in ids.items():
        lut[value] = sources.index(name)
    return lut


def scene_samples(path: Path, labels: LabelMap) -> list[Sample]:
    """Render frames of synthetic drives: `frames` of each seed from `first_seed` up to, not including, `end_seed`.

    Raises:
        ConfigError: a key is missing, or the model has other classes than the scenes.
    """
    data = read_yaml(path)
    if labels != DEFAULT_LABELS:
        raise ConfigError(f'{path}: synthetic scenes have the default classes; the model has others: leave them out')
    try:
        seeds, count = range(int(data['first_seed']), int(data['end_seed'])), int(data['frames'])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f'{path}: {error!r}; expected numbers first_seed, end_seed and frames') from error
    samples: list[Sample] = []
    for seed in seeds:
        drive = Drive(seed)
        for index in np.linspace(0, len(drive) - 1, count).astype(int):
            samples.extend(Sample(view.image, view.labels) for view in drive.frame(int(index)).cameras.values())
    return samples


class Loaded(NamedTuple):
    """All data of a run, decoded."""

    train: list[Sample]
    select: list[Sample]
    targets: Targets
    sources: list[str]
    """Names of the data sets' own classes; equal names of two data sets are one class."""


def load(configs: Sequence[DatasetConfig], data: Path, folder: Path, labels: LabelMap) -> Loaded:
    """Decode every data set of a run into memory, checking each file on the way.

    Args:
        data: folder that the data sets' `root` is relative to.
        folder: folder of the training YAML or of the checkpoint, where `mapping_file` looks first.

    Raises:
        ConfigError, DataError: see `mapping_file`, `read_mapping`, `find_pairs`, `choose` and `read_sample`.
    """
    train: list[Sample] = []
    select: list[Sample] = []
    sets: list[tuple[int, ...]] = []
    sources: list[str] = []
    for config in configs:
        root = data / config.root
        path = mapping_file(folder, config.mapping)
        layout = str(read_yaml(path).get('layout', 'folder'))
        if layout == 'scene':
            lut = _source_lut({c.name: c.id for c in labels.classes}, sources)
            train.extend(s._replace(source=lut[s.target]) for s in scene_samples(path, labels)[:: config.every])
            continue
        ids = dataset_ids(root, layout)
        mapping = read_mapping(path, ids, labels, sets)
        lut = _source_lut(ids, sources)
        for pairs, samples in zip(choose(find_pairs(root, layout), config), (train, select), strict=True):
            samples.extend(read_sample(pair, mapping, lut) for pair in pairs)
    if not select:
        raise DataError('no data set has a selection split; give `select`, a pattern of names, to one of them')
    table = np.zeros((len(sets), len(labels)), np.bool_)
    for row, members in zip(table, sets, strict=True):
        row[list(members)] = True
    return Loaded(train, select, Targets(table), sources)
