"""The endless stream of training crops: crop k depends on the seed and on k alone, so a run can resume anywhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seg_perception.labels import VOID
from seg_perception.training.augment import cover_with_hood, crop, paste_foreign, photometric
from seg_perception.training.config import TrainConfig
from seg_perception.training.datasets import Loaded, Sample
from seg_perception.training.instances import find_instances, paste_instances

RARE_SHARE = 0.08
"""A class under this share of the pixels is rare."""
AHEAD = 24
"""Crops prepared in advance."""


class _Places(NamedTuple):
    """Where one class is: per sample that has it, the sample's index and some of its pixels."""

    samples: list[int]
    pixels: list[npt.NDArray[np.int32]]
    """Per sample [K, 2] x, y."""


class CropDataset:
    """Crop k of the stream: image uint8 [3, h, w] and target int64 [h, w]."""

    def __init__(self, config: TrainConfig, data: Loaded) -> None:
        self._config = config
        self._samples = data.train
        self._rare = _rare_places(data.train, config)
        self._ground = _ground_targets(config, data)
        self._instances = find_instances(data.train, config.classes, self._ground) if config.augment.paste > 0 else []

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        config = self._config
        rng = np.random.default_rng([config.seed, k])
        index, center = self._choose(k, rng)
        size = (config.crop_height, config.crop_width)
        sample = self._samples[index]
        if self._instances and rng.random() < config.augment.paste:
            sample, pasted = paste_instances(sample, self._instances, self._ground, rng)
            center = pasted or center
        sample = crop(sample, config.augment, (config.input_height, config.input_width), size, center, rng)
        if rng.random() < config.augment.foreign:
            other = self._samples[int(rng.integers(len(self._samples)))].image
            sample = paste_foreign(sample, other, self._ground, rng)
        if rng.random() < config.augment.hood:
            sample = cover_with_hood(sample, rng)
        image = photometric(sample.image, config.augment, rng)
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), torch.from_numpy(sample.target.astype(np.int64))

    def _choose(self, k: int, rng: np.random.Generator) -> tuple[int, tuple[float, float] | None]:
        """Take frames in shuffled rounds, or one that has a rare class, around a pixel of it."""
        if self._rare and rng.random() < self._config.rare:
            group = self._rare[int(rng.integers(len(self._rare)))]
            # By the square root of the frames that show it: what is seldom comes often, but not always from one frame.
            weights = np.sqrt([len(places.samples) for places in group])
            places = group[int(rng.choice(len(group), p=weights / weights.sum()))]
            pick = int(rng.integers(len(places.samples)))
            x, y = places.pixels[pick][int(rng.integers(len(places.pixels[pick])))]
            return places.samples[pick], (float(x), float(y))
        count = len(self._samples)
        order = np.random.default_rng([self._config.seed, k // count, 1]).permutation(count)
        return int(order[k % count]), None


def _rare_places(samples: list[Sample], config: TrainConfig) -> list[list[_Places]]:
    """Return for each rare class of the model the places of each of the data sets' classes that make it up."""
    count = len(config.classes)
    counts = sum(np.bincount(s.target[::4, ::4].ravel(), minlength=256)[:count] for s in samples)
    rare = np.nonzero((counts > 0) & (counts < RARE_SHARE * np.sum(counts)))[0]
    rng = np.random.default_rng(0)
    groups = []
    for class_id in rare:
        found: dict[int, _Places] = {}
        for index, sample in enumerate(samples):
            y, x = np.nonzero(sample.target[::2, ::2] == class_id)
            by_source = config.rare_by == 'source' and sample.source is not None
            sources = np.asarray(sample.source)[::2, ::2][y, x] if by_source else np.zeros(len(x), np.uint16)
            for source in np.unique(sources):
                here = np.nonzero(sources == source)[0]
                keep = rng.permutation(here)[:200]
                places = found.setdefault(int(source), _Places([], []))
                places.samples.append(index)
                places.pixels.append(np.stack([x[keep], y[keep]], 1).astype(np.int32) * 2)
        if found:
            groups.append(list(found.values()))
    return groups


def _ground_targets(config: TrainConfig, data: Loaded) -> npt.NDArray[np.bool_]:
    """Return bool [256]: target ids, sets included, that can only be ground."""
    ground = config.classes.ground_lut()
    count = len(config.classes)
    for k, members in enumerate(data.targets.sets):
        ground[count + k] = bool(ground[:count][members].all())
    ground[VOID] = False
    return ground


def batches(dataset: CropDataset, config: TrainConfig, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of steps `first_step`.. to the end: uint8 [N, 3, h, w] and int64 [N, h, w].

    Threads, not processes, prepare them: OpenCV and torch release the interpreter lock, and forking after either has
    started its own threads can hang.
    """
    end = config.steps * config.batch
    with ThreadPoolExecutor(config.workers) as pool:
        ahead = deque(pool.submit(dataset.__getitem__, k) for k in range(first_step * config.batch, end)[:AHEAD])
        next_k = first_step * config.batch + len(ahead)
        for _ in range(first_step, config.steps):
            crops = []
            for _ in range(config.batch):
                crops.append(ahead.popleft().result())
                if next_k < end:
                    ahead.append(pool.submit(dataset.__getitem__, next_k))
                    next_k += 1
            yield torch.stack([image for image, _ in crops]), torch.stack([target for _, target in crops])
