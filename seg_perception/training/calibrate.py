"""Confidence that means what it says: one temperature, fitted on the selection split."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_perception.frames import from_array, labels_to_size, to_network
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


def fit_temperature(network: nn.Module, samples: list[Sample], config: TrainConfig) -> float:
    """Return the temperature with the least negative log-likelihood (Guo et al. 2017) on random labelled pixels."""
    logits, truth = zip(*(_pixels(network, s, config, seed) for seed, s in enumerate(samples)), strict=True)
    all_logits, all_truth = torch.cat(logits), torch.cat(truth)
    grid = np.exp(np.linspace(np.log(0.4), np.log(3.0), 81))
    costs = [float(F.cross_entropy(all_logits / float(t), all_truth)) for t in grid]
    return float(grid[int(np.argmin(costs))])


def _pixels(network: nn.Module, sample: Sample, config: TrainConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Return logits [K, C] and truth [K] of random pixels that have one true class."""
    size = np.empty((config.input_height, config.input_width, 3), np.uint8)
    to_network(from_array(sample.image, 'rgb8'), size)
    truth = labels_to_size(sample.target, config.input_width, config.input_height).ravel()
    known = np.nonzero(truth < len(config.classes))[0]
    pick = np.random.default_rng(seed).permutation(known)[:PIXELS_PER_FRAME]
    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(size).permute(2, 0, 1)[None].float())
        flat = full_size(logits, config.input_height, config.input_width)[0].flatten(1).T
    return flat[torch.from_numpy(pick)].clone(), torch.from_numpy(truth[pick].astype(np.int64))


def summarise_confusion(confusion: npt.NDArray[np.int64], labels: LabelMap, temperature: float) -> Calibration:
    """Normalise the pixel counts of the selection split for the model's metadata."""
    rows = confusion / np.maximum(1, confusion.sum(1, keepdims=True))
    drivable = confusion[labels.drivable_lut()[: len(labels)]].sum(0) / np.maximum(1, confusion.sum(0))
    return Calibration(temperature, np.round(rows, 5).tolist(), np.round(drivable, 5).tolist())
