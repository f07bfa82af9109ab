"""Cross-entropy, Dice and focal loss over labels that may be sets of classes, foreign or void."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_perception.labels import VOID, LabelMap
from seg_perception.training.augment import FOREIGN
from seg_perception.training.config import LossConfig
from seg_perception.training.datasets import Sample, Targets


def class_weights(config: LossConfig, samples: list[Sample], classes: int) -> npt.NDArray[np.float32]:
    """Return float32 [classes] weights with mean 1: given, equal, or inverse square root of the frequency."""
    if not isinstance(config.class_weights, str):
        return np.asarray(config.class_weights, np.float32)
    if config.class_weights == 'none':
        return np.ones(classes, np.float32)
    counts = np.zeros(256, np.int64)
    for sample in samples:
        # Every fourth pixel each way is enough for a frequency.
        counts += np.bincount(sample.target[::4, ::4].ravel(), minlength=256)
    weights = 1 / np.sqrt(np.maximum(counts[:classes], 1) / max(1, counts[:classes].sum()))
    weights = np.minimum(weights, 4 * weights.min())
    return np.asarray(weights / weights.mean(), np.float32)


class SegmentationLoss(nn.Module):
    """Weighted sum of the terms of `LossConfig`.

    A pixel labelled with a set of classes costs -log of the set's summed probability, so that no member is punished.
    A foreign pixel costs the cross-entropy against the uniform distribution over the classes that are not ground.
    """

    def __init__(
        self, config: LossConfig, labels: LabelMap, targets: Targets, weights: npt.NDArray[np.float32]
    ) -> None:
        super().__init__()
        self.config = config
        self.classes = len(labels)
        self.register_buffer('weights', torch.from_numpy(weights), persistent=False)
        self.register_buffer('sets', torch.from_numpy(targets.sets), persistent=False)
        solid = ~labels.ground_lut()[: self.classes]
        self.register_buffer('solid', torch.from_numpy(solid / max(1, solid.sum())).float(), persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of float logits [N, C, H, W] against int64 targets [N, H, W]."""
        log_p = F.log_softmax(logits, 1)
        plain = torch.where(target < self.classes, target, VOID)
        total = self._special(log_p, target) / max(1, target.numel())
        config = self.config
        if config.cross_entropy > 0:
            total = total + config.cross_entropy * self._cross_entropy(log_p, plain)
        if config.dice > 0:
            total = total + config.dice * self._dice(log_p, plain)
        if config.focal > 0:
            total = total + config.focal * self._focal(log_p, plain)
        return total

    def _cross_entropy(self, log_p: Tensor, plain: Tensor) -> Tensor:
        loss = F.nll_loss(log_p, plain, self.weights, ignore_index=VOID, reduction='none')
        valid = plain != VOID
        if self.config.hard_fraction < 1:
            keep = max(1, int(valid.sum() * self.config.hard_fraction))
            return loss[valid].topk(min(keep, int(valid.sum()))).values.mean() if valid.any() else loss.sum()
        return loss.sum() / valid.sum().clamp(min=1)

    def _focal(self, log_p: Tensor, plain: Tensor) -> Tensor:
        """Focal loss (Lin et al. 2017)."""
        log_pt = -F.nll_loss(log_p, plain, ignore_index=VOID, reduction='none')
        loss = -((1 - log_pt.exp()) ** self.config.focal_gamma) * log_pt
        return (loss * (plain != VOID)).sum() / (plain != VOID).sum().clamp(min=1)

    def _dice(self, log_p: Tensor, plain: Tensor) -> Tensor:
        """Soft Dice loss over the batch, averaged over the classes present (Milletari et al. 2016)."""
        valid = (plain != VOID).unsqueeze(1)
        p = log_p.exp() * valid
        truth = F.one_hot(torch.where(plain == VOID, 0, plain), self.classes).movedim(3, 1) * valid
        overlap, size = (p * truth).sum((0, 2, 3)), truth.sum((0, 2, 3))
        dice = 2 * overlap / (p.sum((0, 2, 3)) + size).clamp(min=1)
        present = size > 0
        return 1 - dice[present].mean() if present.any() else p.sum() * 0

    def _special(self, log_p: Tensor, target: Tensor) -> Tensor:
        """Sum over pixels whose target is a set of classes or foreign."""
        total = log_p.new_zeros(())
        pixels = log_p.movedim(1, 3)
        in_set = (target >= self.classes) & (target < self.classes + len(self.sets))
        if in_set.any():
            allowed = self.sets[target[in_set] - self.classes]
            total = total - pixels[in_set].masked_fill(~allowed, -torch.inf).logsumexp(1).sum()
        foreign = target == FOREIGN
        if self.config.foreign > 0 and foreign.any():
            total = total - self.config.foreign * (pixels[foreign] @ self.solid).sum()
        return total
