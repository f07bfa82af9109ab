"""Judging a network on the selection split during training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seg_perception.frames import from_array, labels_to_size, to_network
from seg_perception.labels import VOID, LabelMap, Role
from seg_perception.metrics import binary_iou, confusion_matrix
from seg_perception.training.config import TrainConfig
from seg_perception.training.datasets import Sample, Targets
from seg_perception.training.networks import full_size


class Judgement(NamedTuple):
    """Figures on the selection split."""

    score: float
    """Mean of the three IoUs that exist; the best checkpoint has the largest."""
    drivable: float
    lane: float
    obstacle: float
    confusion: npt.NDArray[np.int64]
    """[C, C] pixels, true class by predicted class."""


def judge(network: nn.Module, samples: list[Sample], targets: Targets, config: TrainConfig) -> Judgement:
    """Run the network over whole frames and compare at their own size."""
    network.eval()
    labels = (labels_of(logits_of(network, sample.image, config), config) for sample in samples)
    return summarise(count_pixels(labels, samples, targets, config), config.classes)


def count_pixels(
    labels: Iterable[npt.NDArray[np.uint8]], samples: list[Sample], targets: Targets, config: TrainConfig
) -> npt.NDArray[np.int64]:
    """Return the confusion matrix [C, C] of one label image per sample, compared at the sample's size."""
    count = len(config.classes)
    # The truth of a set is read as its first class: both sides of a role still count right.
    plain = np.arange(256, dtype=np.uint8)
    plain[count:] = VOID
    for k, members in enumerate(targets.sets):
        plain[count + k] = np.nonzero(members)[0][0]
    confusion = np.zeros((count, count), np.int64)
    for predicted, sample in zip(labels, samples, strict=True):
        h, w = sample.target.shape
        truth = np.asarray(cv2.LUT(sample.target, plain), np.uint8)
        confusion += confusion_matrix(truth, labels_to_size(predicted, w, h), count, count)
    return confusion


def summarise(confusion: npt.NDArray[np.int64], labels: LabelMap) -> Judgement:
    """Compute the IoUs of the roles from a confusion matrix."""

    def iou(*roles: Role) -> float:
        mask = labels.mask_lut(*roles)[: len(labels)] > 0
        return binary_iou(confusion, mask, mask)

    values = [iou(Role.ROAD, Role.LANE), iou(Role.LANE), iou(Role.OBSTACLE)]
    finite = [v for v in values if v == v]
    return Judgement(float(np.mean(finite)) if finite else 0.0, values[0], values[1], values[2], confusion)


def logits_of(network: nn.Module, image: npt.NDArray[np.uint8], config: TrainConfig) -> Tensor:
    """Return float [1, C, h, w] logits of one RGB frame, at the resolution the network computes them."""
    device = next(network.parameters()).device
    size = np.empty((config.input_height, config.input_width, 3), np.uint8)
    to_network(from_array(image, 'rgb8'), size)
    batch = torch.from_numpy(size).permute(2, 0, 1)[None].to(device).float()
    with torch.inference_mode():
        return network(batch.contiguous(memory_format=torch.channels_last)).cpu()


def labels_of(logits: Tensor, config: TrainConfig) -> npt.NDArray[np.uint8]:
    """Return uint8 [H, W] labels at the network's input size."""
    full = full_size(logits, config.input_height, config.input_width)
    return np.asarray(full.argmax(1)[0].numpy(), np.uint8)
