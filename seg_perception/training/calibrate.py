"""Confidence that means what it says: one temperature, fitted on the selection split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from seg_perception.frames import labels_to_size
from seg_perception.labels import LabelMap
from seg_perception.training.config import TrainConfig
from seg_perception.training.datasets import Sample
from seg_perception.training.networks import full_size

PIXELS_PER_FRAME = 8000


class Calibration(NamedTuple):
    """What the selection split says about the predictions."""

    temperature: float
    confusion: list[list[float]]
    """[C, C] true class by predicted class, rows sum to one; a class that is absent has a row of zeros."""
    class_precision: list[float]
    """[C] share of the pixels predicted as the class that are truly drivable."""


def fit_temperature(logits: Sequence[Tensor], samples: Sequence[Sample], config: TrainConfig) -> float:
    """Return the temperature with the least negative log-likelihood (Guo et al. 2017) on random labelled pixels.

    Args:
        logits: per sample float [1, C, h, w].
    """
    pixels, truth = zip(
        *(_pixels(x, s, config, i) for i, (x, s) in enumerate(zip(logits, samples, strict=True))), strict=True
    )
    all_logits, all_truth = torch.cat(pixels), torch.cat(truth)
    grid = np.exp(np.linspace(np.log(0.4), np.log(3.0), 81))
    costs = [float(F.cross_entropy(all_logits / float(t), all_truth)) for t in grid]
    return float(grid[int(np.argmin(costs))])


def _pixels(logits: Tensor, sample: Sample, config: TrainConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Return logits [K, C] and truth [K] of random pixels that have one true class."""
    truth = labels_to_size(sample.target, config.input_width, config.input_height).ravel()
    known = np.nonzero(truth < len(config.classes))[0]
    pick = np.random.default_rng(seed).permutation(known)[:PIXELS_PER_FRAME]
    flat = full_size(logits, config.input_height, config.input_width)[0].flatten(1).T
    return flat[torch.from_numpy(pick)].clone(), torch.from_numpy(truth[pick].astype(np.int64))


def summarise_confusion(confusion: npt.NDArray[np.int64], labels: LabelMap, temperature: float) -> Calibration:
    """Normalise the pixel counts of the selection split for the model's metadata."""
    rows = confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    drivable = confusion[labels.drivable_lut()[: len(labels)]].sum(0) / np.maximum(1, confusion.sum(0))
    return Calibration(temperature, np.round(rows, 5).tolist(), np.round(drivable, 5).tolist())
