"""Neighbouring pixels agree: a conditional random field inside the network, so inside the exported graph too.

Mean-field inference of the dense CRF (Kraehenbuehl and Koltun 2011, arXiv 1210.5644) with its Gaussian kernels of
position and colour cut to a window (ConvCRF, Teichmann and Cipolla 2018, arXiv 1805.04777), unrolled and at a quarter
of the image's size. Every neighbour is a slice of a padded tensor, so that the graph is slices, products and sums:
plain ONNX that any runtime takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seg_perception.errors import ConfigError
from seg_perception.frames import from_array, labels_to_size, to_network
from seg_perception.labels import VOID, LabelMap
from seg_perception.metrics import confusion_matrix
from seg_perception.training.config import TrainConfig
from seg_perception.training.datasets import Sample
from seg_perception.training.networks import full_size
from seg_perception.training.select import summarise

STRIDE = 4
SEARCH_FRAMES = 16


@dataclass(frozen=True, slots=True)
class CrfConfig:
    """Kernels and compatibility; lengths are in pixels at a quarter of the image's size."""

    weight: float = 2.0  # how much a pixel gives to its neighbours' opinion, in logits
    color: float = 13.0  # width of the appearance kernel in colour, 0..255
    position_px: float = 4.0  # width of the appearance kernel in the image
    smooth_px: float = 1.5  # width of the smoothness kernel, which does not look at colour
    smooth_share: float = 0.3  # of the two kernels' sum
    radius: int = 2  # neighbours to each side
    dilation: int = 2  # distance of one neighbour from the next
    iterations: int = 3

    def __post_init__(self) -> None:
        for name, low, high in (
            ('weight', 0.0, 50.0),
            ('color', 0.5, 255.0),
            ('position_px', 0.3, 100.0),
            ('smooth_px', 0.3, 100.0),
            ('smooth_share', 0.0, 1.0),
            ('radius', 1, 16),
            ('dilation', 1, 8),
            ('iterations', 1, 10),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f'crf.{name} is {getattr(self, name)}; expected {low} to {high}')


class WindowedCrf(nn.Module):
    """Unrolled mean-field inference.

    Args:
        agreement: [C, C], 1 where two classes support each other as neighbours and 0 where they compete; the
            identity is the Potts model. See `agreement_of`.
    """

    agreement: Tensor

    def __init__(self, config: CrfConfig, agreement: Tensor) -> None:
        super().__init__()
        self.register_buffer('agreement', agreement[:, :, None, None], persistent=False)
        self.config = config
        steps = [i * config.dilation for i in range(-config.radius, config.radius + 1)]
        self.offsets = [(dy, dx) for dy in steps for dx in steps if (dy, dx) != (0, 0)]
        self.margin = config.radius * config.dilation

    def forward(self, logits: Tensor, image: Tensor) -> Tensor:
        """Return what the neighbours add to the logits.

        Args:
            logits: [N, C, h, w], the unary term.
            image: [N, 3, h, w] RGB 0..255 at the same size.

        Returns:
            [N, C, h, w]: weight x the neighbours' mean belief in what agrees, after the last iteration.
        """
        kernels = self._kernels(image)
        added = torch.zeros_like(logits)
        for _ in range(self.config.iterations):
            added = self.config.weight * self._message((logits + added).softmax(1), kernels)
        return added

    def _kernels(self, image: Tensor) -> list[Tensor]:
        """Return for each offset the weight [N, 1, h, w] of that neighbour; they add up to one, the image's edge apart."""
        c = self.config
        scaled = image * (0.5**0.5 / c.color)
        neighbours = self._shifted(scaled)
        inside = self._shifted(torch.ones_like(image[:, :1]))
        raw = []
        for (dy, dx), colors, valid in zip(self.offsets, neighbours, inside, strict=True):
            far = float(dy * dy + dx * dx)
            appearance = (1 - c.smooth_share) * float(np.exp(-far / (2 * c.position_px**2)))
            smooth = c.smooth_share * float(np.exp(-far / (2 * c.smooth_px**2)))
            difference = (scaled - colors).square().sum(1, keepdim=True)
            raw.append((appearance * (-difference).exp() + smooth) * valid)
        scale = 1.0 / (torch.stack(raw).sum(0) + 1e-6)
        return [kernel * scale for kernel in raw]

    def _message(self, belief: Tensor, kernels: Sequence[Tensor]) -> Tensor:
        total = torch.zeros_like(belief)
        for neighbour, kernel in zip(self._shifted(belief), kernels, strict=True):
            total = total + neighbour * kernel
        return F.conv2d(total, self.agreement)

    def _shifted(self, values: Tensor) -> Iterator[Tensor]:
        """Yield `values` as each neighbour sees it; outside the image is zero."""
        m, (height, width) = self.margin, values.shape[2:]
        padded = F.pad(values, (m, m, m, m))
        for dy, dx in self.offsets:
            yield padded[:, :, m + dy : m + dy + height, m + dx : m + dx + width]


def agreement_of(labels: LabelMap) -> Tensor:
    """Return the identity, with road and markings in agreement.

    A marking is a thin thing on the road: most neighbours of its pixels are road, and a Potts model would erase it.
    """
    drivable = torch.from_numpy(labels.drivable_lut()[: len(labels)])
    return torch.maximum(torch.eye(len(labels)), (drivable[:, None] & drivable).float())


class RefinedNetwork(nn.Module):
    """A network with a CRF behind its logits; takes and returns what the network does."""

    def __init__(self, network: nn.Module, config: CrfConfig, labels: LabelMap) -> None:
        super().__init__()
        self.network = network
        self.crf = WindowedCrf(config, agreement_of(labels))

    def forward(self, image: Tensor) -> Tensor:
        """Map float images [N, 3, H, W], RGB 0..255, to refined logits of a quarter of the size or finer."""
        return refine(self.network(image), image, self.crf)


def refine(logits: Tensor, image: Tensor, crf: WindowedCrf) -> Tensor:
    """Add the CRF's part to logits of any stride; it is computed at a quarter of the image's size."""
    height, width = image.shape[2] // STRIDE, image.shape[3] // STRIDE
    if logits.shape[2] < height:
        logits = full_size(logits, height, width)
    finer = logits.shape[2] // height
    unary = F.avg_pool2d(logits, finer) if finer > 1 else logits
    added = crf(unary, F.avg_pool2d(image, STRIDE))
    return logits + full_size(added, logits.shape[2], logits.shape[3])


def best_setting(
    network: nn.Module, samples: Sequence[Sample], config: TrainConfig, say: Callable[[str], None]
) -> CrfConfig:
    """Return the setting with the best score on at most SEARCH_FRAMES frames of the selection split.

    Says that score beside the network's own: a CRF that does not raise it is not worth its time.
    """
    step = max(1, len(samples) // SEARCH_FRAMES)
    frames = [_frame(network, sample, config) for sample in samples[::step][:SEARCH_FRAMES]]
    choices = itertools.product((1.0, 2.0, 4.0), (8.0, 16.0, 32.0), (0.1, 0.4))
    settings = [CrfConfig(weight=w, color=color, smooth_share=share) for w, color, share in choices]
    scores = [_score(setting, frames, config) for setting in settings]
    best = int(np.argmax(scores))
    alone = _score(None, frames, config)
    say(f'crf: selection score {scores[best]:.4f}, without it {alone:.4f}; {settings[best]}')
    return settings[best]


class _Frame(NamedTuple):
    image: Tensor
    logits: Tensor
    truth: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def _frame(network: nn.Module, sample: Sample, config: TrainConfig) -> _Frame:
    size = np.empty((config.input_height, config.input_width, 3), np.uint8)
    to_network(from_array(sample.image, 'rgb8'), size)
    image = torch.from_numpy(size).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        logits = network.eval()(image)
    truth = labels_to_size(sample.target, config.input_width, config.input_height)
    return _Frame(image, logits, np.where(truth < len(config.classes), truth, VOID).astype(np.uint8))


def _score(setting: CrfConfig | None, frames: Sequence[_Frame], config: TrainConfig) -> float:
    count = len(config.classes)
    confusion = np.zeros((count, count), np.int64)
    crf = None if setting is None else WindowedCrf(setting, agreement_of(config.classes))
    for frame in frames:
        with torch.inference_mode():
            logits = frame.logits if crf is None else refine(frame.logits, frame.image, crf)
            labels = full_size(logits, *frame.truth.shape).argmax(1)[0].to(torch.uint8).numpy()
        confusion += confusion_matrix(frame.truth, labels, count, count)
    return summarise(confusion, config.classes).score
